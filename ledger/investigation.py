"""The litigator's journey: collect everything that proves a model's title, into one file.

The chain is asked once, as of its finalized block; what it says is proved on arrival, packed, and
verified by the offline verifier before the file appears. No index is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ledger.canonical import canonical_json
from ledger.chain.deployment import Deployment
from ledger.chain.finality import finality_words, finalized_block
from ledger.chain.harvest import Harvest, OlderEvidence, harvest_model
from ledger.chain.network import Network
from ledger.chain.remembering import forgetting, remembering
from ledger.claim import Claim, manifest_hash
from ledger.dating import DigestSigner
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
from ledger.evidence.custody import UNNAMED, Entry, append, read_log
from ledger.evidence.documents import Inclusion
from ledger.evidence.events import decode
from ledger.evidence.layout import PLAN_TERMS_WORD, plan_slot
from ledger.evidence.match import read_match
from ledger.evidence.receipts import Receipt
from ledger.evidence.redaction import recognise, restore, withhold
from ledger.evidence.release_steps import Receipt as BrokerReceipt
from ledger.evidence.release_steps import parse_receipt
from ledger.evidence.report import render
from ledger.evidence.trust import TrustRoot
from ledger.evidence.verify import examine
from ledger.files import write_whole
from ledger.fingerprint.exact import Fingerprint
from ledger.ids import Digest, LicenseId
from ledger.licensing import card as license_card
from ledger.licensing import terms as license_terms
from ledger.sealed.record import SealingRecord


@forgetting
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
    match: Mapping[str, Any] | None = None,
    releases: Sequence[Mapping[str, Any]] = (),
    one: bool = False,
    as_of: int | None = None,
    index: OlderEvidence | None = None,
    actor: str = UNNAMED,
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
        dest: the file to write; replaced only by a complete bundle that holds. Until then, what
            the chain answered is kept beside it for a quarter of an hour, for a run that goes on.
        licenses: those concerned; None takes all on plans of this model.
        sealings: sealing records to open in the bundle.
        cards: license cards, as their files hold them.
        terms: terms documents; those of the licenses' plans go in.
        tensors: content ids whose inclusion proofs go in one by one.
        disclose_tensors: False keeps the list of tensors (names, shapes) out of the bundle; those
            in `tensors` are still proved.
        commitment: inclusion proof of the commitment; None reads it from the transaction that
            used it.
        match: findings about a suspect (docs/spec/match.md); makes a bundle of kind ``match``.
        releases: receipt proofs of brokers (``deed broker receipt``); their licenses are shown,
            whatever `licenses` says.
        one: the evidence is of the one license named, or of the one receipt, and says so.
        as_of: number of a final block whose state is proved; None takes the newest.
        index: what an index has kept (`ledger.index.kept_evidence`), for what the endpoint forgot.
        actor: who collects, in their own words, for the custody log.
        note: one line for the custody log, which also says by which rule the block is final.
        now: the collector's clock, for the custody log; the system's when None.
        progress: called with what is being done.

    Raises:
        ClaimMismatch: manifest or fingerprint are not those of the claim.
        UnknownRecord: the registry does not know this model.
        PendingFinality: it, or a sealing given, is not yet in a finalized block.
        StateProofInvalid: the node's answers do not lead to its headers.
        VerificationError: the bundle does not hold; nothing is written.
        UsageError: `as_of` is not final yet, or `one` is asked of several.
        WrongNetwork: the endpoint serves another chain, or other contracts.
        ChainUnavailable: no endpoint answers.
    """
    say = progress or (lambda _what: None)
    documents = _documents(claim, manifest, sealings)
    if match is not None:
        documents["match.json"] = canonical_json(read_match(dict(match)))
        if not disclose_tensors:
            tensors = (*tensors, *_shared(match, claim, fingerprint))
    if fingerprint is not None:
        documents |= _tensors(claim, fingerprint, tensors, disclose=disclose_tensors)
    elif tensors:
        raise UsageError("proving single tensors needs the fingerprint they belong to")
    receipts = sorted(
        ((parse_receipt(dict(document))[0], dict(document)) for document in releases),
        key=lambda found: (found[0].broker, found[0].sequence),
    )
    if receipts:
        named = {receipt.license_id for receipt, _ in receipts}
        licenses = tuple(sorted({*(licenses or ()), *named}))
    kind, about = _about(licenses, receipts) if one else ("model", None)
    deployment = network.deployment
    with remembering(network, dest) as rpc:
        deployment.verify(rpc)
        if rpc.resumed:
            say(f"going on with {rpc.resumed} answers kept")
        say("finding the finalized block")
        final = finalized_block(rpc, network.profile).number
        if as_of is not None and as_of > final:
            raise UsageError(
                f"block {as_of} is not final yet; the newest final one is {final}",
                hint="name a final block, or none",
            )
        harvest = harvest_model(
            rpc,
            deployment,
            final if as_of is None else as_of,
            claim,
            licenses=licenses,
            commitment=commitment,
            releases=[receipt for receipt, _ in receipts],
            index=index,
            progress=say,
        )
    _check_lodged(sealings, harvest)
    members = documents | _proofs(harvest) | _licensing(harvest, cards, terms)
    log: tuple[Entry, ...] = ()
    for number, (_, document) in enumerate(receipts, start=1):
        members[f"releases/{number}.json"] = canonical_json(document)
    if match is not None:
        kind = "match"
        about = {name: match["suspect"][name] for name in ("sha256", "size", "name")}
    subject = _subject(deployment, claim, harvest, kind, about)
    if match is not None:
        log = _received(match["suspect"], actor, subject, contents_of(subject, members))
    say("verifying")
    words = finality_words(network.profile)
    log = append(
        log,
        time=_utc(now),
        actor=actor,
        action="collected",
        note=f"{note}; as of {words}" if note else f"as of {words}",
        software=subject.software,
        contents=contents_of(subject, members),
    )
    members[CUSTODY] = canonical_json([entry.to_json() for entry in log])
    members[README] = README_BODY.encode()
    write_whole(dest, _complete(subject, members))
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
    write_whole(dest, pack(bundle.subject, {**bundle.members, CUSTODY: entries}, bundle.left_out))
    return dest


