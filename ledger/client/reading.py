"""JSON of a service, read into our types: bounded kinds in, dataclasses out.

Members that a newer service adds are passed over; one that is missing, or of another kind, is a
failure of the whole answer.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from ledger.errors import IndexUnavailable, UsageError
from ledger.ids import Address, Digest, LicenseId, ModelId

T = TypeVar("T")
_Read = Callable[[Any], Any]


def read(kind: type[T], value: Any) -> T:
    """An answer of this kind from its parsed JSON.

    Raises:
        IndexUnavailable: it is something else.
    """
    try:
        reader: _Read = _reader(kind)  # type: ignore[arg-type]  # every type is hashable
        return cast("T", reader(value))
    except (KeyError, TypeError, ValueError, UsageError):
        raise IndexUnavailable(
            "the service answered something else than was asked for",
            hint="it may be of another version; ask its operator",
        ) from None


@functools.cache
def _reader(kind: Any) -> _Read:
    """How values of a type are read."""
    origin, inside = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value: value
    if origin in {Union, types.UnionType}:
        (inner,) = (each for each in inside if each is not types.NoneType)
        within = _reader(inner)
        return lambda value: None if value is None else within(value)
    if origin is tuple:
        one = _reader(inside[0])
        return lambda value: tuple(one(each) for each in _exactly(list, value))
    if origin is dict:
        of = _reader(inside[1])
        return lambda value: {
            _exactly(str, name): of(each) for name, each in _exactly(dict, value).items()
        }
    if dataclasses.is_dataclass(kind) and kind not in {Address, Digest, LicenseId, ModelId}:
        return _members(kind)
    return _ATOMS[kind]


def _members(kind: Any) -> _Read:
    hints = get_type_hints(kind)
    given = [
        (
            field.metadata.get("name", field.name),
            field.name,
            _reader(hints[field.name]),
            field.default is dataclasses.MISSING,
        )
        for field in dataclasses.fields(kind)
    ]

    def of(value: Any) -> Any:
        value = _exactly(dict, value)
        return kind(
            **{
                field: one(value[name])
                for name, field, one, needed in given
                if needed or name in value
            }
        )

    return of


def _exactly(kind: type[T], value: Any) -> T:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(kind.__name__)
    return value


def _integer(value: Any) -> int:
    """A number, or the decimal text in which those beyond 2^53 travel."""
    if isinstance(value, str):
        if not value.isascii() or not value.isdigit() or len(value) > 78:
            raise ValueError("digits")
        return int(value)
    return _exactly(int, value)


def _number(value: Any) -> float:
    return float(value) if type(value) is int else _exactly(float, value)


_ATOMS: dict[Any, _Read] = {
    str: functools.partial(_exactly, str),
    bool: functools.partial(_exactly, bool),
    int: _integer,
    float: _number,
    Address: lambda value: Address.parse(_exactly(str, value)),
    Digest: lambda value: Digest.parse(_exactly(str, value)),
    ModelId: lambda value: ModelId.parse(_exactly(str, value)),
    LicenseId: lambda value: LicenseId.parse(_exactly(str, value)),
}
