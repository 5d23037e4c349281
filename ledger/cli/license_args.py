"""What the commands about one license share: its argument, its state, the answer after sending."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.output import Answer, console, fields
from ledger.cli.receipts import receipt_data, receipt_row, settle
from ledger.cli.session import Session
from ledger.errors import NoLicense, UsageError
from ledger.ids import ZERO_ADDRESS, ZERO_DIGEST, Digest, LicenseId, keccak256

if TYPE_CHECKING:
    from ledger.chain.licenses import LicenseState
    from ledger.chain.transactions import TxReceipt

License = Annotated[str, typer.Argument(metavar="LICENSE", help="PLAN.SERIAL, such as 7.1.")]
Plan = Annotated[int, typer.Argument(min=1, max=(1 << 32) - 1, help="A plan's number.")]
Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Its hash goes on chain; keep the text.")
]
Reference = Annotated[
    str,
    typer.Option(
        "--external-ref",
        metavar="TEXT",
        help="An order or invoice number; its hash goes on chain (docs/spec/voucher.md).",
    ),
]


def reason_hash(text: str) -> Digest:
    """The on-chain form of a reason: keccak of its text, zero for none."""
    return Digest(keccak256(text.encode())) if text else ZERO_DIGEST


def license_state(session: Session, license_id: LicenseId) -> LicenseState:
    """How a license stands.

    Raises:
        NoLicense: it was never issued.
    """
    state = session.licenses.license_of(license_id)
    if state.holder == ZERO_ADDRESS:
        raise no_license(session, license_id)
    return state


def no_license(session: Session, license_id: LicenseId) -> NoLicense:
    """What is said of a license that was never issued; the service says the same of a number."""
    known = "deed license list shows those that exist"
    return NoLicense(
        f"there is no license {license_id} on {session.network.name}",
        remedy=known if license_id.plan else f"{LicenseId.ABOUT_NUMBERS}; {known}",
    )


def done(
    session: Session,
    license_id: LicenseId,
    receipt: TxReceipt,
    what: str,
    value: object,
    *,
    notes: tuple[str, ...] = (),
    **more: object,
) -> Answer:
    """The answer of a command that sent one transaction about a license.

    `more` is told below `what`, its names with spaces for underscores.
    """
    final = settle(session, receipt)
    rows = [(what, value), *((name.replace("_", " "), said) for name, said in more.items())]
    return Answer(
        {"license": license_id}
        | {name.replace(" ", "_"): said for name, said in rows}
        | receipt_data(receipt, final=final),
        fields([("license", license_id), *rows, receipt_row(receipt, final=final)]),
        notes=notes,
    )


def sure(session: Session, question: str) -> None:
    """On public chains, ask before what nobody can undo.

    Raises:
        UsageError: the answer is no.
    """
    if session.yes or session.network.profile.test_network:
        return
    if not console.confirm(question):
        raise UsageError("nothing was sent", hint="answer y, or pass --yes")
