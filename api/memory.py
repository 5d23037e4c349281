"""Answers that are kept in memory, each good only for the state of the index it was made from.

docs/spec/entitlement-cache.md. Routes put answers in, from any thread; the front and the routes
take them out, on the event loop. An answer is kept as bytes in parts, between which stands what
changes with the clock: how old the index is, and the moment that is asked about.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, NamedTuple

from sqlalchemy import Table, select, union

from api.schemas import base as schemas
from api.security import completed, header_lines
from ledger.errors import LedgerError
from ledger.index import tables
from ledger.index.as_of import AsOf
from ledger.index.journal import lag_s
from ledger.index.views import Index, Snapshot
from ledger.index.watching import Mark, Watch, mark_in, watch_of

ENTRIES: Final = 100_000
"""Entitlements kept; about 1 kB each."""
PAGES_BYTES: Final = 64 << 20
"""Bytes of pages kept."""
MAX_QUERY: Final = 512
"""Bytes of a query whose answer is kept. Heads may have 64 KiB, and whatever a query says that no
route reads makes another key: 100,000 of these would be 6 GB that a stranger fills."""
_PAGE_BESIDE: Final = 1 << 10
"""About what a page takes beside its body and its query."""
CHANGES: Final = 1000
"""Changed licenses, seats or plans up to which the others' answers outlive a step of the index."""

ROUTE: Final = "/v1/entitlements/{license}"
"""Which describes them."""

BATCH: Final = "/v1/entitlements"
"""Of many at once."""

Key = tuple[str, bytes]
"""Path and query of a GET."""


class Moment(NamedTuple):
    """What the parts of an answer are joined with.

    Attributes:
        as_of: the answer's first member, from its brace on.
        seconds: the Unix time asked about; not before the chain's own.
        at: it as digits.
        safe, finalized: blocks.
        lag_s, lag: seconds since the index stood on the chain's head, and as digits.
        head: the finality of the index's own block.
    """

    as_of: bytes
    seconds: int
    at: bytes
    safe: int
    finalized: int
    lag_s: float
    lag: bytes
    head: bytes

    @classmethod
    def of(cls, facts: AsOf, seconds: int) -> Moment:
        """From what a snapshot rests on, and the time asked about."""
        before, after = divided(facts)
        return cls.made(facts, before, after, seconds, facts.lag_s)

    @classmethod
    def made(cls, facts: AsOf, before: bytes, after: bytes, seconds: int, lag_s: float) -> Moment:
        """The same, where the first member is divided already."""
        lag = repr(lag_s).encode()
        return cls(
            b"%b%b%b" % (before, lag, after),
            seconds,
            b"%d" % seconds,
            facts.safe,
            facts.finalized,
            lag_s,
            lag,
            _word(facts.block, facts.safe, facts.finalized),
        )


