"""Element types: the codes are part of a wire format and may never change."""

import re
from pathlib import Path

import pytest

from ledger.errors import TensorFileError
from ledger.tensors.dtypes import DTYPES, dtype_of

SPEC = Path(__file__).parents[3] / "docs" / "spec" / "fingerprint.md"


def test_the_table_is_the_one_of_the_specification():
    rows = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \| (\w+) \|$", SPEC.read_text(), re.MULTILINE)
    assert rows == [(d.name, str(d.code), str(d.bits), d.kind) for d in DTYPES.values()]


def test_no_code_is_used_twice_and_all_stay_below_the_block_types():
    codes = [d.code for d in DTYPES.values()]
    assert len(set(codes)) == len(codes)
    assert max(codes) < 256


def test_elements_that_do_not_fill_whole_bytes_have_no_size():
    assert dtype_of("F4").nbytes(2) == 1
    assert dtype_of("F4").nbytes(3) is None
    assert dtype_of("F6_E2M3").nbytes(4) == 3
    assert dtype_of("F32").nbytes(3) == 12


def test_an_unknown_type_is_refused_with_a_hint():
    with pytest.raises(TensorFileError, match="F33") as caught:
        dtype_of("F33")
    assert caught.value.hint
