"""What ``deed index status`` shows: the cursor, what is kept, and how each endpoint is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ledger.cli.index_args import chain_of
from ledger.cli.output import Answer, fields, size_text, time_text
from ledger.cli.session import Session
from ledger.errors import ChainUnavailable, LedgerError, Reorganised, WrongNetwork

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ledger.index.endpoints import Endpoints
    from ledger.index.pool import Shown
    from ledger.index.standing import Standing


SILENT_SECONDS: Final = 30.0
"""Who follows writes each second; after so long another takes over (`ledger.index.follow`)."""


def status_answer(
    session: Session, engine: Engine, endpoints: Endpoints | None, *, look: bool
) -> Answer:
    """The answer of ``deed index status``.

    Args:
        session: of the command.
        engine: the index's database.
        endpoints: the chain's; None where no network says which they are.
        look: whether to ask them where they stand; else what they said before is shown.

    Returns:
        Undecided where it looked and no endpoint can be used: how far the chain is, nobody said. No
        where the chain no longer has what was final here.

    Raises:
        IndexUnavailable: nothing was followed into this database yet.
        WrongNetwork: only other chains than the network's were.
        UsageError: no network says which of the database's chains is meant.
    """
    from ledger.index.database import reading
    from ledger.index.standing import standing

    chain_id = chain_of(session, engine)
    with reading(engine) as connection:
        facts = standing(connection, chain_id)
    trouble, stopped = "", None
    if look and endpoints is not None:
        try:
            endpoints.agreed_final()
            stopped = _stopped(session, engine, endpoints)
        except LedgerError as error:
            trouble = error.message
    shown = () if endpoints is None else endpoints.shown()
    usable = usable_of(shown)
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
        "quorum": None if endpoints is None else endpoints.quorum,
        "trouble": trouble or (endpoints.trouble if endpoints is not None else "") or None,
        "hint": None,
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
    name = session.network.name if endpoints is not None else f"none chosen; chain {chain_id}"
    text = fields(_status_rows(name, facts, data))
    if stopped is not None:
        said, hint = stopped.message, stopped.hint
        data |= {"trouble": said, "hint": hint}
        return Answer(data, f"{text}\nerror: {said}\nhint: {hint}", ok=False)
    if usable or not look:
        return Answer(data, text)
    why, hint = (
        ("no network is chosen", "choose one with --network: deed network list")
        if endpoints is None
        else ("no endpoint can be used", "pass --rpc with an endpoint of this chain")
    )
    data["hint"] = hint
    verdict = f"error: {why}: head and behind are as the index knew them last\nhint: {hint}"
    return Answer(data, f"{text}\n{verdict}", ok=False, undecided=True)


def _stopped(session: Session, engine: Engine, endpoints: Endpoints) -> Reorganised | None:
    from ledger.index.accepting import contradicted
    from ledger.index.journal import Journal

    network = session.network
    if network.profile.test_network:
        return None  # There a follower goes back over final blocks by itself.
    journal = Journal(network.deployment.chain_id)
    return contradicted(engine, journal, endpoints, depth=network.profile.finality_depth)


def require_usable(endpoints: Endpoints) -> None:
    """Ask endpoints where they stand, before what they say is taken for an answer.

    Raises:
        ChainUnavailable: none of them can be used; with what is wrong with each.
        WrongNetwork: likewise, and each is of another chain or of other contracts.
    """
    endpoints.agreed_final()
    shown = endpoints.shown()
    if usable_of(shown):
        return
    said = []
    for each in shown:
        host, why = each.health.host, str(each.disabled or each.health.trouble)
        said.append(why if host in why else f"{host}: {why}")
    sentence = f"no endpoint can be used: {'; '.join(said)}"
    hint = "pass --rpc with an endpoint of this chain"
    if all(each.disabled for each in shown):
        # Waiting mends nothing, so nothing may say that it does.
        raise WrongNetwork(sentence, hint=hint)
    raise ChainUnavailable(sentence, hint=hint)


def usable_of(shown: Sequence[Shown]) -> int:
    """How many endpoints said well where they stand, when they were last asked."""
    return sum(bool(each.to_json()["healthy"]) for each in shown)


def _status_rows(name: str, facts: Standing, data: dict[str, Any]) -> list[tuple[str, object]]:
    from ledger.index.evidence_store import BACKLOG_COUNTED

    cursor, cover = facts.cursor, facts.coverage
    behind, lag = data["behind"], data["lag_s"]
    late = "never on the head" if lag is None else f"on the head {lag:g} s ago"
    lost = f", {cover.lost} could no longer be had" if cover.lost else ""
    # Also where a service still has another file open than the one that stands here.
    silent = time.time() - cursor.updated_at_ms / 1000
    quiet = f"; has written nothing for {silent:.0f} s"
    if not cursor.updated_at_ms or silent <= SILENT_SECONDS:
        quiet = ""
    waiting = f"{cover.backlog}{' or more' if cover.backlog >= BACKLOG_COUNTED else ''}"
    rows: list[tuple[str, object]] = [
        ("network", name),
        ("read to", f"block {cursor.block}, {time_text(cursor.last_time)}"),
        ("head", f"block {data['head']}"),
        ("behind", f"{behind} blocks; {late}"),
        ("finalized", f"block {cursor.finalized}"),
        ("writer", f"{cursor.holder or 'none'}, epoch {cursor.epoch}{quiet}"),
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
            + (f"; {data['trouble']}" if data["trouble"] else "")
            if data["endpoints"]
            else "none known",
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
