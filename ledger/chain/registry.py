"""The ModelRegistry contract: titles of models, their status and lodged records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Self

from ledger.chain.abi_codec import contract
from ledger.chain.rpc import BlockId, Rpc
from ledger.chain.transactions import Sender, TxReceipt
from ledger.claim import Claim
from ledger.eip712 import Domain
from ledger.errors import ClaimMismatch
from ledger.ids import ZERO_ADDRESS, Address, Digest, ModelId
from ledger.merkle import T2

KIND_SEALING = 1
KIND_DETECTION = 2
KIND_DISPUTE = 3
KIND_IDENTITY = 4


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


class ModelRegistry:
    """Calls of one deployed ModelRegistry. Raises as `ledger.chain.anchors.Anchors` does."""

    def __init__(self, rpc: Rpc, address: Address) -> None:
        self.address = address
        self._rpc = rpc
        self._abi = contract("ModelRegistry")

    def _read(self, block: BlockId, function: str, *args: Any) -> tuple[Any, ...]:
        call = self._abi.encode(function, *args)
        return self._abi.decode(function, self._rpc.eth_call(self.address, call, block))

    def domain(self, chain_id: int) -> Domain:
        """The EIP-712 domain of registrations by signature."""
        return Domain("modeldeed ModelRegistry", "1", chain_id, self.address)

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

    # -- transactions ----------------------------------------------------------------------------

    def register(
        self, sender: Sender, claim: Claim, proof: InclusionProof | None
    ) -> tuple[ModelId, TxReceipt]:
        """Register a claim; without a proof the title stays "uncommitted".

        Raises:
            ClaimMismatch: the claim is made for another chain or registry; nothing was sent.
        """
        if claim.registry != self.address or claim.chain_id != sender.profile.chain_id:
            raise ClaimMismatch(
                f"the claim is made for registry {claim.registry} on chain {claim.chain_id}",
                hint="publish again on this network: a claim counts on one chain only",
            )
        placed = _NO_PROOF if proof is None else proof.as_tuple()
        call = self._abi.encode("register", _claim(claim), placed)
        model_id = claim.model_id()
        receipt = sender.send(self.address, call, purpose=f"register model {model_id.short}")
        event = self._abi.emitted(receipt.logs, self.address, "ModelRegistered")
        return ModelId(event.arguments["modelId"].raw), receipt

    def lodge_sealing(
        self, sender: Sender, model_id: ModelId, epoch: int, record_hash: Digest
    ) -> TxReceipt:
        """Lodge the hash of a sealing record; epochs strictly rise, only the licensor may."""
        return self.lodge(sender, model_id, KIND_SEALING, epoch, record_hash)

    def lodge(
        self, sender: Sender, model_id: ModelId, kind: int, epoch: int, record_hash: Digest
    ) -> TxReceipt:
        """Lodge the hash of a record of any kind."""
        call = self._abi.encode("lodge", model_id, kind, epoch, record_hash)
        return sender.send(
            self.address, call, purpose=f"lodge record {record_hash.short} of {model_id.short}"
        )

    def propose_transfer(self, sender: Sender, model_id: ModelId, to: Address) -> TxReceipt:
        """Offer the title to an account."""
        call = self._abi.encode("proposeTransfer", model_id, to)
        return sender.send(
            self.address, call, purpose=f"offer the title of model {model_id.short} to {to}"
        )

    def accept_transfer(self, sender: Sender, model_id: ModelId) -> TxReceipt:
        """Take the title that was offered to the sender."""
        call = self._abi.encode("acceptTransfer", model_id)
        return sender.send(self.address, call, purpose=f"take the title of model {model_id.short}")

    def set_status(self, sender: Sender, model_id: ModelId, status: ModelStatus) -> TxReceipt:
        """Withdraw a model, take that back, or declare it compromised."""
        call = self._abi.encode("setStatus", model_id, int(status))
        return sender.send(self.address, call, purpose=f"set model {model_id.short} {status}")


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
