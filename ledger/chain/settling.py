"""What was sent before and may be mined yet: for work that several runs finish.

Whether something stands on the chain is asked of the chain. A run that was killed may have sent
what the chain does not show so far; asked too soon, it would be sent twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ledger.chain.transactions import Sender
from ledger.errors import PendingFinality

_POLL_SECONDS = 0.2
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Settling:
    """Waits until the chain is as far as a sender's work.

    Attributes:
        sender: whose transactions.
        seconds: at most, for each wait.
    """

    sender: Sender
    seconds: float

    def standing(self, on_chain: Callable[[], bool]) -> bool:
        """Whether the chain already holds something, pending transactions included.

        Raises:
            PendingFinality: as `settle`.
        """
        if on_chain():
            return True
        return self.settle() and on_chain()

    def settle(self) -> bool:
        """Let transactions of an earlier, interrupted run be mined. Returns whether any were.

        Raises:
            PendingFinality: they are not, in that time.
        """
        pending = self.sender.pending_transactions()
        deadline = time.monotonic() + self.seconds
        while self.sender.pending_transactions():
            if time.monotonic() > deadline:
                raise PendingFinality(
                    f"{self.sender.signer.address} has transactions waiting to be mined",
                    hint="wait for them, then run the same command again",
                )
            time.sleep(_POLL_SECONDS)
        return pending > 0

    def when_final(self, act: Callable[[], _T], *, at_most: float | None = None) -> _T:
        """Act, and again as long as it is too early for that.

        Args:
            act: raises `PendingFinality` where it is.
            at_most: seconds, in place of `seconds`.

        Raises:
            PendingFinality: it still is, in that time.
        """
        deadline = time.monotonic() + (self.seconds if at_most is None else at_most)
        while True:
            try:
                return act()
            except PendingFinality as error:
                if time.monotonic() + error.retry_after > deadline:
                    raise
                time.sleep(error.retry_after)
