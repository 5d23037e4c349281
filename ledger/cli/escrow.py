"""``deed escrow``: shares of a key with agents, for the day when the licensor is gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli import settings
from ledger.cli.output import Answer, fields, time_text
from ledger.cli.quantities import moment
from ledger.cli.runtime_carried import carried, read_json, require_free
from ledger.cli.session import Session, passphrase
from ledger.cli.settings import write_text
from ledger.cli.verb import Verbs
from ledger.errors import UsageError
from ledger.ids import ModelId

if TYPE_CHECKING:
    from ledger.broker.escrow import Condition, Escrow
    from ledger.licensing.card import LicenseCard

app = Verbs("Keys for license holders when the licensor is gone.")

_Home = Annotated[Path, typer.Option("--home", metavar="DIR", help="The agent's folder.")]
_Out = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write here, not on stdout.")
]
_Document = Annotated[Path, typer.Argument(metavar="ESCROW", help="The escrow document.")]
_Card = Annotated[Path, typer.Argument(metavar="CARD", help="The license card.")]


@app.verb("init")
def init(
    *,
    home: _Home = Path("escrow"),
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="For people.")] = "agent",
) -> Answer:
    """Make an escrow agent's key and agent.json, which licensors wrap shares to."""
    from ledger.broker.escrow_agent import AGENT_FILE, AgentHome

    secret = passphrase(settings.load(), f"New passphrase of the agent in {home}", new=True)
    made = AgentHome.create(home, name, secret)
    return Answer(
        {"home": home, "agent": made.agent.to_json()},
        fields([("agent", name), ("folder", home), ("public file", home / AGENT_FILE)]),
        notes=(f"next: give {home / AGENT_FILE} to the licensor",),
    )


@app.verb("create", signs="licensor", waits=False)
def create(
    session: Session,
    *,
    files: Annotated[
        list[Path], typer.Argument(help="A recovery file, or as many share files as it takes.")
    ],
    agent: Annotated[
        list[Path], typer.Option("--agent", metavar="FILE", help="An agent.json; repeatable.")
    ],
    threshold: Annotated[
        int, typer.Option("--threshold", min=1, max=32, help="How many agents must answer.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The document to write.")],
    silence: Annotated[
        int | None,
        typer.Option("--silence", metavar="DAYS", help="Nothing seen of you on chain as long."),
    ] = None,
    on_release: Annotated[
        bool, typer.Option("--on-release", help="When you say so: deed escrow release.")
    ] = False,
    date: Annotated[
        str | None, typer.Option("--date", metavar="TIME", help="From then on, such as 2030-01-01.")
    ] = None,
    anchor: Annotated[
        bool, typer.Option("--anchor", help="Also put the document's hash on chain.")
    ] = False,
) -> Answer:
    """Share a sealing's key among agents, in one public document with the rule you choose.

    Any one condition that holds lets each agent give its share to a license holder's runtime.
    """
    from ledger.broker.escrow import Agent
    from ledger.broker.escrow_holder import make_escrow
    from ledger.broker.restoring import read_recovery, sealing_of

    require_free(out)
    deployment = session.network.deployment
    agents = [Agent.from_json(read_json(path)) for path in agent]
    rule = _rule(silence, date, on_release=on_release)
    recovery = read_recovery(
        files, lambda path: passphrase(session.settings, f"Passphrase of {path.name}")
    )
    record = sealing_of(recovery, deployment)
    _require_title(session, record.model_id)
    made = make_escrow(
        record,
        recovery.content_key,
        agents,
        threshold,
        rule,
        deployment=deployment,
        signer=session.signer,
    )
    write_text(out, json.dumps(made.to_json(), indent=2) + "\n")
    data: dict[str, Any] = {"file": out, "escrow": made.id(), **_facts(made)}
    rows = [("file", out), *_rows(made)]
    if anchor:
        receipt = session.anchors.anchor(session.sender, made.id())
        data["anchored"] = {"block": receipt.block_number, "tx": receipt.hash}
        rows.append(("anchored", f"in block {receipt.block_number}"))
    return Answer(
        data,
        fields(rows),
        notes=("next: give the document to the agents and the license holders; it is public",),
    )


@app.verb("show")
def show(document: _Document) -> Answer:
    """Check an escrow document's signature and show who holds shares, and the rule."""
    made = _document(document)
    return Answer({"escrow": made.id(), **_facts(made)}, fields(_rows(made)))


@app.verb("release", signs="licensor", waits=False)
def release(session: Session, document: _Document, *, out: _Out = None) -> Answer:
    """Say, as the licensor, that the agents may give out their shares."""
    import time

    from ledger.broker.escrow import Release

    if out is not None:
        require_free(out)
    escrow = _document(document)
    _require_title(session, escrow.record.model_id)
    made = Release.sign(escrow, session.signer, now=int(time.time()))
    note = "next: license holders pass it to deed escrow request --release"
    return carried(made.to_json(), out, note=note)


