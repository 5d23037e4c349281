"""How ``deed broker status`` tells of the anchoring of a broker's receipts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ledger.errors import LedgerError
from ledger.licensing.document import Document
from ledger.licensing.entitlement import moment

if TYPE_CHECKING:
    from ledger.broker.client import BrokerClient

_STATES = ("off", "waiting", "anchoring", "failing", "stopped")


def anchoring_of(client: BrokerClient) -> dict[str, Any]:
    """What a broker says of its anchoring; nothing where it does not say."""
    try:
        doc = Document(client.unsigned("/v1/broker/anchoring"), "the broker's anchoring")
        doc.choice("state", _STATES)
        told: dict[str, Any] = {
            "state": doc.value["state"],
            "receipts": doc.integer("receipts"),
            "anchored": doc.integer("anchored"),
        }
        for name in ("last_at", "since"):
            told[name] = doc.integer(name) if doc.has(name) else None
        told["trouble"] = doc.text("trouble", limit=64) if doc.has("trouble") else None
        every = doc.value.get("every")
        told["every"] = every if isinstance(every, int | float) and 0 <= every < 1e9 else 0
    except LedgerError:  # an older broker, or one behind a proxy that keeps this to itself
        return {}
    return {"anchoring": told}


def anchoring_rows(seen: dict[str, Any]) -> list[tuple[str, object]]:
    """One line, for people."""
    told = seen.get("anchoring")
    if not told:
        return []
    left = told["receipts"] - told["anchored"]
    count = f"{told['receipts']} receipts, {left} not anchored yet"
    if told["state"] == "off":
        return [("anchoring", f"off: {count}; deed broker anchor, or see docs/api.md")]
    line = f"every {told['every']:g} s: {count}"
    if told["last_at"] is not None:
        line += f"; last {moment(told['last_at'])}"
    if told["state"] in {"failing", "stopped"}:
        line += f"; {told['state'].upper()}"
    if told["trouble"] is not None:
        trouble = "".join(c if c.isprintable() else " " for c in told["trouble"])
        line += f" since {moment(told['since'] or 0)}: {trouble}"
    return [("anchoring", line)]
