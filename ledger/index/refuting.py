"""What kept proofs say against the journal, and against what was taken back.

A journal and tables that differ do not say which of them is wrong. Proofs do, where they lead to
the very block that the journal names: its hash covers when it was made, which events it holds and
in which order. One that is spoilt, or another event's, says nothing here;
`ledger.index.audit_evidence` tells it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Connection, Row, Table, and_, select

from ledger.errors import LedgerError
from ledger.evidence.receipts import Receipt
from ledger.ids import Address, keccak256
from ledger.index import tables
from ledger.index.decode import EVENTS
from ledger.index.event_proofs import header_of, proven_receipt
from ledger.index.evidence_rows import raw
from ledger.index.faults import emitters, silent_blocks, unowned

_PAGE: Final = 300
# A transaction's events share these, and each takes a millisecond.
_FEW: Final = 16

Log = tuple[bytes, bytes, bytes]


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a block says of one of its transactions.

    Attributes:
        block_hash: the block's.
        time: the block's.
        index: of the transaction.
        tx_hash: None where only its receipt is kept.
        logs: address, topics and data of each, also of others' contracts.
    """

    block_hash: bytes
    time: int
    index: int
    tx_hash: bytes | None
    logs: tuple[Log, ...]


def refuted(
    connection: Connection, chain_id: int, addresses: Mapping[str, Address] | None = None
) -> Iterator[str]:
    """Events that the journal holds otherwise than their block, or does not hold; in words.

    Args:
        connection: a transaction that reads.
        chain_id: whose events.
        addresses: of our contracts; by what the journal says, where none are given.
    """
    given = emitters(connection, chain_id) if addresses is None else addresses
    ours = {address.raw: name for name, address in given.items() if name in EVENTS}
    for said in shown_otherwise(connection, chain_id, tables.raw_log, ours):
        yield from said
    for event in unowned(connection, chain_id):
        yield from _gone(connection, chain_id, event, ours)
    for number in silent_blocks(connection, chain_id):
        yield f"block {number} is said to hold events, and the journal has none of it"


def shown_otherwise(
    connection: Connection, chain_id: int, logs: Table, ours: Mapping[bytes, str]
) -> Iterator[list[str]]:
    """Of each transaction whose receipt is kept, what is kept otherwise; in words.

    Args:
        connection: a transaction that reads.
        chain_id: whose events.
        logs: the journal, or what was taken back.
        ours: our contracts' names by address; what was taken back names them itself, too.
    """
    of_block = groupby(_with_bodies(connection, chain_id, logs), key=lambda each: each[0])
    for (*_, block), same in of_block:
        rows, shown, known = [], dict[tuple[bytes, int], _Shown](), dict(ours)
        for _, row, header, receipt in same:
            rows.append(row)
            if logs is tables.orphan_log:
                known.setdefault(row.address, row.contract)
            said = _shown(row.block, row.block_hash, header, receipt)
            if said is not None:
                shown[said.block_hash, said.index] = said
        reached: dict[bytes, int] = {}
        for key in sorted(shown):
            said = shown[key]
            held = [row for row in rows if (row.block_hash, row.tx_index) == key]
            differences, starts = _differences(block, held, said, known)
            # Logs are numbered through a block: none begins before those of earlier ones end.
            if not differences and (
                len(starts) > 1
                or (said.index == 0 and starts - {0})
                or min(starts, default=0) < reached.get(said.block_hash, 0)
            ):
                differences = [f"events of transaction {said.index} lie elsewhere in block {block}"]
            reached[said.block_hash] = max(starts, default=0) + len(said.logs)
            yield differences


def _with_bodies(
    connection: Connection, chain_id: int, logs: Table
) -> Iterator[tuple[tuple[int, ...], Any, bytes, bytes]]:
    """Every event in order: its block, itself, and the bodies of its header and receipt."""
    stored, link = tables.proof, tables.evidence
    header, receipt = link.alias("header"), link.alias("receipt")
    query = select(
        logs, header.c.hash.label("header_hash"), receipt.c.hash.label("receipt_hash")
    ).where(logs.c.chain_id == chain_id)
    for entry, kind in ((header, "header"), (receipt, "receipt")):
        same = and_(
            entry.c.chain_id == logs.c.chain_id,
            entry.c.block == logs.c.block,
            entry.c.block_hash == logs.c.block_hash,
            entry.c.log_index == logs.c.log_index,
            entry.c.kind == kind,
        )
        query = query.outerjoin(entry, same)
    # What was taken back twice is there twice.
    times = [logs.c.reorg_id] if logs is tables.orphan_log else []
    query = query.order_by(*times, logs.c.block, logs.c.log_index)
    bodies: dict[bytes | None, bytes] = {}
    for some in connection.execute(query.execution_options(yield_per=_PAGE)).partitions():
        # Each once: events of a block share theirs.
        hashes = {hash_ for row in some for hash_ in (row.header_hash, row.receipt_hash)} - {None}
        bodies = {hash_: bodies[hash_] for hash_ in hashes & bodies.keys()}
        wanted = select(stored.c.hash, stored.c.body)
        for row in connection.execute(wanted.where(stored.c.hash.in_(hashes - bodies.keys()))):
            bodies[row.hash] = raw(row.body)
        for row in some:
            at = (*((row.reorg_id,) if times else ()), row.block)
            yield at, row, bodies.get(row.header_hash, b""), bodies.get(row.receipt_hash, b"")


