"""Files with cells: one file, and each license gets its own copy of it."""

import hashlib

import ml_dtypes
import numpy as np
import pytest
import variant_world
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from safetensors.numpy import load_file, save_file
from variant_world import KEY, all_of, make_marked, make_source

from ledger.errors import CapacityExceeded, ContentMismatch, WrongKey
from ledger.fingerprint.exact import fingerprint
from ledger.ids import Address, Digest, ModelId
from ledger.sealed.cells import CellKeys, ReleasedCells
from ledger.sealed.codeword import CodeWord
from ledger.sealed.file import CellPlan, inspect, open_sealed, seal
from ledger.sealed.header import Prelude
from ledger.sealed.marking import STRONGEST, strength_for
from ledger.sealed.variants import master
from ledger.tensors.model import open_model

COUNT = 24


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("variants") / "model")


@pytest.fixture(scope="module")
def marked(source, tmp_path_factory):
    return make_marked(source, tmp_path_factory.mktemp("sealed") / "m.sealed", count=COUNT)


def test_with_all_cells_a_the_content_is_the_registered_model(source, marked):
    plain = load_file(source / "model.safetensors")
    with marked.open(all_of(COUNT, 0)) as file:
        for name, array in file.load_all().items():
            assert array.tobytes() == plain[name].tobytes()
        assert file.marked == ()
        with open_model(source) as model:
            assert file.verify_content() == fingerprint(model).content_root
        assert bytes(file.files()["config.json"]) == (source / "config.json").read_bytes()


def test_the_master_s_keys_are_those_of_form_a(marked):
    with open_sealed(marked.path, KEY, record=marked.record, cells=master(marked.keys)) as file:
        assert file.cells.master


def test_a_license_s_copy_differs_from_the_master_in_its_b_cells_alone(source, marked):
    plain = load_file(source / "model.safetensors")
    word = CodeWord(bytes([1, 0, 0] * 8), bytes(32))
    with marked.open(word) as file:
        cells, tables = file.cells, file._plain.tables
        copy = {name: array.copy() for name, array in file.load_all().items()}
        for cell, entry in enumerate(cells.index.entries):
            tensor = tables.tensors[entry.tensor]
            ours = copy[tensor.name].tobytes()[entry.offset : entry.offset + (1 << 14)]
            theirs = plain[tensor.name].tobytes()[entry.offset : entry.offset + (1 << 14)]
            assert (ours != theirs) == bool(word.bits[cell])
        changed = {name for name in plain if copy[name].tobytes() != plain[name].tobytes()}
        assert changed == set(file.marked)
        with open_model(source) as model:
            assert file.verify_content() == fingerprint(model).content_root
        # Reading lazily gives the same copy as reading all at once.
    with marked.open(word) as file:
        for name, array in copy.items():
            assert bytes(file.get_bytes(name)) == array.tobytes()


def test_two_licenses_have_two_copies_of_one_file(marked):
    one, two = marked.copy(1), marked.copy(2)
    assert any(one[name].tobytes() != two[name].tobytes() for name in one)
    assert marked.copy(1)["layer.0.up.weight"].tobytes() == one["layer.0.up.weight"].tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_the_mark_keeps_the_element_type_and_its_size(tmp_path, dtype):
    source = make_source(tmp_path / "model", dtype=dtype)
    made = make_marked(source, tmp_path / "m", count=8)
    plain = load_file(source / "model.safetensors")
    with made.open(all_of(8, 1)) as file:
        copy = file.load_all()
        for name in file.marked:
            assert copy[name].dtype == plain[name].dtype
            moved = (copy[name].astype(float) - plain[name].astype(float)).ravel()
            rows = plain[name].astype(float).std(axis=1).repeat(plain[name].shape[1])
            hit = moved != 0
            assert 0.8 < (np.abs(moved[hit]) / rows[hit]).mean() / made_strength(8) < 1.2
            assert abs(np.sign(moved[hit]).mean()) < 0.1


