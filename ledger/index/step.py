"""One event at its place, and what its handler may do to the state tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ledger.index.decode import Stored

if TYPE_CHECKING:
    # Readers of a chain need the handlers' rules, and no database.
    from ledger.index.versions import Versions


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where an event stands: its block, that block's Unix time, its log and its transaction."""

    block: int
    time: int
    log_index: int
    tx_hash: bytes


class Step(msgspec.Struct, frozen=True, gc=False):
    """What one event handler sees."""

    state: Versions
    at: Place
    values: Mapping[str, Stored]
    answer: bytes | None

    def raw(self, name: str) -> bytes:
        """An argument as the bytes that the tables hold."""
        value = self.values[name]
        assert type(value) is bytes
        return value

    def number(self, name: str) -> int:
        """An argument that is a number."""
        return self.values[name]  # type: ignore[return-value]  # its type says so; hot

    def change(self, table: str, key: tuple[Any, ...], **values: Any) -> Mapping[str, Any] | None:
        """Give the live row of `key` new values; without one, nothing happens.

        Gives the row as it is now. What was read of it before is not to be looked at again.
        """
        return self.state.change(table, key, values, self.at.block)

    def put(self, table: str, key: tuple[Any, ...], **values: Any) -> None:
        """Begin a row, or replace it."""
        self.state.put(table, key, values, self.at.block)

    def concern(self, *subjects: bytes) -> None:
        """Note that this log belongs in the timelines of these subjects (32 bytes each)."""
        self.state.file(subjects, self.at.block, self.at.log_index)
