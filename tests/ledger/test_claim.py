"""Claims: their ids as Solidity hashes them, their JSON form, and manifests of real folders."""

import contextlib
import copy
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from eth_abi import encode
from eth_utils import keccak
from hypothesis import given
from hypothesis import strategies as st

from ledger.canonical import canonical_json
from ledger.claim import Claim, build_manifest, check_manifest, manifest_hash
from ledger.errors import LedgerError, ManifestError, TensorFileError
from ledger.ids import Address, Digest, ModelId
from ledger.tensors.model import open_model

VECTORS = sorted((Path(__file__).parents[1] / "vectors" / "claim").glob("*.json"))
DIGESTS = st.binary(min_size=32, max_size=32).map(Digest)
ADDRESSES = st.binary(min_size=20, max_size=20).map(Address)
CLAIMS = st.builds(
    Claim,
    chain_id=st.integers(1, 2**53 - 1),
    registry=ADDRESSES,
    licensor=ADDRESSES,
    artifact_root=DIGESTS,
    fingerprint_digest=DIGESTS,
    watermark_commitment=DIGESTS,
    manifest_hash=DIGESTS,
    parents=st.sets(st.binary(min_size=32, max_size=32), max_size=8).map(
        lambda raws: tuple(ModelId(raw) for raw in sorted(raws))
    ),
    salt=DIGESTS,
)


@given(CLAIMS)
def test_the_model_id_is_the_hash_of_the_abi_encoded_tuple(claim):
    values = [
        keccak(b"modeldeed/model/1"),
        claim.chain_id,
        str(claim.registry),
        str(claim.licensor),
        claim.artifact_root.raw,
        claim.fingerprint_digest.raw,
        claim.watermark_commitment.raw,
        claim.manifest_hash.raw,
        keccak(b"".join(parent.raw for parent in claim.parents)),
        claim.salt.raw,
    ]
    kinds = ["bytes32", "uint256", "address", "address", *["bytes32"] * 6]
    assert claim.model_id().raw == keccak(encode(kinds, values))
    leaf = keccak(b"\0modeldeed/commit/1" + claim.model_id().raw)
    assert claim.commitment_leaf().raw == leaf


@given(CLAIMS)
def test_a_claim_reads_back_from_its_json(claim):
    assert Claim.from_json(json.loads(json.dumps(claim.to_json()))) == claim


@given(CLAIMS, st.sampled_from(["chain_id", "registry", "licensor", "salt", "artifact_root"]))
def test_each_field_changes_the_model_id(claim, field):
    document = claim.to_json()
    if field == "chain_id":
        document[field] = document[field] % (2**53 - 1) + 1
        if document[field] == claim.chain_id:
            return
    else:
        last = "1" if document[field][-1] != "1" else "2"
        document[field] = (document[field][:-1] + last).lower()
    assert Claim.from_json(document).model_id() != claim.model_id()


@pytest.mark.parametrize("file", VECTORS, ids=lambda file: file.stem)
def test_vector(file):
    case = json.loads(file.read_text())
    if "error" in case["expect"]:
        with pytest.raises(LedgerError) as caught:
            Claim.from_json(case["input"])
        assert caught.value.code == case["expect"]["error"]
        return
    claim = Claim.from_json(case["input"])
    assert str(claim.model_id()) == case["expect"]["model_id"]
    assert str(claim.commitment_leaf()) == case["expect"]["commitment_leaf"]
    assert claim.to_json() == case["input"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(CLAIMS, st.data())
def test_no_document_makes_the_reader_fail_in_another_way(claim, data):
    document = claim.to_json()
    document[data.draw(st.sampled_from(sorted(document)))] = data.draw(JSON)
    with contextlib.suppress(ManifestError):
        Claim.from_json(document)
    with pytest.raises(ManifestError):
        Claim.from_json(data.draw(JSON))


@pytest.mark.parametrize("field", ["registry", "licensor", "artifact_root", "salt", "parents"])
def test_a_malformed_id_is_told_with_its_field_and_what_is_wrong(field):
    zero, nobody = Digest(bytes(32)), Address(bytes(20))
    document = Claim(
        1, nobody, nobody, zero, zero, zero, zero, (ModelId(zero.raw),), zero
    ).to_json()
    held = document[field]
    odd = (held[0] if field == "parents" else held)[:-1] + "g"
    document[field] = [odd] if field == "parents" else odd
    with pytest.raises(ManifestError) as caught:
        Claim.from_json(document)
    assert caught.value.message.startswith(f"the claim's {field} is malformed: ")
    if field in {"artifact_root", "salt", "parents"}:
        assert caught.value.message.endswith("one of its characters is no hex digit")


def test_parents_out_of_order_are_refused_with_a_hint():
    low, high = ModelId(bytes(32)), ModelId(b"\1" * 32)
    zero, nobody = Digest(bytes(32)), Address(bytes(20))
    with pytest.raises(ManifestError) as caught:
        Claim(1, nobody, nobody, zero, zero, zero, zero, (high, low), zero)
    assert caught.value.hint


# -- manifests -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    arrays = {
        "w": np.random.default_rng(1).standard_normal((8, 4)).astype(np.float32),
        "ids": np.arange(9),
    }
    (tmp_path / "model.safetensors").write_bytes(safetensors.numpy.save(arrays))
    (tmp_path / "config.json").write_text('{"a": 1}')
    (tmp_path / "vocab.txt").write_text("")
    return tmp_path


