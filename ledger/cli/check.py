"""``deed check``: may this runtime open it, and if not, why."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ledger.cli.output import Answer, steps
from ledger.cli.session import Session
from ledger.cli.verb import Verbs

app = Verbs()


@app.verb("check")
def check(
    session: Session,
    file: Annotated[str, typer.Argument(help="A license card (path or URL), or a sealed file.")],
    *,
    license_: Annotated[
        str | None,
        typer.Option("--license", metavar="LICENSE", help="Which one, if several cards fit."),
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option("--broker", metavar="URL", help="Ask here instead of where the card says."),
    ] = None,
    attester: Annotated[
        str | None,
        typer.Option("--attester", metavar="PROGRAM", help="Gets attestation tokens on this host."),
    ] = None,
) -> Answer:
    """Say whether this runtime would get the key now, step by step; exit code 1 when it would not.

    Nothing is released and no seat is taken. A refusal says which rule, since when, and who can
    change it. Of a card with several brokers it also says which of them answer.
    """
    import shlex

    from ledger import runtime
    from ledger.broker.attesters import program

    decision = runtime.check(
        file,
        license=license_,
        runtime=session.settings.runtime_key,
        broker=broker or session.settings.get("broker"),
        attest=None if attester is None else program(shlex.split(attester)),
    )
    denial = decision.denial
    if denial is not None and denial.retry_after is not None:
        raise denial.error()
    text = steps(decision.checks, what="step", empty="the broker showed no steps")
    data: dict[str, Any] = {
        "granted": decision.granted,
        "checks": [c.to_json() for c in decision.checks],
    }
    if (standing := decision.standing) is not None:
        data["brokers"] = standing.to_json()
        text += f"\n\n{'warning: ' if standing.strained else ''}{standing.text()}"
    if denial is None:
        return Answer(data, f"yes\n\n{text}", ok=decision.granted)
    data["denial"] = {
        "code": denial.code,
        "number": denial.number,
        "message": denial.message,
        "since": denial.since,
        "remedy": denial.remedy,
    }
    remedy = f"\n{denial.remedy}" if denial.remedy else ""
    return Answer(data, f"no: {denial.message}{remedy}\n\n{text}", ok=False)
