"""Follow a chain's logs into the database, through reorganisations, crashes and bad endpoints.

`Follower.step` is one turn: ask the endpoint where it stands, then do at most one transaction,
forward or back. `Follower.run` repeats it until told to stop, and never dies of what an endpoint
says: it keeps a `Status` that readiness shows instead.

The rule for a reorganisation, with its reasons, is in ``docs/spec/index.md``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import ProgrammingError

from ledger.errors import (
    ChainUnavailable,
    Fenced,
    IndexDamaged,
    IndexReplaced,
    IndexUnavailable,
    LedgerError,
    Reorganised,
    UnavailableError,
    WrongNetwork,
)
from ledger.index.ahead import ReadAhead
from ledger.index.ancestor import find_fork, past_finality
from ledger.index.blocks import Heads, Node
from ledger.index.bulk import without_collection
from ledger.index.database import reading, writing
from ledger.index.deferred import leave_out, restore
from ledger.index.endpoints import blame, confirm, settled, vouch
from ledger.index.fetch import genesis, read_heads
from ledger.index.given import Around, Contracted, Finality, alone
from ledger.index.journal import Cursor, Journal
from ledger.index.reader import Reader
from ledger.index.standing import chains
from ledger.index.waking import is_near, wait_for_block

log = logging.getLogger(__name__)

# Logs after which a transaction ends, though more may be read already.
COMMIT_LOGS = 10_000
# Final blocks ahead from which a backfill begins; it ends when none lies ahead.
BACKFILL_BLOCKS = 1000
POLL_SECONDS = 0.5
HEARTBEAT_MS = 1000
# Blocks kept below finality where even those may be taken back.
TEST_NETWORK_KEPT = 2000
# A fenced follower stays on watch and takes over when the leader has written nothing for so long.
LEADER_SILENT_MS = 30_000
MAX_WAIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Status:
    """What the follower is doing, for people and for readiness.

    Attributes:
        state: starting, following, synced, unavailable, standby or stopped.
        reason: one sentence when something is wrong, else empty.
        since: Unix time at which this state began.
        reorgs: rolled back by this process.
        stuck: what stopped it; None while waiting may mend what is wrong.
    """

    state: str
    reason: str
    since: float
    reorgs: int = 0
    stuck: LedgerError | None = None


class Follower:
    """One process's hand on the index of one deployment.

    Args:
        node: the chain (`ledger.chain.rpc.Rpc`).
        engine: from `ledger.index.database.open_database`.
        deployment: which contracts, on which chain, since which block.
        profile: the chain's finality rule.
        now: Unix time in seconds.
        poll: seconds between two looks at an idle chain.

    Attributes:
        around: what each transaction of the journal is done within, such as a span.
    """

    def __init__(
        self,
        node: Node,
        engine: Engine,
        deployment: Contracted,
        profile: Finality,
        *,
        now: Callable[[], float] = time.time,
        poll: float = POLL_SECONDS,
    ) -> None:
        self._node = node
        self._engine = engine
        self._deployment = deployment
        self._profile = profile
        self._now = now
        self._poll = poll
        self.around: Around = alone
        self._journal = Journal(deployment.chain_id)
        self._holder = f"{socket.gethostname()[:40]}:{os.getpid()}"
        self._epoch: int | None = None
        self._identified = False
        # Whether database and endpoint were once found to be of this chain, and to be written.
        self._begun = False
        self._reader = Reader(
            node,
            deployment,
            postgres=engine.dialect.name == "postgresql",
            provable=getattr(profile, "proof_kind", "mpt") == "mpt",
        )
        self._ahead = ReadAhead(self._reader.read)
        # Whether the secondary indexes are known to be there (`ledger.index.deferred`).
        self._indexed = False
        self._backfilling = False
        self._head = 0
        # When blocks were last added, by `time.monotonic`.
        self._grown = float("-inf")
        # The final block that was last seen to be ours.
        self._final: tuple[int, bytes | None] = (0, None)
        self._reorgs = 0
        # On watch: what the leader wrote last, and when, by our clock, that was seen first.
        self._watched: tuple[tuple[int, ...], float] = ((), 0.0)
        self._status = Status("starting", "", now())

    @property
    def status(self) -> Status:
        """What it is doing now."""
        return self._status

    @property
    def journal(self) -> Journal:
        """The journal it writes."""
        return self._journal

    # -- running -------------------------------------------------------------------------------

    def run(self, stop: threading.Event, *, patient: bool = True) -> None:
        """Follow until `stop` is set. Errors become the status; the next turn tries again.

        Args:
            stop: ends it.
            patient: whether it also waits for a database or endpoints of another chain to be put
                right, as a service does. A person who has just named them is told at once.

        Raises:
            WrongNetwork: where it is not patient, and has followed nothing yet.
            IndexDamaged: where it is not patient.
            IndexUnavailable: as WrongNetwork, where the database may not be written.
        """
        try:
            self._run(stop, patient=patient)
        finally:
            self._read_alone()

    def _run(self, stop: threading.Event, *, patient: bool) -> None:
        failures = 0
        while not stop.is_set():
            try:
                wait = 0.0 if not self.step() else self._poll
                failures = 0
            except Fenced as error:
                wait = self._stand_by(error)
            except LedgerError as error:
                if not patient and (isinstance(error, IndexDamaged) or self._never(error)):
                    raise
                failures += 1
                wait = self._failed(error, failures)
            except Exception:
                # A bug, or a full disk: the service goes on answering, and says how old it is.
                failures += 1
                log.exception("the follower failed")
                self._set("unavailable", "the follower failed; see the log")
                wait = _backoff(failures)
            if self._status.state == "synced" and is_near(self._node):
                wait_for_block(self._node, stop, wait, self._head, grown=self._grown)
            else:
                stop.wait(wait)

    def _never(self, error: LedgerError) -> bool:
        """Whether what was named at the start is wrong, or may not be written."""
        refused = isinstance(error, IndexUnavailable) and isinstance(
            error.__cause__, ProgrammingError
        )
        return not self._begun and (refused or isinstance(error, WrongNetwork))

    def _stand_by(self, error: Fenced) -> float:
        self._set("standby", error.message)
        self._read_alone()
        try:
            with reading(self._engine) as connection:
                cursor = self._journal.cursor(connection)
        except LedgerError as gone:
            return self._failed(gone, 1)
        # Two measures: the leader's own time, and how long nothing has changed here, where the
        # leader's clock may have been ahead of ours.
        mark = (cursor.epoch, cursor.next_block, cursor.updated_at_ms)
        if mark != self._watched[0]:
            self._watched = (mark, time.monotonic())
        unchanged_ms = (time.monotonic() - self._watched[1]) * 1000
        if max(unchanged_ms, self._now() * 1000 - cursor.updated_at_ms) > LEADER_SILENT_MS:
            self._epoch = None
        return 1.0

    def _failed(self, error: LedgerError, failures: int) -> float:
        # Whatever answers next may be another chain: look at its identity again first.
        self._identified = False
        blame(self._node, error)
        stuck = isinstance(error, (WrongNetwork, Reorganised, IndexReplaced, IndexDamaged))
        said = f"{error.message}; {error.hint}" if stuck else error.message
        if self._status.reason != said:
            log.warning("%s: %s", error.code, said, extra={"code": error.code})
        self._set("stopped" if stuck else "unavailable", said, error if stuck else None)
        wait = error.retry_after if isinstance(error, UnavailableError) else 1.0
        return min(MAX_WAIT_SECONDS, max(wait * 0.5, _backoff(failures)))

    def _set(self, state: str, reason: str = "", stuck: LedgerError | None = None) -> None:
        if (state, reason) != (self._status.state, self._status.reason):
            self._status = Status(state, reason, self._now(), self._reorgs, stuck)
        elif self._status.reorgs != self._reorgs:
            self._status = replace(self._status, reorgs=self._reorgs)

    # -- one turn ------------------------------------------------------------------------------

    def step(self) -> bool:
        """Do at most one transaction. True when the index then stands on the endpoint's head.

        Raises:
            ChainUnavailable: the endpoint's answer cannot be used; nothing was changed.
            WrongNetwork: another chain, or a database of another chain.
            Reorganised: the chain changed below finality; an operator must decide.
            Fenced: another process follows.
        """
        self._identify()
        with reading(self._engine) as connection:
            cursor = self._journal.cursor(connection)
        if cursor.epoch != self._epoch:
            raise Fenced("another process follows the chain into this database")
        heads = self._heads()
        backfill = self._backfills(cursor, heads)
        if not backfill and not self._indexed:
            self._index_before_following()
            # That may have taken minutes.
            heads = self._heads()
        elif not backfill and self._reader.apart is not None:
            self._read_alone()
        if not self._holds_final(heads):
            return self._roll_back(cursor, heads)
        if heads.latest.number < cursor.next_block:
            return self._compare_tip(cursor, heads)
        with without_collection() if backfill else contextlib.nullcontext():
            return self._advance(cursor, heads, backfill=backfill)

    def _heads(self) -> Heads:
        shown = read_heads(self._node, depth=self._profile.finality_depth)
        heads = settled(self._node, shown)
        self._head = heads.latest.number
        return heads

    def take_over(self) -> None:
        """Become the process that follows; the one before commits nothing more."""
        with writing(self._engine) as connection:
            before = self._journal.cursor(connection)
            self._epoch = self._journal.take_over(connection, self._holder)
        self._indexed = False
        # Given up in good order, it has no time; a restart long after its end is no news either.
        silent = self._now() - before.updated_at_ms / 1000
        alive = silent * 1000 <= LEADER_SILENT_MS
        if before.holder in {"", self._holder} or not (alive or self._status.state == "standby"):
            return
        if before.updated_at_ms == 0:
            log.info("this follower leads now, in place of %s, which gave it up", before.holder)
            return
        log.warning(
            "this follower leads now, in place of %s, which last wrote %.1f s ago%s",
            before.holder,
            max(0.0, silent),
            "; where that one still runs, it stands by" if alive else "",
        )

    def _identify(self) -> None:
        """Check chain id and genesis, at the start and after every failure."""
        if not self._identified:
            expected = self._deployment
            # First, since no endpoint that comes back mends it.
            with reading(self._engine) as connection:
                if not self._journal.belongs(connection, expected):
                    self._require_file_of_ours(connection)
            chain_id, block0 = genesis(self._node)
            if chain_id != expected.chain_id or block0 != expected.genesis_hash:
                what = (
                    f"chain {chain_id} and not {expected.chain_id}"
                    if chain_id != expected.chain_id
                    else f"a chain {chain_id} with another first block"
                )
                raise WrongNetwork(
                    f"the endpoint serves {what}",
                    hint="the URL or the deployment manifest may be of another network: correct "
                    "it; only a local chain that was lost is begun anew, with deed up --fresh",
                )
            with writing(self._engine) as connection:
                self._journal.pin(
                    connection,
                    genesis=expected.genesis_hash,
                    deployment={name: str(a) for name, a in expected.addresses.items()},
                    first=expected.block,
                )
            self._identified = True
        if self._epoch is None:
            self.take_over()
        self._begun = True

    def _require_file_of_ours(self, connection: Connection) -> None:
        # A server's database holds several chains where that is wanted; a file of another chain was
        # named by mistake, and two chains in it would be told apart by none of its copies.
        others = chains(connection)
        if others and connection.dialect.name == "sqlite":
            raise WrongNetwork(
                f"the index database holds another chain, {', '.join(map(str, others))}, and "
                f"nothing of chain {self._journal.chain_id}",
                hint="name another database, or put back the copy that is of this chain (deed "
                "index restore); only on PostgreSQL one database takes several chains",
            )

    def _holds_final(self, heads: Heads) -> bool:
        """Whether the block that is final now is the one that the journal stands on.

        A branch that one endpoint makes up would else become final with the height of the true one.
        """
        final = (heads.finalized, heads.final_hash)
        if heads.final_hash is None or final == self._final:
            return True
        with reading(self._engine) as connection:
            held = self._journal.newest_kept(connection, heads.finalized)
        if held is None or held[0] != heads.finalized:
            return True
        if held[1] == heads.final_hash:
            self._final = final
        return held[1] == heads.final_hash

    def _advance(self, cursor: Cursor, heads: Heads, *, backfill: bool) -> bool:
        self._reader.finalized(heads.finalized)
        # A backfill reads what is final and no further.
        last = heads.finalized if backfill else heads.latest.number
        if backfill:
            self._reader.expect(last - cursor.block)
        spans = [self._ahead.take(cursor.next_block, last)]
        if cursor.last_hash is not None and spans[0].headers[0].parent_hash != cursor.last_hash:
            self._ahead.drop()
            return self._roll_back(cursor, heads)
        # What was read ahead meanwhile goes into the same transaction.
        while backfill and sum(span.count for span in spans) < COMMIT_LOGS:
            span = self._ahead.take_ready()
            if span is None:
                break
            if span.headers[0].parent_hash != spans[-1].headers[-1].hash:
                self._ahead.drop()
                break
            spans.append(span)
        vouch(self._node, [header for span in spans for header in span.headers], heads)
        counts = {"logs": sum(span.count for span in spans), "last": spans[-1].last}
        told = self.around("index.append", first=cursor.next_block, **counts)
        with told, writing(self._engine, durable=not backfill) as connection:
            if backfill and cursor.last_hash is None and leave_out(connection):
                self._indexed = False
            self._journal.append(
                connection,
                cursor,
                heads,
                parts=[self._reader.packed(span) for span in spans],
                keep=TEST_NETWORK_KEPT if self._profile.test_network else 0,
                now_ms=self._now_ms(),
                backfill=backfill,
            )
        if backfill:
            blocks = sum(len(span.headers) for span in spans)
            logs = sum(span.count for span in spans)
            self._reader.expect(last - spans[-1].last, logs / blocks)
        self._grown = time.monotonic()
        synced = spans[-1].last >= heads.latest.number
        self._set("synced" if synced else "following")
        return synced

    def _read_alone(self) -> None:
        """End the threads and the process that read ahead; a backfill begins new ones."""
        self._ahead.close()
        self._reader.close()

    def _backfills(self, cursor: Cursor, heads: Heads) -> bool:
        """Whether so much that is final lies ahead that indexes are better made afterwards."""
        enough = 0 if self._backfilling else BACKFILL_BLOCKS
        self._backfilling = heads.finalized - cursor.next_block >= enough
        return self._backfilling

    def _index_before_following(self) -> None:
        """Make the indexes that a backfill, this one or one that died, has left out."""
        self._read_alone()
        if made := restore(self._engine):
            log.info("made %d indexes after the backfill", made)
        self._indexed = True

    # -- standing still, and going back ----------------------------------------------------------

    def _compare_tip(self, cursor: Cursor, heads: Heads) -> bool:
        """Nothing new: is our last block still the endpoint's?"""
        head = heads.latest
        if cursor.last_hash is None:
            self._set("synced")
            return True
        if head.number == cursor.block and head.hash == cursor.last_hash:
            now_ms = self._now_ms()
            # Also after the clock was set back: a time to come would seem fresh for as long.
            beat = not 0 <= now_ms - cursor.synced_at_ms < HEARTBEAT_MS
            if beat or heads.finalized > cursor.finalized:
                with writing(self._engine) as connection:
                    self._journal.note(connection, cursor, heads, now_ms)
            self._set("synced")
            return True
        if head.number == cursor.block or self._profile.test_network:
            return self._roll_back(cursor, heads)
        # One endpoint with a lower head lags; it is no witness of a reorganisation.
        raise ChainUnavailable(
            f"the endpoint stands at block {head.number}, below block {cursor.block} of the index",
            hint="the endpoint is syncing or lags; use another, or wait",
        )

    def _roll_back(self, cursor: Cursor, heads: Heads) -> bool:
        """Walk down over the kept blocks to the newest one the endpoint still has."""
        # What looks like a deep reorganisation may be another chain that answers at the same URL.
        self._identified = False
        self._identify()
        ancestor = find_fork(self._node, self._engine, self._journal, heads).ancestor
        if ancestor == cursor.block:
            # It shows our last block after all: a torn answer, or one that contradicts itself.
            raise ChainUnavailable(
                f"the endpoint shows blocks up to {cursor.block} in two forms",
                hint="another endpoint is asked next where there is one",
            )
        with reading(self._engine) as connection:
            kept = self._journal.lowest_above(connection, ancestor)
        confirm(self._node, cursor, heads, kept, lower_heads=self._profile.test_network)
        if ancestor < cursor.finalized and not self._profile.test_network:
            raise past_finality(cursor.finalized, ancestor)
        told = self.around("index.roll_back", last=cursor.block, ancestor=ancestor)
        with told, writing(self._engine) as connection:
            self._journal.roll_back(connection, cursor, ancestor, heads, self._now_ms())
        self._reorgs += 1
        log.warning(
            "rolled back from block %d to block %d",
            cursor.block,
            ancestor,
            extra={"ancestor": ancestor, "depth": cursor.block - ancestor},
        )
        self._set("following")
        return False

    def _now_ms(self) -> int:
        return int(self._now() * 1000)


def _backoff(failures: int) -> float:
    return min(MAX_WAIT_SECONDS, 0.25 * 2.0 ** min(failures, 6))
