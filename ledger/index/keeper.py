"""The worker beside the follower: takes proofs of final events, and prunes the outbox.

It never holds up the follower: it has a thread of its own, asks at most so many times a second,
and commits one block at a time. Killed at any point it goes on where it was.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar

from sqlalchemy import Engine, Row

from ledger.chain.rpc import Rpc
from ledger.errors import (
    ChainError,
    ChainUnavailable,
    Fenced,
    IndexUnavailable,
    LedgerError,
    UnavailableError,
)
from ledger.index.database import reading, writing
from ledger.index.endpoints import Endpoints, ask
from ledger.index.event_proofs import gather_block
from ledger.index.evidence_rows import spoilt
from ledger.index.evidence_store import BLOCKS_A_TURN, EvidenceStore
from ledger.index.journal import Journal
from ledger.index.mending import Account, Strays, mend, wanting
from ledger.index.outbox import KEPT_DAYS

log = logging.getLogger(__name__)

T = TypeVar("T")

REQUESTS_PER_SECOND: Final = 20.0
"""What harvesting may ask of the endpoints, beside the follower."""

ATTEMPTS: Final = 5
"""Turns in which a proof must have been refused before it is written down as lost."""

OLD_BLOCKS: Final = 128
"""So far below finality a full node keeps no state: where one proof was lost to that, the next is
asked for once. Five turns for each block of an old chain would take months, and lose the recent."""

PRUNE_SECONDS: Final = 3600.0
IDLE_SECONDS: Final = 2.0
MAX_WAIT_SECONDS: Final = 60.0
_DROPPED_AT_ONCE: Final = 10_000
# A header, a block, its receipts, its transactions; and for each contract its state.
_REQUESTS, _PER_CONTRACT = 4, 1


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What came of asking again.

    Attributes:
        found: proofs that are held now.
        reasons: how many are still lacking, by what the endpoints said.
    """

    found: int
    reasons: Mapping[str, int]


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
        self._node = node
        self._engine = engine
        self._journal = Journal(chain_id)
        self._store = EvidenceStore(chain_id)
        self._proofs = proofs
        self._active = active
        self._rate = rate
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
            if stop is not None and stop.wait(self._pause(rows)):
                break
        return bool(waiting)

    def _pause(self, rows: Sequence[Row[Any]]) -> float:
        contracts = len({row.address for row in rows})
        return (_REQUESTS + _PER_CONTRACT * contracts) / self._rate

    def retrieve(
        self, progress: Callable[[int, int], None] = lambda _done, _total: None
    ) -> Retrieved:
        """Ask once more for every proof that is lacking: could not be had, or is gone or spoilt.

        The store itself is looked through first: what is whole there needs no node. Ended at any
        point, what it has found stays; run again, it asks for what still lacks.

        Args:
            progress: called with the number of proofs asked for so far, and of all.

        Raises:
            ChainUnavailable: no endpoint answers.
            IndexUnavailable: the database cannot be written or holds nothing yet.
        """
        found, reasons = 0, Counter[str]()
        self._recount()
        with reading(self._engine) as connection:
            lacks = wanting(connection, self._store)
            own = Strays.of(connection) if lacks else Strays({})
        total, left = sum(lacks.values()), iter(lacks)
        while blocks := list(islice(left, BLOCKS_A_TURN)):
            with reading(self._engine) as connection:
                waiting = self._store.events_of(connection, blocks)
            for rows in waiting:
                # What is there and was lost sight of needs no node, which may have forgotten it.
                with writing(self._engine) as connection:
                    there = own.proofs(connection, self._store, rows)
                    filed = mend(connection, self._store, rows, there)
                found += filed.proofs
                if filed.left:
                    found, reasons = self._ask_again(rows, found, reasons)
                progress(found + reasons.total(), total)
        self._drop_spoilt()
        self._recount()
        return Retrieved(found, reasons)

    def _ask_again(
        self, rows: Sequence[Row[Any]], found: int, reasons: Counter[str]
    ) -> tuple[int, Counter[str]]:
        oldest = int(rows[0].block)
        gathered = gather_block(partial(self._ask, oldest=oldest), rows, give_up=True)
        with writing(self._engine) as connection:
            filed = mend(connection, self._store, rows, gathered)
        time.sleep(self._pause(rows))
        return found + filed.proofs, reasons + Counter(filed.lacking)

    def _recount(self) -> None:
        with reading(self._engine) as connection:
            cursor = self._journal.cursor(connection)
            final = min(cursor.finalized, cursor.block)
            account = Account.of(connection, self._store, final)
        with writing(self._engine) as connection:
            account.settle(connection, self._store.chain_id)

    def _drop_spoilt(self) -> None:
        with reading(self._engine) as connection:
            hashes = list(spoilt(connection, self._store.chain_id))
        for at in range(0, len(hashes), _DROPPED_AT_ONCE):
            with writing(self._engine) as connection:
                self._store.drop(connection, hashes[at : at + _DROPPED_AT_ONCE])

    def _harvest(self, rows: Sequence[Row[Any]], *, old: bool) -> None:
        block, hash_ = int(rows[0].block), bytes(rows[0].block_hash)
        refusals = self._refused[1] if self._refused[0] == hash_ else 0
        expected = old and self._losing
        give_up = expected or refusals >= ATTEMPTS - 1
        try:
            gathered = gather_block(partial(self._ask, oldest=block), rows, give_up=give_up)
        except (ChainUnavailable, IndexUnavailable):
            raise
        except LedgerError as error:
            self._refused = (hash_, refusals + 1)
            if isinstance(self._node, Endpoints):
                self._node.blame(error)
            raise
        self._losing, self._failures = bool(gathered.lost), 0
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

    def _ask(self, act: Callable[[Rpc], T], *, oldest: int) -> T:
        try:
            return ask(self._node, act, oldest=oldest)
        except ChainUnavailable as error:
            if error.fault != "malformed":
                raise
            # It did answer: waiting for another answer would hold up all that comes after.
            raise ChainError(error.message) from None

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
