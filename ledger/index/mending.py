"""What the evidence store lacks of what it harvested, and what puts it right at an operator's word.

Harvesting goes forward only (`ledger.index.evidence_store`). Here all of it is gone over again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Self, cast

from sqlalchemy import Connection, Row, ScalarSelect, func, insert, select, update

from ledger.errors import LedgerError
from ledger.evidence.documents import ReceiptProof, StateProof
from ledger.evidence.headers import Header
from ledger.ids import keccak256
from ledger.index import tables
from ledger.index.event_proofs import KINDS, Gathered, Kept, Kind, holds
from ledger.index.evidence_rows import same_event, same_proof, spoilt
from ledger.index.evidence_store import EvidenceStore, Filed
from ledger.index.faults import proved

_PAGE: Final = 500


def wanting(connection: Connection, store: EvidenceStore) -> dict[int, int]:
    """How many proofs each block lacks that was harvested: all are looked through.

    A proof is lacking where none is on record, where it could not be had, where its bytes are
    gone or not those that were kept, and where it does not lead to its event's block.
    """
    place = store.place(connection)
    if place is None:
        return {}
    logs = tables.raw_log
    events = (
        select(logs.c.block, (len(KINDS) - _held()).label("lacks"))
        .where(logs.c.chain_id == store.chain_id, logs.c.block < place.next_block)
        .subquery()
    )
    lacks = {
        int(block): int(count)
        for block, count in connection.execute(
            select(events.c.block, func.sum(events.c.lacks))
            .where(events.c.lacks > 0)
            .group_by(events.c.block)
        )
    }
    link, found = tables.evidence, spoilt(connection, store.chain_id)
    while some := list(islice(found, _PAGE)):
        named = select(link.c.block).join(logs, same_event()).where(link.c.hash.in_(some))
        for block in connection.execute(named).scalars():
            lacks[block] = lacks.get(block, 0) + 1
    unknown = select(link.c.block).join(logs, same_event()).where(link.c.kind.not_in(KINDS))
    for block in connection.execute(unknown.distinct()).scalars():
        lacks.setdefault(block, 1)
    for event, kept in proved(connection, store.chain_id):
        if not holds(event, kept):
            lacks.setdefault(event.block, len(kept))
    return dict(sorted(lacks.items()))


def _held() -> ScalarSelect[int]:
    """How many proofs of an event of `raw_log` are there, in a query of it."""
    link, stored = tables.evidence, tables.proof
    return (
        select(func.count())
        .select_from(link)
        .join(stored, same_proof())
        .where(same_event(), link.c.kind.in_(KINDS))
        .correlate(tables.raw_log)
        .scalar_subquery()
    )


@dataclass(frozen=True, slots=True)
class Strays:
    """Whole proofs that no entry names as what they are, such as where the entry is gone.

    Attributes:
        hashes: of these, by what each is of.
    """

    hashes: Mapping[tuple[object, ...], bytes]

    @classmethod
    def of(cls, connection: Connection) -> Self:
        """Look through the whole store."""
        link, stored = tables.evidence, tables.proof
        query = (
            select(stored.c.hash, stored.c.body)
            .outerjoin(link, same_proof())
            .where(link.c.hash.is_(None))
            .execution_options(yield_per=_PAGE)
        )
        found: dict[tuple[object, ...], bytes] = {}
        for row in connection.execute(query):
            key = _what(bytes(row.body))
            if key is not None:
                found[key] = bytes(row.hash)
        return cls(found)

    def proofs(
        self, connection: Connection, store: EvidenceStore, events: Sequence[Row[Any]]
    ) -> Gathered:
        """Those that events of one block rest on: each verifies."""
        held: dict[tuple[int, Kind], Kept] = {}
        for event in events if self.hashes else ():
            header = store.of(connection, event.block, event.log_index).get("header")
            if header is None or not holds(event, {"header": header}):
                header = self._one(connection, "header", bytes(event.block_hash))
                if header is None or not holds(event, {"header": header}):
                    continue
                held[event.log_index, "header"] = header
            shown = Header.parse(header.body)
            for kind, key in (
                ("receipt", (event.block, event.tx_index, shown.receipts_root.raw)),
                ("state", (bytes(event.address), shown.state_root.raw)),
            ):
                proof = self._one(connection, cast("Kind", kind), *key)
                if proof is not None and holds(event, {"header": header, proof.kind: proof}):
                    held[event.log_index, proof.kind] = proof
        return Gathered(held, {})

    def _one(self, connection: Connection, kind: Kind, *of: object) -> Kept | None:
        hash_ = self.hashes.get((kind, *of))
        if hash_ is None:
            return None
        query = select(tables.proof.c.body).where(tables.proof.c.hash == hash_)
        kept = Kept(kind, bytes(connection.execute(query).scalar_one()))
        return kept if kept.hash == hash_ else None


def _what(body: bytes) -> tuple[object, ...] | None:
    """What a proof is of, whatever it is called; None where it is none."""
    try:
        return "header", Header.parse(body).hash.raw
    except LedgerError:
        pass
    try:
        document = Kept("receipt", body).document()
        if "receipt" in document:
            proof = ReceiptProof.from_json(document)
            return "receipt", proof.block, proof.index, keccak256(proof.receipt_nodes[0])
        state = StateProof.from_json(document)
        return "state", state.address.raw, keccak256(state.nodes[0])
    except (LedgerError, IndexError, TypeError):
        return None


def mend(
    connection: Connection,
    store: EvidenceStore,
    events: Sequence[Row[Any]],
    gathered: Gathered,
) -> Filed:
    """Store what one block lacked and could be had after all.

    Args:
        connection: a transaction that writes.
        store: of the chain.
        events: the journal's entries of that block.
        gathered: of them.
    """
    place = tables.evidence_place
    block, hash_ = int(events[0].block), bytes(events[0].block_hash)
    filed = store.file(connection, block, hash_, gathered, events)
    connection.execute(
        update(place)
        .where(place.c.chain_id == store.chain_id)
        .values(
            events=place.c.events + filed.events,
            lost=place.c.lost + filed.lost,
            bytes=place.c.bytes + filed.size,
        )
    )
    return filed


def recount(connection: Connection, store: EvidenceStore, final: int) -> None:
    """Set the counts, and how far proofs were taken, to what is on record, whatever they were.

    Args:
        connection: a transaction that writes.
        store: of the chain.
        final: the last block that is final, beyond which none are taken.
    """
    held = store.place(connection, hold=True)
    link, table = tables.evidence, tables.evidence_place
    if held is None:
        newest = select(func.max(link.c.block)).where(link.c.chain_id == store.chain_id)
        last = connection.execute(newest).scalar_one()
        if last is None:
            return
        reached = {"chain_id": store.chain_id, "next_block": last + 1}
        connection.execute(insert(table).values(**reached, events=0, lost=0, bytes=0))
    else:
        last = held.next_block - 1
    events, lost = store.tally(connection)
    connection.execute(
        update(table)
        .where(table.c.chain_id == store.chain_id)
        .values(
            next_block=min(last, final) + 1,
            events=events,
            lost=lost,
            bytes=store.size(connection),
        )
    )