def redact_evidence(
    path: Path,
    dest: Path,
    names: Sequence[str],
    *,
    actor: str,
    note: str = "",
    now: datetime | None = None,
    signer: DigestSigner | None = None,
) -> Path:
    """Write a bundle to `dest` without the bytes of some members (`ledger.evidence.redaction`).

    Raises:
        BundleFormatError: `path` is not a bundle.
        UsageError: a member is not there, or must stay.
        VerificationError: the bundle does not hold.
    """
    data = withhold(
        read_bundle(path),
        names,
        time=_utc(now),
        actor=actor,
        note=note,
        software=software(),
        **_signing(signer),
    )
    write_whole(dest, data)
    return dest


def restore_evidence(
    path: Path,
    dest: Path,
    given: Sequence[bytes],
    *,
    actor: str,
    note: str = "",
    now: datetime | None = None,
    signer: DigestSigner | None = None,
) -> Path:
    """Write a bundle to `dest` with withheld members put back, told by their digests.

    Args:
        path: a bundle that withholds members.
        dest: the file to write.
        given: the bytes of some of them.
        actor: who acts, for the log.
        note: one line; empty for the list of what is put back.
        now: their clock; the system's when None.
        signer: the account that signs the entry; None leaves it unsigned.

    Raises:
        BundleFormatError: `path` is not a bundle.
        ClaimMismatch: bytes that no withheld member has.
        VerificationError: the bundle does not hold.
    """
    bundle = read_bundle(path)
    data = restore(
        bundle,
        recognise(bundle, given),
        time=_utc(now),
        actor=actor,
        note=note,
        software=software(),
        **_signing(signer),
    )
    write_whole(dest, data)
    return dest


def _signing(signer: DigestSigner | None) -> dict[str, Any]:
    return {} if signer is None else {"signer": signer.address, "sign": signer.sign_digest}


def software() -> str:
    """Name and version of this program, for the record."""
    try:
        return f"modeldeed {version('modeldeed')}"
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "modeldeed, version unknown"


def _received(
    suspect: Mapping[str, Any], actor: str, subject: Subject, contents: Digest
) -> tuple[Entry, ...]:
    """The custody log's first entry about a suspect: what was received, hashed, and when."""
    return append(
        (),
        time=suspect["received"],
        actor=actor,
        action="received",
        note=f"suspect {suspect['name']}, {suspect['size']} bytes, SHA-256 {suspect['sha256']}",
        software=subject.software,
        contents=contents,
    )


def _shared(
    match: Mapping[str, Any], claim: Claim, fingerprint: Fingerprint | None
) -> tuple[Digest, ...]:
    """The tensors of this model that findings name, to be proved one by one."""
    own = {of.cid for of in fingerprint.tensors if of.identity} if fingerprint else set()
    named = [
        Digest.parse(cid)
        for one in match["comparisons"]
        if one["tensors"] and one["ours"]["artifact_root"] == str(claim.artifact_root)
        for cid in (*(of["cid"] for of in one["tensors"]["shared"]), *one["tensors"]["set_aside"])
    ]
    return tuple(cid for cid in named if cid in own)


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
    for name in harvest.accounts:
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


def _about(
    licenses: Sequence[LicenseId] | None, receipts: Sequence[tuple[BrokerReceipt, Any]]
) -> tuple[str, Any]:
    """Kind of the evidence and what it is about, where that is one thing."""
    if licenses is None or len(licenses) != 1 or len(receipts) > 1:
        raise UsageError("evidence of one license or one receipt names exactly one")
    if not receipts:
        return "license", str(licenses[0])
    return "release", {"license": str(licenses[0]), "receipt": str(receipts[0][0].digest)}


def _subject(
    deployment: Deployment, claim: Claim, harvest: Harvest, kind: str, about: Any
) -> Subject:
    return Subject(
        chain_id=deployment.chain_id,
        genesis=deployment.genesis_hash,
        model_id=claim.model_id(),
        block=harvest.state.number,
        block_hash=harvest.state.hash,
        contracts=tuple(
            Contract(name, deployment.addresses[name], harvest.accounts[name].code_hash)
            for name in sorted(harvest.accounts)
        ),
        software=software(),
        kind=kind,
        about=about,
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
