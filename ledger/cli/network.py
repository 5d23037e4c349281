"""``deed network``: which chain the commands talk to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.cli import networks, settings
from ledger.cli.output import Answer, fields, table
from ledger.cli.settings import url_for_people
from ledger.cli.verb import Verbs
from ledger.errors import (
    ChainError,
    ChainUnavailable,
    LedgerError,
    ManifestError,
    NoNetwork,
    UsageError,
    WrongNetwork,
)

app = Verbs("List, add and choose chains.")

_MAX_MANIFEST = 1 << 20
_ASKED_SECONDS = 5.0
# What a web server says of a POST to something else (redirects, not found, not so). An endpoint
# that wants another key, has had enough, or is being restarted says 401, 403, 429 or 5xx.
_ELSEWHERE = frozenset({301, 302, 303, 307, 308, 404, 405, 406, 410, 411, 415, 501})


@app.verb("list")
def list_() -> Answer:
    """List the networks that were added, and the local one if it runs here."""
    found = settings.load()
    chosen = found.get("network")
    rows: list[dict[str, Any]] = []
    live = _live()
    if live is not None:
        rows.append({"name": networks.LOCAL, "rpc": list(live.rpc_urls), "live": True})
    for name in networks.names(found):
        urls = [url_for_people(url) for url in networks.rpc_urls(found, name)]
        rows.append({"name": name, "rpc": urls, "live": False})
    for row in rows:
        row["chosen"] = row["name"] == chosen or (chosen is None and row["live"])
    text = table(
        ("name", "rpc", "chosen"),
        [(r["name"], ", ".join(r["rpc"]), r["chosen"]) for r in rows],
        empty="no networks; run deed up here, or add one with deed network add NAME",
    )
    return Answer({"networks": rows}, text)


@app.verb("add")
def add(
    name: Annotated[str, typer.Argument(help="Small letters, digits and -.")],
    *,
    rpc: Annotated[
        list[str], typer.Option("--rpc", metavar="URL", help="RPC endpoint; repeat for more.")
    ],
    deployment: Annotated[
        Path,
        typer.Option(
            "--deployment",
            metavar="FILE",
            help="Manifest of the contracts, from deed chain deploy.",
        ),
    ],
    api: Annotated[str | None, typer.Option("--api", metavar="URL", help="Its index.")] = None,
    broker: Annotated[
        str | None, typer.Option("--broker", metavar="URL", help="Its broker.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a network of that name.")] = False,
) -> Answer:
    """Add a network: RPC endpoints, and the manifest of the contracts deployed there.

    Each endpoint is asked once for its chain: one of another chain, and what answers but is no
    JSON-RPC endpoint, is refused; one that does not answer is added. URLs may hold API keys; they
    are kept in your configuration folder and never shown in full.
    """
    from ledger.chain.deployment import Deployment
    from ledger.chain.profile import profile_for

    found = settings.load()
    if name in networks.names(found) and not force:
        raise UsageError(
            f"there is a network {name} already", hint="choose another name, or pass --force"
        )
    manifest = Deployment.from_json(_json(deployment))
    profile = profile_for(manifest.chain_id)
    silent = _silent(rpc, manifest.chain_id)
    file = networks.add(
        found,
        name,
        rpc=tuple(rpc),
        deployment=manifest.to_json(),
        api=api,
        broker=broker,
    )
    data = {"name": name, "chain_id": manifest.chain_id, "chain": profile.name, "file": file}
    text = fields([("network", name), ("chain", f"{profile.name} (id {manifest.chain_id})")])
    notes = (*silent, f"use it here with deed network use {name}")
    return Answer(data, text, notes=notes)


def _silent(urls: Sequence[str], chain_id: int) -> list[str]:
    """A note on each endpoint that does not say which chain it serves.

    Raises:
        UsageError: one is no URL, or another kind of server answers there.
        WrongNetwork: one serves another chain.
    """
    from ledger.chain.rpc import Rpc

    notes = []
    for url in urls:
        with Rpc(url, timeout=_ASKED_SECONDS) as rpc:
            (host,) = rpc.hosts
            try:
                shown = rpc.chain_id()
            except LedgerError as error:
                if _is_no_endpoint(error):
                    raise UsageError(
                        f"{host} is no JSON-RPC endpoint: {error.message}",
                        hint="check the URL, its path too: it is asked by POST for eth_chainId",
                    ) from None
                notes.append(f"whether {host} serves this chain is not known: {error.message}")
                continue
        if shown != chain_id:
            raise WrongNetwork(
                f"{host} serves chain {shown}, and the manifest is of chain {chain_id}",
                hint="give that chain's manifest, or an endpoint of the manifest's chain",
            )
    return notes


def _is_no_endpoint(error: LedgerError) -> bool:
    """Whether something answered that speaks no JSON-RPC, and will not in a while either."""
    if isinstance(error, ChainUnavailable):
        return error.fault == "malformed" or error.status in _ELSEWHERE
    return type(error) is ChainError  # a result that is no number


@app.verb("use")
def use(name: Annotated[str, typer.Argument(help="A network from deed network list.")]) -> Answer:
    """Choose a network for this folder; written to deed.toml."""
    found = settings.load()
    if name != networks.LOCAL:
        networks.rpc_urls(found, name)
    file = settings.store(found, {"network": name})
    return Answer({"network": name, "file": file}, fields([("network", name), ("file", file)]))


@app.verb("show")
def show(
    name: Annotated[
        str | None, typer.Argument(help="A network; the chosen one by default.")
    ] = None,
) -> Answer:
    """Show a network's endpoints, contracts and finality rule, without calling it."""
    found = settings.load()
    name = name or found.get("network") or networks.LOCAL
    network = _live() if name == networks.LOCAL else networks.load(found, name)
    if network is None:
        raise NoNetwork(f"the network {name!r} is not running here", hint="start it with deed up")
    deployment, profile = network.deployment, network.profile
    rows: list[tuple[str, object]] = [
        ("network", network.name),
        ("chain", f"{profile.name} (id {deployment.chain_id})"),
        ("rpc", ", ".join(url_for_people(url) for url in network.rpc_urls)),
        ("index", url_for_people(network.api_url) if network.api_url else "-"),
        ("broker", url_for_people(network.broker_url) if network.broker_url else "-"),
        ("finality", profile.finality),
        ("genesis", deployment.genesis_hash),
        *sorted(deployment.addresses.items()),
    ]
    data: dict[str, Any] = {
        "name": network.name,
        "chain_id": deployment.chain_id,
        "chain": profile.name,
        "rpc": [url_for_people(url) for url in network.rpc_urls],
        "api": url_for_people(network.api_url) if network.api_url else None,
        "broker": url_for_people(network.broker_url) if network.broker_url else None,
        "finality": profile.finality,
        "test_network": profile.test_network,
        "deployment": deployment.to_json(),
    }
    return Answer(data, fields(rows))


def _live() -> Any:
    from ledger.chain.network import load_live

    return load_live(Path.cwd())


def _json(path: Path) -> dict[str, Any]:
    with path.open("rb") as handle:
        data = handle.read(_MAX_MANIFEST + 1)
    if len(data) > _MAX_MANIFEST:
        raise ManifestError(f"{path} is too long for a deployment manifest")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise ManifestError(
            f"{path} is not JSON", hint="give the file that deed chain deploy wrote"
        ) from None
    if not isinstance(value, dict):
        raise UsageError(
            f"{path} is not a deployment manifest",
            hint="give the file that deed chain deploy wrote",
        )
    return value
