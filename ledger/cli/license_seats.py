"""``deed license bind``, ``release``, ``evict``, ``cancel-grants`` and ``usage``."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path
from typing import Annotated

import typer

from ledger.canonical import parse_json
from ledger.cli.license_args import License, done, license_state, sure
from ledger.cli.output import Answer, fields, time_text
from ledger.cli.quantities import measurement_bytes, moment
from ledger.cli.session import Session
from ledger.cli.settings import write_text
from ledger.cli.verb import Verbs
from ledger.errors import UsageError
from ledger.ids import ZERO_DIGEST, Digest, LicenseId
from ledger.licensing import binding as bindings
from ledger.licensing.binding import SignedBinding

app = Verbs()

_MAX_REQUEST = 1 << 20
_Runtime = Annotated[
    str, typer.Argument(help="Hash of the runtime's key, or its enrolment request file.")
]


@app.verb("bind", signs="holder", waits=False)
def bind(
    session: Session,
    *,
    license_: License,
    runtime: _Runtime,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="When the seat may be given up."),
    ] = None,
    measurement: Annotated[
        str | None, typer.Option("--measurement", metavar="HEX", help="20 bytes of a TEE's image.")
    ] = None,
    sign: Annotated[
        Path | None,
        typer.Option("--sign", metavar="OUT", help="Only sign, for someone else to send."),
    ] = None,
    deadline: Annotated[
        str, typer.Option("--deadline", metavar="TIME", help="With --sign: until when to send it.")
    ] = "+7d",
) -> Answer:
    """Give a runtime a seat on chain, for plans that bind seats.

    Without --until the seat is held as long as the license; a short time lets you move it later.
    With --sign you need no coins: whoever has the file pays for sending it.
    """
    license_id = LicenseId.parse(license_)
    state = license_state(session, license_id)
    key = _key(runtime)
    now = int(time.time())
    end = moment(until, now=now) if until else 0
    measured = measurement_bytes(measurement)
    if sign is None:
        receipt = session.licenses.bind_runtime(session.sender, license_id, key, end, measured)
        return done(session, license_id, receipt, "bound", key)
    if sign.exists():
        raise UsageError(f"{sign} exists", hint="choose another name for the signed binding")
    last = moment(deadline, now=now)
    if last <= now:
        raise UsageError("the deadline has passed", hint="give a later --deadline, such as +7d")
    if session.signer.address != state.holder:
        from ledger.chain.reverts import LicenseNotHolder

        raise LicenseNotHolder.of(
            int(license_id).to_bytes(32, "big") + session.signer.address.raw.rjust(32, b"\0")
        )
    asked = session.licenses.binding(
        license_id,
        key,
        nonce=secrets.randbits(256),
        deadline=last,
        until=end,
        measurement=measured,
    )
    place = (session.network.deployment.chain_id, session.licenses.address)
    made = SignedBinding(
        *place, asked, asked.sign(session.signer, chain_id=place[0], ledger=place[1])
    )
    write_text(sign, json.dumps(made.to_json(), indent=2) + "\n", private=True)
    return Answer(
        {"license": license_id, "runtime_key": key, "file": sign, "deadline": last},
        fields(
            [
                ("license", license_id),
                ("runtime", key),
                ("send until", time_text(last)),
                ("file", sign),
            ]
        ),
        notes=(f"next: whoever pays for it runs deed license bind-signed {sign.name}",),
    )


@app.verb("bind-signed", signs="operator", waits=False)
def bind_signed(
    session: Session,
    file: Annotated[Path, typer.Argument(help="What deed license bind --sign wrote.")],
) -> Answer:
    """Send a holder's signed binding. You pay the fee and get nothing by it."""
    with file.open("rb") as handle:
        signed = bindings.parse(handle.read(bindings.MAX_BYTES + 1))
    session.check_place(signed.chain_id, signed.ledger, what="the binding")
    asked = signed.binding
    holder = license_state(session, asked.license).holder
    if not session.rpc.code(holder):  # a contract is asked by the ledger
        signed.verify(holder)
    receipt = session.licenses.bind_runtime_by_sig(session.sender, asked, signed.signature)
    return done(session, asked.license, receipt, "bound", asked.runtime_key)


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
    from ledger.broker.enrolment import EnrolmentRequest

    with path.open("rb") as handle:
        raw = handle.read(_MAX_REQUEST + 1)
    return EnrolmentRequest.from_json(
        parse_json(raw, what=path.name, limit=_MAX_REQUEST)
    ).runtime.hash()
