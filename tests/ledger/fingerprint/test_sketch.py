"""The sketch: small, committed to, and enough to test a suspect."""

import base64
import hashlib
import hmac
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from ledger.canonical import canonical_json
from ledger.errors import (
    FormatError,
    LedgerError,
    LimitExceeded,
    ManifestError,
    UnsupportedModel,
    VerificationError,
)
from ledger.fingerprint.lineage import drawn
from ledger.fingerprint.sketch import (
    MAX_BYTES,
    MAX_LINE,
    Sketch,
    compare_sketch,
    make_sketch,
    signed_bytes,
)
from ledger.fingerprint.wording import statements
from ledger.ids import Digest
from ledger.tensors.model import open_model

KEY = bytes(range(32))
VECTORS = Path(__file__).parents[2] / "vectors" / "lineage"


def vectors(kind):
    found = sorted(VECTORS.glob(f"{kind}-*.json"))
    assert found, kind
    return [pytest.param(json.loads(path.read_text()), id=path.stem) for path in found]


@pytest.mark.parametrize("vector", vectors("draw"))
def test_places_are_drawn_as_the_vectors_say(vector):
    """Once by the library, once by the words of the page."""
    key, label, size = bytes.fromhex(vector["key"][2:]), vector["label"], vector["size"]
    assert drawn(key, label, size, vector["most"]).tolist() == vector["places"]
    prefix = b"modeldeed/lineage-rows/1\x00"
    stream = hashlib.shake_256(prefix + key + label.encode()).digest(8 * size)
    words = [int.from_bytes(stream[8 * i : 8 * i + 8], "little") for i in range(size)]
    smallest = sorted(range(size), key=words.__getitem__)[: vector["most"]]
    assert sorted(smallest) == vector["places"]


@pytest.mark.parametrize("vector", vectors("codes"))
def test_rows_become_the_signed_bytes_of_the_vectors(vector):
    rows = np.frombuffer(bytes.fromhex(vector["rows"]), "<f4").reshape(-1, vector["columns"])
    assert signed_bytes(rows).tobytes().hex() == vector["codes"]


@pytest.mark.parametrize("vector", vectors("sketch"))
def test_sketches_are_read_or_refused_as_the_vectors_say(vector):
    data = base64.b64decode(vector["file"])
    if vector["expect"] != "ok":
        with pytest.raises(LedgerError) as caught:
            Sketch.from_bytes(data)
        assert type(caught.value).__name__ == vector["expect"]
        assert caught.value.hint
        return
    made = Sketch.from_bytes(data)
    assert made.to_bytes() == data
    assert str(made.root) == vector["root"]
    for matrix, expected in zip(made.matrices, vector["matrices"], strict=True):
        assert matrix.places.tolist() == expected["places"]
        assert matrix.features.tolist() == expected["features"]


def test_the_root_is_that_of_the_page():
    """Two leaves, hashed here by the words of the page alone."""
    data = base64.b64decode(json.loads((VECTORS / "sketch-valid.json").read_text())["file"])
    line, _, body = data.partition(b"\n")
    document = json.loads(line)
    leaves, at = [], 0
    for index, entry in enumerate(document["matrices"]):
        size = entry["rows"] * entry["columns"] * entry["gates"]
        salt = hmac.digest(KEY, b"salt" + index.to_bytes(4, "little"), "sha256")
        hashed = hashlib.sha256(canonical_json(entry)).digest()
        part = hashlib.sha256(body[at : at + size]).digest()
        leaves.append(hashlib.sha256(b"\x00\x28" + salt + hashed + part).digest())
        at += size
    assert "0x" + hashlib.sha256(b"\x01" + b"".join(leaves)).hexdigest() == document["root"]


def test_what_is_too_long_is_refused_before_it_is_read():
    with pytest.raises(LimitExceeded):
        Sketch.from_bytes(bytes(MAX_BYTES + 1))
    with pytest.raises(ManifestError):
        Sketch.from_bytes(b" " * (MAX_LINE + 1) + b"\n")


def network(path, seed, widths=(40, 96, 96, 20), noise=0.0):
    rng = np.random.default_rng(seed)
    layers = {
        f"layers.{i}.weight": rng.standard_normal((b, a)).astype(np.float32)
        for i, (a, b) in enumerate(itertools.pairwise(widths))
    }
    other = np.random.default_rng(99)
    for name, w in layers.items():
        layers[name] = (w + noise * other.standard_normal(w.shape)).astype(np.float32)
    save_file(layers, path)
    return path


