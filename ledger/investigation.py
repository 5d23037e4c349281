"""The litigator's journey: collect everything that proves a model's title, into one file.

The chain is asked once, as of its finalized block; what it says is proved on arrival, packed, and
verified by the offline verifier before the file appears. No index is needed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ledger.canonical import canonical_json
from ledger.chain.deployment import Deployment
from ledger.chain.finality import finalized_block
from ledger.chain.harvest import CONTRACTS, Harvest, harvest_model
from ledger.chain.network import Network
from ledger.claim import Claim, manifest_hash
from ledger.errors import ClaimMismatch, PendingFinality, UsageError, VerificationError
from ledger.evidence.bundle import (
    CUSTODY,
    README,
    README_BODY,
    REPORT,
    REPORT_TEXT,
    Contract,
    Subject,
    contents_of,
    pack,
    parse_bundle,
    read_bundle,
)
from ledger.evidence.custody import append, read_log
from ledger.evidence.documents import Inclusion
from ledger.evidence.events import decode
from ledger.evidence.layout import PLAN_TERMS_WORD, plan_slot
from ledger.evidence.receipts import Receipt
from ledger.evidence.report import render
from ledger.evidence.trust import TrustRoot
from ledger.evidence.verify import examine
from ledger.fingerprint.exact import Fingerprint
from ledger.ids import Digest, LicenseId
from ledger.licensing import card as license_card
from ledger.licensing import terms as license_terms
from ledger.sealed.record import SealingRecord


def collect_model_evidence(
    network: Network,
    claim: Claim,
    manifest: Mapping[str, Any],
    fingerprint: Fingerprint | None = None,
    *,
    dest: Path,
    licenses: Sequence[LicenseId] | None = None,
    sealings: Sequence[SealingRecord] = (),
    cards: Sequence[Mapping[str, Any]] = (),
    terms: Sequence[Mapping[str, Any]] = (),
    tensors: Sequence[Digest] = (),
    disclose_tensors: bool = True,
    commitment: Inclusion | None = None,
    actor: str = "not named",
    note: str = "",
    now: datetime | None = None,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Collect a model's evidence as of the finalized block into `dest`, verified.

    Args:
        network: where the model is registered.
        claim: the opened claim; its salt becomes public with the bundle.
        manifest: the manifest the claim names.
        fingerprint: as registered; shows that the model's tensors lead to the claimed root.
        dest: the file to write; replaced only by a complete bundle that holds.
        licenses: those concerned; None takes all on plans of this model.
        sealings: sealing records to open in the bundle.
        cards: license cards, as their files hold them.
        terms: terms documents; those of the licenses' plans go in.
        tensors: content ids whose inclusion proofs go in one by one.
        disclose_tensors: False keeps the list of tensors (names, shapes) out of the bundle; those
            in `tensors` are still proved.
        commitment: inclusion proof of the commitment; None reads it from the transaction that
            used it.
        actor: who collects, in their own words, for the custody log.
        note: one line for the custody log.
        now: the collector's clock, for the custody log; the system's when None.
        progress: called with what is being done.

    Raises:
        ClaimMismatch: manifest or fingerprint are not those of the claim.
        UnknownRecord: the registry does not know this model.
        PendingFinality: it, or a sealing given, is not yet in a finalized block.
        StateProofInvalid: the node's answers do not lead to its headers.
        VerificationError: the bundle does not hold; nothing is written.
        WrongNetwork: the endpoint serves another chain, or other contracts.
        ChainUnavailable: no endpoint answers.
    """
    say = progress or (lambda _what: None)
    documents = _documents(claim, manifest, sealings)
    if fingerprint is not None:
        documents |= _tensors(claim, fingerprint, tensors, disclose=disclose_tensors)
    elif tensors:
        raise UsageError("proving single tensors needs the fingerprint they belong to")
    deployment = network.deployment
    with network.open_rpc() as rpc:
        deployment.verify(rpc)
        say("finding the finalized block")
        harvest = harvest_model(
            rpc,
            deployment,
            finalized_block(rpc, network.profile).number,
            claim,
            licenses=licenses,
            commitment=commitment,
            progress=say,
        )
    _check_lodged(sealings, harvest)
    members = documents | _proofs(harvest) | _licensing(harvest, cards, terms)
    subject = _subject(deployment, claim, harvest)
    say("verifying")
    log = append(
        (),
        time=_utc(now),
        actor=actor,
        action="collected",
        note=note,
        software=subject.software,
        contents=contents_of(subject, members),
    )
    members[CUSTODY] = canonical_json([entry.to_json() for entry in log])
    members[README] = README_BODY.encode()
    _write(dest, _complete(subject, members))
    return dest


def add_custody_entry(
    path: Path,
    dest: Path,
    *,
    actor: str,
    action: str,
    note: str = "",
    now: datetime | None = None,
) -> Path:
    """Write a bundle's evidence to `dest` with one more entry in its custody log.

    Raises:
        BundleFormatError: `path` is not a bundle.
        VerificationError: the log so far is broken.
        UsageError: a text is too long or not one line.
    """
    bundle = read_bundle(path)
    log = append(
        read_log(bundle.json(CUSTODY), bundle.computed_contents),
        time=_utc(now),
        actor=actor,
        action=action,
        note=note,
        software=software(),
        contents=bundle.computed_contents,
    )
    entries = canonical_json([entry.to_json() for entry in log])
    _write(dest, pack(bundle.subject, {**bundle.members, CUSTODY: entries}))
    return dest


