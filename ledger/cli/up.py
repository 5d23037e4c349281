"""``deed up``: the whole stack in this folder, until Ctrl-C."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.output import Answer, console, fields
from ledger.cli.signals import ended_like_interrupts
from ledger.cli.verb import Verbs

app = Verbs()


@app.verb("up")
def up(
    *,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Forget the chain, index and broker of this folder first."),
    ] = False,
    folder: Annotated[
        Path, typer.Option("--folder", metavar="DIR", help="Where .deed/ is kept.")
    ] = Path(),
) -> None:
    """Run a local chain, contracts, index, API and broker in this folder, until Ctrl-C.

    Everything is kept in .deed/ and resumed by the next deed up. Commands in this folder and below
    use it, with the named test accounts licensor, holder and broker.

    A clean stop (Ctrl-C, SIGTERM, a closed terminal) loses nothing. A hard kill (kill -9, a power
    cut) may lose what is not final yet, done or not: commands with --wait wait for finality.
    """
    with ended_like_interrupts():
        ended = _run(folder, fresh=fresh)
    console.note(f"stopped by {ended.name}")


def _run(folder: Path, *, fresh: bool) -> signal.Signals:
    from ledger.stack import Stack

    stack = Stack.start(folder, fresh=fresh, say=console.note)
    try:
        network = stack.network
        console.answer(
            Answer(
                {
                    "chain": network.rpc_urls[0],
                    "chain_id": network.deployment.chain_id,
                    "api": network.api_url,
                    "broker": network.broker_url,
                    "contracts": network.deployment.addresses,
                    "accounts": stack.accounts,
                    "folder": stack.folder,
                },
                fields(
                    [
                        (
                            "chain",
                            f"{network.rpc_urls[0]}  (chain id {network.deployment.chain_id})",
                        ),
                        (
                            "api",
                            f"{network.api_url}  (described at {network.api_url}/v1/openapi.json)",
                        ),
                        ("broker", network.broker_url),
                        *((name, str(a)) for name, a in network.deployment.addresses.items()),
                        *((name, str(a)) for name, a in stack.accounts.items()),
                        ("state", stack.folder),
                    ]
                ),
            )
        )
        console.note("ready; Ctrl-C stops everything, deed up resumes it")
        return stack.wait()
    finally:
        stack.stop()
