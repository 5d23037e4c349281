import copy

import pytest

from ledger.errors import ManifestError, UsageError, VerificationError
from ledger.evidence.custody import append, read_log
from ledger.ids import Digest

CONTENTS = Digest(b"\x07" * 32)


def entry(log=(), **changed):
    fields = {
        "time": "2026-11-22T11:40:00Z",
        "actor": "A. Expert",
        "action": "received",
        "contents": CONTENTS,
        "software": "modeldeed 0.1.0",
    }
    return append(log, **(fields | changed))


@pytest.fixture
def log():
    return entry(entry(entry(action="collected")), action="handed over")


def written(log):
    return [one.to_json() for one in log]


def test_a_log_reads_back_as_written(log):
    assert read_log(written(log), CONTENTS) == log


def test_removing_reordering_or_changing_an_entry_breaks_the_chain(log):
    document = written(log)
    for broken in (document[1:], document[:1] + document[2:], document[::-1]):
        with pytest.raises(VerificationError, match="does not follow"):
            read_log(broken, CONTENTS)
    for field in ("actor", "action", "note", "time", "software"):
        changed = copy.deepcopy(document)
        changed[1][field] = "2026-11-22T11:40:01Z"
        with pytest.raises(VerificationError, match="was changed"):
            read_log(changed, CONTENTS)


def test_a_log_about_other_evidence_is_refused(log):
    with pytest.raises(VerificationError, match="other evidence"):
        read_log(written(log), Digest(b"\x08" * 32))


@pytest.mark.parametrize("document", [None, {}, [], "x", [{}], [None], [{"sequence": 1}]])
def test_what_is_no_log_is_refused(document):
    with pytest.raises(ManifestError):
        read_log(document, CONTENTS)


@pytest.mark.parametrize(
    "changed",
    [{"time": "yesterday"}, {"actor": "two\nlines"}, {"note": "x" * 2001}, {"action": "x" * 41}],
)
def test_an_entry_is_short_lines_and_a_utc_time(changed):
    with pytest.raises(UsageError):
        entry(**changed)
