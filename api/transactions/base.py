"""What every kind of transaction is asked with (docs/spec/transactions.md, "Prepare").

Each kind is a shape with its members and `act`, which has a client of our contracts send it. What
is not named is refused: a misspelt `not_after` would be a license for ever. A kind that needs what
somebody signs first is `Agreed`, and says by `agreement` what that is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

from pydantic import ConfigDict, Field

from api.forms import LICENSE
from api.schemas.base import AskedHash, Asking
from ledger.chain.anchors import Anchors
from ledger.chain.brokers import BrokerRegistry
from ledger.chain.deployment import Deployment
from ledger.chain.drafting import attempt
from ledger.chain.erc20 import Erc20
from ledger.chain.licenses import LicenseLedger
from ledger.chain.market import LicenseMarket
from ledger.chain.profile import ChainProfile
from ledger.chain.registry import InclusionProof, ModelRegistry
from ledger.chain.rpc import Rpc
from ledger.chain.transactions import Sender
from ledger.eip712 import Domain, StructType
from ledger.errors import ChainError, ContractReverted, UsageError
from ledger.ids import ZERO_DIGEST, Address, Digest, LicenseId, ModelId, keccak256

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
Shares = Annotated[int, Field(ge=0, le=10_000, description="in 1/10,000")]
Signature = Annotated[
    str,
    Field(pattern="^(0x([0-9a-fA-F]{2}){64,8192})?$", description="of what `sign` gave"),
]
_WIDE: Final = frozenset({"uint64", "uint96", "uint256"})
_HOUR: Final = 3600
"""How long what is signed is good, where nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Contracts:
    """The clients by which transactions are made."""

    licenses: LicenseLedger
    registry: ModelRegistry
    anchors: Anchors
    market: LicenseMarket
    brokers: BrokerRegistry
    rpc: Rpc
    profile: ChainProfile

    @classmethod
    def of(cls, rpc: Rpc, deployment: Deployment, profile: ChainProfile) -> Contracts:
        """Those of a deployment."""
        at = deployment.addresses
        return cls(
            LicenseLedger(rpc, at["LicenseLedger"]),
            ModelRegistry(rpc, at["ModelRegistry"]),
            Anchors(rpc, at["Anchors"]),
            LicenseMarket(rpc, at["LicenseMarket"]),
            BrokerRegistry(rpc, at["BrokerRegistry"]),
            rpc,
            profile,
        )

    def token(self, address: Address) -> Erc20:
        """A token that pays for licenses."""
        return Erc20(self.rpc, address)

    def token_known(self, address: Address, account: Address) -> None:
        """Look whether something is a token at all.

        Raises:
            UsageError: it does not answer as one.
        """
        try:
            self.token(address).balance_of(account)
        except ChainError as error:
            if type(error) is not ChainError and not isinstance(error, ContractReverted):
                raise  # the chain could not be asked
            raise UsageError(
                f"what is at {address} does not answer as an ERC-20 token",
                hint="check the token's address, and that it is on this chain",
            ) from None

    def attempt(self, account: Address, act: Callable[[Sender], object]) -> None:
        """Have the contract say whether it would do this for an account; see `attempt`."""
        attempt(self.rpc, self.profile, account, act)

    def now(self) -> int:
        """The chain's time, in Unix seconds: deadlines are held against that."""
        return self.rpc.block("latest").timestamp


class Part(Asking):
    """What is asked, or a part of it: what is not named is refused."""

    model_config = ConfigDict(strict=True)


class Asked(Part):
    """What a kind of transaction needs, beside who signs."""

    kind: ClassVar[str]
    about: ClassVar[str]

    account: AskedAccount | None = Field(
        None, alias="from", description="who will sign; by default the caller's own account"
    )

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Agreement:
    """What somebody is to sign before there is a transaction (EIP-712).

    Attributes:
        what: what it lets happen, for people.
        signer: whose signature it takes.
        domain: where it counts.
        type: of the struct.
        values: of the struct.
        again: members of the same request, to be sent again with the signature.
    """

    what: str
    signer: Address
    domain: Domain
    type: StructType
    values: dict[str, Any]
    again: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Typed data as wallets take them: integers of types beyond 53 bits as decimal text."""
        made = self.domain.typed_data(self.type, self.values)
        message = {
            each["name"]: str(self.values[each["name"]])
            if each["type"] in _WIDE
            else made["message"][each["name"]]
            for each in made["types"][made["primaryType"]]
        }
        return made | {"message": message}


class Signed(Asked):
    """A kind that takes a signature first."""

    deadline: Time = Field(0, description="until when the signature is good; 0: an hour")
    signature: Signature = ""

    def good_until(self, now: int) -> int:
        """The deadline that is signed, in Unix seconds."""
        return self.deadline or now + _HOUR

    @property
    def signed(self) -> bytes:
        """The signature."""
        return bytes.fromhex(self.signature[2:])


class Agreed(Signed):
    """One that, asked for without its signature, says what to sign."""

    def agreement(self, to: Contracts, account: Address) -> Agreement:
        """What is to be signed. `account` is who will send the transaction.

        Raises:
            ContractReverted: what it is for would be refused now.
        """
        raise NotImplementedError


class AgreedOnce(Agreed):
    """One whose signature the ledger takes once: what is signed has a number."""

    nonce: str = Field("", pattern="^(0x[0-9a-f]{64})?$", description="as `again` gave it")

    def as_signed(self) -> tuple[int, int]:
        """Number and deadline of what was signed.

        Raises:
            UsageError: one of them is not given.
        """
        if not self.nonce or not self.deadline:
            raise UsageError(
                "what was signed has a nonce and a deadline", hint="give those that `again` had"
            )
        return int(self.nonce, 16), self.deadline


class Proof(Part):
    """A leaf's place under an anchored T2 root (docs/spec/merkle.md)."""

    root: AskedHash
    index: Uint64 = 0
    size: Annotated[int, Field(ge=1, lt=1 << 53)] = 1
    path: list[AskedHash] = Field(default=[], max_length=64)

    def of(self) -> InclusionProof:
        """As the contract's client takes it."""
        path = tuple(Digest.parse(each) for each in self.path)
        return InclusionProof(Digest.parse(self.root), self.index, self.size, path)


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
