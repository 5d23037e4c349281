"""``deed model``: titles that move, end and are recovered.

What is recorded beside a title stands in ``model_records``, which joins at the end.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli import events, model_records, model_register
from ledger.cli.accounts import account
from ledger.cli.license_args import sure
from ledger.cli.license_hands import Step
from ledger.cli.model_args import Model, known
from ledger.cli.output import Answer, console, fields, time_text
from ledger.cli.quantities import duration, duration_text
from ledger.cli.receipts import receipt_data, receipt_row, sent, settle
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.errors import LedgerError, UsageError
from ledger.ids import ZERO_ADDRESS, ModelId

if TYPE_CHECKING:
    from ledger.chain.transactions import TxReceipt

app = Verbs("Transfer, withdraw and recover titles.")

_Sync = Annotated[
    bool | None,
    typer.Option("--sync/--no-sync", help="Also bring its plans in step; asked for at a terminal."),
]


class StatusName(StrEnum):
    """What a licensor can declare of a model."""

    ACTIVE = "active"
    WITHDRAWN = "withdrawn"
    COMPROMISED = "compromised"


@app.verb("transfer", signs="licensor", waits=False)
def transfer(
    session: Session,
    model: Model,
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
    model_id = known(session, model)
    offered = ZERO_ADDRESS if to is None else account(session, to)
    if to is not None:
        sure(session, f"Offer the title of model {model_id.short} to {offered}?")
    receipt = session.registry.propose_transfer(session.sender, model_id, offered)
    return sent(
        session,
        ("model_id", model_id),
        receipt,
        "offered to",
        "nobody" if to is None else offered,
        notes=() if to is None else (f"next: {offered} runs deed model accept {model_id}",),
    )


@app.verb("accept", signs="holder", waits=False)
def accept(
    session: Session,
    model: Model,
    sync: _Sync = None,
) -> Answer:
    """Take a title that was offered to you.

    Until each plan is synced, the former licensor still renews, suspends and revokes there.
    """
    model_id = known(session, model)
    receipt = session.registry.accept_transfer(session.sender, model_id)
    return _moved(session, model_id, receipt, sync=sync)


def _moved(session: Session, model_id: ModelId, receipt: TxReceipt, *, sync: bool | None) -> Answer:
    """A title has moved; its plans follow where they may."""
    licensor = session.registry.licensor_of(model_id, receipt.block_number)
    behind = [
        plan
        for plan in events.plans(session, model=model_id)
        if session.licenses.plan_of(plan)[1].licensor != licensor
    ]
    if behind and sync is None and console.talks and not session.yes:
        named = ", ".join(map(str, behind))
        sync = console.confirm(f"Bring plan {named} in step now, one transaction each?")
    synced: list[int] = []
    while sync and behind:
        try:
            receipt = session.licenses.sync_licensor(session.sender, behind[0])
        except LedgerError as error:  # the title has moved all the same, and that must be said
            console.note(f"plan {behind[0]} is not synced: {error.message}")
            break
        synced.append(behind.pop(0))
    final = settle(session, receipt)
    return Answer(
        {
            "model_id": model_id,
            "licensor": licensor,
            "synced": synced,
            "plans_to_sync": behind,
        }
        | receipt_data(receipt, final=final),
        fields(
            [
                ("model", model_id),
                ("licensor", licensor),
                ("plans synced", ", ".join(map(str, synced)) or "none"),
                receipt_row(receipt, final=final),
            ]
        ),
        notes=tuple(f"next: deed plan sync {plan}" for plan in behind),
    )


@app.verb("status", signs="licensor", waits=False)
def status(
    session: Session,
    model: Model,
    to: Annotated[
        StatusName | None, typer.Argument(metavar="STATUS", help="What to declare; else shown.")
    ] = None,
) -> Answer:
    """Show a model's status, or declare it active, withdrawn or compromised.

    Of a withdrawn model no license is issued any more; those that exist live on. Of a compromised
    one brokers release no keys.
    """
    from ledger.chain.registry import ModelStatus

    model_id = known(session, model)
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
    return sent(session, ("model_id", model_id), receipt, "status", to.value)


@app.verb("guardian", signs="licensor", waits=False)
def guardian(
    session: Session,
    model: Model,
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
    model_id = known(session, model)
    if name and dismiss:
        raise UsageError("a guardian is named or dismissed", hint="say one of them")
    if name or dismiss:
        who = account(session, name) if name else ZERO_ADDRESS
        receipt = session.registry.set_guardian(
            session.sender, model_id, who, duration(delay) if name else 0
        )
        return sent(session, ("model_id", model_id), receipt, "guardian", who if name else "nobody")
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
    model: Model,
    to: Annotated[
        str | None, typer.Option("--to", metavar="ADDRESS", help="The licensor's new account.")
    ] = None,
    sync: _Sync = None,
) -> Answer:
    """Move the title of a lost wallet: start it, wait the delay, finish it.

    The guardian starts and finishes; the licensor can veto until then.
    """
    if sync and step is not Step.FINISH:
        raise UsageError("--sync is for finishing", hint="the plans follow a title that has moved")
    if (step is Step.START) != (to is not None):
        raise UsageError(
            "--to is for starting, and starting needs it",
            hint="deed model recover start MODEL --to ADDRESS",
        )
    model_id = known(session, model)
    if to is not None:
        started, receipt = session.registry.start_recovery(
            session.sender, model_id, account(session, to)
        )
        ready = time_text(started.ready_at)
        finish = f"deed model recover finish {model_id}{session.again('operator')}"
        return sent(
            session,
            ("model_id", model_id),
            receipt,
            "ready",
            ready,
            notes=(f"next: {finish}, from {ready} on",),
        )
    if step is Step.VETO:
        receipt = session.registry.veto_recovery(session.sender, model_id)
        return sent(session, ("model_id", model_id), receipt, "recovery", "stopped")
    receipt = session.registry.finish_recovery(session.sender, model_id)
    return _moved(session, model_id, receipt, sync=sync)


app.registered_commands += model_records.app.registered_commands
app.registered_commands += model_register.app.registered_commands
