"""Every failure of the tree has its HTTP status, and says no more than it should."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from api import hints, problems
from ledger import errors
from ledger.chain.reverts import error_classes
from ledger.errors import LedgerError


def tree(kind: type[LedgerError] = LedgerError) -> Iterator[type[LedgerError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from tree(below)


def test_every_class_of_the_error_tree_has_a_status_of_400_or_above():
    for kind in tree():
        error = kind.__new__(kind)
        assert problems.status_of(error) >= 400, kind


def test_the_root_of_the_tree_is_the_last_row_so_that_none_is_missed():
    assert problems.STATUSES[-1][0] is LedgerError
    seen: list[type[LedgerError]] = []
    for kind, _ in problems.STATUSES:
        assert not any(issubclass(kind, before) for before in seen), f"{kind} is never reached"
        seen.append(kind)


@pytest.mark.parametrize(
    ("error", "status", "member"),
    [
        (errors.UnknownRecord("no model"), 404, {}),
        (errors.UsageError("odd"), 422, {}),
        (errors.LimitExceeded("too much"), 413, {}),
        (errors.Expired("over", since=7, remedy="renew"), 403, {"since": 7, "remedy": "renew"}),
        (errors.KeyRequestRejected("no", check=4), 403, {"check": 4}),
        (errors.Reorganised("gone"), 409, {}),
        (errors.ChainUnavailable("down", retry_after=3.0), 503, {"retry_after": 3.0}),
        (errors.StateProofInvalid("no", step=9), 422, {"step": 9}),
    ],
)
def test_an_error_becomes_a_problem_with_its_members(error, status, member):
    reply = problems.of_error(error)
    body = json.loads(reply.body)
    assert (reply.status_code, body["status"]) == (status, status)
    assert body["code"] == error.code
    assert body["detail"] == error.message
    assert member.items() <= body.items()
    assert reply.media_type == "application/problem+json"
    assert ("retry-after" in reply.headers) == isinstance(error, errors.UnavailableError)


def test_hints_over_http_name_no_commands_and_no_options_of_one():
    for kind in (*tree(), *error_classes().values()):
        error = kind.__new__(kind)
        error.hint = kind.default_hint
        told = hints.over_http(error)
        assert told, kind
        assert not re.search(r"\bdeed [a-z]|--[a-z]", told), kind
    assert "openapi.json" in problems_hint(errors.UsageError("odd"))


NOTHING_ELSE = "check what was given; it is described in /v1/openapi.json"


@pytest.mark.parametrize(
    ("hint", "told"),
    [
        ("ask the licensor to renew it (deed license renew 7.1)", "ask the licensor to renew it"),
        ("try again shortly; deed doctor shows how it is", "try again shortly"),
        ("give PLAN.SERIAL, as deed license list prints", "give PLAN.SERIAL"),
        ("sign in again, or with POST /v1/keys or deed api keys create",
         "sign in again, or with POST /v1/keys"),
        ("check it with deed doctor; locally, start it with deed up", NOTHING_ELSE),
        ("mount a tmpfs (containers: --shm-size=2g)", "mount a tmpfs"),
        ("say which (license=NAME: a card; deed license list), or none", "say which, or none"),
        ("mount the key; to change it, deed broker rotate", "mount the key"),
        ("deed load there; a plain model is never loaded", NOTHING_ELSE),
        ("look again, a Deed is none", "look again, a Deed is none"),
    ],
)  # fmt: skip
def test_of_a_hint_stays_what_it_says_beside_the_command(hint, told):
    assert problems_hint(errors.UsageError("no", hint=hint)) == told


def test_a_brokers_callers_have_the_commands_that_it_names():
    error = errors.Expired("no", remedy="renew it (deed license renew 7.1)")
    body = json.loads(problems.of_error(error, commands=True).body)
    assert body["hint"] == body["remedy"] == error.hint
    assert "deed license" not in problems.of_error(error).body.decode()


def problems_hint(error: LedgerError) -> str:
    hint: str = json.loads(problems.of_error(error).body)["hint"]
    return hint


def test_what_a_contract_refused_has_a_title_in_words():
    body = json.loads(problems.of_error(error_classes()["PlanUnknown"]("plan 9")).body)
    assert (body["title"], body["code"]) == ("A contract refused the call", "PLAN_UNKNOWN")


def test_our_own_bug_shows_nothing_but_a_request_id():
    body = json.loads(problems.internal_error("abc").body)
    assert body["request_id"] == "abc"
    assert "Traceback" not in str(body)


def test_no_other_module_of_this_project_names_an_http_status():
    import re
    from pathlib import Path

    root = Path(problems.__file__).parent
    pattern = re.compile(r"status_code\s*=\s*\d|HTTPStatus|HTTP_\d\d\d")
    for path in root.rglob("*.py"):
        if path.name != "problems.py":
            assert not pattern.search(path.read_text()), path
