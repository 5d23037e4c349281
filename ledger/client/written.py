"""What a service answers about transactions, as types: see `ledger.client.answers`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ledger.client.answers import Failure
from ledger.ids import Address, Digest, LicenseId


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a contract, decoded."""

    contract: str
    function: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a call gave at a block."""

    block: int
    hash: Digest
    returns: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A transaction that only lacks its signature.

    Attributes:
        transaction: as eth-account's ``sign_transaction`` takes it.
        pays: what is sent along in the chain's coin, in words.
        most_fee: wei that the fee cannot pass.
    """

    what: str
    account: Address
    call: Call
    transaction: dict[str, str]
    pays: str
    simulation: Simulation
    most_fee: int
    test_network: bool


@dataclass(frozen=True, slots=True)
class Step:
    """What somebody is to sign first, or the transaction: one of `sign` and `prepared`.

    Attributes:
        signer: whose signature `sign` takes.
        sign: typed data, as eth-account's ``sign_typed_data(full_message=…)`` takes it.
        again: members of the same request, to be sent again with `signature`.
    """

    what: str
    signer: Address | None
    sign: dict[str, Any] | None
    again: dict[str, Any] | None
    prepared: Prepared | None


@dataclass(frozen=True, slots=True)
class VoucherStep:
    """What an issuer is to sign, or the voucher: one of `sign` and `voucher`; as `Step`."""

    what: str
    sign: dict[str, Any] | None
    again: dict[str, Any] | None
    voucher: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class ByReference:
    """How far the issuing of a license by an external reference has come: one of the three.

    Attributes:
        license: it is issued, once and for all.
        sign: typed data to be signed first.
        deadline: to be sent again with the signature.
        prepared: the transaction that issues it.
    """

    license: LicenseId | None
    holder: Address | None
    sign: dict[str, Any] | None
    deadline: int | None
    prepared: Prepared | None


@dataclass(frozen=True, slots=True)
class Relayed:
    """A transaction that was passed on."""

    hash: Digest
    account: Address
    call: Call
    status_url: str


@dataclass(frozen=True, slots=True)
class Emitted:
    """An event of a transaction."""

    contract: str
    event: str
    log_index: int
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TransactionStatus:
    """What became of a transaction: pending, mined, failed, replaced or dropped."""

    hash: Digest
    state: str
    indexed: bool
    block: int | None = None
    block_hash: Digest | None = None
    finality: str | None = None
    events: tuple[Emitted, ...] = ()
    error: Failure | None = None
