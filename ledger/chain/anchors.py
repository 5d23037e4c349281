"""The Anchors contract: first-write-wins times for 32-byte roots, and watermark commitments."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.chain.abi_codec import Event
from ledger.chain.calls import ContractCalls
from ledger.chain.logs import find_events
from ledger.chain.rpc import BlockId
from ledger.chain.transactions import Sender, TxReceipt
from ledger.errors import ChainError
from ledger.ids import Address, Digest


@dataclass(frozen=True, slots=True)
class PhaseA:
    """A watermark commitment as it was made.

    Attributes:
        sender: who made it.
        number: its place among all of this sender's, from 1; each of them counts in a report.
        time: Unix seconds.
    """

    sender: Address
    number: int
    time: int


class Anchors(ContractCalls):
    """Calls of one deployed Anchors contract."""

    contract_name = "Anchors"

    def anchor(self, sender: Sender, root: Digest) -> TxReceipt:
        """Give `root` this time, unless it has an earlier one (``AnchorsRootTaken``)."""
        return self._send(sender, f"anchor root {root.short}", "anchor", root)

    def anchored_at(self, root: Digest, block: BlockId = "latest") -> tuple[int, int] | None:
        """(time in Unix seconds, block number) of a root, or None when it was never anchored."""
        time, number = self._read(block, "anchoredAt", root)
        return (time, number) if time else None

    def anchored_by(self, sender: Address, *, from_block: int) -> list[Digest]:
        """Every root that this account anchored, oldest first.

        Raises:
            ChainUnavailable, ChainError: no endpoint answers, or sends malformed logs.
        """
        topics = [None, Digest(sender.raw.rjust(32, b"\0"))]
        found = find_events(
            self._rpc, self._abi, self.address, "RootAnchored", topics, from_block=from_block
        )
        return [event.arguments["root"] for event in found]

    def commit_phase_a(self, sender: Sender, commitment: Digest) -> tuple[int, TxReceipt]:
        """Commit to a watermark before its beacon is known; gives the sender's running number."""
        purpose = f"commit to watermark {commitment.short}"
        receipt = self._send(sender, purpose, "commitPhaseA", commitment)
        event = self._abi.emitted(receipt.logs, self.address, "PhaseACommitted")
        return int(event.arguments["number"]), receipt

    def phase_a_of(self, commitment: Digest, block: BlockId = "latest") -> PhaseA | None:
        """Who committed to this first, or None."""
        found = PhaseA(*self._read(block, "phaseAOf", commitment))
        return found if found.number else None

    def phase_a_by(
        self, sender: Address, commitment: Digest, block: BlockId = "latest"
    ) -> PhaseA | None:
        """This account's own commitment, whoever made the same one before; or None."""
        number, time = self._read(block, "phaseABy", sender, commitment)
        return PhaseA(sender, number, time) if number else None

    def phase_a_stands_in(self, sender: Address, commitment: Digest, block: int) -> bool:
        """Whether this account's commitment was made in this very block."""
        return bool(self._phase_a_events(sender, commitment, block, block))

    def phase_a_block(self, sender: Address, commitment: Digest, *, from_block: int) -> int:
        """The block of this account's commitment.

        Raises:
            ChainError: the endpoint shows none.
        """
        found = self._phase_a_events(sender, commitment, from_block, None)
        block = found[0].block if found else None
        if block is None:
            raise ChainError("the endpoint does not show in which block the commitment was made")
        return block

    def phase_a_count(self, sender: Address, block: BlockId = "latest") -> int:
        """How many commitments an account has made."""
        (count,) = self._read(block, "phaseACount", sender)
        return int(count)

    def _phase_a_events(
        self, sender: Address, commitment: Digest, first: int, last: int | None
    ) -> list[Event]:
        topics = [Digest(sender.raw.rjust(32, b"\0")), None, commitment]
        return find_events(
            self._rpc,
            self._abi,
            self.address,
            "PhaseACommitted",
            topics,
            from_block=first,
            to_block=last,
        )