@pytest.fixture
def sketch(tmp_path):
    with open_model(network(tmp_path / "ours.safetensors", 1)) as model:
        return make_sketch(model, Digest(bytes(32)), KEY)


def test_a_derived_suspect_is_found_without_the_model(sketch, tmp_path):
    opened = Sketch.from_bytes(sketch.to_bytes())
    assert opened.root == sketch.root
    with open_model(network(tmp_path / "tuned.safetensors", 1, noise=0.3)) as suspect:
        found = compare_sketch(opened, suspect)
    assert found.verdict == "derived"
    assert found.lineage.log10_p_counted <= -100
    with open_model(network(tmp_path / "other.safetensors", 2)) as suspect:
        found = compare_sketch(opened, suspect)
    assert found.verdict == "nothing found"
    assert found.lineage.log10_p >= -6


def test_a_real_model_gives_a_small_sketch(minilm):
    with open_model(minilm) as model:
        made = make_sketch(model, Digest(bytes(32)), KEY)
    assert len(made.to_bytes()) <= MAX_BYTES
    assert len(made.matrices) == 13


def test_the_key_decides_what_is_drawn_and_the_root_binds_it(tmp_path):
    with open_model(network(tmp_path / "m.safetensors", 1)) as model:
        one, same = (make_sketch(model, Digest(bytes(32)), KEY) for _ in range(2))
        other = make_sketch(model, Digest(bytes(32)), bytes(32))
    assert one.to_bytes() == same.to_bytes()
    assert one.root != other.root
    assert KEY.hex() not in repr(one)


def test_every_changed_byte_is_noticed(sketch):
    data = bytearray(sketch.to_bytes())
    for place in (*range(0, 200, 7), len(data) - 1, len(data) - 1000):
        bad = bytearray(data)
        bad[place] ^= 1
        # The content root is the maker's word alone; everything else is bound or the format.
        try:
            opened = Sketch.from_bytes(bytes(bad))
        except (FormatError, VerificationError):
            continue
        assert opened.root == sketch.root
        assert opened.content_root != sketch.content_root


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["matrices"].clear(),
        lambda d: d["matrices"][0].update(rows=-1),
        lambda d: d["matrices"][0].update(rows=True),
        lambda d: d["matrices"][0].update(rows=1 << 40),
        lambda d: d["matrices"][0].update(units=1 << 60),
        lambda d: d["matrices"][0].update(units=(1 << 20) + 1),
        lambda d: d["matrices"][0].update(role="anything"),
        lambda d: d["matrices"][0].update(gates=0),
        lambda d: d["matrices"][0].update(name=5),
        lambda d: d.update(matrices=d["matrices"] * 40),
        lambda d: d.update(key="0x00"),
        lambda d: d.update(format="modeldeed/lineage-sketch/2"),
        lambda d: d.update(more=1),
        lambda d: d.pop("root"),
    ],
)
def test_a_hostile_sketch_is_one_error(sketch, change):
    line, _, body = sketch.to_bytes().partition(b"\n")
    document = json.loads(line)
    change(document)
    made = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n" + body
    with pytest.raises((FormatError, VerificationError)) as caught:
        Sketch.from_bytes(made)
    assert caught.value.hint


@given(st.binary(max_size=300))
@settings(max_examples=50)
def test_noise_is_no_sketch(data):
    with pytest.raises(LedgerError):
        Sketch.from_bytes(data)


def test_a_model_without_units_has_no_sketch(tmp_path):
    save_file({"w": np.ones((4, 4), np.float32)}, tmp_path / "m.safetensors")
    with open_model(tmp_path / "m.safetensors") as model, pytest.raises(UnsupportedModel):
        make_sketch(model, Digest(bytes(32)), KEY)


def test_a_report_names_the_root_that_must_have_been_anchored(sketch, tmp_path):
    with open_model(network(tmp_path / "tuned.safetensors", 1, noise=0.3)) as suspect:
        found = compare_sketch(sketch, suspect)
    assert found.to_json()["sketch_root"] == str(sketch.root)
    assert any(str(sketch.root) in said and "anchored before" in said for said in statements(found))
