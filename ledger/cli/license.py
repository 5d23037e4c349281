"""``deed license``: issue, renew, suspend, reinstate, revoke, show and list.

The further words of the group stand by noun in the ``license_…`` modules, which join at the end.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli import (
    events,
    license_batch,
    license_hands,
    license_hold,
    license_many,
    license_market,
    license_offer,
    license_seats,
)
from ledger.cli.accounts import account
from ledger.cli.license_args import License, Reason, done, license_state, reason_hash, sure
from ledger.cli.output import Answer, fields, table, time_text
from ledger.cli.payments import Permit, allow, price_of
from ledger.cli.quantities import moment
from ledger.cli.receipts import receipt_data, receipt_row, settle
from ledger.cli.session import Session
from ledger.cli.settings import write_text
from ledger.cli.verb import Verbs
from ledger.errors import LedgerError, UsageError
from ledger.ids import ZERO_ADDRESS, ZERO_DIGEST, LicenseId
from ledger.licensing.reference import reference_hash

if TYPE_CHECKING:
    from ledger.chain.licenses import LicenseState

_SENDING = 3600  # seconds in which a signed order must be mined
_CHECKED_AT_ONCE = 200  # what nodes let one call take

app = Verbs("Issue, sell, pass on, renew and revoke licenses.")


@app.verb("issue", signs="licensor", waits=False)
def issue(
    session: Session,
    *,
    plan: Annotated[int, typer.Argument(min=1, max=(1 << 32) - 1, help="A plan's number.")],
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="The holder's account.")],
    not_before: Annotated[
        str | None, typer.Option("--not-before", metavar="TIME", help="Begin; now by default.")
    ] = None,
    not_after: Annotated[
        str | None, typer.Option("--not-after", metavar="TIME", help="End; by default the plan's.")
    ] = None,
    external_ref: Annotated[
        str,
        typer.Option(
            "--external-ref",
            metavar="TEXT",
            help="An order or invoice number: for one of a plan you issue one license, ever.",
        ),
    ] = "",
    card: Annotated[
        Path | None, typer.Option("--card", metavar="OUT", help="Write the signed license card.")
    ] = None,
    urls: Annotated[
        list[str] | None,
        typer.Option("--url", metavar="URL", help="Where the sealed file is; goes on the card."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="What deed publish wrote, for the card."),
    ] = None,
    terms: Annotated[
        Path | None,
        typer.Option(
            "--terms", metavar="FILE", help="For the card, when they are not those published."
        ),
    ] = None,
) -> Answer:
    """Issue a license under your plan.

    With --external-ref the hash of that text goes on chain, and the ledger itself refuses a second
    license for it: a repeat shows the first one, whoever holds it.
    """
    holder = account(session, to)
    now = int(time.time())
    begin = moment(not_before, now=now) if not_before else 0
    end = moment(not_after, now=now) if not_after else 0
    if card is not None and card.exists():
        raise UsageError(f"{card} exists", hint="choose another name for the card")
    if card is not None and not os.access(card.absolute().parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"{card} cannot be written", hint="name a card in a folder that exists and is yours"
        )
    material = None
    if card is not None:
        from ledger.cli.card import gather

        # Everything the card needs is gathered first: no license is issued whose card then fails.
        material = gather(
            session, plan, card, folder=folder, urls=tuple(urls or ()), terms_file=terms
        )
    if external_ref:
        found = session.licenses.issue_once(
            session.sender,
            plan,
            holder,
            reference_hash(external_ref),
            deadline=now + _SENDING,
            not_before=begin,
            not_after=end,
        )
        if found is None:
            return _issued_before(session, plan, external_ref)
        license_id, receipt = found
    else:
        license_id, receipt = session.licenses.issue(
            session.sender, plan, holder, not_before=begin, not_after=end
        )
    final = settle(session, receipt)
    data = {"license": license_id, "token_id": str(int(license_id)), "holder": holder}
    rows: list[tuple[str, object]] = [
        ("license", license_id),
        ("holder", holder),
        receipt_row(receipt, final=final),
    ]
    if card is not None and material is not None:
        from ledger.cli.card import sign

        document = sign(session, material, license_id)
        try:
            write_text(card, json.dumps(document, indent=2) + "\n")
        except (OSError, LedgerError) as error:
            raise UsageError(
                f"license {license_id} is issued, but its card {card} cannot be written: {error}",
                hint=f"revoke {license_id} and issue anew, or pass its facts on by hand",
            ) from None
        data["card"] = str(card)
        rows.append(("card", card))
    return Answer(data | receipt_data(receipt, final=final), fields(rows))


def _issued_before(session: Session, plan: int, external_ref: str) -> Answer:
    license_id = session.licenses.issued_by_reference(
        session.signer.address,
        plan,
        reference_hash(external_ref),
        from_block=session.network.deployment.block,
    )
    if license_id is None:
        raise UsageError(
            f"the reference was used on plan {plan}, and made void without a license",
            hint="issue under another reference",
        )
    holder = session.licenses.license_of(license_id).holder
    return Answer(
        {"license": license_id, "token_id": str(int(license_id)), "holder": holder, "before": True},
        fields([("license", license_id), ("holder", holder), ("issued", "before, for this order")]),
        notes=(f"a card of it: deed license card {license_id} --out FILE",),
    )


@app.verb("card", signs="licensor")
def card_(
    session: Session,
    license_: License,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The card to write.")],
    urls: Annotated[
        list[str] | None,
        typer.Option("--url", metavar="URL", help="Where the sealed file is; goes on the card."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="What deed publish or reseal wrote."),
    ] = None,
    terms: Annotated[
        Path | None,
        typer.Option("--terms", metavar="FILE", help="When they are not those published."),
    ] = None,
) -> Answer:
    """Write a card for a license that is there, as the chain shows its brokers now.

    After deed reseal, or when the sealed file moved. Also after a broker's keys were rotated or it
    was restored; holders then grant their runtimes again, because a grant pins the brokers' keys.
    """
    from ledger.cli.card import gather, sign

    if out.exists():
        raise UsageError(f"{out} exists", hint="choose another name for the card")
    license_id = LicenseId.parse(license_)
    license_state(session, license_id)
    offer, _ = session.licenses.plan_of(license_id.plan)
    licensor = session.registry.licensor_of(offer.model_id)
    if licensor != session.signer.address:
        raise UsageError(
            f"the title of license {license_id}'s model is held by {licensor}, whose card it is",
            hint="sign with the licensor's wallet: --wallet NAME",
        )
    material = gather(
        session, license_id.plan, out, folder=folder, urls=tuple(urls or ()), terms_file=terms
    )
    write_text(out, json.dumps(sign(session, material, license_id), indent=2) + "\n")
    return Answer(
        {"license": license_id, "card": out},
        fields([("license", license_id), ("card", out)]),
        notes=(f"next: deed runtime grant REQUEST --license {license_id}, by its holder",),
    )


@app.verb("renew", signs="licensor", waits=False)
def renew(
    session: Session,
    license_: License,
    until: Annotated[
        str | None,
        typer.Option(
            "--until", metavar="TIME", help="The new end.  [default: one plan duration more]"
        ),
    ] = None,
    buy: Annotated[
        bool, typer.Option("--buy", help="Pay the plan's price for one duration more; anyone may.")
    ] = False,
    permit: Permit = False,
) -> Answer:
    """Move a license's end to a later time: as its licensor, or for money."""
    license_id = LicenseId.parse(license_)
    license_state(session, license_id)
    if buy:
        if until:
            raise UsageError(
                "--buy pays for one plan duration", hint="leave --until away, or --buy"
            )
        terms, plan = session.licenses.plan_of(license_id.plan)
        price = price_of(terms)
        signed = allow(session, price, permit=permit)
        receipt = session.market.renew(session.sender, license_id, plan.plan_digest, price, signed)
    else:
        if permit:
            raise UsageError("--permit goes with --buy", hint="leave --permit away, or add --buy")
        end = moment(until, now=int(time.time())) if until else 0
        receipt = session.licenses.renew(session.sender, license_id, end)
    ends = session.licenses.license_of(license_id, receipt.block_number).not_after
    return done(session, license_id, receipt, "ends", time_text(ends))


