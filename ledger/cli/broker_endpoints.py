"""How ``deed broker status`` tells of the endpoints that a broker's decisions rest on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ledger.errors import LedgerError
from ledger.licensing.document import Document
from ledger.licensing.entitlement import moment

if TYPE_CHECKING:
    from ledger.broker.client import BrokerClient


def witnesses(client: BrokerClient) -> dict[str, Any]:
    """What a broker says of its endpoints; nothing where it does not say."""
    try:
        doc = Document(client.endpoints(), "the broker's endpoints")
        quorum, listed = doc.integer("quorum", 1), doc.items("endpoints", limit=64)
    except LedgerError:  # an older broker, or one behind a proxy that keeps this to itself
        return {}
    return {"quorum": quorum, "endpoints": [each for each in listed if isinstance(each, dict)]}


def endpoint_rows(seen: dict[str, Any]) -> list[tuple[str, object]]:
    """One line an endpoint, for people."""
    listed = seen.get("endpoints", [])
    if not listed:
        return []
    rows: list[tuple[str, object]] = [
        ("endpoints", f"{len(listed)}, of which {seen['quorum']} must agree")
    ]
    return rows + [(f"  {index}", _line(each)) for index, each in enumerate(listed, 1)]


def _line(each: dict[str, Any]) -> str:
    said = [str(each.get("host"))]
    if each.get("healthy"):
        said.append(f"healthy, head {each.get('head')}, final {each.get('finalized')}")
        if each.get("lag"):
            said.append(f"{each['lag']} blocks behind")
        if isinstance(each.get("latency_ms"), int | float):
            said.append(f"{each['latency_ms']:g} ms")
    else:
        said.append(str(each.get("trouble")))
    if each.get("circuit") != "closed":
        said.append("left out until it is back")
    if each.get("contrary"):
        said.append(f"contradicted the others {each['contrary']} times")
    last = each.get("last_trouble")
    if isinstance(last, dict) and isinstance(last.get("time"), int):
        said.append(f"last trouble: {last.get('kind')}, {moment(last['time'])}")
    # A broker is a stranger: what it says of itself moves no cursor.
    return "".join(c if c.isprintable() else " " for c in "; ".join(said))[:400]
