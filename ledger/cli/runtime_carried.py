"""``deed runtime request`` and ``accept-release``: a key by file, where there is no network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.canonical import parse_json
from ledger.cli import settings
from ledger.cli.kinds import require_kind
from ledger.cli.output import Answer, fields, time_text
from ledger.cli.settings import write_text
from ledger.cli.verb import Verbs
from ledger.errors import UsageError
from ledger.paths import require_file_name

MAX_FILE = 1 << 20


def add(app: Verbs) -> None:
    """Register both with their group."""
    app.verb("request")(request)
    app.verb("accept-release")(accept_release)


def request(
    card: Annotated[Path, typer.Argument(metavar="CARD", help="The license card.")],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write here, not on stdout.")
    ] = None,
    broker: Annotated[
        int | None,
        typer.Option(
            "--broker", metavar="ID", help="Which broker of the card; its first, if one is enough."
        ),
    ] = None,
    attester: Annotated[
        str | None,
        typer.Option("--attester", metavar="PROGRAM", help="Gets attestation tokens on this host."),
    ] = None,
) -> Answer:
    """Ask for a key by file, where there is no network; carry it to the broker's operator.

    The key that will open the answer stays beside this machine's key, until the answer is accepted.
    Answered within 72 hours, once.
    """
    import shlex

    from ledger.broker.attesters import program
    from ledger.broker.carrying import make_request
    from ledger.broker.identity import RuntimeIdentity
    from ledger.licensing.card import MAX_BYTES, parse

    if out is not None:
        require_free(out)
    with require_file_name(card, what="the license card").open("rb") as handle:
        raw = handle.read(MAX_BYTES + 1)
    require_kind(parse_json(raw, what=str(card), limit=MAX_BYTES), card, "modeldeed/license-card")
    asked = parse(raw)
    asked.verify()
    identity = RuntimeIdentity.load(settings.load().runtime_key)
    attest = None if attester is None else program(shlex.split(attester))
    document = make_request(asked, identity, broker=broker, attest=attest).to_json()
    return carried(
        document,
        out,
        note="next: the broker's operator runs deed broker answer REQUEST > response.json",
    )


def accept_release(
    file: Annotated[Path, typer.Argument(metavar="RESPONSE", help="The broker's answer.")],
) -> Answer:
    """Check a broker's answer to this machine's request, and keep the release, sealed."""
    from ledger.broker import carrying
    from ledger.broker.identity import RuntimeIdentity

    identity = RuntimeIdentity.load(settings.load().runtime_key)
    accepted = carrying.accept_release(
        identity, require_kind(read_json(file), file, "modeldeed/offline-response")
    )
    shares: list[tuple[str, object]] = []
    if accepted.needed > 1:
        shares = [("shares", f"{accepted.kept} kept, {accepted.needed} needed")]
    lease, missing = accepted.lease, max(0, accepted.needed - accepted.kept)
    return Answer(
        {
            "license": lease.license,
            "model": lease.model,
            "not_after": lease.not_after,
            "grace_until": lease.grace_until,
            "kept": accepted.kept,
            "needed": accepted.needed,
        },
        fields(
            [
                ("license", lease.license),
                ("model", lease.model),
                ("until", time_text(lease.not_after)),
                ("grace until", time_text(lease.grace_until)),
                *shares,
            ]
        ),
        notes=(
            f"next: accept {missing} more, of other brokers"
            if missing
            else "next: ledger.load(CARD, offline=True) in Python",
        ),
    )


def carried(document: dict[str, Any], out: Path | None, *, note: str, ok: bool = True) -> Answer:
    """A document to carry, on stdout or in a file."""
    text = json.dumps(document, indent=2)
    if out is None:
        return Answer(document, text, ok=ok, notes=(note,))
    write_text(out, text + "\n")
    return Answer({"file": out}, fields([("file", out)]), ok=ok, notes=(note,))


def require_free(out: Path) -> None:
    """Refuse to write over a file.

    Raises:
        UsageError: it is there.
    """
    if require_file_name(out).exists():
        raise UsageError(f"{out} exists", hint="move it away, or choose another with --out")


def read_bytes(path: Path) -> bytes:
    """A file's bytes, as far as a file of ours can go."""
    with require_file_name(path).open("rb") as handle:
        return handle.read(MAX_FILE + 1)


def read_json(path: Path) -> Any:
    """A JSON file of ours, read strictly."""
    return parse_json(read_bytes(path), what=str(path), limit=MAX_FILE)
