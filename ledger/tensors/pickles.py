"""Reads the pickles of PyTorch without unpickling: a machine that can only build plain data.

Unpickling calls whatever the file names. Here a name becomes an inert `Named`, calling it an inert
`Built` that keeps its arguments, and nothing is ever imported, looked up or called. What tensors
are rebuilt from (`ledger.tensors.torchtensors`) is read off those. Source of the operations:
CPython 3.13 ``pickletools``; all that protocols 0 to 5 write for data are read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Final, Protocol

from ledger.errors import LimitExceeded, TensorFileError

# Of a pickle itself; weights lie outside. 100,000 tensors take about 20 MB.
MAX_PICKLE_BYTES: Final = 64 << 20
# Bounds the memory as well: an operation makes one object at most.
MAX_OPERATIONS: Final = 4_000_000
_MAX_TEXT: Final = 1 << 20
_MAX_INT_BYTES: Final = 64
_MAX_LINE: Final = 4096


class Source(Protocol):
    """Bytes that are read once, from the front."""

    def read(self, count: int) -> bytes:
        """Exactly so many bytes; fewer only at the end."""


@dataclass(frozen=True, slots=True)
class Named:
    """A name that the pickle would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


# Compared by identity, like the objects they stand for; a cycle must not be followed by ==.
@dataclass(slots=True, eq=False)
class Built:
    """What calling a name would give: the name and its arguments.

    Attributes:
        maker: what was called.
        args: with what.
        state: what BUILD would set, or None.
        items: what SETITEMS and APPENDS would add, in order.
    """

    maker: Any
    args: Any
    state: Any = None
    items: list[Any] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Persistent:
    """A reference to something outside the pickle: for PyTorch, a storage."""

    key: Any


class _Mark:
    """Where a group of values begins on the stack."""


_MARK: Final = _Mark()


def read_pickle(source: Source, what: str) -> Any:
    """The value of the next pickle in `source`: plain Python data and the inert classes above.

    Raises:
        TensorFileError: not a pickle, damaged, or one that does more than describe data.
        LimitExceeded: longer than is read.
    """
    return _Machine(source, what).run()


