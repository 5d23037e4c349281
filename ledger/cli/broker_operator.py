"""``deed broker transfer``, ``accept`` and ``move``: a broker's operator, and its URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.accounts import account
from ledger.cli.license_args import sure
from ledger.cli.output import Answer
from ledger.cli.receipts import sent
from ledger.cli.session import Session
from ledger.cli.settings import checked_url
from ledger.cli.verb import Verbs
from ledger.errors import UnknownRecord, UsageError
from ledger.ids import ZERO_ADDRESS

if TYPE_CHECKING:
    from ledger.chain.brokers import BrokerRecord

_Broker = Annotated[
    int, typer.Argument(min=1, max=(1 << 53) - 1, metavar="BROKER", help="A broker's number.")
]


def add(app: Verbs) -> None:
    """Add these commands to the group."""
    app.verb("transfer", signs="broker", waits=False)(transfer)
    app.verb("accept", signs="operator", waits=False)(accept)
    app.verb("move", signs="broker", waits=False)(move)


def transfer(
    session: Session,
    broker: _Broker,
    to: Annotated[
        str | None, typer.Option("--to", metavar="ADDRESS", help="Who is to operate the broker.")
    ] = None,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take an offer back that is not accepted yet.")
    ] = False,
) -> Answer:
    """Offer a broker to another account, which takes it with deed broker accept.

    Its folder, with keys and log, is handed over apart from this.
    """
    if (to is None) != withdraw:
        raise UsageError("say to whom, or --withdraw", hint="deed broker transfer N --to ADDRESS")
    record = _known(session, broker)
    offered = ZERO_ADDRESS if to is None else account(session, to)
    if offered == record.operator:
        raise UsageError(f"{offered} operates broker {broker} already", hint="name another account")
    if to is not None:
        sure(session, f"Offer broker {broker} to {offered}?")
    receipt = session.brokers.propose_operator(session.sender, broker, offered)
    return sent(
        session,
        ("broker", broker),
        receipt,
        "offered to",
        "nobody" if to is None else offered,
        notes=() if to is None else (f"next: {offered} runs deed broker accept {broker}",),
    )


def accept(session: Session, broker: _Broker) -> Answer:
    """Take a broker that was offered to you: only you anchor its receipts and set its keys then.

    Whoever had its folder has its keys: replace them with deed broker rotate --keys.
    """
    _known(session, broker)
    receipt = session.brokers.accept_operator(session.sender, broker)
    return sent(
        session,
        ("broker", broker),
        receipt,
        "operator",
        session.sender.address,
        notes=("the former operator may still have its keys: deed broker rotate --keys",),
    )


def move(
    session: Session,
    broker: _Broker,
    *,
    url: Annotated[str, typer.Option("--url", metavar="URL", help="How runtimes will reach it.")],
) -> Answer:
    """Tell the chain a broker's new URL; its keys stay as they are there."""
    checked_url(url, what="a broker")
    record = _known(session, broker)
    if session.brokers.url_of(broker, from_block=session.network.deployment.block) == url:
        raise UsageError(f"broker {broker} has this URL already", hint="name another one")
    receipt = session.brokers.set_keys(
        session.sender, broker, record.signing_key_hash, record.kem_key_hash, url
    )
    return sent(session, ("broker", broker), receipt, "url", url)


def _known(session: Session, broker: int) -> BrokerRecord:
    record = session.brokers.broker_of(broker)
    if record.operator == ZERO_ADDRESS:
        raise UnknownRecord(
            f"there is no broker {broker} on {session.network.name}",
            hint="deed broker init registers one; deed broker status shows one's number",
        )
    return record
