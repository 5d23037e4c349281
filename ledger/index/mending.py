"""What the evidence store lacks of what it harvested, and what puts it right at an operator's word.

Harvesting goes forward only (`ledger.index.evidence_store`). Here all of it is gone over again,
also what events rest on that were taken back. What is looked through is read; each block is then
put right in a transaction of its own, which has whoever else writes to the chain wait. So a
follower, its keeper and another of these may run beside it, and it may end at any point.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Engine,
    Row,
    ScalarSelect,
    Table,
    delete,
    func,
    select,
    update,
)

from ledger.index import tables
from ledger.index.database import reading, writing
from ledger.index.event_proofs import (
    KINDS,
    proof_in,
)
from ledger.index.evidence_account import Account
from ledger.index.evidence_rows import (
    misstored,
    put_bodies,
    raw,
    same_block,
    same_event,
    same_proof,
    whole,
)
from ledger.index.evidence_store import EvidenceStore
from ledger.index.proof_source import ProofSource
from ledger.index.strays import Block, Strays, block_of, misnamed

_AT_ONCE: Final = 500
_SORTED_OUT: Final = 10_000
# Counts while others write, which may have to be made again; then one that holds them up.
_COUNTS: Final = 3
FEWER: Final = "fewer are proved than were counted, and nothing says which: a copy of the index may"
"""Why proofs are lacking of which nothing is left; counted in events."""

_TAKEN_BACK: Final = "its block was taken back, and no endpoint has that; a copy of the index may"

_LOGS: Final = (tables.raw_log, tables.orphan_log)

Act = Callable[[Connection, EvidenceStore, Sequence[bytes]], list[bytes]]


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What came of asking again.

    Attributes:
        found: proofs that are held now.
        reasons: how many are still lacking, by what the endpoints said.
    """

    found: int
    reasons: Mapping[str, int]


