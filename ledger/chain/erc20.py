"""The little of an ERC-20 token that paying for a license takes."""

from __future__ import annotations

from typing import Any, Final

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError

from ledger.chain.rpc import BlockId, Rpc
from ledger.chain.transactions import Sender, TxReceipt
from ledger.eip712 import Domain, StructType, TypedSigner
from ledger.errors import ChainError, UsageError
from ledger.ids import Address, keccak256

READ_GAS: Final = 5_000_000
"""What a token may use to answer a question: its code is anybody's, and the node is ours."""
PERMIT_TYPE: Final = StructType.parse(
    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
)


class Erc20:
    """Calls of one token contract, which is not ours and may do as it likes.

    Raises as `ledger.chain.calls.ContractCalls` says, and ``ChainError`` when what is there does
    not answer as a token.
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

    def permit(self, owner: TypedSigner, spender: Address, amount: int, *, deadline: int) -> bytes:
        """Sign, in place of `approve`, that `spender` may take exactly `amount` (ERC-2612).

        Args:
            owner: whose tokens they are.
            spender: who may take them.
            amount: in the token's smallest unit.
            deadline: last second in which the signature can be used, Unix time.

        Returns:
            The 128 bytes that `LicenseMarket` takes: deadline, v, r, s.

        Raises:
            ChainError: the token takes no permits, or none that we know how to sign.
        """
        domain, values = self.permit_terms(owner.address, spender, amount, deadline=deadline)
        return permit_bytes(deadline, owner.sign_typed(domain, PERMIT_TYPE, values))

    def permit_terms(
        self, owner: Address, spender: Address, amount: int, *, deadline: int
    ) -> tuple[Domain, dict[str, Any]]:
        """Domain and values of the permit that `owner` may sign now; as `permit`.

        Raises:
            ChainError: the token takes no permits, or none that we know how to sign.
        """
        domain = self._permit_domain()
        nonce = self._number("nonces(address)", ("address",), owner, block="latest")
        return domain, {
            "owner": owner,
            "spender": spender,
            "value": amount,
            "nonce": nonce,
            "deadline": deadline,
        }

    def _permit_domain(self) -> Domain:
        """The domain of the token's permits.

        ERC-2612 does not say how its name and version are found; only the separator tells.
        """
        chain_id = self._rpc.chain_id()
        name = self._answer("name()", "string")
        wanted = self._answer("DOMAIN_SEPARATOR()", "bytes32")
        for version in ("1", self._answer("version()", "string"), "2"):
            if isinstance(name, str) and isinstance(version, str):
                domain = Domain(name, version, chain_id, self.address)
                if domain.separator() == wanted:
                    return domain
        raise ChainError(
            f"token {self.address} takes no permits that we can sign",
            hint="leave --permit away: the market is then allowed to take the price first",
        )

    def _answer(self, signature: str, kind: str) -> Any:
        """What the token says, or None where it has nothing to say."""
        try:
            data = self._rpc.eth_call(self.address, _call(signature, ()), gas=READ_GAS)
            (value,) = abi_decode([kind], data)
        except (ChainError, DecodingError, ValueError, OverflowError):
            return None
        return value

    def _number(
        self, signature: str, kinds: tuple[str, ...], *args: Address, block: BlockId
    ) -> int:
        asked = _call(signature, kinds, *args)
        data = self._rpc.eth_call(self.address, asked, block, gas=READ_GAS)
        try:
            (value,) = abi_decode(["uint256"], data)
        except (DecodingError, ValueError, OverflowError):
            raise ChainError(
                f"what is at {self.address} does not answer as an ERC-20 token",
                hint="check the token's address: deed plan show tells the plan's",
            ) from None
        return int(value)


def permit_bytes(deadline: int, signature: bytes) -> bytes:
    """A signed permit as `LicenseMarket` takes it: deadline, v, r, s in 128 bytes.

    Args:
        deadline: as it was signed, Unix seconds.
        signature: 65 bytes ``r ‖ s ‖ v``; v of 0 and 1 become 27 and 28, which tokens want.
    """
    v = signature[64] + 27 if signature[64] < 27 else signature[64]
    kinds = ("uint256", "uint8", "bytes32", "bytes32")
    return abi_encode(kinds, (deadline, v, signature[:32], signature[32:64]))


def _call(signature: str, kinds: tuple[str, ...], *args: Address | int) -> bytes:
    plain = [str(arg).lower() if isinstance(arg, Address) else arg for arg in args]
    return keccak256(signature.encode())[:4] + abi_encode(kinds, plain)
