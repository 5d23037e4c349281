"""Sending transactions so that each takes effect once, and knowing when it is final.

The nonce is taken under a lock per account. Another process may send from the same account too:
when a node says the nonce is used or the transaction known, we look whether *ours* is the one that
is in, and only if not, sign anew. Sending the same signed bytes again is always safe.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self
from weakref import WeakValueDictionary

from ledger.chain.finality import finalized_block
from ledger.chain.profile import ChainProfile
from ledger.chain.rpc import Rpc, data, quantity
from ledger.chain.wallet import Signer
from ledger.errors import (
    ChainError,
    ChainUnavailable,
    ContractReverted,
    InsufficientFunds,
    PendingFinality,
    Reorganised,
    RpcRefused,
    TransactionFailed,
    UnavailableError,
    UsageError,
)
from ledger.ids import Address, Digest, keccak256

MOST_GAS: Final = 1 << 24
"""What a transaction may use (EIP-7825), also while it is only tried: it may call anybody's code, a
token or a contract wallet, and where nothing bounds it a node runs that for a block's worth."""

_MAX_ATTEMPTS = 8
_GAS_MARK = 4096
_FIRST_POLL = 0.02
_LAST_POLL = 1.0
# As long as a sender has it: a service makes senders for whatever account it is asked about.
_LOCKS: WeakValueDictionary[tuple[int, Address], threading.Lock] = WeakValueDictionary()
_LOCKS_GUARD = threading.Lock()


@dataclass(frozen=True, slots=True)
class Log:
    """One event of a receipt, as the node shows it."""

    address: Address
    topics: tuple[bytes, ...]
    data: bytes
    index: int


@dataclass(frozen=True, slots=True)
class TxReceipt:
    """A mined transaction. `status` is True; a failed one is raised instead."""

    hash: Digest
    block_number: int
    block_hash: Digest
    status: bool
    logs: tuple[Log, ...]
    gas_used: int
    contract_address: Address | None

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Self:
        """Read an ``eth_getTransactionReceipt`` object.

        Raises:
            ChainError: a field is missing or malformed.
        """
        try:
            created = raw.get("contractAddress")
            return cls(
                Digest(data(raw["transactionHash"])),
                quantity(raw["blockNumber"]),
                Digest(data(raw["blockHash"])),
                quantity(raw["status"]) == 1,
                tuple(
                    Log(
                        Address(data(log["address"])),
                        tuple(data(topic) for topic in log["topics"]),
                        data(log["data"]),
                        quantity(log["logIndex"]),
                    )
                    for log in raw["logs"]
                ),
                quantity(raw["gasUsed"]),
                None if created is None else Address(data(created)),
            )
        except (KeyError, TypeError, UsageError):
            raise ChainError("an endpoint showed a receipt with malformed fields") from None


@dataclass(frozen=True, slots=True)
class TxPreview:
    """What a person is asked to agree to. Amounts in wei."""

    chain_id: int
    chain_name: str
    account: Address
    to: Address | None
    purpose: str
    value: int
    gas: int
    max_fee: int


@dataclass(frozen=True, slots=True)
class _Priced:
    gas: int
    max_fee_per_gas: int
    priority_per_gas: int


