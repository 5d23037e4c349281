"""``deed chain``: deploy the contracts, look at a chain."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.output import Answer, console, fields, time_text
from ledger.cli.session import TEST_ACCOUNTS, Session, open_wallet
from ledger.cli.settings import checked_url, url_for_people, write_text
from ledger.cli.verb import Verbs
from ledger.errors import NoWallet, UsageError

app = Verbs("Deploy the contracts and look at a chain.")


@app.verb("deploy", signs="licensor", waits=False)
def deploy(
    session: Session,
    *,
    rpc: Annotated[
        list[str] | None,
        typer.Option("--rpc", metavar="URL", help="The chain, when it is no network yet."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The deployment manifest to write.")
    ] = Path("deployment.json"),
) -> Answer:
    """Deploy the four contracts and write their manifest: addresses, code hashes, genesis.

    They have no owner and no proxy; anyone can deploy their own, and whoever did has no power over
    them. Where the same contracts stand already, the manifest names those.
    """
    from ledger.chain.deployment import deploy as deploy_contracts
    from ledger.chain.profile import profile_for
    from ledger.chain.rpc import Rpc
    from ledger.chain.transactions import Sender
    from ledger.chain.wallet import Signer, dev_wallet

    if out.exists():
        raise UsageError(f"{out} exists", hint="move it away, or choose another with --out")
    urls = tuple(checked_url(url, what="an RPC endpoint") for url in rpc or ())
    if not urls:
        urls = session.network.rpc_urls
    name = session.settings.get("wallet") or (session.role if session.on_live else None)
    if name is None:
        raise NoWallet("no wallet is chosen")
    with Rpc(urls) as node:
        profile = profile_for(node.chain_id())
        known = name in TEST_ACCOUNTS and profile.test_network
        signer: Signer = dev_wallet(name) if known else open_wallet(session.settings, name)
        confirm = None if profile.test_network or session.yes else session.confirm_on(profile)
        deployment = deploy_contracts(Sender(node, signer, profile, confirm=confirm))
    write_text(out, json.dumps(deployment.to_json(), indent=2) + "\n")
    console.note(f"next: deed network add NAME --rpc URL --deployment {out}")
    rows: list[tuple[str, object]] = [
        ("chain", f"{profile.name} (id {deployment.chain_id})"),
        ("manifest", out),
        *sorted(deployment.addresses.items()),
    ]
    return Answer({"file": out, "deployment": deployment.to_json()}, fields(rows))


@app.verb("status")
def status(session: Session) -> Answer:
    """Show the chain's head and finalized block, and that the contracts are the expected ones."""
    from ledger.chain.finality import finalized_block

    rpc = session.rpc
    head = rpc.block("latest")
    final = finalized_block(rpc, session.network.profile)
    age = max(0, int(time.time()) - head.timestamp)
    network = session.network
    rows: list[tuple[str, object]] = [
        ("network", network.name),
        ("chain", f"{network.profile.name} (id {network.deployment.chain_id})"),
        ("rpc", ", ".join(url_for_people(url) for url in network.rpc_urls)),
        ("head", f"block {head.number}, {time_text(head.timestamp)}, {age} s ago"),
        ("finalized", f"block {final.number}, {head.number - final.number} behind the head"),
        ("contracts", "their code is the manifest's"),
    ]
    if network.profile.test_network:
        rows.append(("evidence", "test network: no evidentiary value"))
    data = {
        "network": network.name,
        "chain_id": network.deployment.chain_id,
        "head": {"number": head.number, "hash": head.hash, "timestamp": head.timestamp},
        "finalized": {"number": final.number, "hash": final.hash},
        "test_network": network.profile.test_network,
    }
    return Answer(data, fields(rows))
