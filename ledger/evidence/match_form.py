"""The form of ``match.json``: exactly which members and values there can be.

Rule 1 of step 16 (docs/spec/match.md). Everything is an integer, a text or a flag, so that three
verifiers read one document the same way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from ledger.errors import ManifestError, UsageError
from ledger.ids import Address, LicenseId

FORMAT: Final = "modeldeed/match/1"
METHODS: Final = ("search", "tensors", "units", "watermark", "triggers", "trace")
RESULTS: Final = ("found", "nothing found", "not checked")
RELATIONS: Final = (
    "identity",
    "cast",
    "axis_permutation",
    "reshape",
    "multiset",
    "cast_multiset",
)
WAYS: Final = ("identity", "cast", "multiset", "cast_multiset")
MAX_TEXT: Final = 1024
MAX_LONG: Final = 4096
MAX_NAME: Final = 200
MAX_FILES: Final = 10_000
MAX_ROWS: Final = 100_000
MAX_TESTED: Final = 65_536
MAX_ASKED: Final = 4096
MAX_ALL_ASKED: Final = 1 << 18
MAX_UNTRIED: Final = 256
_MOST: Final = (1 << 53) - 1
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DIGEST: Final = re.compile(r"0x[0-9a-f]{64}")
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)

Rule = Callable[[Any, str], None]


def read_form(document: Any) -> dict[str, Any]:
    """The document, if it has the form of findings.

    Raises:
        ManifestError: it has not; the message says where.
    """
    _MATCH(document, "match.json")
    found: dict[str, Any] = document
    return found


def _refuse(where: str, must: str) -> ManifestError:
    return ManifestError(f"{where} must be {must}", hint="make it anew with deed investigate")


def _object(members: Mapping[str, Rule], maybe: Mapping[str, Rule] | None = None) -> Rule:
    more = maybe or {}

    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict) or set(value) - set(more) != set(members):
            raise _refuse(where, f"an object of exactly {', '.join(sorted(members))}")
        for name, rule in (*members.items(), *more.items()):
            if name in value:
                rule(value[name], f"{where}.{name}")

    return check


def _list(rule: Rule, most: int, least: int = 0) -> Rule:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise _refuse(where, f"a list of {least} to {most}")
        for index, item in enumerate(value):
            rule(item, f"{where}[{index}]")

    return check


def _null_or(rule: Rule) -> Rule:
    def check(value: Any, where: str) -> None:
        if value is not None:
            rule(value, where)

    return check


def _integer(low: int = 0, high: int = _MOST) -> Rule:
    def check(value: Any, where: str) -> None:
        if type(value) is not int or not low <= value <= high:
            raise _refuse(where, f"an integer from {low} to {high}")

    return check


def _text(most: int = MAX_TEXT, least: int = 0) -> Rule:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or not least <= len(value) <= most or _CONTROL.search(value):
            raise _refuse(where, f"one line of {least} to {most} characters")

    return check


def _word(*words: str) -> Rule:
    def check(value: Any, where: str) -> None:
        if value not in words or not isinstance(value, str):
            raise _refuse(where, " or ".join(map(repr, words)))

    return check


def _shaped(pattern: re.Pattern[str], must: str) -> Rule:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or pattern.fullmatch(value) is None:
            raise _refuse(where, must)

    return check


def _flag(value: Any, where: str) -> None:
    if not isinstance(value, bool):
        raise _refuse(where, "true or false")


def _address(value: Any, where: str) -> None:
    try:
        fits = isinstance(value, str) and str(Address.parse(value)) == value
    except UsageError:
        fits = False
    if not fits:
        raise _refuse(where, "an address with its checksum")


def _license(value: Any, where: str) -> None:
    try:
        fits = isinstance(value, str) and str(LicenseId.parse(value)) == value
    except UsageError:
        fits = False
    if not fits:
        raise _refuse(where, "PLAN.SERIAL")


_digest: Final = _shaped(_DIGEST, "0x and 64 lower-case hex digits")
_time: Final = _shaped(_TIME, "a UTC time")
_log: Final = _integer(-_MOST, 0)
_millionths: Final = _integer(0, 1_000_000)
_count: Final = _integer()

_CHECKS: Final = _list(
    _object(
        {
            "number": _integer(1, 99),
            "title": _text(),
            "result": _word("pass", "fail", "not checked"),
            "detail": _text(MAX_LONG),
        }
    ),
    99,
)
_SUSPECT: Final = _object(
    {
        "name": _text(MAX_NAME, 1),
        "kind": _word("file", "folder", "url"),
        "size": _count,
        "sha256": _digest,
        "received": _time,
        "files": _list(
            _object({"name": _text(MAX_TEXT, 1), "size": _count, "sha256": _digest}), MAX_FILES, 1
        ),
    }
)
_SEARCH: Final = _object(
    {
        "index": _text(),
        "chain_id": _count,
        "tensors": _count,
        "elements": _count,
        "more": _flag,
        "models": _list(
            _object(
                {
                    "model_id": _digest,
                    "licensor": _address,
                    "title": _text(MAX_LONG),
                    "status": _text(),
                    "committed_at": _count,
                    "registered_block": _count,
                    "place": _null_or(_object({"block": _count, "transaction": _count})),
                    "tensors": _object(dict.fromkeys(WAYS, _count)),
                    "elements": _object(dict.fromkeys(WAYS, _count)),
                }
            ),
            10_000,
        ),
    }
)
_OURS: Final = _object(
    {
        "kind": _word("model", "sketch"),
        "artifact_root": _digest,
        "sketch_root": _null_or(_digest),
        "commitment": _null_or(
            _object(
                {
                    "hash": _digest,
                    "owner": _address,
                    "number": _count,
                    "block": _count,
                    "time": _count,
                }
            )
        ),
    }
)
_TENSORS: Final = _object(
    {
        "content_root": _digest,
        "same_packed": _flag,
        "of": _count,
        "found": _count,
        "found_values": _count,
        "values": _count,
        "of_values": _count,
        "shared": _list(
            _object(
                {
                    "cid": _digest,
                    "relation": _word(*RELATIONS),
                    "elements": _count,
                    "packed": _flag,
                    "theirs": _text(MAX_LONG),
                }
            ),
            MAX_ROWS,
        ),
        "set_aside": _list(_digest, MAX_ROWS),
    }
)
_UNITS: Final = _object(
    {
        "tried": _count,
        "not_tested": _count,
        "log10_p": _log,
        "log10_p_counted": _log,
        "rows": _list(
            _object(
                {
                    "ours": _text(MAX_LONG),
                    "theirs": _text(MAX_LONG),
                    "role": _text(),
                    "units": _count,
                    "tested": _integer(0, MAX_TESTED),
                    "rows": _integer(0, MAX_TESTED),
                    "in_place": _integer(0, MAX_TESTED),
                    "in_order": _integer(0, MAX_TESTED),
                    "alike": _millionths,
                    "other": _millionths,
                    "fitted": _flag,
                    "turned": _flag,
                    "aligned": _flag,
                    "log10_p": _log,
                }
            ),
            MAX_ROWS,
        ),
    }
)
_COMPARISON: Final = _object(
    {
        "ours": _OURS,
        "tensors": _null_or(_TENSORS),
        "units": _UNITS,
        "controls": _list(_object({"title": _text(), "log10_p": _log}), 256),
        "log10_p_all": _log,
        "verdict": _word("identical", "contains", "derived", "nothing found"),
    }
)
_SUMS: Final[dict[str, Rule]] = {
    "weights": _count,
    "t": _integer(-_MOST, _MOST),
    "v": _count,
    "log10_p": _log,
}
_WATERMARK: Final = _object(
    {
        "commitment": _digest,
        "owner": _address,
        "chain_id": _count,
        "targets": _integer(1),
        "commitments": _integer(1),
        "looks": _list(
            _object(
                {
                    "kind": _word("blind", "informed"),
                    "way": _word("by name", "by order", "realigned"),
                    "rows": _list(
                        _object({"name": _text(MAX_LONG), "found_as": _text(MAX_LONG), **_SUMS}),
                        MAX_ROWS,
                    ),
                    **_SUMS,
                }
            ),
            16,
            1,
        ),
        "log10_tests": _count,
        "log10_p": _log,
        "there": _flag,
        "checks": _CHECKS,
        "proven": _flag,
    }
)
_ASKED: Final[dict[str, Rule]] = {
    "asked": _integer(1, MAX_ASKED),
    "right": _integer(0, MAX_ASKED),
    "log10_p": _log,
}
_TRIGGERS: Final = _object(
    {
        "commitment": _digest,
        "disclosure": _digest,
        "owner": _address,
        "chain_id": _count,
        "answers": _integer(2, 1 << 31),
        "commitments": _integer(1),
        **_ASKED,
        "log10_tests": _count,
        "log10_p_all": _log,
        "there": _flag,
        "controls": _list(_object({"name": _text(), "theirs": _flag, **_ASKED}), 256),
        "checks": _CHECKS,
        "proven": _flag,
    }
)
_TRACE: Final = _object(
    {
        "sealing": _digest,
        "model_id": _digest,
        "candidates": _count,
        "tests": _count,
        "named": _list(
            _object({"license": _license, "holder": _address, "log10_p": _log}), MAX_ROWS
        ),
        "checks": _CHECKS,
        "proven": _flag,
    }
)
_MATCH: Final = _object(
    {
        "format": _word(FORMAT),
        "software": _text(80),
        "suspect": _SUSPECT,
        "verdict": _word("match", "nothing found"),
        "tried": _list(
            _object({"method": _word(*METHODS), "result": _word(*RESULTS), "why": _text(MAX_LONG)}),
            len(METHODS),
            len(METHODS),
        ),
        "search": _null_or(_SEARCH),
        "comparisons": _list(_COMPARISON, 256),
        "watermarks": _list(_WATERMARK, 64),
        "triggers": _list(_TRIGGERS, 64),
        "trace": _null_or(_TRACE),
    },
    {
        "untried": _list(
            _object({"method": _word(*METHODS), "what": _text(least=1), "why": _text(MAX_LONG, 1)}),
            MAX_UNTRIED,
            1,
        )
    },
)
