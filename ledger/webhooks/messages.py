"""Messages: their ids and bodies (docs/spec/webhooks.md, "Messages"). Pure."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ledger.canonical import canonical_json, hash_bytes
from ledger.ids import Address
from ledger.index.decode import decode, json_values
from ledger.index.journal import topics_of

ID_TAG: Final = "modeldeed/webhook-message/1"


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        sequence: the outbox's number; None where none stands behind it.
        body: JSON; never changed once it is kept.
    """

    id: str
    type: str
    sequence: int | None
    body: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose messages: a chain, by its id and genesis."""

    chain_id: int
    genesis: bytes

    def id(self, kind: str, **what: Any) -> str:
        """The id of what a message says, the same wherever and however often it is made."""
        said = {"kind": kind, "chain_id": self.chain_id, "genesis": self.genesis.hex(), **what}
        return "msg_" + hash_bytes(ID_TAG, canonical_json(said)).raw.hex()[:32]

    def event_id(self, kind: str, row: Mapping[Any, Any], times: int) -> str:
        """The id of the message about an event that had been taken back so many times before."""
        at = {"block_hash": bytes(row["block_hash"]).hex(), "log_index": row["log_index"]}
        return self.id(kind, **at, times=times)

    def message(
        self,
        type_: str,
        id_: str,
        at: float,
        as_of: dict[str, Any],
        *,
        sequence: int | None = None,
        **data: Any,
    ) -> Message:
        """A message with its body.

        Args:
            type_: of docs/spec/webhooks.md.
            id_: from `id`.
            at: Unix seconds at which what it tells happened.
            as_of: the state of the index in which it was made.
            sequence: the outbox's number.
            data: further members.
        """
        numbered = {} if sequence is None else {"sequence": sequence}
        told = {"id": id_, **numbered, "chain_id": self.chain_id, "as_of": as_of, **data}
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
        body = json.dumps({"type": type_, "timestamp": stamp, "data": told}, separators=(",", ":"))
        return Message(id_, type_, sequence, body)


def event_members(
    row: Mapping[Any, Any], subjects: Sequence[bytes], finality: str
) -> dict[str, Any]:
    """An event as ``GET /v1/events`` tells it, with its subjects."""
    event = decode(row["contract"], topics_of(row["topics"]), row["data"])
    return {
        "contract": row["contract"],
        "event": row["event"],
        "block": row["block"],
        "block_hash": "0x" + bytes(row["block_hash"]).hex(),
        "block_time": row["block_time"],
        "log_index": row["log_index"],
        "tx_hash": "0x" + bytes(row["tx_hash"]).hex(),
        "tx_index": row["tx_index"],
        "address": str(Address(bytes(row["address"]))),
        "finality": finality,
        "subjects": ["0x" + each.hex() for each in subjects],
        "arguments": None if event is None else json_values(event),
    }
