"""What a block itself says, whoever shows it: its header, and a license's words under its root.

A header must hash to the hash it is shown under, and a storage proof must lead to the state root in
it. So under a hash that q endpoints agree on, a single endpoint can *prove* that a license is over,
suspended, not yet begun, or another's. Where a chain has no such proofs, neither is checked.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from ledger.broker.facts import Side
from ledger.broker.leases import BlockRef
from ledger.chain.deployment import Deployment
from ledger.chain.profile import ProofKind
from ledger.chain.proofs import fetch_state
from ledger.chain.rpc import Block, Rpc
from ledger.errors import EntitlementError, StateProofInvalid
from ledger.evidence.headers import Header, encode_header
from ledger.evidence.layout import (
    Ext,
    License,
    Plan,
    SeatWord,
    ext_slot,
    owner_slot,
    plan_slot,
    seat_slot,
)
from ledger.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, Digest, LicenseId
from ledger.licensing.entitlement import Code, LicenseFacts, Seat, Status, decide

_KEPT = 512

_K = TypeVar("_K")
_V = TypeVar("_V")


class Kept(Generic[_K, _V]):
    """The last values that were found, by key; the oldest go first. Thread-safe."""

    def __init__(self, size: int = _KEPT) -> None:
        self._values: OrderedDict[_K, _V] = OrderedDict()
        self._lock = threading.Lock()
        self._size = size

    def get(self, key: _K) -> _V | None:
        """The value, or None when it is not kept."""
        with self._lock:
            return self._values.get(key)

    def put(self, key: _K, value: _V) -> _V:
        """Keep a value, and give it back."""
        with self._lock:
            self._values[key] = value
            while len(self._values) > self._size:
                self._values.popitem(last=False)
        return value


class Headers:
    """Headers that were recomputed, by hash. Thread-safe.

    Args:
        proof_kind: of the chain; with ``none``, headers are taken as shown.
    """

    def __init__(self, proof_kind: ProofKind) -> None:
        self.provable = proof_kind == "mpt"
        self._kept: Kept[Digest, Header] = Kept()

    def check(self, block: Block) -> Block:
        """The block, once its fields are known to hash to its hash.

        Raises:
            StateProofInvalid: they do not.
        """
        if self.provable:
            header = self.header(block)
            shown = (block.number, block.timestamp, block.parent_hash, block.state_root)
            if shown != (
                header.number,
                header.timestamp,
                header.parent_hash,
                header.state_root,
            ):
                raise StateProofInvalid(
                    f"block {block.number} is shown with other fields than its hash has"
                )
        return block

    def header(self, block: Block) -> Header:
        """The header behind a block's hash.

        Raises:
            StateProofInvalid: the block's fields do not hash to it.
        """
        known = self._kept.get(block.hash)
        return known or self._kept.put(block.hash, encode_header(block.raw))


@dataclass(frozen=True, slots=True)
class ProvenLicense:
    """A license's words at one block, proven. Of a seat nothing is known on a floating plan."""

    license: License
    ext: Ext
    seat: SeatWord
    licensor: Address

    def facts(self, license_id: LicenseId, *, at: int) -> LicenseFacts:
        """The words as the decision takes them, at `at` (Unix seconds)."""
        word = self.license
        status = Status(word.status) if word.holder != ZERO_ADDRESS else Status.NONE
        if word.held and at < word.not_after:  # a license under notice can be suspended as well
            status = Status.SUSPENDED
        return LicenseFacts(
            license=license_id,
            holder=word.holder,
            status=status,
            not_before=self.ext.not_before,
            not_after=word.not_after,
            suspended_at=self.ext.suspended_at,
            licensor=self.licensor,
            grace=word.grace,
            seat=Seat(self.seat.bound_at, self.seat.until, self.seat.measurement),
        )

    def code(self, facts: LicenseFacts, *, at: int, seat_asked: bool) -> int:
        """The answer that these words alone require; VALID where they require no denial."""
        decided = decide(facts, at=at, seat_needed=seat_asked and not self.license.floating)
        if isinstance(decided, EntitlementError):
            return decided.number
        return int(decided.code)


def prove_license(
    rpc: Rpc,
    header: Header,
    deployment: Deployment,
    license_id: LicenseId,
    runtime_key_hash: Digest,
) -> ProvenLicense:
    """Have one endpoint prove a license's words under a header.

    Raises:
        StateProofInvalid: what it sent does not lead to the header, or the contract there is
            another one.
        RpcRefused: it has no proofs of this block.
    """
    slots = (
        owner_slot(license_id),
        ext_slot(license_id),
        seat_slot(license_id, runtime_key_hash),
        plan_slot(license_id.plan),
    )
    ledger = deployment.addresses["LicenseLedger"]
    state = fetch_state(rpc, header, ledger, slots)
    if state.code_hash != deployment.code_hashes["LicenseLedger"]:
        raise StateProofInvalid(f"the contract at {ledger} is another one in this state")
    words = {proof.slot: proof.value.to_bytes(32, "big") for proof in state.slots}
    owner, ext, seat, plan = (words[slot] for slot in slots)
    word = License.parse(owner)
    return ProvenLicense(
        word,
        Ext.parse(ext if word.has_ext else bytes(32)),
        SeatWord.parse(seat),
        Plan.parse(plan).licensor,
    )


def proven_side(
    proven: ProvenLicense,
    block: Block,
    license_id: LicenseId,
    runtime_key_hash: Digest,
    *,
    at: int,
) -> Side:
    """All that a proof says, as one side of a decision that can only be a no."""
    facts = proven.facts(license_id, at=at)
    return Side(
        block=BlockRef(block.number, block.hash, block.timestamp),
        code=proven.code(facts, at=at, seat_asked=runtime_key_hash != ZERO_DIGEST),
        license=facts,
        grant_nonce=proven.ext.grant_nonce,
        plan=None,
        title_holder=ZERO_ADDRESS,
        model_status=0,
        sealing_epoch=0,
        sealing=ZERO_DIGEST,
        brokers=(),
    )


def overruled(shown: Side, proven: Side) -> Side:
    """What q endpoints show, corrected by a proof where it denies or names another holder.

    A proof never turns a no into a yes: where it requires no denial, the shown answer stands.
    """
    denies = not grants(proven.code)
    same = (shown.license.holder, shown.grant_nonce) == (
        proven.license.holder,
        proven.grant_nonce,
    )
    if not denies and same:
        return shown
    return replace(
        shown,
        code=proven.code if denies else shown.code,
        license=proven.license,
        grant_nonce=proven.grant_nonce,
    )


def grants(code: int) -> bool:
    """Whether an answer of ``check`` entitles; an unknown one does not."""
    return code in {Code.VALID, Code.REVOKING}
