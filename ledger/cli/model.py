"""``deed model``: a title, and who holds it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.acting import account
from ledger.cli.output import Answer, fields, time_text
from ledger.cli.plan import model_of
from ledger.cli.quantities import duration
from ledger.cli.receipts import receipt_data, receipt_row, settle
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.errors import UnknownRecord, UsageError
from ledger.ids import ZERO_ADDRESS, ModelId

if TYPE_CHECKING:
    from ledger.chain.transactions import TxReceipt

app = Verbs("Pass a title on, set a model's status, guard against the loss of a wallet.")

_Model = Annotated[str, typer.Argument(metavar="MODEL", help="Model id, or its sealed file.")]


@app.verb("transfer", signs="licensor", waits=False)
def transfer(
    session: Session,
    model: _Model,
    to: Annotated[
        str | None, typer.Option("--to", metavar="ADDRESS", help="Who is offered the title.")
    ] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take the offer back.")] = False,
) -> Answer:
    """Offer a title. It moves when the other side accepts."""
    if (to is None) is not withdraw:
        raise UsageError("nobody is named", hint="give --to ADDRESS, or --withdraw")
    model_id = _known(session, model)
    taker = account(session, to) if to is not None else ZERO_ADDRESS
    receipt = session.registry.propose_transfer(session.sender, model_id, taker)
    return _done(session, model_id, receipt, "offered to", taker if to else "nobody")


@app.verb("accept", signs="stranger", waits=False)
def accept(session: Session, model: _Model) -> Answer:
    """Take an offered title."""
    model_id = _known(session, model)
    receipt = session.registry.accept_transfer(session.sender, model_id)
    answer = _done(session, model_id, receipt, "licensor", session.sender.address)
    return Answer(
        answer.data,
        answer.text,
        notes=(
            "next: deed plan sync PLAN for each of its plans; the seller acts on them until then",
        ),
    )


@app.verb("status", signs="licensor", waits=False)
def status(
    session: Session,
    model: _Model,
    value: Annotated[
        str | None, typer.Argument(metavar="STATUS", help="active, withdrawn or compromised.")
    ] = None,
) -> Answer:
    """Show a model's title and status, or set the status."""
    from ledger.chain.registry import ModelStatus

    model_id = _known(session, model)
    if value is None:
        record = session.registry.model_of(model_id)
        return Answer(
            {"model_id": model_id, "record": record},
            fields(
                [
                    ("model", model_id),
                    ("licensor", record.licensor),
                    ("status", record.status),
                    ("registered", time_text(record.registered_at)),
                    ("committed", time_text(record.committed_at)),
                ]
            ),
        )
    words = {str(member): member for member in ModelStatus if member}
    if value not in words:
        raise UsageError(f"there is no such status: {value}", hint=f"give {', '.join(words)}")
    receipt = session.registry.set_status(session.sender, model_id, words[value])
    return _done(session, model_id, receipt, "status", value)


@app.verb("guardian", signs="licensor", waits=False)
def guardian(
    session: Session,
    model: _Model,
    *,
    who: Annotated[
        str | None, typer.Option("--set", metavar="ADDRESS", help="Who may recover the title.")
    ] = None,
    delay: Annotated[
        str, typer.Option("--delay", metavar="TIME", help="Time in which you can veto.")
    ] = "14d",
    dismiss: Annotated[bool, typer.Option("--none", help="Dismiss the guardian.")] = False,
) -> Answer:
    """Show, name or dismiss who may recover the title of a lost wallet."""
    model_id = _known(session, model)
    if who is not None and dismiss:
        raise UsageError("both a guardian and none", hint="give --set or --none")
    if who is not None or dismiss:
        chosen = account(session, who) if who is not None else ZERO_ADDRESS
        receipt = session.registry.set_guardian(
            session.sender, model_id, chosen, duration(delay) if who is not None else 0
        )
        return _done(session, model_id, receipt, "guardian", chosen if who else "none")
    found = session.registry.guardian_of(model_id)
    return Answer(
        {"model_id": model_id, "guardian": found},
        fields([("guardian", "none" if found is None else found.account)]),
    )


@app.verb("recover", signs="licensor", waits=False)
def recover(
    session: Session,
    model: _Model,
    *,
    to: Annotated[
        str | None, typer.Option("--to", metavar="ADDRESS", help="Start: the new wallet.")
    ] = None,
    finish: Annotated[bool, typer.Option("--finish", help="Move it, after the delay.")] = False,
    veto: Annotated[bool, typer.Option("--veto", help="Stop it: the licensor.")] = False,
) -> Answer:
    """Recover the title of a lost wallet, as its guardian."""
    model_id = _known(session, model)
    if sum((to is not None, finish, veto)) != 1:
        raise UsageError("one step at a time", hint="give --to, --finish or --veto")
    registry = session.registry
    if to is not None:
        started, receipt = registry.start_recovery(session.sender, model_id, account(session, to))
        return _done(session, model_id, receipt, "ready", time_text(started.ready_at))
    if finish:
        receipt = registry.finish_recovery(session.sender, model_id)
        return _done(session, model_id, receipt, "recovery", "done")
    receipt = registry.veto_recovery(session.sender, model_id)
    return _done(session, model_id, receipt, "recovery", "stopped")


@app.verb("confirm-parent", signs="licensor", waits=False)
def confirm_parent(
    session: Session,
    claim: Annotated[Path, typer.Argument(help="The child's claim.json.")],
    parent: Annotated[str, typer.Argument(metavar="PARENT", help="Your model, which it names.")],
) -> Answer:
    """Agree that a model descends from yours."""
    from ledger.canonical import parse_json
    from ledger.claim import Claim

    with claim.open("rb") as file:
        child = Claim.from_json(parse_json(file.read(1 << 20), what=claim.name, limit=1 << 20))
    model_id = _known(session, parent)
    receipt = session.registry.confirm_parent(session.sender, child, model_id)
    return _done(session, child.model_id(), receipt, "descends from", model_id)


def _known(session: Session, text: str) -> ModelId:
    model_id = model_of(text)
    if session.registry.licensor_of(model_id) is None:
        raise UnknownRecord(
            f"there is no model {model_id} on {session.network.name}",
            hint="check the id and the network",
        )
    return model_id


def _done(
    session: Session, model_id: ModelId, receipt: TxReceipt, what: str, value: object
) -> Answer:
    final = settle(session, receipt)
    return Answer(
        {"model_id": model_id, what.replace(" ", "_"): value} | receipt_data(receipt, final=final),
        fields([("model", model_id), (what, value), receipt_row(receipt, final=final)]),
    )
