"""Verify again all that the index holds, in numbered checks that read like a list.

(1)  the database is of this chain and these contracts. Only where these are known; the contracts
     of what follows are otherwise those that the journal names;
(2)  kept blocks: each names the one before as parent, and the cursor stands on the last;
(3)  journal: every event lies in a kept block of its hash and time, in places that rise, at or
     below the cursor, under its topic's name; every block that is said to hold events does; a
     plan's terms are those of the digest in its event;
(4)  retractions: there are as many orphans as were told, each of its event's name and contract, in
     its reorganisation, above its ancestor;
(5)  outbox: numbers without gaps, as many applied less retracted as the journal holds; read from
     its end, its entries take the journal apart again, and name what events are filed under;
(6)  proofs: every body has the hash it is stored under, every proof that is named is there, and
     every event's proofs lead to its block, also those of retracted events;
(7)  receipts: a proved receipt holds no event of ours that the journal lacks, and no event that
     was proved is gone;
(8)  coverage: of every event up to where proofs were taken, all are there, or why one is not;
(9)  leaves: every model's tensor leaves lead to its claim's roots, and every document that was
     deposited is what it is filed under;
(10) state: the journal, folded again, gives the live tables;
(11) chain: the endpoints still show every kept block. Only when asked for.
(12) receipts of the chain: from the deployment's block to the cursor they hold the events of the
     journal, and no others (`ledger.index.comparing`). Only when asked for;
(13) shape: tables, columns, keys and indexes are those of this release, without triggers or rules.

Each check ends as pass, fail, or not checked and why; one that does not come to its end, such as
at a row that is not of its kind, fails. Nothing is written.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, and_, func, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from ledger.errors import (
    ChainError,
    LedgerError,
    UnavailableError,
)
from ledger.ids import Address, Digest
from ledger.index import audit_evidence, outbox_faults, tables
from ledger.index.audit_report import Check, Faults, Report, Said
from ledger.index.blocks import Node
from ledger.index.comparing import Comparison
from ledger.index.contracts import Contracts
from ledger.index.database import reading, require_sound
from ledger.index.decode import EVENTS
from ledger.index.faults import emitters, misread, name_of, pages, silent_blocks
from ledger.index.journal import Cursor, Journal, pinned
from ledger.index.leaves import emptied, examine, forged
from ledger.index.rebuilding import compare_folded, counted
from ledger.index.shape import lacking

log = logging.getLogger(__name__)

_NOT_ASKED: Final[Said] = ("not checked", "the chain was not asked; pass --chain")


class Auditor:
    """One audit of one chain's index, over one consistent view of the database.

    Args:
        connection: a reading transaction that sees one state.
        chain_id: of the chain.
        genesis: hash of its block 0; None where that is not known, such as of a lone copy.
        addresses: the contracts by name; likewise.
        node: the chain, for checks (11) and (12); None leaves them out.
        provable: whether this chain's headers hash and its receipts lead to a root.
        first_block: the first that can hold an event of these contracts.
    """

    def __init__(
        self,
        connection: Connection,
        chain_id: int,
        *,
        genesis: Digest | None = None,
        addresses: Mapping[str, Address] | None = None,
        node: Node | None = None,
        provable: bool = True,
        first_block: int = 0,
    ) -> None:
        self._connection = connection
        self._chain_id = chain_id
        self._genesis = genesis
        self._pins = addresses
        self._addresses = emitters(connection, chain_id) if addresses is None else addresses
        self._node = node
        self._provable = provable
        self._first_block = first_block
        self._journal = Journal(chain_id)
        self._cursor: Cursor = self._journal.cursor(connection)
        # How (11) and (12) end, which go over the same headers.
        self._ends: tuple[Said, Said] | None = None

    def run(self, progress: Callable[[int, int], None] = lambda _done, _total: None) -> Report:
        """Make every check.

        Args:
            progress: called with the number of checks done, and of all.
        """
        checks: list[tuple[str, Callable[[], Said]]] = [
            ("the database is of this chain and these contracts", self._pinned),
            ("kept blocks form one chain up to the cursor", self._blocks),
            ("every event lies in a kept block", self._events),
            ("every retracted event belongs to a reorganisation", self._orphans),
            ("the outbox tells all that happened to the journal", self._outbox),
            ("proofs lead to the blocks of their events", self._proofs),
            ("proved receipts hold no event that the journal lacks", self._receipts),
            ("no final event was passed over by the harvest", self._coverage),
            ("tensor leaves lead to the claims' roots", self._leaves),
            ("the journal folded again gives the live tables", self._state),
            ("the endpoints still show every kept block", self._chain),
            ("the chain's receipts hold the journal's events and no others", self._compared),
            ("tables and indexes are those of this release", self._shape),
        ]
        made = []
        for number, (name, check) in enumerate(checks, 1):
            progress(number - 1, len(checks))
            made.append(Check(number, name, *self._ended(check)))
        progress(len(checks), len(checks))
        return Report(self._cursor.block, tuple(made))

    @staticmethod
    def _ended(check: Callable[[], Said]) -> Said:
        try:
            return check()
        except (UnavailableError, ChainError):
            raise
        except LedgerError as error:
            return "fail", error.message
        except Exception as error:
            # Rows that contradict each other do not fit the tables that they are folded into.
            if isinstance(error, DBAPIError) and not isinstance(error, (IntegrityError, DataError)):
                raise
            log.info("a check of the audit did not come to its end", exc_info=True)
            return "fail", (
                f"it did not come to its end ({type(error).__name__}): something in these rows is "
                "not what this program writes"
            )

    # -- the checks ----------------------------------------------------------------------------

    def _pinned(self) -> Said:
        row = self._row()
        if row is None:
            return "fail", f"the database does not say of which contracts of chain {self._chain_id}"
        if self._genesis is None or self._pins is None:
            says = f"it says chain {self._chain_id}, first block {Digest(bytes(row.genesis_hash))}"
            return "not checked", f"no network was named to compare with; {says}"
        named = {name: str(address) for name, address in self._pins.items()}
        if row.genesis_hash != self._genesis.raw:
            return "fail", "the database was made for a chain with another first block"
        if row.deployment_hash != pinned(named):
            return "fail", "the database was made for other contracts, or fewer of them"
        return "pass", f"chain {self._chain_id}, from block {row.first_block}"

    def _row(self) -> Row[Any] | None:
        return self._connection.execute(
            select(tables.chain).where(tables.chain.c.chain_id == self._chain_id)
        ).one_or_none()

    def _blocks(self) -> Said:
        faults, table = Faults(), tables.block
        before: Row[Any] | None = None
        count = 0
        for row in pages(
            self._connection,
            select(table).where(table.c.chain_id == self._chain_id).order_by(table.c.number),
        ):
            count += 1
            linked = before is not None and before.number + 1 == row.number
            if linked and before is not None and row.parent_hash != before.hash:
                faults.add(f"block {row.number} does not name block {before.number} as its parent")
            if before is not None and row.time < before.time:
                faults.add(f"block {row.number} is older than block {before.number}")
            before = row
        cursor = self._cursor
        last = None if before is None else (before.number, before.hash, before.time)
        stands = (cursor.block, cursor.last_hash, cursor.last_time)
        # Before the first block it has no hash, and after a rollback to there none again.
        if last != (None if cursor.last_hash is None else stands):
            faults.add(f"the cursor stands on block {cursor.block}, which is not the last kept one")
        # It begins as block 0, also where block 0 is the first to be read.
        if cursor.finalized > max(cursor.block, 0):
            faults.add(
                f"the finalized block {cursor.finalized} lies above the cursor's {cursor.block}"
            )
        return faults.said(f"{count} blocks, the last {cursor.block}")

    def _events(self) -> Said:
        faults = Faults()
        logs, blocks = tables.raw_log, tables.block
        count = 0
        query = (
            select(
                logs.c.block,
                logs.c.log_index,
                logs.c.block_hash,
                logs.c.block_time,
                logs.c.address,
                logs.c.contract,
                logs.c.event,
                logs.c.topics,
                blocks.c.hash,
                blocks.c.time,
                blocks.c.has_logs,
            )
            .outerjoin(
                blocks,
                and_(blocks.c.chain_id == logs.c.chain_id, blocks.c.number == logs.c.block),
            )
            .where(logs.c.chain_id == self._chain_id)
            .order_by(logs.c.block, logs.c.log_index)
        )
        known = {address.raw: name for name, address in self._addresses.items()}
        pinned_to = self._row()
        first = 0 if pinned_to is None else pinned_to.first_block
        for row in pages(self._connection, query):
            count += 1
            at = f"event {row.block}-{row.log_index}"
            if row.block < first:
                faults.add(f"{at} lies below block {first}, from which was read")
            if row.hash is None:
                faults.add(f"{at} lies in a block that is not kept")
            elif (row.hash, row.time, bool(row.has_logs)) != (row.block_hash, row.block_time, True):
                faults.add(f"{at} names its block with another hash or time, or as empty")
            if row.block > self._cursor.block:
                faults.add(f"{at} lies above the cursor")
            if known.get(bytes(row.address)) != row.contract:
                faults.add(f"{at} is of no contract of ours")
            elif row.event != name_of(row.contract, bytes(row.topics)):
                faults.add(f"{at} is called {row.event or 'nothing'}, which its topic is not")
        for number in silent_blocks(self._connection, self._chain_id):
            faults.add(f"block {number} is said to hold events, and the journal has none of it")
        for at in misread(self._connection, self._chain_id):
            faults.add(f"what was read beside event {at} is not what the event's digest says")
        return faults.said(f"{count} events")

    def _orphans(self) -> Said:
        faults = Faults()
        gone, reorg = tables.orphan_log, tables.reorg
        count = 0
        query = (
            select(
                gone.c.id,
                gone.c.block,
                gone.c.block_hash,
                gone.c.address,
                gone.c.contract,
                gone.c.event,
                gone.c.topics,
                reorg.c.ancestor,
                reorg.c.old_head,
                reorg.c.old_hash,
            )
            .outerjoin(
                reorg, and_(reorg.c.id == gone.c.reorg_id, reorg.c.chain_id == gone.c.chain_id)
            )
            .where(gone.c.chain_id == self._chain_id)
            .order_by(gone.c.id)
        )
        for row in pages(self._connection, query):
            count += 1
            if row.ancestor is None:
                faults.add(f"orphan {row.id} names no reorganisation of this chain")
            elif not row.ancestor < row.block <= row.old_head:
                faults.add(f"orphan {row.id} lies outside its reorganisation")
            elif row.block == row.old_head and row.block_hash != row.old_hash:
                faults.add(f"orphan {row.id} lies in another block than was taken back")
            if not self._was_ours(row.contract, bytes(row.address)):
                faults.add(f"orphan {row.id} is of no contract of ours")
            # Who had no name for it left it without: only events of the journal are named later.
            elif row.event not in {"", name_of(row.contract, bytes(row.topics))}:
                faults.add(f"orphan {row.id} is called {row.event}, which its topic is not")
        # All of each is read, who accepted it too: what shows them does.
        for row in pages(self._connection, select(reorg).where(reorg.c.chain_id == self._chain_id)):
            tables.require_kinds(reorg, row)
            if row.depth != row.old_head - row.ancestor:
                faults.add(f"reorganisation {row.id} is not as deep as its ends lie apart")
        told = self._journal.outbox.place(self._connection).retracted
        if told != count:
            faults.add(f"{count} retracted events are there, and the outbox counts {told}")
        for sentence in outbox_faults.unorphaned(self._connection, self._chain_id):
            faults.add(sentence)
        return faults.said(f"{count} retracted events")

    def _was_ours(self, contract: str, address: bytes) -> bool:
        known = self._addresses.get(contract)
        if known is None:
            # A journal alone names no contract of which every event was taken back.
            return self._pins is None and contract in EVENTS
        return known.raw == address

    def _outbox(self) -> Said:
        faults, table = Faults(), tables.outbox
        place = self._journal.outbox.place(self._connection)
        first, last, count = self._connection.execute(
            select(func.min(table.c.seq), func.max(table.c.seq), func.count()).where(
                table.c.chain_id == self._chain_id
            )
        ).one()
        if count != place.last_seq - place.pruned_seq or (
            count and (first, last) != (place.pruned_seq + 1, place.last_seq)
        ):
            faults.add(
                f"it holds {count} entries from {first} to {last}, where {place.pruned_seq + 1} to "
                f"{place.last_seq} belong"
            )
        events = counted(self._connection, tables.raw_log, self._chain_id)
        if place.applied - place.retracted != events:
            faults.add(
                f"{place.applied} events were applied and {place.retracted} retracted, and the "
                f"journal holds {events}"
            )
        for entry, _ in outbox_faults.misfiled(self._connection, self._chain_id):
            faults.add(
                f"entry {entry.seq} names other subjects than event "
                f"{entry.block}-{entry.log_index} is filed under"
            )
        for sentence in itertools.chain(
            outbox_faults.misshapen(self._connection, self._chain_id),
            outbox_faults.miscounted(self._connection, self._chain_id, place),
            outbox_faults.untrue(self._connection, self._chain_id),
            outbox_faults.unfounded(self._connection, self._chain_id, self._cursor.block),
            outbox_faults.misplaced(self._connection, self._chain_id, place),
        ):
            faults.add(sentence)
        final = min(self._cursor.finalized, self._cursor.block)
        if place.final_block > final:
            faults.add(f"it calls block {place.final_block} final, and the cursor only {final}")
        return faults.said(f"{count} entries up to {place.last_seq}")

    def _proofs(self) -> Said:
        return audit_evidence.proofs(self._connection, self._chain_id)

    def _receipts(self) -> Said:
        ours = {address.raw: name for name, address in self._addresses.items() if name in EVENTS}
        return audit_evidence.receipts(self._connection, self._chain_id, ours)

    def _coverage(self) -> Said:
        return audit_evidence.coverage(self._connection, self._chain_id, self._cursor)

    def _leaves(self) -> Said:
        found = examine(self._connection, self._chain_id, repair=False)
        faults = Faults()
        for sentence in found.faults:
            faults.add(sentence)
        for model in found.differed:
            faults.add(f"the leaves of {model} are not what its documents say")
        for sentence in forged(self._connection):
            faults.add(sentence)
        if emptied(self._connection):
            faults.add("documents were deposited, and none is there any more")
        if not found.models and not faults.count:
            return "not checked", "no tensor ids were deposited"
        models = "1 model" if found.models == 1 else f"{found.models} models"
        return faults.said(f"{found.leaves} leaves of {models}")

    def _state(self) -> Said:
        events, differences = compare_folded(self._connection, self._journal)
        faults = Faults()
        for each in differences:
            faults.add(f"{each.table}: {each.extra} rows too many, {each.missing} missing")
        return faults.said(f"{events} events folded")

    def _chain(self) -> Said:
        return _NOT_ASKED if self._node is None else self._beside(self._node)[0]

    def _compared(self) -> Said:
        return _NOT_ASKED if self._node is None else self._beside(self._node)[1]

    def _shape(self) -> Said:
        backfill = not self._cursor.synced_at_ms
        faults = Faults()
        for sentence in lacking(self._connection, backfill=backfill):
            faults.add(sentence)
        later = ", without the indexes that a first backfill makes at its end" if backfill else ""
        return faults.said(f"{len(tables.metadata.tables)} tables{later}")

    def _beside(self, node: Node) -> tuple[Said, Said]:
        if self._ends is None:
            comparison = Comparison(
                self._connection,
                self._chain_id,
                node,
                Contracts.of(self._addresses),
                provable=self._provable,
            )
            # A manifest that was corrected since does not change from where the index was read.
            row, first = self._row(), self._first_block
            first = first if row is None else min(first, row.first_block)
            self._ends = comparison.said(self._cursor, first)
        return self._ends


def audit(
    engine: Engine,
    chain_id: int,
    *,
    genesis: Digest | None = None,
    addresses: Mapping[str, Address] | None = None,
    node: Node | None = None,
    provable: bool = True,
    first_block: int = 0,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Report:
    """Make every check on one state of the database.

    Args:
        engine: from `ledger.index.database.open_database`.
        chain_id: of the chain.
        genesis: hash of its block 0; None where that is not known, such as of a lone copy.
        addresses: the contracts by name; likewise.
        node: the chain, for checks (11) and (12); None leaves them out.
        provable: whether this chain's headers hash and its receipts lead to a root.
        first_block: the first that can hold an event of these contracts.
        progress: called with the number of checks done, and of all.

    Raises:
        IndexUnavailable: nothing was followed yet, or the database is gone.
        IndexDamaged: an SQLite file is damaged, so that no check would say what is in it.
    """
    with reading(engine) as connection:
        require_sound(connection)
        auditor = Auditor(
            connection,
            chain_id,
            genesis=genesis,
            addresses=addresses,
            node=node,
            provable=provable,
            first_block=first_block,
        )
        return auditor.run(progress)
