"""Putting a broker together: from its folder and a network to a running service."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ledger.broker.chainview import ChainView
from ledger.broker.home import BrokerHome, BrokerIdentity
from ledger.broker.service import BrokerService
from ledger.chain.deployment import Deployment
from ledger.chain.profile import ChainProfile
from ledger.chain.rpc import Rpc
from ledger.errors import WrongNetwork


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
    rpcs = [Rpc(url, chain_id=deployment.chain_id) for url in rpc_urls]
    return BrokerService(home, ChainView(rpcs, deployment, profile, clock=clock), clock=clock)
