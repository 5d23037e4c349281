"""Putting a broker together: from its folder and a network to a running service."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ledger.broker.chainview import ChainView
from ledger.broker.home import BrokerHome, BrokerIdentity
from ledger.broker.keyshares import MAX_MEMBERS
from ledger.broker.service import BrokerService
from ledger.broker.sharing import witness_rpc
from ledger.chain.brokers import BrokerRegistry
from ledger.chain.deployment import Deployment
from ledger.chain.profile import ChainProfile
from ledger.chain.reverts import BrokerSetUnknown
from ledger.chain.transactions import Sender, TxReceipt
from ledger.errors import UsageError, WrongNetwork
from ledger.ids import ZERO_ADDRESS


def identity_on(deployment: Deployment, broker_id: int) -> BrokerIdentity:
    """The identity of broker `broker_id` of a deployment, for ``BrokerHome.register``."""
    addresses = deployment.addresses
    return BrokerIdentity(
        broker_id,
        deployment.chain_id,
        addresses["LicenseLedger"],
        addresses["ModelRegistry"],
        addresses["BrokerRegistry"],
    )


def register_broker(home: BrokerHome, sender: Sender, deployment: Deployment, url: str) -> int:
    """Register a broker's keys and a set of this broker alone; return the set's id.

    What an interrupted run left on chain is found again, so repeating is safe. The home's identity
    is written last.

    Raises:
        ContractReverted, InsufficientFunds, ChainUnavailable: as ``Sender.send``.
    """
    registry = BrokerRegistry(sender.rpc, deployment.addresses["BrokerRegistry"])
    keys = (home.signing_key_hash, home.kem_key_hash)
    broker_id = 1
    while (found := registry.broker_of(broker_id)).operator != ZERO_ADDRESS:
        if (found.signing_key_hash, found.kem_key_hash) == keys:
            break
        broker_id += 1
    else:
        broker_id, _ = registry.register_broker(sender, *keys, url)
    if registry.url_of(broker_id, from_block=deployment.block) != url:
        registry.set_keys(sender, broker_id, *keys, url)
    set_id = _set_of_alone(registry, broker_id)
    if set_id is None:
        set_id, _ = registry.create_set(sender, (broker_id,), 1)
    home.register(identity_on(deployment, broker_id))
    return set_id


def create_broker_set(
    registry: BrokerRegistry,
    sender: Callable[[], Sender],
    broker_ids: Sequence[int],
    threshold: int,
) -> tuple[int, TxReceipt | None]:
    """A set of registered brokers, found or made; no receipt when it was there.

    Args:
        registry: the chain's brokers.
        sender: called only when there is something to send.
        broker_ids: in any order.
        threshold: how many of them must release.

    Raises:
        UsageError: a broker named twice, or more must release than there are.
        ContractReverted: a broker that is not registered.
    """
    members = tuple(sorted(broker_ids))
    if len(set(members)) != len(members) or not 1 <= threshold <= len(members) <= MAX_MEMBERS:
        raise UsageError(
            f"{threshold} of the brokers {', '.join(map(str, members))} cannot be a set",
            hint=f"name up to {MAX_MEMBERS} different brokers, and a threshold no higher than that",
        )
    set_id = 1
    try:
        while True:
            found = registry.broker_set_of(set_id)
            if (found.broker_ids, found.threshold) == (members, threshold):
                return set_id, None
            set_id += 1
    except BrokerSetUnknown:
        return registry.create_set(sender(), members, threshold)


def _set_of_alone(registry: BrokerRegistry, broker_id: int) -> int | None:
    set_id = 1
    try:
        while registry.broker_set_of(set_id).broker_ids != (broker_id,):
            set_id += 1
    except BrokerSetUnknown:
        return None
    return set_id


def open_service(
    folder: Path,
    passphrase: str,
    *,
    rpc_urls: Sequence[str],
    deployment: Deployment,
    profile: ChainProfile,
    clock: Callable[[], float] = time.time,
) -> BrokerService:
    """Open a registered broker's folder as a service over these endpoints.

    Raises:
        ConfigurationError: no broker there, or not registered.
        WrongPassphrase: the passphrase does not open it.
        WrongNetwork: the broker is registered with other contracts.
    """
    home = BrokerHome.open(folder, passphrase)
    if home.identity != identity_on(deployment, home.identity.id):
        raise WrongNetwork(
            "this broker is registered with other contracts than the network's",
            hint="choose the network it was made for, or make a new broker: deed broker init",
        )
    rpcs = [witness_rpc(url, chain_id=deployment.chain_id) for url in rpc_urls]
    return BrokerService(home, ChainView(rpcs, deployment, profile, clock=clock), clock=clock)
