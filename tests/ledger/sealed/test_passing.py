"""A package handed on to another process: checked again against file and record."""

import numpy as np
import pytest

from ledger.errors import ContentMismatch, SealedFormatError, SegmentTampered, UsageError
from ledger.sealed.file import open_sealed
from ledger.sealed.passing import open_passed
from ledger.sealed.reader import SealedFile
from ledger.sealed.source import FileSource


@pytest.fixture
def passed(sealed):
    with open_sealed(sealed.path, sealed.key, record=sealed.record) as file:
        handed = file.pass_on()
        yield handed
        handed.message_key.wipe()


def received(sealed, passed, *, key=None, tables=None, record=None, path=None):
    source = FileSource(path or sealed.path)
    try:
        opened = open_passed(
            source,
            key or passed.message_key.view,
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
        assert bytes(own) == bytes(handed.message_key.view)
        handed.message_key.wipe()
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
