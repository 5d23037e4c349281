"""Transactions made ready for a wallet elsewhere: all of `Sender.send` but the signature.

The clients of our contracts say what is called and in which words; the sender prices it and finds
out what a contract refuses. Here its signer has no key: shown the transaction, it stops there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from ledger.chain.calldata import ERC20, Call, read_allowance, read_call, read_results
from ledger.chain.deployment import Deployment
from ledger.chain.profile import ChainProfile
from ledger.chain.rpc import Block, Rpc, data
from ledger.chain.transactions import MOST_GAS, Sender, TxPreview
from ledger.eip712 import Domain, StructType
from ledger.errors import WalletError
from ledger.ids import Address, Digest


@dataclass(frozen=True, slots=True)
class Draft:
    """A transaction that only lacks its signature.

    Attributes:
        what: what it does, for people.
        account: who is to sign.
        call: the same, decoded from `fields`.
        fields: of the EIP-1559 transaction, in eth-account's names; integers and bytes.
        returns: what the function answers at `head`, by name.
        head: the block at which it was tried.
    """

    what: str
    account: Address
    call: Call
    fields: dict[str, Any]
    returns: dict[str, Any]
    head: Block

    @property
    def most_fee(self) -> int:
        """Wei that the fee cannot pass."""
        return int(self.fields["gas"]) * int(self.fields["maxFeePerGas"])

    def to_json(self) -> dict[str, str]:
        """The transaction in JSON-RPC's form, as wallets take it."""
        numbers = {
            name: hex(value) for name, value in self.fields.items() if isinstance(value, int)
        }
        return numbers | {"to": self.fields["to"], "data": "0x" + self.fields["data"].hex()}


def draft(
    rpc: Rpc,
    deployment: Deployment,
    profile: ChainProfile,
    account: Address,
    act: Callable[[Sender], object],
) -> Draft:
    """What `act` would send first, from `account`, tried at the head and priced.

    Args:
        rpc: the chain.
        deployment: its contracts; `act` must call one of them, or let its market take a token.
        profile: the chain's profile.
        account: who will sign.
        act: sends by a client of our contracts, such as ``LicenseLedger.issue``.

    Raises:
        ContractReverted: the contract refuses it now.
        InsufficientFunds: the account cannot pay for it.
        UsageError: the arguments do not fit.
        WalletError: `act` has the account sign something else than a transaction.
        ChainUnavailable: no endpoint answers.
    """
    purposes: list[str] = []

    def seen(preview: TxPreview) -> bool:
        purposes.append(preview.purpose)
        return True

    try:
        act(Sender(rpc, _Pen(account), profile, confirm=seen))
    except _Shown as shown:
        fields = shown.fields
    else:
        raise AssertionError("nothing was sent, so there is nothing to sign")
    to, raw = Address.parse(fields["to"]), fields["data"]
    call = read_allowance(deployment, to, raw) or read_call(deployment, to, raw)
    head = rpc.block("latest")
    asked = {
        "from": str(account),
        "to": str(to),
        "data": "0x" + raw.hex(),
        "value": hex(fields["value"]),
        "gas": hex(fields["gas"]),
    }
    answer = data(rpc.call("eth_call", [asked, hex(head.number)]))
    # Tokens answer `approve` with true, or nothing, or lies.
    returns = {} if call.contract == ERC20 else read_results(call.contract, call.function, answer)
    return Draft(purposes[0], account, call, fields, returns, head)


def attempt(
    rpc: Rpc, profile: ChainProfile, account: Address, act: Callable[[Sender], object]
) -> None:
    """Have the contract say now whether it would do `act` for `account`; nothing is made of it.

    For what another party signs, or another contract does: the account needs no coins, and may be
    a contract of ours.

    Raises:
        ContractReverted: it would not.
        ChainUnavailable: no endpoint answers.
    """
    try:
        act(_Trial(rpc, _Pen(account), profile))
    except _Tried:
        return
    raise AssertionError("nothing was sent, so nothing was tried")


class _Tried(Exception):
    pass


class _Trial(Sender):
    """Sends nothing: the first call is run at the head, and that is all."""

    def send(
        self,
        to: Address | None,
        data_: bytes,
        value: int = 0,
        *,
        purpose: str = "",  # noqa: ARG002  nobody is shown it
    ) -> NoReturn:
        call = {"from": str(self.address), "to": str(to), "data": "0x" + data_.hex()}
        call |= {"value": hex(value), "gas": hex(MOST_GAS)}
        self.rpc.call("eth_call", [call, "latest"])
        raise _Tried


class _Shown(Exception):
    def __init__(self, fields: dict[str, Any]) -> None:
        super().__init__("a transaction to be signed elsewhere")
        self.fields = fields


class _Pen:
    """The signer of an account whose key is elsewhere."""

    is_test_key = False

    def __init__(self, account: Address) -> None:
        self.address = account

    def sign_transaction(self, transaction: dict[str, Any]) -> bytes:
        raise _Shown(transaction)

    def sign_digest(self, digest: Digest) -> NoReturn:  # noqa: ARG002  the protocol's name
        raise self._absent()

    def sign_typed(
        self,
        domain: Domain,  # noqa: ARG002  as above
        kind: StructType,  # noqa: ARG002
        values: dict[str, Any],  # noqa: ARG002
    ) -> NoReturn:
        raise self._absent()

    def _absent(self) -> WalletError:
        return WalletError(
            f"the key of {self.address} is not here to sign what goes into the transaction",
            hint="sign it with that wallet, and give the signature with the request",
        )
