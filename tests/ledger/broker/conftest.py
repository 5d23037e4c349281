"""One real stack for all broker tests that need a chain."""

from importlib import import_module

import pytest


@pytest.fixture(scope="session")
def broker_world():
    """The module with the helpers."""
    return import_module("broker_world")


@pytest.fixture(scope="session")
def world(broker_world, tmp_path_factory):
    """Anvil, contracts, a published model and its broker behind HTTP."""
    with broker_world.world(tmp_path_factory.mktemp("broker")) as made:
        yield made


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory):
    """A real PKCS#11 library with a store of its own."""
    return import_module("softhsm_world").start(tmp_path_factory.mktemp("softhsm"))


@pytest.fixture(scope="session")
def wallets(world):
    """Contract wallets on the world's chain."""
    return import_module("wallet_world").Wallets(world.chain)


@pytest.fixture(scope="session")
def wallet_world():
    """The module with contract wallets, for stacks of a test's own."""
    return import_module("wallet_world")


@pytest.fixture(scope="session")
def faults():
    """The module with endpoints that fail and lie."""
    return import_module("fault_world")


@pytest.fixture(scope="session")
def fault_stand():
    """The module with a broker over such endpoints."""
    return import_module("fault_stand")


@pytest.fixture(scope="module")
def own_world(broker_world, tmp_path_factory):
    """A stack of this module's own, whose chain it may hold, split and reorganise."""
    with broker_world.world(tmp_path_factory.mktemp("own")) as made:
        yield made
