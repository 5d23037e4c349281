"""What ``deed index status`` shows: the cursor, what is kept, and how each endpoint is."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ledger.cli.output import Answer, fields, size_text, time_text
from ledger.cli.session import Session
from ledger.errors import LedgerError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ledger.index.endpoints import Endpoints
from ledger.index.standing import Standing


def status_answer(session: Session, engine: Engine, endpoints: Endpoints, *, look: bool) -> Answer:
    """The answer of ``deed index status``.

    Args:
        session: of the command.
        engine: the index's database.
        endpoints: the chain's.
        look: whether to ask them where they stand; else what they said before is shown.

    Returns:
        Undecided where it looked and no endpoint can be used: how far the chain is, nobody said.

    Raises:
        IndexUnavailable: nothing was followed into this database yet.
    """
    from ledger.index.database import reading
    from ledger.index.standing import standing

    with reading(engine) as connection:
        facts = standing(connection, session.network.deployment.chain_id)
    trouble = ""
    if look:
        try:
            endpoints.agreed_final()
        except LedgerError as error:
            trouble = error.message
    shown = endpoints.shown()
    usable = sum(bool(each.to_json()["healthy"]) for each in shown)
    heads = [each.health.head for each in shown if each.health.head is not None]
    cursor = facts.cursor
    head = max([cursor.head, cursor.block, *heads])
    behind = head - cursor.block
    lag = facts.lag_s(time.time())
    data: dict[str, Any] = {
        "block": cursor.block,
        "time": cursor.last_time,
        "head": head,
        "behind": behind,
        "lag_s": lag,
        "safe": cursor.safe,
        "finalized": cursor.finalized,
        "epoch": cursor.epoch,
        "holder": cursor.holder,
        "endpoints": [each.to_json() for each in shown],
        "usable": usable if look else None,
        "quorum": endpoints.quorum,
        "trouble": trouble or endpoints.trouble or None,
        "reorgs": {
            "count": facts.reorgs,
            "deepest": facts.deepest,
            "last": [each.to_json() for each in facts.last_reorgs],
        },
        "journal": {"events": facts.events, "retracted": facts.orphans},
        "outbox": {
            "last": facts.outbox.last_seq,
            "kept": facts.outbox.last_seq - facts.outbox.pruned_seq,
        },
        "evidence": {
            "events": facts.coverage.events,
            "backlog": facts.coverage.backlog,
            "lost": facts.coverage.lost,
            "bytes": facts.coverage.size,
        },
    }
    answer = Answer(data, fields(_status_rows(session.network.name, facts, data)))
    if usable or not look:
        return answer
    verdict = (
        "error: no endpoint can be used: head and behind are as the index knew them last\n"
        "hint: pass --rpc with an endpoint of this chain"
    )
    return replace(answer, text=f"{answer.text}\n{verdict}", ok=False, undecided=True)


def _status_rows(name: str, facts: Standing, data: dict[str, Any]) -> list[tuple[str, object]]:
    from ledger.index.evidence_store import BACKLOG_COUNTED

    cursor, cover = facts.cursor, facts.coverage
    behind, lag = data["behind"], data["lag_s"]
    late = "never on the head" if lag is None else f"on the head {lag:g} s ago"
    lost = f", {cover.lost} could no longer be had" if cover.lost else ""
    waiting = f"{cover.backlog}{' or more' if cover.backlog >= BACKLOG_COUNTED else ''}"
    rows: list[tuple[str, object]] = [
        ("network", name),
        ("read to", f"block {cursor.block}, {time_text(cursor.last_time)}"),
        ("head", f"block {data['head']}"),
        ("behind", f"{behind} blocks; {late}"),
        ("finalized", f"block {cursor.finalized}"),
        ("writer", f"{cursor.holder or 'none'}, epoch {cursor.epoch}"),
        ("journal", f"{facts.events} events, {facts.orphans} retracted"),
        (
            "outbox",
            f"{data['outbox']['kept']} entries kept, the last is {facts.outbox.last_seq}",
        ),
        (
            "evidence",
            f"{cover.events} events proved, {waiting} waiting{lost}; {size_text(cover.size)}",
        ),
        ("reorgs", f"{facts.reorgs}, the deepest {facts.deepest} blocks" if facts.reorgs else "0"),
        *(
            (
                "  " + time_text(each.detected_at_ms // 1000),
                f"{each.depth} blocks after block {each.ancestor}"
                + (f", past finality, accepted by {each.accepted_by}" if each.accepted_by else ""),
            )
            for each in facts.last_reorgs
        ),
        (
            "endpoints",
            f"{len(data['endpoints'])}, of which {data['quorum']} must agree"
            + (f"; {data['trouble']}" if data["trouble"] else ""),
        ),
    ]
    rows += [(f"  {i}", _endpoint(each)) for i, each in enumerate(data["endpoints"], 1)]
    return rows


def _endpoint(each: dict[str, Any]) -> str:
    role = "" if each["role"] == "any" else f" ({each['role']})"
    said = [f"{each['host']}{role}"]
    if each["disabled"]:
        said.append(f"disabled: {each['disabled']}")
    elif each["healthy"]:
        said.append(f"healthy, head {each['head']}, final {each['finalized']}")
        if each["lag"]:
            said.append(f"{each['lag']} blocks behind")
        if each["latency_ms"] is not None:
            said.append(f"{each['latency_ms']:g} ms")
    else:
        said.append(str(each["trouble"]))
    if each["circuit"] != "closed":
        said.append("left out until it is back")
    if each["contrary"]:
        said.append(f"contradicted others {each['contrary']} times")
    return "; ".join(said)
