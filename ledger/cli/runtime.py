"""``deed runtime``: a machine that runs models, its key and the grants given to it.

No wallet, coins or RPC endpoint are needed on that machine: a request file goes to the license's
holder, a grant file comes back.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.canonical import parse_json
from ledger.cli import runtime_carried, runtime_fleet, settings
from ledger.cli.kinds import require_kind
from ledger.cli.license_args import no_license
from ledger.cli.output import Answer, console, fields, table, time_text
from ledger.cli.quantities import feature_bits, measurement_bytes, moment
from ledger.cli.runtime_enrolment import REQUEST, algorithm, enrol
from ledger.cli.runtime_signing import require_same, to_sign, wallet_of
from ledger.cli.session import Session
from ledger.cli.settings import write_text
from ledger.cli.verb import Verbs
from ledger.errors import NoLicense, UsageError, WrongHolder
from ledger.ids import ZERO_ADDRESS, LicenseId
from ledger.paths import require_file_name

if TYPE_CHECKING:
    from ledger.chain.licenses import PlanTerms
    from ledger.ids import Address
    from ledger.licensing.card import BrokerSet

app = Verbs("Enrol a machine that runs models.")
app.add_typer(runtime_fleet.app, name="fleet", help=runtime_fleet.app.info.help)

_MAX_FILE = 1 << 20


@app.verb("init")
def init(
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The request file to write.")
    ] = REQUEST,
    name: Annotated[
        str | None, typer.Option("--name", metavar="TEXT", help="For people; this host's name.")
    ] = None,
    territory: Annotated[
        str | None, typer.Option("--territory", metavar="CC", help="Country it runs in, as DE.")
    ] = None,
    purpose: Annotated[
        str | None, typer.Option("--purpose", metavar="WORD", help="Such as research.")
    ] = None,
    field: Annotated[
        str | None, typer.Option("--field", metavar="WORD", help="Field of use, as radiology.")
    ] = None,
    alg: Annotated[
        str | None, typer.Option("--alg", metavar="NAME", help="ed25519 (default) or p256.")
    ] = None,
    signer: Annotated[
        str | None,
        typer.Option("--signer", metavar="PLUGIN", help="Keep the key there (TPM, PKCS#11)."),
    ] = None,
    signer_option: Annotated[
        list[str] | None,
        typer.Option("--signer-option", metavar="NAME=TEXT", help="For the plug-in; no secret."),
    ] = None,
) -> Answer:
    """Make this machine's key (once) and a request file for the license's holder.

    What is declared here, every key request of this machine declares, and its signature covers;
    terms that restrict territory, purpose or field refuse a machine that declares none.
    """
    declared = {"territory": territory, "purpose": purpose, "field": field}
    use = {key: value for key, value in declared.items() if value is not None}
    path, request = enrol(
        settings.load(),
        out,
        name=name,
        use=use,
        alg=None if alg is None else algorithm(alg),
        signer=signer,
        options=_pairs(signer_option or []),
    )
    from ledger.broker.identity import RuntimeIdentity

    identity = RuntimeIdentity.load(path)
    return Answer(
        {"key_file": path, "runtime_key": identity.key_hash, "request": request},
        fields(
            [
                ("key file", path),
                ("runtime key", identity.key_hash),
                ("request", request),
            ]
        ),
        notes=(f"next: the holder runs deed runtime grant {request} --license ID",),
    )


@app.verb("grant", signs="holder", waits=False)
def grant(
    session: Session,
    request: Annotated[Path, typer.Argument(help="The runtime's request file.")],
    *,
    license_: Annotated[
        str, typer.Option("--license", metavar="LICENSE", help="PLAN.SERIAL, such as 7.1.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The grant file to write.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="End; the license's own end counts anyway."),
    ] = None,
    terms: Annotated[
        Path | None,
        typer.Option("--terms", metavar="FILE", help="Compare these terms with those accepted."),
    ] = None,
    measurement: Annotated[
        str | None,
        typer.Option(
            "--measurement", metavar="HEX", help="20 bytes that a TEE's evidence must show."
        ),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option("--features", metavar="BITS", help="Features of the plan it may use, as 0x5."),
    ] = None,
    typed_data: Annotated[
        Path | None,
        typer.Option(
            "--typed-data", metavar="FILE", help="Write what is to be signed elsewhere, and stop."
        ),
    ] = None,
    signature_file: Annotated[
        Path | None,
        typer.Option(
            "--signature-file", metavar="FILE", help="That file, with its signatures filled in."
        ),
    ] = None,
) -> Answer:
    """Let a runtime use your license, and accept its terms. Costs nothing: nothing is sent.

    The runtime opens cards of this license only when they name the model, its licensor and the
    brokers that the chain shows now; when those change, grant again.

    A contract wallet (ERC-1271, or ERC-6492 before it is deployed) signs elsewhere: --typed-data
    writes the three messages, and --signature-file takes them back, signed, and asks the wallet.

    deed license show tells what you hold; deed inspect CARD shows the terms you accept by this.
    """
    from ledger.broker.enrolment import EnrolmentRequest, GrantFile, grant_runtime
    from ledger.broker.grant_signing import Drafter, signed_grant
    from ledger.licensing.entitlement import PERPETUAL
    from ledger.licensing.terms import parse

    require_file_name(request, what="the request file that deed runtime init wrote")
    dest = out or request.with_name(request.name.partition(".")[0] + ".grant.json")
    if dest.exists():
        raise UsageError(f"{dest} exists", hint="move it away, or choose another with --out")
    asked = EnrolmentRequest.from_json(
        _json(request, "modeldeed/runtime-request", "modeldeed/fleet-request")
    )
    license_id = LicenseId.parse(license_)
    measured = measurement_bytes(measurement)
    bits = 0 if features is None else feature_bits(features)
    state = session.licenses.license_of(license_id)
    if state.holder == ZERO_ADDRESS:
        raise no_license(session, license_id)
    if typed_data is not None and signature_file is not None:
        raise UsageError(
            "--typed-data writes and --signature-file reads", hint="first the one, then the other"
        )
    drafter = None if typed_data is None and signature_file is None else Drafter(state.holder)
    signer = drafter or session.signer
    if state.holder != signer.address:
        raise WrongHolder(
            f"license {license_id} is held by {state.holder}, not by {signer.address}",
            remedy="sign with the holder's wallet: --wallet NAME",
        )
    offer, _ = session.licenses.plan_of(license_id.plan)
    if terms is not None and parse(_bytes(terms)).hash() != offer.terms_hash:
        raise UsageError(
            f"{terms} is not the terms of license {license_id}",
            hint=f"their hash is {offer.terms_hash}",
        )
    if bits & ~offer.features:
        raise UsageError(
            f"plan {license_id.plan} has no features {bits & ~offer.features:#x}",
            hint=f"it has {offer.features:#x}",
        )
    licensor, brokers = _chain_facts(session, license_id, offer)
    console.note(f"by signing you accept the terms {offer.terms_hash} of plan {license_id.plan}")
    if asked.fleet:
        console.note("this is a fleet key: it certifies any workers, up to the license's seats")
    if (
        drafter is None
        and not (session.yes or session.network.profile.test_network)
        and not console.confirm(f"Let {asked.name or 'this runtime'} use license {license_id}?")
    ):
        raise UsageError("not granted", hint="answer y, or pass --yes")
    not_after = moment(until, now=int(time.time())) if until else PERPETUAL
    deployment = session.network.deployment
    document = grant_runtime(
        asked,
        signer,
        chain_id=deployment.chain_id,
        ledger=deployment.addresses["LicenseLedger"],
        license_id=license_id,
        terms_hash=offer.terms_hash,
        grant_nonce=session.licenses.grant_nonce_of(license_id),
        model=offer.model_id,
        licensor=licensor,
        brokers_hash=brokers.hash(),
        not_after=not_after,
        features=bits,
        measurement=measured,
    )
    if typed_data is not None and drafter is not None:
        return to_sign(typed_data, drafter.document(document), request, license_id)
    contract = False
    if signature_file is not None:
        imported = signed_grant(
            _json(signature_file, "modeldeed/grant-to-sign"), wallet_of(session)
        )
        require_same(imported, GrantFile.unsigned(document))
        document, contract = imported.to_json(), imported.contract_wallet
        not_after = imported.grant.not_after
    write_text(dest, json.dumps(document, indent=2) + "\n")
    key = asked.key_hash
    return Answer(
        {
            "grant": dest,
            "license": license_id,
            "runtime_key": key,
            "terms_hash": offer.terms_hash,
            "model": offer.model_id,
            "licensor": licensor,
            "not_after": not_after,
            "fleet": asked.fleet,
            "contract_wallet": contract,
        },
        fields(
            [
                ("grant", dest),
                ("license", license_id),
                ("runtime", f"{key}{f' ({asked.name})' if asked.name else ''}"),
                ("model", offer.model_id),
                ("licensor", licensor),
                ("until", time_text(not_after)),
            ]
        ),
        notes=(
            f"next: deed runtime fleet certify WORKER --grant {dest.name}"
            if asked.fleet
            else f"next: on the runtime's machine, deed runtime accept {dest.name}"
            + (" --contract-wallet" if contract else ""),
        ),
    )


@app.verb("accept")
def accept(
    file: Annotated[Path, typer.Argument(metavar="GRANT", help="The holder's grant file.")],
    *,
    contract_wallet: Annotated[
        bool,
        typer.Option(
            "--contract-wallet", help="The holder is a contract: nothing it signed is checked here."
        ),
    ] = False,
) -> Answer:
    """Check a grant and keep it beside this machine's key.

    A worker accepts the file that deed runtime fleet certify wrote for it.

    Cards of its license must fit it from then on, so accept only a grant whose holder you know.
    """
    from ledger.broker.identity import RuntimeIdentity

    identity = RuntimeIdentity.load(settings.load().runtime_key)
    kept = identity.accept(_json(file, "modeldeed/runtime-grant"), contract_wallet=contract_wallet)
    signed = (
        "contract wallet: checked by the broker, not here"
        if kept.contract_wallet
        else "by the holder's account, checked"
    )
    worker: list[tuple[str, object]] = []
    if kept.certificate is not None:
        worker = [
            ("workload", kept.certificate.workload),
            ("certified until", time_text(kept.certificate.not_after)),
        ]
    notes = ["next: deed check CARD, then ledger.load(CARD) in Python"]
    if kept.contract_wallet:
        notes.insert(0, "licensor, model and brokers rest on whoever gave you this file")
    return Answer(
        {
            "signatures": "not checked" if kept.contract_wallet else "checked",
            "certificate": None if kept.certificate is None else kept.certificate.to_json(),
            "license": kept.grant.license,
            "holder": kept.holder,
            "licensor": kept.pin.licensor,
            "model": kept.pin.model,
            "chain_id": kept.chain_id,
        },
        fields(
            [
                ("license", kept.grant.license),
                ("holder", kept.holder),
                ("licensor", kept.pin.licensor),
                ("model", kept.pin.model),
                ("chain", kept.chain_id),
                ("until", time_text(kept.grant.not_after)),
                ("signatures", signed),
                *worker,
            ]
        ),
        notes=tuple(notes),
    )


@app.verb("show")
def show() -> Answer:
    """Show this machine's key (its public part), its class of evidence, and the grants it holds.

    Evidence is of class software, which proves nothing about the machine, but where an attester
    gets tokens for class tee: it is named with each use, by --attester or attest=.
    """
    from ledger.broker.identity import RuntimeIdentity

    identity = RuntimeIdentity.load(settings.load().runtime_key)
    grants: list[dict[str, Any]] = [
        {
            "license": g.grant.license,
            "chain_id": g.chain_id,
            "ledger": g.ledger,
            "holder": g.holder,
            "not_after": g.grant.not_after,
            "measurement": "0x" + g.grant.measurement.hex() if any(g.grant.measurement) else None,
            "contract_wallet": g.contract_wallet,
            "certified_until": None if g.certificate is None else g.certificate.not_after,
        }
        for g in identity.grants()
    ]
    text = "\n\n".join(
        [
            fields(
                [
                    ("key file", identity.path),
                    ("runtime key", identity.key_hash),
                    ("name", identity.name),
                    ("evidence", "software, which proves nothing; tee with an attester"),
                    *sorted(identity.use.to_json().items()),
                ]
            ),
            table(
                ("license", "chain", "holder", "until", "measurement"),
                [
                    (
                        g["license"],
                        g["chain_id"],
                        f"{g['holder']}{' (contract wallet)' if g['contract_wallet'] else ''}",
                        time_text(g["certified_until"] or g["not_after"]),
                        g["measurement"] or "any",
                    )
                    for g in grants
                ],
                empty="no grants; send the request file to the license's holder",
            ),
        ]
    )
    data = {
        "key_file": identity.path,
        "runtime_key": identity.key_hash,
        "name": identity.name,
        "use": identity.use.to_json(),
        "evidence": {"class": "software", "with_attester": "tee"},
        "grants": grants,
    }
    return Answer(data, text)


def _pairs(texts: list[str]) -> dict[str, str]:
    if any("=" not in text for text in texts):
        raise UsageError("a signer's option is NAME=TEXT", hint="for example slot=0")
    return dict(text.split("=", 1) for text in texts)


def _chain_facts(
    session: Session, license_id: LicenseId, offer: PlanTerms
) -> tuple[Address, BrokerSet]:
    """Who holds the title of a license's model, and the brokers of its plan with their keys."""
    from ledger.licensing.card import BrokerSet, CardBroker

    licensor = session.registry.licensor_of(offer.model_id)
    if licensor is None:
        raise NoLicense(
            f"nobody holds the title of model {offer.model_id}",
            remedy="ask the licensor which model the license is for",
        )
    if not offer.broker_set:
        raise UsageError(
            f"plan {license_id.plan} names no brokers, so nobody would release the key",
            hint="ask the licensor for a license under a plan with a broker set",
        )
    found = session.brokers.broker_set_of(offer.broker_set)
    members = []
    for number in sorted(found.broker_ids):
        broker = session.brokers.broker_of(number)
        members.append(CardBroker(number, broker.signing_key_hash, broker.kem_key_hash))
    return licensor, BrokerSet(offer.broker_set, found.threshold, tuple(members))


def _bytes(path: Path) -> bytes:
    with path.open("rb") as handle:
        return handle.read(_MAX_FILE + 1)


def _json(path: Path, *kinds: str) -> Any:
    return require_kind(parse_json(_bytes(path), what=str(path), limit=_MAX_FILE), path, *kinds)


runtime_carried.add(app)
