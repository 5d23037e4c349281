"""``deed license voucher``, ``redeem`` and ``cancel-voucher``: signed offers of one license."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.accounts import account
from ledger.cli.license_args import Plan, Reference, sure
from ledger.cli.output import Answer, fields, time_text
from ledger.cli.payments import Permit, allow, amount, price_text
from ledger.cli.quantities import moment
from ledger.cli.receipts import receipt_data, receipt_row, settle
from ledger.cli.session import Session
from ledger.cli.settings import write_text
from ledger.cli.verb import Verbs
from ledger.errors import UsageError
from ledger.ids import ZERO_ADDRESS
from ledger.licensing import voucher as vouchers
from ledger.licensing.reference import reference_hash
from ledger.licensing.voucher import SignedVoucher, Voucher

app = Verbs()

_File = Annotated[Path, typer.Argument(metavar="FILE", help="The voucher file.")]


@app.verb("voucher", signs="licensor", waits=False)
def voucher(
    session: Session,
    *,
    plan: Plan,
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="Who will hold it.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The voucher file to write.")],
    price: Annotated[
        str | None,
        typer.Option("--price", metavar="AMOUNT", help="Sell it on the market; free if not given."),
    ] = None,
    not_before: Annotated[
        str | None,
        typer.Option("--not-before", metavar="TIME", help="Begin; when redeemed by default."),
    ] = None,
    not_after: Annotated[
        str | None, typer.Option("--not-after", metavar="TIME", help="End; by default the plan's.")
    ] = None,
    deadline: Annotated[
        str, typer.Option("--deadline", metavar="TIME", help="Until when it can be redeemed.")
    ] = "+30d",
    external_ref: Reference = "",
) -> Answer:
    """Sign an offer of one license, as licensor or ISSUER. Costs nothing: nothing is sent.

    The holder redeems it. It is void once the plan changes hands or the signer loses the right to
    issue. The plan's token is what a price is in; the plan's own price does not matter.
    """
    if out.exists():
        raise UsageError(f"{out} exists", hint="choose another name for the voucher")
    now = int(time.time())
    until = moment(deadline, now=now)
    begin = moment(not_before, now=now) if not_before else 0
    end = moment(not_after, now=now) if not_after else 0
    if until <= now:
        raise UsageError("the deadline has passed", hint="give a later --deadline, such as +30d")
    if end and end <= max(begin, now):
        raise UsageError("the license would end before it begins", hint="give a later --not-after")
    terms, state = session.licenses.plan_of(plan)
    holder, signer = account(session, to), session.signer
    if signer.address != state.licensor and not session.licenses.roles_of(plan, signer.address) & 1:
        from ledger.chain.reverts import VoucherSignerNotIssuer

        raise VoucherSignerNotIssuer.of(
            plan.to_bytes(32, "big") + signer.address.raw.rjust(32, b"\0")
        )
    title = session.registry.licensor_of(terms.model_id)
    if title is not None and title != state.licensor:
        from ledger.chain.reverts import PlanTitleMoved

        # Syncing the plan voids what is signed now, and until then nobody can redeem it.
        raise PlanTitleMoved.of(
            plan.to_bytes(32, "big")
            + state.licensor.raw.rjust(32, b"\0")
            + title.raw.rjust(32, b"\0")
        )
    units = amount(price, terms.pay_token) if price is not None else 0
    offer = Voucher(
        signer=signer.address,
        plan=plan,
        to=holder,
        plan_digest=state.plan_digest,
        nonce=secrets.randbits(256),
        deadline=until,
        market=session.market.address if price is not None else ZERO_ADDRESS,
        not_before=begin,
        not_after=end,
        pay_token=terms.pay_token if units else ZERO_ADDRESS,
        price=units,
        ext_hash=reference_hash(external_ref),
    )
    made = vouchers.sign(
        signer,
        offer,
        chain_id=session.network.deployment.chain_id,
        ledger=session.licenses.address,
    )
    write_text(out, json.dumps(made.to_json(), indent=2) + "\n", private=True)
    return Answer(
        {"file": out, "voucher": made.to_json()["voucher"]},
        fields([("file", out), *_rows(offer)]),
        notes=(f"next: send it to the holder, who runs deed license redeem {out.name}",),
    )


@app.verb("redeem", signs="holder", waits=False)
def redeem(session: Session, file: _File, permit: Permit = False) -> Answer:
    """Take the license that a voucher promises, and pay its price if it has one."""
    signed = _read(session, file)
    offer = signed.voucher
    if offer.market == ZERO_ADDRESS:
        if permit:
            raise UsageError("the voucher is free", hint="leave --permit away")
        license_id, receipt = session.licenses.redeem(session.sender, signed)
    elif offer.market == session.market.address:
        from ledger.chain.market import Price

        paid = allow(session, Price(offer.pay_token, offer.price), permit=permit)
        license_id, receipt = session.market.buy_with_voucher(session.sender, signed, paid)
    else:
        raise UsageError(
            f"the voucher is sold by {offer.market}, which is not this network's market",
            hint="redeem it there",
        )
    final = settle(session, receipt)
    return Answer(
        {
            "license": license_id,
            "holder": offer.to,
            "price": str(offer.price),
            "pay_token": offer.pay_token,
            "token_id": str(int(license_id)),
        }
        | receipt_data(receipt, final=final),
        fields(
            [
                ("license", license_id),
                ("holder", offer.to),
                ("price", price_text(offer.pay_token, offer.price)),
                receipt_row(receipt, final=final),
            ]
        ),
    )


@app.verb("cancel-voucher", signs="licensor", waits=False)
def cancel_voucher(session: Session, file: _File) -> Answer:
    """Make a voucher that you signed void, by spending its number."""
    offer = _read(session, file).voucher
    if offer.signer != session.signer.address:
        raise UsageError(
            f"the voucher is signed by {offer.signer}, not by {session.signer.address}",
            hint="use the wallet that signed it (--wallet)",
        )
    if session.licenses.nonce_spent(offer.signer, offer.nonce):
        raise UsageError(
            "the voucher's number is spent", hint="it was redeemed or cancelled before"
        )
    sure(session, f"Make the voucher for {offer.to} void?")
    receipt = session.licenses.cancel_vouchers(
        session.sender, offer.nonce >> 8, 1 << (offer.nonce & 255)
    )
    final = settle(session, receipt)
    return Answer(
        {"file": file, "cancelled": True} | receipt_data(receipt, final=final),
        fields([("cancelled", file), receipt_row(receipt, final=final)]),
    )


def _read(session: Session, file: Path) -> SignedVoucher:
    """A voucher for this network whose signature holds, as far as that can be told here."""
    with file.open("rb") as handle:
        signed = vouchers.parse(handle.read(vouchers.MAX_BYTES + 1))
    session.check_place(signed.chain_id, signed.ledger, what="the voucher")
    if not session.rpc.code(signed.voucher.signer):  # a contract is asked by the ledger
        signed.verify()
    return signed


def _rows(offer: Voucher) -> list[tuple[str, object]]:
    return [
        ("plan", offer.plan),
        ("holder", offer.to),
        ("price", price_text(offer.pay_token, offer.price)),
        ("begins", time_text(offer.not_before) if offer.not_before else "when redeemed"),
        ("ends", time_text(offer.not_after) if offer.not_after else "one plan duration later"),
        ("redeem until", time_text(offer.deadline)),
        ("reference", offer.ext_hash if not offer.ext_hash.is_zero else "none"),
    ]
