from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.cli.quantities import (
    duration,
    duration_text,
    ether,
    ether_text,
    moment,
    share,
    share_text,
)
from ledger.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("90s", 90),
        ("15m", 900),
        ("24h", 86400),
        ("30d", 2592000),
        ("2w", 1209600),
        ("1y", 31536000),
    ],
)
def test_durations_are_read_in_the_units_people_write(text, seconds):
    assert duration(text) == seconds


@given(st.integers(0, 10**10))
def test_a_duration_written_out_reads_back_the_same(seconds):
    assert duration(duration_text(seconds), bits=40) == seconds


@pytest.mark.parametrize(
    ("text", "bits", "most"), [("195d", 24, "194d"), ("137y", 32, "136y"), ("34866y", 40, "34865y")]
)
def test_a_duration_that_a_contract_cannot_keep_is_refused_with_the_most_it_can(text, bits, most):
    with pytest.raises(UsageError, match="too long") as caught:
        duration(text, bits=bits)
    assert most in caught.value.hint
    assert duration(most, bits=bits) > 0


@pytest.mark.parametrize("text", ["", "d", "-1d", "1.5h", "1 day", "٣d", "9" * 13])
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(UsageError) as caught:
        duration(text)
    assert "30d" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-03-01", 1772323200),
        ("2026-03-01T12:00Z", 1772366400),
        ("2026-03-01T13:00+01:00", 1772366400),
        ("2026-03-01 12:00:00 UTC", 1772366400),
        ("+30d", 1000 + 2592000),
        ("1772323200", 1772323200),
    ],
)
def test_times_are_utc_unless_they_say_otherwise(text, seconds):
    assert moment(text, now=1000) == seconds


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-13-01", "0", "1960-01-01", "9" * 14, "+x"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UsageError):
        moment(text, now=1000)


@given(st.integers(0, (1 << 96) - 1))
def test_an_amount_written_out_reads_back_to_the_wei(wei):
    assert ether(ether_text(wei)) == wei


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "1e-19", "1e40", "a", "1_0.0.0"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(UsageError):
        ether(text)


@given(st.integers(0, 10_000))
def test_a_share_written_out_reads_back_the_same(bps):
    assert share(share_text(bps)) == bps


@pytest.mark.parametrize(
    "text", ["", "%", "-1%", "100.01%", "0.001%", "nan", "inf", "five", "5%%", "1e9999"]
)
def test_what_is_no_share_is_refused_with_an_example(text):
    with pytest.raises(UsageError) as caught:
        share(text)
    assert "5%" in caught.value.hint
