"""``deed plan pause``, ``resume``, ``sync``, ``roles`` and ``royalty``: governing what exists."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli import events
from ledger.cli.accounts import account, account_or_market
from ledger.cli.license_args import Plan, sure
from ledger.cli.model_args import model_of
from ledger.cli.output import Answer, fields
from ledger.cli.quantities import share, share_text
from ledger.cli.receipts import receipt_data, receipt_row, settle
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.errors import UsageError
from ledger.ids import quoted

if TYPE_CHECKING:
    from ledger.chain.licenses import Role
    from ledger.chain.transactions import TxReceipt

app = Verbs()


class RoleName(StrEnum):
    """A role, as people write it."""

    ISSUER = "issuer"
    REVOKER = "revoker"
    METER = "meter"
    GUARDIAN = "guardian"


@app.verb("pause", signs="licensor", waits=False)
def pause(session: Session, plan: Plan) -> Answer:
    """Stop issuing. Licenses that exist go on. Licensor or GUARDIAN."""
    receipt = session.licenses.set_paused(session.sender, plan, paused=True)
    return _done(session, plan, [receipt], {"paused": True})


@app.verb("resume", signs="licensor", waits=False)
def resume(session: Session, plan: Plan) -> Answer:
    """Issue again. Licensor or GUARDIAN."""
    receipt = session.licenses.set_paused(session.sender, plan, paused=False)
    return _done(session, plan, [receipt], {"paused": False})


@app.verb("sync", signs="licensor", waits=False)
def sync(session: Session, plan: Plan) -> Answer:
    """Bring a plan in step with its model's title, which ends all roles. Anyone may.

    Until then the former licensor still renews, suspends and revokes on it.
    """
    receipt = session.licenses.sync_licensor(session.sender, plan)
    _, state = session.licenses.plan_of(plan, receipt.block_number)
    return _done(session, plan, [receipt], {"licensor": state.licensor})


@app.verb("roles", signs="licensor", waits=False)
def roles(
    session: Session,
    plan: Plan,
    account_: Annotated[
        str, typer.Argument(metavar="ACCOUNT", help="An address, or market for this network's.")
    ],
    grant: Annotated[
        list[RoleName] | None, typer.Option("--grant", help="Add a role; repeat it.")
    ] = None,
    drop: Annotated[
        list[RoleName] | None, typer.Option("--drop", help="Take a role away; repeat it.")
    ] = None,
) -> Answer:
    """Show or change what an account may do on a plan.

    issuer issues and renews, revoker revokes and evicts, meter anchors usage, guardian pauses,
    suspends and reinstates.
    """
    from ledger.chain.licenses import Role

    who = account_or_market(session, account_)
    session.licenses.plan_of(plan)
    present = session.licenses.roles_of(plan, who)
    if not grant and not drop:
        return Answer(
            {"plan": plan, "account": who, "roles": _names(present)},
            fields([("plan", plan), ("account", who), ("roles", _names_text(present))]),
        )
    wanted = present
    for name in grant or ():
        wanted |= Role[name.name]
    for name in drop or ():
        if name in (grant or ()):
            raise UsageError(f"{name} is both granted and dropped", hint="say one of them")
        wanted &= ~Role[name.name]
    receipt = session.licenses.set_roles(session.sender, plan, who, wanted)
    return _done(
        session,
        plan,
        [receipt],
        {"account": who, "roles": _names(wanted)},
        [("account", who), ("roles", _names_text(wanted))],
    )


def _names(roles_: Role) -> list[str]:
    from ledger.chain.licenses import Role

    return [role.name.lower() for role in Role if role in roles_ and role.name]


def _names_text(roles_: Role) -> str:
    return ", ".join(_names(roles_)) or "none"


@app.verb("royalty", signs="licensor", waits=False)
def royalty(
    session: Session,
    *,
    plan: Plan,
    resale: Annotated[
        str | None,
        typer.Option("--resale", metavar="SHARE", help="Asked of resales (ERC-2981), up to 10%."),
    ] = None,
    pin: Annotated[
        list[str] | None,
        typer.Option(
            "--pin", metavar="MODEL=SHARE", help="Owed to a model of each sale, for good; repeat."
        ),
    ] = None,
    payee: Annotated[
        list[str] | None,
        typer.Option(
            "--payee", metavar="ADDRESS=SHARE", help="Shares the licensor's part; repeat it."
        ),
    ] = None,
) -> Answer:
    """Show or set who gets what of sales on the market, and of resales.

    Royalties of other models are pinned once, before the plan's first license, all at once.
    Payees replace those set before.
    """
    from ledger.chain.market import Payee, Royalty

    session.licenses.plan_of(plan)
    bps = share(resale) if resale is not None else None
    due = [Royalty(model_of(name), part) for name, part in map(_part, pin or ())]
    payees = [Payee(account(session, name), part) for name, part in map(_part, payee or ())]
    receipts = []
    if due:
        sure(session, f"Fix what sales of plan {plan} owe to {len(due)} models, for good?")
        receipts.append(session.market.pin_royalties(session.sender, plan, due))
    if payees:
        receipts.append(session.market.set_payees(session.sender, plan, payees))
    if bps is not None:
        receipts.append(session.licenses.set_resale_royalty(session.sender, plan, bps))
    owed, sharing = session.market.royalties_of(plan), session.market.payees_of(plan)
    rows: list[tuple[str, object]] = [
        *((f"model {item.model.short}", share_text(item.bps)) for item in owed),
        *((f"payee {item.account}", f"{share_text(item.bps)} of the rest") for item in sharing),
    ]
    data: dict[str, Any] = {
        "royalties": [{"model": item.model, "bps": item.bps} for item in owed],
        "payees": sharing,
    }
    asked = events.resale_bps(session, plan) if bps is None else bps
    data["resale_bps"] = asked
    rows.append(("resale", share_text(asked)))
    if receipts:
        return _done(session, plan, receipts, data, rows)
    rows.append(("licensor", "what is left"))
    return Answer({"plan": plan} | data, fields([("plan", plan), *rows]))


def _part(text: str) -> tuple[str, int]:
    name, equals, part = text.rpartition("=")
    if not equals or not name:
        raise UsageError(f"{quoted(text)} names no share", hint="write NAME=5%")
    return name, share(part)


def _done(
    session: Session,
    plan: int,
    receipts: list[TxReceipt],
    data: dict[str, Any],
    rows: list[tuple[str, object]] | None = None,
) -> Answer:
    final = settle(session, receipts[-1])
    told = list(data.items()) if rows is None else rows
    answer: dict[str, Any] = {"plan": plan} | data
    if len(receipts) == 1:
        answer |= receipt_data(receipts[0], final=final)
    else:
        answer["transactions"] = [receipt_data(receipt, final=final) for receipt in receipts]
    return Answer(
        answer,
        fields(
            [
                ("plan", plan),
                *told,
                *(receipt_row(receipt, final=final) for receipt in receipts),
            ]
        ),
    )