class Mender:
    """One chain's evidence store, gone over again.

    Args:
        engine: the index's database.
        chain_id: whose events.
        source: of proofs that the database has not.
    """

    def __init__(self, engine: Engine, chain_id: int, source: ProofSource) -> None:
        self._engine = engine
        self._chain_id = chain_id
        self._store = EvidenceStore(chain_id)
        self._source = source

    def retrieve(
        self,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
        *,
        ready: Callable[[], object] = lambda: None,
    ) -> Retrieved:
        """Find every proof that is lacking: could not be had, or is gone or spoilt.

        First the store itself is looked through, all of it: what is whole there needs no node,
        which may have forgotten it. Then the chain is asked.

        Args:
            progress: called with the number of blocks done so far, and of all that lack some.
            ready: called once before the chain is asked; what it raises ends this.

        Raises:
            ChainUnavailable: no endpoint answers; what was found in the store is kept.
            IndexDamaged: rows are not of their kind.
            IndexUnavailable: the database cannot be written or holds nothing yet.
        """
        self._settle_entries()
        with reading(self._engine) as connection:
            bad = list(misstored(connection, self._chain_id))
        bad = self._each(set_right, bad)
        with reading(self._engine) as connection:
            wrong = {logs: misnamed(connection, self._chain_id, logs) for logs in _LOGS}
            elsewhere = {hash_ for _, hashes in wrong.values() for hash_ in hashes}
            strays = Strays.of(connection, {*bad, *elsewhere})
        # Not lowered yet: until the end, fewer are what this run may find.
        self._recount(strays, lower=False)
        with reading(self._engine) as connection:
            live, both = (
                sorted(wanting(connection, self._store, logs, set(bad), strays) | wrong[logs][0])
                for logs in _LOGS
            )
        # A block that came back is the journal's again, and has the same entries.
        taken_back = sorted(set(both) - set(live))
        found, done, total = 0, 0, len(live) + len(taken_back)
        reasons, to_ask = Counter[str](), list[int]()
        for table, blocks in ((tables.raw_log, live), (tables.orphan_log, taken_back)):
            for events in self._events(table, blocks):
                new, left = self._from_store(table, events, strays)
                found += new
                if left and table is tables.raw_log:
                    to_ask.append(events[0].block)
                    continue
                reasons.update(_TAKEN_BACK for _ in range(left))
                done += 1
                progress(done, total)
        asked = set(to_ask)
        if asked:
            ready()
        for events in self._events(tables.raw_log, [at for at in live if at[0] in asked]):
            gathered = self._source.gather(events, give_up=True)
            with writing(self._engine) as connection:
                filed, _ = self._store.mend(connection, events, gathered)
            found += filed.proofs
            reasons.update(filed.lacking)
            done += 1
            progress(done, total)
            time.sleep(self._source.pause(events))
        self._each(sort_out, bad)
        fewer = self._recount(strays, lower=True)
        if fewer:
            reasons[FEWER] += fewer
        return Retrieved(found, reasons)

    def _events(self, table: Table, blocks: Sequence[Block]) -> Iterator[list[Row[Any]]]:
        """The events of blocks, block by block, in order."""
        for at in range(0, len(blocks), _AT_ONCE):
            some = set(blocks[at : at + _AT_ONCE])
            with reading(self._engine) as connection:
                rows = connection.execute(
                    select(table)
                    .where(
                        table.c.chain_id == self._chain_id,
                        table.c.block.in_({number for number, _ in some}),
                        table.c.block_hash.in_({hash_ for _, hash_ in some}),
                    )
                    .order_by(table.c.block, table.c.block_hash, table.c.log_index)
                ).all()
            for row in rows:
                tables.require_kinds(table, row)
            for block, group in groupby(rows, key=lambda row: (row.block, row.block_hash)):
                if block in some:
                    yield list(group)

    def _from_store(
        self, table: Table, events: Sequence[Row[Any]], strays: Strays
    ) -> tuple[int, int]:
        """How many proofs of a block's events were found in the store, and how many lack still.

        Of what was taken back those do not lack that could not be had when they were taken.
        """
        block, hash_ = int(events[0].block), bytes(events[0].block_hash)
        with reading(self._engine) as connection:
            there = strays.proofs(connection, self._store, events)
        with writing(self._engine) as connection:
            filed, left = self._store.mend(connection, events, there)
            if table is tables.orphan_log:
                left -= self._store.lost(connection, block, hash_)
        return filed.proofs, len(left)

    def _settle_entries(self) -> None:
        """Of what is both held and lost believe that it is held; forget what is neither."""
        link = tables.evidence
        of = link.c.chain_id == self._chain_id
        said, named = link.c.lost.is_not(None), link.c.hash.is_not(None)
        with writing(self._engine) as connection:
            self._store.alone(connection)
            connection.execute(update(link).where(of, said, named).values(lost=None))
            connection.execute(delete(link).where(of, ~said, ~named))

    def _each(self, act: Act, hashes: Sequence[bytes]) -> list[bytes]:
        left = []
        for at in range(0, len(hashes), _SORTED_OUT):
            with writing(self._engine) as connection:
                left += act(connection, self._store, hashes[at : at + _SORTED_OUT])
        return left

    def _recount(self, strays: Strays, *, lower: bool) -> int:
        """Write how much there is; by how many events fewer than was written."""
        for _ in range(_COUNTS):
            with reading(self._engine) as connection:
                account = Account.of(connection, self._store, strays)
            if account.right:
                return 0
            with writing(self._engine) as connection:
                self._store.alone(connection)
                if account.settle(connection, self._store, lower=lower):
                    return account.fewer
        with writing(self._engine) as connection:
            self._store.alone(connection)
            account = Account.of(connection, self._store, strays)
            account.settle(connection, self._store, lower=lower)
        return account.fewer


