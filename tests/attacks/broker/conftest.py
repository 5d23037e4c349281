"""The stacks of the broker's own tests, for attacks on them."""

import importlib.util
import sys
from pathlib import Path

import pytest


def load_world(name):
    if name not in sys.modules:
        path = Path(__file__).parents[2] / "worlds" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Anvil, contracts, a published model and its broker: of each module, which may spoil it."""
    with load_world("broker_world").world(tmp_path_factory.mktemp("attacked")) as made:
        yield made


@pytest.fixture(scope="module")
def trio(world, tmp_path_factory):
    """Three brokers of a 2-of-3 set, each of which can be made to lie."""
    with load_world("threshold_world").trio(world, tmp_path_factory.mktemp("trio")) as made:
        yield made


@pytest.fixture(scope="session")
def faults():
    """The module with endpoints that fail and lie."""
    return load_world("fault_world")
