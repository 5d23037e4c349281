"""Tables of access: keys, sessions, nonces, roles, audit log; what must happen once.

Specified in docs/spec/access.md, idempotency.md and transactions.md. They lie in the index's
database, and nothing of them is folded: no reorganisation or rebuild touches them. Of keys and
sessions only hashes are kept.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, String, Table, Text

from ledger.index.tables import Uint, metadata

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
    Index("ix_access_session_account", "account"),
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
# Requests with an idempotency key: what identifies them, and their answer, sealed under a key that
# only the credential's holder has (docs/spec/idempotency.md).
access_once = Table(
    "access_once",
    metadata,
    Column("credential", String(32), primary_key=True),
    Column("name", LargeBinary(32), primary_key=True),
    Column("print", LargeBinary(32), nullable=False),
    # Of the attempt that is under way; another may take over after `held_until`.
    Column("attempt", LargeBinary(16), nullable=False),
    Column("held_until", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("answer", LargeBinary, nullable=True),
    Index("ix_access_once_expires_at", "expires_at"),
)
# Transactions that were passed on: by these one is told that was replaced or dropped.
relayed = Table(
    "relayed",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary(32), primary_key=True),
    Column("sender", LargeBinary(20), nullable=False),
    # A nonce is below 2^64 - 1 (EIP-2681).
    Column("nonce", Uint(), nullable=False),
    Column("actor", Text, nullable=False),
    Column("sent_at", BigInteger, nullable=False),
    Index("ix_relayed_sent_at", "sent_at"),
)
