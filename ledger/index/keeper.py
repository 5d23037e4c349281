"""The worker beside the follower: takes proofs of final events, and prunes the outbox.

It never holds up the follower: it has a thread of its own, asks at most so many times a second,
and commits one block at a time. Killed at any point it goes on where it was.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Engine, Row

from ledger.chain.rpc import Rpc
from ledger.errors import (
    ChainUnavailable,
    Fenced,
    IndexUnavailable,
    LedgerError,
    UnavailableError,
)
from ledger.index.database import reading, writing
from ledger.index.endpoints import Endpoints
from ledger.index.event_proofs import OTHERWISE
from ledger.index.evidence_store import EvidenceStore
from ledger.index.journal import Journal
from ledger.index.outbox import KEPT_DAYS
from ledger.index.proof_source import REQUESTS_PER_SECOND, ProofSource

log = logging.getLogger(__name__)

ATTEMPTS: Final = 5
"""Turns in which a proof must have been refused before it is written down as lost."""

OLD_BLOCKS: Final = 128
"""So far below finality a full node keeps no state: where one proof was lost to that, the next is
asked for once. Five turns for each block of an old chain would take months, and lose the recent."""

PRUNE_SECONDS: Final = 3600.0
IDLE_SECONDS: Final = 2.0
MAX_WAIT_SECONDS: Final = 60.0


class Keeper:
    """One process's hand on the evidence store and the outbox's age.

    Args:
        node: the chain: one endpoint or several.
        engine: the index's database.
        chain_id: whose events.
        proofs: whether this chain's headers and state can be proved (its profile's ``proof_kind``).
        active: whether this process is the one that follows; others leave the work to it.
        rate: requests a second.
        kept_days: age in days after which outbox entries are forgotten.
        also: forgets something else as often; what it raises ends the turn.
        now: Unix seconds.
    """

    def __init__(
        self,
        node: Rpc | Endpoints,
        engine: Engine,
        chain_id: int,
        *,
        proofs: bool = True,
        active: Callable[[], bool] = lambda: True,
        rate: float = REQUESTS_PER_SECOND,
        kept_days: float = KEPT_DAYS,
        also: Callable[[], object] = lambda: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._source = ProofSource(node, rate)
        self._engine = engine
        self._journal = Journal(chain_id)
        self._store = EvidenceStore(chain_id)
        self._proofs = proofs
        self._active = active
        self._kept_ms = int(kept_days * 86_400_000)
        self._also = also
        self._now = now
        self._pruned_at = float("-inf")
        # The block that is refused, and how often it was.
        self._refused: tuple[bytes, int] = (b"", 0)
        # Whether the last block that was done lost a proof; and turns that kept nothing, in a row.
        self._losing = False
        self._failures = 0
        self.trouble = ""
        """Why the last turn kept nothing; empty when it went well."""

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set. Errors become `trouble`; the next turn tries again."""
        while not stop.is_set():
            wait = IDLE_SECONDS
            if self._active():
                try:
                    busy = self.turn(stop)
                    wait = 0.0 if busy else IDLE_SECONDS
                    self.trouble, self._failures = "", 0
                except LedgerError as error:
                    self._failures += 1
                    if self.trouble != error.message:
                        log.warning("proofs of events wait: %s", error.message)
                    self.trouble = error.message
                    # Who refuses has answered: its next turns need not lie further apart.
                    tired = isinstance(error, UnavailableError)
                    longer = 2.0 ** min(self._failures, 5) if tired else 1.0
                    wait = min(MAX_WAIT_SECONDS, IDLE_SECONDS * longer)
                except Exception:
                    # As in the follower: a bug here must not end the service.
                    self._failures += 1
                    log.exception("the keeper failed")
                    self.trouble = "the keeper failed; see the log"
                    wait = MAX_WAIT_SECONDS
            stop.wait(wait)

    def turn(self, stop: threading.Event | None = None) -> bool:
        """Prune if it is time; harvest a few blocks. Whether there was anything to harvest.

        Raises:
            ChainUnavailable: no endpoint answers.
            ChainError, VerificationError: one refuses a proof or shows a false one; asked again.
            IndexUnavailable: the database cannot be written or holds nothing yet.
        """
        self._prune()
        if not self._proofs:
            return False
        with reading(self._engine) as connection:
            cursor = self._journal.cursor(connection)
            final = min(cursor.finalized, cursor.block)
            waiting = self._store.waiting(connection, final)
        for rows in waiting:
            if stop is not None and stop.is_set():
                break
            self._harvest(rows, old=rows[0].block < final - OLD_BLOCKS)
            if stop is not None and stop.wait(self._source.pause(rows)):
                break
        return bool(waiting)

    def _harvest(self, rows: Sequence[Row[Any]], *, old: bool) -> None:
        block, hash_ = int(rows[0].block), bytes(rows[0].block_hash)
        refusals = self._refused[1] if self._refused[0] == hash_ else 0
        expected = old and self._losing
        give_up = expected or refusals >= ATTEMPTS - 1
        try:
            gathered = self._source.gather(rows, give_up=give_up)
        except (ChainUnavailable, IndexUnavailable):
            raise
        except LedgerError as error:
            self._refused = (hash_, refusals + 1)
            self._source.blame(error)
            raise
        # What no endpoint could show says nothing of what they still have.
        lost = {key for key, why in gathered.lost.items() if not why.startswith(OTHERWISE)}
        self._losing, self._failures = bool(lost), 0
        for (index, kind), reason in sorted(gathered.lost.items()):
            log.log(
                # One sentence about an old chain is enough, not one for each of its events.
                logging.INFO if expected else logging.WARNING,
                "the %s proof of event %d-%d is lost: %s",
                kind,
                block,
                index,
                reason,
                extra={"block": block, "log_index": index, "proof": kind},
            )
        try:
            with writing(self._engine) as connection:
                self._store.keep(connection, block, hash_, gathered)
        except Fenced as error:
            log.info("%s", error.message)

    def _prune(self) -> None:
        now = self._now()
        if now - self._pruned_at < PRUNE_SECONDS:
            return
        with writing(self._engine) as connection:
            count = self._journal.outbox.prune(connection, int(now * 1000) - self._kept_ms)
        if count:
            log.info("forgot %d outbox entries", count)
        self._also()
        self._pruned_at = now
