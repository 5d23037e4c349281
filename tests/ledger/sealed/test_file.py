"""The face: what opens, what is refused, and with which words."""

import os
from pathlib import Path

import pytest

from ledger import errors
from ledger.sealed import file as face
from ledger.sealed.file import inspect, key_commitment, open_sealed


def test_inspecting_needs_no_key(sealed):
    info = inspect(sealed.path)
    assert info.model_id == sealed.record.model_id
    assert info.commit == key_commitment(sealed.key)
    assert info.to_json()["chain_id"] == 31337
    assert inspect(str(sealed.path)) == info


def test_a_wrong_key_is_refused_with_a_way_out_and_without_the_key(sealed):
    key = os.urandom(32)
    with pytest.raises(errors.WrongKey) as caught:
        open_sealed(sealed.path, key)
    assert caught.value.hint
    assert key.hex() not in str(caught.value) + caught.value.hint
    with pytest.raises(errors.UsageError):
        open_sealed(sealed.path, b"short")


def test_the_file_of_another_model_is_refused_before_its_key_is_tried(sealed, tmp_path):
    other = sealed.seal(tmp_path / "m", model_id=type(sealed.record.model_id)(b"\x77" * 32))
    with pytest.raises(errors.ContentMismatch, match="model"):
        open_sealed(sealed.path, os.urandom(32), record=other)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", errors.NotSealed),
        (b"\x89SLM\r\n\x1a", errors.NotSealed),
        (b"\x89SLM\r\n\x1a\n", errors.SealedTruncated),
        (b"PK\3\4" + bytes(200), errors.NotSealed),
        (b'\x10\0\0\0\0\0\0\0{"a":{}}' + bytes(200), errors.NotSealed),
    ],
)
def test_another_kind_of_file_is_refused(tmp_path, data, error):
    path = tmp_path / "f"
    path.write_bytes(data)
    for ask in (inspect, lambda p: open_sealed(p, bytes(32))):
        with pytest.raises(error) as caught:
            ask(path)
        assert caught.value.hint


def test_what_cannot_be_read_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "absent", tmp_path, tmp_path / "pipe", "a\0b"):
        with pytest.raises(errors.SealedFormatError):
            inspect(path)


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_refused_file_leaves_no_descriptor_open(sealed):
    before = descriptors()
    for _ in range(5):
        with pytest.raises(errors.WrongKey):
            open_sealed(sealed.path, bytes(32))
    assert descriptors() == before


def test_the_face_exports_what_it_says():
    assert all(hasattr(face, name) for name in face.__all__)
