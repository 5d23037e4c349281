"""Verification steps 8 to 15, but 13: what the proven words and events say about the model.

Each function is one step of ``docs/spec/evidence-bundle.md``: it returns what it found in a
sentence, raises `NotChecked`, or raises the error that makes the step fail.
"""

from __future__ import annotations

from ledger.claim import Claim, manifest_hash
from ledger.errors import (
    ClaimMismatch,
    InclusionProofInvalid,
    ManifestError,
    StateProofInvalid,
    VerificationError,
)
from ledger.evidence.bundle import CUSTODY
from ledger.evidence.case import Case, NotChecked
from ledger.evidence.custody import UNNAMED, check_printed, read_log
from ledger.evidence.documents import Inclusion
from ledger.evidence.findings import (
    model_digest,
    sealings,
    title_history,
)
from ledger.evidence.layout import (
    MODEL_STATUS,
    Stamp,
    Title,
    Transfers,
    confirmation_slot,
    sealing_epoch_slot,
    sealing_slot,
    stamp_slot,
    title_slot,
    transfer_slot,
)
from ledger.evidence.wording import in_quotes
from ledger.fingerprint.exact import Fingerprint, TensorProof, verify_tensor_proof
from ledger.ids import Digest
from ledger.sealed.record import SealingRecord


def check_claim(case: Case, step: int) -> str:
    """The opened claim hashes to the model id, and describes this manifest and these tensors."""
    bundle = case.bundle
    claim = case.read("claim.json", Claim.from_json)
    subject = bundle.subject
    if claim.model_id() != subject.model_id:
        raise ClaimMismatch(
            f"the claim is that of model {claim.model_id()}, not {subject.model_id}", step=step
        )
    registry = subject.contract("ModelRegistry").address
    if (claim.chain_id, claim.registry) != (subject.chain_id, registry):
        raise ClaimMismatch("the claim is for another chain or registry", step=step)
    manifest = bundle.json("manifest.json")
    if manifest_hash(manifest) != claim.manifest_hash:
        raise ClaimMismatch("the manifest is not the one claimed", step=step)
    said = f"the claim is that of model {subject.model_id}, titled {in_quotes(manifest['title'])}"
    if case.has("fingerprint.json"):
        fingerprint = case.read("fingerprint.json", Fingerprint.from_json)
        if fingerprint.content_root != claim.artifact_root:
            raise ClaimMismatch("the tensors listed are not the ones claimed", step=step)
        if fingerprint.level == "deep" and fingerprint.content_id() != claim.fingerprint_digest:
            raise ClaimMismatch("the deep fingerprint is not the one claimed", step=step)
        case.tensors = len(fingerprint.tensors)
        said += f"; its {case.tensors} tensors are listed and lead to the claimed root"
    proven = bundle.folder("tensors")
    for name in proven:
        proof = case.read(f"tensors/{name}", TensorProof.from_json)
        if name != f"{proof.cid.raw.hex()}.json":
            raise InclusionProofInvalid(f"tensors/{name} is of another tensor", step=step)
        verify_tensor_proof(proof, claim.artifact_root, step=step)
    if proven:
        said += f"; {len(proven)} tensors are proved to be among its tensors"
    case.claim, case.named = claim, str(manifest["title"])
    return said


def check_title(case: Case, step: int) -> str:
    """The registry's word for this model, in the proved state, names a holder."""
    model = case.opened().model_id()
    title = Title.parse(case.word("ModelRegistry", title_slot(model), "the title", step=step))
    moved = case.word("ModelRegistry", transfer_slot(model), "the title's transfers", step=step)
    if title.status == 0 or title.licensor.raw == bytes(20):
        raise StateProofInvalid("the proved state knows no such model", step=step)
    if title.status >= len(MODEL_STATUS):
        raise StateProofInvalid("the proved state gives the model an unknown status", step=step)
    confirmed = [
        parent
        for parent in case.opened().parents
        if any(case.word("ModelRegistry", confirmation_slot(model, parent), "a parent", step=step))
    ]
    case.title, case.sequence = title, Transfers.parse(moved).sequence
    case.confirmed = tuple(confirmed)
    return f"held by {title.licensor}, {MODEL_STATUS[title.status]}, moved {case.sequence} times"