@pytest.fixture
def manifest(folder):
    with open_model(folder) as model:
        return build_manifest(model, title="Tiny", version="2", description="a test")


def test_a_manifest_names_every_file_with_its_digest(folder, manifest):
    assert manifest["n_params"] == 32
    assert manifest["dtypes"] == {"F32": 1, "I64": 1}
    assert [entry["name"] for entry in manifest["files"]] == [
        "config.json",
        "model.safetensors",
        "vocab.txt",
    ]
    for entry in manifest["files"]:
        content = (folder / entry["name"]).read_bytes()
        assert entry["size"] == len(content)
        assert entry["sha256"] == "0x" + hashlib.sha256(content).hexdigest()


def test_the_manifest_hash_is_over_the_canonical_form_with_its_tag(manifest):
    data = b"modeldeed/manifest/1\0" + canonical_json(manifest)
    assert manifest_hash(manifest).raw == hashlib.sha256(data).digest()
    assert manifest_hash(dict(reversed(manifest.items()))) == manifest_hash(manifest)


def test_the_same_folder_elsewhere_has_the_same_manifest(folder, manifest, tmp_path_factory):
    other = tmp_path_factory.mktemp("elsewhere")
    for path in folder.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    with open_model(other) as model:
        again = build_manifest(model, title="Tiny", version="2", description="a test")
    assert again == manifest


def test_a_changed_side_file_changes_the_manifest_hash(folder, manifest):
    (folder / "config.json").write_text('{"a": 2}')
    with open_model(folder) as model:
        again = build_manifest(model, title="Tiny", version="2", description="a test")
    assert manifest_hash(again) != manifest_hash(manifest)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "modeldeed/manifest/2"},
        {"title": " "},
        {"version": ""},
        {"title": "x" * 5000},
        {"title": None},
        {"files": []},
        {"files": {}},
        {"n_params": True},
        {"n_params": "32"},
        {"dtypes": {"F33": 1}},
        {"dtypes": {"F32": 0}},
        {"more": 1},
    ],
    ids=str,
)
def test_a_manifest_with_one_fault_is_refused(manifest, change):
    with pytest.raises(ManifestError):
        check_manifest(manifest | change)


@pytest.mark.parametrize(
    "change",
    [{"size": -1}, {"size": "1"}, {"role": "code"}, {"sha256": "00"}, {"name": "zzz"}, {"x": 1}],
    ids=str,
)
def test_a_manifest_with_one_fault_in_a_file_is_refused(manifest, change):
    document = copy.deepcopy(manifest)
    document["files"][0] |= change
    with pytest.raises(ManifestError):
        manifest_hash(document)


@pytest.mark.parametrize("missing", ["title", "files", "dtypes", "description"])
def test_a_manifest_without_a_field_is_refused(manifest, missing):
    with pytest.raises(ManifestError):
        check_manifest({key: value for key, value in manifest.items() if key != missing})


def test_a_manifest_needs_a_title(folder):
    with open_model(folder) as model, pytest.raises(ManifestError) as caught:
        build_manifest(model, title="")
    assert caught.value.hint


def test_a_file_that_is_written_while_the_manifest_is_made_is_refused(folder):
    with open_model(folder) as model:
        model.read_at(0, 0, memoryview(bytearray(4)))
        os.utime(folder / "config.json", (1, 1))
        with pytest.raises(TensorFileError, match="changed"):
            build_manifest(model, title="Tiny")
