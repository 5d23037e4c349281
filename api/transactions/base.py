"""What every kind of transaction is asked with (docs/spec/transactions.md, "Prepare").

Each kind is a shape with its members and `act`, which has a client of our contracts send it. What
is not named is refused: a misspelt `not_after` would be a license for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from api.dependencies import LICENSE
from api.schemas import AskedHash
from ledger.chain.anchors import Anchors
from ledger.chain.licenses import LicenseLedger
from ledger.chain.registry import ModelRegistry
from ledger.chain.transactions import Sender
from ledger.ids import ZERO_DIGEST, Digest, LicenseId, ModelId, keccak256

AskedAccount = Annotated[
    str,
    Field(
        pattern="^0x[0-9a-fA-F]{40}$",
        description="in mixed case with its EIP-55 checksum",
        examples=["0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"],
    ),
]
AskedLicense = Annotated[str, Field(pattern=LICENSE, examples=["7.1"])]
PlanNumber = Annotated[int, Field(ge=1, lt=1 << 32)]
Time = Annotated[int, Field(ge=0, lt=1 << 40, description="Unix seconds")]
Reason = Annotated[str, Field(max_length=4096, description="its Keccak-256 goes on chain")]
Uint64 = Annotated[int, Field(ge=0, lt=1 << 53)]


@dataclass(frozen=True, slots=True)
class Contracts:
    """The clients by which transactions are made."""

    licenses: LicenseLedger
    registry: ModelRegistry
    anchors: Anchors


class Asked(BaseModel):
    """What a kind of transaction needs, beside who signs."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: ClassVar[str]
    about: ClassVar[str]

    account: AskedAccount | None = Field(
        None, alias="from", description="who will sign; by default the caller's own account"
    )

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        raise NotImplementedError


def reason_hash(text: str) -> Digest:
    """The on-chain form of a reason: Keccak-256 of its text, zero for none."""
    return Digest(keccak256(text.encode())) if text else ZERO_DIGEST


class OfLicense(Asked):
    """About one license."""

    license: AskedLicense

    @property
    def id(self) -> LicenseId:
        """The license."""
        return LicenseId.parse(self.license)


class OfPlan(Asked):
    """About one plan."""

    plan: PlanNumber


class OfModel(Asked):
    """About one model."""

    model: AskedHash

    @property
    def id(self) -> ModelId:
        """The model."""
        return ModelId.parse(self.model)
