"""Whom proofs of events are asked of, and how often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Row

from ledger.chain.rpc import Rpc
from ledger.errors import ChainError, ChainUnavailable, LedgerError
from ledger.index.endpoints import Endpoints, ask
from ledger.index.event_proofs import Gathered, gather_block

T = TypeVar("T")

REQUESTS_PER_SECOND: Final = 20.0
"""What taking proofs may ask of the endpoints, beside the follower."""

# A header, a block, its receipts, its transactions; and for each contract its state.
_REQUESTS, _PER_CONTRACT = 4, 1


class ProofSource:
    """The chain, as far as it proves events.

    Args:
        node: one endpoint or several.
        rate: requests a second that it may be asked.
    """

    def __init__(self, node: Rpc | Endpoints, rate: float = REQUESTS_PER_SECOND) -> None:
        self._node = node
        self._rate = rate

    def gather(self, rows: Sequence[Row[Any]], *, give_up: bool) -> Gathered:
        """As `gather_block`."""
        return gather_block(partial(self._ask, oldest=int(rows[0].block)), rows, give_up=give_up)

    def pause(self, rows: Sequence[Row[Any]]) -> float:
        """Seconds to wait after these were asked for."""
        contracts = len({row.address for row in rows})
        return (_REQUESTS + _PER_CONTRACT * contracts) / self._rate

    def blame(self, error: LedgerError) -> None:
        """Hold a refusal against the endpoint that made it, where there are several."""
        if isinstance(self._node, Endpoints):
            self._node.blame(error)

    def _ask(self, act: Callable[[Rpc], T], *, oldest: int) -> T:
        try:
            return ask(self._node, act, oldest=oldest)
        except ChainUnavailable as error:
            if error.fault != "malformed":
                raise
            # It did answer: waiting for another answer would hold up all that comes after.
            raise ChainError(error.message) from None
