"""What an index has kept for evidence, where nodes have forgotten it: events, receipts, headers.

Nodes keep all headers and the newest state, but many forget old receipts and their logs (EIP-4444).
The index took the proofs of every event of ours at finality; here they are given to whoever
collects evidence. Nothing is believed: each is held against its block's hash, and the bundle's own
verification links that to the block that is proved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, select

from ledger.evidence.documents import ReceiptProof
from ledger.evidence.headers import Header
from ledger.ids import Address
from ledger.index import tables
from ledger.index.database import reading
from ledger.index.event_proofs import Kept, Kind, verify_event
from ledger.index.evidence_store import EvidenceStore


class KeptEvidence:
    """One chain's kept evidence in an index database; reads only.

    Args:
        engine: the index's database (`ledger.index.database.open_database`).
        chain_id: whose.
    """

    def __init__(self, engine: Engine, chain_id: int) -> None:
        self._engine = engine
        self._chain_id = chain_id
        self._store = EvidenceStore(chain_id)

    def places(
        self,
        address: Address,
        topics: Sequence[str | Sequence[str] | None],
        first: int,
        last: int,
    ) -> list[dict[str, Any]]:
        """Logs of the journal in the form of ``eth_getLogs``, in order."""
        table = tables.raw_log
        query = (
            select(table)
            .where(
                table.c.chain_id == self._chain_id,
                table.c.block >= first,
                table.c.block <= last,
                table.c.address == address.raw,
            )
            .order_by(table.c.block, table.c.log_index)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        found = []
        for row in rows:
            blob = bytes(row.topics)
            shown = ["0x" + blob[at : at + 32].hex() for at in range(0, len(blob), 32)]
            if _matches(shown, topics):
                found.append(
                    {
                        "address": str(address),
                        "topics": shown,
                        "data": "0x" + bytes(row.data).hex(),
                        "blockNumber": hex(row.block),
                        "transactionIndex": hex(row.tx_index),
                    }
                )
        return found

    def reaches(self, block: int) -> bool:
        """Whether the index has read the chain up to a block."""
        cursor = tables.cursor
        query = select(cursor.c.next_block).where(cursor.c.chain_id == self._chain_id)
        with reading(self._engine) as connection:
            last = connection.execute(query).scalar_one_or_none()
        return last is not None and last > block

    def header(self, block: int) -> Header | None:
        """The header of a block with events of ours."""
        kept = self._of(block, None)
        return None if kept is None or "header" not in kept else Header.parse(kept["header"].body)

    def receipt(self, block: int, index: int) -> ReceiptProof | None:
        """A receipt with events of ours, and its proof."""
        kept = self._of(block, index)
        if kept is None or "receipt" not in kept:
            return None
        return ReceiptProof.from_json(kept["receipt"].document())

    def _of(self, block: int, index: int | None) -> dict[Kind, Kept] | None:
        """The proofs of the first event of a block, or of one of its transactions, verified."""
        table = tables.raw_log
        query = select(table).where(table.c.chain_id == self._chain_id, table.c.block == block)
        if index is not None:
            query = query.where(table.c.tx_index == index)
        with reading(self._engine) as connection:
            row = connection.execute(query.order_by(table.c.log_index).limit(1)).one_or_none()
            if row is None:
                return None
            kept = self._store.of(connection, block, row.log_index)
        if "header" not in kept:
            return None
        verify_event(row, kept)
        return kept


def _matches(shown: Sequence[str], wanted: Sequence[str | Sequence[str] | None]) -> bool:
    """As ``eth_getLogs`` reads its topics: one, any of some, or none in particular."""
    for at, want in enumerate(wanted):
        if want is None:
            continue
        if at >= len(shown) or shown[at] not in ([want] if isinstance(want, str) else want):
            return False
    return True
