"""Texts that software reads in different ways, read alike by library, script and page."""

import json

import page_calls
import pytest
from page_calls import Refused
from two_verifiers import script

from ledger.errors import LedgerError
from ledger.licensing import terms

TERMS = {
    "type": terms.TYPE,
    "version": 1,
    "title": "Evaluation terms",
    "licensor": "Example GmbH",
    "text": "For a test.",
    "territory": ["any"],
    "purposes": ["any"],
    "fields": ["any"],
    "evidence": ["software"],
    "export": False,
}
# Every character that Python or ECMAScript calls a space, and some that look like one.
BLANKS = [c for c in map(chr, range(0x3001)) if c.isspace()] + ["\ufeff", "\u180e", "\u200b", "\0"]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with page_calls.functions(tmp_path_factory.mktemp("page")) as call:
        yield call


def by_all(page, document):
    """The hash of terms by each reader, or None where they are refused; all must be the same."""
    readers = (
        (lambda: str(terms.validate(document).hash()), LedgerError),
        (lambda: script().terms_hash(document), script().Fail),
        (
            lambda: page("(text) => termsHash(JSON.parse(text))", json.dumps(document)),
            Refused,
        ),
    )
    found = []
    for read, refusal in readers:
        try:
            found.append(read())
        except refusal:
            found.append(None)
    assert found[0] == found[1] == found[2], (document, found)
    return found[0]


@pytest.mark.parametrize(
    ("moment", "read"),
    [
        ("2026-03-01T00:00:00Z", True),
        ("0999-12-31T23:59:59Z", True),  # strftime writes such years with fewer digits here
        ("0001-01-01T00:00:00Z", True),
        ("0000-01-01T00:00:00Z", False),
        ("2026-02-29T00:00:00Z", False),
        ("2026-03-01T00:00:60Z", False),
        ("2026-03-01T24:00:00Z", False),
        ("2026-03-01t00:00:00z", False),
        ("2026-3-1T0:00:00Z", False),
        ("\u0662\u0660\u0662\u0666-03-01T00:00:00Z", False),
        ("\uff12\uff10\uff12\uff16-03-01T00:00:00Z", False),
        ("2026-03-01T00:00:00Z\n", False),
    ],
)
def test_times_of_terms_are_read_alike(page, moment, read):
    assert (by_all(page, {**TERMS, "not_before": moment}) is not None) == read


def test_a_title_of_blanks_is_none_to_all_and_what_is_no_blank_is_a_title(page):
    refused = [c for c in BLANKS if by_all(page, {**TERMS, "title": c * 2}) is None]
    assert refused == [c for c in BLANKS if c.isspace()]