def set_right(connection: Connection, store: EvidenceStore, hashes: Sequence[bytes]) -> list[bytes]:
    """Set sizes, and make bytes of bodies that became text: all is there, under its hash.

    Returns:
        Under what the others are stored, which are something else.
    """
    stored, left = tables.proof, []
    store.alone(connection)
    for at in range(0, len(hashes), _AT_ONCE):
        # Locked, since another chain may share them: whoever puts one right has, or waits.
        some = select(stored).where(stored.c.hash.in_(hashes[at : at + _AT_ONCE]))
        for row in connection.execute(some.order_by(stored.c.hash).with_for_update()).all():
            body = raw(row.body)
            if whole(body, row.hash):
                now = update(stored).where(stored.c.hash == row.hash)
                connection.execute(now.values(body=body, size=len(body)))
            else:
                left.append(row.hash)
    return left


def sort_out(connection: Connection, store: EvidenceStore, hashes: Sequence[bytes]) -> list[bytes]:
    """Put bodies that are not stored as they are under what they are.

    Of those that are no proof at all the ones that nothing names are forgotten. Nothing that is
    whole, or proves something under whatever name, is ever lost by that.

    Returns:
        Under what those are stored that entries name, and are something else.
    """
    link, stored = tables.evidence, tables.proof
    hashes = set_right(connection, store, hashes)
    # No database has an index of what entries name: this goes through all of them once.
    named = set(connection.execute(select(link.c.hash).where(link.c.hash.in_(hashes))).scalars())
    for hash_ in hashes:
        body = connection.execute(select(stored.c.body).where(stored.c.hash == hash_)).scalar()
        proof = proof_in(raw(body))
        if proof is not None:
            put_bodies(connection, [proof])
    left = []
    for hash_ in hashes:
        # Looked at again: what stood under another's hash may have been put here.
        this = stored.c.hash == hash_
        body = connection.execute(select(stored.c.body).where(this)).scalar()
        if whole(body, hash_):
            continue
        if hash_ in named:
            left.append(hash_)
        else:
            connection.execute(delete(stored).where(this))
    return left


def wanting(
    connection: Connection,
    store: EvidenceStore,
    logs: Table,
    bad: AbstractSet[bytes],
    strays: Strays,
) -> set[Block]:
    """The blocks with events that lack proofs which were harvested: all are looked through.

    A proof is lacking where none is on record, where it could not be had, and where its bytes are
    gone or not those that were kept. Of an event that was taken back none is missed where nothing
    says that there were some.

    Args:
        connection: a transaction that reads.
        store: of the chain.
        logs: the journal, or what was taken back.
        bad: what bodies are stored under that are not stored as they are.
        strays: which say, too, that a block was harvested.
    """
    place = store.place(connection)
    if place is None and logs is tables.raw_log:
        return set()
    link, chain_id = tables.evidence, store.chain_id
    block = (logs.c.block, logs.c.block_hash)
    # Blocks are filed whole: an entry of one event says it of the others.
    entry = select(link.c.kind).where(same_block(logs)).correlate(logs).exists()
    lacking = select(*block).distinct().where(logs.c.chain_id == chain_id)
    lacking = lacking.where(_held(logs) != len(KINDS))
    if place is not None and logs is tables.raw_log:
        lacking = lacking.where(logs.c.block < place.next_block)
        found = {block_of(logs, row) for row in connection.execute(lacking)}
    else:
        some = connection.execute(lacking.add_columns(entry.label("spoken_of")))
        blocks = ((block_of(logs, row), row.spoken_of) for row in some)
        found = {at for at, spoken_of in blocks if spoken_of or ("header", at[1]) in strays.hashes}
    ours = select(*block, link.c.hash).join(logs, same_event(logs))
    ours = ours.where(link.c.chain_id == chain_id).execution_options(yield_per=_AT_ONCE)
    for row in connection.execute(ours) if bad else ():
        if row.hash in bad:
            found.add(block_of(logs, row))
    for row in connection.execute(ours.where(link.c.kind.not_in(KINDS))):
        found.add(block_of(logs, row))
    return found


def _held(logs: Table) -> ScalarSelect[int]:
    """How many proofs of an event are there, in a query of events."""
    link, stored = tables.evidence, tables.proof
    return (
        select(func.count())
        .select_from(link)
        .join(stored, same_proof())
        .where(same_event(logs), link.c.kind.in_(KINDS))
        .correlate(logs)
        .scalar_subquery()
    )
