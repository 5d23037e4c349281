"""Sealing a published model anew: another content key, other cells, under the same title.

After a key leaked, or to have more cells. The steps are recovery → fingerprint → seal → lodge →
deposit, in a folder of their own, noted and resumed as ``ledger.publication`` says; claim, terms
and plan stay those of the publication. From the block in which the new epoch is final, readers and
brokers take no older one (docs/spec/sealing-record.md).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ledger.broker.recovery import Recovery
from ledger.claim import Claim, build_manifest, manifest_hash
from ledger.errors import ClaimMismatch, UsageError
from ledger.ids import Digest
from ledger.journal import Journal
from ledger.publication import Publication, Published
from ledger.sealed.record import SealingRecord
from ledger.tensors.model import ModelSource

STEPS = ("recovery", "fingerprint", "seal", "lodge", "deposit")


class Resealing(Publication):
    """A published model on its way to a further sealing epoch.

    Args:
        claim: the registered model's.
        manifest: what the claim's manifest hash stands for.
        plan: under which the model is offered; it stays.
        source: hash of the sealing in the folder that claim and plan were taken from.
        epoch: above 1 and above what is lodged; the same again to resume.
        rest: as `Publication` takes it. `terms` and `offer` are those of the plan, the offer's
            broker set is where the key is deposited.
    """

    def __init__(
        self,
        *given: Any,
        claim: Claim,
        manifest: dict[str, Any],
        plan: int,
        source: Digest,
        epoch: int,
        **rest: Any,
    ) -> None:
        super().__init__(*given, title=manifest["title"], epoch=epoch, **rest)
        self.claim = claim
        self.manifest = manifest
        self.plan = plan
        self.source = source

    def _inputs(self) -> dict[str, Any]:
        return super()._inputs() | {"epoch": self.epoch, "source": str(self.source)}

    def _run(self, model: ModelSource) -> Published:
        model_id = self.claim.model_id()
        self._journal = Journal(self.folder / "journal.json", self._inputs())
        recovery = self._recover()
        made = self._fingerprint(model)
        self._keep_claim(self.claim, self.manifest)
        if self._journal.get("plan") is None:
            # By this the other commands see of which model and plan the folder is.
            self._journal.note("register", {"model_id": str(model_id)})
            self._journal.note("plan", {"plan": self.plan})
        record = self._seal(model, made, self.claim, recovery)
        self._lodge(record)
        self._deposit(record, recovery)
        return Published(
            model_id,
            self.plan,
            self.claim,
            made,
            record,
            self.sealed_path,
            self.recovery_path,
            self.folder,
        )

    def _check_means(self) -> None:
        """See also that this is the registered model, and that the sender has its title.

        Raises:
            ClaimMismatch: another model, or other side files.
            UsageError: somebody else holds the title.
        """
        model_id = self.claim.model_id()
        if self._made.content_root != self.claim.artifact_root:
            raise ClaimMismatch(
                f"{self.model_path} is not model {model_id.short}: its content root is "
                f"{self._made.content_root}, the claim's {self.claim.artifact_root}",
                hint="seal the model that was registered; another one is published with a title "
                "of its own",
            )
        if manifest_hash(self.manifest) != self.claim.manifest_hash:
            raise ClaimMismatch("the manifest is not the one that the claim stands on")
        texts = {name: self.manifest[name] for name in ("title", "version", "description")}
        if build_manifest(self._opened, **texts) != self.manifest:
            raise ClaimMismatch(
                f"the files of {self.model_path} are not those of the registered model",
                hint="put them back as its manifest.json lists them, side files too",
            )
        holder = self._registry.licensor_of(model_id)
        if holder != self.sender.signer.address:
            raise UsageError(
                f"the title of model {model_id.short} is held by {holder or 'nobody'}",
                hint="seal it with the licensor's wallet: --wallet NAME",
            )
        super()._check_means()

    def _recover(self) -> Recovery:
        recovery = super()._recover()
        sealed = recovery.record
        if recovery.salt != self.claim.salt or (sealed and sealed.epoch != self.epoch):
            raise UsageError(
                f"{self.recovery_path} is not of epoch {self.epoch} of this model",
                hint="a new epoch needs a new key: give another --out folder",
            )
        return recovery

    def _secrets(self) -> Recovery:
        # A new key; the salt is the title's, and stays.
        return replace(Recovery.create(), salt=self.claim.salt)

    def _lodge(self, record: SealingRecord) -> None:
        newest, _ = self._registry.sealing_of(record.model_id)
        lodged = self._registry.sealing_at(record.model_id, record.epoch)
        if newest >= record.epoch and lodged != record.hash():
            raise UsageError(
                f"epoch {newest} of model {record.model_id.short} was lodged meanwhile, so the "
                f"sealing in {self.folder}, of epoch {record.epoch}, can be lodged no more",
                hint="seal it again in another folder with --out",
            )
        super()._lodge(record)
