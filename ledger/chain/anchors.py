"""The Anchors contract: first-write-wins times for 32-byte roots."""

from __future__ import annotations

from ledger.chain.abi_codec import contract
from ledger.chain.rpc import BlockId, Rpc
from ledger.chain.transactions import Sender, TxReceipt
from ledger.ids import Address, Digest


class Anchors:
    """Calls of one deployed Anchors contract.

    Every method raises ``ChainUnavailable`` when no endpoint answers and the matching class of
    ``ledger.chain.reverts`` when the contract refuses; those that send also raise as `Sender.send`.
    """

    def __init__(self, rpc: Rpc, address: Address) -> None:
        self.address = address
        self._rpc = rpc
        self._abi = contract("Anchors")

    def anchor(self, sender: Sender, root: Digest) -> TxReceipt:
        """Give `root` this time, unless it has an earlier one (``AnchorsRootTaken``)."""
        call = self._abi.encode("anchor", root)
        return sender.send(self.address, call, purpose=f"anchor root {root.short}")

    def anchored_at(self, root: Digest, block: BlockId = "latest") -> tuple[int, int] | None:
        """(time in Unix seconds, block number) of a root, or None when it was never anchored."""
        call = self._abi.encode("anchoredAt", root)
        time, number = self._abi.decode("anchoredAt", self._rpc.eth_call(self.address, call, block))
        return (time, number) if time else None

    def commit_phase_a(self, sender: Sender, commitment: Digest) -> tuple[int, TxReceipt]:
        """Commit to a watermark before its beacon is known; gives the sender's running number."""
        call = self._abi.encode("commitPhaseA", commitment)
        receipt = sender.send(self.address, call, purpose=f"commit to watermark {commitment.short}")
        event = self._abi.emitted(receipt.logs, self.address, "PhaseACommitted")
        return int(event.arguments["number"]), receipt
