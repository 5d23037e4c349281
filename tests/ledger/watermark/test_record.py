"""The record: what it binds, and that nothing but a record is read as one."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from watermark_world import make_small, record_of

from ledger.errors import ClaimMismatch, LedgerError
from ledger.ids import Digest
from ledger.watermark.record import PhaseAPlace, Record


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    made = record_of(make_small(tmp_path_factory.mktemp("record")))
    made = made.with_phase_a(PhaseAPlace(12, 1, 1_900_000_000, Digest(b"t" * 32)))
    return made.with_beacon("short-offset", (b"\xc0" * 500,))


def test_two_records_of_one_model_have_nothing_secret_in_common(tmp_path):
    path = make_small(tmp_path)
    one, two = record_of(path), record_of(path)
    assert one.key != two.key
    assert one.commitment.hash() != two.commitment.hash()
    assert one.commitment.nonce != two.commitment.nonce
    assert one.targets == two.targets


def test_a_record_is_read_as_it_was_written(record):
    assert Record.from_contents(record.contents(), what="it") == record
    record.check()


@pytest.mark.parametrize("part", ["key", "key_salt"])
def test_another_key_or_salt_is_told(record, part):
    with pytest.raises(ClaimMismatch):
        dataclasses.replace(record, **{part: b"x" * 32}).check()


def test_all_parts_of_the_model_are_bound(record):
    for part in ("content_root", "vmd_root", "named_root"):
        bent = dataclasses.replace(record.roots, **{part: Digest(b"x" * 32)})
        with pytest.raises(ClaimMismatch):
            dataclasses.replace(record, roots=bent).check()
    with pytest.raises(ClaimMismatch):
        dataclasses.replace(record, targets=record.targets[1:]).check()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(data=st.data())
def test_a_record_with_one_part_exchanged_is_refused_or_bound(record, data):
    """Whatever stands in its place: an error of ours, or a record that fails its own check."""
    document = json.loads(record.contents())
    place, path = document, []
    while isinstance(place, dict | list) and place and (not path or data.draw(st.booleans())):
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        path.append((place, data.draw(st.sampled_from(keys))))
        place = place[path[-1][1]]
    holder, key = path[-1]
    holder[key] = data.draw(JSON)
    read, said = None, ""
    try:
        read = Record.from_contents(json.dumps(document).encode(), what="it")
    except LedgerError as error:
        said = str(error)
    assert record.key.hex() not in said
    if read is None:
        return
    # What is not under the commitment (its place on chain, its beacon) is checked on chain.
    loose = {"phase_a", "beacon", "marked"}
    if read.commitment.hash() == record.commitment.hash() and str(path[0][1]) not in loose:
        assert dataclasses.replace(read, marked=None) == record
