"""What the evidence store lacks of what it harvested, and what puts it right at an operator's word.

Harvesting goes forward only (`ledger.index.evidence_store`). Here all of it is gone over again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from sqlalchemy import Connection, Row, ScalarSelect, except_, func, insert, select, update

from ledger.errors import LedgerError
from ledger.evidence.documents import ReceiptProof, StateProof
from ledger.evidence.headers import Header
from ledger.ids import keccak256
from ledger.index import tables
from ledger.index.event_proofs import KINDS, Gathered, Kept, Kind, holds
from ledger.index.evidence_rows import raw, same_event, same_proof, spoilt, whole
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
    link = tables.evidence
    bad = set(spoilt(connection, store.chain_id))
    ours = select(link.c.block, link.c.hash).join(logs, same_event())
    ours = ours.where(link.c.chain_id == store.chain_id)
    if bad:
        for row in connection.execute(ours.execution_options(yield_per=_PAGE)):
            if row.hash in bad:
                lacks[row.block] = lacks.get(row.block, 0) + 1
    for row in connection.execute(ours.where(link.c.kind.not_in(KINDS))):
        lacks.setdefault(row.block, 1)
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
        # Neither database has an index of what entries name: this sorts both once.
        unnamed = except_(select(stored.c.hash, stored.c.kind), select(link.c.hash, link.c.kind))
        found: dict[tuple[object, ...], bytes] = {}
        hashes = list(connection.execute(unnamed).scalars())
        for hash_ in hashes:
            body = connection.execute(select(stored.c.body).where(stored.c.hash == hash_)).scalar()
            key = _what(raw(body))
            if key is not None and (key not in found or whole(body, hash_)):
                found[key] = bytes(hash_)
        return cls(found)

    def proofs(
        self, connection: Connection, store: EvidenceStore, events: Sequence[Row[Any]]
    ) -> Gathered:
        """Those that events of one block rest on: each verifies.

        Events of a block mostly share a header, a state, a receipt: also what an entry of another
        one names is looked at.
        """
        block, hash_ = int(events[0].block), bytes(events[0].block_hash)
        there = store.bodies(connection, block, hash_)
        held: dict[tuple[int, Kind], Kept] = {}
        for event in events:
            own = self._one(connection, "header", hash_)
            header = _first(event, "header", {}, [*there.get("header", ()), own])
            if header is None:
                continue
            held[event.log_index, "header"] = header
            shown = Header.parse(header.body)
            beside: dict[Kind, Kept] = {"header": header}
            receipt = (event.block, event.tx_index, shown.receipts_root.raw)
            state = (bytes(event.address), shown.state_root.raw)
            strays: dict[Kind, Kept | None] = {
                "receipt": self._one(connection, "receipt", *receipt),
                "state": self._one(connection, "state", *state),
            }
            for kind, own in strays.items():
                proof = _first(event, kind, beside, [*there.get(kind, ()), own])
                if proof is not None:
                    held[event.log_index, kind] = proof
        return Gathered(held, {})

    def _one(self, connection: Connection, kind: Kind, *of: object) -> Kept | None:
        hash_ = self.hashes.get((kind, *of))
        if hash_ is None:
            return None
        query = select(tables.proof.c.body).where(tables.proof.c.hash == hash_)
        body = connection.execute(query).scalar_one_or_none()
        # Under whatever hash: it is filed under its own.
        return None if body is None else Kept(kind, raw(body))


def _first(
    event: Row[Any], kind: Kind, beside: Mapping[Kind, Kept], candidates: Iterable[Kept | None]
) -> Kept | None:
    """The first of these that the event can rest on."""
    return next((c for c in candidates if c and holds(event, {**beside, kind: c})), None)


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


@dataclass(frozen=True, slots=True)
class Account:
    """How far proofs were taken and how many there are: as it is written, and by what is there."""

    written: tuple[int, int, int, int] | None
    found: tuple[int, int, int, int] | None

    @classmethod
    def of(cls, connection: Connection, store: EvidenceStore, final: int) -> Self:
        """Count, which takes a while: in a transaction that reads.

        Args:
            connection: to the database.
            store: of the chain.
            final: the last block that is final, beyond which no proofs are taken.
        """
        place, link = store.place(connection), tables.evidence
        newest = select(func.max(link.c.block)).where(link.c.chain_id == store.chain_id)
        last = connection.execute(newest).scalar_one() if place is None else place.next_block - 1
        if last is None:
            return cls(None, None)
        found = (min(last, final) + 1, *store.tally(connection), store.size(connection))
        written = (
            None if place is None else (place.next_block, place.events, place.lost, place.bytes)
        )
        return cls(written, found)

    def settle(self, connection: Connection, chain_id: int) -> None:
        """Write what was found, unless somebody has written since: what they add is right."""
        table = tables.evidence_place
        if self.found is None or self.found == self.written:
            return
        names = ("next_block", "events", "lost", "bytes")
        values = dict(zip(names, self.found, strict=True))
        if self.written is None:
            connection.execute(insert(table).values(chain_id=chain_id, **values))
            return
        same = (table.c[n] == v for n, v in zip(names, self.written, strict=True))
        connection.execute(
            update(table).where(table.c.chain_id == chain_id, *same).values(**values)
        )
