"""The shapes of models: what is registered, what hangs on it, and what is deposited for it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from api.schemas.base import Account, Answer, BigInt, Finality, Hash, Shape
from api.schemas.licenses import Plan


class Model(Shape):
    """A registered model."""

    model_id: Hash
    title: str | None = Field(default=None, description="from the manifest, when deposited")
    licensor: Account
    status: Literal["active", "withdrawn", "compromised"]
    artifact_root: Hash
    fingerprint_digest: Hash
    watermark_commitment: Hash
    manifest_hash: Hash
    registered_at: int
    registered_block: int
    registered_tx: Hash
    committed: bool = Field(description="whether an earlier anchored commitment was proven")
    committed_at: int
    title_sequence: BigInt
    pending_licensor: Account | None = None
    guardian: Account | None = None
    recovery_to: Account | None = None
    recovery_ready_at: int | None = None
    sealing_epoch: BigInt = Field(description="highest lodged, 0 when none")
    sealing_hash: Hash | None = None
    finality: Finality = Field(description="of the block that registered it")


class ModelPage(Answer):
    """Models in order of registration."""

    models: list[Model]
    next_cursor: str | None = None


class Title(Shape):
    """One holder of a title, and since when."""

    sequence: BigInt
    holder: Account
    previous: Account | None = None
    since: int


class Sealing(Shape):
    """One lodged sealing record."""

    epoch: BigInt
    record_hash: Hash
    lodged_at: int


class Record(Shape):
    """Another lodged record: detection, dispute, identity."""

    kind: int
    sender: Account
    record_hash: Hash
    lodged_at: int


class Parent(Shape):
    """A declared parent; unconfirmed until its licensor signs."""

    parent: Hash
    confirmed_by: Account | None = None


class ModelAnswer(Answer):
    """A model with all that hangs on it."""

    model: Model
    titles: list[Title]
    sealings: list[Sealing]
    records: list[Record]
    parents: list[Parent]
    plans: list[Plan]


class TimelineEntry(Shape):
    """One event of a model's story."""

    kind: str = Field(examples=["license issued"])
    text: str
    block: int | None = Field(description="null for an anchor that the chain alone cannot name")
    log_index: int | None
    time: int
    tx: Hash | None
    finality: Finality
    event: str
    license: str | None
    arguments: dict[str, Any]


class Timeline(Answer):
    """A model's events in chain order."""

    model_id: Hash
    entries: list[TimelineEntry]


class LeavesDeposited(Answer):
    """What became of a deposit of tensor ids."""

    model_id: Hash
    tensors: int
    names_verified: bool = Field(description="whether the chain binds the tensors' names too")
    new: bool


class LeavesAnswer(Answer):
    """A model's tensor ids as deposited: the public list, the whole fingerprint, or both."""

    model_id: Hash
    names_verified: bool
    fingerprint: dict[str, Any] | None
    ids: dict[str, Any] | None


class DocumentsDeposited(Answer):
    """Which documents were taken."""

    model_id: Hash
    taken: list[str]
