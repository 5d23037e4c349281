"""One real stack for all broker tests that need a chain."""

import importlib.util
import sys
from pathlib import Path

import pytest


def load_world(name="broker_world"):
    if name not in sys.modules:
        path = Path(__file__).parents[2] / "worlds" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def broker_world():
    """The module with the helpers."""
    return load_world()


@pytest.fixture(scope="session")
def world(broker_world, tmp_path_factory):
    """Anvil, contracts, a published model and its broker behind HTTP."""
    with broker_world.world(tmp_path_factory.mktemp("broker")) as made:
        yield made


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory):
    """A real PKCS#11 library with a store of its own."""
    return load_world("softhsm_world").start(tmp_path_factory.mktemp("softhsm"))


@pytest.fixture(scope="session")
def wallets(world):
    """Contract wallets on the world's chain."""
    return load_world("wallet_world").Wallets(world.chain)


@pytest.fixture(scope="session")
def wallet_world():
    """The module with contract wallets, for stacks of a test's own."""
    return load_world("wallet_world")


@pytest.fixture(scope="session")
def faults():
    """The module with endpoints that fail and lie."""
    return load_world("fault_world")


@pytest.fixture(scope="session")
def fault_stand():
    """The module with a broker over such endpoints."""
    return load_world("fault_stand")


@pytest.fixture(scope="module")
def own_world(broker_world, tmp_path_factory):
    """A stack of this module's own, whose chain it may hold, split and reorganise."""
    with broker_world.world(tmp_path_factory.mktemp("own")) as made:
        yield made
