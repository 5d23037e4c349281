"""No function of a contract is forgotten: each has a kind of transaction, or a reason for none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api.transactions import AGREED, KINDS
from api.transactions.licenses import IssueByReference
from ledger.chain.abi_codec import CONTRACTS, contract

PAGE = Path(__file__).parents[2] / "docs" / "spec" / "transactions.md"
ROW = re.compile(r"^\| `(\w+)` \| `(\w+)` \| (.+) \|$", re.MULTILINE)
KNOWN = {kind.kind for kind in (*KINDS, *AGREED, IssueByReference)}


@pytest.fixture(scope="module")
def rows():
    table = PAGE.read_text().partition("## Every function")[2]
    return [match.groups() for match in ROW.finditer(table)]


def test_the_page_names_every_function_that_changes_something_once(rows):
    wanted = {
        (name, item["name"])
        for name in CONTRACTS
        for item in contract(name).abi
        if item["type"] == "function" and item["stateMutability"] not in {"view", "pure"}
    }
    named = [(name, function) for name, function, _ in rows]
    assert len(named) == len(set(named))
    assert set(named) == wanted


def test_each_has_kinds_that_there_are_or_says_why_it_has_none(rows):
    prepared = set()
    for _, function, said in rows:
        kinds = re.findall(r"`([a-z-]+)`", said.partition(":")[0])
        assert kinds or re.match(r"none: .{20}", said), function
        assert set(kinds) <= KNOWN, function
        prepared.update(kinds)
    # `allow-market` calls a token, which is none of our contracts.
    assert prepared == KNOWN - {"allow-market"}


def test_the_page_has_the_members_of_every_kind():
    lines = PAGE.read_text().partition("## Every function")[0].splitlines()
    for kind in (*KINDS, *AGREED, IssueByReference):
        said = " ".join(
            line
            for line in lines
            if f"`{kind.kind}`" in "".join(line.split("|")[1:2]) or f"/{kind.kind}`" in line
        )
        assert said, kind.kind
        same = re.search(r"\bas `[a-z-]+`", said)  # of another kind
        for name, field in kind.model_fields.items():
            if field.is_required() and not same:
                assert f"`{field.alias or name}`" in said, (kind.kind, name)