class _Machine:
    """The stack machine. Lists and dicts are real; keys that cannot be hashed are refused."""

    def __init__(self, source: Source, what: str) -> None:
        self._source = source
        self._what = what
        self._left = MAX_PICKLE_BYTES
        self._copies_left = MAX_OPERATIONS
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._table: dict[int, Callable[[], None]] = self._operations()

    def run(self) -> Any:
        for _ in range(MAX_OPERATIONS):
            code = self._take(1)[0]
            if code == 0x2E:  # STOP
                return self._pop()
            operation = self._table.get(code)
            if operation is None:
                raise self._damaged(f"uses operation 0x{code:02x}, which weights do not need")
            try:
                operation()
            except (struct.error, UnicodeDecodeError, ValueError, TypeError, KeyError):
                # A number that is none, a key that cannot be one, a memo that is empty.
                raise self._damaged(f"has a damaged operation 0x{code:02x}") from None
        raise LimitExceeded(f"{self._what} has a pickle of more than {MAX_OPERATIONS} operations")

    def _operations(self) -> dict[int, Callable[[], None]]:
        push, take, number = self._stack.append, self._take, self._number
        plain: dict[str, Callable[[], Any]] = {
            "N": lambda: None, "\x88": lambda: True, "\x89": lambda: False,
            ")": tuple, "]": list, "}": dict, "\x8f": list, "(": lambda: _MARK,
            "K": lambda: number(1), "M": lambda: number(2),
            "J": lambda: int.from_bytes(take(4), "little", signed=True),
            "\x8a": lambda: self._long(number(1)), "\x8b": lambda: self._long(number(4)),
            "G": lambda: struct.unpack(">d", take(8))[0],
            "I": self._line_int, "L": lambda: int(self._line().rstrip("L")),
            "F": lambda: float(self._line()),
            "X": lambda: self._text(number(4)), "\x8c": lambda: self._text(number(1)),
            "\x8d": lambda: self._text(number(8)), "V": self._line,
            "U": lambda: self._latin(number(1)), "T": lambda: self._latin(number(4)),
            "S": lambda: self._line().strip("'\""),
            "B": lambda: self._bytes(number(4)), "C": lambda: self._bytes(number(1)),
            "\x8e": lambda: self._bytes(number(8)),
            "t": lambda: tuple(self._group()), "l": self._group, "d": self._dict,
            "\x91": self._group,
            "\x85": lambda: tuple(self._last(1)), "\x86": lambda: tuple(self._last(2)),
            "\x87": lambda: tuple(self._last(3)),
            "c": lambda: Named(self._line(), self._line()), "\x93": self._named,
            "R": self._call, "\x81": self._call, "\x92": self._call_with_names,
            "o": self._object, "i": self._instance,
            "Q": lambda: Persistent(self._pop()), "P": lambda: Persistent(self._line()),
            "h": lambda: self._memo[number(1)], "j": lambda: self._memo[number(4)],
            "g": lambda: self._memo[int(self._line())], "2": self._top,
        }  # fmt: skip
        done: dict[str, Callable[[], object]] = {
            "\x80": lambda: take(1), "\x95": lambda: take(8),
            "q": lambda: self._put(number(1)), "r": lambda: self._put(number(4)),
            "p": lambda: self._put(int(self._line())),
            "\x94": lambda: self._put(len(self._memo)),
            "0": self._pop, "1": self._group,
            "a": lambda: self._add([self._pop()]), "e": lambda: self._add(self._group()),
            "\x90": lambda: self._add(self._group()),
            "s": lambda: self._set(self._last(2)), "u": lambda: self._set(self._group()),
            "b": self._build,
        }  # fmt: skip

        def pushing(make: Callable[[], Any]) -> Callable[[], None]:
            return lambda: push(make())

        def acting(act: Callable[[], object]) -> Callable[[], None]:
            def run() -> None:
                act()

            return run

        return {ord(code): pushing(make) for code, make in plain.items()} | {
            ord(code): acting(act) for code, act in done.items()
        }

    def _take(self, count: int) -> bytes:
        if count > self._left:
            raise LimitExceeded(
                f"{self._what} has a pickle of more than {MAX_PICKLE_BYTES} bytes",
                hint="save only the weights (state_dict)",
            )
        self._left -= count
        data = self._source.read(count)
        if len(data) != count:
            raise self._damaged("ends in the middle of its pickle")
        return data

    def _number(self, width: int) -> int:
        return int.from_bytes(self._take(width), "little")

    def _long(self, size: int) -> int:
        if size > _MAX_INT_BYTES:
            raise self._damaged("holds a number that is too long")
        return int.from_bytes(self._take(size), "little", signed=True)

    def _line(self) -> str:
        line = bytearray()
        while (byte := self._take(1)) != b"\n":
            line += byte
            if len(line) > _MAX_LINE:
                raise self._damaged("holds a line that is too long")
        return line.decode()

    def _line_int(self) -> int | bool:
        text = self._line()
        return {"00": False, "01": True}.get(text, int(text) if len(text) < 40 else 0)

    def _bytes(self, size: int) -> bytes:
        if size > _MAX_TEXT:
            raise self._damaged("holds a text that is too long")
        return self._take(size)

    def _text(self, size: int) -> str:
        return self._bytes(size).decode("utf-8", "surrogatepass")

    def _latin(self, size: int) -> str:
        return self._bytes(size).decode("latin-1")

    def _pop(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise self._damaged("takes a value that is not there")
        return self._stack.pop()

    def _top(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise self._damaged("takes a value that is not there")
        return self._stack[-1]

    def _last(self, count: int) -> list[Any]:
        return [self._pop() for _ in range(count)][::-1]

    def _group(self) -> list[Any]:
        stack = self._stack
        for place in range(len(stack) - 1, -1, -1):
            if stack[place] is _MARK:
                found = stack[place + 1 :]
                del stack[place:]
                return found
        raise self._damaged("closes a group that it did not open")

    def _dict(self) -> dict[Any, Any]:
        values = self._group()
        return _mapping(zip(values[::2], values[1::2], strict=True))

    def _named(self) -> Named:
        module, name = self._last(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError
        return Named(module, name)

    def _call(self) -> Any:
        maker, args = self._last(2)
        if isinstance(maker, Named) and str(maker) == "collections.OrderedDict":
            return _mapping(self._counted(pair for pairs in args for pair in pairs))
        return Built(maker, args)

    def _counted(self, pairs: Iterable[Any]) -> Iterator[Any]:
        """The same, few enough: one list, kept once and copied often, would fill the memory."""
        for pair in pairs:
            self._copies_left -= 1
            if self._copies_left < 0:
                raise LimitExceeded(f"{self._what} copies more than {MAX_OPERATIONS} values")
            yield pair

    def _call_with_names(self) -> Built:
        maker, args, _named = self._last(3)
        return Built(maker, args)

    def _object(self) -> Built:
        maker, *args = self._group()
        return Built(maker, tuple(args))

    def _instance(self) -> Built:
        maker = Named(self._line(), self._line())
        return Built(maker, tuple(self._group()))

    def _put(self, place: int) -> None:
        if not 0 <= place < 1 << 32:
            raise ValueError
        self._memo[place] = self._top()

    def _add(self, values: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Built):
            target = target.items
        if not isinstance(target, list):
            raise TypeError
        target.extend(values)

    def _set(self, values: list[Any]) -> None:
        target = self._top()
        pairs = zip(values[::2], values[1::2], strict=True)
        if isinstance(target, dict):
            target.update(_mapping(pairs))
        elif isinstance(target, Built):
            target.items.extend(pairs)
        else:
            raise TypeError

    def _build(self) -> None:
        state = self._pop()
        target = self._top()
        if isinstance(target, Built):
            target.state = state
        elif not isinstance(target, dict):
            # A dict's state is attributes of an OrderedDict, such as `_metadata`: no weights.
            raise TypeError

    def _damaged(self, fault: str) -> TensorFileError:
        return TensorFileError(
            f"{self._what} {fault}",
            hint="it is no PyTorch file, damaged, or made to mislead; get it again from its source",
        )


def _mapping(pairs: Iterable[Any]) -> dict[Any, Any]:
    """A dict whose keys are plain; any other key keeps its value under a name of its own.

    Hashing a tuple nested a million deep ends the process, and long integers can be made to
    collide.
    """
    made: dict[Any, Any] = {}
    for key, value in pairs:
        plain = isinstance(key, str | bytes | float | NoneType) or (
            isinstance(key, int) and abs(key) < 1 << 60
        )
        made[key if plain else object()] = value
    return made
