"""Everything the chain can prove about one model, gathered at one finalized block.

Logs are only a guide to receipts; receipts, state and headers are proved on arrival. What is found
here is what ``ledger.evidence`` verifies later, without the chain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ledger.chain.deployment import Deployment
from ledger.chain.proofs import fetch_headers, fetch_receipts, fetch_state, find_logs, place_of
from ledger.chain.rpc import Rpc
from ledger.claim import Claim
from ledger.errors import (
    ChainError,
    InclusionProofInvalid,
    LimitExceeded,
    PendingFinality,
    RpcRefused,
    UnknownRecord,
)
from ledger.evidence.documents import Inclusion, ReceiptProof, StateProof
from ledger.evidence.events import decode, topic_of
from ledger.evidence.headers import Header
from ledger.evidence.layout import (
    PLAN_MODEL_WORD,
    PLAN_TERMS_WORD,
    confirmation_slot,
    ext_slot,
    owner_slot,
    plan_slot,
    sealing_epoch_slot,
    sealing_slot,
    stamp_slot,
    title_slot,
    transfer_slot,
)
from ledger.evidence.receipts import Receipt, Transaction
from ledger.evidence.release_steps import CONTRACT as BROKERS
from ledger.evidence.release_steps import Receipt as BrokerReceipt
from ledger.ids import Address, Digest, LicenseId

# Longer gaps between an event and the finalized block stay open: the event's block then stands on
# its own hash, which the reader must vouch for too.
MAX_LINKED_HEADERS = 4096
MAX_LICENSES = 1000
CONTRACTS = ("Anchors", "LicenseLedger", "ModelRegistry")
_TITLE_EVENTS = (
    "ModelRegistered",
    "CommitmentProven",
    "ParentDeclared",
    "ParentConfirmed",
    "TitleTransferred",
    "ModelStatusSet",
)
_KIND_SEALING = f"0x{1:064x}"
_MAX_PATH = 64


@dataclass(frozen=True, slots=True)
class Harvest:
    """What the chain proved.

    Attributes:
        state: the finalized header whose state is proved.
        commitment: inclusion proof of the claim's commitment; None when none was found.
        headers: ascending; linked to `state` where the gap is small.
        code: runtime code by contract.
    """

    state: Header
    headers: tuple[Header, ...]
    accounts: dict[str, StateProof]
    code: dict[str, bytes]
    receipts: tuple[ReceiptProof, ...]
    licenses: tuple[LicenseId, ...]
    commitment: Inclusion | None


def harvest_model(
    rpc: Rpc,
    deployment: Deployment,
    number: int,
    claim: Claim,
    *,
    licenses: Sequence[LicenseId] | None = None,
    commitment: Inclusion | None = None,
    releases: Sequence[BrokerReceipt] = (),
    index: OlderEvidence | None = None,
    progress: Callable[[str], None] | None = None,
) -> Harvest:
    """Gather a model's proofs as of block `number`, which should be finalized.

    Args:
        rpc: an endpoint with archive of that block's state.
        deployment: the contracts.
        number: the block whose state is proved.
        claim: the opened claim.
        licenses: those concerned; None takes all on plans of this model.
        commitment: of the claim; None reads it from the transaction that used it.
        releases: receipts of brokers, whose anchorings are proved.
        index: what an index has kept, for events whose receipts the endpoint has forgotten.
        progress: called with what is being done.

    Raises:
        UnknownRecord: the chain does not know this model, or no anchoring of a receipt.
        PendingFinality: it does, but not yet at this block.
        StateProofInvalid: the node's answers do not lead to its headers.
        LimitExceeded: more licenses than one bundle takes; name those concerned.
    """
    say = progress or (lambda _what: None)
    finder = _Finder(rpc, deployment, number, index)
    state = fetch_headers(rpc, [number])[0]
    say("finding the model's events")
    places = finder.title(claim)
    found, more = finder.licenses(claim, licenses)
    places |= more
    for release in releases:
        places |= finder.anchoring(release)
    say(f"proving {len(places)} receipts")
    receipts = _receipts(rpc, places, index)
    if commitment is None:
        commitment = _used_commitment(claim, deployment, receipts)
    if commitment is not None:
        anchored = finder.places("Anchors", "RootAnchored", [str(commitment.root)])
        receipts |= _receipts(rpc, anchored - set(receipts), index)
    say("proving state")
    accounts = _accounts(rpc, deployment, state, claim, licenses=found, commitment=commitment)
    if releases:
        slots = sorted({slot for release in releases for slot in release.slots()})
        accounts[BROKERS] = fetch_state(rpc, state, deployment.addresses[BROKERS], slots)
    say("linking block headers")
    blocks = {block for block, _ in receipts}
    return Harvest(
        state=state,
        headers=_headers(rpc, blocks, state, index),
        accounts=accounts,
        code={name: rpc.code(deployment.addresses[name], number) for name in accounts},
        receipts=tuple(receipts[place] for place in sorted(receipts)),
        licenses=found,
        commitment=commitment,
    )


class _Finder:
    """Where our events are: block and transaction index."""

    def __init__(
        self, rpc: Rpc, deployment: Deployment, last: int, index: OlderEvidence | None
    ) -> None:
        self._rpc = rpc
        self._index = index
        self._deployment = deployment
        self._last = last

    def places(
        self,
        contract: str,
        events: str | Sequence[str],
        *topics: Sequence[str] | None,
        last: int | None = None,
    ) -> set[tuple[int, int]]:
        return {place_of(log) for log in self._logs(contract, events, *topics, last=last)}

    def title(self, claim: Claim) -> set[tuple[int, int]]:
        model = str(claim.model_id())
        registered = self.places("ModelRegistry", "ModelRegistered", [model])
        if not registered:
            head = self._rpc.block("latest").number
            if self.places("ModelRegistry", "ModelRegistered", [model], last=head):
                raise PendingFinality(
                    f"model {model} is registered, but not yet in a finalized block",
                    hint="collect again in a few minutes",
                )
            raise UnknownRecord(
                f"the registry at {self._deployment.addresses['ModelRegistry']} does not know "
                f"model {model}",
                hint="check the network, and that the claim is the one registered",
            )
        rivals = [None, None, [str(claim.artifact_root)]]
        return (
            registered
            | self.places("ModelRegistry", _TITLE_EVENTS, [model])
            | self.places("ModelRegistry", "RecordLodged", [model], [_KIND_SEALING])
            | self.places("ModelRegistry", "ModelRegistered", *rivals)
        )

    def licenses(
        self, claim: Claim, wanted: Sequence[LicenseId] | None
    ) -> tuple[tuple[LicenseId, ...], set[tuple[int, int]]]:
        if wanted is None:
            wanted = self._issued(claim)
        if len(wanted) > MAX_LICENSES:
            raise LimitExceeded(
                f"{len(wanted)} licenses are more than the {MAX_LICENSES} one bundle takes",
                hint="name the licenses concerned",
            )
        chosen = tuple(sorted(set(wanted)))
        tokens = [f"0x{int(license_id):064x}" for license_id in chosen]
        if not tokens:
            return (), set()
        events = (
            "LicenseIssued",
            "LicenseRenewed",
            "LicenseSuspended",
            "LicenseReinstated",
            "LicenseRevoked",
        )
        places = self.places("LicenseLedger", events, tokens)
        return chosen, places | self.places("LicenseLedger", "Transfer", None, None, tokens)

    def anchoring(self, release: BrokerReceipt) -> set[tuple[int, int]]:
        """Where a receipt's root was anchored, and its broker's key registered."""
        broker, number = (f"0x{of:064x}" for of in (release.broker, release.anchoring))
        anchored = self.places(BROKERS, "ReceiptsAnchored", [broker], [number])
        if not anchored:
            head = self._rpc.block("latest").number
            if self.places(BROKERS, "ReceiptsAnchored", [broker], [number], last=head):
                raise PendingFinality(
                    f"anchoring {release.anchoring} of broker {release.broker} is not yet in a "
                    "finalized block",
                    hint="collect again in a few minutes",
                )
            raise UnknownRecord(
                f"broker {release.broker} made no anchoring {release.anchoring} on this chain",
                hint="check that the receipt is of this network",
            )
        keys = {
            place_of(log)
            for log in self._logs(BROKERS, "BrokerKeysSet", [broker])
            if str(log.get("data"))[2:66] == release.key_hash.raw.hex()
        }
        return anchored | keys

    def _issued(self, claim: Claim) -> list[LicenseId]:
        model = [str(claim.model_id())]
        plans = [
            log["topics"][1]
            for log in self._logs("LicenseLedger", "PlanCreated", None, None, model)
        ]
        if not plans:
            return []
        logs = self._logs("LicenseLedger", "LicenseIssued", None, plans)
        return [LicenseId(int(log["topics"][1], 16)) for log in logs]

    def _logs(
        self,
        contract: str,
        events: str | Sequence[str],
        *topics: Sequence[str] | None,
        last: int | None = None,
    ) -> list[dict[str, Any]]:
        names = [events] if isinstance(events, str) else list(events)
        first = [str(topic_of(contract, name)) for name in names]
        address, begin = self._deployment.addresses[contract], self._deployment.block
        end = self._last if last is None else last
        # A node that has forgotten old logs refuses, or shows none of them: both are asked.
        kept = (
            [] if self._index is None else self._index.places(address, [first, *topics], begin, end)
        )
        try:
            return kept + find_logs(self._rpc, address, [first, *topics], begin, end)
        except RpcRefused as refusal:
            if self._index is None:
                raise
            if not self._index.reaches(min(end, self._last)):
                refusal.hint = "the index has not read that far; wait until it has, or ask a node"
                raise
            return kept


class OlderEvidence(Protocol):
    """What an index has kept (`ledger.index.kept_evidence`)."""

    def places(
        self,
        address: Address,
        topics: Sequence[str | Sequence[str] | None],
        first: int,
        last: int,
    ) -> list[dict[str, Any]]:
        """Logs as ``eth_getLogs`` shows them."""
        ...

    def reaches(self, block: int) -> bool:
        """Whether it has read the chain up to a block."""
        ...

    def header(self, block: int) -> Header | None:
        """The header of a block with events of ours."""
        ...

    def receipt(self, block: int, index: int) -> ReceiptProof | None:
        """A receipt with events of ours, and its proof."""
        ...


def _headers(
    rpc: Rpc, blocks: set[int], state: Header, index: OlderEvidence | None
) -> tuple[Header, ...]:
    """The events' headers and those that link them; unlinked ones where nodes forgot them."""
    try:
        return fetch_headers(rpc, _linked(blocks, state.number))
    except ChainError:
        if index is None:
            raise
    found = [state]
    for block in blocks:
        kept = index.header(block)
        found += fetch_headers(rpc, [block]) if kept is None else [kept]
    return tuple(sorted({header.number: header for header in found}.values(), key=_number))


