"""RLP from strangers: byte strings and lists, in the shortest encoding, nested no deeper than 64.

Encoding: Yellow Paper appendix B, by ``rlp``. The depth is bounded here, because what a library
makes of endless nesting depends on its stack, and every verifier must take and refuse the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rlp
from rlp.exceptions import RLPException

from ledger.errors import StateProofInvalid

MAX_DEPTH = 64


def read_rlp(data: bytes, what: str, *, step: int = 0) -> Any:
    """The one item that `data` encodes: bytes, or a list of items.

    Raises:
        StateProofInvalid: not the shortest encoding, bytes after the end, or nested too deeply.
    """
    if _nests_deeper(data, MAX_DEPTH):
        raise StateProofInvalid(f"{what} nests deeper than anything on a chain", step=step)
    try:
        return rlp.decode(data)
    except (RLPException, RecursionError) as error:
        raise StateProofInvalid(f"{what} is not RLP: {error}", step=step) from None


def _nests_deeper(data: bytes, most: int) -> bool:
    """Whether an item lies within more than so many lists; ends where the encoding breaks.

    Looked at first, because decoding takes time in the square of the depth.
    """
    ends: list[int] = []
    at = 0
    while at < len(data):
        while ends and at >= ends[-1]:
            ends.pop()
        if len(ends) > most:
            return True
        first, start = data[at], at + 1
        size = 0 if first < 0x80 else first - (0x80 if first < 0xC0 else 0xC0)
        if size > 55:
            width = size - 55
            size, start = int.from_bytes(data[start : start + width], "big"), start + width
        if first >= 0xC0:
            ends.append(start + size)
            at = start
        else:
            at = start + size
    return False


def read_list(
    data: bytes, what: str, fits: Callable[[int], bool] = bool, *, step: int = 0
) -> list[Any]:
    """The list that `data` encodes, of a length that `fits`.

    Raises:
        StateProofInvalid: as `read_rlp`, or not such a list.
    """
    value = read_rlp(data, what, step=step)
    if not isinstance(value, list) or not fits(len(value)):
        raise StateProofInvalid(f"{what} does not have the fields it should", step=step)
    return value


def all_bytes(values: list[Any]) -> bool:
    """Whether none of these items is a list."""
    return all(isinstance(value, bytes) for value in values)
