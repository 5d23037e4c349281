"""``deed chain``: deploy the contracts, look at a chain."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.output import Answer, console, fields, table, time_text
from ledger.cli.session import TEST_ACCOUNTS, Session, open_wallet
from ledger.cli.settings import checked_url, url_for_people, write_text
from ledger.cli.verb import Verbs
from ledger.errors import NoWallet, UsageError
from ledger.evidence.origin import DEPLOYED

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
    """Deploy the eight contracts and write their manifest: addresses, code hashes, genesis.

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
    """Show the chain's head and finalized block, and check the code of each contract.

    Exit code 1 when one of them is not what the network's manifest says. "This release" tells
    which stand where this release would put them, with its code.
    """
    from ledger.chain.finality import finalized_block
    from ledger.evidence.releases import shipped_code

    network = session.network
    deployment = network.deployment
    with network.open_rpc() as rpc:
        deployment.verify_chain(rpc)
        head = rpc.block("latest")
        final = finalized_block(rpc, network.profile)
        checks = sorted(deployment.check_codes(rpc), key=lambda check: check.name)
    age = max(0, int(time.time()) - head.timestamp)
    ours = {
        check.name: check.name in DEPLOYED and check.address == shipped_code(check.name).address
        for check in checks
    }
    rows: list[tuple[str, object]] = [
        ("network", network.name),
        ("chain", f"{network.profile.name} (id {deployment.chain_id})"),
        ("rpc", ", ".join(url_for_people(url) for url in network.rpc_urls)),
        ("head", f"block {head.number}, {time_text(head.timestamp)}, {age} s ago"),
        ("finalized", f"block {final.number}, {head.number - final.number} behind the head"),
    ]
    if network.profile.test_network:
        rows.append(("evidence", "test network: no evidentiary value"))
    listed = table(
        ("contract", "address", "code", "this release"),
        [
            (
                check.name,
                check.address,
                "as the manifest says"
                if check.holds
                else ("missing" if check.found is None else "other code"),
                ours[check.name],
            )
            for check in checks
        ],
        empty="no contracts",
    )
    data = {
        "network": network.name,
        "chain_id": deployment.chain_id,
        "head": {"number": head.number, "hash": head.hash, "timestamp": head.timestamp},
        "finalized": {"number": final.number, "hash": final.hash},
        "test_network": network.profile.test_network,
        "contracts": [
            {
                "name": check.name,
                "address": check.address,
                "code_hash": check.expected,
                "found": check.found,
                "ok": check.holds,
                "this_release": ours[check.name],
            }
            for check in checks
        ],
    }
    return Answer(data, f"{fields(rows)}\n\n{listed}", ok=all(check.holds for check in checks))
