"""Accounts as people name them."""

from __future__ import annotations

from ledger.cli.session import TEST_ACCOUNTS, Session
from ledger.errors import UsageError
from ledger.ids import Address

MARKET = "market"


def account(session: Session, text: str) -> Address:
    """An address, or the name of a local chain's test account.

    Raises:
        UsageError: neither.
    """
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


def account_or_market(session: Session, text: str) -> Address:
    """As `account`; the word ``market`` is the network's LicenseMarket."""
    return session.market.address if text == MARKET else account(session, text)
