"""Whether the broker that answers is the one the chain lists; asked before it gets a key."""

from __future__ import annotations

from ledger.broker.client import BrokerClient
from ledger.broker.link import BrokerPin
from ledger.chain.brokers import BrokerRegistry
from ledger.chain.deployment import Deployment
from ledger.chain.finality import finalized_block
from ledger.chain.profile import ChainProfile, profile_for
from ledger.chain.rpc import BlockId, Rpc
from ledger.errors import SignatureInvalid, UsageError


def require_registered(
    client: BrokerClient,
    rpc: Rpc,
    deployment: Deployment,
    *,
    broker_set: int,
    profile: ChainProfile | None = None,
) -> BrokerPin:
    """Hold a broker's answer against BrokerRegistry, and pin the client to those keys.

    Args:
        client: the broker as its URL answers.
        rpc: the chain.
        deployment: of our contracts there.
        broker_set: of the plan; the broker must be a member.
        profile: of the chain; by default the known one. Where what happens has value, only what is
            final counts: keys that a reorganisation takes back would keep the secret.

    Raises:
        SignatureInvalid: the keys that answer are not those on chain.
        UsageError: the broker is not in the set.
        ContractReverted: no such set or broker (finally). WrongNetwork: no profile.
        BrokerUnavailable, ChainUnavailable: no answer.
    """
    registry = BrokerRegistry(rpc, deployment.addresses["BrokerRegistry"])
    profile = profile or profile_for(deployment.chain_id)
    block: BlockId = "latest" if profile.test_network else finalized_block(rpc, profile).hash
    told = client.facts().identity
    if told.id not in registry.broker_set_of(broker_set, block).broker_ids:
        raise UsageError(
            f"broker {told.id} at {client.host} is not in broker set {broker_set}",
            hint="choose the broker of the plan's set, or another set",
        )
    record = registry.broker_of(told.id, block)
    pin = BrokerPin(told.id, record.signing_key_hash, record.kem_key_hash)
    client.pin(pin)
    addresses = deployment.addresses
    if (told.chain_id, told.ledger, told.registry, told.broker_registry) != (
        deployment.chain_id,
        addresses["LicenseLedger"],
        addresses["ModelRegistry"],
        addresses["BrokerRegistry"],
    ):
        raise SignatureInvalid(f"broker {client.host} decides by other contracts than these")
    return pin
