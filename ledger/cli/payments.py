"""Prices as people read and write them, and paying them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from ledger.cli.license_args import sure
from ledger.cli.quantities import ether, ether_text
from ledger.cli.session import Session
from ledger.errors import InsufficientFunds, UsageError
from ledger.ids import ZERO_ADDRESS, Address, quoted

if TYPE_CHECKING:
    from ledger.chain.licenses import PlanTerms
    from ledger.chain.market import Price

Permit = Annotated[
    bool,
    typer.Option(
        "--permit", help="Sign the payment instead of allowing it first; some tokens take that."
    ),
]
_PERMIT_SECONDS: Final = 3600  # a transaction that takes longer is asked for anew


def amount(text: str, token: Address) -> int:
    """The smallest units of an amount: ether for the zero `token`, else whole units of the token.

    Raises:
        UsageError: not an amount, or beyond 96 bits.
    """
    if token == ZERO_ADDRESS:
        return ether(text)
    if not (text.isascii() and text.isdigit() and int(text[:40]) < 1 << 96):
        raise UsageError(
            f"{quoted(text)} is not an amount of a token", hint="give whole units, below 2^96"
        )
    return int(text)


def price_text(token: Address, units: int) -> str:
    """An amount for people."""
    if not units:
        return "free"
    return ether_text(units) if token == ZERO_ADDRESS else f"{units} of {token}"


def price_of(terms: PlanTerms) -> Price:
    """What a license of the plan costs on the market."""
    from ledger.chain.market import Price

    return Price(terms.pay_token, terms.price)


def allow(session: Session, price: Price, *, permit: bool = False) -> bytes:
    """Let the market take exactly `price` from the sender, where it is paid in a token.

    Args:
        session: who pays, on which network.
        price: what is paid.
        permit: sign that instead of sending it; only some tokens take this (ERC-2612).

    Returns:
        The permit to send along with the purchase; empty where none is needed.

    Raises:
        UsageError: a permit was wanted and the price is in the chain's coin, or nobody agreed.
        InsufficientFunds: the sender has less of the token.
        ChainError: what the plan names is no token, or takes no permits.
    """
    if price.pay_token == ZERO_ADDRESS or not price.amount:
        if permit:
            raise UsageError("the price is not in a token", hint="leave --permit away")
        return b""
    from ledger.chain.erc20 import Erc20

    token, sender, market = Erc20(session.rpc, price.pay_token), session.sender, session.market
    has = token.balance_of(sender.address)
    if has < price.amount:
        raise InsufficientFunds(
            f"account {sender.address} has {has} of token {price.pay_token}, and the price is "
            f"{price.amount}",
            hint="get some of the token, or use another wallet (--wallet)",
        )
    present = token.allowance(sender.address, market.address)
    if present >= price.amount:
        return b""
    if permit:
        sure(session, f"Let the market take {price.amount} of token {price.pay_token}?")
        deadline = session.rpc.block("latest").timestamp + _PERMIT_SECONDS
        return token.permit(session.signer, market.address, price.amount, deadline=deadline)
    if present:  # some tokens change no allowance that is not zero
        token.approve(sender, market.address, 0)
    token.approve(sender, market.address, price.amount)
    return b""
