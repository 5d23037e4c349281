"""What the index knows of a chain: who is asked, and the forms in which blocks are handed on.

Apart from asking and from reading answers, since everything that follows, keeps or audits a chain
speaks of these few forms, and of nothing that an endpoint's JSON looks like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from ledger.index.decode import EventType, Stored


class Node(Protocol):
    """The part of `ledger.chain.rpc.Rpc` that the index needs.

    A node that also has `Rpc.batch_undecoded` is read by it, which is several times faster.
    """

    def batch(self, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        """Results in order; any failed member fails the batch.

        Raises:
            ChainUnavailable: no usable answer.
        """
        ...


class Header(msgspec.Struct, frozen=True, gc=False):
    """The fields of a block header that following needs. `time` is in Unix seconds."""

    number: int
    hash: bytes
    parent_hash: bytes
    time: int
    bloom: int


class Log(msgspec.Struct, frozen=True, gc=False):
    """One log as the chain holds it, decoded.

    Attributes:
        time: its block's, Unix seconds.
        contract: our name for its address.
        topics: 32 bytes each, one after the other.
        event: None where the first topic is no event known here.
        arguments: in the order of `EventType.names`.
    """

    block: int
    time: int
    log_index: int
    block_hash: bytes
    tx_hash: bytes
    tx_index: int
    contract: str
    address: bytes
    topics: bytes
    data: bytes
    event: EventType | None
    arguments: tuple[Stored, ...]

    @property
    def values(self) -> dict[str, Stored]:
        """Its arguments by name."""
        names = () if self.event is None else self.event.names
        return dict(zip(names, self.arguments, strict=True))


@dataclass(frozen=True, slots=True)
class Heads:
    """Where the endpoint stands: its latest header, and the numbers it calls safe and finalized.

    Attributes:
        final_hash: of block `finalized`; None where that is a mere number.
        safe_hash: of block `safe`, likewise.
    """

    latest: Header
    safe: int
    finalized: int
    final_hash: bytes | None = None
    safe_hash: bytes | None = None


class Blocks(msgspec.Struct, frozen=True, gc=False):
    """Blocks that follow one another: what every form of a range that was read begins with."""

    headers: list[Header]

    @property
    def first(self) -> int:
        """Number of its first block."""
        return self.headers[0].number

    @property
    def last(self) -> int:
        """Number of its last block."""
        return self.headers[-1].number


class Span(Blocks, frozen=True, gc=False):
    """A closed range of blocks that was read and passed every check.

    Attributes:
        answers: by (block, log index), what an event leaves out (`read_beside`).
    """

    logs: list[Log]
    answers: dict[tuple[int, int], bytes]

    @property
    def count(self) -> int:
        """Logs in it."""
        return len(self.logs)
