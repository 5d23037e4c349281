"""The exact fingerprint: against a naive second implementation, the vectors, and a real model."""

import contextlib
import hashlib
import json
import os
import struct
import subprocess
import sys
import threading
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import (
    ClaimMismatch,
    InclusionProofInvalid,
    LedgerError,
    ManifestError,
    TensorFileError,
    UnsupportedModel,
    UsageError,
)
from ledger.fingerprint.exact import (
    Fingerprint,
    TensorFingerprint,
    TensorProof,
    _assemble,
    fingerprint,
    verify_tensor_proof,
)
from ledger.ids import Digest
from ledger.tensors.dtypes import DTYPES
from ledger.tensors.model import open_model

VECTORS = sorted((Path(__file__).parents[2] / "vectors" / "fingerprint").glob("*.json"))
MIB = 1 << 20


def of(path, **more):
    with open_model(path) as model:
        return fingerprint(model, **more)


def save(path, arrays, **more):
    path.write_bytes(safetensors.numpy.save(arrays, **more))
    return path


def weights(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# -- a second implementation, straight from the specification --------------------------------------


def h(data):
    return hashlib.sha256(data).digest()


def mth(leaves):
    """RFC 6962 over leaf data."""
    if not leaves:
        return h(b"")
    if len(leaves) == 1:
        return h(b"\0" + leaves[0])
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return h(b"\1" + mth(leaves[:k]) + mth(leaves[k:]))


def naive(content):
    """content_root, vmd_root, named_root, content_id of a safetensors file."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    cids, vids, named, params = set(), set(), [], 0
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        data = content[8 + length :][begin:end]
        shape, dtype = entry["shape"], DTYPES[entry["dtype"]]
        count = int(np.prod(shape, dtype=np.uint64))
        width = max(1, dtype.bits // 8)
        words = sorted(
            int.from_bytes(data[i : i + width], "little") for i in range(0, len(data), width)
        )
        if dtype.kind != "float":
            continue
        params += count
        if count < 16 or words[0] == words[-1]:
            continue
        root = mth([data[i : i + MIB] for i in range(0, len(data), MIB)])
        cid = b"\x10mfp1" + struct.pack("<HB", dtype.code, len(shape))
        cid = h(cid + b"".join(struct.pack("<Q", n) for n in [*shape, len(data)]) + root)
        vid = b"\x11mfp1" + struct.pack("<HQ", dtype.code, len(words))
        vids.add(h(vid + b"".join(word.to_bytes(width, "little") for word in words)))
        cids.add(cid)
        nfc = unicodedata.normalize("NFC", name).encode()
        named.append((nfc, cid))
    content_root = mth([b"\x20" + cid for cid in sorted(cids)])
    vmd_root = mth([b"\x21" + vid for vid in sorted(vids)])
    named_root = mth([b"\x22" + struct.pack("<I", len(n)) + n + c for n, c in sorted(named)])
    roots = content_root + vmd_root + named_root
    return content_root, vmd_root, named_root, h(b"\x2f" + roots + struct.pack("<Q", params))


ARRAYS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(
        lambda name: name != "__metadata__"
    ),
    st.tuples(
        st.sampled_from([np.float32, np.float16, np.float64, np.int64, np.bool_]),
        st.lists(st.integers(0, 6), max_size=3),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60)
@given(ARRAYS)
def test_a_naive_second_implementation_computes_the_same(tmp_path_factory, model):
    arrays = {"always": weights(9, 5, 5)}
    for name, (dtype, shape, levels) in model.items():
        values = np.random.default_rng(len(shape)).integers(0, levels + 1, shape)
        arrays[name] = values.astype(dtype)
    content = safetensors.numpy.save(arrays)
    path = tmp_path_factory.mktemp("m") / "m.safetensors"
    path.write_bytes(content)
    made = of(path, level="deep", threads=2)
    roots = (made.content_root, made.vmd_root, made.named_root, made.content_id())
    assert tuple(root.raw for root in roots) == naive(content)


@pytest.mark.parametrize("file", VECTORS, ids=lambda file: file.stem)
def test_vector(file, tmp_path):
    case = json.loads(file.read_text())
    expect = case["expect"]
    if "document" in case["input"]:
        with pytest.raises(LedgerError) as caught:
            Fingerprint.from_json(case["input"]["document"])
        assert caught.value.code == expect["error"]
        return
    content = bytes.fromhex(case["input"]["safetensors"])
    (tmp_path / "m.safetensors").write_bytes(content)
    made = of(tmp_path / "m.safetensors", level="deep")
    assert made.to_json() | {"content_id": str(made.content_id())} == expect
    roots = (made.content_root, made.vmd_root, made.named_root, made.content_id())
    assert tuple(root.raw for root in roots) == naive(content)
    assert Fingerprint.from_json(expect) == made


def test_the_committed_vectors_are_what_the_generator_writes():
    scripts = Path(__file__).parents[3] / "scripts"
    sys.path.insert(0, str(scripts))
    try:
        import make_vectors_core as generator
    finally:
        sys.path.remove(str(scripts))
    cases = generator.all_cases()
    root = Path(__file__).parents[2] / "vectors"
    groups = {name.partition("/")[0] for name in cases}
    committed = {f"{g}/{p.stem}": p.read_text() for g in groups for p in (root / g).glob("*.json")}
    assert committed == {name: generator.render(case) for name, case in cases.items()}


# -- what survives and what does not ---------------------------------------------------------------


def test_a_real_model_has_its_known_roots(minilm_deep):
    assert str(minilm_deep.content_root) == (
        "0xa1fdc5d20b6eb3722cf7fb7f381e5a6bcef151db6ca1b01b4544ca369e928927"
    )
    assert minilm_deep.n_params == 22_713_216
    assert [t.name for t in minilm_deep.without_identity] == [
        "embeddings.position_ids",
        "pooler.dense.bias",
    ]


def test_a_real_model_saved_again_sharded_and_renamed_is_the_same_model(
    minilm, minilm_deep, tmp_path
):
    arrays = safetensors.numpy.load_file(minilm)
    backwards = dict(reversed(arrays.items()))
    again = of(save(tmp_path / "again.safetensors", backwards, metadata={"by": "another tool"}))
    assert again.content_root == minilm_deep.content_root
    assert again.named_root == minilm_deep.named_root

    folder = tmp_path / "shards"
    folder.mkdir()
    names = sorted(arrays)
    for part in range(3):
        chosen = {name: arrays[name] for name in names[part::3]}
        save(folder / f"part-{part}.safetensors", chosen)
    sharded = of(folder)
    assert sharded.content_root == minilm_deep.content_root
    assert sharded.named_root == minilm_deep.named_root

    renamed = of(save(tmp_path / "renamed.safetensors", {f"x.{n}": a for n, a in arrays.items()}))
    assert renamed.content_root == minilm_deep.content_root
    assert renamed.named_root != minilm_deep.named_root

    name = "encoder.layer.3.output.dense.weight"
    changed = {**arrays, name: arrays[name].copy()}
    changed[name][7, 7] = np.nextafter(changed[name][7, 7], np.float32(9))
    altered = of(save(tmp_path / "altered.safetensors", changed))
    assert altered.content_root != minilm_deep.content_root
    same = {t.cid for t in altered.tensors} & {t.cid for t in minilm_deep.tensors}
    assert len(same) == len(arrays) - 1


def test_reordered_neurons_and_transposed_matrices_keep_the_multiset_root(tmp_path):
    w1, w2 = weights(1, 24, 10), weights(2, 6, 24)
    order = np.random.default_rng(3).permutation(24)
    plain = of(save(tmp_path / "a.safetensors", {"w1": w1, "w2": w2}), level="deep")
    moved = {"w1": np.ascontiguousarray(w1[order].T), "w2": np.ascontiguousarray(w2[:, order])}
    permuted = of(save(tmp_path / "b.safetensors", moved), level="deep")
    assert permuted.vmd_root == plain.vmd_root
    assert permuted.content_root != plain.content_root
    assert permuted.content_id() != plain.content_id()


def test_a_tied_tensor_written_twice_changes_only_the_named_root(tmp_path):
    one = of(save(tmp_path / "a.safetensors", {"w": weights(1, 8, 8)}))
    two = of(save(tmp_path / "b.safetensors", {"w": weights(1, 8, 8), "tied": weights(1, 8, 8)}))
    assert one.content_root == two.content_root
    assert one.named_root != two.named_root


def test_the_number_of_threads_does_not_matter(minilm, minilm_deep):
    for threads in (1, 3):
        assert of(minilm, threads=threads).content_root == minilm_deep.content_root


@pytest.mark.parametrize("size", [MIB - 4, MIB, MIB + 4, 3 * MIB, 9 * MIB + 4])
def test_payloads_around_the_leaf_size_hash_as_the_specification_says(tmp_path, size):
    content = safetensors.numpy.save({"w": weights(1, size // 4)})
    (tmp_path / "m.safetensors").write_bytes(content)
    made = of(tmp_path / "m.safetensors")
    tensor = made.tensors[0]
    data = weights(1, size // 4).tobytes()
    root = mth([data[i : i + MIB] for i in range(0, size, MIB)])
    assert tensor.cid.raw == h(b"\x10mfp1" + struct.pack("<HBQQ", 18, 1, size // 4, size) + root)


@pytest.mark.parametrize("odd", [None, 0, MIB // 4 - 1, MIB // 4, 2 * MIB // 4, 5 * MIB // 8])
def test_only_a_tensor_whose_values_are_all_equal_is_a_constant(tmp_path, odd):
    values = np.full(3 * MIB // 4, 0.5, np.float32)
    if odd is not None:
        values[odd] = 0.25
    made = of(save(tmp_path / "m.safetensors", {"v": values, "w": weights(1, 16)}))
    assert [t.identity for t in made.tensors if t.name == "v"] == [odd is not None]


def test_leaves_that_are_constant_each_in_its_own_way_do_not_make_a_constant(tmp_path):
    values = np.repeat(np.float32([1, 2]), MIB // 4)
    assert of(save(tmp_path / "m.safetensors", {"v": values})).tensors[0].identity


@pytest.mark.parametrize(
    "arrays",
    [
        {"ids": np.arange(512)},
        {"ones": np.ones(64, np.float32)},
        {"few": weights(1, 15)},
        {"none": weights(1, 0, 4)},
    ],
    ids=["integers", "constant", "fifteen values", "no values"],
)
def test_a_model_without_any_identity_is_refused_with_a_hint(tmp_path, arrays):
    path = save(tmp_path / "m.safetensors", arrays)
    with pytest.raises(UnsupportedModel) as caught:
        of(path)
    assert caught.value.hint


def test_progress_rises_to_the_total_in_the_callers_thread(minilm):
    calls = []
    of(minilm, level="deep", progress=lambda *step: calls.append((*step, threading.get_ident())))
    done = [call[0] for call in calls]
    assert done == sorted(done)
    assert done[-1] == calls[-1][1]
    assert {call[2] for call in calls} == {threading.get_ident()}


def test_a_file_that_is_written_meanwhile_is_refused(tmp_path):
    path = save(tmp_path / "m.safetensors", {"w": weights(1, 4 * MIB)})

    def touch(_done, _total):
        os.utime(path, (1, 1))

    with pytest.raises(TensorFileError, match="changed"):
        of(path, progress=touch)


def test_an_exception_in_the_progress_callback_reaches_the_caller(tmp_path):
    path = save(tmp_path / "m.safetensors", {"w": weights(1, 64)})

    def stop(_done, _total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        of(path, progress=stop)


def test_the_core_level_reads_a_large_model_in_flat_memory(tmp_path):
    # In a process of its own, because peak memory is counted for a process's whole life.
    code = """
import resource, sys
from ledger.fingerprint.exact import fingerprint
from ledger.tensors.model import open_model
with open_model(sys.argv[1]) as model:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fingerprint(model, threads=2)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10)
"""
    path = tmp_path / "m.safetensors"
    size = 256 << 20
    header = {
        "w": {"dtype": "F32", "shape": [32], "data_offsets": [0, 128]},
        "large": {"dtype": "F32", "shape": [size // 4], "data_offsets": [128, 128 + size]},
    }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + weights(1, 32).tobytes())
    os.truncate(path, path.stat().st_size + size)
    run = [sys.executable, "-c", code, str(path)]
    spent = int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert spent < 16 << 20


# -- documents and proofs --------------------------------------------------------------------------


def test_a_fingerprint_reads_back_from_its_json(minilm_deep):
    text = json.dumps(minilm_deep.to_json())
    assert Fingerprint.from_json(json.loads(text)) == minilm_deep


def test_a_core_fingerprint_has_no_content_id(tmp_path):
    core = of(save(tmp_path / "m.safetensors", {"w": weights(1, 64)}))
    assert core.vmd_root is None
    assert Fingerprint.from_json(core.to_json()) == core
    with pytest.raises(UsageError, match="deep"):
        core.content_id()


@pytest.mark.parametrize("document", [None, [], {}, "mfp1", {"format": "mfp1"}, 7])
def test_what_is_no_fingerprint_is_refused(document):
    with pytest.raises(ManifestError):
        Fingerprint.from_json(document)
    with pytest.raises(ManifestError):
        TensorProof.from_json(document)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@given(data=st.data())
def test_no_change_to_a_document_makes_the_reader_fail_in_another_way(data):
    document = json.loads((VECTORS[0].parent / "model-left-out.json").read_text())["expect"]
    target = data.draw(st.sampled_from([document, *document["tensors"]]))
    target[data.draw(st.sampled_from(sorted(target)))] = data.draw(JSON)
    with contextlib.suppress(ManifestError, ClaimMismatch):
        Fingerprint.from_json(document)


def test_a_fingerprint_of_more_elements_than_53_bits_count_is_refused():
    # Few bytes of text can claim many huge tensors; their number is hashed as 64 bits.
    def document(count):
        size = 1 << 50
        tensors = [
            TensorFingerprint(
                f"t{i}", "F8_E4M3", (size,), size, Digest(h(bytes([i]))), None, identity=True
            )
            for i in range(count)
        ]
        return _assemble("core", tuple(tensors)).to_json()

    assert Fingerprint.from_json(document(7)).n_params == 7 << 50
    for count in (8, 9):
        with pytest.raises(ManifestError):
            Fingerprint.from_json(document(count))


def test_every_tensor_of_a_real_model_proves_itself_under_the_content_root(minilm_deep):
    for tensor in minilm_deep.tensors:
        if not tensor.identity:
            with pytest.raises(UsageError):
                minilm_deep.tensor_proof(tensor.cid)
            continue
        proof = TensorProof.from_json(minilm_deep.tensor_proof(tensor.cid).to_json())
        verify_tensor_proof(proof, minilm_deep.content_root)
        with pytest.raises(InclusionProofInvalid):
            verify_tensor_proof(proof, minilm_deep.named_root, step=3)


def test_a_proof_of_another_tensor_is_refused(minilm_deep):
    first, second = (minilm_deep.tensor_proof(minilm_deep.tensors[i].cid) for i in (1, 2))
    forged = TensorProof(Digest(bytes(32)), first.index, first.size, first.path)
    swapped = TensorProof(second.cid, first.index, first.size, first.path)
    for proof in (forged, swapped):
        with pytest.raises(InclusionProofInvalid):
            verify_tensor_proof(proof, minilm_deep.content_root)
