"""``deed serve``: the API with index and broker, as one process."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from ledger.cli import networks
from ledger.cli.output import console
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.errors import UsageError

app = Verbs()


@app.verb("serve", waits=False)
def serve(
    session: Session,
    *,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: a free one.")] = 8800,
    database: Annotated[
        str | None,
        typer.Option(
            "--database",
            metavar="URL",
            help="The index: a path (SQLite) or a database URL; DEED_DATABASE by default.",
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Follow the chain, or only read the index.")
    ] = True,
    broker_home: Annotated[
        Path | None,
        typer.Option("--broker-home", metavar="DIR", help="Also release keys, from this folder."),
    ] = None,
    public_url: Annotated[
        str | None,
        typer.Option("--public-url", metavar="URL", help="How clients reach this service."),
    ] = None,
) -> None:
    """Run the API over a chain until Ctrl-C, with the index and, if given, a key broker.

    Its further settings are environment variables DEED_API_…, listed in docs/api.md.
    """
    for module in ("fastapi", "uvicorn", "sqlmodel"):
        if find_spec(module) is None:
            raise ModuleNotFoundError(name=module)
    network = session.network
    url = database or session.settings.get("database")
    if url is None:
        raise UsageError(
            "no index database is named", hint="pass --database index.sqlite, or set DEED_DATABASE"
        )
    manifest = (
        network.home / "deployment.json"
        if network.home is not None
        else networks.manifest(session.settings, network.name)
    )
    environment = {
        **os.environ,
        "DEED_API_HOST": host,
        "DEED_API_PORT": str(port),
        "DEED_API_RPC_URLS": ",".join(network.rpc_urls),
        "DEED_API_DEPLOYMENT": str(manifest),
        "DEED_API_DATABASE_URL": url,
        "DEED_API_FOLLOW": "true" if follow else "false",
    }
    if public_url is not None:
        environment["DEED_API_PUBLIC_URL"] = public_url
    if broker_home is not None:
        from ledger.broker.home import BrokerHome

        file = session.settings.get("broker_passphrase_file")
        if file is None and BrokerHome.key_file(broker_home).asks:
            raise UsageError(
                "a broker that nobody watches needs its passphrase in a file",
                hint="name it in DEED_BROKER_PASSPHRASE_FILE",
            )
        environment["DEED_API_BROKER_HOME"] = str(broker_home.absolute())
        if file is not None:
            environment["DEED_API_BROKER_PASSPHRASE_FILE"] = file
    console.note(f"serving {network.name} on {host}:{port}; Ctrl-C stops")
    # The service is another layer, above this one: it takes this process's place.
    os.execve(sys.executable, [sys.executable, "-m", "api"], environment)  # noqa: S606
