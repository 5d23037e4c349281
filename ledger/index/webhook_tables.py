"""Tables of webhooks: endpoints, messages, deliveries (docs/spec/webhooks.md).

They lie in the index's database, so that a message is made in the transaction that remembers how
far the outbox was read. They are of one chain each, and no reorganisation or rebuild touches them.
Of secrets only the generation is kept; what they are derived from is the operator's.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, Table, Text

from ledger.index.tables import metadata

webhook_endpoint = Table(
    "webhook_endpoint",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("chain_id", BigInteger, nullable=False),
    # As the audit log names who made it: account:0x… or key:ID.
    Column("owner", String(80), nullable=False),
    Column("url", Text, nullable=False),
    Column("description", String(200), nullable=False),
    # key:ID of the account's key by whose right it is sent to; empty for a session's.
    Column("via", String(40), nullable=False),
    # JSON (ledger.webhooks.filters).
    Column("filters", Text, nullable=False),
    Column("expiring_days", Integer, nullable=False),
    # What the secret is derived from, and what the one before it was, which signs until then.
    Column("generation", BigInteger, nullable=False),
    Column("key_name", String(16), nullable=False),
    Column("old_key_name", String(16), nullable=True),
    Column("old_until", BigInteger, nullable=False),
    # Enabled with a reason: paused, since `disabled_at`.
    Column("enabled", Boolean, nullable=False),
    Column("disabled_at", BigInteger, nullable=True),
    Column("reason", String(200), nullable=False),
    # The outbox's number when it was made: what came before is not sent.
    Column("since_seq", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # Attempts that failed since the last that did not, and since when.
    Column("failures", Integer, nullable=False),
    Column("failing_since", BigInteger, nullable=True),
    Column("resting_until_ms", BigInteger, nullable=False),
    # Which process sends to it, and until when that counts.
    Column("claim", String(32), nullable=False),
    Column("claimed_until_ms", BigInteger, nullable=False),
    Index("ix_webhook_endpoint_owner", "owner"),
)
# A body is kept once, however many endpoints it goes to.
webhook_message = Table(
    "webhook_message",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("chain_id", BigInteger, nullable=False),
    Column("type", String(24), nullable=False),
    Column("sequence", BigInteger, nullable=True),
    Column("body", Text, nullable=False),
    Column("made_at_ms", BigInteger, nullable=False),
    Index("ix_webhook_message_made_at_ms", "made_at_ms"),
)
webhook_delivery = Table(
    "webhook_delivery",
    metadata,
    Column("endpoint", String(24), primary_key=True),
    Column("message", String(40), primary_key=True),
    # Rises in the order in which deliveries were made.
    Column("number", BigInteger, nullable=False),
    # waiting, delivered, dead
    Column("state", String(9), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at_ms", BigInteger, nullable=False),
    Column("made_at_ms", BigInteger, nullable=False),
    Column("tried_at_ms", BigInteger, nullable=True),
    Column("done_at_ms", BigInteger, nullable=True),
    Column("last_status", Integer, nullable=True),
    Column("trouble", String(200), nullable=False),
    Index("ix_webhook_delivery_due", "endpoint", "state", "next_at_ms"),
    Index("ix_webhook_delivery_number", "endpoint", "number"),
    Index("ix_webhook_delivery_done", "state", "done_at_ms"),
    Index("ix_webhook_delivery_message", "message"),
)
webhook_place = Table(
    "webhook_place",
    metadata,
    Column("chain_id", BigInteger, primary_key=True, autoincrement=False),
    # The outbox's number up to which messages were made.
    Column("after_seq", BigInteger, nullable=False),
    # The highest number of a delivery.
    Column("numbered", BigInteger, nullable=False),
    # When licenses were last looked through for reminders, Unix seconds.
    Column("reminded_at", BigInteger, nullable=False),
)
