"""The stacks of the broker's own tests, for attacks on them."""

import importlib.util
import sys
import time
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import pytest

from ledger.broker.client import Asker, BrokerClient
from ledger.broker.link import BrokerPin
from ledger.broker.service import BrokerService
from ledger.ids import Digest


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Anvil, contracts, a published model and its broker: of each module, which may spoil it."""
    with import_module("broker_world").world(tmp_path_factory.mktemp("attacked")) as made:
        yield made


@pytest.fixture(scope="module")
def trio(world, tmp_path_factory):
    """Three brokers of a 2-of-3 set, each of which can be made to lie."""
    with import_module("threshold_world").trio(world, tmp_path_factory.mktemp("trio")) as made:
        yield made


@pytest.fixture
def wallets(world):
    """Contract wallets on the attacked chain."""
    return import_module("wallet_world").Wallets(world.chain)


@pytest.fixture(scope="session")
def broker_world():
    """The module with brokers and what they need."""
    return import_module("broker_world")


@pytest.fixture(scope="session")
def faults():
    """The module with endpoints that fail and lie."""
    return import_module("fault_world")


@dataclass
class Clock:
    """A clock that tests set."""

    value: float = field(default_factory=lambda: float(int(time.time())))

    def __call__(self):
        return self.value


class Direct(BrokerClient):
    """The real client on a real service in this process, with its clock: no HTTP between."""

    def __init__(self, service, clock=time.time):
        pin = BrokerPin(
            service.identity.id, service.home.signing_key_hash, service.home.kem_key_hash
        )
        super().__init__("http://127.0.0.1:9", pin=pin, clock=clock)
        self._service = service

    def _send(self, method, path, body=None, *, repeatable=False):
        service, name = self._service, path.removeprefix("/v1/broker").strip("/")
        if name.startswith("leases/"):
            return service.heartbeat(Digest.parse(name.split("/")[1]), body)
        calls = {
            "": service.info,
            "challenges": lambda: service.challenge(body),
            "releases": lambda: service.release(body),
            "checks": lambda: service.check(body),
            "deposits": lambda: service.deposit(body),
        }
        return calls[name]()


class Gated:
    """A broker's view of the chain, some of whose answers come late."""

    def __init__(self, view):
        self._view = view
        self.before = None

    def __getattr__(self, name):
        return getattr(self._view, name)

    def license_state(self, license_id, model, runtime_key_hash, *, now):
        found = self._view.license_state(license_id, model, runtime_key_hash, now=now)
        if self.before is not None:
            self.before(runtime_key_hash)
        return found


@dataclass
class Stand:
    """A second service over the world's broker, with a clock and a chain of its own."""

    world: object
    clock: Clock
    view: Gated
    service: BrokerService

    def client(self):
        return Direct(self.service, self.clock)

    def asker(self, identity, license_id, **changes):
        made, chain = self.world.published, self.world.chain
        held = identity.grant_for(31337, chain.deployment.addresses["LicenseLedger"], license_id)
        return Asker(
            **{
                "identity": identity,
                "license": license_id,
                "model": made.model_id,
                "sealing": made.record.hash(),
                "grant": held and held.grant,
                "acceptance": held and held.acceptance,
                "terms": self.world.terms,
                **changes,
            }
        )


@pytest.fixture
def stand(world):
    """That service; it shares the broker's database, as two processes would."""
    clock, view, broker = Clock(), Gated(world.broker.view), world.broker
    service = BrokerService(broker.home, view, store=broker.service.store, clock=clock)
    yield Stand(world, clock, view, service)
    service.notices.stop()


def _beside(name):
    """A module of the broker's own tests: test folders are no packages."""
    path = Path(__file__).parents[2] / "ledger" / "broker" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"attacked_{name}", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_hygiene = _beside("test_hygiene")
served = _hygiene.served


@pytest.fixture(scope="session")
def hygiene():
    """The module that reads a process's memory."""
    return _hygiene