@app.verb("suspend", signs="licensor", waits=False)
def suspend(session: Session, license_: License, reason: Reason = "") -> Answer:
    """Suspend a license; deed license reinstate lifts it."""
    license_id = LicenseId.parse(license_)
    license_state(session, license_id)
    receipt = session.licenses.suspend(session.sender, license_id, reason_hash(reason))
    return done(session, license_id, receipt, "status", "suspended")


@app.verb("reinstate", signs="licensor", waits=False)
def reinstate(session: Session, license_: License, reason: Reason = "") -> Answer:
    """Lift a suspension."""
    license_id = LicenseId.parse(license_)
    license_state(session, license_id)
    receipt = session.licenses.reinstate(session.sender, license_id, reason_hash(reason))
    return done(session, license_id, receipt, "status", "active")


@app.verb("revoke", signs="licensor", waits=False)
def revoke(
    session: Session,
    license_: License,
    at: Annotated[
        str | None,
        typer.Option(
            "--at", metavar="TIME", help="When it takes effect; as soon as the plan allows."
        ),
    ] = None,
    reason: Reason = "",
) -> Answer:
    """Revoke a license for good. Nobody can undo it."""
    license_id = LicenseId.parse(license_)
    license_state(session, license_id)
    effective = moment(at, now=int(time.time())) if at else 0
    sure(session, f"Revoke license {license_id} for good?")
    receipt = session.licenses.revoke(
        session.sender, license_id, effective_at=effective, reason=reason_hash(reason)
    )
    ends = session.licenses.license_of(license_id, receipt.block_number).not_after
    return done(session, license_id, receipt, "status", "revoked", ends=time_text(ends))


