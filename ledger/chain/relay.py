"""Signed transactions of others: read, held against what may be passed on, sent, and followed.

The numbered steps are those of docs/spec/transactions.md, "Relay".
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

import rlp
from rlp.codec import consume_length_prefix
from rlp.exceptions import RLPException

from ledger.chain.calldata import Call, read_allowance, read_call
from ledger.chain.deployment import Deployment
from ledger.chain.rpc import Rpc, quantity
from ledger.chain.transactions import MOST_GAS, TxReceipt
from ledger.eip712 import recover
from ledger.errors import (
    ChainError,
    ContractReverted,
    FormatError,
    InsufficientFunds,
    LedgerError,
    RpcRefused,
    SignatureInvalid,
    TransactionFailed,
    TransactionNotTaken,
    TransactionRefused,
)
from ledger.ids import Address, Digest, keccak256

MAX_BYTES: Final = 131_072
"""What nodes take at most (geth's txMaxSize)."""

_DYNAMIC_FEE: Final = 2
_MEMBERS: Final = 12
_ACCESS_LIST: Final = 8
_WIDTHS: Final = (8, 8, 32, 32, 8)
_KNOWN: Final = ("already known", "already imported", "known transaction")


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed EIP-1559 transaction to one of our contracts.

    Attributes:
        raw: its bytes.
        hash: its hash.
        sender: whose signature it carries.
        nonce: its number among the sender's.
        call: what it calls.
    """

    raw: bytes
    hash: Digest
    sender: Address
    nonce: int
    call: Call


def read_signed(
    raw: bytes, deployment: Deployment, is_token: Callable[[Address], bool] = lambda _: False
) -> Signed:
    """Read a transaction that may be passed on.

    Args:
        raw: its bytes.
        deployment: whose contracts it may call.
        is_token: whether plans are sold for a token; it may then be let take some of it.

    Raises:
        TransactionRefused: (1)-(5) it may not; its `step` says why.
    """
    # (1) One EIP-1559 transaction in the only encoding it has.
    chain_id, nonce, _tip, _fee, _gas, to, value, data, parity, r, s = _members(raw)
    # (2) Of this chain.
    if chain_id != deployment.chain_id:
        raise TransactionRefused(
            f"the transaction is for chain {chain_id}, this is chain {deployment.chain_id}", step=2
        )
    # (3) To a contract of ours, or to a token that plans are sold for.
    if len(to) != 20:
        raise TransactionRefused("it creates a contract", step=3)
    address = Address(to)
    allowance = read_allowance(deployment, address, data)
    if address not in deployment.addresses.values() and not (
        allowance is not None and is_token(address)
    ):
        raise TransactionRefused(f"{address} is none of this deployment's contracts", step=3)
    # (4) To a function of it that changes something, with arguments, and wei where it takes some.
    try:
        call = allowance or read_call(deployment, address, data)
    except FormatError as error:
        raise TransactionRefused(error.message, step=4, hint=error.hint) from None
    if value and not (call.payable and call.contract == "LicenseMarket"):
        raise TransactionRefused(
            f"{call.contract}.{call.function} takes no wei, and would keep them", step=4
        )
    # (5) Signed by some account, in the one form of the signature.
    body = rlp.encode(_fields(raw)[:9])
    try:
        if parity > 1:
            raise SignatureInvalid("its parity is neither 0 nor 1")  # noqa: TRY301  one exit
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity])
        sender = recover(Digest(keccak256(bytes([_DYNAMIC_FEE]) + body)), signature)
    except SignatureInvalid as error:
        raise TransactionRefused(error.message, step=5) from None
    return Signed(raw, Digest(keccak256(raw)), sender, nonce, call)


def _fields(raw: bytes) -> list[Any]:
    """The twelve members: bytes, and an empty list for the access list."""
    if not 1 < len(raw) <= MAX_BYTES or raw[0] != _DYNAMIC_FEE:
        raise TransactionRefused(
            f"a transaction here is of type 2 (EIP-1559) and has at most {MAX_BYTES} bytes", step=1
        )
    try:
        found = _flat(raw[1:])
        # What was read, written again: of one meaning there is one encoding.
        exact = rlp.encode(found) == raw[1:]
    except (RLPException, IndexError):
        exact, found = False, []
    if not exact or len(found) != _MEMBERS:
        raise TransactionRefused(
            f"behind the type stands no list of {_MEMBERS} members in its only form", step=1
        )
    return found


def _flat(raw: bytes) -> list[Any]:
    """An RLP list, read without recursion: of nested lists only their emptiness is of interest."""
    _, kind, length, place = consume_length_prefix(raw, 0)
    found: list[Any] = []
    while kind is list and place < len(raw) and len(found) <= _MEMBERS:
        _, inner, length, begin = consume_length_prefix(raw, place)
        place = begin + length
        if inner is list and length:
            step = 3 if len(found) == _ACCESS_LIST else 1
            raise TransactionRefused("it holds a list that is not empty", step=step)
        found.append([] if inner is list else raw[begin:place])
    return found


def _members(raw: bytes) -> tuple[int, int, int, int, int, bytes, int, bytes, int, int, int]:
    found = _fields(raw)
    if [type(each) for each in found] != [*[bytes] * 8, list, *[bytes] * 3]:
        raise TransactionRefused("a member of the transaction is of another kind", step=1)
    chain_id, nonce, tip, fee, gas = (
        _integer(each, width) for each, width in zip(found[:5], _WIDTHS, strict=True)
    )
    value, parity = _integer(found[6], 32), _integer(found[9], 1)
    r, s = _integer(found[10], 32), _integer(found[11], 32)
    return chain_id, nonce, tip, fee, gas, found[5], value, found[7], parity, r, s


def _integer(raw: bytes, width: int) -> int:
    if len(raw) > width or raw[:1] == b"\0":
        raise TransactionRefused("an integer is too long, or begins with zeros", step=1)
    return int.from_bytes(raw, "big")


def pass_on(rpc: Rpc, signed: Signed) -> None:
    """(7) Give it to the node. One that it has already, or that is mined, is no failure.

    Raises:
        InsufficientFunds: the sender cannot pay for it.
        TransactionNotTaken: the node refuses it for another reason.
        ChainUnavailable: no endpoint answers.
    """
    try:
        rpc.call("eth_sendRawTransaction", ["0x" + signed.raw.hex()])
    except RpcRefused as error:
        text = error.rpc_message.lower()
        if any(sign in text for sign in _KNOWN) or _known(rpc, signed.hash):
            return
        if "insufficient funds" in text:
            raise InsufficientFunds(
                f"account {signed.sender} cannot pay for the transaction",
                hint="send the account funds, or prepare the transaction anew at a lower fee",
            ) from None
        raise TransactionNotTaken(
            f"the node does not take the transaction: {error.rpc_message}"
        ) from None


def _known(rpc: Rpc, which: Digest) -> bool:
    return rpc.call("eth_getTransactionByHash", [str(which)]) is not None


State = Literal["pending", "mined", "failed", "replaced", "dropped"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What became of a transaction, as the node shows it now.

    Attributes:
        state: as docs/spec/transactions.md, "Status".
        receipt: where a block holds it.
        error: why it failed, as far as that can be told.
    """

    state: State
    receipt: TxReceipt | None = None
    error: LedgerError | None = None


@dataclass(frozen=True, slots=True)
class Passed:
    """What is remembered of a transaction that was passed on."""

    sender: Address
    nonce: int


def standing(
    rpc: Rpc, which: Digest, sent: Passed | None, ours: Collection[Address] = ()
) -> Standing | None:
    """How a transaction stands; None where neither the node nor we know of it.

    Args:
        rpc: the chain.
        which: its hash.
        sent: what was passed on under that hash, if it was.
        ours: contracts of which a failed call is run once more, to say why; and what was passed on.

    Raises:
        ChainUnavailable: no endpoint answers.
    """
    found = _receipt(rpc, which)
    shown = rpc.call("eth_getTransactionByHash", [str(which)])
    if found is None and shown is None and sent is not None:
        mined = quantity(rpc.call("eth_getTransactionCount", [str(sent.sender), "latest"]))
        # Asked again: it may have been mined between the two questions.
        found = _receipt(rpc, which)
        if found is None:
            return Standing("replaced" if mined > sent.nonce else "dropped")
    if found is None:
        return None if shown is None else Standing("pending")
    if found.status:
        return Standing("mined", found)
    explained = sent is not None or _called(shown) in ours
    return Standing("failed", found, _why(rpc, found, shown if explained else None))


def _called(shown: Any) -> Address | None:
    to = shown.get("to") if isinstance(shown, dict) else None
    return None if to is None else Address.parse(to.lower())


def _receipt(rpc: Rpc, which: Digest) -> TxReceipt | None:
    found = rpc.call("eth_getTransactionReceipt", [str(which)])
    return TxReceipt.of(found) if isinstance(found, dict) and found.get("blockHash") else None


def _why(rpc: Rpc, receipt: TxReceipt, shown: Any) -> LedgerError:
    """The same call on the state before its block tells the reason, where nodes still have it."""
    if isinstance(shown, dict):
        call = {name: shown[name] for name in ("from", "to", "value") if name in shown}
        call["data"] = shown.get("input", "0x")
        call["gas"] = hex(min(quantity(shown.get("gas", hex(MOST_GAS))), MOST_GAS))
        try:
            rpc.call("eth_call", [call, hex(max(receipt.block_number - 1, 0))])
        except ContractReverted as error:
            return error
        except ChainError:
            pass
    return TransactionFailed(
        f"it failed in block {receipt.block_number}, for a reason that cannot be told afterwards",
        hint="prepare it anew: that says what stands in its way now",
    )