@app.verb("request")
def request(
    card: _Card,
    document: _Document,
    *,
    word: Annotated[
        Path | None,
        typer.Option("--release", metavar="FILE", help="The licensor's word, if there is one."),
    ] = None,
    out: _Out = None,
) -> Answer:
    """Ask the agents for their shares, as this machine's runtime; carry it to each of them."""
    from ledger.broker.escrow import Release
    from ledger.broker.escrow_holder import make_request
    from ledger.broker.identity import RuntimeIdentity

    if out is not None:
        require_free(out)
    identity = RuntimeIdentity.load(settings.load().runtime_key)
    made = make_request(
        _card(card),
        _document(document),
        identity,
        release=None if word is None else Release.from_json(read_json(word)),
    )
    return carried(made.to_json(), out, note="next: each agent runs deed escrow answer REQUEST")


@app.verb("answer", waits=False)
def answer(
    session: Session,
    request_: Annotated[Path, typer.Argument(metavar="REQUEST", help="From deed escrow request.")],
    document: _Document,
    *,
    home: _Home = Path("escrow"),
    out: _Out = None,
) -> Answer:
    """Check the rule on chain and, if it holds, give this agent's share to the requester.

    Both outcomes are logged in the agent's folder.
    """
    from ledger.broker import escrow_agent
    from ledger.broker.escrow import EscrowRequest
    from ledger.broker.sharing import witness_rpc

    if out is not None:
        require_free(out)
    asked, made = EscrowRequest.from_json(read_json(request_)), _document(document)
    secret = passphrase(session.settings, f"Passphrase of the agent in {home}")
    agent = escrow_agent.AgentHome.open(home, secret)
    network = session.network
    rpcs = [witness_rpc(url, chain_id=network.deployment.chain_id) for url in network.rpc_urls]
    view = escrow_agent.patient_view(rpcs, network.deployment, network.profile)
    try:
        given = escrow_agent.answer(agent, made, asked, view, network.deployment)
    finally:
        view.close()
    note = f"given, because: {'; '.join(given.checks)}"
    return carried(given.answer.to_json(), out, note=note)


@app.verb("join")
def join(
    card: _Card,
    document: _Document,
    answers: Annotated[list[Path], typer.Argument(metavar="ANSWER...", help="From the agents.")],
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The key file to write.")],
) -> Answer:
    """Put the key together from enough agents' answers, into a file under a passphrase."""
    from ledger.broker.escrow import EscrowAnswer
    from ledger.broker.escrow_holder import join_answers
    from ledger.broker.identity import RuntimeIdentity

    require_free(out)
    found = settings.load()
    identity = RuntimeIdentity.load(found.runtime_key)
    secret = passphrase(found, f"New passphrase of {out.name}", new=True)
    given = [EscrowAnswer.from_json(read_json(path)) for path in answers]
    key = join_answers(_card(card), _document(document), identity, given)
    key.save(out, secret)
    return Answer(
        {"file": out, "license": key.license, "escrow": key.escrow},
        fields([("key file", out), ("license", key.license)]),
        notes=(f"next: deed open {card} --escrow-key {out}",),
    )


def _rule(silence: int | None, date: str | None, *, on_release: bool) -> list[Condition]:
    import time

    from ledger.broker.escrow import DATE, LICENSOR, SILENCE, Condition

    rule = [] if silence is None else [Condition(SILENCE, silence)]
    if on_release:
        rule.append(Condition(LICENSOR))
    if date is not None:
        rule.append(Condition(DATE, moment(date, now=int(time.time()))))
    return rule


def _document(path: Path) -> Escrow:
    from ledger.broker.escrow import Escrow

    return Escrow.from_json(read_json(path))


def _card(path: Path) -> LicenseCard:
    from ledger.licensing.card import parse

    card = parse(read_json(path))
    card.verify()
    return card


def _facts(made: Escrow) -> dict[str, Any]:
    return {
        "model": made.record.model_id,
        "sealing": made.record.hash(),
        "licensor": made.licensor,
        "threshold": made.threshold,
        "agents": [seat.agent.name for seat in made.seats],
        "rule": [one.to_json() for one in made.rule],
    }


def _rows(made: Escrow) -> list[tuple[str, object]]:
    return [
        ("escrow", made.id()),
        ("model", made.record.model_id),
        ("sealing", f"{made.record.hash()}, epoch {made.record.epoch}"),
        ("licensor", f"{made.licensor}, who signed this on {time_text(made.issued_at)}"),
        ("agents", f"{made.threshold} of {len(made.seats)} must answer"),
        *[("", f"{index}: {seat.agent.name}") for index, seat in enumerate(made.seats, 1)],
        *[("if" if n == 0 else "or", one) for n, one in enumerate(made.rule)],
    ]


def _require_title(session: Session, model: ModelId) -> None:
    """Agents believe whoever holds the title when they are asked: told now, not years later."""
    holder = session.registry.licensor_of(model)
    if holder != session.signer.address:
        raise UsageError(
            f"the title of model {model.short} is held by {holder or 'nobody'}, and agents would "
            "refuse what another signs",
            hint="sign with the titleholder's wallet: --wallet NAME",
        )
