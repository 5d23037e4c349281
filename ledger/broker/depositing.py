"""Depositing at every broker of a set: the key where one suffices, else one share each."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Self

from ledger.broker.celldeposits import CellSecrets
from ledger.broker.cellshares import deal_cells
from ledger.broker.client import BrokerClient
from ledger.broker.keyshares import KeyShares
from ledger.broker.pinning import require_registered
from ledger.broker.shamir import split
from ledger.chain.brokers import BrokerRegistry
from ledger.chain.deployment import Deployment
from ledger.chain.licenses import PlanTerms
from ledger.chain.rpc import Rpc
from ledger.eip712 import Domain, TypedSigner
from ledger.errors import BrokerUnavailable, SignatureInvalid, UsageError
from ledger.ids import Digest
from ledger.sealed.cells import CellKeys
from ledger.sealed.record import SealingRecord


@dataclass(frozen=True, slots=True)
class SharingBrokers:
    """All brokers of one set, as a publication deposits with them.

    Attributes:
        broker_set: id in BrokerRegistry.
        threshold: how many must release, as on chain.
        clients: one for each member, by rising id.
    """

    broker_set: int
    threshold: int
    clients: tuple[BrokerClient, ...]

    @classmethod
    def of(
        cls, rpc: Rpc, deployment: Deployment, broker_set: int, *, near: BrokerClient | None = None
    ) -> Self | None:
        """Clients at the URLs that BrokerRegistry tells; None for a set of the near broker alone.

        Args:
            rpc: the chain.
            deployment: of our contracts there.
            broker_set: of the plan.
            near: the network's own broker, which may be reached otherwise than its URL on chain.

        Raises:
            UsageError: a member has told no URL.
            ContractReverted: no such set.
        """
        registry = BrokerRegistry(rpc, deployment.addresses["BrokerRegistry"])
        found = registry.broker_set_of(broker_set)
        if near is not None and len(found.broker_ids) == 1:
            with contextlib.suppress(BrokerUnavailable):
                if near.facts().identity.id not in found.broker_ids:
                    near = None
            if near is not None:
                return None
        urls: list[str] = []
        for broker_id in sorted(found.broker_ids):
            url = registry.url_of(broker_id, from_block=deployment.block)
            if url is None:
                raise UsageError(
                    f"broker {broker_id} of set {broker_set} has told no URL",
                    hint="its operator sets one; every broker of the set gets a share",
                )
            urls.append(url)
        return cls(broker_set, found.threshold, tuple(BrokerClient(url) for url in urls))

    def close(self) -> None:
        """Close the connections."""
        for client in self.clients:
            client.close()

    def require_registered(self, rpc: Rpc, deployment: Deployment) -> None:
        """Every broker of the set answers, with the keys that the chain lists, in its place.

        Raises:
            SignatureInvalid: another broker answers.
            UsageError, ContractReverted, BrokerUnavailable, ChainUnavailable: as
                `pinning.require_registered`.
        """
        registry = BrokerRegistry(rpc, deployment.addresses["BrokerRegistry"])
        wanted = sorted(registry.broker_set_of(self.broker_set).broker_ids)
        told = [
            require_registered(client, rpc, deployment, broker_set=self.broker_set).broker_id
            for client in self.clients
        ]
        if told != wanted:
            raise SignatureInvalid(
                f"brokers {told} answer where set {self.broker_set} has brokers {wanted}",
                hint="every broker of the set gets the share of its place, and no other",
            )

    def deposit(
        self,
        record: SealingRecord,
        content_key: bytes | bytearray,
        signer: TypedSigner,
        domain: Domain,
        *,
        terms: Sequence[Mapping[str, Any]] = (),
        cells: CellSecrets | None = None,
        clock: Callable[[], float] = time.time,
    ) -> dict[str, Any]:
        """Split the key and hand each broker its share; call `require_registered` first.

        Interrupted, it is done again from the start: shares of two splits do not mix, and a
        later split takes the earlier one's place at each broker.

        Returns:
            The licensor's statement about the shares, and each broker's receipt.

        Raises:
            as `BrokerClient.deposit`.
        """
        if self.threshold == 1:
            receipts = [
                client.deposit(record, content_key, signer, domain, terms=terms, cells=cells)
                for client in self.clients
            ]
            return {"receipts": receipts}
        parts = split(content_key, self.threshold, len(self.clients))
        dealt: list[CellKeys] = []
        roots: tuple[Digest, ...] = ()
        if cells is not None:
            dealt, roots = deal_cells(cells.keys, self.threshold, len(self.clients))
        try:
            shares = KeyShares.of(
                record,
                parts,
                broker_set=self.broker_set,
                licensor=signer.address,
                issued_at=int(clock()),
                cells=roots,
            ).signed(signer, domain)
            receipts = [
                client.deposit_share(
                    record, share, shares, signer, domain, terms=terms, part=part, cells=cells
                )
                for client, share, part in zip_longest(self.clients, parts, dealt)
            ]
        finally:
            for share in parts:
                share.wipe()
            for part in dealt:
                part.wipe()
        return {"shares": shares.to_json(), "receipts": receipts}


def require_set(
    broker: BrokerClient | SharingBrokers, rpc: Rpc, deployment: Deployment, offer: PlanTerms
) -> None:
    """See that those we deposit with are of a plan's set, as the chain lists it, and can keep it.

    Raises:
        UsageError: they are of another set, or what is offered is counted by one broker alone.
        SignatureInvalid, ContractReverted, BrokerUnavailable, ChainUnavailable: as
            `pinning.require_registered`.
    """
    if isinstance(broker, BrokerClient):
        require_registered(broker, rpc, deployment, broker_set=offer.broker_set)
        return
    if broker.broker_set != offer.broker_set:
        raise UsageError(
            f"these are the brokers of set {broker.broker_set}, and the plan's set is "
            f"{offer.broker_set}"
        )
    broker.require_registered(rpc, deployment)
    if len(broker.clients) > 1 and (offer.floating or offer.quota):
        raise UsageError(
            "several brokers release, each deciding alone: they can "
            "count neither floating seats nor a quota together",
            hint="offer bound seats, which the chain counts (--bound), and no quota",
        )


def deposited_with(broker: BrokerClient | SharingBrokers) -> str:
    """A deposit that was made, for people."""
    shared = isinstance(broker, SharingBrokers) and broker.threshold > 1
    count = 1 if isinstance(broker, BrokerClient) else len(broker.clients)
    who = "the broker" if count == 1 else f"each of {count} brokers"
    return f"{who} read {'its share' if shared else 'the key'} back and signed for it"
