"""``deed broker set``: brokers of which several must release a key together."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ledger.cli.output import Answer, fields, table
from ledger.cli.receipts import receipt_data, settle
from ledger.cli.session import Session
from ledger.cli.verb import Verbs

app = Verbs("Name brokers of which several must release a key together.")

_MAX_ID = (1 << 64) - 1


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
