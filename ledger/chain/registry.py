"""The ModelRegistry contract: titles of models, their status and lodged records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Self

from ledger.chain.calls import ContractCalls
from ledger.chain.rpc import BlockId
from ledger.chain.transactions import Sender, TxReceipt
from ledger.claim import Claim
from ledger.eip712 import Domain, StructType, TypedSigner
from ledger.errors import ClaimMismatch
from ledger.ids import ZERO_ADDRESS, Address, Digest, ModelId
from ledger.merkle import T2

KIND_SEALING = 1
KIND_DETECTION = 2
KIND_DISPUTE = 3
KIND_IDENTITY = 4


REGISTER_TYPE = StructType.parse("RegisterModel(bytes32 modelId,uint40 deadline)")


def registry_domain(chain_id: int, registry: Address) -> Domain:
    """The EIP-712 domain of registrations by signature."""
    return Domain("modeldeed ModelRegistry", "1", chain_id, registry)


class ModelStatus(IntEnum):
    """As the registry stores it."""

    NONE = 0
    ACTIVE = 1
    WITHDRAWN = 2
    COMPROMISED = 3

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """A leaf's place under an anchored T2 root, as the contract takes it (docs/spec/merkle.md)."""

    root: Digest
    index: int
    size: int
    path: tuple[Digest, ...]

    @classmethod
    def of_single(cls, leaf: Digest) -> Self:
        """The proof of a leaf anchored by itself: it is its own root."""
        return cls(leaf, 0, 1, ())

    @classmethod
    def of(cls, leaves: Sequence[Digest], index: int) -> Self:
        """The proof of ``leaves[index]`` under the root of all `leaves`."""
        raw = [leaf.raw for leaf in leaves]
        path = tuple(Digest(node) for node in T2.path(raw, index))
        return cls(Digest(T2.root(raw)), index, len(raw), path)

    def as_tuple(self) -> tuple[Any, ...]:
        """In the contract's order of fields."""
        return (self.root, self.index, self.size, self.path)


_NO_PROOF = (Digest(bytes(32)), 0, 0, ())


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A title as it stands. Times in Unix seconds; all zero when the model is unknown.

    Attributes:
        licensor: who holds the title now.
        registered_at: block time of the registration.
        committed_at: block time of the earliest proven commitment, else `registered_at`.
        status: active, withdrawn or compromised.
        committed: whether an earlier anchored commitment was proven.
    """

    licensor: Address
    registered_at: int
    committed_at: int
    status: ModelStatus
    committed: bool


@dataclass(frozen=True, slots=True)
class Guardian:
    """Who may recover a title, and how many seconds after starting."""

    account: Address
    delay: int


@dataclass(frozen=True, slots=True)
class Recovery:
    """A move of a lost wallet's title that is under way; ready at `ready_at`, Unix seconds."""

    to: Address
    ready_at: int


