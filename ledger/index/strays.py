"""Proofs that no entry names as what they are, and entries that name what proves nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import Connection, Row, Table, except_, select

from ledger.evidence.headers import Header
from ledger.index import tables
from ledger.index.event_proofs import Gathered, Kept, Kind, holds, proof_in, sound, subject_of
from ledger.index.evidence_rows import hash_of, owned, raw
from ledger.index.evidence_store import EvidenceStore
from ledger.index.faults import proved

Subject = tuple[object, ...]
Block = tuple[int, bytes]


def block_of(logs: Table, row: Any) -> Block:
    """Number and hash of the block of a row of `logs`.

    Raises:
        IndexDamaged: they are none.
    """
    tables.require_kinds(logs, row)
    return int(row.block), bytes(row.block_hash)


def misnamed(connection: Connection, chain_id: int, logs: Table) -> tuple[set[Block], set[bytes]]:
    """The blocks with events that name what does not prove them, and what that is.

    Args:
        connection: a transaction that reads.
        chain_id: whose events.
        logs: the journal, or what was taken back.
    """
    blocks, hashes = set[Block](), set[bytes]()
    for event, kept in proved(connection, chain_id, logs):
        if not holds(event, kept):
            blocks.add(block_of(logs, event))
            good = sound(event, kept, None)
            hashes |= {proof.hash for kind, proof in kept.items() if kind not in good}
    return blocks, hashes


@dataclass(frozen=True, slots=True)
class Strays:
    """Proofs that no entry of an event names as what they are, such as where it is gone.

    Attributes:
        hashes: under which they are or will be stored, by what each is of.
    """

    hashes: Mapping[Subject, Sequence[bytes]]

    @classmethod
    def of(cls, connection: Connection, others: Iterable[bytes] = ()) -> Self:
        """Look through the whole store.

        Args:
            connection: a transaction that reads.
            others: under what those are stored that entries name as what they are not.
        """
        link, stored = tables.evidence, tables.proof
        # Neither database has an index of what entries name: this sorts both once.
        named = select(link.c.hash, link.c.kind).where(owned())
        unnamed = except_(select(stored.c.hash, stored.c.kind), named)
        found: dict[Subject, list[bytes]] = {}
        hashes = {*(hash_of(row) for row in connection.execute(unnamed)), *others}
        for hash_ in sorted(hashes):
            body = connection.execute(select(stored.c.body).where(stored.c.hash == hash_)).scalar()
            proof, subject = proof_in(raw(body)), subject_of(raw(body))
            if proof is not None and subject is not None:
                # Under its own it is once the one whose place it takes is put right.
                found.setdefault(subject, []).extend(sorted({hash_, proof.hash}))
        return cls(found)

    def proofs(
        self, connection: Connection, store: EvidenceStore, events: Sequence[Row[Any]]
    ) -> Gathered:
        """Those that events of one block rest on: each verifies.

        Events of a block mostly share a header, a state, a receipt: also what an entry of another
        one names is looked at, under whatever kind.
        """
        block, hash_ = int(events[0].block), bytes(events[0].block_hash)
        there: dict[Subject, list[Kept]] = {}
        for proof in {each for each in store.entries(connection, block, hash_).values() if each}:
            subject = subject_of(proof.body)
            if subject is not None:
                there.setdefault(subject, []).append(Kept(subject[0], proof.body))

        def all_of(*subject: object) -> list[Kept]:
            if subject in self.hashes:
                there.setdefault(subject, []).extend(self._bodies(connection, subject))
            return there.get(subject, [])

        held: dict[tuple[int, Kind], Kept] = {}
        headers = all_of("header", hash_)
        candidates: dict[Subject, list[Kept]] = {}
        for event in events:
            header = _first(event, "header", {}, headers)
            if header is None:
                continue
            held[event.log_index, "header"] = header
            shown = Header.parse(header.body)
            beside: dict[Kind, Kept] = {"header": header}
            rests_on: dict[Kind, Subject] = {
                "receipt": ("receipt", block, event.tx_index, shown.receipts_root.raw),
                "state": ("state", bytes(event.address), shown.state_root.raw),
            }
            for kind, of in rests_on.items():
                if of not in candidates:
                    candidates[of] = all_of(*of)
                found = _first(event, kind, beside, candidates[of])
                if found is not None:
                    held[event.log_index, kind] = found
        return Gathered(held, {})

    def _bodies(self, connection: Connection, subject: Subject) -> Iterator[Kept]:
        stored = tables.proof
        for hash_ in self.hashes[subject]:
            query = select(stored.c.body).where(stored.c.hash == hash_)
            body = connection.execute(query).scalar_one_or_none()
            proof = None if body is None else proof_in(raw(body))
            if proof is not None:
                # Under whatever hash, and whatever is there by now: each is held against its event.
                yield proof


def _first(
    event: Row[Any], kind: Kind, beside: Mapping[Kind, Kept], candidates: Iterable[Kept]
) -> Kept | None:
    """The first of these that the event can rest on."""
    return next((c for c in candidates if holds(event, {**beside, kind: c})), None)
