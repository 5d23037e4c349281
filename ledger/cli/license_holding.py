"""``deed license`` for holders, and for licensors about what holders do with a license."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from ledger.cli.acting import LicenseWord, account, done, state_of
from ledger.cli.output import Answer, fields, time_text
from ledger.cli.quantities import ether_text, moment
from ledger.cli.receipts import receipt_data, receipt_row, settle
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.errors import UsageError
from ledger.ids import ZERO_ADDRESS, ZERO_DIGEST, Digest, LicenseId

app = Verbs()

_Key = Annotated[str, typer.Argument(metavar="RUNTIME_KEY", help="Hash of the runtime's key.")]
_Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="The end.")]


@app.verb("transfer", signs="holder", waits=False)
def transfer(
    session: Session,
    license_: LicenseWord,
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="The new holder.")],
) -> Answer:
    """Pass a license on, where its plan permits it. Grants signed for it are void."""
    license_id = LicenseId.parse(license_)
    state_of(session, license_id)
    holder = account(session, to)
    receipt = session.licenses.transfer(session.sender, license_id, holder)
    return done(session, license_id, receipt, "holder", str(holder))


@app.verb("surrender", signs="holder", waits=False)
def surrender(session: Session, license_: LicenseWord) -> Answer:
    """Give a license up, at once and for good. Its seats must be free."""
    license_id = LicenseId.parse(license_)
    state_of(session, license_id)
    receipt = session.licenses.surrender(session.sender, license_id)
    return done(session, license_id, receipt, "status", "revoked")


@app.verb("sublicense", signs="holder", waits=False)
def sublicense(
    session: Session,
    license_: LicenseWord,
    *,
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="Who will hold it.")],
    seats: Annotated[int, typer.Option("--seats", min=1, max=65535, help="Out of yours.")],
    until: _Until = None,
) -> Answer:
    """License a part of your seats on."""
    parent = LicenseId.parse(license_)
    state_of(session, parent)
    end = moment(until, now=int(time.time())) if until else 0
    holder = account(session, to)
    license_id, receipt = session.licenses.sublicense(session.sender, parent, holder, seats, end)
    final = settle(session, receipt)
    data = {"license": license_id, "parent": parent, "holder": holder, "seats": seats}
    rows = [("license", license_id), ("out of", parent), ("holder", holder), ("seats", seats)]
    return Answer(
        data | receipt_data(receipt, final=final),
        fields([*rows, receipt_row(receipt, final=final)]),
    )


@app.verb("reclaim", signs="holder", waits=False)
def reclaim(session: Session, license_: LicenseWord) -> Answer:
    """Take the seats of an ended sublicense back."""
    license_id = LicenseId.parse(license_)
    state_of(session, license_id)
    receipt = session.licenses.reclaim_seats(session.sender, license_id)
    return done(session, license_id, receipt, "seats", "given back")


@app.verb("reissue", signs="licensor", waits=False)
def reissue(
    session: Session,
    license_: LicenseWord,
    *,
    to: Annotated[
        str | None, typer.Option("--to", metavar="ADDRESS", help="Start: the new wallet.")
    ] = None,
    finish: Annotated[bool, typer.Option("--finish", help="Move it, after the delay.")] = False,
    veto: Annotated[bool, typer.Option("--veto", help="Stop it: holder or licensor.")] = False,
) -> Answer:
    """Move the license of a lost wallet; without an option, show whether that is under way."""
    license_id = LicenseId.parse(license_)
    state_of(session, license_id)
    if sum((to is not None, finish, veto)) > 1:
        raise UsageError("one step at a time", hint="give --to, --finish or --veto")
    if to is not None:
        started, receipt = session.licenses.start_reissue(
            session.sender, license_id, account(session, to)
        )
        return done(session, license_id, receipt, "ready", time_text(started.ready_at))
    if finish:
        receipt = session.licenses.finish_reissue(session.sender, license_id)
        return done(session, license_id, receipt, "reissue", "done")
    if veto:
        receipt = session.licenses.veto_reissue(session.sender, license_id)
        return done(session, license_id, receipt, "reissue", "stopped")
    pending = session.licenses.reissue_of(license_id)
    if pending is None:
        return Answer(
            {"license": license_id, "reissue": None}, fields([("reissue", "none under way")])
        )
    return Answer(
        {"license": license_id, "reissue": pending},
        fields([("to", pending.to), ("ready", time_text(pending.ready_at))]),
    )


@app.verb("bind", signs="holder", waits=False)
def bind(
    session: Session,
    license_: LicenseWord,
    runtime_key: _Key,
    until: _Until = None,
) -> Answer:
    """Give a runtime a seat on chain."""
    license_id = LicenseId.parse(license_)
    state_of(session, license_id)
    end = moment(until, now=int(time.time())) if until else 0
    key = Digest.parse(runtime_key)
    receipt = session.licenses.bind_runtime(session.sender, license_id, key, end)
    return done(session, license_id, receipt, "runtime", str(key))


@app.verb("release", signs="holder", waits=False)
def release(session: Session, license_: LicenseWord, runtime_key: _Key) -> Answer:
    """Free a seat whose time is over. Anyone may."""
    license_id = LicenseId.parse(license_)
    state_of(session, license_id)
    receipt = session.licenses.release_runtime(
        session.sender, license_id, Digest.parse(runtime_key)
    )
    return done(session, license_id, receipt, "seat", "free")


@app.verb("evict", signs="licensor", waits=False)
def evict(session: Session, license_: LicenseWord, runtime_key: _Key) -> Answer:
    """Take a runtime's seat away at once."""
    license_id = LicenseId.parse(license_)
    state_of(session, license_id)
    receipt = session.licenses.evict_runtime(session.sender, license_id, Digest.parse(runtime_key))
    return done(session, license_id, receipt, "seat", "free")


