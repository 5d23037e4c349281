r"""Texts that requests give: their patterns where several routes share one, and each in words.

The patterns are what the OpenAPI document shows to programs; an answer to people says the words.
Never ``\d``, which takes the digits of every script.
"""

from __future__ import annotations

from typing import Final

from ledger.access.once import PATTERN as _ONCE

_MONTH: Final = (
    "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    "|02-(0[1-9]|1[0-9]|2[0-8]))"
)
_BY_FOUR: Final = "(0[48]|[2468][048]|[13579][26])"
_LEAP: Final = f"([1-9][0-9]{_BY_FOUR}|([2468][048]|[13579][26])00)-02-29"
# Exact, so that a day that there is not is malformed by the description alone.
DAY: Final = f"([1-9][0-9]{{3}}-{_MONTH}|{_LEAP})"
_TIME: Final = "T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z"
AS_OF: Final = f"^(latest|safe|finalized|0|[1-9][0-9]{{0,14}}|{DAY}({_TIME})?)$"
# A record has one name: 01.1 is not another address of 1.1.
_PART: Final = "(0|[1-9][0-9]{0,%d})"
LICENSE: Final = rf"^{_PART % 19}(\.{_PART % 9})?$"
PLAN_AND_SERIAL: Final = rf"^{_PART % 8}\.{_PART % 8}$"
WHOLE: Final = "^(0|-?[1-9][0-9]*)$"
ANYTHING: Final = f"^(0x[0-9a-fA-F]{{64}}|0x[0-9a-fA-F]{{40}}|{DAY})$"

_DIGITS: Final = "digits of 0-9 and a-f"
_LICENSE: Final = "a license: PLAN.SERIAL, such as 7.42"
_AMOUNT: Final = "a whole number in the token's smallest units, without leading zeros"
_CURSOR: Final = "a cursor: it is the next_cursor of the page before"
WORDS: Final = {
    "^0x[0-9a-f]{64}$": f"0x and 64 {_DIGITS}",
    "^(0x[0-9a-f]{64})?$": f"0x and 64 {_DIGITS}",
    "^0x[0-9a-f]{40}$": f"0x and 40 {_DIGITS}",
    "^0x[0-9a-fA-F]{40}$": f"an account: 0x and 40 {_DIGITS}",
    "^0x([0-9a-fA-F]{2})+$": f"0x and pairs of {_DIGITS}",
    "^0x([0-9a-fA-F]{2}){65,4096}$": f"a signature: 0x and 65 to 4096 pairs of {_DIGITS}",
    "^(0x([0-9a-fA-F]{2}){64,8192})?$": f"a signature: 0x and 64 to 8192 pairs of {_DIGITS}",
    LICENSE: f"{_LICENSE}, or the decimal token id; no leading zeros",
    PLAN_AND_SERIAL: f"{_LICENSE}; no leading zeros",
    "^(0|[1-9][0-9]{0,27})$": _AMOUNT,
    "^(0|[1-9][0-9]{0,28})$": _AMOUNT,
    AS_OF: "a block's number, latest, safe, finalized, a UTC day such as 2026-11-28 or a second of "
    "it such as 2026-11-28T12:00:00Z",
    ANYTHING: f"0x and 64 {_DIGITS}, an account, or a UTC day such as 2026-11-28",
    "^[0-9]{1,18}$": _CURSOR,
    "^([0-9]{1,18})?$": "the id of an event that the stream gave",
    "^[0-9]{1,18}-[0-9]{1,18}$": _CURSOR,
    "^[0-9]{1,18}-[0-9a-f]{64}$": _CURSOR,
    "^[0-9]{1,18}-[0-9]{1,18}-[0-9a-f]{64}$": _CURSOR,
    "^[0-9A-Za-z]{10}$": "a key's id: 10 letters and digits",
    "^([0-9A-Za-z]{10})?$": "a key's id: 10 letters and digits",
    "^[0-9a-f]{32}$": f"a job's id: 32 {_DIGITS}",
    "^wh_[0-9A-Za-z]{16}$": "a webhook's id: wh_ and 16 letters and digits",
    "^msg_[0-9a-f]{32}$": f"a message's id: msg_ and 32 {_DIGITS}",
    "^https?://[!-~]+$": "a URL: https:// and printable ASCII without spaces",
    r"^[^\x00-\x1f\x7f]*$": "a text without control characters",
    f"^({_ONCE})?$": "an idempotency key: a quoted string of 1 to 255 printable characters",
}
