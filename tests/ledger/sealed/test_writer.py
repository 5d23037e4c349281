"""Sealing: whole or not at all, and only the model it should be."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.errors import ContentMismatch, TensorFileError, UsageError
from ledger.fingerprint.exact import fingerprint
from ledger.sealed import writer
from ledger.sealed.file import inspect, open_sealed
from ledger.tensors.model import open_model


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_sealing_returns_the_record_of_the_file_it_wrote(sealed, tmp_path):
    dest = tmp_path / "m.sealed"
    record = sealed.seal(dest, epoch=3, broker_set=9, brokers=("https://b.example",))
    info = inspect(dest)
    assert (info.epoch, info.broker_set, info.brokers) == (3, 9, ("https://b.example",))
    assert (info.root, info.commit, info.suite) == (record.root, record.commit, record.suite)
    assert info.model_id == record.model_id
    assert info.file_bytes == dest.stat().st_size
    assert names(tmp_path) == ["m.sealed"]


def test_the_same_model_has_the_same_roots_and_another_ciphertext(sealed, tmp_path):
    first = sealed.seal(tmp_path / "1")
    second = sealed.seal(tmp_path / "2", threads=1)
    assert first == second == sealed.record
    one, two = ((tmp_path / name).read_bytes() for name in "12")
    assert len(one) == len(two)
    start = inspect(tmp_path / "1").file_bytes - 65536
    assert one[start:] != two[start:]


def test_both_suites_share_the_second_root(sealed, tmp_path):
    other = sealed.seal(tmp_path / "m", suite=1)
    assert other.content_tree_root == sealed.record.content_tree_root
    assert other.root != sealed.record.root
    with open_sealed(tmp_path / "m", sealed.key, record=other) as file:
        np.testing.assert_array_equal(file.get_tensor("a.large"), sealed.tensors["a.large"])


def test_neither_names_nor_values_nor_settings_stand_in_the_file(sealed):
    data = sealed.path.read_bytes()
    for secret in (b"a.large", b"config.json", b"hidden", b"BF16"):
        assert secret not in data
    assert sealed.tensors["b.bytes"].tobytes()[:16] not in data


def test_a_model_other_than_the_registered_one_is_refused(sealed, tmp_path):
    altered = {name: array.copy() for name, array in sealed.tensors.items()}
    altered["a.large"][0, 0] += 1
    save_file({k: v for k, v in altered.items() if k[0] == "a"}, tmp_path / "other.safetensors")
    with open_model(tmp_path / "other.safetensors") as model:
        registered = fingerprint(model)
    dest = tmp_path / "m.sealed"
    with pytest.raises(ContentMismatch):
        sealed.seal(dest, fingerprint=registered)
    assert not dest.exists()


def test_a_renamed_tensor_is_another_model_too(sealed, tmp_path):
    renamed = {name.replace("a.half", "a.other"): t for name, t in sealed.tensors.items()}
    save_file(renamed, tmp_path / "r.safetensors")
    with open_model(tmp_path / "r.safetensors") as model:
        registered = fingerprint(model)
    with pytest.raises(ContentMismatch):
        sealed.seal(tmp_path / "m.sealed", fingerprint=registered)


def test_the_registered_model_is_sealed(sealed, tmp_path):
    with open_model(sealed.source) as model:
        registered = fingerprint(model)
    assert sealed.seal(tmp_path / "m", fingerprint=registered) == sealed.record


def test_a_model_that_changes_while_it_is_sealed_is_refused(sealed, tmp_path, monkeypatch):
    source = tmp_path / "m.safetensors"
    rng = np.random.default_rng(1)
    save_file({"w": rng.standard_normal(200_000, dtype=np.float32)}, source)
    real = writer._leaves

    def change_after(*args, **kwargs):
        leaves = real(*args, **kwargs)
        state = source.stat()
        data = bytearray(source.read_bytes())
        data[-1] ^= 1
        with source.open("r+b") as file:
            file.write(data)
        os.utime(source, ns=(state.st_atime_ns, state.st_mtime_ns))
        return leaves

    monkeypatch.setattr(writer, "_leaves", change_after)
    dest = tmp_path / "m.sealed"
    with open_model(source) as model, pytest.raises(ContentMismatch):
        writer.seal(
            model,
            dest,
            content_key=sealed.key,
            model_id=sealed.record.model_id,
            chain_id=1,
            registry=inspect(sealed.path).registry,
            log2_segment=16,
        )
    assert names(tmp_path) == ["m.safetensors"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError("stop")])
@pytest.mark.parametrize("at", [0.0, 0.4, 0.6, 1.0])
def test_stopping_at_any_point_leaves_nothing_and_keeps_what_was_there(sealed, tmp_path, error, at):
    dest = tmp_path / "m.sealed"
    dest.write_bytes(b"earlier")

    def progress(done, total):
        if done >= at * total:
            raise error

    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        sealed.seal(dest, progress=progress)
    assert names(tmp_path) == ["m.sealed"]
    assert dest.read_bytes() == b"earlier"
    assert not [t for t in threading.enumerate() if t.name.startswith("sealed")]


def test_progress_ends_at_its_total(sealed, tmp_path):
    seen = []
    sealed.seal(tmp_path / "m", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 0
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_signal_during_sealing_leaves_no_file(sealed, tmp_path, number, status):
    if number == signal.SIGKILL:
        try:
            os.close(os.open(tmp_path, os.O_TMPFILE | os.O_RDWR))
        except OSError:
            pytest.skip("this file system has no files without names")
    code = """