def _number(header: Header) -> int:
    return header.number


def _receipts(
    rpc: Rpc, places: set[tuple[int, int]], index: OlderEvidence | None
) -> dict[tuple[int, int], ReceiptProof]:
    if index is None:
        return _asked(rpc, places)
    proofs: dict[tuple[int, int], ReceiptProof] = {}
    for block in sorted({block for block, _ in places}):
        wanted = {place for place in places if place[0] == block}
        try:
            proofs |= _asked(rpc, wanted)
        except ChainError as refusal:
            for place in sorted(wanted):
                kept = index.receipt(*place)
                if kept is None:
                    refusal.hint = "the index has not kept this receipt either; ask an archive node"
                    raise
                proofs[place] = kept
    return proofs


def _asked(rpc: Rpc, places: set[tuple[int, int]]) -> dict[tuple[int, int], ReceiptProof]:
    proofs = {}
    for header in fetch_headers(rpc, {block for block, _ in places}):
        indices = [index for block, index in places if block == header.number]
        for proof in fetch_receipts(rpc, header, indices):
            proofs[header.number, proof.index] = proof
    return proofs


def _used_commitment(
    claim: Claim, deployment: Deployment, receipts: dict[tuple[int, int], ReceiptProof]
) -> Inclusion | None:
    """The newest inclusion proof that a registration, or a later proof, of this claim carried."""
    leaf = claim.commitment_leaf()
    registry = deployment.addresses["ModelRegistry"]
    newest = None
    for place in sorted(receipts):
        proof = receipts[place]
        names = [
            read[0]
            for log in Receipt.parse(proof.receipt).logs
            if log.emitter == registry
            and (read := decode(log, "ModelRegistry"))
            and read[1].get("modelId") == Digest(claim.model_id().raw)
        ]
        if not {"ModelRegistered", "CommitmentProven"} & set(names) or not proof.transaction:
            continue
        carried = _carried(Transaction.parse(proof.transaction).data)
        for candidate in (carried, Inclusion(leaf, 0, 1, ())):
            if candidate is not None and _includes(candidate, leaf):
                newest = candidate
                break
    return newest


