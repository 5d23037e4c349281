"""Reading an open package: every tensor bit for bit, and nothing after close."""

import gc
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.errors import ContentMismatch, SealedTruncated, SegmentTampered, UnsupportedModel
from ledger.errors import UsageError as Usage
from ledger.fingerprint.exact import fingerprint
from ledger.ids import Address, ModelId
from ledger.sealed.file import inspect, open_sealed, seal
from ledger.tensors.model import open_model

SEGMENT = 1 << 16


@pytest.fixture
def file(sealed):
    with open_sealed(sealed.path, sealed.key, record=sealed.record) as file:
        yield file


def names(folder):
    return [path.name for path in folder.iterdir()]


def same(array, expected):
    assert array.dtype == expected.dtype
    assert array.shape == expected.shape
    assert array.tobytes() == expected.tobytes()


def test_every_tensor_comes_back_bit_for_bit(sealed, file):
    assert set(file.keys()) == set(sealed.tensors)
    for name, expected in sealed.tensors.items():
        same(file.get_tensor(name), expected)
        assert bytes(file.get_bytes(name)) == expected.tobytes()


@pytest.mark.parametrize("threads", [1, 3, None])
def test_loading_all_gives_the_same_tensors(sealed, file, threads):
    loaded = file.load_all(threads=threads)
    assert set(loaded) == set(sealed.tensors)
    assert len(loaded) == len(sealed.tensors)
    for name, expected in sealed.tensors.items():
        same(loaded[name], expected)
    assert "a.large" in loaded
    assert "nothing" not in loaded
    with pytest.raises(KeyError):
        loaded["nothing"]


def test_side_files_come_back_before_and_after_loading(sealed, file):
    for _ in range(2):
        files = file.files()
        assert set(files) == {"config.json", "vocab.txt", "empty.txt"}
        for name, data in files.items():
            assert bytes(data) == (sealed.source / name).read_bytes()
        file.load_all()


def test_facts_tell_dtype_shape_and_content_id(sealed, file):
    with open_model(sealed.source) as model:
        cids = {tensor.name: tensor.cid for tensor in fingerprint(model).tensors}
    facts = file.info("a.brain")
    assert facts == ("BF16", (64, 64), cids["a.brain"])


def test_the_content_root_is_recomputed_from_the_bytes(sealed, file):
    with open_model(sealed.source) as model:
        expected = fingerprint(model).content_root
    assert file.verify_content() == expected
    file.load_all()
    assert file.verify_content() == expected


def test_tensors_are_read_only(file):
    for array in (file.get_tensor("a.large"), file.load_all()["a.half"]):
        with pytest.raises(ValueError):
            array[0] = 0
        with pytest.raises(ValueError):
            array.flags.writeable = True
    with pytest.raises(TypeError):
        file.get_bytes("a.half")[0] = 1


def test_a_name_that_is_not_there_is_named(file):
    for ask in (file.get_tensor, file.get_bytes, file.info):
        with pytest.raises(Usage, match="nothing"):
            ask("nothing")


def test_a_type_numpy_lacks_still_gives_its_bytes(tmp_path):
    header = b'{"q":{"dtype":"F4","shape":[64],"data_offsets":[0,32]}}'
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(range(32)))
    with open_model(path) as model:
        seal(
            model,
            tmp_path / "m.sealed",
            content_key=bytes(32),
            model_id=ModelId(bytes(32)),
            chain_id=1,
            registry=Address(bytes(20)),
            log2_segment=16,
        )
    with open_sealed(tmp_path / "m.sealed", bytes(32)) as file:
        with pytest.raises(UnsupportedModel):
            file.get_tensor("q")
        assert bytes(file.get_bytes("q")) == bytes(range(32))


def test_export_writes_the_original_files(sealed, file, tmp_path):
    paths = file.export(tmp_path / "out")
    names = {path.name for path in sealed.source.iterdir()}
    assert {path.name for path in paths} == names
    for path in paths:
        assert path.read_bytes() == (sealed.source / path.name).read_bytes()


