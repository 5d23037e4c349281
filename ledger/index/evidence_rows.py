"""How rows of `evidence`, `proof` and the journal belong together; bodies that are misstored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, insert, or_, select, update

from ledger.errors import IndexDamaged
from ledger.index import tables
from ledger.index.event_proofs import Kept, proof_in

_PAGE: Final = 500


def same_event(logs: Table = tables.raw_log) -> ColumnElement[bool]:
    """That a row of `evidence` is of the event in a row of the journal, or of those taken back."""
    link = tables.evidence
    return and_(
        logs.c.chain_id == link.c.chain_id,
        logs.c.block == link.c.block,
        logs.c.log_index == link.c.log_index,
        logs.c.block_hash == link.c.block_hash,
    )


def same_proof() -> ColumnElement[bool]:
    """That a row of `proof` is the one that a row of `evidence` names."""
    link, stored = tables.evidence, tables.proof
    return and_(stored.c.hash == link.c.hash, stored.c.kind == link.c.kind)


def owned() -> ColumnElement[bool]:
    """That a row of `evidence` is of an event: of the journal, or taken back."""
    events = (tables.raw_log, tables.orphan_log)
    return or_(*(select(logs.c.block).where(same_event(logs)).exists() for logs in events))


def same_block(logs: Table) -> ColumnElement[bool]:
    """That a row of `evidence` is of an event in the same block as a row of events."""
    link = tables.evidence
    return and_(
        logs.c.chain_id == link.c.chain_id,
        logs.c.block == link.c.block,
        logs.c.block_hash == link.c.block_hash,
    )


def whole(body: object, hash_: bytes) -> bool:
    """Whether bytes are what they are stored under; SQLite may hold something else than bytes."""
    return isinstance(body, bytes | memoryview) and hashlib.sha256(body).digest() == hash_


def raw(body: object) -> bytes:
    """The bytes of a body as it was read, also where it became text (`tables.Body`).

    Where there is none, or a number, they prove nothing.
    """
    if isinstance(body, str):
        return bytes.fromhex(body)
    return bytes(body) if isinstance(body, bytes | memoryview) else b""


def hash_of(row: Row[Any]) -> bytes:
    """Under what a row of `proof` is stored.

    Raises:
        IndexDamaged: it is no hash; SQLite may hold anything.
    """
    if not isinstance(row.hash, bytes):
        raise IndexDamaged("hash of proof in the index database is not of its kind")
    return row.hash


def misstored(connection: Connection, chain_id: int) -> Iterator[bytes]:
    """Hashes of the proofs that are not stored as they are: other bytes, or another size.

    All are read. Those that another chain's entries alone name are for that chain's audit.

    Raises:
        IndexDamaged: one is stored under something that is no hash.
    """
    link, stored = tables.evidence, tables.proof
    others = select(link.c.chain_id).where(link.c.chain_id != chain_id).limit(1)
    alone = connection.execute(others).first() is None
    rows = connection.execute(select(stored).execution_options(yield_per=_PAGE))
    shared: set[bytes] = set()
    for some in rows.partitions():
        found = {
            hash_of(row)
            for row in some
            if not whole(row.body, hash_of(row)) or len(row.body) != row.size
        }
        if alone:
            yield from sorted(found)
        else:
            shared |= found
    named: dict[bytes, set[int]] = {}
    entries = select(link.c.hash, link.c.chain_id).where(link.c.hash.is_not(None))
    if shared:
        for row in connection.execute(entries.execution_options(yield_per=_PAGE)):
            if row.hash in shared:
                named.setdefault(row.hash, set()).add(row.chain_id)
    yield from sorted(h for h in shared if chain_id in named.get(h, {chain_id}))


def put_bodies(connection: Connection, proofs: Iterable[Kept]) -> int:
    """Store the bodies that are not there as they are; the bytes of the new ones.

    What stood in the place of one is put, too, where it proves something: it may be the last
    copy.
    """
    table = tables.proof
    wanted, size = {proof.hash: proof for proof in proofs}, 0
    while wanted:
        # In one order, so that two chains that share some wait for each other in turn.
        wanted = dict(sorted(wanted.items()))
        known = {
            bytes(row.hash): (row.kind, raw(row.body), row.size)
            for row in connection.execute(select(table).where(table.c.hash.in_(wanted)))
        }
        fresh, displaced = [], dict[bytes, Kept]()
        for hash_, proof in wanted.items():
            row = {"kind": proof.kind, "body": proof.body, "size": len(proof.body)}
            if hash_ not in known:
                fresh.append({"hash": hash_, **row})
                size += len(proof.body)
            elif known[hash_] != (proof.kind, proof.body, len(proof.body)):
                this = update(table).where(table.c.hash == hash_)
                if connection.execute(this.values(**row)).rowcount != 1:
                    fresh.append({"hash": hash_, **row})  # Dropped meanwhile: it was spoilt.
                other = proof_in(known[hash_][1])
                if other is not None:
                    displaced[other.hash] = other
        if fresh:
            connection.execute(insert(table), fresh)
        wanted = {hash_: other for hash_, other in displaced.items() if hash_ not in wanted}
    return size
