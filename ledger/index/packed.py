"""A range that was read, in the form in which it is written: rows for the driver, values to fold.

Pure, and made of nothing but bytes, numbers, text, tuples and lists, so that it can come from a
process of its own at the price of a copy (`ledger.index.apart`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Self

import msgspec

from ledger.index.blocks import Blocks, Header, Log, Span
from ledger.index.decode import EVENTS, EventType
from ledger.index.fold import matters, touched

COLUMNS: Final = (
    "chain_id",
    "block",
    "log_index",
    "block_hash",
    "block_time",
    "tx_hash",
    "tx_index",
    "contract",
    "address",
    "event",
    "topics",
    "data",
)
"""Of the journal's logs, in the table's order."""

VALUES_AT_ONCE: Final = 8000
"""Values bound in one SQLite statement. Its limit is 32,766, but the program of a statement so long
no longer fits a processor's nearest caches."""

_KINDS: Final = [kind for kinds in EVENTS.values() for kind in kinds.values()]
_NUMBERS: Final[dict[EventType | None, int]] = {kind: at for at, kind in enumerate(_KINDS)}
_UNKNOWN: Final = -1

# PostgreSQL's binary COPY ("COPY", File Formats): a row is the count of its fields, and each field
# its length and its bytes. These seven are of fixed size.
_FIXED: Final = struct.Struct(">h iq iq iq i32s iq i32s iq".replace(" ", ""))
_LENGTH: Final = struct.Struct(">i")

Entry = tuple[int, int, int, int, bytes, tuple[Any, ...]]


class Told(msgspec.Struct, frozen=True, gc=False):
    """A log as far as `ledger.index.outbox` names it."""

    block: int
    log_index: int
    block_hash: bytes
    event: EventType | None


class Packed(Blocks, frozen=True, gc=False):
    """A range that passed every check.

    Attributes:
        headers: those of another process are without their blooms, which were checked.
        count: logs in it.
        rows: the journal's rows: for PostgreSQL bytes of a binary COPY without head and end, for
            SQLite the values one after the other, a tuple for each statement.
        places: of each log the number of its event, its block and its log index, in one list.
        entries: of each log that folding may change anything by, the number of its event, block,
            time, log index, transaction and arguments.
        wanted: keys of the rows that folding will look at, by table.
        answers: as `Span.answers`.
    """

    count: int
    rows: bytes | list[tuple[Any, ...]]
    places: list[int]
    entries: list[Entry]
    wanted: dict[str, list[tuple[Any, ...]]]
    answers: dict[tuple[int, int], bytes]

    @classmethod
    def of(cls, span: Span, chain_id: int, *, postgres: bool) -> Self:
        """Pack a range for one kind of database."""
        wanted: dict[str, dict[tuple[Any, ...], None]] = {}
        places: list[int] = []
        entries: list[Entry] = []
        for log in span.logs:
            kind, block, index = log.event, log.block, log.log_index
            number = _NUMBERS.get(kind, _UNKNOWN)
            places += (number, block, index)
            if kind is not None and matters(kind, log.arguments):
                for table, key in touched(kind, log.arguments):
                    wanted.setdefault(table, {})[key] = None
                entries.append((number, block, log.time, index, log.tx_hash, log.arguments))
        rows = _copied(span.logs, chain_id) if postgres else _flat(span.logs, chain_id)
        keys = {table: list(found) for table, found in wanted.items()}
        return cls(span.headers, span.count, rows, places, entries, keys, span.answers)

    def plain(self) -> tuple[Any, ...]:
        """For `marshal`."""
        headers = [(h.number, h.hash, h.parent_hash, h.time, 0) for h in self.headers]
        return (
            headers,
            self.count,
            self.rows,
            self.places,
            self.entries,
            self.wanted,
            self.answers,
        )

    @classmethod
    def loaded(cls, plain: tuple[Any, ...]) -> Self:
        """The reverse of `plain`."""
        return cls([Header(*each) for each in plain[0]], *plain[1:])

    def busy(self) -> set[int]:
        """The blocks that hold logs of ours."""
        return set(self.places[1::3])

    def told(self) -> Iterator[Told]:
        """Its logs, for the outbox."""
        hashes = {header.number: header.hash for header in self.headers}
        places = self.places
        for number, block, log_index in zip(places[::3], places[1::3], places[2::3], strict=True):
            event = None if number == _UNKNOWN else _KINDS[number]
            yield Told(block, log_index, hashes[block], event)


def kinds() -> Sequence[EventType]:
    """The events by the numbers they have in `Packed.entries`."""
    return _KINDS


def merged(parts: Iterable[Packed]) -> Mapping[str, list[tuple[Any, ...]]]:
    """What folding several ranges will look at."""
    wanted: dict[str, list[tuple[Any, ...]]] = {}
    for part in parts:
        for table, keys in part.wanted.items():
            wanted.setdefault(table, []).extend(keys)
    return wanted


def _flat(logs: Sequence[Log], chain_id: int) -> list[tuple[Any, ...]]:
    found: list[Any] = []
    for log in logs:
        found += (
            chain_id,
            log.block,
            log.log_index,
            log.block_hash,
            log.time,
            log.tx_hash,
            log.tx_index,
            log.contract,
            log.address,
            "" if log.event is None else log.event.name,
            log.topics,
            log.data,
        )
    return in_statements(found, len(COLUMNS))


def in_statements(values: Sequence[Any], width: int) -> list[tuple[Any, ...]]:
    """The values of rows of `width` columns, cut into those of one SQLite statement each.

    Powers of two rows: few texts of statements, so that SQLite prepares each one once.
    """
    parts: list[tuple[Any, ...]] = []
    start, at_once = 0, VALUES_AT_ONCE // width
    while rows := (len(values) - start) // width:
        stop = start + width * (1 << min(at_once, rows).bit_length() - 1)
        parts.append(tuple(values[start:stop]))
        start = stop
    return parts


def _copied(logs: Sequence[Log], chain_id: int) -> bytes:
    named: dict[tuple[bytes, EventType | None], bytes] = {}
    parts: list[bytes] = []
    fixed, length = _FIXED.pack, _LENGTH.pack
    for log in logs:
        who = named.get((log.address, log.event))
        if who is None:
            event = "" if log.event is None else log.event.name
            fields = (log.contract.encode(), log.address, event.encode())
            who = b"".join([length(len(each)) + each for each in fields])
            named[log.address, log.event] = who
        topics, data = log.topics, log.data
        parts += (
            fixed(
                len(COLUMNS),
                8,
                chain_id,
                8,
                log.block,
                8,
                log.log_index,
                32,
                log.block_hash,
                8,
                log.time,
                32,
                log.tx_hash,
                8,
                log.tx_index,
            ),
            who,
            length(len(topics)),
            topics,
            length(len(data)),
            data,
        )
    return b"".join(parts)