def _includes(proof: Inclusion, leaf: Digest) -> bool:
    try:
        proof.verify(leaf)
    except InclusionProofInvalid:
        return False
    return True


def _carried(call: bytes) -> Inclusion | None:
    """The inclusion proof in the call data of register, registerBySig or proveEarlier.

    In all three it is the second argument: ``(root, index, size, path)``, by its offset.
    """
    words = call[4:]

    def word(at: int) -> int:
        return int.from_bytes(words[at : at + 32], "big")

    at = word(32)
    length = word(at + word(at + 96))
    first = at + word(at + 96) + 32
    if len(words) < 64 or length > _MAX_PATH or first + 32 * length > len(words):
        return None
    path = tuple(Digest(words[first + 32 * i : first + 32 * (i + 1)]) for i in range(length))
    return Inclusion(Digest(words[at : at + 32]), word(at + 32), word(at + 64), path)


def _accounts(
    rpc: Rpc,
    deployment: Deployment,
    state: Header,
    claim: Claim,
    *,
    licenses: Sequence[LicenseId],
    commitment: Inclusion | None,
) -> dict[str, StateProof]:
    model = claim.model_id()
    registry = deployment.addresses["ModelRegistry"]
    fixed = [title_slot(model), transfer_slot(model), sealing_epoch_slot(model)]
    first = fetch_state(rpc, state, registry, fixed)
    epoch = next(slot.value for slot in first.slots if slot.slot == fixed[2])
    fixed += [confirmation_slot(model, parent) for parent in claim.parents]
    if epoch:
        fixed.append(sealing_slot(model, epoch))
    ledger = [slot(license_id) for license_id in licenses for slot in (owner_slot, ext_slot)]
    for plan in {license_id.plan for license_id in licenses}:
        ledger += [plan_slot(plan, word) for word in (0, PLAN_MODEL_WORD, PLAN_TERMS_WORD)]
    slots = {
        "Anchors": [stamp_slot(commitment.root)] if commitment else [],
        "ModelRegistry": fixed,
        "LicenseLedger": ledger,
    }
    return {
        name: fetch_state(rpc, state, deployment.addresses[name], slots[name]) for name in CONTRACTS
    }


def _linked(blocks: set[int], state: int) -> set[int]:
    """The headers to carry: the events' own, and those that link them to the state's block."""
    near = [block for block in blocks if state - block < MAX_LINKED_HEADERS]
    return {state} | blocks | set(range(min(near, default=state), state))
