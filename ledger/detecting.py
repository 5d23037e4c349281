"""Looking for a watermark: is it there, and what makes finding it mean something to others.

The numbered steps of section 6 of docs/spec/watermark.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ledger.broker.policy import Check
from ledger.chain.beacon import Beacon, check_beacon, kept_beacon
from ledger.chain.finality import finalized_block
from ledger.claim import Claim
from ledger.errors import PendingFinality, WrongNetwork
from ledger.phase_a import Chain, caveat_of
from ledger.tensors.model import ModelSource
from ledger.watermark.detection import Finding, detect
from ledger.watermark.record import Record, detector_hash, require_original
from ledger.watermark.statistics import THRESHOLD

Progress = Callable[[int, int], None]


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


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
