"""Watermarking, step by step: commit to a key, mark once the beacon is known, look for the mark.

Each step leaves its result in the record file by an atomic replace, before or after the act as
loss demands: the key is on disk before its commitment is sent, and a step that was done is found
done. Section numbers are those of docs/spec/watermark.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger.broker.policy import Check
from ledger.broker.watermark_file import load_record, save_record
from ledger.chain.beacon import WEAK, Beacon, check_beacon, kept_beacon, read_beacon
from ledger.chain.finality import finalized_block
from ledger.chain.profile import ChainProfile
from ledger.chain.rpc import Rpc
from ledger.claim import Claim
from ledger.errors import ClaimMismatch, PendingFinality, UsageError, WrongNetwork
from ledger.fingerprint.exact import Fingerprint, fingerprint
from ledger.fingerprint.sketch import Sketch
from ledger.ids import ZERO_DIGEST, Address, Digest
from ledger.tensors.model import ModelSource, open_model
from ledger.watermark.detection import Finding, detect
from ledger.watermark.record import (
    STRENGTH,
    PhaseAPlace,
    Record,
    detector_hash,
)
from ledger.watermark.statistics import THRESHOLD
from ledger.watermark.weights import Embedded, embed, targets_of

if TYPE_CHECKING:
    # Detecting offline needs no chain extra.
    from ledger.chain.anchors import Anchors
    from ledger.chain.network import Network
    from ledger.chain.transactions import Sender

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Chain:
    """Where commitments stand.

    Attributes:
        from_block: the block of the contracts' deployment.
        settlement: the chain it settles on, where beacons come from there.
    """

    rpc: Rpc
    profile: ChainProfile
    anchors: Anchors
    from_block: int = 0
    settlement: Rpc | None = None


@dataclass(frozen=True, slots=True)
class Marked:
    """What ``embed_into`` made."""

    record: Record
    embedded: Embedded
    beacon: Beacon
    content_root: Digest


@dataclass(frozen=True, slots=True)
class Report:
    """What a detection found, in the numbered steps of section 6.

    Attributes:
        checks: the steps.
        finding: of the looks at the suspect.
        caveat: why even a proof says little on this chain; empty where it does not.
    """

    checks: tuple[Check, ...]
    finding: Finding
    caveat: str = ""

    @property
    def proven(self) -> bool:
        """Whether the mark is there and its key is known to be older than its signs."""
        results = {check.number: check.result for check in self.checks}
        must = all(results[number] == "pass" for number in (1, 2, 3, 8))
        return must and "fail" not in results.values()

    @property
    def verdict(self) -> str:
        """What came of it, in a sentence."""
        finding = self.finding
        bits = finding.log10_tests / THRESHOLD * -128
        if not finding.there:
            return (
                f"the watermark is not found: log10 p <= {finding.log10_p:.1f} after correction "
                f"for 2^{bits:.0f} tests, and {THRESHOLD:.1f} is needed"
            )
        head = (
            f"the watermark is there: log10 p <= {finding.log10_p:.1f} after correction for "
            f"2^{bits:.0f} tests"
        )
        failed = [check for check in self.checks if check.result == "fail"]
        if failed:
            return f"{head}; but it proves nothing to others: {failed[0].detail}"
        if not self.proven:
            return (
                f"{head}; whether its key was committed before its signs could be known was not "
                "checked, so by itself it proves nothing to others"
            )
        return f"{head} ({self.caveat})" if self.caveat else head

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        finding = self.finding
        return {
            "verdict": self.verdict,
            "proven": self.proven,
            "there": finding.there,
            "log10_p": round(finding.log10_p, 3),
            "log10_p_blind": _rounded(finding.of("blind")),
            "log10_p_informed": _rounded(finding.of("informed")),
            "threshold": round(THRESHOLD, 3),
            "log10_tests": round(finding.log10_tests, 3),
            "commitments": finding.commitments,
            "targets": finding.targets,
            "checks": [check.to_json() for check in self.checks],
            "looks": [look.to_json() for look in finding.looks],
        }


# -- commit --------------------------------------------------------------------------------------


def prepare(
    model: Path,
    path: Path,
    passphrase: str,
    *,
    network: Network,
    sender: Sender,
    strength: int = STRENGTH,
    terms_hash: Digest = ZERO_DIGEST,
    sketch: Sketch | None = None,
    progress: Progress | None = None,
) -> Record:
    """Make a key for a model and write the record, or take up the one that is there.

    Raises:
        TensorFileError, UnsupportedModel: the model cannot be read, or cannot carry a mark.
        ClaimMismatch: the record there, or the sketch, is of another model.
        UsageError: it is of another owner or place.
    """
    with open_model(model) as source:
        if path.exists():
            record = load_record(path, lambda: passphrase)
            record.check()
            require_original(record, source)
            _require_place(record, network, sender)
            if sketch is not None and sketch.root != record.commitment.sketch_root:
                raise UsageError(
                    "the record there commits to another sketch, or to none",
                    hint="name another file with --record, or leave --sketch out",
                )
            return record
        made = fingerprint(source, level="deep", progress=progress)
        if sketch is not None and sketch.content_root != made.content_root:
            raise ClaimMismatch(
                "the sketch is of another model",
                hint="draw one of this model: deed fingerprint MODEL --sketch FILE",
            )
        record = Record.create(
            made,
            targets_of(made),
            chain_id=network.deployment.chain_id,
            registry=network.deployment.addresses["ModelRegistry"],
            owner=sender.signer.address,
            strength=strength,
            terms_hash=terms_hash,
            sketch_root=ZERO_DIGEST if sketch is None else sketch.root,
        )
    save_record(record, path, passphrase, replace_it=False)
    return record


def commit(record: Record, path: Path, passphrase: str, *, chain: Chain, sender: Sender) -> Record:
    """Phase A: send the commitment, unless it stands already, and note where it stands.

    Raises:
        LedgerError: as ``Sender.send``; run again to resume.
    """
    known = record.phase_a
    hash_, owner = record.commitment.hash(), record.commitment.owner
    if known is not None and chain.anchors.phase_a_stands_in(owner, hash_, known.block):
        return record
    noted = lodge(hash_, chain=chain, sender=sender)
    record = record.with_phase_a(noted)
    save_record(record, path, passphrase, replace_it=True)
    return record


def lodge(commitment: Digest, *, chain: Chain, sender: Sender) -> PhaseAPlace:
    """Send a commitment of any kind, unless this account's stands already; say where it stands.

    Raises:
        LedgerError: as ``Sender.send``; call it again to resume.
    """
    owner = sender.signer.address
    place = chain.anchors.phase_a_by(owner, commitment)
    if place is None:
        number, receipt = chain.anchors.commit_phase_a(sender, commitment)
        block = chain.rpc.block(receipt.block_number)
        return PhaseAPlace(block.number, number, block.timestamp, receipt.hash)
    # Sent by a run that was killed before it noted so.
    at = chain.anchors.phase_a_block(owner, commitment, from_block=chain.from_block)
    return PhaseAPlace(at, place.number, place.time, ZERO_DIGEST)


def sketch_place(
    sketch: Sketch, owner: Address, record: Record | None, *, chain: Chain, registry: Address
) -> tuple[Digest, PhaseAPlace] | None:
    """Where an owner's final commitment to a sketch stands; None where there is none.

    Args:
        sketch: as its file holds it.
        owner: the account that is said to have committed.
        record: of a watermark whose commitment may carry the sketch's root.
        chain: where it is looked for.
        registry: the ModelRegistry there.
    """
    ways = [sketch.commitment(chain_id=chain.profile.chain_id, registry=registry, owner=owner)]
    if record is not None and record.commitment.sketch_root == sketch.root:
        ways.insert(0, record.commitment.hash())
    final = finalized_block(chain.rpc, chain.profile).number
    for commitment in ways:
        place = chain.anchors.phase_a_by(owner, commitment, final)
        if place is not None:
            at = chain.anchors.phase_a_block(owner, commitment, from_block=chain.from_block)
            return commitment, PhaseAPlace(at, place.number, place.time, ZERO_DIGEST)
    return None


def beacon_of(owner: Address, commitment: Digest, *, chain: Chain) -> tuple[Beacon, int]:
    """The beacon of a commitment that is final, and how many commitments its account has made.

    Raises:
        ClaimMismatch: the account never made it.
        PendingFinality: it, or its beacon, is not final yet.
    """
    final = finalized_block(chain.rpc, chain.profile).number
    if chain.anchors.phase_a_by(owner, commitment, final) is None:
        if chain.anchors.phase_a_by(owner, commitment) is None:
            raise ClaimMismatch(
                f"{owner} never committed to {commitment.short} on {chain.profile.name}",
                hint="another may have copied it: ask for the account and the network that did",
            )
        raise PendingFinality(
            f"the commitment {commitment.short} is not final yet", hint="run this again later"
        )
    block = chain.anchors.phase_a_block(owner, commitment, from_block=chain.from_block)
    at = chain.rpc.block(block)
    beacon = read_beacon(chain.rpc, chain.profile, at, settlement=chain.settlement)
    return beacon, max(1, chain.anchors.phase_a_count(owner))


# -- mark ----------------------------------------------------------------------------------------


def embed_into(
    model: Path,
    dest: Path,
    record: Record,
    path: Path,
    passphrase: str,
    *,
    chain: Chain,
    progress: Progress | None = None,
) -> Marked:
    """Write a marked copy of the committed model.

    Raises:
        ClaimMismatch: another model than was committed to, or the chain moved the commitment.
        UsageError: nothing was committed yet, or something is at `dest`.
        PendingFinality: the beacon is not known yet.
    """
    record.check()
    if record.phase_a is None:
        raise UsageError(
            "the record's commitment was not sent, so it has no beacon",
            hint="run deed watermark commit with the same record first",
        )
    owner, place = record.commitment.owner, record.phase_a.block
    if not chain.anchors.phase_a_stands_in(owner, record.commitment.hash(), place):
        raise ClaimMismatch(
            f"the record's commitment does not stand in block {place}, so its beacon is another",
            step=2,
            hint="run deed watermark commit with the same record again: the chain moved it",
        )
    committed = chain.rpc.block(place)
    beacon = read_beacon(chain.rpc, chain.profile, committed, settlement=chain.settlement)
    raw = tuple(header.raw for header in beacon.headers)
    if record.headers and record.headers != raw:
        raise UsageError(
            "the record keeps another beacon than the chain shows now",
            hint="a copy that was marked under it is no proof; begin again with a new record",
        )
    record = record.with_beacon(beacon.kind, raw)
    save_record(record, path, passphrase, replace_it=True)
    with open_model(model) as source:
        require_original(record, source)
        key = record.effective_key(beacon.value)
        embedded = embed(source, dest, record.targets, key, record.epsilon, progress=progress)
    with open_model(dest) as made:
        root = fingerprint(made).content_root
    record = replace(record, marked=root)
    save_record(record, path, passphrase, replace_it=True)
    return Marked(record, embedded, beacon, root)


# -- look ----------------------------------------------------------------------------------------


def examine(
    suspect: ModelSource,
    record: Record,
    *,
    original: ModelSource | None = None,
    chain: Chain | None = None,
    why_not: str = "no chain was asked",
    claim: Claim | None = None,
    progress: Progress | None = None,
) -> Report:
    """Look for a record's mark in a suspect, and for what makes finding it mean something.

    Args:
        suspect: the model that was found.
        record: as its owner opened it.
        original: the unmarked model.
        chain: where the commitment should stand; None asks nobody.
        why_not: what is said then.
        claim: of the registered marked model.
        progress: called with weights done and in all.

    Raises:
        ClaimMismatch: the record does not open its commitment, or the original is another.
        StateProofInvalid: the beacon is not the commitment's.
        TensorFileError: a model cannot be read.
    """
    made, hash_ = record.commitment, record.commitment.hash()
    record.check()  # (1) the record is what it committed to
    checks = [
        Check(1, "the record opens its commitment", "pass", f"{hash_.short}, of {made.owner}")
    ]
    told, beacon = _on_chain(record, chain, why_not)  # (2) and (3) what the chain says
    number = record.phase_a.number if record.phase_a else 1
    commitments = number if chain is None else max(1, chain.anchors.phase_a_count(made.owner))
    key = record.effective_key(beacon.value)
    checks += [*told, _detector(record), *_of_original(record, original, key, commitments)]
    finding = detect(
        suspect, record.targets, key, original, commitments=commitments, progress=progress
    )
    checks += _of_suspect(finding)
    checks.append(Check(9, "the claim carries the commitment", *_phase_b(record, claim)))
    return Report(tuple(checks), finding, caveat_of(beacon, chain))


def _detector(record: Record) -> Check:
    """Step 4: the detector that was named beforehand."""
    named, this = record.commitment.detector, detector_hash()
    title = "the detector is the committed one"
    if named == this:
        return Check(4, title, "pass", "as committed")
    return Check(4, title, "not checked", f"committed to {named.short}, this one is {this.short}")


def _of_original(
    record: Record, original: ModelSource | None, key: bytes, commitments: int
) -> tuple[Check, Check]:
    """Steps 5 and 6: the original is the one of the commitment, and not marked itself."""
    titles = "the original is the committed one", "the original carries no mark"
    if original is None:
        without = "not checked", "no original was given"
        return Check(5, titles[0], *without), Check(6, titles[1], *without)
    require_original(record, original)
    control = detect(original, record.targets, key, commitments=commitments)
    bare = f"blind log10 p <= {control.best.log10_p:.1f} before correction"
    return (
        Check(5, titles[0], "pass", f"{record.commitment.content_id.short}"),
        Check(6, titles[1], "fail" if control.there else "pass", bare),
    )


def _of_suspect(finding: Finding) -> tuple[Check, Check]:
    """Steps 7 and 8: the suspect's tensors, and its signs."""
    best = finding.best
    hows = sorted({one.how for one in best.found.values()})
    seen = f"{len(best.found)} of {finding.targets} taken {best.way}; {', '.join(hows) or '-'}"
    said = f"{best.kind}, z = {best.total.z:.1f}, log10 p <= {finding.log10_p:.1f} after correction"
    reach = "pass" if finding.there else "fail"
    return (
        Check(7, "the suspect's tensors were found", "pass" if best.found else "fail", seen),
        Check(8, "the signs agree beyond chance", reach, f"{said}, {THRESHOLD:.1f} needed"),
    )


