"""``deed init``: a role, an encrypted key, and ``deed.toml``."""

from __future__ import annotations

from typing import Annotated

import typer

from ledger.cli import networks, settings
from ledger.cli.output import Answer, console, fields
from ledger.cli.session import wallet_path
from ledger.cli.verb import Verbs
from ledger.errors import UsageError
from ledger.ids import quoted

app = Verbs()

_NEXT = {
    "licensor": "next: deed terms new, then deed publish MODEL --terms terms.toml",
    "holder": "next: deed runtime grant REQUEST --license ID",
    "runtime": "next: give the request file to the license's holder, then deed runtime accept",
    "operator": "next: deed chain deploy, deed broker init",
}
_DEFAULT_WALLET = "main"


@app.verb("init")
def init(
    role: Annotated[
        str | None, typer.Option("--role", help=f"One of {', '.join(settings.ROLES)}.")
    ] = None,
    wallet: Annotated[
        str | None,
        typer.Option("--wallet", metavar="NAME", help="Name of the wallet to make or use."),
    ] = None,
    network: Annotated[
        str | None, typer.Option("--network", metavar="NAME", help="The chain to use.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Change the role that deed.toml has.")
    ] = False,
) -> Answer:
    """Set up this folder: asks your role, makes an encrypted key, writes deed.toml.

    A licensor, holder or operator gets a wallet (an existing one of that name is used as it is); a
    runtime gets a runtime key and needs no wallet.
    """
    found = settings.load()
    role = role or console.ask(f"Your role ({', '.join(settings.ROLES)})", flag="--role ROLE")
    if role not in settings.ROLES:
        raise UsageError(
            f"{quoted(role)} is not a role", hint=f"choose one of {', '.join(settings.ROLES)}"
        )
    before = found.get("role") if found.file else None
    if before not in {None, role} and not force:
        raise UsageError(f"{found.file} has the role {before}", hint="pass --force to change it")
    if network is not None and network != networks.LOCAL:
        networks.rpc_urls(found, network)
    changes = {"role": role}
    if network is not None:
        changes["network"] = network
    rows: list[tuple[str, object]] = [("role", role)]
    if role == "runtime":
        rows += _runtime(found)
    else:
        name = wallet or found.get("wallet") or _DEFAULT_WALLET
        rows += _wallet(found, name)
        changes["wallet"] = name
    file = settings.store(found, changes)
    rows.append(("settings", file))
    return Answer(dict(rows), fields(rows), notes=(_NEXT[role],))


def _wallet(found: settings.Settings, name: str) -> list[tuple[str, object]]:
    from ledger.cli.wallet import make

    path = wallet_path(found, name)
    if path.exists():
        return [("wallet", name), ("key", path)]
    path, address = make(found, name)
    console.note("keep a copy of the key file and the passphrase: nobody can restore them")
    return [("wallet", name), ("address", address), ("key", path)]


def _runtime(found: settings.Settings) -> list[tuple[str, object]]:
    from ledger.cli.runtime_enrolment import REQUEST, enrol

    path, request = enrol(found, REQUEST)
    return [("key", path), ("request", request)]
