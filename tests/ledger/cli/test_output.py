from __future__ import annotations

import json
from pathlib import Path

import pytest

from ledger.chain.licenses import LicenseStatus
from ledger.cli.exits import Failure
from ledger.cli.output import (
    Answer,
    Console,
    escaped,
    fields,
    plain,
    size_text,
    table,
    time_text,
)
from ledger.ids import Address, Digest, LicenseId


def test_text_is_data_on_stdout_and_notes_are_for_people_on_stderr(capsys):
    Console().answer(Answer({"a": 1}, "a  1", notes=("next: b",)))
    said = capsys.readouterr()
    assert said.out == "a  1\n"
    assert said.err == "next: b\n"


def test_json_is_one_document_with_our_values_as_text(capsys):
    console = Console()
    console.json = True
    console.answer(
        Answer(
            {
                "digest": Digest(bytes(32)),
                "license": LicenseId.of(7, 1),
                "account": Address(bytes(20)),
                "file": Path("a/b"),
                "raw": b"\x01",
                "status": LicenseStatus.REVOKED,
                "large": [1 << 60, {"small": 7}],
            }
        )
    )
    assert json.loads(capsys.readouterr().out) == {
        "digest": "0x" + "00" * 32,
        "license": "7.1",
        "account": "0x" + "00" * 20,
        "file": "a/b",
        "raw": "0x01",
        "status": "revoked",
        "large": [str(1 << 60), {"small": 7}],
    }


def test_a_failure_says_when_to_try_again(capsys):
    console = Console()
    console.json = True
    failure = Failure(3, "CHAIN_UNAVAILABLE", "no answer", "start it", 2.5)
    console.failure(failure)
    said = capsys.readouterr()
    assert said.err == "error: no answer\nhint: start it\nretry: in 2.5 s\n"
    assert json.loads(said.out)["error"]["retry_after"] == 2.5
    # Only where the command takes it, and it would help.
    console.waits = True
    console.failure(failure)
    assert capsys.readouterr().err.endswith("retry: in 2.5 s, or add --wait\n")


def test_control_sequences_from_outside_are_shown_and_not_obeyed(capsys):
    Console().answer(Answer({}, "tensor \x1b[2Jowned\x9b1m\r"))
    assert capsys.readouterr().out == "tensor \\x1b[2Jowned\\x9b1m\\x0d\n"
    assert escaped("naïve 模型 a\tb\nc") == "naïve 模型 a\tb\nc"


def test_progress_is_silent_when_stderr_is_no_terminal(capsys):
    with Console().progress("work") as progress:
        progress(1, 2)
    assert capsys.readouterr().err == ""


def test_tables_align_and_say_when_they_are_empty():
    assert table(("a", "name"), [(1, "x"), (100, None)], empty="none").splitlines() == [
        "a    name",
        "1    x",
        "100  -",
    ]
    assert table(("a",), [], empty="no licenses") == "no licenses"
    assert fields([("a", True), ("long", "")]) == "a     yes\nlong  -"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "-"),
        ((1 << 40) - 1, "never"),
        (1772323200, "2026-03-01 00:00:00 UTC"),
        (-(1 << 40), "-1099511627776 s"),
    ],
)
def test_the_ledgers_special_times_have_names(seconds, text):
    assert time_text(seconds) == text


def test_sizes_have_the_unit_a_person_would_use():
    assert [size_text(n) for n in (0, 999, 90_900_000, 10**12)] == [
        "0 B",
        "999 B",
        "90.9 MB",
        "1.0 TB",
    ]


def test_a_value_without_a_json_form_is_a_bug():
    with pytest.raises(TypeError):
        plain(object())
