"""``deed broker``: set up a key broker, look at one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli import broker_admit
from ledger.cli.output import Answer, fields
from ledger.cli.session import Session, passphrase
from ledger.cli.settings import checked_url, url_for_people
from ledger.cli.verb import Verbs
from ledger.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from ledger.broker.home import BrokerHome

app = Verbs("Set up and look at a key broker.")


@app.verb("init", signs="broker", waits=False)
def init(
    session: Session,
    *,
    home: Annotated[
        Path, typer.Option("--home", metavar="DIR", help="Where its keys and database live.")
    ] = Path("broker"),
    url: Annotated[
        str, typer.Option("--url", metavar="URL", help="How runtimes will reach it; public.")
    ] = "http://127.0.0.1:8800",
) -> Answer:
    """Make a broker's keys, register them on chain, and create a broker set of one.

    Interrupted, it goes on where it was when run again.
    """
    from ledger.broker.home import BrokerHome
    from ledger.broker.setup import register_broker

    checked_url(url, what="a broker")
    exists = (home / "keys.json").exists()
    secret = passphrase(
        session.settings,
        f"{'Passphrase' if exists else 'New passphrase'} of the broker in {home}",
        new=not exists,
        name="broker_passphrase_file",
    )
    sender = session.sender
    made = BrokerHome.open(home, secret) if exists else BrokerHome.create(home, secret)
    if _registered(made):
        raise ConfigurationError(
            f"{home} holds broker {made.identity.id}, registered already",
            hint="choose another folder with --home",
        )
    set_id = register_broker(made, sender, session.network.deployment, url)
    broker_id = made.identity.id
    data: dict[str, Any] = {
        "broker": broker_id,
        "set": set_id,
        "home": home,
        "url": url,
        "signing_key_hash": made.signing_key_hash,
        "kem_key_hash": made.kem_key_hash,
    }
    rows: list[tuple[str, object]] = [
        ("broker", broker_id),
        ("broker set", f"{set_id}, with this broker alone"),
        ("folder", home),
        ("url", url),
        ("signing keys", made.signing_key_hash),
        ("KEM key", made.kem_key_hash),
    ]
    return Answer(
        data, fields(rows), notes=(f"next: deed serve --broker-home {home} --database URL",)
    )


@app.verb("status")
def status(
    session: Session,
    *,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="The network's broker by default.")
    ] = None,
) -> Answer:
    """Ask a broker who it is, and compare its keys with what the chain says."""
    from ledger.broker.client import BrokerClient

    where = url or session.settings.get("broker") or session.network.broker_url
    if where is None:
        raise UsageError("no broker is named", hint="pass --url, or set DEED_BROKER")
    with BrokerClient(checked_url(where, what="a broker")) as client:
        said = client.facts()
    record = session.brokers.broker_of(said.identity.id)
    same = {
        "signing_key_hash": said.signing.hash() == record.signing_key_hash,
        "kem_key_hash": said.kem.hash() == record.kem_key_hash,
        "chain_id": said.identity.chain_id == session.network.deployment.chain_id,
    }
    rows: list[tuple[str, object]] = [
        ("broker", said.identity.id),
        ("url", url_for_people(where)),
        ("operator", record.operator),
        ("signing keys", "as on chain" if same["signing_key_hash"] else "NOT those on chain"),
        ("KEM key", "as on chain" if same["kem_key_hash"] else "NOT the one on chain"),
        ("chain", said.identity.chain_id),
    ]
    data = {"broker": said.identity.id, "chain": record, "same": same}
    return Answer(data, fields(rows), ok=all(same.values()))


def _registered(home: BrokerHome) -> bool:
    try:
        return home.identity.id > 0
    except ConfigurationError:
        return False


broker_admit.add(app)
