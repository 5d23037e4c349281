"""Keys and signs: what the vectors fix."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.ids import Address, Digest
from ledger.watermark.keys import (
    MASTER,
    beacon_of,
    cell_context,
    effective_key,
    sign_bytes,
    unpacked,
)
from ledger.watermark.record import Commitment
from ledger.watermark.weights import marked_rows, row_spread

VECTORS = Path(__file__).parents[2] / "vectors" / "watermark"


def vectors(kind):
    found = sorted(VECTORS.glob(f"{kind}-*.json"))
    assert found, kind
    return [pytest.param(json.loads(path.read_text()), id=path.stem) for path in found]


@pytest.mark.parametrize("vector", vectors("key"))
def test_beacon_key_and_signs_are_those_of_the_vectors(vector):
    beacon = beacon_of([bytes.fromhex(text) for text in vector["mix_hashes"]])
    assert str(beacon) == vector["beacon"]
    context = MASTER if vector["context"] == "master" else cell_context(vector["context"])
    key = effective_key(
        bytes.fromhex(vector["secret"]),
        beacon,
        Digest.parse(vector["content_id"]),
        Address.parse(vector["owner"]),
        context,
    )
    assert key.hex() == vector["effective_key"]
    packed = sign_bytes(key, Digest.parse(vector["cid"]), 4 * len(vector["signs"]))
    assert packed.tobytes().hex() == vector["signs"]


@pytest.mark.parametrize("vector", vectors("commitment"))
def test_commitments_are_read_or_refused_as_the_vectors_say(vector):
    if vector["expect"] == "ok":
        made = Commitment.from_json(vector["commitment"])
        assert made.to_json() == vector["commitment"]
        assert str(made.hash()) == vector["hash"]
        return
    with pytest.raises(Exception) as caught:
        Commitment.from_json(vector["commitment"])
    assert type(caught.value).__name__ == vector["expect"]


@pytest.mark.parametrize("vector", vectors("rows"))
def test_marked_rows_are_those_of_the_vectors_bit_for_bit(vector):
    import ml_dtypes

    dtype = {"F32": "<f4", "F16": "<f2", "BF16": ml_dtypes.bfloat16}[vector["dtype"]]
    stored = np.frombuffer(bytes.fromhex(vector["rows"]), dtype).reshape(-1, vector["columns"])
    packed = np.frombuffer(bytes.fromhex(vector["signs"]), np.uint8)
    rows = stored.astype(np.float32)
    signs = unpacked(packed, 0, stored.size).reshape(rows.shape)
    out = marked_rows(stored, rows, signs, row_spread(rows), vector["strength"] / 1e6)
    assert out.tobytes().hex() == vector["marked"]


@given(st.integers(1, 400), st.data())
def test_signs_are_the_same_however_they_are_cut(count, data):
    first = 8 * data.draw(st.integers(0, (count - 1) // 8))
    packed = sign_bytes(b"k" * 32, Digest(b"c" * 32), count)
    whole = unpacked(packed, 0, count)
    assert set(np.unique(whole)) <= {-1.0, 1.0}
    assert np.array_equal(unpacked(packed, first, count - first), whole[first:])
    bits = np.unpackbits(packed)[:count]
    assert np.array_equal(whole > 0, bits == 1)


def test_every_input_changes_the_key():
    base = (b"s" * 32, Digest(b"b" * 32), Digest(b"m" * 32), Address(b"o" * 20))
    keys = {
        effective_key(*base),
        effective_key(b"t" * 32, *base[1:]),
        effective_key(base[0], Digest(b"c" * 32), *base[2:]),
        effective_key(*base[:2], Digest(b"n" * 32), base[3]),
        effective_key(*base[:3], Address(b"p" * 20)),
        effective_key(*base, cell_context(0)),
        effective_key(*base, cell_context(1)),
    }
    assert len(keys) == 7