@app.verb("show")
def show(session: Session, license_: License) -> Answer:
    """Show a license and whether it grants now; exit code 1 when it does not."""
    from ledger.licensing.entitlement import LicenseFacts, Status, denial

    license_id = LicenseId.parse(license_)
    state = license_state(session, license_id)
    head = session.rpc.block("latest")
    at = max(int(time.time()), head.timestamp)
    result = session.licenses.check(license_id, ZERO_ADDRESS, ZERO_DIGEST, at, head.number)
    grants = result.code in {0, 10}
    rows = _rows(license_id, state)
    why = ""
    if grants:
        rows.append(("grants", f"yes, until {time_text(result.not_after)}"))
    else:
        facts = LicenseFacts(
            license=license_id,
            holder=state.holder,
            status=Status(int(state.status)),
            not_before=state.not_before,
            not_after=state.not_after,
            suspended_at=state.suspended_at,
            licensor=session.licenses.plan_of(license_id.plan)[1].licensor,
        )
        refusal = denial(result.code, facts)
        why = refusal.message
        rows += [("grants", f"no: {why}"), ("remedy", refusal.remedy)]
    parent = session.licenses.parent_of(license_id, head.number)
    if parent is not None:
        rows.append(("sublicense", f"of {parent.parent}, with {parent.seats} of its seats"))
    reissue = session.licenses.reissue_of(license_id, head.number)
    if reissue is not None:
        ready = f"to {reissue.to}, ready on {time_text(reissue.ready_at)}"
        rows.append(("reissue", f"{ready}; its holder can veto it: deed license reissue veto"))
    rows.append(("as of", f"block {head.number}, {time_text(head.timestamp)}"))
    data = {
        **_data(license_id, state),
        "parent": parent,
        "reissue": reissue,
        "code": result.code,
        "grants": grants,
        "why": why,
        "as_of": {"block": head.number, "hash": head.hash, "at": at},
    }
    return Answer(data, fields(rows), ok=grants)


@app.verb("list")
def list_(
    session: Session,
    plan: Annotated[
        int | None, typer.Option("--plan", min=1, max=(1 << 32) - 1, help="Only this plan's.")
    ] = None,
    holder: Annotated[
        str | None,
        typer.Option("--holder", metavar="ADDRESS", help="Only those it holds now."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Also whether each grants now, all as of one block.")
    ] = False,
) -> Answer:
    """List licenses, in the order of their numbers."""
    who = account(session, holder) if holder else None
    head = session.rpc.block("latest").number
    every = [
        (number, session.licenses.license_of(number, head))
        for number in events.licenses(session, plan=plan, holder=who)
    ]
    found = [entry for entry in every if who in {None, entry[1].holder}]
    answers = _grants(session, [number for number, _ in found], head) if check else {}
    text = table(
        ("license", "holder", "status", "begins", "ends", "seats used")
        + (("grants",) if check else ()),
        [
            (
                number,
                state.holder,
                state.status,
                _begin(state),
                time_text(state.not_after),
                state.seats_used,
                *((answers[number],) if check else ()),
            )
            for number, state in found
        ],
        empty="no licenses",
    )
    data = [
        _data(number, state) | ({"grants": answers[number]} if check else {})
        for number, state in found
    ]
    return Answer({"licenses": data}, text)


def _grants(session: Session, numbers: list[LicenseId], block: int) -> dict[LicenseId, bool]:
    """Whether each license grants, as of one block."""
    from ledger.chain.lens import Query

    ledger, lens = session.licenses.address, session.lens
    granted: dict[LicenseId, bool] = {}
    for start in range(0, len(numbers), _CHECKED_AT_ONCE):
        some = numbers[start : start + _CHECKED_AT_ONCE]
        results = lens.check_many(ledger, [Query(number) for number in some], block=block)
        granted |= {number: result.granted for number, result in zip(some, results, strict=True)}
    return granted


def _rows(license_id: LicenseId, state: LicenseState) -> list[tuple[str, object]]:
    return [
        ("license", f"{license_id} (token {int(license_id)})"),
        ("holder", state.holder),
        ("status", state.status),
        ("begins", _begin(state)),
        ("ends", time_text(state.not_after)),
        ("seats used", state.seats_used),
    ]


def _begin(state: LicenseState) -> str:
    return time_text(state.not_before) if state.not_before else "when issued"


def _data(license_id: LicenseId, state: LicenseState) -> dict[str, Any]:
    return {"license": license_id, "token_id": str(int(license_id)), "state": state}


for _part in (
    license_many,
    license_batch,
    license_offer,
    license_market,
    license_hands,
    license_hold,
    license_seats,
):
    app.registered_commands += _part.app.registered_commands
