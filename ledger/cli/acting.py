"""What every command that acts on a license shares: its arguments, and what it says afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.output import Answer, fields
from ledger.cli.receipts import receipt_data, receipt_row, settle
from ledger.cli.session import TEST_ACCOUNTS, Session
from ledger.errors import NoLicense, UsageError
from ledger.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, Digest, LicenseId, keccak256

if TYPE_CHECKING:
    from ledger.chain.licenses import LicenseState
    from ledger.chain.transactions import TxReceipt

LicenseWord = Annotated[str, typer.Argument(metavar="LICENSE", help="PLAN.SERIAL, such as 7.1.")]
Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Its hash goes on chain; keep the text.")
]


def account(session: Session, text: str) -> Address:
    """An address, or the name of a local chain's test account."""
    if text in TEST_ACCOUNTS and session.network.profile.test_network:
        from ledger.chain.wallet import dev_wallet

        return dev_wallet(text).address
    try:
        return Address.parse(text)
    except UsageError as error:
        if text.lower().startswith("0x") or not session.network.profile.test_network:
            raise
        raise UsageError(
            error.message,
            hint=f"give 0x and 40 hex digits, or a name: {', '.join(TEST_ACCOUNTS)}",
        ) from None


def reason_hash(text: str) -> Digest:
    """The on-chain form of a reason: keccak of its text, zero for none."""
    return Digest(keccak256(text.encode())) if text else ZERO_DIGEST


def state_of(session: Session, license_id: LicenseId) -> LicenseState:
    """A license that exists.

    Raises:
        NoLicense: it does not.
    """
    state = session.licenses.license_of(license_id)
    if state.holder == ZERO_ADDRESS:
        raise NoLicense(
            f"there is no license {license_id} on {session.network.name}",
            remedy="deed license list shows those that exist",
        )
    return state


def done(
    session: Session, license_id: LicenseId, receipt: TxReceipt, what: str, value: str
) -> Answer:
    """The answer of a command that sent a transaction about a license."""
    final = settle(session, receipt)
    return Answer(
        {"license": license_id, what: value} | receipt_data(receipt, final=final),
        fields([("license", license_id), (what, value), receipt_row(receipt, final=final)]),
    )
