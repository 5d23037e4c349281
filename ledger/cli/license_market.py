"""``deed license buy``, ``refund``, ``settle`` and ``withdraw``: the market."""

from __future__ import annotations

from typing import Annotated

import typer

from ledger.cli.accounts import account
from ledger.cli.license_args import License, Plan, done, license_state, sure
from ledger.cli.model_args import model_of
from ledger.cli.output import Answer, fields, time_text
from ledger.cli.payments import Permit, allow, price_of, price_text
from ledger.cli.receipts import receipt_data, receipt_row, settle
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.ids import ZERO_ADDRESS, Address, LicenseId

app = Verbs()

_Token = Annotated[
    str | None,
    typer.Option("--token", metavar="ADDRESS", help="ERC-20; the chain's coin if not given."),
]


@app.verb("buy", signs="holder", waits=False)
def buy(
    session: Session,
    plan: Plan,
    to: Annotated[
        str | None, typer.Option("--to", metavar="ADDRESS", help="The holder; yourself by default.")
    ] = None,
    permit: Permit = False,
) -> Answer:
    """Buy a license at the plan's price, as the plan stands now.

    Where the price is in a token, the market is first allowed to take exactly that: by a
    transaction of its own, or with --permit by a signature.
    """
    from ledger.chain.reverts import PlanNotAuthorized

    terms, state = session.licenses.plan_of(plan)
    price = price_of(terms)
    holder = account(session, to) if to else session.sender.address
    if not session.licenses.roles_of(plan, session.market.address) & 1:
        error = PlanNotAuthorized.of(
            plan.to_bytes(32, "big")
            + session.market.address.raw.rjust(32, b"\0")
            + (1).to_bytes(32, "big")
        )
        error.hint = (
            f"its licensor sells on the market after deed plan roles {plan} market --grant issuer"
        )
        raise error
    signed = allow(session, price, permit=permit)
    license_id, receipt = session.market.buy(
        session.sender, plan, state.plan_digest, price, holder, permit=signed
    )
    final = settle(session, receipt)
    sale = session.market.sale_of(license_id, receipt.block_number)
    return Answer(
        {
            "license": license_id,
            "holder": holder,
            "token_id": str(int(license_id)),
            "price": str(price.amount),
            "pay_token": price.pay_token,
            "refundable_until": sale.refundable_until if sale else 0,
        }
        | receipt_data(receipt, final=final),
        fields(
            [
                ("license", license_id),
                ("holder", holder),
                ("price", price_text(price.pay_token, price.amount)),
                ("refund until", time_text(sale.refundable_until) if sale else "no refund"),
                receipt_row(receipt, final=final),
            ]
        ),
    )


@app.verb("refund", signs="holder", waits=False)
def refund(session: Session, license_: License) -> Answer:
    """Give an unused license back within its refund window. The license ends."""
    license_id = LicenseId.parse(license_)
    state = license_state(session, license_id)
    sale = session.market.sale_of(license_id)
    open_ = (
        sale is not None
        and session.rpc.block("latest").timestamp < sale.refundable_until
        and state.holder == session.sender.address
        and not session.licenses.ever_bound(license_id)
    )
    # The market ends the license, for which it needs the holder's word; it is given only when the
    # refund will come, and otherwise the market says why not.
    if open_:
        sure(session, f"Give license {license_id} back for its price?")
        if session.licenses.approved_of(license_id) != session.market.address:
            session.licenses.approve(session.sender, license_id, session.market.address)
    receipt = session.market.refund(session.sender, license_id)
    back = price_text(sale.pay_token, sale.amount) if sale else ""
    token = f" --token {sale.pay_token}" if sale and sale.pay_token != ZERO_ADDRESS else ""
    return done(
        session,
        license_id,
        receipt,
        "refunded",
        back,
        notes=(f"next: deed license withdraw{token}{session.again('licensor')}",),
    )


@app.verb("settle", signs="licensor", waits=False)
def settle_sale(session: Session, license_: License) -> Answer:
    """Credit a sale to its payees, once nobody can be refunded. Anyone may."""
    license_id = LicenseId.parse(license_)
    license_state(session, license_id)
    sale = session.market.sale_of(license_id)
    receipt = session.market.settle(session.sender, license_id)
    credited = price_text(sale.pay_token, sale.amount) if sale else ""
    return done(session, license_id, receipt, "settled", credited)


@app.verb("withdraw", signs="licensor", waits=False)
def withdraw(
    session: Session,
    token: _Token = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="ADDRESS", help="Yourself by default.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="Its royalties, if you hold its title."),
    ] = None,
) -> Answer:
    """Take what the market owes you: sales, shares, refunds, or a model's royalties."""
    pay_token = Address.parse(token) if token else ZERO_ADDRESS
    payee = account(session, to) if to else session.sender.address
    if model:
        units, receipt = session.market.collect_royalties(
            session.sender, model_of(model), pay_token, payee
        )
    else:
        units, receipt = session.market.withdraw(session.sender, pay_token, payee)
    final = settle(session, receipt)
    return Answer(
        {"amount": str(units), "pay_token": pay_token, "to": payee}
        | receipt_data(receipt, final=final),
        fields(
            [
                ("withdrawn", price_text(pay_token, units)),
                ("to", payee),
                receipt_row(receipt, final=final),
            ]
        ),
    )