def software() -> str:
    """Name and version of this program, for the record."""
    try:
        return f"modeldeed {version('modeldeed')}"
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "modeldeed, version unknown"


def _documents(
    claim: Claim, manifest: Mapping[str, Any], sealings: Sequence[SealingRecord]
) -> dict[str, bytes]:
    if manifest_hash(dict(manifest)) != claim.manifest_hash:
        raise ClaimMismatch(
            "the manifest is not the one this claim names", hint="give the one made at publishing"
        )
    members = {
        "claim.json": canonical_json(claim.to_json()),
        "manifest.json": canonical_json(dict(manifest)),
    }
    if sealings:
        ordered = sorted(sealings, key=lambda record: record.epoch)
        members["sealing.json"] = canonical_json([record.to_json() for record in ordered])
    return members


def _check_lodged(sealings: Sequence[SealingRecord], harvest: Harvest) -> None:
    lodged = {
        read[1]["recordHash"]
        for proof in harvest.receipts
        for log in Receipt.parse(proof.receipt).logs
        if (read := decode(log, "ModelRegistry")) and read[0] == "RecordLodged"
    }
    for record in sealings:
        if record.hash() not in lodged:
            raise PendingFinality(
                f"the sealing record of epoch {record.epoch} is not lodged in a finalized block",
                hint="collect again in a few minutes, or see that it was lodged",
            )


def _licensing(
    harvest: Harvest, cards: Sequence[Mapping[str, Any]], terms: Sequence[Mapping[str, Any]]
) -> dict[str, bytes]:
    members = {}
    words = {slot.slot: slot.value for slot in harvest.accounts["LicenseLedger"].slots}
    used = {words[plan_slot(of.plan, PLAN_TERMS_WORD)] for of in harvest.licenses}
    for document in cards:
        card = license_card.parse(dict(document))
        members[f"cards/{card.license}.json"] = canonical_json(card.to_json())
    for document in terms:
        digest = license_terms.validate(dict(document)).hash()
        if int.from_bytes(digest.raw, "big") in used:
            members[f"terms/{digest.raw.hex()}.json"] = canonical_json(dict(document))
    return members


def _tensors(
    claim: Claim, fingerprint: Fingerprint, tensors: Sequence[Digest], *, disclose: bool
) -> dict[str, bytes]:
    if fingerprint.content_root != claim.artifact_root:
        raise ClaimMismatch(
            "the fingerprint is not of the model this claim names",
            hint="give the model that was registered, or its stored fingerprint",
        )
    members = {
        f"tensors/{cid.raw.hex()}.json": canonical_json(fingerprint.tensor_proof(cid).to_json())
        for cid in tensors
    }
    if disclose:
        members["fingerprint.json"] = canonical_json(fingerprint.to_json())
    return members


def _proofs(harvest: Harvest) -> dict[str, bytes]:
    members = {f"headers/{header.number}.rlp": header.raw for header in harvest.headers}
    for name in CONTRACTS:
        members[f"state/{name}.json"] = canonical_json(harvest.accounts[name].to_json())
        members[f"code/{name}.bin"] = harvest.code[name]
    for proof in harvest.receipts:
        members[proof.name] = canonical_json(proof.to_json())
    if harvest.licenses:
        listed = [str(license_id) for license_id in harvest.licenses]
        members["licenses.json"] = canonical_json(listed)
    if harvest.commitment is not None:
        members["commitment.json"] = canonical_json(harvest.commitment.to_json())
    return members


def _subject(deployment: Deployment, claim: Claim, harvest: Harvest) -> Subject:
    return Subject(
        chain_id=deployment.chain_id,
        genesis=deployment.genesis_hash,
        model_id=claim.model_id(),
        block=harvest.state.number,
        block_hash=harvest.state.hash,
        contracts=tuple(
            Contract(name, deployment.addresses[name], harvest.accounts[name].code_hash)
            for name in CONTRACTS
        ),
        software=software(),
    )


def _complete(subject: Subject, members: dict[str, bytes]) -> bytes:
    """The bundle with its report, once it is seen to hold."""
    # The collector's own manifest says where the contracts are; each reader asks anew.
    trust = TrustRoot(contracts={of.name: of.address for of in subject.contracts})
    draft = examine(parse_bundle(pack(subject, members)), trust=trust, draft=True)
    if draft.statement is None or not draft.holds:
        raise VerificationError(
            f"what was collected {draft.sentence}: {draft.reasons}",
            hint="if the endpoint left something out, collect from another one",
        )
    members[REPORT] = canonical_json(draft.statement)
    members[REPORT_TEXT] = render(draft.statement).encode()
    data = pack(subject, members)
    report = examine(parse_bundle(data), trust=trust)
    if not report.holds:
        raise VerificationError(f"what was collected {report.sentence}: {report.reasons}")
    return data


def _utc(now: datetime | None) -> str:
    return (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _write(dest: Path, data: bytes) -> None:
    """Write `dest` whole or not at all."""
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{dest.name}.", dir=dest.parent)
    except OSError as error:
        raise UsageError(f"cannot write {dest}: {error.strerror}") from None
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(dest)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
