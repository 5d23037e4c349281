"""``deed license hold`` and ``release-hold``: what brokers hold, and its licensor's way out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli.license_args import License, license_state
from ledger.cli.output import Answer, fields, table, time_text
from ledger.cli.session import Session
from ledger.cli.settings import checked_url, write_text
from ledger.cli.verb import Verbs
from ledger.errors import KeyRequestRejected, UnknownRecord, UsageError
from ledger.ids import LicenseId

if TYPE_CHECKING:
    from ledger.broker.client import BrokerClient
    from ledger.broker.hold_client import HeldLicense
    from ledger.broker.hold_release import HoldRelease

app = Verbs()

_Url = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help="One broker; by default all of the plan's, by their URLs."
    ),
]


@app.verb("hold")
def hold(session: Session, license_: License, *, url: _Url = None) -> Answer:
    """Ask the brokers of a license whether they hold it. Exit code 1 when none does."""
    license_id = LicenseId.parse(license_)
    said = [
        (client.host, broker_id, found)
        for client, broker_id, found in _asked(session, license_id, url)
    ]
    rows = [
        (
            str(broker),
            host,
            found.rule if found else "not held",
            time_text(found.since) if found else "",
        )
        for host, broker, found in said
    ]
    data = {
        "license": license_id,
        "brokers": [
            {"broker": broker, "host": host, "hold": None if found is None else found.to_json()}
            for host, broker, found in said
        ],
    }
    held = any(found is not None for _, _, found in said)
    return Answer(
        data, table(("broker", "host", "hold", "since"), rows, empty="no broker"), ok=held
    )


@app.verb("release-hold", signs="licensor", waits=False)
def release_hold(
    session: Session,
    license_: License,
    *,
    url: _Url = None,
    typed_data: Annotated[
        Path | None,
        typer.Option(
            "--typed-data", metavar="OUT", help="Sign elsewhere: write the message there."
        ),
    ] = None,
    licensor: Annotated[
        str | None,
        typer.Option(
            "--licensor", metavar="ADDRESS", help="With --typed-data: the wallet's address."
        ),
    ] = None,
    signature_file: Annotated[
        Path | None,
        typer.Option(
            "--signature-file", metavar="FILE", help="That file, its signature filled in."
        ),
    ] = None,
) -> Answer:
    """End the hold that brokers have on a license; its licensor signs.

    No transaction is sent. A contract wallet signs elsewhere: --typed-data, then --signature-file.
    """
    license_id = LicenseId.parse(license_)
    if typed_data is not None and signature_file is not None:
        raise UsageError("--typed-data and --signature-file are two steps", hint="name one")
    if (licensor is None) != (typed_data is None):
        raise UsageError("--typed-data and --licensor belong together", hint="give both")
    if typed_data is not None:
        return _to_sign(session, license_id, url, typed_data, str(licensor))
    if signature_file is not None:
        return _from_elsewhere(session, license_id, url, signature_file)
    from ledger.broker import hold_client

    released: list[dict[str, Any]] = []
    for client, broker_id, found in _asked(session, license_id, url):
        if found is not None:
            _, reply = hold_client.release_hold(client, license_id, session.signer)
            released.append(_told(broker_id, client, reply))
    return _released(license_id, released)


def _told(broker_id: int, client: BrokerClient, reply: dict[str, Any]) -> dict[str, Any]:
    return {"broker": broker_id, "host": client.host, "receipt": reply["receipt"]["sequence"]}


def _released(license_id: LicenseId, released: list[dict[str, Any]]) -> Answer:
    if not released:
        raise UsageError(
            f"no broker that was asked holds license {license_id}",
            hint=f"deed license hold {license_id} shows whom was asked",
        )
    rows = [
        (f"broker {each['broker']}", f"released, receipt {each['receipt']}") for each in released
    ]
    return Answer(
        {"license": license_id, "released": released}, fields([("license", license_id), *rows])
    )


# -- the brokers -----------------------------------------------------------------------------------


def _asked(
    session: Session, license_id: LicenseId, url: str | None
) -> Iterator[tuple[BrokerClient, int, HeldLicense | None]]:
    """Each broker of the license, believed by its keys on chain, and the hold it tells of."""
    from ledger.broker import hold_client

    for broker_id, where in _places(session, license_id, url):
        with _client(session, where, broker_id) as client:
            yield client, client.facts().identity.id, hold_client.held(client, license_id)


def _places(
    session: Session, license_id: LicenseId, url: str | None
) -> list[tuple[int | None, str]]:
    license_state(session, license_id)  # before any broker is asked: is there such a license
    set_id = session.licenses.plan_of(license_id.plan)[0].broker_set
    if not set_id:
        raise UnknownRecord(
            f"plan {license_id.plan} names no brokers", hint="nobody releases keys for it"
        )
    if url is not None:
        return [(None, checked_url(url, what="a broker"))]
    places: list[tuple[int | None, str]] = []
    for broker_id in session.brokers.broker_set_of(set_id).broker_ids:
        found = session.brokers.url_of(broker_id, from_block=session.network.deployment.block)
        if found is None:
            raise UnknownRecord(
                f"the URL of broker {broker_id} is not on the chain", hint="name it with --url"
            )
        places.append((broker_id, found))
    return places


@contextmanager
def _client(session: Session, url: str, broker_id: int | None) -> Iterator[BrokerClient]:
    from ledger.broker.client import BrokerClient, BrokerPin

    with BrokerClient(url) as client:
        named = broker_id or client.facts().identity.id
        record = session.brokers.broker_of(named)
        client.pin(BrokerPin(named, record.signing_key_hash, record.kem_key_hash))
        session.check_place(
            client.facts().identity.chain_id, client.facts().identity.ledger, what="this broker"
        )
        yield client


# -- wallets that sign elsewhere -------------------------------------------------------------------


def _to_sign(
    session: Session, license_id: LicenseId, url: str | None, dest: Path, licensor: str
) -> Answer:
    from ledger.broker import hold_client
    from ledger.broker.hold_release import MAX_LIFETIME, to_sign
    from ledger.cli.accounts import account

    if dest.exists():
        raise UsageError(f"{dest} exists", hint="move it away, or name another file")
    who = account(session, licensor)
    for client, broker_id, found in _asked(session, license_id, url):
        if found is None:
            continue
        unsigned = hold_client.draft(client, license_id, who, lifetime=MAX_LIFETIME)
        document = to_sign(unsigned, client.facts().identity.domain)
        write_text(dest, json.dumps(document, indent=2) + "\n")
        return Answer(
            {"to_sign": dest, "license": license_id, "broker": broker_id, "licensor": who},
            fields([("to sign", dest), ("license", license_id), ("licensor", who)]),
            notes=(
                "sign typed_data with the licensor's wallet, and put the 0x text into signature",
                f"next: deed license release-hold {license_id} --signature-file {dest}",
            ),
        )
    return _released(license_id, [])


def _from_elsewhere(session: Session, license_id: LicenseId, url: str | None, file: Path) -> Answer:
    from ledger.broker import hold_client
    from ledger.broker.hold_release import signed_elsewhere
    from ledger.canonical import parse_json

    try:
        raw = file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    release: HoldRelease = signed_elsewhere(parse_json(raw, what=str(file)))
    for client, broker_id, _ in _asked(session, license_id, url):
        if client.facts().identity.audience == release.audience:
            return _released(
                license_id, [_told(broker_id, client, hold_client.send(client, release))]
            )
    raise KeyRequestRejected(
        f"{file} is for a broker that license {license_id} does not have", check=1
    )
