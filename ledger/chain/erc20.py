"""The little of an ERC-20 token that paying for a license takes."""

from __future__ import annotations

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError

from ledger.chain.rpc import BlockId, Rpc
from ledger.chain.transactions import Sender, TxReceipt
from ledger.errors import ChainError, UsageError
from ledger.ids import Address, keccak256


class Erc20:
    """Calls of one token contract, which is not ours and may do as it likes.

    Raises as `ledger.chain.anchors.Anchors` does, and ``ChainError`` when what is there does not
    answer as a token.
    """

    def __init__(self, rpc: Rpc, address: Address) -> None:
        self.address = address
        self._rpc = rpc

    def balance_of(self, account: Address, block: BlockId = "latest") -> int:
        """In the token's smallest unit."""
        return self._number("balanceOf(address)", ("address",), account, block=block)

    def allowance(self, owner: Address, spender: Address, block: BlockId = "latest") -> int:
        """What `spender` may still take from `owner`, in the token's smallest unit."""
        kinds = ("address", "address")
        return self._number("allowance(address,address)", kinds, owner, spender, block=block)

    def approve(self, sender: Sender, spender: Address, amount: int) -> TxReceipt:
        """Let `spender` take exactly `amount` from the sender, in the token's smallest unit.

        Some tokens refuse to change an allowance that is not zero: set it to zero first.
        """
        if not 0 <= amount < 1 << 256:
            raise UsageError("an allowance is below 2^256", hint="give the price")
        call = _call("approve(address,uint256)", ("address", "uint256"), spender, amount)
        purpose = f"let {spender} take {amount} units of token {self.address}"
        return sender.send(self.address, call, purpose=purpose)

    def _number(
        self, signature: str, kinds: tuple[str, ...], *args: Address, block: BlockId
    ) -> int:
        data = self._rpc.eth_call(self.address, _call(signature, kinds, *args), block)
        try:
            (value,) = abi_decode(["uint256"], data)
        except (DecodingError, ValueError, OverflowError):
            raise ChainError(
                f"what is at {self.address} does not answer as an ERC-20 token",
                hint="check the plan's token with deed plan show",
            ) from None
        return int(value)


def _call(signature: str, kinds: tuple[str, ...], *args: Address | int) -> bytes:
    plain = [str(arg).lower() if isinstance(arg, Address) else arg for arg in args]
    return keccak256(signature.encode())[:4] + abi_encode(kinds, plain)
