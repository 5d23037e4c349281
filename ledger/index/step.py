"""One event at its place, and what its handler may do to the state tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ledger.ids import Address, Digest
from ledger.index.decode import Value
from ledger.index.versions import Versions


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event stands: block number and Unix time, index of its log, and its transaction."""

    block: int
    time: int
    log_index: int
    tx_hash: bytes


@dataclass(frozen=True, slots=True)
class Step:
    """What one event handler sees."""

    state: Versions
    at: Place
    values: dict[str, Value]
    answer: bytes | None

    def raw(self, name: str) -> bytes:
        """An argument as the bytes that the tables hold."""
        value = self.values[name]
        return value.raw if isinstance(value, (Digest, Address)) else bytes(value)  # type: ignore[arg-type]

    def number(self, name: str) -> int:
        """An argument that is a number."""
        value = self.values[name]
        assert isinstance(value, int)
        return value

    def change(self, table: str, key: tuple[Any, ...], **values: Any) -> dict[str, Any] | None:
        """Give the live row of `key` new values; without one, nothing happens."""
        row = self.state.get(table, key)
        if row is not None:
            self.state.put(table, key, {**row, **values}, self.at.block)
        return row

    def put(self, table: str, key: tuple[Any, ...], **values: Any) -> None:
        """Begin a row, or replace it."""
        self.state.put(table, key, values, self.at.block)

    def concern(self, *subjects: bytes) -> None:
        """Note that this log belongs in the timelines of these subjects (32 bytes each)."""
        for subject in subjects:
            self.state.subject(subject, self.at.block, self.at.log_index)