def made_strength(count):
    eligible = 4 * (512 * 256 * 2 + 256 * 256) * 4 // (1 << 14)
    return min(STRONGEST, strength_for(count, eligible) * 1.0001)


def test_a_mark_over_many_weights_is_weaker():
    assert strength_for(10, 10_000) == STRONGEST
    assert strength_for(1000, 1000) == pytest.approx(0.01)
    assert strength_for(100, 1000) == pytest.approx(0.01 / 0.1**0.5)


def test_signs_and_places_need_both_keys_of_a_cell(source, tmp_path):
    """Sealed again under other keys, the same model has its cells elsewhere, with other marks."""
    one, two = (make_marked(source, tmp_path / name, count=8) for name in "ab")
    with one.open(all_of(8, 0)) as first, two.open(all_of(8, 0)) as second:
        assert first.cells.positions != second.cells.positions


def test_a_model_without_room_for_the_cells_is_refused(tmp_path):
    small = {"w": np.arange(256, dtype=np.float32).reshape(16, 16)}
    save_file(small, tmp_path / "m.safetensors")
    with pytest.raises(CapacityExceeded):
        make_marked(tmp_path / "m.safetensors", tmp_path / "out", count=1)
    assert not (tmp_path / "out").exists()
    constant = {"w": np.ones((512, 512), np.float32), "i": np.ones((512, 512), np.int8), **small}
    save_file(constant, tmp_path / "c.safetensors")
    with pytest.raises(CapacityExceeded):
        make_marked(tmp_path / "c.safetensors", tmp_path / "out", count=1)


def test_the_public_facts_tell_that_copies_are_marked(marked):
    info = inspect(marked.path)
    assert (info.cells, info.cell_bytes) == (COUNT, 1 << 14)
    assert info.to_json()["cells"] == COUNT


def test_the_record_commits_to_keys_records_and_code(marked):
    assert not marked.record.variant_root.is_zero
    assert marked.record.code_commit == variant_world.CODE_COMMIT
    with marked.open(all_of(COUNT, 0)) as file:
        table = file.cells.index.table()
        assert table.root() == marked.record.variant_root
        hashes = file.cells.index.records
    prelude = Prelude.parse(marked.path.read_bytes()[:96])
    data = marked.path.read_bytes()
    for cell, pair in enumerate(hashes):
        for form, digest in enumerate(pair):
            at = prelude.cell_record_offset(cell, form)
            record = data[at : at + (1 << 14) + 28]
            assert hashlib.sha256(record).digest() == digest


def test_without_cell_keys_a_marked_file_does_not_open(marked):
    with pytest.raises(WrongKey) as caught:
        open_sealed(marked.path, KEY, record=marked.record)
    assert caught.value.step == 15
    assert caught.value.hint


def test_cell_keys_for_a_file_without_cells_are_refused(source, tmp_path):
    options = {"content_key": KEY, "model_id": ModelId(b"\x11" * 32), "chain_id": 1}
    with open_model(source) as model:
        record = seal(model, tmp_path / "p", registry=Address(b"\x22" * 20), **options)
    keys = CellKeys.create(3)
    with pytest.raises(WrongKey):
        open_sealed(tmp_path / "p", KEY, record=record, cells=master(keys))


@pytest.mark.parametrize("cell", [0, 11, COUNT - 1])
def test_a_wrong_cell_key_is_refused_before_anything_is_read(marked, cell):
    released = marked.released(marked.word(1))
    released.data[32 * cell] ^= 1
    with pytest.raises(WrongKey) as caught:
        marked.open(marked.word(1), cells=released)
    assert caught.value.step == 15
    assert released.data.hex()[:16] not in str(caught.value)


def test_a_key_of_the_other_form_is_refused(marked):
    word = marked.word(1)
    flipped = CodeWord(bytes([word.bits[0] ^ 1, *word.bits[1:]]), word.salt)
    with pytest.raises(WrongKey):
        marked.open(word, cells=ReleasedCells(flipped, marked.keys.chosen(word)))


