"""How rows of `evidence`, `proof` and the journal belong together, and bodies that are spoilt."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

from sqlalchemy import ColumnElement, Connection, Table, and_, select

from ledger.index import tables

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


def spoilt(connection: Connection, chain_id: int) -> Iterator[bytes]:
    """Hashes of the proofs whose bytes are not what they are stored under: all are read.

    Those that another chain's entries alone name are for that chain's audit.
    """
    link, stored = tables.evidence, tables.proof
    rows = connection.execute(select(stored).execution_options(yield_per=_PAGE))
    for some in rows.partitions():
        found = {
            bytes(row.hash)
            for row in some
            if hashlib.sha256(row.body).digest() != row.hash or len(row.body) != row.size
        }
        if found:
            chains = select(link.c.hash, link.c.chain_id).where(link.c.hash.in_(found)).distinct()
            named: dict[bytes, set[int]] = {}
            for row in connection.execute(chains):
                named.setdefault(bytes(row.hash), set()).add(row.chain_id)
            yield from sorted(h for h in found if chain_id in named.get(h, {chain_id}))
