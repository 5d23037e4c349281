"""``deed license transfer``, ``surrender``, ``sublicense``, ``reclaim``, ``reissue``."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated

import typer

from ledger.cli.accounts import account
from ledger.cli.license_args import License, done, license_state, sure
from ledger.cli.output import Answer, fields, time_text
from ledger.cli.quantities import moment
from ledger.cli.receipts import receipt_data, receipt_row, settle
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.errors import UsageError
from ledger.ids import LicenseId

app = Verbs()


class Step(StrEnum):
    """Where a move of something lost stands."""

    START = "start"
    VETO = "veto"
    FINISH = "finish"


@app.verb("transfer", signs="holder", waits=False)
def transfer(
    session: Session,
    license_: License,
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="Who is to hold it.")],
) -> Answer:
    """Pass your license on. Every grant for it is void from then on."""
    license_id = LicenseId.parse(license_)
    license_state(session, license_id)
    holder = account(session, to)
    sure(session, f"Pass license {license_id} on to {holder}?")
    receipt = session.licenses.transfer(session.sender, license_id, holder)
    return done(session, license_id, receipt, "holder", holder)


@app.verb("surrender", signs="holder", waits=False)
def surrender(session: Session, license_: License) -> Answer:
    """End your license at once and for good. Its seats must be free."""
    license_id = LicenseId.parse(license_)
    license_state(session, license_id)
    sure(session, f"End license {license_id} for good?")
    receipt = session.licenses.surrender(session.sender, license_id)
    return done(session, license_id, receipt, "status", "revoked")


@app.verb("sublicense", signs="holder", waits=False)
def sublicense(
    session: Session,
    license_: License,
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="Who will hold it.")],
    seats: Annotated[int, typer.Option("--seats", min=1, max=65535, help="How many of yours.")] = 1,
    not_after: Annotated[
        str | None, typer.Option("--not-after", metavar="TIME", help="End; by default yours.")
    ] = None,
) -> Answer:
    """License some of your seats on. It is valid only while yours is."""
    parent = LicenseId.parse(license_)
    license_state(session, parent)
    holder = account(session, to)
    end = moment(not_after, now=int(time.time())) if not_after else 0
    license_id, receipt = session.licenses.sublicense(session.sender, parent, holder, seats, end)
    final = settle(session, receipt)
    return Answer(
        {"license": license_id, "parent": parent, "holder": holder, "seats": seats}
        | receipt_data(receipt, final=final),
        fields(
            [
                ("license", license_id),
                ("under", parent),
                ("holder", holder),
                ("seats", seats),
                receipt_row(receipt, final=final),
            ]
        ),
    )


@app.verb("reclaim", signs="holder", waits=False)
def reclaim(session: Session, license_: License) -> Answer:
    """Take back the seats of a sublicense that has ended and whose own seats are free."""
    license_id = LicenseId.parse(license_)
    license_state(session, license_id)
    link = session.licenses.parent_of(license_id)
    receipt = session.licenses.reclaim_seats(session.sender, license_id)
    return done(session, license_id, receipt, "seats taken back", link.seats if link else 0)


@app.verb("reissue", signs="licensor", waits=False)
def reissue(
    session: Session,
    step: Annotated[Step, typer.Argument(help="What to do.")],
    license_: License,
    to: Annotated[
        str | None, typer.Option("--to", metavar="ADDRESS", help="The holder's new account.")
    ] = None,
) -> Answer:
    """Move the license of a lost wallet: start it, wait the delay, finish it.

    The licensor starts and finishes; the holder, or the licensor, can veto until then.
    """
    license_id = LicenseId.parse(license_)
    license_state(session, license_id)
    if (step is Step.START) != (to is not None):
        raise UsageError(
            "--to is for starting, and starting needs it",
            hint=f"deed license reissue start {license_id} --to ADDRESS",
        )
    if to is not None:
        started, receipt = session.licenses.start_reissue(
            session.sender, license_id, account(session, to)
        )
        ready = time_text(started.ready_at)
        finish = f"deed license reissue finish {license_id}{session.again('licensor')}"
        return done(
            session,
            license_id,
            receipt,
            "ready",
            ready,
            notes=(f"next: {finish}, from {ready} on",),
        )
    if step is Step.VETO:
        receipt = session.licenses.veto_reissue(session.sender, license_id)
        return done(session, license_id, receipt, "reissue", "stopped")
    receipt = session.licenses.finish_reissue(session.sender, license_id)
    holder = session.licenses.license_of(license_id, receipt.block_number).holder
    return done(session, license_id, receipt, "holder", holder)
