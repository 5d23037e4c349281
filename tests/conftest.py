"""What several test folders stand on: a real Anvil node with the real contracts."""

from __future__ import annotations

import gc
import importlib
import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from ledger.chain.anchors import Anchors
from ledger.chain.brokers import BrokerRegistry
from ledger.chain.deployment import Deployment, deploy
from ledger.chain.dev import DevChain
from ledger.chain.licenses import LicenseLedger
from ledger.chain.network import Network
from ledger.chain.profile import ChainProfile, profile_for
from ledger.chain.registry import ModelRegistry
from ledger.chain.rpc import Rpc
from ledger.chain.transactions import Sender
from ledger.chain.wallet import LocalWallet, dev_wallet

# A shell starts what runs in the background with SIGINT ignored, and so would be every program
# that a test starts and then interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
HANDLERS = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


# Collecting makes 700,000 objects that live to the end. Looking for garbage among them took five
# seconds of collecting, in each worker, and later a sixth of the time that tests compute.
gc.disable()


def pytest_collection_finish() -> None:
    """Search for garbage among what tests make, and nothing older."""
    gc.freeze()
    gc.enable()


# Files of few and long tests: begun first, so that no worker is alone with one at the end.
LONG_FILES = (
    "ledger/broker/test_accounting.py",
    "ledger/tracing/test_leaks.py",
    "ledger/broker/test_endpoint_faults.py",
    "ledger/index/test_chaos.py",
    "ledger/index/test_ablations.py",
    "ledger/index/test_ablations_keeping.py",
    "ledger/cli/test_broker_set.py",
    "ledger/serving/test_ranks.py",
    "ledger/fingerprint/test_compare.py",
    "ledger/broker/test_rotation.py",
    "ledger/broker/test_random_faults.py",
    "ledger/tracing/test_accusation.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put off what is deep; files in the order in which workers take them, the longest first."""
    if not os.environ.get("DEED_DEEP"):
        for item in items:
            if item.get_closest_marker("deep") is not None:
                item.add_marker(pytest.mark.skip(reason="make deep"))
    if not hasattr(config, "workerinput"):
        return
    counts = Counter(item.path for item in items)
    place = {Path(__file__).parent / name: number for number, name in enumerate(LONG_FILES)}
    items.sort(
        key=lambda item: (place.get(item.path, len(place)), -counts[item.path], str(item.path))
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Some tests interrupt their own process: a handler left by another would swallow that."""
    yield
    left = {number: signal.getsignal(number) for number in HANDLERS}
    for number, handler in HANDLERS.items():
        signal.signal(number, handler)
    assert left == HANDLERS, f"{item.nodeid} left handlers of signals behind"


@dataclass(frozen=True)
class Deployed:
    """The contracts on a fresh chain, and who may use them."""

    chain: DevChain
    rpc: Rpc
    network: Network
    deployment: Deployment
    registry: ModelRegistry
    anchors: Anchors
    licenses: LicenseLedger
    brokers: BrokerRegistry
    profile: ChainProfile

    def wallet(self, name: str) -> LocalWallet:
        """A funded test account: deployer, licensor, holder, broker, rival, buyer, stranger, …"""
        return dev_wallet(name)

    def sender(self, name: str) -> Sender:
        """A sender for a test account."""
        return Sender(self.rpc, dev_wallet(name), self.profile)


@pytest.fixture(scope="module")
def chain() -> Iterator[DevChain]:
    """A node of this module's own, with nothing on it."""
    with DevChain.start() as node:
        yield node


@pytest.fixture(scope="module")
def deployed(chain: DevChain) -> Iterator[Deployed]:
    """The contracts, deployed on `chain`."""
    profile = profile_for(31337)
    with Rpc(chain.rpc_url, chain_id=31337) as rpc:
        deployment = deploy(Sender(rpc, dev_wallet("deployer"), profile))
        names = ("licensor", "holder", "broker")
        network = Network(
            "local",
            (chain.rpc_url,),
            deployment,
            profile,
            accounts={name: dev_wallet(name).address for name in names},
        )
        at = deployment.addresses
        yield Deployed(
            chain,
            rpc,
            network,
            deployment,
            ModelRegistry(rpc, at["ModelRegistry"]),
            Anchors(rpc, at["Anchors"]),
            LicenseLedger(rpc, at["LicenseLedger"]),
            BrokerRegistry(rpc, at["BrokerRegistry"]),
            profile,
        )


@pytest.fixture(scope="session")
def token_world() -> ModuleType:
    """How to put a plain ERC-20 token on the chain: ``tests/worlds/token_world.py``."""
    return importlib.import_module("token_world")
