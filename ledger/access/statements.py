"""The reads that every request with a credential makes."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, literal, select, union_all

from ledger.access.roles import HOLDER, LICENSOR
from ledger.index import tables
from ledger.index.access_tables import access_key, access_role, access_session

# Built once: putting a statement together costs more than running it.
KEY_BY_ID: Final = select(access_key).where(access_key.c.id == bindparam("id"))
SESSION_BY_ID: Final = select(access_session).where(access_session.c.id == bindparam("id"))
ROLES_OF: Final = union_all(
    *(
        select(literal(role).label("role")).where(
            select(literal(1))
            .select_from(table)
            .where(
                column == bindparam("account"),
                table.c.chain_id == bindparam("chain_id"),
                table.c.died_block.is_(None),
            )
            .exists()
        )
        for role, table, column in (
            (LICENSOR, tables.model, tables.model.c.licensor),
            (HOLDER, tables.license_, tables.license_.c.holder),
        )
    ),
    select(access_role.c.role).where(access_role.c.account == bindparam("account")),
)
