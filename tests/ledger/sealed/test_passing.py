"""A package handed on to another process: checked again against file and record."""

import numpy as np
import pytest
from variant_world import KEY, make_marked, make_source

from ledger.errors import (
    ContentMismatch,
    LimitExceeded,
    SealedFormatError,
    SegmentTampered,
    UsageError,
    WrongKey,
)
from ledger.sealed.codeword import CodeWord
from ledger.sealed.file import open_sealed
from ledger.sealed.memory import Secret
from ledger.sealed.passing import open_passed, secret_bytes, split_secret
from ledger.sealed.reader import SealedFile
from ledger.sealed.source import FileSource


@pytest.fixture
def passed(sealed):
    with open_sealed(sealed.path, sealed.key, record=sealed.record) as file:
        handed = file.pass_on()
        yield handed
        handed.secret.wipe()


def received(sealed, passed, *, key=None, tables=None, record=None, path=None):
    source = FileSource(path or sealed.path)
    try:
        opened = open_passed(
            source,
            key or passed.secret.view,
            tables or passed.tables,
            record or sealed.record,
        )
    except BaseException:
        source.close()
        raise
    return SealedFile(source, opened, verify=True)


def test_every_tensor_is_the_same_and_the_first_package_stays_open(sealed, passed):
    with received(sealed, passed) as file:
        for name, expected in sealed.tensors.items():
            assert file.get_tensor(name).tobytes() == expected.tobytes()
        assert file.members == open_sealed(sealed.path, sealed.key).members
        assert np.array_equal(file.load_all()["a.large"], sealed.tensors["a.large"])


def test_the_key_is_zero_once_both_are_done_with_it(sealed):
    with open_sealed(sealed.path, sealed.key) as file:
        handed = file.pass_on()
        again = received(sealed, handed)
        own = again._opened.payload.message_key
        assert bytes(own) == bytes(handed.secret.view)
        handed.secret.wipe()
        assert again.get_tensor("a.half").any()
        again.close()
        assert not any(own)
    with pytest.raises(UsageError, match="closed"):
        file.pass_on()


@pytest.mark.parametrize("at", [5, 60, -1, -40])
def test_an_index_that_was_altered_is_refused(sealed, passed, at):
    tables = bytearray(passed.tables)
    tables[at] ^= 1
    with pytest.raises(ContentMismatch) as caught:
        received(sealed, passed, tables=bytes(tables))
    assert caught.value.step == 11


def test_an_index_of_another_length_is_refused(sealed, passed):
    with pytest.raises(SealedFormatError):
        received(sealed, passed, tables=passed.tables[:-1])


def test_a_wrong_key_shows_at_the_first_segment(sealed, passed):
    with received(sealed, passed, key=bytes(48)) as file, pytest.raises(SegmentTampered):
        file.get_tensor("a.half")


def test_another_file_or_record_is_refused(sealed, passed, tmp_path):
    other = tmp_path / "other.sealed"
    record = sealed.seal(other, epoch=2)
    with pytest.raises(ContentMismatch):
        received(sealed, passed, path=other)
    with pytest.raises(ContentMismatch):
        received(sealed, passed, record=record)


# -- cells marked per license


@pytest.fixture
def marked(tmp_path):
    source = make_source(tmp_path / "model")
    return make_marked(source, tmp_path / "m.sealed", count=24)


WORD = CodeWord(bytes([1, 0, 0] * 8), b"\x07" * 32)


def again(marked, handed, secret):
    key, cells = split_secret(secret, handed.cells)
    source = FileSource(marked.path)
    try:
        opened = open_passed(source, key, handed.tables, marked.record, cells)
    except BaseException:
        source.close()
        raise
    return SealedFile(source, opened, verify=True)


def test_another_process_sees_this_license_s_copy(marked):
    with marked.open(WORD) as file:
        handed = file.pass_on()
        assert handed.cells == 24
        assert len(handed.secret.view) == secret_bytes(24)
        with again(marked, handed, handed.secret) as other:
            for name in file.keys():  # noqa: SIM118 - not a dict
                assert bytes(other.get_bytes(name)) == bytes(file.get_bytes(name))
            assert other.marked == file.marked != ()
        handed.secret.wipe()


def test_keys_of_cells_that_are_not_this_file_s_are_refused(marked):
    with marked.open(WORD) as file:
        handed = file.pass_on()
        altered = Secret.of(handed.secret.view)
        altered.view[-1] ^= 1
        with pytest.raises(WrongKey) as caught:
            again(marked, handed, altered)
        assert caught.value.step == 15
        key, _ = split_secret(handed.secret, 0)
        source = FileSource(marked.path)
        with pytest.raises(WrongKey):
            open_passed(source, key, handed.tables, marked.record)
        source.close()
        with pytest.raises(LimitExceeded):
            split_secret(handed.secret, 23)
        with pytest.raises(LimitExceeded):
            secret_bytes(5000)
        handed.secret.wipe()


def test_the_content_key_and_other_forms_are_not_passed(marked):
    with marked.open(WORD) as file:
        handed = file.pass_on()
        passed_on = bytes(handed.secret.view) + handed.tables
        assert KEY not in passed_on
        for cell, form in enumerate(WORD.bits):
            assert bytes(marked.keys.key(cell, form)) in passed_on
            assert bytes(marked.keys.key(cell, 1 - form)) not in passed_on
        handed.secret.wipe()