class Sender:
    """Sends from one account on one chain. Thread-safe.

    Args:
        rpc: the chain.
        signer: the account.
        profile: the chain's profile.
        confirm: asked before every transaction; False stops it. None asks nobody.
        timeout: seconds to wait until a transaction is mined.
    """

    def __init__(
        self,
        rpc: Rpc,
        signer: Signer,
        profile: ChainProfile,
        *,
        confirm: Callable[[TxPreview], bool] | None = None,
        timeout: float = 60.0,
    ) -> None:
        if signer.is_test_key and not profile.test_network:
            raise UsageError(
                f"{signer.address} is a test account whose key everyone knows; it is not used on "
                f"{profile.name}",
                hint="choose a wallet of your own with --wallet",
            )
        self.rpc = rpc
        self.signer = signer
        self.profile = profile
        self._confirm = confirm
        self._timeout = timeout
        self._keep: Callable[[bytes, int], None] | None = None
        with _LOCKS_GUARD:
            self._lock = _LOCKS.setdefault((profile.chain_id, signer.address), threading.Lock())

    @property
    def address(self) -> Address:
        """The sending account."""
        return self.signer.address

    def keeping(self, keep: Callable[[bytes, int], None]) -> Sender:
        """The same sender, which shows `keep` each signed transaction and its nonce beforehand.

        What is kept can be taken up again by `resume` after a crash, so that one thing is never
        sent as two transactions. When `keep` raises, nothing is sent.
        """
        other = Sender(
            self.rpc, self.signer, self.profile, confirm=self._confirm, timeout=self._timeout
        )
        other._keep = keep
        return other

    def resume(self, raw: bytes, nonce: int) -> TxReceipt:
        """Wait for a transaction of this account that was signed before; send it again if lost.

        Raises:
            PendingFinality: not mined within the timeout.
            TransactionFailed: mined and failed, or another one took its nonce: it never will be.
            ChainUnavailable: no endpoint answers.
        """
        return self._await(raw, nonce, None)

    def send(
        self, to: Address | None, data_: bytes, value: int = 0, *, purpose: str = ""
    ) -> TxReceipt:
        """Send one transaction and wait until it is mined.

        Args:
            to: the contract; None creates one.
            data_: call data or creation code.
            value: wei.
            purpose: what it does, for the person who confirms.

        Raises:
            ContractReverted: the contract would refuse, or refused; nothing changed.
            InsufficientFunds: the account cannot pay; nothing was sent.
            UsageError: the person said no; nothing was sent.
            PendingFinality: sent, but not mined within the timeout.
            TransactionFailed: mined and failed without a reason, or replaced by another.
            ChainUnavailable: no endpoint answers.
        """
        call = {"from": str(self.address), "data": "0x" + data_.hex(), "value": hex(value)}
        if to is not None:
            call["to"] = str(to)
        priced = self._price(call, value)
        if self._confirm is not None:
            preview = TxPreview(
                self.profile.chain_id,
                self.profile.name,
                self.address,
                to,
                purpose,
                value,
                priced.gas,
                priced.gas * priced.max_fee_per_gas,
            )
            if not self._confirm(preview):
                raise UsageError("nothing was sent", hint="agree to the transaction, or pass --yes")
        with self._lock:
            raw, nonce = self._broadcast(to, data_, value, priced)
        return self._await(raw, nonce, call)

    # -- before -----------------------------------------------------------------------------------

    def _price(self, call: dict[str, str], value: int) -> _Priced:
        """Gas limit and fees; a revert or a lack of money shows here, before anything is sent."""
        head = self.rpc.block("latest")
        base = quantity(head.raw.get("baseFeePerGas", "0x0"))
        try:
            tip = quantity(self.rpc.call("eth_maxPriorityFeePerGas"))
        except RpcRefused:
            tip = 10**9
        max_fee = 2 * base + tip
        balance = quantity(self.rpc.call("eth_getBalance", [str(self.address), "latest"]))
        try:
            bounded = call | {"gas": hex(MOST_GAS)}
            estimate = quantity(self.rpc.call("eth_estimateGas", [bounded]))
        except RpcRefused as error:
            if "insufficient" in error.rpc_message.lower():
                raise self._poor(balance, value + 21_000 * max_fee) from None
            raise
        ceiling = min(MOST_GAS, quantity(head.raw.get("gasLimit", hex(MOST_GAS))))
        # Equal calls by two processes would be equal bytes, and one of them would take the other's
        # transaction for its own; a few units of gas limit, not spent, tell them apart.
        gas = max(estimate, min(estimate * 5 // 4, ceiling - _GAS_MARK)) + secrets.randbelow(
            _GAS_MARK
        )
        if value + gas * max_fee > balance:
            raise self._poor(balance, value + gas * max_fee)
        return _Priced(gas, max_fee, tip)

    def _poor(self, balance: int, needed: int) -> InsufficientFunds:
        return InsufficientFunds(
            f"account {self.address} has {ether(balance)} on {self.profile.name}, but needs up to "
            f"{ether(needed)}",
            hint=f"send it {ether(needed - balance)} or more, or use another wallet (--wallet)",
        )

    # -- sending ----------------------------------------------------------------------------------

    def _broadcast(
        self, to: Address | None, data_: bytes, value: int, priced: _Priced
    ) -> tuple[bytes, int]:
        """Sign and send; the raw bytes that a node has accepted, and their nonce."""
        refusal: RpcRefused | None = None
        for attempt in range(_MAX_ATTEMPTS):
            nonce = self._next_nonce()
            transaction: dict[str, Any] = {
                "type": 2,
                "chainId": self.profile.chain_id,
                "nonce": nonce,
                "maxFeePerGas": priced.max_fee_per_gas,
                "maxPriorityFeePerGas": priced.priority_per_gas,
                "gas": priced.gas,
                "value": value,
                "data": data_,
            }
            if to is not None:
                transaction["to"] = str(to)
            raw = self.signer.sign_transaction(transaction)
            if self._keep is not None:
                self._keep(raw, nonce)
            try:
                self.rpc.call("eth_sendRawTransaction", ["0x" + raw.hex()])
            except RpcRefused as error:
                if self._is_known(raw):
                    return raw, nonce
                if not _nonce_taken(error.rpc_message):
                    raise self._refused(error) from None
                refusal = error
                time.sleep(min(0.01 * 2**attempt, 0.5))
            except ChainUnavailable:
                # The answer is lost, the transaction perhaps not: `_await` looks and sends again.
                return raw, nonce
            else:
                return raw, nonce
        assert refusal is not None
        raise TransactionFailed(
            f"other transactions keep taking the next number of {self.address}",
            hint="another program sends from this account; stop it, or try again",
        )

    def _next_nonce(self) -> int:
        return quantity(self.rpc.call("eth_getTransactionCount", [str(self.address), "pending"]))

    def _is_known(self, raw: bytes) -> bool:
        digest = Digest(keccak256(raw))
        return self.rpc.call("eth_getTransactionByHash", [str(digest)]) is not None

    def _refused(self, error: RpcRefused) -> ChainError:
        if "insufficient funds" in error.rpc_message.lower():
            return InsufficientFunds(
                f"account {self.address} cannot pay on {self.profile.name}: {error.rpc_message}",
                hint="send it funds, or use another wallet (--wallet)",
            )
        return TransactionFailed(
            f"the node refused the transaction: {error.rpc_message}", hint="try again"
        )

    # -- after ------------------------------------------------------------------------------------

    def _await(self, raw: bytes, nonce: int, call: dict[str, str] | None) -> TxReceipt:
        digest = Digest(keccak256(raw))
        deadline = time.monotonic() + self._timeout
        pause = _FIRST_POLL
        while True:
            try:
                found = self.rpc.call("eth_getTransactionReceipt", [str(digest)])
                if isinstance(found, dict) and found.get("blockHash"):
                    return self._settled(TxReceipt.of(found), call)
                self._look_for(digest, raw, nonce)
            except UnavailableError:
                if time.monotonic() > deadline:
                    raise
            if time.monotonic() > deadline:
                raise PendingFinality(
                    f"transaction {digest} is sent but not mined after {self._timeout:g} s",
                    retry_after=10.0,
                    hint="it may still be mined; repeat the command later, it resumes",
                )
            time.sleep(pause)
            pause = min(pause * 1.5, _LAST_POLL)

    def _look_for(self, digest: Digest, raw: bytes, nonce: int) -> None:
        """A transaction without a receipt: is it waiting, lost (send again) or replaced?"""
        if self.rpc.call("eth_getTransactionByHash", [str(digest)]) is not None:
            return
        mined = quantity(self.rpc.call("eth_getTransactionCount", [str(self.address), "latest"]))
        if mined > nonce:
            if self.rpc.call("eth_getTransactionReceipt", [str(digest)]) is not None:
                return
            raise TransactionFailed(
                f"transaction {digest} was replaced by another one of {self.address}",
                hint="another program sends from this account; repeat the command",
            )
        try:
            self.rpc.call("eth_sendRawTransaction", ["0x" + raw.hex()])
        except RpcRefused:
            return  # known after all, or decided by the next look

    def _settled(self, receipt: TxReceipt, call: dict[str, str] | None) -> TxReceipt:
        if receipt.status:
            return receipt
        try:  # the same call on the state before it tells the reason
            if call is not None:
                self.rpc.call("eth_call", [call, hex(max(receipt.block_number - 1, 0))])
        except RpcRefused:
            pass
        except ContractReverted as error:
            raise error from None
        raise TransactionFailed(
            f"transaction {receipt.hash} was mined in block {receipt.block_number} and failed",
            hint="the chain changed between estimate and execution; repeat the command",
        )

    def pending_transactions(self) -> int:
        """How many transactions of this account are sent and not yet mined.

        Raises:
            ChainUnavailable: no endpoint answers.
        """
        mined = quantity(self.rpc.call("eth_getTransactionCount", [str(self.address), "latest"]))
        return max(0, self._next_nonce() - mined)

    def wait_final(self, receipt: TxReceipt, timeout: float = 60.0) -> None:
        """Wait until the block of `receipt` is final.

        Raises:
            PendingFinality: not within `timeout` seconds.
            Reorganised: another block is final at that height.
        """
        wait_final(self.rpc, self.profile, receipt, timeout)


def wait_final(rpc: Rpc, profile: ChainProfile, receipt: TxReceipt, timeout: float) -> None:
    """Wait until the block of `receipt` is final; see `Sender.wait_final`."""
    deadline = time.monotonic() + timeout
    pause = _FIRST_POLL
    while True:
        final = finalized_block(rpc, profile)
        if final.number >= receipt.block_number:
            if rpc.block(receipt.block_number).hash != receipt.block_hash:
                raise Reorganised(
                    f"block {receipt.block_number} with transaction {receipt.hash} was replaced",
                    hint="repeat the command; it looks what is still missing",
                )
            return
        if time.monotonic() > deadline:
            raise PendingFinality(
                f"block {receipt.block_number} is not final yet (block {final.number} is)",
                retry_after=5.0,
                hint="wait, or repeat with --wait",
            )
        time.sleep(pause)
        pause = min(pause * 1.5, _LAST_POLL)


def _nonce_taken(message: str) -> bool:
    text = message.lower()
    return any(
        sign in text
        for sign in (
            "nonce too low",
            "already known",
            "replacement",
            "underpriced",
            "already imported",
        )
    )


def exact_ether(wei: int) -> str:
    """An amount for people, to the last wei."""
    return f"{wei // 10**18}.{wei % 10**18:018d}".rstrip("0").rstrip(".") + " ETH"


def ether(wei: int) -> str:
    """An amount for people, exact to a millionth and rounded up."""
    micro = -(-wei // 10**12)
    return f"{micro // 10**6}.{micro % 10**6:06d} ETH"
