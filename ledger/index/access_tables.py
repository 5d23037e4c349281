"""Tables of access: keys, sessions, nonces, appointed roles, audit log (docs/spec/access.md).

They lie in the index's database and are of no chain: nothing of them is folded, and no
reorganisation or rebuild touches them. Of keys and sessions only hashes are kept.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, String, Table, Text

from ledger.index.tables import metadata

access_key = Table(
    "access_key",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("hash", LargeBinary(32), nullable=False),
    Column("name", String(80), nullable=False),
    # Whose roles count at each request; NULL in a key that a local operator gave a role of its own.
    Column("account", LargeBinary(20), nullable=True),
    Column("role", String(16), nullable=True),
    # Separated by spaces.
    Column("scopes", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    # To the hour, so that a key in use costs one write an hour.
    Column("used_at", BigInteger, nullable=True),
    Column("revoked_at", BigInteger, nullable=True),
    Column("revoked_by", Text, nullable=True),
    Index("ix_access_key_account", "account"),
)
access_session = Table(
    "access_session",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("hash", LargeBinary(32), nullable=False),
    Column("account", LargeBinary(20), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # To the minute.
    Column("seen_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger, nullable=True),
    Index("ix_access_session_expires_at", "expires_at"),
)
# A row is a nonce that was given out and not used yet; using it deletes the row.
access_nonce = Table(
    "access_nonce",
    metadata,
    Column("nonce", String(32), primary_key=True),
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_access_nonce_expires_at", "expires_at"),
)
# Roles that somebody granted; who and when, and what was taken back, is in the audit log.
access_role = Table(
    "access_role",
    metadata,
    Column("account", LargeBinary(20), primary_key=True),
    Column("role", String(16), primary_key=True),
    Column("granted_at", BigInteger, nullable=False),
    Column("granted_by", Text, nullable=False),
)
# The canonical text that is hashed, and its hash.
access_audit = Table(
    "access_audit",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("entry", Text, nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
)
