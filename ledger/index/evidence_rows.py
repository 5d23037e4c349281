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


def spoilt(connection: Connection) -> Iterator[bytes]:
    """Hashes of the proofs whose bytes are not what they are stored under: all are read."""
    query = select(tables.proof).execution_options(yield_per=_PAGE)
    for row in connection.execute(query):
        body = bytes(row.body)
        if hashlib.sha256(body).digest() != row.hash or len(body) != row.size:
            yield bytes(row.hash)