def require_original(record: Record, model: ModelSource) -> Fingerprint:
    """See that a model is the unmarked one of the record.

    The record's roots give the committed content id, and a set of tensors has one multiset root:
    so the core pass alone decides.

    Raises:
        ClaimMismatch: it is another.
    """
    made, roots = fingerprint(model), record.roots
    wanted = (roots.content_root, roots.named_root, roots.n_params)
    held = {(one.name, one.dtype, one.shape, one.cid) for one in made.tensors}
    marks = {(one.name, one.dtype, one.shape, one.cid) for one in record.targets}
    if (made.content_root, made.named_root, made.n_params) != wanted or not marks <= held:
        raise ClaimMismatch(
            f"{model.title} is not the model that the record committed to",
            step=5,
            hint="give the unmarked original as it was committed; an original chosen afterwards "
            "can be made to fit any suspect",
        )
    return made


def _on_chain(
    record: Record, chain: Chain | None, why_not: str
) -> tuple[tuple[Check, Check], Beacon]:
    titles = "the commitment stands on chain", "the key is bound to the beacon"
    made, hash_, place = record.commitment, record.commitment.hash(), record.phase_a
    if chain is None:
        kept = kept_beacon(record.beacon_kind, record.headers)
        return (
            Check(2, titles[0], "not checked", why_not),
            Check(3, titles[1], "not checked", f"kept headers agree among themselves; {why_not}"),
        ), kept
    if made.chain_id != chain.profile.chain_id:
        raise WrongNetwork(
            f"the commitment is for chain {made.chain_id}, not for {chain.profile.chain_id}",
            hint="choose its network with --network, or say --offline",
        )
    final = finalized_block(chain.rpc, chain.profile).number
    stands = chain.anchors.phase_a_by(made.owner, hash_, final)
    if stands is None:
        late = chain.anchors.phase_a_by(made.owner, hash_) is not None
        why = "not final yet" if late else f"{made.owner} never made it; another may have copied it"
        first = Check(2, titles[0], "fail", why)
    elif place is None or not chain.anchors.phase_a_stands_in(made.owner, hash_, place.block):
        first = Check(2, titles[0], "fail", "it is not in the block that the record tells")
    else:
        count = chain.anchors.phase_a_count(made.owner)
        where = f"number {stands.number} of {count} by {made.owner}, block {place.block}, final"
        first = Check(2, titles[0], "pass", where)
    if first.result == "fail" or place is None:
        kept = kept_beacon(record.beacon_kind, record.headers)
        return (first, Check(3, titles[1], "not checked", "step 2 failed")), kept
    try:
        beacon = check_beacon(
            chain.rpc,
            chain.profile,
            chain.rpc.block(place.block),
            record.beacon_kind,
            record.headers,
            settlement=chain.settlement,
        )
    except PendingFinality as error:
        kept = kept_beacon(record.beacon_kind, record.headers)
        return (first, Check(3, titles[1], "fail", error.message)), kept
    blocks = [header.number for header in beacon.headers]
    text = f"block {blocks[0]}" if len(blocks) == 1 else f"blocks {blocks[0]} to {blocks[-1]}"
    told = "; ".join(filter(None, (text, caveat_of(beacon, chain))))
    return (first, Check(3, titles[1], "pass", told)), beacon


