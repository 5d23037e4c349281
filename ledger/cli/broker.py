"""``deed broker``: set up a key broker, look at one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.cli import broker_account, broker_admit, broker_keys, broker_operator, broker_set
from ledger.cli.broker_anchoring import anchoring_of, anchoring_rows
from ledger.cli.broker_endpoints import endpoint_rows, witnesses
from ledger.cli.broker_keys import KeyStoreName, KeyStoreOptions, opened_or_made, registered
from ledger.cli.output import Answer, fields
from ledger.cli.session import Session
from ledger.cli.settings import checked_url, url_for_people
from ledger.cli.verb import Verbs
from ledger.errors import ConfigurationError, UsageError

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
    keystore: KeyStoreName = "file",
    option: KeyStoreOptions = None,
) -> Answer:
    """Make a broker's keys, register them on chain, and create a broker set of one.

    Interrupted, it goes on where it was when run again.
    """
    from ledger.broker.setup import register_broker

    checked_url(url, what="a broker")
    sender = session.sender
    made = opened_or_made(session, home, keystore, option)
    if registered(made):
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
        seen = witnesses(client) | anchoring_of(client)
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
        *endpoint_rows(seen),
        *anchoring_rows(seen),
    ]
    data = {"broker": said.identity.id, "chain": record, "same": same, **seen}
    return Answer(data, fields(rows), ok=all(same.values()))


for _part in (broker_keys,):
    app.registered_commands += _part.app.registered_commands
broker_account.add(app)
broker_admit.add(app)
broker_operator.add(app)
app.add_typer(broker_set.app, name="set", help=broker_set.app.info.help)