def test_another_number_of_cell_keys_is_refused(marked):
    keys = CellKeys.create(COUNT + 1)
    with pytest.raises(WrongKey):
        marked.open(marked.word(1), cells=master(keys))


def test_a_record_of_other_cells_is_refused(source, marked, tmp_path):
    other = make_marked(source, tmp_path / "o", count=COUNT)
    with pytest.raises(ContentMismatch) as caught:
        marked.open(marked.word(1), record=other.record)
    assert caught.value.step == 6
    changed = type(marked.record).from_json(
        marked.record.to_json() | {"variant_root": str(Digest(b"\5" * 32))}
    )
    with pytest.raises(ContentMismatch) as caught:
        marked.open(marked.word(1), record=changed)
    assert caught.value.step == 13


def test_closing_zeroes_the_cell_keys(marked):
    file = marked.open(marked.word(1))
    view = file.cells._keys.view
    assert any(view)
    file.close()
    assert not any(view)


def test_segments_may_be_larger_than_cells_and_shards_several(tmp_path):
    rng = np.random.default_rng(5)
    folder = tmp_path / "model"
    folder.mkdir()
    for shard in "ab":
        weights = {f"{shard}.{n}": rng.standard_normal((300, 301), np.float32) for n in range(4)}
        save_file(weights, folder / f"model-{shard}.safetensors")
    made = make_marked(folder, tmp_path / "m", count=9, log2_segment=18)
    one = make_marked(folder, tmp_path / "n", count=3, log2_cell=16, log2_segment=16)
    for each, count in ((made, 9), (one, 3)):
        with each.open(all_of(count, 1)) as file:
            assert file.marked
            file.verify_content()
            file.load_all(threads=3)
        with each.open(all_of(count, 0)) as file:
            for name, array in file.load_all().items():
                shard = load_file(folder / f"model-{name[0]}.safetensors")
                assert array.tobytes() == shard[name].tobytes()


def test_a_plan_shows_no_key():
    keys = CellKeys.create(2)
    plan = CellPlan(keys, Digest(bytes(32)))
    assert keys.data.hex()[:16] not in repr(plan)


def test_exporting_writes_the_license_s_copy(marked, tmp_path):
    with marked.open(marked.word(3)) as file:
        file.export(tmp_path / "out")
    copy = load_file(tmp_path / "out" / "model.safetensors")
    expected = marked.copy(3)
    assert all(copy[name].tobytes() == expected[name].tobytes() for name in expected)


def test_form_b_is_what_the_specification_says(source, tmp_path):
    """Recomputed from docs/spec/tracing.md section 1, from both keys of the cell."""
    marked = make_marked(source, tmp_path / "m", count=COUNT, strength=0.03)
    with marked.open(all_of(COUNT, 0)) as first, marked.open(all_of(COUNT, 1)) as second:
        for cell, entry in enumerate(first.cells.index.entries):
            name = first.keys()[entry.tensor]
            plain, other = first.get_tensor(name), second.get_tensor(name)
            both = bytes(marked.keys.key(cell, 0)) + bytes(marked.keys.key(cell, 1))
            info = b"modeldeed/cell-mark/1\0" + cell.to_bytes(4, "big")
            salt = marked.record.model_id.raw
            key = HKDF(hashes.SHA256(), 32, salt, info).derive(both)
            at = slice(entry.offset // 4, entry.offset // 4 + (1 << 12))
            drawn = hashlib.shake_256(key + first.info(name).cid.raw).digest(1 << 9)
            signs = np.unpackbits(np.frombuffer(drawn, np.uint8)) * 2.0 - 1
            rows = np.arange(at.start, at.stop) // plain.shape[1]
            sigma = plain.astype(np.float64).std(axis=1)[rows]
            wanted = plain.ravel()[at] + 0.03 * sigma * signs
            np.testing.assert_allclose(other.ravel()[at], wanted, rtol=1e-6, atol=1e-8)