class PlanFacts(NamedTuple):
    """What a plan decides of entitlements."""

    licensor: bytes
    grace: int
    floating: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One entitlement's answer, good from `begin` until before `end` (Unix seconds).

    Attributes:
        license: token id.
        plan, facts: the plan and what was read of it; None where there is no such license.
        born: block of the license's last change; None where there is none: the index's own.
        head: from the license to ``"at":``.
        middle: from there to the end of grace, where that moves with `at`.
        grace, not_after: seconds of grace, and where it ends at the latest; None where it is said.
        tail: from there to ``"finality":"``.
    """

    license: int
    plan: int | None
    facts: PlanFacts | None
    born: int | None
    begin: int
    end: int
    head: bytes
    middle: bytes
    grace: int | None
    not_after: int
    tail: bytes

    headers: ClassVar = completed([(b"content-type", b"application/json")])
    lines: ClassVar = header_lines(headers)
    route: ClassVar = ROUTE

    def holds(self, moment: Moment) -> bool:
        """Whether the rule that was found applies at that time too."""
        return self.begin <= moment.seconds < self.end

    def member(self, moment: Moment) -> bytes:
        """All but the first member, to the closing brace."""
        born = self.born
        word = moment.head if born is None else _word(born, moment.safe, moment.finalized)
        if self.grace is None:
            return b"%b%b%b%b%b" % (self.head, moment.at, self.middle, self.tail, word)
        until = min(moment.seconds + self.grace, self.not_after)
        return b"%b%b%b%d%b%b" % (self.head, moment.at, self.middle, until, self.tail, word)

    def body(self, moment: Moment) -> bytes:
        """The whole answer."""
        return b"%b,%b" % (moment.as_of, self.member(moment))


@dataclass(frozen=True, slots=True)
class Page:
    """A list or a record as it was answered, good as long as the index has not moved.

    Attributes:
        before, after: the body around the digits of its age.
        stale_s: seconds without news of the chain from which its validator is another.
        headers: as sent, but for length and request id; `lines` in the form of HTTP/1.1.
        route: names the path in metrics.
    """

    before: bytes
    after: bytes
    stale_s: float
    headers: list[tuple[bytes, bytes]]
    route: str
    lines: bytes = field(init=False)

    def __post_init__(self) -> None:
        """Write the lines once."""
        object.__setattr__(self, "lines", header_lines(self.headers))

    def holds(self, moment: Moment) -> bool:
        """Whether the index is as young as its validator says."""
        return moment.lag_s <= self.stale_s

    def body(self, moment: Moment) -> bytes:
        """The whole answer."""
        return b"%b%b%b" % (self.before, moment.lag, self.after)


def _word(born: int, safe: int, finalized: int) -> bytes:
    if born <= finalized:
        return b'finalized"}'
    return b'safe"}' if born <= safe else b'included"}'


class Memory:
    """What one process keeps of one index.

    Args:
        index: whose answers.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self.watch: Watch = watch_of(index.engine, index.chain_id)
        self.entries: dict[Key, Entry] = {}
        self.pages: dict[Key, Page] = {}
        self._keys: dict[int, set[Key]] = {}
        self._sizes = 0
        # Held while answers are put in or dropped; looking one up needs it not.
        self._changing = threading.Lock()
        self._mark: Mark | None = None
        self._as_of: AsOf | None = None
        self._parts = (b"", b"")
        self._moment: tuple[int, Mark, Moment] | None = None
        self._advancing: asyncio.Task[None] | None = None
        # Of its own: requests that hold every other thread must not hold up this one.
        self._thread = ThreadPoolExecutor(1, "memory")

    def close(self) -> None:
        """Let go of connection and thread."""
        self.watch.close()
        self._thread.shutdown(wait=False)

    # -- the present -----------------------------------------------------------------------------

    def now(self) -> Moment | None:
        """The present moment; None where it has to be asked for (`present`).

        Raises:
            IndexUnavailable: the database does not answer.
        """
        mark = self.watch.look()
        if mark is None or not self._stands(mark):
            return None
        return self._moment_of(mark)

    async def present(self) -> Moment:
        """The present moment, all answers that it overtakes dropped.

        Raises:
            IndexUnavailable: the database does not answer.
        """
        mark = self.watch.look()
        if mark is None:
            mark = await self.watch.ask()
        if not self._stands(mark):
            await self._catch_up(mark)
            mark = self._mark or mark
        return self._moment_of(mark)

    async def moment(self) -> Moment | None:
        """The present moment, as `present`; None where the database does not answer.

        Whoever asked goes on to the route, which says so in its own words.
        """
        with contextlib.suppress(LedgerError):
            return self.now() or await self.present()
        return None

    def _stands(self, mark: Mark) -> bool:
        """Whether this memory is that of `mark`; takes over from it what only tells the age."""
        own = self._mark
        if own is mark:
            return True
        if own is None or own.page != mark.page:
            return False
        self._mark = mark
        return True

    def _moment_of(self, mark: Mark) -> Moment:
        now = self._index.now()
        tick = int(now * 1000)
        last = self._moment
        if last is not None and last[0] == tick and last[1] is mark:
            return last[2]
        facts = self._as_of
        assert facts is not None
        # As of an answer that a route makes (`ledger.index.as_of`).
        lag = lag_s(mark.synced_at_ms, now)
        lag = round(now, 1) if lag is None else lag
        seconds = max(int(now), facts.time or 0)
        moment = Moment.made(facts, *self._parts, seconds, lag)
        self._moment = (tick, mark, moment)
        return moment

    # -- following the index ---------------------------------------------------------------------

    async def _catch_up(self, mark: Mark) -> None:
        """Take over a state of the index that is not before `mark`."""
        begun = self._advancing
        if begun is not None:
            await asyncio.shield(begun)
            if self._stands(mark):
                return
            # It may have read before `mark` was there. The next one begins after that.
        if self._advancing is None:
            self._advancing = asyncio.create_task(self._advance())
        await asyncio.shield(self._advancing)

    async def _advance(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._thread, self._read, self._mark)
            self._take(*found)
        finally:
            self._advancing = None

    def _read(self, old: Mark | None) -> tuple[Mark, AsOf, _Changes | None]:
        with self._index.snapshot() as snapshot:
            mark = mark_in(snapshot.connection, self._index.chain_id)
            if old is None:
                changes = None
            elif old.state == mark.state:
                changes = _Changes(frozenset(), {})
            else:
                changes = _changes(snapshot, old, mark)
            return mark, snapshot.as_of, changes

    def _take(self, mark: Mark, facts: AsOf, changes: _Changes | None) -> None:
        with self._changing:
            self.pages.clear()
            self._sizes = 0
            if changes is None:
                self.entries.clear()
                self._keys.clear()
            else:
                for license_ in changes.licenses:
                    self._forget(license_)
                for license_ in self._turned(changes.plans):
                    self._forget(license_)
            self._mark, self._as_of = mark, facts
            self._parts = divided(facts)

    def _turned(self, plans: Mapping[int, PlanFacts]) -> set[int]:
        """Licenses whose plan now decides otherwise than what was kept says."""
        return {
            entry.license
            for entry in (self.entries.values() if plans else ())
            if entry.plan is not None and plans.get(entry.plan, entry.facts) != entry.facts
        }

    def _forget(self, license_: int) -> None:
        for key in self._keys.pop(license_, ()):
            self.entries.pop(key, None)

    # -- taking out ------------------------------------------------------------------------------

    def has(self, key: Key) -> bool:
        """Whether anything is kept under a key, good or not."""
        return key in self.entries or key in self.pages

    def kept(self, key: Key, moment: Moment) -> Entry | Page | None:
        """What answers at the present `moment`; the clock may have ended what the index has not."""
        found = self.entries.get(key) or self.pages.get(key)
        return found if found is not None and found.holds(moment) else None

    # -- putting in ------------------------------------------------------------------------------

    def put(self, key: Key, entry: Entry, mark: Mark) -> None:
        """Keep an entitlement's answer that was made from `mark`, from any thread."""
        if len(key[1]) > MAX_QUERY:
            return
        with self._changing:
            if self._mark is None or self._mark.state != mark.state:
                return
            while len(self.entries) >= ENTRIES:
                oldest = next(iter(self.entries))
                gone = self.entries.pop(oldest)
                keys = self._keys.get(gone.license)
                if keys is not None:
                    keys.discard(oldest)
                    if not keys:
                        del self._keys[gone.license]
            self.entries[key] = entry
            self._keys.setdefault(entry.license, set()).add(key)

    def put_page(self, key: Key, page: Page, mark: Mark) -> None:
        """Keep a page that was made from `mark`, from any thread."""
        if len(key[1]) > MAX_QUERY:
            return
        with self._changing:
            if self._mark is None or self._mark.page != mark.page or key in self.pages:
                return
            size = len(page.before) + len(page.after) + len(key[1]) + _PAGE_BESIDE
            if self._sizes + size > PAGES_BYTES:
                self.pages.clear()
                self._sizes = 0
            self.pages[key] = page
            self._sizes += size


