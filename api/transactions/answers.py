"""The shapes of what is answered about transactions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from api.schemas.base import Account, Asking, BigInt, Finality, Hash, LicenseNumber, Shape
from ledger.chain.relay import MAX_BYTES

Quantity = Annotated[str, Field(pattern="^0x(0|[1-9a-f][0-9a-f]*)$", examples=["0x1f"])]
Data = Annotated[str, Field(pattern="^0x([0-9a-f]{2})*$")]
TypedData = Annotated[
    dict[str, Any] | None, Field(description="typed data to be signed first (eth_signTypedData_v4)")
]
Again = Annotated[
    dict[str, Any] | None,
    Field(description="members of the same request, to be sent again with the signature"),
]


class Unsigned(Shape):
    """An EIP-1559 transaction without its signature, as JSON-RPC and wallets write it."""

    type: Literal["0x2"]
    chainId: Quantity  # noqa: N815  the names of JSON-RPC
    nonce: Quantity
    to: Account
    value: Quantity
    data: Data
    gas: Quantity
    maxFeePerGas: Quantity  # noqa: N815
    maxPriorityFeePerGas: Quantity  # noqa: N815


class DecodedCall(Shape):
    """What the transaction's data say."""

    contract: str
    function: str
    arguments: dict[str, Any]


class Simulation(Shape):
    """What the call gave at a block. Another transaction may come first."""

    block: int
    hash: Hash
    returns: dict[str, Any]


class Prepared(Shape):
    """A transaction that only lacks its signature."""

    what: str = Field(description="what it does, for people")
    account: Account = Field(description="who is to sign")
    call: DecodedCall
    transaction: Unsigned
    pays: str = Field(
        description="what is sent along in the chain's coin, in words", examples=["0.5 ETH"]
    )
    simulation: Simulation
    most_fee: BigInt = Field(description="wei that the fee cannot pass")
    test_network: bool


class Step(Shape):
    """What is to be signed first, or the transaction: one of `sign` and `prepared`."""

    what: str = Field(description="what it does, for people")
    signer: Account | None = Field(description="whose signature `sign` takes")
    sign: TypedData
    again: Again
    prepared: Prepared | None = Field(description="the transaction")


class VoucherStep(Shape):
    """What the issuer is to sign, or the voucher: one of `sign` and `voucher`."""

    what: str = Field(description="what it promises, for people")
    sign: TypedData
    again: Again
    voucher: dict[str, Any] | None = Field(
        description="the file for who redeems it (docs/spec/voucher.md)"
    )


class ByReference(Shape):
    """How far the issuing of a license by an external reference has come: one of the three."""

    license: LicenseNumber | None = Field(description="it is issued: this one, once and for all")
    holder: Account | None = Field(description="whose it is; of a license that is issued")
    sign: TypedData
    deadline: int | None = Field(description="to be sent again with the signature")
    prepared: Prepared | None = Field(description="the transaction that issues it")


class SignedAsked(Asking):
    """A signed transaction."""

    raw: str = Field(
        pattern="^0x([0-9a-fA-F]{2})+$", max_length=2 + 2 * MAX_BYTES, examples=["0x02f8"]
    )


class Relayed(Shape):
    """A transaction that was passed on."""

    hash: Hash
    account: Account = Field(description="who signed it")
    call: DecodedCall
    status_url: str


class Failure(Shape):
    """Why a transaction failed."""

    code: str
    message: str
    hint: str
    error_name: str | None = Field(None, description="the contract's own name of it")


class EmittedEvent(Shape):
    """An event of a transaction, as GET /v1/events has it."""

    contract: str
    event: str
    log_index: int
    address: Account
    arguments: dict[str, Any]


class TransactionStatus(Shape):
    """What became of a transaction."""

    hash: Hash
    state: Literal["pending", "mined", "failed", "replaced", "dropped"]
    block: int | None = None
    block_hash: Hash | None = None
    finality: Finality | None = None
    indexed: bool = Field(description="whether this service's answers rest on that block already")
    events: list[EmittedEvent] = Field(default=[], description="of our contracts")
    error: Failure | None = None
