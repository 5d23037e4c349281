"""``deed broker set``: brokers of which several must release a key together."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.cli.kinds import require_recovery
from ledger.cli.output import Answer, fields, table
from ledger.cli.receipts import receipt_data, settle
from ledger.cli.session import Session, passphrase
from ledger.cli.verb import Verbs
from ledger.errors import UsageError

app = Verbs("Name brokers of which several must release a key together.")

_MAX_ID = (1 << 64) - 1
_MAX_TERMS = 1 << 20


@app.verb("create", signs="broker", waits=False)
def create(
    session: Session,
    *,
    brokers: Annotated[
        list[int], typer.Argument(metavar="BROKER...", help="Numbers of registered brokers.")
    ],
    threshold: Annotated[
        int,
        typer.Option("--threshold", min=1, max=64, help="How many of them must release."),
    ] = 1,
) -> Answer:
    """Create a set of brokers on chain; the same set again is found and not made twice.

    Above a threshold of 1 each broker gets a share of a model's key, and a plan with this set
    needs bound seats. A set never changes.
    """
    from ledger.broker.setup import create_broker_set

    set_id, receipt = create_broker_set(session.brokers, lambda: session.sender, brokers, threshold)
    members = sorted(brokers)
    final = receipt is None or settle(session, receipt)
    data: dict[str, Any] = {
        "set": set_id,
        "threshold": threshold,
        "brokers": members,
        "created": receipt is not None,
        "final": final,
    }
    if receipt is not None:
        data |= receipt_data(receipt, final=final)
    rows: list[tuple[str, object]] = [
        ("broker set", set_id if receipt is not None else f"{set_id}, there already"),
        ("brokers", ", ".join(map(str, members))),
        ("must release", f"{threshold} of {len(members)}"),
    ]
    bound = " --bound" if threshold > 1 else ""
    return Answer(
        data,
        fields(rows),
        notes=(f"next: deed publish MODEL --terms FILE --broker-set {set_id}{bound}",),
    )


@app.verb("deposit", signs="licensor", waits=False)
def deposit(
    session: Session,
    *,
    number: Annotated[int, typer.Argument(metavar="SET", min=1, max=_MAX_ID)],
    files: Annotated[
        list[Path], typer.Argument(help="A recovery file, or as many share files as it takes.")
    ],
    terms: Annotated[
        Path | None,
        typer.Option("--terms", metavar="FILE", help="Terms for the brokers to keep a copy of."),
    ] = None,
) -> Answer:
    """Share a sealing's key anew among all brokers of a set, which all have to answer.

    After one of them was lost or restored, or when a deposit was interrupted; also to give the key
    to another set, for a new plan. What they held of an earlier sharing is replaced.
    """
    from ledger.broker.depositing import SharingBrokers
    from ledger.broker.restoring import read_recovery, sealing_of
    from ledger.licensing.terms import parse

    require_recovery(files)
    documents = []
    if terms is not None:
        with terms.open("rb") as handle:
            documents.append(parse(handle.read(_MAX_TERMS)).document)
    deployment = session.network.deployment
    brokers = SharingBrokers.of(session.rpc, deployment, number)
    if brokers is None or brokers.threshold == 1:
        if brokers is not None:
            brokers.close()
        raise UsageError(
            f"one broker of set {number} suffices: nothing is shared among them",
            hint="deed broker restore deposits a key at a single broker",
        )
    with contextlib.closing(brokers):
        recovery = read_recovery(
            files, lambda path: passphrase(session.settings, f"Passphrase of {path.name}")
        )
        record = sealing_of(recovery, deployment)
        brokers.require_registered(session.rpc, deployment)
        done = brokers.deposit(
            record,
            recovery.content_key,
            session.signer,
            session.licenses.domain(),
            terms=documents,
            cells=recovery.cells,
        )
    count = len(brokers.clients)
    return Answer(
        {"set": number, "sealing": record.hash(), **done},
        fields(
            [
                ("broker set", number),
                ("sealing", record.hash()),
                ("shares", f"{count}, of which {brokers.threshold} must be released"),
            ]
        ),
    )


@app.verb("show")
def show(
    session: Session,
    *,
    number: Annotated[int, typer.Argument(metavar="SET", min=1, max=_MAX_ID)],
) -> Answer:
    """Show a set's brokers, their keys and URLs as the chain has them."""
    found = session.brokers.broker_set_of(number)
    start = session.network.deployment.block
    members = [
        {
            "broker": broker_id,
            "url": session.brokers.url_of(broker_id, from_block=start),
            "record": session.brokers.broker_of(broker_id),
        }
        for broker_id in found.broker_ids
    ]
    listed = table(
        ("share", "broker", "url"),
        [(str(n), str(m["broker"]), str(m["url"] or "none")) for n, m in enumerate(members, 1)],
        empty="no brokers",
    )
    told = fields(
        [
            ("broker set", number),
            ("must release", f"{found.threshold} of {len(members)}"),
            ("made by", found.owner),
        ]
    )
    return Answer(
        {"set": number, "threshold": found.threshold, "owner": found.owner, "members": members},
        f"{told}\n\n{listed}",
    )