@dataclass(frozen=True, slots=True)
class _Changes:
    """What another mark changes of entitlements.

    Attributes:
        licenses: whose answers no longer count.
        plans: what is now so of plans that had changes; most changes decide nothing here.
    """

    licenses: frozenset[int]
    plans: Mapping[int, PlanFacts]


def _changes(snapshot: Snapshot, old: Mark, new: Mark) -> _Changes | None:
    """What came between two marks; None where that is much, or the one does not continue the other.

    A state that continues another is the same but for the versions born or dead since.
    """
    if old.state.epoch != new.state.epoch or new.state.next_block < old.state.next_block:
        return None
    block, last = tables.block, old.state.next_block - 1
    held = snapshot.connection.execute(
        select(block.c.hash).where(block.c.chain_id == snapshot.chain_id, block.c.number == last)
    ).scalar_one_or_none()
    if held is None or bytes(held) != old.state.last_hash:
        return None

    def since(table: Table, *columns: Any) -> Any:
        return [
            select(*columns).where(table.c.chain_id == snapshot.chain_id, place > last)
            for place in (table.c.born_block, table.c.died_block)
        ]

    license_, seat, plan = tables.license_, tables.seat, tables.plan
    ids = union(*since(license_, license_.c.license_id), *since(seat, seat.c.license_id))
    licenses = snapshot.connection.execute(ids.limit(CHANGES + 1)).scalars().all()
    facts = (plan.c.plan_id, plan.c.licensor, plan.c.grace, plan.c.floating)
    plans = snapshot.rows(
        select(*facts)
        .where(plan.c.chain_id == snapshot.chain_id, plan.c.born_block > last)
        .where(plan.c.died_block.is_(None))
        .limit(CHANGES + 1)
    )
    if max(len(licenses), len(plans)) > CHANGES:
        return None
    return _Changes(frozenset(licenses), {row["plan_id"]: plan_facts(row) for row in plans})


def entry_key(license_: str, holder: str | None, runtime: str | None) -> Key:
    """The key of a member of a batch: that of the request which asks for it alone."""
    query = [("holder", holder), ("runtime", runtime)]
    given = "&".join(f"{name}={value}" for name, value in query if value is not None)
    return f"{BATCH}/{license_}", given.encode()


def together(entries: list[Entry], moment: Moment) -> bytes:
    """The answer to a batch."""
    items = b",".join(b"{" + entry.member(moment) for entry in entries)
    return b'%b,"entitlements":[%b]}' % (moment.as_of, items)


def plan_facts(row: Mapping[str, Any]) -> PlanFacts:
    """Of a plan's row."""
    return PlanFacts(bytes(row["licensor"]), row["grace"], bool(row["floating"]))


def divided(facts: AsOf) -> tuple[bytes, bytes]:
    """An answer's first member, from its brace on, around the digits of its age."""
    found = around_lag(b'{"as_of":' + schemas.AsOf.of(facts).model_dump_json().encode())
    assert found is not None
    return found


def around_lag(body: bytes) -> tuple[bytes, bytes] | None:
    """An answer around the digits of its age; None of one that does not begin with `as_of`."""
    before, name, rest = body.partition(b'"lag_s":')
    if not name or not before.startswith(b'{"as_of":{'):
        return None
    return before + name, rest[rest.index(b",") :]