def caveat_of(beacon: Beacon, chain: Chain | None) -> str:
    """Why a proof under this beacon says little; empty where it does not."""
    said = [WEAK] if beacon.grindable else []
    if chain is not None and chain.profile.test_network:
        said.append("test network: no evidentiary value")
    return "; ".join(said)


def _phase_b(record: Record, claim: Claim | None) -> tuple[str, str]:
    if claim is None:
        return "not checked", "no claim was given"
    made = record.commitment
    if claim.watermark_commitment != made.hash():
        return "fail", "the claim carries another watermark commitment, or none"
    place = (claim.licensor, claim.chain_id, claim.registry)
    if place != (made.owner, made.chain_id, made.registry):
        return "fail", "the claim is of another licensor, chain or registry than the commitment"
    if record.marked is not None and claim.artifact_root != record.marked:
        return "fail", "the claim is of another model than the marked one"
    return "pass", f"model {claim.model_id().short}"


def _require_place(record: Record, network: Network, sender: Sender) -> None:
    made, deployment = record.commitment, network.deployment
    wanted = (deployment.chain_id, deployment.addresses["ModelRegistry"], sender.signer.address)
    if (made.chain_id, made.registry, made.owner) != wanted:
        raise UsageError(
            "the record there is of another account, chain or registry",
            hint="name another file with --record, or choose its --network and --wallet",
        )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
