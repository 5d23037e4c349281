"""Publishing: everything a licensor does to a model, in order, resumable between any two steps.

The steps are recovery → fingerprint → commit → register → seal → lodge → deposit → plan → leaves.
Each leaves its result in ``journal.json`` of the publication's folder by an atomic replace. The
journal remembers what was made here (ids, the sealing record); whether something stands on the
chain is always asked of the chain, so a step that was sent but not yet noted, or noted and then
reorganised away, is neither done twice nor missed.

The content key exists only in the recovery file, encrypted under a passphrase and written before
anything else (docs/spec/recovery-file.md). The claim with its salt, which opens the commitment,
lies in ``claim.json`` for the evidence, readable by its owner alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ledger.broker.cellplans import CellChoice, resumed
from ledger.broker.client import BrokerClient
from ledger.broker.custody import write_private
from ledger.broker.depositing import SharingBrokers, deposited_with, require_set
from ledger.broker.recovery import Recovery
from ledger.canonical import canonical_json, hash_bytes, parse_json
from ledger.chain.anchors import Anchors
from ledger.chain.licenses import LicenseLedger, PlanTerms
from ledger.chain.network import Network
from ledger.chain.registry import InclusionProof, ModelRegistry
from ledger.chain.rpc import Rpc, quantity
from ledger.chain.settling import Settling
from ledger.chain.transactions import Sender, TxReceipt
from ledger.claim import Claim, build_manifest, manifest_hash
from ledger.client import Client
from ledger.errors import (
    ClaimMismatch,
    IndexUnavailable,
    InsufficientFunds,
    LedgerError,
    PendingFinality,
    UnknownRecord,
    UsageError,
)
from ledger.fingerprint.exact import Fingerprint, fingerprint
from ledger.fingerprint.ids import TensorIds
from ledger.ids import ZERO_DIGEST, Digest, ModelId
from ledger.journal import Journal, exclusive, keep_documents
from ledger.licensing.terms import Terms
from ledger.paths import file_stem, own_name
from ledger.sealed.file import inspect, seal
from ledger.sealed.record import SealingRecord
from ledger.tensors.model import ModelSource, open_model

STEPS = (
    "recovery",
    "fingerprint",
    "commit",
    "register",
    "seal",
    "lodge",
    "deposit",
    "plan",
    "leaves",
)


class Observer(Protocol):
    """Hears how a publication goes on; what it raises stops the publication, resumably."""

    def __call__(self, step: str, phase: str, detail: str) -> None:
        """`phase` is ``begin``, ``acted`` (done, not yet noted), ``noted``, or ``kept``."""


@dataclass(frozen=True, slots=True)
class Published:
    """What a publication made."""

    model_id: ModelId
    plan_id: int
    claim: Claim
    fingerprint: Fingerprint
    record: SealingRecord
    sealed: Path
    recovery: Path
    folder: Path


class Publication:
    """One model on its way to being licensed.

    Args:
        model: a .safetensors file or a folder of them.
        folder: where the journal, the sealed file and the recovery file go.
        network: chain and service to publish on.
        sender: signs and sends as the licensor.
        broker: where the content key is deposited; the brokers of a set whose threshold is above 1.
        terms: what the plan's terms hash stands for; the broker gets a copy.
        offer: the plan; its model id and terms hash are filled in here.
        passphrase: opens the recovery file; the same one is needed to resume.
        title: what the manifest calls the model; the file's name by default.
        final_timeout: seconds to wait for finality where a step rests on it.
        cells: to be marked per license; a publication that is resumed keeps those it began with,
            and refuses others.
        epoch: number of the sealing; see ``ledger.resealing`` for those after the first.
        watermark: the commitment of the watermark that the model carries; zero for none.
    """

    def __init__(
        self,
        model: Path,
        folder: Path,
        *,
        network: Network,
        sender: Sender,
        broker: BrokerClient | SharingBrokers,
        terms: Terms,
        offer: PlanTerms,
        passphrase: str,
        title: str = "",
        final_timeout: float = 1800.0,
        observer: Observer | None = None,
        cells: CellChoice | None = None,
        epoch: int = 1,
        watermark: Digest = ZERO_DIGEST,
    ) -> None:
        self.model_path = model
        self._watermark = watermark
        self.folder = folder
        self.network = network
        self.sender = sender
        self.broker = broker
        self.terms = terms
        self.offer = offer
        self.title = title or own_name(model)
        self.final_timeout = final_timeout
        self._passphrase = passphrase
        self._observer = observer or _silent
        self._cells = cells
        self.epoch = epoch
        addresses = network.deployment.addresses
        rpc: Rpc = sender.rpc
        self._settling = Settling(sender, final_timeout)
        self._anchors = Anchors(rpc, addresses["Anchors"])
        self._registry = ModelRegistry(rpc, addresses["ModelRegistry"])
        self._licenses = LicenseLedger(rpc, addresses["LicenseLedger"])
        # Sealings of one model may come to lie in one place for download.
        stem = file_stem(self.title) + (f".epoch{epoch}" if epoch > 1 else "")
        self.sealed_path = folder / f"{stem}.sealed"
        self.recovery_path = folder / f"{stem}.recovery.json"

    def run(self) -> Published:
        """Do what is still to be done.

        Raises:
            UsageError: the folder holds another publication.
            TensorFileError: the model cannot be read; nothing is sent then.
            ClaimMismatch: the model's content changed since the publication began.
            LedgerError: what the chain or the broker refused; run again to resume.
        """
        with open_model(self.model_path) as model:
            # What cannot come to an end is refused before anything is written or sent.
            self._made = fingerprint(model, level="deep")
            self._opened = model
            self._check_means()
            if self._cells is not None:
                self._cells.require_room(model)
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with exclusive(self.folder / "journal.lock"):
                return self._run(model)

    def _inputs(self) -> dict[str, Any]:
        """What a run that resumes must have in common with the first."""
        deployment = self.network.deployment
        return {
            "chain_id": deployment.chain_id,
            "genesis": str(deployment.genesis_hash),
            "registry": str(deployment.addresses["ModelRegistry"]),
            "licensor": str(self.sender.signer.address),
            "title": self.title,
            "terms_hash": str(self.terms.hash()),
            "offer": _offer_text(self.offer),
        }

    def _run(self, model: ModelSource) -> Published:
        self._journal = Journal(self.folder / "journal.json", self._inputs())
        recovery = self._recover()
        print_of_model = self._fingerprint(model)
        claim = self._claim(model, print_of_model, recovery)
        self._commit(claim)
        self._register(claim)
        record = self._seal(model, print_of_model, claim, recovery)
        self._lodge(record)
        self._deposit(record, recovery)
        plan_id = self._plan(claim)
        self._leaves(claim, print_of_model)
        return Published(
            claim.model_id(),
            plan_id,
            claim,
            print_of_model,
            record,
            self.sealed_path,
            self.recovery_path,
            self.folder,
        )

    def _check_means(self) -> None:
        """See that the licensor can pay and that the plan's brokers are those we deposit with.

        Raises:
            InsufficientFunds: the account is empty.
            SignatureInvalid, UsageError: the broker is not one of the plan's set.
        """
        rpc, account = self.sender.rpc, self.sender.signer.address
        if quantity(rpc.call("eth_getBalance", [str(account), "latest"])) == 0:
            raise InsufficientFunds(
                f"account {account} has no coins on {self.network.profile.name}",
                hint="send it some to pay for transactions, or publish with another wallet",
            )
        require_set(self.broker, rpc, self.network.deployment, self.offer)

    # -- the steps, in order ------------------------------------------------------------------

    def _recover(self) -> Recovery:
        self._observer("recovery", "begin", "")
        if self.recovery_path.exists():
            recovery = Recovery.load(self.recovery_path, self._passphrase)
            noted = self._journal.get("recovery") or {}
            self._cells = resumed(
                self._cells, recovery.cells, noted.get("cell_bytes"), where=self.folder
            )
            self._observer("recovery", "kept", str(self.recovery_path))
            return recovery
        if self._journal.get("recovery") is not None:
            raise UsageError(
                f"{self.recovery_path} is gone, and with it the key of this publication",
                hint="put your copy of the recovery file back, or publish anew in another folder",
            )
        recovery = self._secrets()
        if self._cells is not None:
            recovery = replace(recovery, cells=self._cells.secrets())
        result: dict[str, Any] = {"file": self.recovery_path.name}
        if self._cells is not None:
            result["cell_bytes"] = self._cells.cell_bytes
        self._save_recovery(recovery)
        self._note("recovery", result, str(self.recovery_path))
        return recovery

    def _secrets(self) -> Recovery:
        return Recovery.create()

    def _save_recovery(self, recovery: Recovery) -> None:
        document = recovery.encrypt(self._passphrase)
        write_private(
            self.recovery_path, json.dumps(document, indent=2).encode() + b"\n", replace=True
        )

    def _fingerprint(self, model: ModelSource) -> Fingerprint:
        self._observer("fingerprint", "begin", f"{model.total_bytes} bytes")
        noted = self._journal.get("fingerprint")
        path = self.folder / "fingerprint.json"
        if noted is not None and path.exists():
            kept = Fingerprint.from_json(parse_json(path.read_bytes(), what=str(path)))
            self._observer("fingerprint", "kept", str(kept.content_root))
            return kept
        made = self._made
        write_private(path, canonical_json(made.to_json()) + b"\n", replace=True)
        self._note("fingerprint", {"content_root": str(made.content_root)}, str(made.content_root))
        return made

    def _claim(self, model: ModelSource, made: Fingerprint, recovery: Recovery) -> Claim:
        manifest = build_manifest(model, title=self.title)
        deployment = self.network.deployment
        claim = Claim(
            chain_id=deployment.chain_id,
            registry=deployment.addresses["ModelRegistry"],
            licensor=self.sender.signer.address,
            artifact_root=made.content_root,
            fingerprint_digest=made.content_id(),
            watermark_commitment=self._watermark,
            manifest_hash=manifest_hash(manifest),
            parents=(),
            salt=recovery.salt,
        )
        self._keep_claim(claim, manifest)
        return claim

    def _keep_claim(self, claim: Claim, manifest: dict[str, Any]) -> None:
        keep_documents(self.folder, self.model_path, claim, manifest, self.terms)

    def _commit(self, claim: Claim) -> None:
        leaf = claim.commitment_leaf()
        self._observer("commit", "begin", str(leaf))
        if self._settling.standing(lambda: self._anchors.anchored_at(leaf) is not None):
            self._observer("commit", "kept", str(leaf))
            return
        receipt = self._anchors.anchor(self.sender, leaf)
        self._note("commit", _transaction(receipt), f"block {receipt.block_number}")

    def _register(self, claim: Claim) -> None:
        model_id = claim.model_id()
        self._observer("register", "begin", str(model_id))
        if self._settling.standing(lambda: self._registry.licensor_of(model_id) is not None):
            if self._journal.get("register") is None:
                self._journal.note("register", {"model_id": str(model_id)})
            self._observer("register", "kept", str(model_id))
            return
        registered, receipt = self._registry.register(
            self.sender, claim, InclusionProof.of_single(claim.commitment_leaf())
        )
        if registered != model_id:
            raise ClaimMismatch(f"the registry calls the model {registered}, we {model_id}")
        self._note(
            "register",
            {"model_id": str(model_id), **_transaction(receipt)},
            f"{model_id} in block {receipt.block_number}",
        )

    def _seal(
        self, model: ModelSource, made: Fingerprint, claim: Claim, recovery: Recovery
    ) -> SealingRecord:
        self._observer("seal", "begin", str(self.sealed_path))
        noted = self._journal.get("seal")
        if noted is not None and self.sealed_path.exists():
            record = SealingRecord.from_json(noted["record"])
            if inspect(self.sealed_path).root == record.root:
                self._observer("seal", "kept", str(self.sealed_path))
                return record
        deployment = self.network.deployment
        plan = None
        if recovery.cells is not None and self._cells is not None:
            plan = self._cells.plan(recovery.cells)
        record = seal(
            model,
            self.sealed_path,
            content_key=recovery.content_key,
            model_id=claim.model_id(),
            chain_id=deployment.chain_id,
            registry=deployment.addresses["ModelRegistry"],
            epoch=self.epoch,
            broker_set=self.offer.broker_set,
            fingerprint=made,
            cells=plan,
        )
        if recovery.cells is not None and plan is not None:
            recovery.cells.records = plan.records
        self._save_recovery(recovery.with_sealing(claim, record))
        self._note("seal", {"record": record.to_json()}, str(self.sealed_path))
        return record

    def _lodge(self, record: SealingRecord) -> None:
        self._observer("lodge", "begin", str(record.hash()))

        def lodged() -> bool:
            return self._registry.sealing_at(record.model_id, record.epoch) == record.hash()

        if self._settling.standing(lodged):
            self._observer("lodge", "kept", str(record.hash()))
            return
        receipt = self._registry.lodge_sealing(
            self.sender, record.model_id, record.epoch, record.hash()
        )
        self._note("lodge", _transaction(receipt), f"block {receipt.block_number}")

    def _deposit(self, record: SealingRecord, recovery: Recovery) -> None:
        self._observer("deposit", "begin", "")
        path = self.folder / "deposit-receipt.json"
        if self._journal.get("deposit") is not None and path.exists():
            self._observer("deposit", "kept", str(path))
            return
        # The content key goes to nobody but the broker that the chain lists.
        require_set(self.broker, self.sender.rpc, self.network.deployment, self.offer)
        receipt = self._settling.when_final(
            lambda: self.broker.deposit(
                record,
                recovery.content_key,
                self.sender.signer,
                self._licenses.domain(),
                terms=(self.terms.document,),
                cells=recovery.cells,
            )
        )
        write_private(path, canonical_json(receipt) + b"\n", replace=True)
        self._note("deposit", {"file": path.name}, deposited_with(self.broker))

    def _plan(self, claim: Claim) -> int:
        self._observer("plan", "begin", "")
        wanted = replace(self.offer, model_id=claim.model_id(), terms_hash=self.terms.hash())
        noted = self._journal.get("plan")
        if noted is not None and self._same_plan(noted["plan"], wanted):
            self._observer("plan", "kept", f"plan {noted['plan']}")
            return int(noted["plan"])
        # A plan that was sent but not noted is found by its event, not made twice.
        self._settling.settle()
        for plan_id in self._licenses.plans_of_model(
            claim.model_id(), from_block=self.network.deployment.block
        ):
            if self._same_plan(plan_id, wanted):
                self._note("plan", {"plan": plan_id}, f"plan {plan_id}, found on chain")
                return plan_id
        plan_id, receipt = self._licenses.create_plan(self.sender, wanted)
        self._note("plan", {"plan": plan_id, **_transaction(receipt)}, f"plan {plan_id}")
        return plan_id

    def _same_plan(self, plan_id: int, wanted: PlanTerms) -> bool:
        try:
            terms, state = self._licenses.plan_of(plan_id)
        except LedgerError:
            return False
        return terms == wanted and state.licensor == self.sender.signer.address

    def _leaves(self, claim: Claim, made: Fingerprint) -> None:
        url = self.network.api_url
        if url is None:
            self._observer("leaves", "kept", "no index is configured; searchable later")
            return
        self._observer("leaves", "begin", url)
        if self._journal.get("leaves") is not None:
            self._observer("leaves", "kept", url)
            return
        model_id = claim.model_id()
        # Ids only: names and shapes are part of the blueprint, and stay with the licensor.
        ids = TensorIds.of(made)

        def post() -> None:
            try:
                with Client(url, timeout=60) as index:
                    index.deposit_leaves(model_id, ids.to_json())
            except UnknownRecord:
                raise PendingFinality(
                    "the index has not seen the model yet", retry_after=0.2
                ) from None
            except LedgerError as error:
                raise IndexUnavailable(
                    f"the index does not take the ids: {error.message}"
                ) from None

        try:
            self._settling.when_final(post, at_most=30.0)
        except (IndexUnavailable, PendingFinality) as error:
            # Being searchable is not being published: the licensor is told, a rerun tries again.
            self._observer("leaves", "kept", f"not now: {error.message}; run again to retry")
            return
        self._note("leaves", {"count": len(ids.cids)}, f"{len(ids.cids)} tensor ids")

    # -- shared -------------------------------------------------------------------------------

    def _note(self, step: str, result: dict[str, Any], detail: str) -> None:
        self._observer(step, "acted", detail)
        self._journal.note(step, result)
        self._observer(step, "noted", detail)


def _silent(step: str, phase: str, detail: str) -> None:
    """Hear and say nothing."""


def _offer_text(offer: PlanTerms) -> str:
    # Model and terms are filled in later, and stand in the journal by themselves.
    fixed = replace(offer, model_id=ModelId(bytes(32)), terms_hash=ZERO_DIGEST)
    return str(hash_bytes("modeldeed/offer/1", repr(fixed).encode()))


def _transaction(receipt: TxReceipt) -> dict[str, Any]:
    return {"tx": str(receipt.hash), "block": receipt.block_number}