class ModelRegistry(ContractCalls):
    """Calls of one deployed ModelRegistry. Raises as `ContractCalls` says."""

    contract_name = "ModelRegistry"

    def domain(self, chain_id: int) -> Domain:
        """The EIP-712 domain of registrations by signature."""
        return registry_domain(chain_id, self.address)

    # -- reads -----------------------------------------------------------------------------------

    def model_of(self, model_id: ModelId, block: BlockId = "latest") -> ModelRecord:
        """The title of a model; an unknown one has licensor zero and status NONE."""
        licensor, registered, committed_at, status, committed = self._read(
            block, "modelOf", model_id
        )
        return ModelRecord(licensor, registered, committed_at, ModelStatus(status), committed)

    def licensor_of(self, model_id: ModelId, block: BlockId = "latest") -> Address | None:
        """Who holds the title, or None when the model is unknown."""
        (licensor,) = self._read(block, "licensorOf", model_id)
        return None if licensor == ZERO_ADDRESS else licensor

    def sealing_of(self, model_id: ModelId, block: BlockId = "latest") -> tuple[int, Digest]:
        """(epoch, hash) of the newest sealing record; epoch 0 when there is none."""
        epoch, record = self._read(block, "sealingOf", model_id)
        return epoch, record

    def sealing_at(self, model_id: ModelId, epoch: int, block: BlockId = "latest") -> Digest:
        """The hash of the sealing record of one epoch; zero when there is none."""
        (record,) = self._read(block, "sealingAt", model_id, epoch)
        return Digest(record.raw)

    def pending_licensor_of(self, model_id: ModelId, block: BlockId = "latest") -> Address | None:
        """To whom the title is offered, or None."""
        (pending,) = self._read(block, "pendingLicensorOf", model_id)
        return None if pending == ZERO_ADDRESS else pending

    def title_sequence_of(self, model_id: ModelId, block: BlockId = "latest") -> int:
        """How often the title has moved."""
        (sequence,) = self._read(block, "titleSequenceOf", model_id)
        return int(sequence)

    def model_id_of(self, claim: Claim, block: BlockId = "latest") -> ModelId:
        """The id as the contract computes it; equals ``claim.model_id()``."""
        (model_id,) = self._read(block, "modelIdOf", _claim(claim))
        return ModelId(model_id.raw)

    def guardian_of(self, model_id: ModelId, block: BlockId = "latest") -> Guardian | None:
        """Who may recover the title of a lost wallet, or None."""
        guardian = Guardian(*self._read(block, "guardianOf", model_id))
        return None if guardian.account == ZERO_ADDRESS else guardian

    def recovery_of(self, model_id: ModelId, block: BlockId = "latest") -> Recovery | None:
        """The recovery that is under way, or None."""
        recovery = Recovery(*self._read(block, "recoveryOf", model_id))
        return None if recovery.to == ZERO_ADDRESS else recovery

    def parent_confirmed_by(
        self, model_id: ModelId, parent: ModelId, block: BlockId = "latest"
    ) -> Address | None:
        """The licensor of `parent` who confirmed it, or None."""
        (account,) = self._read(block, "parentConfirmedBy", model_id, parent)
        return None if account == ZERO_ADDRESS else account

    # -- transactions ----------------------------------------------------------------------------

    def register(
        self, sender: Sender, claim: Claim, proof: InclusionProof | None
    ) -> tuple[ModelId, TxReceipt]:
        """Register a claim; without a proof the title stays "uncommitted".

        Raises:
            ClaimMismatch: the claim is made for another chain or registry; nothing was sent.
        """
        self._check_place(sender, claim)
        placed = _NO_PROOF if proof is None else proof.as_tuple()
        call = self._abi.encode("register", _claim(claim), placed)
        model_id = claim.model_id()
        receipt = sender.send(self.address, call, purpose=f"register model {model_id.short}")
        event = self._abi.emitted(receipt.logs, self.address, "ModelRegistered")
        return ModelId(event.arguments["modelId"].raw), receipt

    def register_by_sig(
        self,
        sender: Sender,
        claim: Claim,
        proof: InclusionProof | None,
        *,
        deadline: int,
        signature: bytes,
    ) -> tuple[ModelId, TxReceipt]:
        """Send a registration that the claim's licensor has signed (`sign_registration`).

        Raises:
            ClaimMismatch: the claim is made for another chain or registry; nothing was sent.
        """
        self._check_place(sender, claim)
        placed = _NO_PROOF if proof is None else proof.as_tuple()
        model_id = claim.model_id()
        receipt = self._send(
            sender,
            f"register model {model_id.short} for {claim.licensor}",
            "registerBySig",
            _claim(claim),
            placed,
            deadline,
            signature,
        )
        return model_id, receipt

    def register_batch(
        self, sender: Sender, claims: Sequence[Claim], proofs: Sequence[InclusionProof | None]
    ) -> tuple[tuple[ModelId, ...], TxReceipt]:
        """Register several claims of the sender's, all or none.

        Args:
            sender: the licensor of each.
            claims: some tens fit into one transaction.
            proofs: one for each claim, None where it is uncommitted.

        Raises:
            ClaimMismatch: a claim is made for another chain or registry; nothing was sent.
        """
        for claim in claims:
            self._check_place(sender, claim)
        call = self._abi.encode(
            "registerBatch",
            tuple(_claim(claim) for claim in claims),
            tuple(_NO_PROOF if proof is None else proof.as_tuple() for proof in proofs),
        )
        receipt = sender.send(self.address, call, purpose=f"register {len(claims)} models")
        return tuple(claim.model_id() for claim in claims), receipt

    def _check_place(self, sender: Sender, claim: Claim) -> None:
        if claim.registry != self.address or claim.chain_id != sender.profile.chain_id:
            raise ClaimMismatch(
                f"the claim is made for registry {claim.registry} on chain {claim.chain_id}",
                hint="a claim counts on one chain only: choose its network, or publish here anew",
            )

    def prove_earlier(
        self, sender: Sender, model_id: ModelId, proof: InclusionProof
    ) -> tuple[int, TxReceipt]:
        """Prove an earlier anchored commitment; gives its time. Anyone may; it never rises."""
        purpose = f"prove the commitment of model {model_id.short}"
        receipt = self._send(sender, purpose, "proveEarlier", model_id, proof.as_tuple())
        event = self._abi.emitted(receipt.logs, self.address, "CommitmentProven")
        return int(event.arguments["committedAt"]), receipt

    def confirm_parent(self, sender: Sender, claim: Claim, parent: ModelId) -> TxReceipt:
        """Agree, as the licensor of `parent`, that the claimed model descends from it.

        Raises:
            ClaimMismatch: the claim is made for another chain or registry; nothing was sent.
        """
        self._check_place(sender, claim)
        purpose = f"confirm that {claim.model_id().short} descends from {parent.short}"
        return self._send(sender, purpose, "confirmParent", _claim(claim), parent)

    def lodge_sealing(
        self, sender: Sender, model_id: ModelId, epoch: int, record_hash: Digest
    ) -> TxReceipt:
        """Lodge the hash of a sealing record; epochs strictly rise, only the licensor may."""
        return self.lodge(sender, model_id, KIND_SEALING, epoch, record_hash)

    def lodge(
        self, sender: Sender, model_id: ModelId, kind: int, epoch: int, record_hash: Digest
    ) -> TxReceipt:
        """Lodge the hash of a record of any kind."""
        purpose = f"lodge record {record_hash.short} of {model_id.short}"
        return self._send(sender, purpose, "lodge", model_id, kind, epoch, record_hash)

    def propose_transfer(self, sender: Sender, model_id: ModelId, to: Address) -> TxReceipt:
        """Offer the title to an account; zero withdraws the offer."""
        purpose = f"offer the title of model {model_id.short} to {to}"
        return self._send(sender, purpose, "proposeTransfer", model_id, to)

    def accept_transfer(self, sender: Sender, model_id: ModelId) -> TxReceipt:
        """Take the title that was offered to the sender.

        The former licensor can still renew and revoke on each plan until `sync_licensor`.
        """
        purpose = f"take the title of model {model_id.short}"
        return self._send(sender, purpose, "acceptTransfer", model_id)

    def set_status(self, sender: Sender, model_id: ModelId, status: ModelStatus) -> TxReceipt:
        """Withdraw a model, take that back, or declare it compromised."""
        purpose = f"set model {model_id.short} {status}"
        return self._send(sender, purpose, "setStatus", model_id, int(status))

    # -- a lost wallet ---------------------------------------------------------------------------

    def set_guardian(
        self, sender: Sender, model_id: ModelId, guardian: Address, delay: int
    ) -> TxReceipt:
        """Name who may recover the title `delay` seconds (7 days at least) after starting.

        The zero address names nobody. Either way a recovery under way is stopped.
        """
        purpose = f"name {guardian} guardian of model {model_id.short}"
        return self._send(sender, purpose, "setGuardian", model_id, guardian, delay)

    def start_recovery(
        self, sender: Sender, model_id: ModelId, to: Address
    ) -> tuple[Recovery, TxReceipt]:
        """Start to move the title of a lost wallet to `to`. Guardian only."""
        purpose = f"start to recover the title of model {model_id.short} for {to}"
        receipt = self._send(sender, purpose, "startRecovery", model_id, to)
        event = self._abi.emitted(receipt.logs, self.address, "RecoveryStarted")
        return Recovery(event.arguments["to"], int(event.arguments["readyAt"])), receipt

    def veto_recovery(self, sender: Sender, model_id: ModelId) -> TxReceipt:
        """Stop a recovery. Licensor only."""
        purpose = f"stop the recovery of model {model_id.short}"
        return self._send(sender, purpose, "vetoRecovery", model_id)

    def finish_recovery(self, sender: Sender, model_id: ModelId) -> TxReceipt:
        """Move the title after the delay. Guardian only."""
        purpose = f"finish the recovery of model {model_id.short}"
        return self._send(sender, purpose, "finishRecovery", model_id)


def sign_registration(signer: TypedSigner, claim: Claim, *, deadline: int) -> bytes:
    """65 bytes by which anyone may register `claim` for its licensor, until `deadline`."""
    domain = registry_domain(claim.chain_id, claim.registry)
    values = {"modelId": Digest(claim.model_id().raw), "deadline": deadline}
    return signer.sign_typed(domain, REGISTER_TYPE, values)


def _claim(claim: Claim) -> tuple[Any, ...]:
    return (
        claim.licensor,
        claim.artifact_root,
        claim.fingerprint_digest,
        claim.watermark_commitment,
        claim.manifest_hash,
        claim.parents,
        claim.salt,
    )
