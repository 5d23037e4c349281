"""Sealing records: one hash for one set of facts."""

import dataclasses

import pytest

from ledger.errors import ManifestError, UnsupportedVersion, UsageError
from ledger.ids import Digest, ModelId
from ledger.sealed.record import SealingRecord

RECORD = SealingRecord(
    ModelId(b"\1" * 32), 1, Digest(b"\2" * 32), Digest(b"\3" * 32), Digest(b"\4" * 32)
)


def test_a_record_reads_back_as_written_with_the_same_hash():
    again = SealingRecord.from_json(RECORD.to_json())
    assert again == RECORD
    assert again.hash() == RECORD.hash()


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(SealingRecord)])
def test_the_hash_moves_with_every_field(field):
    value = getattr(RECORD, field)
    other = value + 1 if isinstance(value, int) else type(value)(b"\xee" * 32)
    assert dataclasses.replace(RECORD, **{field: other}).hash() != RECORD.hash()


@pytest.mark.parametrize("field", ["epoch", "broker_set", "suite"])
@pytest.mark.parametrize("value", [-1, 1 << 53, True, 1.0, "1", None])
def test_a_number_out_of_range_is_refused(field, value):
    with pytest.raises(ManifestError):
        SealingRecord.from_json(RECORD.to_json() | {field: value})


@pytest.mark.parametrize("value", ["0x", "ab" * 32, "0x" + "AB" * 32, "0x" + "zz" * 32, 5, None])
def test_a_digest_of_another_form_is_refused(value):
    with pytest.raises(ManifestError):
        SealingRecord.from_json(RECORD.to_json() | {"root": value})


@pytest.mark.parametrize("document", [None, [], {}, {"format": 1}, "x"])
def test_what_is_no_record_is_refused(document):
    with pytest.raises(ManifestError):
        SealingRecord.from_json(document)


def test_another_version_is_named_as_such():
    with pytest.raises(UnsupportedVersion):
        SealingRecord.from_json(RECORD.to_json() | {"format": "modeldeed/sealing/2"})


def test_epoch_zero_cannot_be_made():
    with pytest.raises(UsageError):
        dataclasses.replace(RECORD, epoch=0)
