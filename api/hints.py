"""A failure's hint in the words of who asks over HTTP, and has no command line at hand.

Hints are written for the ``deed`` command. What they say beside it stays: "ask the licensor to
renew it (deed license renew 7.1)" is to ask the licensor, and "check the number: deed license list"
to check the number. Where nothing stays, the kind of failure says what can be done over HTTP.
"""

from __future__ import annotations

import re
from typing import Final

from ledger.errors import (
    ConfigurationError,
    EntitlementError,
    IndexDamaged,
    IndexReplaced,
    LedgerError,
    UnavailableError,
    UnknownRecord,
    UsageError,
)

_DESCRIBED: Final = "check what was given; it is described in /v1/openapi.json"
_OPERATOR: Final = "ask who runs this service"

# What the command line says in place of what HTTP does.
_COMMANDS: Final = {
    UsageError.default_hint: _DESCRIBED,
    IndexReplaced.default_hint: _OPERATOR,
    IndexDamaged.default_hint: _OPERATOR,
    UnknownRecord.default_hint: "check the id; a new record takes a moment to be read",
}
# First match wins, so a class stands before its base.
_KINDS: Final[tuple[tuple[type[LedgerError], str], ...]] = (
    (EntitlementError, "ask the licensor; GET /v1/entitlements/{license} says what counts"),
    (UnavailableError, f"ask again later, or {_OPERATOR}"),
    (UsageError, _DESCRIBED),
    (ConfigurationError, _OPERATOR),
)
_OPTION: Final = re.compile(r" \(--[a-z-]+\)")
# Evidence is what a service may not serve, and anyone can collect without one.
_DEED: Final = r"\bdeed (?!evidence collect)[a-z]"
_COMMAND: Final = re.compile(rf"{_DEED}|--[a-z]")
_ASIDE: Final = re.compile(rf" \([^()]*(?:{_DEED}|--[a-z])[^()]*\)")
_JOINT: Final = re.compile(r": |, (?:or )?| or ")
_CLAUSE: Final = re.compile(r"; (?![^()]*\))")


def plain(error: LedgerError) -> str:
    """The hint without options, which are asides; commands stay, for clients that have them."""
    return _OPTION.sub("", _COMMANDS.get(error.hint, error.hint))


def over_http(error: LedgerError) -> str:
    """The hint without options and commands; never empty, and nothing of one that begins so."""
    first, *more = _CLAUSE.split(_ASIDE.sub("", plain(error)))
    begin = _without_command(first)
    if not begin:
        return next((hint for kind, hint in _KINDS if isinstance(error, kind)), _DESCRIBED)
    # What is left of a further clause would mostly hang in the air.
    return "; ".join([begin, *(each for each in more if _COMMAND.search(each) is None)])


def _without_command(clause: str) -> str:
    """What stands before the command of a clause; nothing where that is no sentence."""
    command = _COMMAND.search(clause)
    if command is None:
        return clause
    joints = [
        joint
        for joint in _JOINT.finditer(clause, 0, command.start())
        if clause.count("(", 0, joint.start()) == clause.count(")", 0, joint.start())
    ]
    before = clause[: joints[-1].start()] if joints else ""
    return before if " " in before else ""
