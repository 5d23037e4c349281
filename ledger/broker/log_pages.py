"""A broker's log for everybody: its hashes, in signed pages (docs/spec/broker-log.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ledger.broker.receipts import ReceiptLog
from ledger.broker.store import BrokerStore
from ledger.errors import ManifestError

PAGE: Final = "log"
MAX_HASHES: Final = 4096
DEFAULT_HASHES: Final = 1024


class LogPages:
    """Pages of one broker's log. Thread-safe.

    Args:
        store: the broker's database.
        log: signs the pages.
        knock: counts a request of a network.
        now: Unix seconds.
    """

    def __init__(
        self,
        store: BrokerStore,
        log: ReceiptLog,
        *,
        knock: Callable[[str], None],
        now: Callable[[], int],
    ) -> None:
        self._store = store
        self._log = log
        self._knock = knock
        self._now = now

    def page(self, after: int, limit: int, *, network: str) -> dict[str, Any]:
        """Hashes of the receipts after a number, and the head, signed.

        Raises:
            ManifestError: numbers out of range.
            RateLimited: the network asks too often.
        """
        self._knock(network)
        if not (0 <= after < 1 << 53 and 0 <= limit <= MAX_HASHES):
            raise ManifestError(f"after is a receipt's number, and limit at most {MAX_HASHES}")
        # The head first: what is appended meanwhile is no part of this page.
        sequence, head = self._store.last_receipt()
        rows = self._store.rows(
            "SELECT hash FROM receipts WHERE sequence > ? AND sequence <= ? "
            "ORDER BY sequence LIMIT ?",
            after,
            sequence,
            limit,
        )
        result = {
            "after": after,
            "hashes": ["0x" + bytes(row[0]).hex() for row in rows],
            "head": {"sequence": sequence, "hash": str(head)},
        }
        asked = {"after": after, "limit": limit}
        return self._log.answer(PAGE, asked, result, now=self._now(), log=False)