def check_history(case: Case, step: int) -> str:
    """Registration and transfers are shown completely and lead to how the title stands."""
    history = title_history(case.opened(), case.held(), case.sequence, case.events, step=step)
    case.history = history
    said = f"registered by {case.opened().licensor} in block {history.registration.position.block}"
    return said + "".join(
        f", to {event.address('to')} in block {event.position.block}" for event in history.transfers
    )


def check_commitment(case: Case, step: int) -> str:
    """The commitment to this claim was anchored in an earlier block, at the time the title says."""
    title, claim = case.held(), case.opened()
    history = case.told()
    if not title.committed:
        if title.committed_at != title.registered_at:
            raise StateProofInvalid("an uncommitted title has a commitment's time", step=step)
        return "the model was registered without an earlier commitment; nothing rests on one"
    if not case.has("commitment.json"):
        raise NotChecked("the bundle lacks the inclusion proof of the commitment")
    proof = case.read("commitment.json", Inclusion.from_json)
    proof.verify(claim.commitment_leaf(), step=step)
    root = proof.root
    stamp = Stamp.parse(case.word("Anchors", stamp_slot(root), "the commitment's time", step=step))
    if stamp.time == 0 or stamp.time != title.committed_at:
        raise StateProofInvalid(
            "the commitment's root is not anchored at the time the title gives", step=step
        )
    anchored = [event for event in case.named_events("RootAnchored") if event.args["root"] == root]
    if len(anchored) != 1 or anchored[0].time != stamp.time:
        raise StateProofInvalid("the bundle lacks the anchoring of the commitment", step=step)
    proven_in = history.lowered[-1] if history.lowered else history.registration
    if anchored[0].position.block >= proven_in.position.block:
        raise StateProofInvalid("the commitment was not anchored in an earlier block", step=step)
    case.commitment = anchored[0]
    return f"anchored in block {anchored[0].position.block}, before it was used"


def check_sealing(case: Case, step: int) -> str:
    """The latest sealing epoch in the proved state, its event, and the records opened here."""
    model = case.opened().model_id()
    epoch = int.from_bytes(
        case.word("ModelRegistry", sealing_epoch_slot(model), "the sealing epoch", step=step), "big"
    )
    record_hash = Digest(bytes(32))
    if epoch:
        slot = sealing_slot(model, epoch)
        record_hash = Digest(case.word("ModelRegistry", slot, "the sealing's hash", step=step))
    case.sealed = sealings(model, epoch, record_hash, case.events, step=step)
    records = case.bundle.json("sealing.json") if case.has("sealing.json") else []
    if not isinstance(records, list):
        raise ManifestError("sealing.json is a list of sealing records")
    lodged = {event.number("epoch"): event.digest("recordHash") for event in case.sealed}
    for document in records:
        record = SealingRecord.from_json(document)
        if record.model_id != model or lodged.get(record.epoch) != record.hash():
            raise ClaimMismatch(f"sealing record {record.epoch} was not lodged so", step=step)
    if not epoch:
        return "no sealing was lodged for this model"
    return f"epoch {epoch} is the latest of {len(lodged)}; {len(records)} records are opened here"


def check_rivals(case: Case, step: int) -> str:
    """Other registrations of the same tensors that the bundle shows, in the order of time."""
    claim = case.opened()
    rivals = [
        event
        for event in case.named_events("ModelRegistered")
        if event.args["modelId"] != model_digest(claim.model_id())
    ]
    if any(event.args["artifactRoot"] != claim.artifact_root for event in rivals):
        raise VerificationError("a registration of other tensors is shown as a rival", step=step)
    case.rivals = tuple(sorted(rivals, key=lambda event: event.number("committedAt")))
    if not rivals:
        return "the bundle shows no other registration of the same tensors"
    return f"{len(rivals)} other registrations of the same tensors are shown"


def check_custody(case: Case, step: int) -> str:
    """The custody log is an unbroken chain of entries about this very evidence."""
    log = read_log(case.bundle.json(CUSTODY), case.bundle.computed_contents, step=step)
    check_printed(log, case.bundle.members, case.trust.collectors, step=step)
    case.custody = log
    last = log[-1]
    signers = ", ".join(dict.fromkeys(str(entry.signer) for entry in log if entry.signer))
    signed = f"; signed by {signers}" if signers else ""
    who = "somebody who is not named" if last.actor == UNNAMED else in_quotes(last.actor)
    latest = f"the last {in_quotes(last.action)} by {who} (times are claimed)"
    return f"{len(log)} entries, {latest}{signed}"
