"""Rows of signed-in sessions: how long one lasts, and how many one account has at once."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from ledger.access.tokens import Token
from ledger.ids import Address
from ledger.index.access_tables import access_session

IDLE_SECONDS: Final = 30 * 60
SESSION_SECONDS: Final = 12 * 3600
MAX_SESSIONS: Final = 20
"""Live sessions of one account; the next sign-in ends the oldest, so that it keeps nobody out."""
_KEPT_SECONDS: Final = 86_400
"""For which a session that is over is still told from one that never was."""


def add(connection: Connection, token: Token, account: Address, now: int, expires: int) -> None:
    """Open a session; forget those that were over long ago."""
    table = access_session
    connection.execute(delete(table).where(table.c.expires_at < now - _KEPT_SECONDS))
    connection.execute(
        insert(table).values(
            id=token.id, hash=token.hash(), account=account.raw, created_at=now, seen_at=now,
            expires_at=expires,
        )
    )  # fmt: skip


def end_oldest(connection: Connection, account: Address, newest: str, now: int) -> list[str]:
    """End what an account has beyond `MAX_SESSIONS`, the oldest first; their ids.

    Args:
        connection: that holds the audit log's lock, so that of two sign-ins at once the later one
            counts the other's session.
        account: whose.
        newest: the session that was just opened; it stays.
        now: Unix seconds.
    """
    table = access_session
    live = (
        table.c.account == account.raw,
        table.c.ended_at.is_(None),
        table.c.expires_at > now,
        table.c.seen_at > now - IDLE_SECONDS,
        table.c.id != newest,
    )
    query = select(table.c.id).where(*live).order_by(table.c.created_at.desc(), table.c.id)
    over = list(connection.execute(query.offset(MAX_SESSIONS - 1)).scalars())
    if over:
        connection.execute(update(table).where(table.c.id.in_(over)).values(ended_at=now))
    return over


def end_all(connection: Connection, account: Address, now: int) -> int:
    """End every session of an account; how many there were."""
    table = access_session
    mine = (table.c.account == account.raw, table.c.ended_at.is_(None), table.c.expires_at > now)
    return int(connection.execute(update(table).where(*mine).values(ended_at=now)).rowcount)
