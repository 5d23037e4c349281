"""``deed broker answer``, ``trust-attester`` and ``evidence``: by file, attested."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.kinds import require_kind
from ledger.cli.output import Answer, fields
from ledger.cli.session import Session, passphrase
from ledger.cli.verb import Verbs
from ledger.errors import ConfigurationError

if TYPE_CHECKING:
    from ledger.broker.admitting import Admitted


def add(app: Verbs) -> None:
    """Register them with their group."""
    app.verb("answer", waits=False)(answer)
    app.verb("trust-attester")(trust_attester)
    app.verb("evidence")(evidence)


def answer(
    session: Session,
    request: Annotated[Path, typer.Argument(help="From deed runtime request.")],
    *,
    home: Annotated[
        Path, typer.Option("--home", metavar="DIR", help="Where its keys and database live.")
    ] = Path("broker"),
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write here, not on stdout.")
    ] = None,
) -> Answer:
    """Decide on a request that came as a file, and write the answer to carry back.

    The same ten steps and receipts as over the network. Each request is decided once, and a release
    that was lost is written again. A refusal is an answer too (exit code 1), and one that may
    change leaves the request open.
    """
    from ledger.broker import carrying
    from ledger.broker.setup import open_service
    from ledger.cli.runtime_carried import carried, read_json, require_free

    if out is not None:
        require_free(out)
    document = require_kind(read_json(request), request, "modeldeed/offline-request")
    secret = passphrase(
        session.settings, f"Passphrase of the broker in {home}", name="broker_passphrase_file"
    )
    network = session.network
    service = open_service(
        home,
        secret,
        rpc_urls=network.rpc_urls,
        deployment=network.deployment,
        profile=network.profile,
    )
    try:
        reply = carrying.answer(service, document)
    finally:
        service.close()
    granted = reply.reply["granted"] is True
    if granted:
        then = "next: on the host, deed runtime accept-release RESPONSE"
    else:
        denial = reply.reply["denial"]
        then = f"refused at step {denial['check']}: {denial['message']}. {denial['remedy']}"
    return carried(reply.to_json(), out, note=then, ok=granted)


def trust_attester(
    key: Annotated[Path, typer.Argument(metavar="PEM", help="Its public key, Ed25519 or P-256.")],
    *,
    issuer: Annotated[
        str, typer.Option("--issuer", metavar="TEXT", help="As its tokens name it (iss).")
    ],
    home: Annotated[
        Path, typer.Option("--home", metavar="DIR", help="Where the broker's keys live.")
    ] = Path("broker"),
    kid: Annotated[
        str | None, typer.Option("--kid", metavar="TEXT", help="Only tokens that name this key.")
    ] = None,
    report_data: Annotated[
        str | None,
        typer.Option("--report-data", metavar="PATH", help="Where the report data stands."),
    ] = None,
    measured: Annotated[
        list[str] | None,
        typer.Option("--measured", metavar="PATH", help="A claim to measure; may be repeated."),
    ] = None,
    max_age: Annotated[
        int, typer.Option("--max-age", min=1, max=86400, help="Seconds that a token is fresh.")
    ] = 300,
) -> Answer:
    """Believe an attestation service's tokens about hardware (evidence class tee).

    Paths start below submods, as cpu0/ear.veraison.annotated-evidence/measurement. Counts from the
    broker's next start.
    """
    from dataclasses import replace

    from ledger.broker.admitting import Admitted
    from ledger.broker.attestation import REPORT_DATA_PATH, Attester
    from ledger.cli.runtime_carried import read_bytes

    _require_home(home)
    made = Attester.from_pem(
        read_bytes(key),
        issuer=issuer,
        kid=kid,
        report_data=report_data or REPORT_DATA_PATH,
        measured=tuple(sorted(set(measured or ()))),
        max_age=max_age,
    )
    admitted = Admitted.load(home)
    others = tuple(a for a in admitted.attesters if (a.issuer, a.kid) != (issuer, kid))
    admitted = replace(admitted, attesters=(*others, made))
    admitted.save(home)
    return _admitted(admitted)


def evidence(
    *,
    home: Annotated[
        Path, typer.Option("--home", metavar="DIR", help="Where the broker's keys live.")
    ] = Path("broker"),
    software: Annotated[
        bool | None,
        typer.Option("--software/--no-software", help="Admit runtimes that prove nothing."),
    ] = None,
) -> Answer:
    """Show which evidence the broker admits, or forbid class software for every plan."""
    from dataclasses import replace

    from ledger.broker.admitting import Admitted

    _require_home(home)
    admitted = Admitted.load(home)
    if software is not None:
        admitted = replace(admitted, software=software)
        admitted.save(home)
    return _admitted(admitted)


def _admitted(admitted: Admitted) -> Answer:
    rows: list[tuple[str, object]] = [("software", "yes" if admitted.software else "no")]
    rows += [
        ("attester", f"{a.issuer} ({a.alg}, key {a.kid or 'of any name'})")
        for a in admitted.attesters
    ]
    return Answer(
        admitted.to_json(), fields(rows), notes=("this counts from the broker's next start",)
    )


def _require_home(home: Path) -> None:
    from ledger.broker.home import KEYS_FILE

    if not (home / KEYS_FILE).exists():
        raise ConfigurationError(f"{home} holds no broker", hint="make one: deed broker init")
