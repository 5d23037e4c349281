"""Lists of holders, as people and spreadsheets write them."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.cli import holders
from ledger.cli.holders import Holder
from ledger.errors import LedgerError, LimitExceeded, ManifestError
from ledger.ids import Address
from ledger.licensing.batch import MAX_LEAVES

ONE, TWO = (Address(bytes([i]) * 20) for i in (1, 2))


@pytest.fixture
def read(tmp_path):
    def reading(content):
        file = tmp_path / "list"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return holders.read(file, Address.parse, int)

    return reading


def test_csv_and_json_say_the_same(read):
    wanted = (Holder(ONE, 0, 77, "order 1, first"), Holder(TWO))
    assert read(f'to,not_after,external_ref\n{ONE},77,"order 1, first"\n\n{TWO},0,\n') == wanted
    rows = [{"to": str(ONE), "not_after": 77, "external_ref": "order 1, first"}, str(TWO)]
    assert read(json.dumps(rows)) == wanted


def test_what_spreadsheets_add_is_taken(read):
    assert read(f"\ufeffto\r\n{ONE}\r\n{TWO}\r\n") == (Holder(ONE), Holder(TWO))
    assert read(f" to , not_before \n {ONE} , 5 \n") == (Holder(ONE, 5),)


@pytest.mark.parametrize(
    "content",
    [
        "", "to", "to\n", "holder\n0x", "to,to\n", "to,price\n", 'to\n"open', "[]", "[7]", "[[]]",
        '[{"to": 7}]', '[{"not_after": 1}]', '[{"to": null}]', '[{"to": "0x12"}]', "[{]",
        '["' + "x" * 300 + '"]', b"to\n\xff",
    ],
)  # fmt: skip
def test_what_is_no_list_is_refused(read, content):
    with pytest.raises(ManifestError) as caught:
        read(content)
    assert caught.value.hint


def test_the_row_is_named(read):
    with pytest.raises(ManifestError, match="row 2 of list"):
        read(f"to\n{ONE}\n0x12\n")


def test_longer_lists_are_split(read):
    with pytest.raises(LimitExceeded):
        read("to\n" + f"{ONE}\n" * (MAX_LEAVES + 1))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=100) | st.text(max_size=60).map(lambda t: ("to\n" + t).encode("utf-8")))
def test_no_bytes_at_all_raise_anything_but_our_errors(tmp_path, raw):
    file = tmp_path / "list"
    file.write_bytes(raw)
    with contextlib.suppress(LedgerError):
        holders.read(file, Address.parse, lambda _: 0)
