"""Rows that contradict each other, found by query; `ledger.index.audit` says them in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Row,
    Select,
    Table,
    and_,
    case,
    except_,
    exists,
    func,
    or_,
    select,
)

from ledger.ids import Address
from ledger.index import tables
from ledger.index.decode import EVENTS
from ledger.index.event_proofs import KINDS, Kept, Kind, subject_of
from ledger.index.evidence_rows import raw, same_event, same_proof
from ledger.index.fold_licenses import plan_digest

_PAGE: Final = 2000
_PROOFS: Final = 300
_ADDRESS: Final = 20


def pages(connection: Connection, query: Select[Any]) -> Iterator[Row[Any]]:
    """The rows of a query, a page at a time in memory."""
    yield from connection.execute(query.execution_options(yield_per=_PAGE))


def name_of(contract: str, topics: bytes) -> str:
    """The name of an event, empty where its first topic is none known here."""
    kind = EVENTS.get(contract, {}).get(topics[:32])
    return "" if kind is None else kind.name


def emitters(connection: Connection, chain_id: int) -> dict[str, Address]:
    """The contracts as the journal alone tells them: of each, the address of most of its events."""
    logs = tables.raw_log
    rows = connection.execute(
        select(logs.c.contract, logs.c.address)
        .where(
            logs.c.chain_id == chain_id,
            logs.c.contract.in_(sorted(EVENTS)),
            func.length(logs.c.address) == _ADDRESS,
        )
        .group_by(logs.c.contract, logs.c.address)
        .order_by(func.count(), logs.c.address)
    )
    return {name: Address(bytes(raw)) for name, raw in rows}


def misread(connection: Connection, chain_id: int) -> Iterator[str]:
    """Places of plans whose terms are not those that the digest in their event was made of."""
    logs, reads = tables.raw_log, tables.raw_read
    query = (
        select(logs.c.block, logs.c.log_index, logs.c.topics, logs.c.data, reads.c.answer)
        .outerjoin(
            reads,
            and_(
                reads.c.chain_id == logs.c.chain_id,
                reads.c.block == logs.c.block,
                reads.c.log_index == logs.c.log_index,
            ),
        )
        .where(logs.c.chain_id == chain_id, logs.c.event == "PlanCreated")
    )
    for row in pages(connection, query):
        # topics: topic 0, plan, licensor, model; data: the hash of the terms, and the digest.
        licensor, digest = bytes(row.topics)[76:96], bytes(row.data)[32:64]
        if row.answer is None or plan_digest(licensor, bytes(row.answer)) != digest:
            yield f"{row.block}-{row.log_index}"


def unowned(connection: Connection, chain_id: int) -> Iterator[Row[Any]]:
    """Proved events that are in neither the journal nor among the retracted ones."""
    link = tables.evidence
    query = select(link.c.block, link.c.log_index, link.c.block_hash).distinct()
    for table in (tables.raw_log, tables.orphan_log):
        same = exists().where(
            table.c.chain_id == link.c.chain_id,
            table.c.block == link.c.block,
            table.c.log_index == link.c.log_index,
            table.c.block_hash == link.c.block_hash,
        )
        query = query.where(~same)
    return pages(connection, query.where(link.c.chain_id == chain_id))


def silent_blocks(connection: Connection, chain_id: int) -> Iterator[int]:
    """Kept blocks that are said to hold events, and of which the journal has none."""
    logs, blocks = tables.raw_log, tables.block
    same = and_(logs.c.chain_id == blocks.c.chain_id, logs.c.block == blocks.c.number)
    query = (
        select(blocks.c.number)
        .outerjoin(logs, same)
        .where(blocks.c.chain_id == chain_id, blocks.c.has_logs.is_(True), logs.c.block.is_(None))
    )
    yield from connection.execute(query).scalars()


def uncovered(connection: Connection, chain_id: int, below: int) -> Iterator[Row[Any]]:
    """Events of blocks below `below` of which not every proof is there, or why it is not.

    Also those taken back in whose block some are: of others nothing says that any ever were.
    """
    link, stored = tables.evidence, tables.proof
    settled = case((or_(link.c.lost.is_not(None), stored.c.hash.is_not(None)), 1), else_=0)
    kinds = func.coalesce(func.sum(settled), 0)
    entry = link.alias()
    gone = tables.orphan_log
    harvested = (
        select(entry.c.kind)
        .where(
            entry.c.chain_id == gone.c.chain_id,
            entry.c.block == gone.c.block,
            entry.c.block_hash == gone.c.block_hash,
        )
        .exists()
    )
    for logs in (tables.raw_log, tables.orphan_log):
        live = logs is tables.raw_log
        lacking = (
            select(logs.c.block, logs.c.log_index, kinds.label("kinds"))
            .outerjoin(link, and_(same_event(logs), link.c.kind.in_(KINDS)))
            .outerjoin(stored, same_proof())
            .where(logs.c.chain_id == chain_id, logs.c.block < below if live else harvested)
            .group_by(*logs.primary_key.columns, logs.c.block, logs.c.log_index)
            .having(kinds != len(KINDS))
            .order_by(logs.c.block, logs.c.log_index)
        )
        yield from pages(connection, lacking)


def unkept(connection: Connection, chain_id: int) -> Iterator[Row[Any]]:
    """Entries of the evidence that name a proof which is not there; of retracted events too."""
    link, stored = tables.evidence, tables.proof
    return pages(
        connection,
        select(link.c.block, link.c.log_index, link.c.kind)
        .outerjoin(stored, same_proof())
        .where(
            link.c.chain_id == chain_id,
            link.c.hash.is_not(None),
            or_(stored.c.hash.is_(None), link.c.kind.not_in(KINDS)),
        )
        .order_by(link.c.block, link.c.log_index, link.c.kind),
    )


def contradictory(connection: Connection, chain_id: int) -> Iterator[Row[Any]]:
    """Entries of the evidence that name a proof and say that it could not be had."""
    link = tables.evidence
    return pages(
        connection,
        select(link.c.block, link.c.log_index, link.c.kind)
        .where(link.c.chain_id == chain_id, link.c.hash.is_not(None), link.c.lost.is_not(None))
        .order_by(link.c.block, link.c.log_index, link.c.kind),
    )


def strayed(connection: Connection, chain_id: int) -> bool:
    """Whether a block of ours, also one taken back, was harvested and no entry speaks of it."""
    link, stored = tables.evidence, tables.proof
    unnamed = except_(select(stored.c.hash), select(link.c.hash))
    for hash_ in connection.execute(unnamed).scalars().all():
        body = connection.execute(select(stored.c.body).where(stored.c.hash == hash_)).scalar()
        kind, *of = subject_of(raw(body)) or ("", b"")
        for logs in (tables.raw_log, tables.orphan_log) if kind == "header" else ():
            ours = select(logs.c.block).where(
                logs.c.chain_id == chain_id, logs.c.block_hash == of[0]
            )
            if connection.execute(ours.limit(1)).first() is not None:
                return True
    return False


def proved(
    connection: Connection, chain_id: int, logs: Table = tables.raw_log
) -> Iterator[tuple[Row[Any], dict[Kind, Kept]]]:
    """Every event of the journal, or of those taken back, that has proofs, with them."""
    link, stored = tables.evidence, tables.proof
    query = (
        select(logs, link.c.kind.label("proof_kind"), stored.c.hash.label("proof_hash"))
        .join(link, same_event(logs))
        .join(stored, same_proof())
        .where(logs.c.chain_id == chain_id)
        .order_by(*logs.primary_key.columns)
        .execution_options(yield_per=_PROOFS)
    )
    held: dict[Kind, Kept] = {}
    current: Row[Any] | None = None
    key = [column.name for column in logs.primary_key.columns]
    bodies: dict[bytes, Kept] = {}
    for some in connection.execute(query).partitions():
        # Each once: events of a block share theirs, and a state may show all that they changed.
        hashes = {row.proof_hash for row in some}
        bodies = {hash_: bodies[hash_] for hash_ in hashes & bodies.keys()}
        wanted = select(stored.c.hash, stored.c.kind, stored.c.body)
        for found in connection.execute(wanted.where(stored.c.hash.in_(hashes - bodies.keys()))):
            bodies[found.hash] = Kept(found.kind, raw(found.body))
        for row in some:
            if current is not None and any(getattr(row, k) != getattr(current, k) for k in key):
                yield current, held
                held = {}
            current = row
            held[row.proof_kind] = bodies[row.proof_hash]
    if current is not None:
        yield current, held