@lru_cache(maxsize=_FEW)
def _shown(block: int, block_hash: bytes, header: bytes, receipt: bytes) -> _Shown | None:
    """What proofs of an event show of its transaction; None where they do not lead to its block."""
    try:
        head = header_of(header)
        if (head.number, head.hash.raw) != (block, block_hash):
            return None
        proof = proven_receipt(head, receipt)
        logs = Receipt.parse(proof.receipt).logs
    except (LedgerError, TypeError, ValueError):
        return None
    return _Shown(
        head.hash.raw,
        head.timestamp,
        proof.index,
        keccak256(proof.transaction) if proof.transaction else None,
        tuple((log.emitter.raw, b"".join(log.topics), log.data) for log in logs),
    )


def _differences(
    block: int, rows: Sequence[Row[Any]], shown: _Shown, ours: Mapping[bytes, str]
) -> tuple[list[str], set[int]]:
    """What is otherwise in a transaction's events, and at which log of the block it begins."""
    made = [(at, log) for at, log in enumerate(shown.logs) if log[0] in ours]
    if len(made) != len(rows):
        n = f"transaction {shown.index} of block {block} made {len(made)} events of ours"
        return [f"{n}, and {len(rows)} are kept"], set()
    differences = [
        f"event {block}-{row.log_index} is not what its block says"
        for row, (_, log) in zip(rows, made, strict=True)
        if row.block_time != shown.time
        or shown.tx_hash not in {None, row.tx_hash}
        or (row.address, row.topics, row.data) != log
        or row.contract != ours[row.address]
        or not isinstance(row.log_index, int)
    ]
    if differences:
        return differences, set()
    return [], {row.log_index - at for row, (at, _) in zip(rows, made, strict=True)}


def _gone(
    connection: Connection, chain_id: int, event: Row[Any], ours: Mapping[bytes, str]
) -> Iterator[str]:
    """What proofs of an event that nothing holds say of the transaction that made it."""
    link, stored, logs = tables.evidence, tables.proof, tables.raw_log
    if not _stood(connection, chain_id, event):
        return
    rows = connection.execute(
        select(link.c.kind, stored.c.body)
        .join(stored, stored.c.hash == link.c.hash)
        .where(
            link.c.chain_id == chain_id,
            link.c.block == event.block,
            link.c.block_hash == event.block_hash,
            link.c.log_index == event.log_index,
        )
    ).all()
    bodies = {row.kind: raw(row.body) for row in rows}
    header, receipt = (bodies.get(kind, b"") for kind in ("header", "receipt"))
    shown = _shown(event.block, event.block_hash, header, receipt)
    if shown is None:
        return
    held = connection.execute(
        select(logs)
        .where(
            logs.c.chain_id == chain_id,
            logs.c.block == event.block,
            logs.c.block_hash == event.block_hash,
            logs.c.tx_index == shown.index,
        )
        .order_by(logs.c.log_index)
    ).all()
    differences, starts = _differences(event.block, held, shown, ours)
    yield from differences
    if not differences and shown.index == 0 and starts - {0}:
        yield f"event {event.block}-{event.log_index} is proved, and kept elsewhere in it"


def _stood(connection: Connection, chain_id: int, event: Row[Any]) -> bool:
    """Whether an event's block is the one that is kept there, or none ever was taken back there."""
    blocks, back = tables.block, tables.reorg
    kept = select(blocks.c.number).where(
        blocks.c.chain_id == chain_id,
        blocks.c.number == event.block,
        blocks.c.hash == event.block_hash,
    )
    taken_back = select(back.c.id).where(
        back.c.chain_id == chain_id,
        back.c.ancestor < event.block,
        back.c.old_head >= event.block,
    )
    return (
        connection.execute(kept).first() is not None
        or connection.execute(taken_back.limit(1)).first() is None
    )
