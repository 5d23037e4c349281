"""What the clients of our contracts share: reading a function, sending one."""

from __future__ import annotations

from typing import Any, ClassVar

from ledger.chain.abi_codec import contract
from ledger.chain.rpc import BlockId, Rpc
from ledger.chain.transactions import Sender, TxReceipt
from ledger.ids import Address


class ContractCalls:
    """One deployed contract of ours.

    The parts of `ledger.chain.licenses.LicenseLedger` derive from this, each in the file of its
    noun, as the contract itself is put together: delegating sixty calls by hand would say nothing.

    Every method of every part raises ``ChainUnavailable`` when no endpoint answers and the matching
    class of ``ledger.chain.reverts`` when the contract refuses; those that send also raise as
    `Sender.send`.
    """

    contract_name: ClassVar[str]

    def __init__(self, rpc: Rpc, address: Address) -> None:
        self.address = address
        self._rpc = rpc
        self._abi = contract(self.contract_name)

    def _read(self, block: BlockId, function: str, *args: Any) -> tuple[Any, ...]:
        call = self._abi.encode(function, *args)
        return self._abi.decode(function, self._rpc.eth_call(self.address, call, block))

    def _moment(self, block: BlockId, at: int | None) -> tuple[BlockId, int]:
        """The block to ask, and the time to ask about: `at`, or the block's own for None.

        A tag becomes the number it has now: another block may follow at once, whose later time
        would make this one's the past, which the contract refuses.
        """
        if at is not None:
            return block, at
        found = self._rpc.block(block)
        moves = isinstance(block, str) and block != "pending"
        return found.number if moves else block, found.timestamp

    def _send(
        self, sender: Sender, purpose: str, function: str, *args: Any, value: int = 0
    ) -> TxReceipt:
        call = self._abi.encode(function, *args)
        return sender.send(self.address, call, value, purpose=purpose)
