"""What a follower is given: the chain's rule, contracts, and what its transactions are done in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from ledger.ids import Address, Digest


class Finality(Protocol):
    """The part of `ledger.chain.profile.ChainProfile` that following needs."""

    @property
    def test_network(self) -> bool:
        """Whether undoing finalized blocks is allowed, as on a local chain."""
        ...

    @property
    def finality_depth(self) -> int:
        """Blocks below the head that count as final where the endpoint names none."""
        ...


class Contracted(Protocol):
    """The part of `ledger.chain.deployment.Deployment` that following needs."""

    @property
    def chain_id(self) -> int:
        """EIP-155 chain id."""
        ...

    @property
    def genesis_hash(self) -> Digest:
        """Hash of block 0."""
        ...

    @property
    def block(self) -> int:
        """The block of the first contract's creation."""
        ...

    @property
    def addresses(self) -> Mapping[str, Address]:
        """Contracts by name."""
        ...


class Around(Protocol):
    """Makes what surrounds one transaction."""

    def __call__(self, name: str, /, **counts: int) -> AbstractContextManager[None]:
        """Of the transaction: its name, and blocks and logs it is about."""
        ...


def alone(_name: str, /, **_counts: int) -> AbstractContextManager[None]:
    """Nothing around it."""
    return contextlib.nullcontext()


def telling(around: Around, told: Callable[[], None]) -> Around:
    """What `around` makes, and a call after each transaction that was committed."""

    @contextmanager
    def surround(name: str, /, **counts: int) -> Iterator[None]:
        with around(name, **counts):
            yield
        told()

    return surround