@app.verb("cancel-grants", signs="holder", waits=False)
def cancel_grants(session: Session, license_: LicenseWord) -> Answer:
    """Void every grant that was signed for a license so far."""
    license_id = LicenseId.parse(license_)
    state_of(session, license_id)
    receipt = session.licenses.cancel_grants(session.sender, license_id)
    return done(session, license_id, receipt, "grants", "void")


@app.verb("usage", signs="licensor", waits=False)
def usage(
    session: Session,
    license_: LicenseWord,
    *,
    total: Annotated[
        int | None, typer.Option("--set", min=1, max=(1 << 64) - 1, help="Units in all; rises.")
    ] = None,
    receipts_root: Annotated[
        str | None, typer.Option("--receipts-root", metavar="HASH", help="Root of the receipts.")
    ] = None,
) -> Answer:
    """Show what a metered license has used, or anchor it."""
    license_id = LicenseId.parse(license_)
    state_of(session, license_id)
    if total is None:
        used = session.licenses.usage_of(license_id)
        return Answer(
            {"license": license_id, "usage": used},
            fields(
                [
                    ("used", used.cumulative),
                    ("anchored", time_text(used.anchored_at) if used.anchored_at else "never"),
                ]
            ),
        )
    root = Digest.parse(receipts_root) if receipts_root else ZERO_DIGEST
    receipt = session.licenses.anchor_usage(session.sender, license_id, total, root)
    return done(session, license_id, receipt, "used", str(total))


@app.verb("buy", signs="holder", waits=False)
def buy(
    session: Session,
    *,
    plan: Annotated[int, typer.Argument(min=1, max=(1 << 32) - 1, help="A plan's number.")],
    to: Annotated[
        str | None, typer.Option("--to", metavar="ADDRESS", help="Who will hold it; you.")
    ] = None,
) -> Answer:
    """Buy a license on the market, at the plan's price as it stands now."""
    from ledger.chain.erc20 import Erc20
    from ledger.chain.market import Price

    terms, state = session.licenses.plan_of(plan)
    price = Price(terms.pay_token, terms.price)
    holder = account(session, to) if to else session.sender.address
    if price.pay_token != ZERO_ADDRESS and price.amount:
        token = Erc20(session.rpc, price.pay_token)
        token.approve(session.sender, session.market.address, price.amount)
    license_id, receipt = session.market.buy(session.sender, plan, state.plan_digest, price, holder)
    final = settle(session, receipt)
    paid = (
        ether_text(price.amount)
        if price.pay_token == ZERO_ADDRESS
        else f"{price.amount} of {price.pay_token}"
    )
    data = {"license": license_id, "holder": holder, "price": str(price.amount)}
    return Answer(
        data | receipt_data(receipt, final=final),
        fields(
            [
                ("license", license_id),
                ("holder", holder),
                ("paid", paid),
                receipt_row(receipt, final=final),
            ]
        ),
    )


@app.verb("refund", signs="holder", waits=False)
def refund(session: Session, license_: LicenseWord) -> Answer:
    """Give an unused license back within its plan's refund window; then withdraw the price."""
    license_id = LicenseId.parse(license_)
    state_of(session, license_id)
    market = session.market
    if session.licenses.approved_of(license_id) != market.address:
        session.licenses.approve(session.sender, license_id, market.address)
    receipt = market.refund(session.sender, license_id)
    return done(session, license_id, receipt, "refund", "owed to you: deed license withdraw")


@app.verb("settle", signs="licensor", waits=False)
def settle_sale(session: Session, license_: LicenseWord) -> Answer:
    """Pay out a sale whose refund window is over, or whose license is in use. Anyone may."""
    license_id = LicenseId.parse(license_)
    receipt = session.market.settle(session.sender, license_id)
    return done(session, license_id, receipt, "sale", "settled")


@app.verb("withdraw", signs="licensor", waits=False)
def withdraw(
    session: Session,
    token: Annotated[
        str | None, typer.Option("--token", metavar="ADDRESS", help="ERC-20; the chain's coin.")
    ] = None,
) -> Answer:
    """Take all that the market owes you."""
    pay_token = account(session, token) if token else ZERO_ADDRESS
    amount, receipt = session.market.withdraw(session.sender, pay_token, session.sender.address)
    final = settle(session, receipt)
    shown = ether_text(amount) if pay_token == ZERO_ADDRESS else f"{amount} of {pay_token}"
    return Answer(
        {"amount": str(amount), "token": pay_token} | receipt_data(receipt, final=final),
        fields([("withdrawn", shown), receipt_row(receipt, final=final)]),
    )
