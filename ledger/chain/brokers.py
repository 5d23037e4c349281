"""The BrokerRegistry contract: who releases keys, with which keys, and their anchored receipts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.chain.calls import ContractCalls
from ledger.chain.logs import find_events
from ledger.chain.rpc import BlockId
from ledger.chain.transactions import Sender, TxReceipt
from ledger.ids import Address, Digest, keccak256


@dataclass(frozen=True, slots=True)
class BrokerRecord:
    """A broker as registered. The URL itself stands in events; here is its Keccak-256."""

    operator: Address
    epoch: int
    signing_key_hash: Digest
    kem_key_hash: Digest
    url_hash: Digest


@dataclass(frozen=True, slots=True)
class BrokerSetRecord:
    """Brokers of which `threshold` must agree."""

    owner: Address
    threshold: int
    broker_ids: tuple[int, ...]


class BrokerRegistry(ContractCalls):
    """Calls of one deployed BrokerRegistry."""

    contract_name = "BrokerRegistry"

    def broker_of(self, broker_id: int, block: BlockId = "latest") -> BrokerRecord:
        """A broker's keys; raises ``BrokerUnknown``."""
        return BrokerRecord(*self._read(block, "brokerOf", broker_id))

    def broker_set_of(self, set_id: int, block: BlockId = "latest") -> BrokerSetRecord:
        """A set's members; raises ``BrokerSetUnknown``."""
        return BrokerSetRecord(*self._read(block, "brokerSetOf", set_id))

    def receipts_of(self, broker_id: int, block: BlockId = "latest") -> tuple[int, Digest]:
        """(number, root) of the last anchored receipts; number 0 when there are none."""
        seq, root = self._read(block, "receiptsOf", broker_id)
        return seq, root

    def url_of(self, broker_id: int, *, from_block: int = 0) -> str | None:
        """The broker's URL from its newest event, checked against the hash on chain.

        Args:
            broker_id: the broker.
            from_block: the deployment's first block.

        Returns:
            None when no event carries the URL that the hash stands for.
        """
        wanted = self.broker_of(broker_id).url_hash
        topic = Digest(broker_id.to_bytes(32, "big"))
        for event in reversed(
            find_events(
                self._rpc, self._abi, self.address, "BrokerKeysSet", [topic], from_block=from_block
            )
        ):
            url = str(event.arguments["url"])
            if Digest(keccak256(url.encode())) == wanted:
                return url
        return None

    def register_broker(
        self, sender: Sender, signing_key_hash: Digest, kem_key_hash: Digest, url: str
    ) -> tuple[int, TxReceipt]:
        """Register a broker operated by the sender; gives its id, the first is 1."""
        receipt = self._send(
            sender,
            "register a key broker",
            "registerBroker",
            signing_key_hash,
            kem_key_hash,
            url,
        )
        event = self._abi.emitted(receipt.logs, self.address, "BrokerRegistered")
        return int(event.arguments["brokerId"]), receipt

    def set_keys(
        self,
        sender: Sender,
        broker_id: int,
        signing_key_hash: Digest,
        kem_key_hash: Digest,
        url: str,
    ) -> TxReceipt:
        """Rotate keys or URL; the broker's epoch rises by one."""
        purpose = f"set the keys of broker {broker_id}"
        return self._send(
            sender, purpose, "setBrokerKeys", broker_id, signing_key_hash, kem_key_hash, url
        )

    def propose_operator(self, sender: Sender, broker_id: int, to: Address) -> TxReceipt:
        """Offer a broker to another account; zero takes the offer back. Operator only."""
        purpose = f"offer broker {broker_id} to {to}"
        return self._send(sender, purpose, "proposeOperator", broker_id, to)

    def accept_operator(self, sender: Sender, broker_id: int) -> TxReceipt:
        """Take the broker that was offered to the sender."""
        return self._send(sender, f"take broker {broker_id}", "acceptOperator", broker_id)

    def create_set(
        self, sender: Sender, broker_ids: Sequence[int], threshold: int
    ) -> tuple[int, TxReceipt]:
        """Create a set of brokers (ids strictly rising); gives its id, the first is 1."""
        receipt = self._send(
            sender, "create a broker set", "createBrokerSet", tuple(broker_ids), threshold
        )
        event = self._abi.emitted(receipt.logs, self.address, "BrokerSetCreated")
        return int(event.arguments["setId"]), receipt

    def anchor_receipts(
        self,
        sender: Sender,
        broker_id: int,
        *,
        seq: int,
        prev_root: Digest,
        root: Digest,
        count: int,
    ) -> TxReceipt:
        """Anchor the root of a broker's receipts, the next after the last anchored one."""
        purpose = f"anchor receipts {seq} of broker {broker_id}"
        return self._send(sender, purpose, "anchorReceipts", broker_id, seq, prev_root, root, count)