import sys, time
from pathlib import Path
from ledger.ids import Address, ModelId
from ledger.sealed.file import seal
from ledger.tensors.model import open_model
def progress(done, total):
    if done > total * 0.6:
        print("sealing", flush=True)
        time.sleep(0.05)
try:
    with open_model(sys.argv[1]) as model:
        seal(model, Path(sys.argv[2]), content_key=bytes(32), model_id=ModelId(bytes(32)),
             chain_id=1, registry=Address(bytes(20)), log2_segment=16, progress=progress)
except KeyboardInterrupt:
    sys.exit(130)
"""
    dest = tmp_path / "m.sealed"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(sealed.source), str(dest)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[3],
    )
    try:
        assert child.stdout.readline() == b"sealing\n"
        child.send_signal(number)
        child.communicate(timeout=30)
    finally:
        child.kill()
    assert child.returncode == status
    assert names(tmp_path) == []


def test_a_file_system_without_nameless_files_serves_too(sealed, tmp_path, monkeypatch):
    monkeypatch.setattr(writer.os, "O_TMPFILE", 1 << 30)
    assert sealed.seal(tmp_path / "m.sealed") == sealed.record
    assert names(tmp_path) == ["m.sealed"]
    with pytest.raises(KeyboardInterrupt):
        sealed.seal(tmp_path / "n.sealed", progress=interrupt)
    assert names(tmp_path) == ["m.sealed"]


def interrupt(done, total):
    if done > 0.7 * total:
        raise KeyboardInterrupt


def test_a_destination_that_is_the_model_itself_is_refused(sealed, tmp_path):
    source = tmp_path / "m.safetensors"
    save_file({"w": np.arange(32, dtype=np.float32)}, source)
    before = source.read_bytes()
    draft = type(sealed)(source, source, sealed.key, sealed.record, {})
    for dest in (source, tmp_path):
        with pytest.raises(UsageError):
            draft.seal(dest)
    assert source.read_bytes() == before


def test_a_full_disk_leaves_nothing(sealed, tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writer.os, "pwrite", full)
    with pytest.raises(UsageError, match="No space left"):
        sealed.seal(tmp_path / "m.sealed")
    assert names(tmp_path) == []


def test_a_destination_that_cannot_be_written_is_named(sealed, tmp_path):
    with pytest.raises(UsageError, match="no-folder"):
        sealed.seal(tmp_path / "no-folder" / "m.sealed")


@pytest.mark.parametrize(
    "change",
    [
        {"content_key": bytes(31)},
        {"suite": 3},
        {"log2_segment": 25},
        {"log2_segment": 15},
        {"epoch": 0},
        {"chain_id": 0},
        {"broker_set": -1},
        {"brokers": ("https://b.example",) * 17},
    ],
)
def test_an_argument_out_of_range_is_refused(sealed, tmp_path, change):
    with pytest.raises(UsageError):
        sealed.seal(tmp_path / "m", **change)


def test_a_file_that_is_no_model_is_refused_before_sealing(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"not a model")
    with pytest.raises(TensorFileError):
        open_model(path)
