"""Public tensor ids: bound to the claim, silent about names and shapes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.errors import ClaimMismatch, LedgerError, ManifestError, UsageError
from ledger.fingerprint.exact import fingerprint
from ledger.fingerprint.ids import TensorIds
from ledger.tensors.model import open_model


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    path = tmp_path_factory.mktemp("ids") / "m.safetensors"
    random = np.random.default_rng(3)
    tensors = {f"secret.name.{i}": random.standard_normal((9, 7 + i)) for i in range(5)}
    tensors["tied"] = tensors["secret.name.0"]
    save_file(tensors, path)
    with open_model(path) as model:
        return fingerprint(model, level="deep")


def test_the_ids_lead_to_the_same_roots_as_the_fingerprint(deep):
    ids = TensorIds.of(deep)

    assert ids.content_root() == deep.content_root
    assert ids.content_id() == deep.content_id()
    assert len(ids.cids) == 5
    ids.verify(deep.content_root, deep.content_id())


def test_the_document_names_no_tensor_and_no_shape(deep):
    text = json.dumps(TensorIds.of(deep).to_json())

    assert "secret" not in text
    assert "shape" not in text


def test_it_survives_json_and_refuses_another_model(deep):
    ids = TensorIds.from_json(json.loads(json.dumps(TensorIds.of(deep).to_json())))

    assert ids == TensorIds.of(deep)
    with pytest.raises(ClaimMismatch):
        ids.verify(deep.content_root, deep.content_root)


def test_a_core_fingerprint_has_no_public_ids(deep):
    from dataclasses import replace

    with pytest.raises(UsageError):
        TensorIds.of(replace(deep, vmd_root=None))


@pytest.mark.parametrize(
    "fault",
    [
        {"cids": []},
        {"cids": "0x"},
        {"cids": ["0x" + "11" * 32] * 2},
        {"cids": ["0x" + "22" * 32, "0x" + "11" * 32]},
        {"cids": [1]},
        {"named_root": None},
        {"n_params": True},
        {"n_params": -1},
        {"format": "mfp2-ids"},
        {"extra": 1},
    ],
)
def test_anything_else_is_a_manifest_error(deep, fault):
    with pytest.raises(ManifestError):
        TensorIds.from_json({**TensorIds.of(deep).to_json(), **fault})


@pytest.mark.parametrize("document", [None, [], "x", 5, {}])
def test_other_json_is_a_ledger_error(document):
    with pytest.raises(LedgerError):
        TensorIds.from_json(document)


def test_casts_stand_beside_the_list_and_bind_nothing(tmp_path):
    values = np.random.default_rng(4).standard_normal((16, 4)).astype(np.float32)
    save_file({"w": values}, tmp_path / "m.safetensors")
    with open_model(tmp_path / "m.safetensors") as model:
        made = fingerprint(model, level="deep")
    ids = TensorIds.of(made)
    assert len(ids.casts) == 4
    assert TensorIds.from_json(ids.to_json()) == ids
    bare = {name: value for name, value in ids.to_json().items() if name != "casts"}
    assert TensorIds.from_json(bare).casts == ()
    TensorIds.from_json(bare).verify(made.content_root, made.content_id())
    other = ids.to_json() | {"casts": ["0x" + "11" * 32]}
    TensorIds.from_json(other).verify(made.content_root, made.content_id())
    for casts in ([], ["0x11"], None, ids.to_json()["casts"][::-1]):
        with pytest.raises(ManifestError):
            TensorIds.from_json(bare | {"casts": casts})
    with pytest.raises(ManifestError):
        TensorIds.from_json(bare | {"casts": [f"0x{n:064x}" for n in range(5)]})
