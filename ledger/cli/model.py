"""``deed model``: titles that move, end, are recovered, and descend from one another."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.canonical import parse_json
from ledger.cli import events
from ledger.cli.accounts import account
from ledger.cli.license_args import sure
from ledger.cli.license_hands import Step
from ledger.cli.output import Answer, fields, time_text
from ledger.cli.plan import model_of
from ledger.cli.quantities import duration, duration_text
from ledger.cli.receipts import receipt_data, receipt_row, settle
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.errors import UnknownRecord, UsageError
from ledger.ids import ZERO_ADDRESS, ModelId

if TYPE_CHECKING:
    from ledger.chain.transactions import TxReceipt

app = Verbs("Transfer, withdraw and recover titles.")

_MAX_CLAIM = 1 << 20
_Model = Annotated[str, typer.Argument(help="Model id, or its sealed file.")]


class StatusName(StrEnum):
    """What a licensor can declare of a model."""

    ACTIVE = "active"
    WITHDRAWN = "withdrawn"
    COMPROMISED = "compromised"


@app.verb("transfer", signs="licensor", waits=False)
def transfer(
    session: Session,
    model: _Model,
    to: Annotated[
        str | None, typer.Option("--to", metavar="ADDRESS", help="Who is to take the title.")
    ] = None,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take an offer back that is not accepted yet.")
    ] = False,
) -> Answer:
    """Offer a title to another account, which takes it with deed model accept."""
    if (to is None) != withdraw:
        raise UsageError(
            "say to whom, or --withdraw", hint="deed model transfer MODEL --to ADDRESS"
        )
    model_id = _known(session, model)
    offered = ZERO_ADDRESS if to is None else account(session, to)
    if to is not None:
        sure(session, f"Offer the title of model {model_id.short} to {offered}?")
    receipt = session.registry.propose_transfer(session.sender, model_id, offered)
    return _done(
        session,
        model_id,
        receipt,
        "offered to",
        "nobody" if to is None else offered,
        notes=() if to is None else (f"next: {offered} runs deed model accept {model_id}",),
    )


@app.verb("accept", signs="holder", waits=False)
def accept(
    session: Session,
    model: _Model,
    sync: Annotated[
        bool, typer.Option("--sync", help="Also bring its plans in step: one transaction each.")
    ] = False,
) -> Answer:
    """Take a title that was offered to you.

    Until each plan is synced, the former licensor still renews, suspends and revokes there.
    """
    model_id = _known(session, model)
    receipt = session.registry.accept_transfer(session.sender, model_id)
    behind = [
        plan
        for plan in events.plans(session, model=model_id)
        if session.licenses.plan_of(plan)[1].licensor != session.sender.address
    ]
    synced: list[int] = []
    if sync:
        for plan in behind:
            receipt = session.licenses.sync_licensor(session.sender, plan)
            synced.append(plan)
        behind = []
    final = settle(session, receipt)
    return Answer(
        {
            "model_id": model_id,
            "licensor": session.sender.address,
            "synced": synced,
            "plans_to_sync": behind,
        }
        | receipt_data(receipt, final=final),
        fields(
            [
                ("model", model_id),
                ("licensor", session.sender.address),
                ("plans synced", ", ".join(map(str, synced)) or "none"),
                receipt_row(receipt, final=final),
            ]
        ),
        notes=tuple(f"next: deed plan sync {plan}" for plan in behind),
    )


@app.verb("status", signs="licensor", waits=False)
def status(
    session: Session,
    model: _Model,
    to: Annotated[
        StatusName | None, typer.Argument(metavar="STATUS", help="What to declare; else shown.")
    ] = None,
) -> Answer:
    """Show a model's status, or declare it active, withdrawn or compromised.

    Of a withdrawn model no license is issued any more; those that exist live on. Of a compromised
    one brokers release no keys.
    """
    from ledger.chain.registry import ModelStatus

    model_id = _known(session, model)
    if to is None:
        record = session.registry.model_of(model_id)
        offered = session.registry.pending_licensor_of(model_id)
        return Answer(
            {"model_id": model_id, "record": record, "offered_to": offered},
            fields(
                [
                    ("model", model_id),
                    ("status", record.status),
                    ("licensor", record.licensor),
                    ("offered to", offered or "nobody"),
                ]
            ),
        )
    if to is not StatusName.ACTIVE:
        sure(session, f"Declare model {model_id.short} {to}?")
    receipt = session.registry.set_status(session.sender, model_id, ModelStatus[to.name])
    return _done(session, model_id, receipt, "status", to.value)


@app.verb("guardian", signs="licensor", waits=False)
def guardian(
    session: Session,
    model: _Model,
    name: Annotated[
        str | None, typer.Option("--name", metavar="ADDRESS", help="Who may recover the title.")
    ] = None,
    delay: Annotated[
        str, typer.Option("--delay", metavar="TIME", help="Time to veto; 7d at least.")
    ] = "14d",
    dismiss: Annotated[bool, typer.Option("--dismiss", help="Have no guardian any more.")] = False,
) -> Answer:
    """Show, name or dismiss who may recover the title of a lost wallet.

    Naming and dismissing both stop a recovery that is under way.
    """
    model_id = _known(session, model)
    if name and dismiss:
        raise UsageError("a guardian is named or dismissed", hint="say one of them")
    if name or dismiss:
        who = account(session, name) if name else ZERO_ADDRESS
        receipt = session.registry.set_guardian(
            session.sender, model_id, who, duration(delay) if name else 0
        )
        return _done(session, model_id, receipt, "guardian", who if name else "nobody")
    found, recovery = session.registry.guardian_of(model_id), session.registry.recovery_of(model_id)
    return Answer(
        {"model_id": model_id, "guardian": found, "recovery": recovery},
        fields(
            [
                ("model", model_id),
                ("guardian", found.account if found else "nobody"),
                ("delay", duration_text(found.delay) if found else "-"),
                (
                    "recovery",
                    f"to {recovery.to}, ready on {time_text(recovery.ready_at)}"
                    if recovery
                    else "none",
                ),
            ]
        ),
    )


@app.verb("recover", signs="operator", waits=False)
def recover(
    session: Session,
    step: Annotated[Step, typer.Argument(help="What to do.")],
    model: _Model,
    to: Annotated[
        str | None, typer.Option("--to", metavar="ADDRESS", help="The licensor's new account.")
    ] = None,
) -> Answer:
    """Move the title of a lost wallet: start it, wait the delay, finish it.

    The guardian starts and finishes; the licensor can veto until then.
    """
    if (step is Step.START) != (to is not None):
        raise UsageError(
            "--to is for starting, and starting needs it",
            hint="deed model recover start MODEL --to ADDRESS",
        )
    model_id = _known(session, model)
    if to is not None:
        started, receipt = session.registry.start_recovery(
            session.sender, model_id, account(session, to)
        )
        ready = time_text(started.ready_at)
        return _done(
            session,
            model_id,
            receipt,
            "ready",
            ready,
            notes=(f"next: deed model recover finish {model_id}, from {ready} on",),
        )
    if step is Step.VETO:
        receipt = session.registry.veto_recovery(session.sender, model_id)
        return _done(session, model_id, receipt, "recovery", "stopped")
    receipt = session.registry.finish_recovery(session.sender, model_id)
    licensor = session.registry.licensor_of(model_id, receipt.block_number)
    return _done(
        session,
        model_id,
        receipt,
        "licensor",
        licensor,
        notes=tuple(
            f"next: deed plan sync {plan}" for plan in events.plans(session, model=model_id)
        ),
    )


@app.verb("confirm-parent", signs="licensor", waits=False)
def confirm_parent(
    session: Session,
    claim: Annotated[Path, typer.Argument(help="The child's claim.json, which names its parents.")],
    parent: Annotated[str, typer.Argument(help="The parent, whose title you hold.")],
) -> Answer:
    """Agree that a model descends from yours."""
    from ledger.claim import Claim

    with claim.open("rb") as handle:
        raw = handle.read(_MAX_CLAIM + 1)
    child = Claim.from_json(parse_json(raw, what=claim.name, limit=_MAX_CLAIM))
    parent_id = model_of(parent)
    receipt = session.registry.confirm_parent(session.sender, child, parent_id)
    return _done(session, child.model_id(), receipt, "descends from", parent_id)


def _known(session: Session, text: str) -> ModelId:
    """A registered model.

    Raises:
        UnknownRecord: it is not.
    """
    model_id = model_of(text)
    if session.registry.licensor_of(model_id) is None:
        raise UnknownRecord(
            f"there is no model {model_id} on {session.network.name}",
            hint="register it with deed publish, or check the id and the network",
        )
    return model_id


def _done(
    session: Session,
    model_id: ModelId,
    receipt: TxReceipt,
    what: str,
    value: object,
    *,
    notes: tuple[str, ...] = (),
) -> Answer:
    final = settle(session, receipt)
    return Answer(
        {"model_id": model_id, what.replace(" ", "_"): value} | receipt_data(receipt, final=final),
        fields([("model", model_id), (what, value), receipt_row(receipt, final=final)]),
        notes=notes,
    )