def test_export_into_a_folder_with_files_is_refused(file, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    with pytest.raises(Usage):
        file.export(tmp_path / "out")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["mine"]


def test_an_interrupted_export_leaves_nothing(file, tmp_path):
    def progress(done, total):
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        file.export(tmp_path / "out", progress=progress)
    assert names(tmp_path) == []


def test_after_close_held_arrays_read_zeros_and_asking_raises(sealed):
    with open_sealed(sealed.path, sealed.key) as file:
        lazy = file.get_tensor("a.large")
        small = file.get_tensor("a.half")
        loaded = file.load_all()
        eager = loaded["b.bytes"]
        side = file.files()["vocab.txt"]
        assert lazy.any()
        assert eager.any()
    gc.collect()
    assert not lazy.any()
    assert not small.view(np.uint16).any()
    assert not eager.any()
    assert not any(side)
    for ask in (
        lambda: loaded["a.large"],
        lambda: file.get_tensor("a.large"),
        lambda: file.get_bytes("a.large"),
        file.files,
        file.load_all,
        file.verify_content,
    ):
        with pytest.raises(Usage, match="closed"):
            ask()
    file.close()


def test_an_interrupted_load_leaves_no_plaintext(sealed):
    def progress(done, total):
        raise KeyboardInterrupt

    with open_sealed(sealed.path, sealed.key) as file:
        with pytest.raises(KeyboardInterrupt):
            file.load_all(progress=progress)
        assert not any(any(memoryview(arena)) for arena in file._plain.segments.arenas)
        same(file.load_all()["a.large"], sealed.tensors["a.large"])


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize(
    "rows",
    [range(-2, 0), range(0, 4, 2), range(3, 0, -1), range(9**9), range(9**9, 9**9 + 1)],
    ids=str,
)
def test_rows_that_a_tensor_has_not_are_refused(sealed, file, rows, loaded):
    if loaded:
        file.load_all()
    for name in ("a.large", "b.step"):
        with pytest.raises(Usage, match="rows"):
            file.get_tensor(name, rows=rows)


@contextmanager
def a_reader(file):
    """Another thread that is inside a read until the block ends."""
    inside, done = threading.Event(), threading.Event()

    def read():
        with file.in_use():
            inside.set()
            done.wait(20)

    thread = threading.Thread(target=read)
    thread.start()
    inside.wait(20)
    try:
        yield done
    finally:
        done.set()
        thread.join()


def test_a_close_that_was_interrupted_is_finished_by_the_next(sealed):
    file = open_sealed(sealed.path, sealed.key)
    held = file.get_tensor("a.large")
    with a_reader(file):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            file.close()
        with pytest.raises(Usage, match="closed"):
            file.get_tensor("a.large")
        assert held.any()
    file.close()
    assert not held.any()


def test_nobody_s_close_returns_before_all_is_zero(sealed):
    file = open_sealed(sealed.path, sealed.key)
    held = file.get_tensor("a.large")
    seen = []

    def close():
        file.close()
        seen.append(bool(held.any()))

    closers = [threading.Thread(target=close) for _ in range(3)]
    with a_reader(file):
        for closer in closers:
            closer.start()
        time.sleep(0.05)
        assert not seen
    for closer in closers:
        closer.join()
    assert seen == [False] * 3


def test_a_signal_handler_that_closes_during_a_read_ends_the_read(sealed):
    file = open_sealed(sealed.path, sealed.key)
    before = signal.signal(signal.SIGUSR1, lambda *_: file.close())
    sent = []

    def send(*_):
        if not sent:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.2)  # the load must not end before the handler ran

    try:
        with pytest.raises(Usage, match="thread that is reading"):
            file.load_all(progress=send)
    finally:
        signal.signal(signal.SIGUSR1, before)
    file.close()
    assert not any(bytes(memoryview(arena)).strip(b"\0") for arena in file._plain.segments.arenas)


def test_what_fails_in_closing_does_not_keep_the_keys(sealed):
    file = open_sealed(sealed.path, sealed.key)
    held = file.get_tensor("a.large")
    os.close(file.memory_file(file.members[0].name).fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.close()
    assert not held.any()
    file.close()


def test_close_waits_for_a_load_that_is_running(sealed):
    file = open_sealed(sealed.path, sealed.key)
    started = threading.Event()

    def progress(done, total):
        started.set()
        time.sleep(0.02)

    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(file.load_all, threads=2, progress=progress)
        assert started.wait(10)
        file.close()
        assert load.done() or load.result(timeout=10) is not None
    with pytest.raises(Usage):
        file.get_tensor("a.large")


def test_many_threads_read_one_file(sealed, file):
    names = list(sealed.tensors) * 8
    with ThreadPoolExecutor(8) as pool:
        for name, array in zip(names, pool.map(file.get_tensor, names), strict=True):
            same(array, sealed.tensors[name])


def test_a_forked_child_is_told_to_open_the_file_itself(sealed, file):
    file.load_all()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            file.get_tensor("a.large")
            os.write(writer, b"read")
        except Usage as error:
            os.write(writer, error.message.encode()[:100])
        finally:
            file.close()
            os._exit(0)
    os.waitpid(child, 0)
    assert b"forked" in os.read(reader, 100)
    os.close(reader)
    os.close(writer)
    same(file.get_tensor("a.large"), sealed.tensors["a.large"])


def test_tensors_let_go_free_their_memory(sealed, file):
    for _ in range(50):
        file.get_tensor("a.large")
    gc.collect()
    assert len(file._plain.segments.arenas) <= 2


def test_a_file_that_shrinks_while_open_is_an_error(sealed, tmp_path):
    path = tmp_path / "m.sealed"
    path.write_bytes(sealed.path.read_bytes())
    with open_sealed(path, sealed.key) as file:
        os.truncate(path, inspect(path).file_bytes // 2)
        with pytest.raises(SealedTruncated):
            file.load_all()


def test_a_segment_that_changes_while_open_is_an_error_and_leaves_no_plaintext(sealed, tmp_path):
    path = tmp_path / "m.sealed"
    data = bytearray(sealed.path.read_bytes())
    path.write_bytes(data)
    with open_sealed(path, sealed.key) as file:
        weights = next(m for m in file.members if m.name.startswith("model-00002"))
        data[-(inspect(path).segments - weights.first) * (SEGMENT + 32) + 500] ^= 1
        path.write_bytes(data)
        with pytest.raises(SegmentTampered) as caught:
            file.load_all()
        assert caught.value.step == 14
        assert not any(any(memoryview(arena)) for arena in file._plain.segments.arenas)
        with pytest.raises(SegmentTampered):
            file.load_all()["b.bytes"]


def test_a_table_that_lies_about_a_tensor_is_found_by_verifying_content(sealed, tmp_path):
    """The licensor's own mistake: everything authenticates, the cid is another tensor's."""
    source = tmp_path / "m.safetensors"
    rng = np.random.default_rng(5)
    save_file({"w": rng.standard_normal((20, 20), dtype=np.float32)}, source)
    dest = tmp_path / "m.sealed"
    draft = type(sealed)(source, dest, sealed.key, sealed.record, {})
    draft.seal(dest)
    with open_sealed(dest, sealed.key) as file:
        entry = file._plain.tensors["w"]
        file._plain.tensors["w"] = entry._replace(cid=sealed.record.root)
        with pytest.raises(ContentMismatch, match="'w'"):
            file.verify_content()
