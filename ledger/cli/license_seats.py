"""``deed license bind``, ``release``, ``evict``, ``cancel-grants`` and ``usage``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from ledger.canonical import parse_json
from ledger.cli.license_args import License, done, license_state, sure
from ledger.cli.output import Answer, fields, time_text
from ledger.cli.quantities import moment
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.errors import UsageError
from ledger.ids import ZERO_DIGEST, Digest, LicenseId

app = Verbs()

_MAX_REQUEST = 1 << 20
_Runtime = Annotated[
    str, typer.Argument(help="Hash of the runtime's key, or its enrolment request file.")
]


@app.verb("bind", signs="holder", waits=False)
def bind(
    session: Session,
    license_: License,
    runtime: _Runtime,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="When the seat may be given up."),
    ] = None,
    measurement: Annotated[
        str | None, typer.Option("--measurement", metavar="HEX", help="20 bytes of a TEE's image.")
    ] = None,
) -> Answer:
    """Give a runtime a seat on chain, for plans that bind seats.

    Without --until the seat is held as long as the license; a short time lets you move it later.
    """
    license_id = LicenseId.parse(license_)
    license_state(session, license_id)
    key = _key(runtime)
    end = moment(until, now=int(time.time())) if until else 0
    receipt = session.licenses.bind_runtime(
        session.sender, license_id, key, end, _measurement(measurement)
    )
    return done(session, license_id, receipt, "bound", key)


@app.verb("release", signs="holder", waits=False)
def release(session: Session, license_: License, runtime: _Runtime) -> Answer:
    """Free a seat whose time is over. Anyone may."""
    license_id = LicenseId.parse(license_)
    license_state(session, license_id)
    key = _key(runtime)
    receipt = session.licenses.release_runtime(session.sender, license_id, key)
    return done(session, license_id, receipt, "released", key)


@app.verb("evict", signs="licensor", waits=False)
def evict(session: Session, license_: License, runtime: _Runtime) -> Answer:
    """Take a runtime's seat away at once, as licensor or REVOKER."""
    license_id = LicenseId.parse(license_)
    license_state(session, license_id)
    key = _key(runtime)
    receipt = session.licenses.evict_runtime(session.sender, license_id, key)
    return done(session, license_id, receipt, "evicted", key)


@app.verb("cancel-grants", signs="holder", waits=False)
def cancel_grants(session: Session, license_: License) -> Answer:
    """Make every grant you gave for your license void, whoever has it."""
    license_id = LicenseId.parse(license_)
    license_state(session, license_id)
    sure(session, f"Make all grants for license {license_id} void?")
    receipt = session.licenses.cancel_grants(session.sender, license_id)
    nonce = session.licenses.grant_nonce_of(license_id, receipt.block_number)
    return done(
        session,
        license_id,
        receipt,
        "grant nonce",
        nonce,
        notes=("next: deed runtime grant, for the runtimes that may go on",),
    )


@app.verb("usage", signs="licensor", waits=False)
def usage(
    session: Session,
    license_: License,
    anchor: Annotated[
        int | None,
        typer.Option(
            "--anchor", min=1, max=(1 << 64) - 1, metavar="UNITS", help="Units used in all."
        ),
    ] = None,
    receipts: Annotated[
        str | None,
        typer.Option("--receipts", metavar="ROOT", help="T1 root of the receipts that show it."),
    ] = None,
) -> Answer:
    """Show what a metered license has used, or anchor it, as licensor or METER."""
    license_id = LicenseId.parse(license_)
    license_state(session, license_id)
    if anchor is not None:
        root = Digest.parse(receipts) if receipts else ZERO_DIGEST
        receipt = session.licenses.anchor_usage(session.sender, license_id, anchor, root)
        return done(session, license_id, receipt, "used", anchor)
    if receipts:
        raise UsageError("--receipts goes with --anchor", hint="say how much with --anchor UNITS")
    found = session.licenses.usage_of(license_id)
    quota = session.licenses.plan_of(license_id.plan)[0].quota
    rows: list[tuple[str, object]] = [
        ("license", license_id),
        ("used", found.cumulative),
        ("quota", quota or "unmetered"),
        ("anchored", time_text(found.anchored_at)),
        ("receipts", found.receipts_root if found.anchored_at else "none"),
    ]
    return Answer({"license": license_id, "quota": quota, "usage": found}, fields(rows))


def _key(text: str) -> Digest:
    path = Path(text)
    if text.startswith("0x") or not path.exists():
        return Digest.parse(text)
    from ledger.broker.identity import EnrolmentRequest

    with path.open("rb") as handle:
        raw = handle.read(_MAX_REQUEST + 1)
    return EnrolmentRequest.from_json(
        parse_json(raw, what=path.name, limit=_MAX_REQUEST)
    ).runtime.hash()


def _measurement(text: str | None) -> bytes:
    if text is None:
        return bytes(20)
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != 20:
        raise UsageError("a measurement has 20 bytes", hint="give 0x and 40 hex digits")
    return raw
