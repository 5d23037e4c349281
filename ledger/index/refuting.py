"""What kept proofs say against the journal, before tables are made from it.

A journal and tables that differ do not say which of them is wrong. Proofs do, where they lead to
the very block that the journal names: its hash covers when it was made and which events it holds.
One that is spoilt, or another event's, says nothing here; `ledger.index.audit_evidence` tells it.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, func, select

from ledger.errors import LedgerError
from ledger.evidence.receipts import Receipt
from ledger.ids import keccak256
from ledger.index import tables
from ledger.index.event_proofs import Kept, header_of, proven_receipt
from ledger.index.evidence_rows import raw, same_proof
from ledger.index.faults import emitters, proved, unowned

# A transaction's events share these, and each takes a millisecond.
_FEW: Final = 16


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a block says of one of its transactions.

    Attributes:
        time: the block's.
        index: of the transaction.
        tx_hash: None where only its receipt is kept.
        logs: address, topics and data of each.
    """

    time: int
    index: int
    tx_hash: bytes | None
    logs: tuple[tuple[bytes, bytes, bytes], ...]


def refuted(connection: Connection, chain_id: int) -> Iterator[str]:
    """Events that the journal holds otherwise than their block, or does not hold; in words."""
    ours = {address.raw for address in emitters(connection, chain_id).values()}
    events = proved(connection, chain_id)
    for (block, _), same in itertools.groupby(events, lambda e: (e[0].block, e[0].tx_index)):
        shown, held = None, 0
        for row, kept in same:
            held += 1
            said = _shown(row.block, row.block_hash, *_bodies(kept))
            # A receipt of another transaction says nothing of this one.
            if said is None or said.index != row.tx_index:
                continue
            shown = said
            if _differs(row, shown):
                yield f"event {row.block}-{row.log_index} is not what its block says"
        # Not every event need have proofs.
        if shown is not None and _of(ours, shown) != held:
            yield from _miscounted(connection, chain_id, block, shown, ours)
    for gone in unowned(connection, chain_id):
        said = _shown(*_proofs_of(connection, chain_id, gone))
        if said is not None:
            yield from _miscounted(connection, chain_id, gone.block, said, ours)


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
        head.timestamp,
        proof.index,
        keccak256(proof.transaction) if proof.transaction else None,
        tuple((log.emitter.raw, b"".join(log.topics), log.data) for log in logs),
    )


def _bodies(kept: dict[Any, Kept]) -> tuple[bytes, bytes]:
    header, receipt = (kept[kind].body if kind in kept else b"" for kind in ("header", "receipt"))
    return header, receipt


def _differs(row: Row[Any], shown: _Shown) -> bool:
    return (
        row.block_time != shown.time
        or shown.tx_hash not in {None, row.tx_hash}
        or (row.address, row.topics, row.data) not in shown.logs
    )


def _of(ours: Collection[bytes], shown: _Shown) -> int:
    return sum(address in ours for address, _, _ in shown.logs)


def _miscounted(
    connection: Connection, chain_id: int, block: int, shown: _Shown, ours: Collection[bytes]
) -> Iterator[str]:
    logs = tables.raw_log
    query = (
        select(func.count())
        .select_from(logs)
        .where(logs.c.chain_id == chain_id, logs.c.block == block, logs.c.tx_index == shown.index)
    )
    held, made = connection.execute(query).scalar_one(), _of(ours, shown)
    if held != made:
        yield (
            f"transaction {shown.index} of block {block} made {made} events of ours, and the "
            f"journal holds {held}"
        )


def _proofs_of(
    connection: Connection, chain_id: int, event: Row[Any]
) -> tuple[int, bytes, bytes, bytes]:
    """Proofs of an event that the journal lacks, where its block is the one that is kept there."""
    link, stored, blocks = tables.evidence, tables.proof, tables.block
    there = and_(
        blocks.c.chain_id == link.c.chain_id,
        blocks.c.number == link.c.block,
        blocks.c.hash == link.c.block_hash,
    )
    rows = connection.execute(
        select(link.c.kind, link.c.block_hash, stored.c.body)
        .join(stored, same_proof())
        .join(blocks, there)
        .where(
            link.c.chain_id == chain_id,
            link.c.block == event.block,
            link.c.log_index == event.log_index,
        )
    ).all()
    bodies = {row.kind: Kept(row.kind, raw(row.body)) for row in rows}
    return event.block, rows[0].block_hash if rows else b"", *_bodies(bodies)
