"""Scratch memory for groups of tensors that are decrypted, used and zeroed again and again.

Segments are decrypted side by side into one arena, so a tensor lies in it as it does in the
package; whatever a group decrypted is zero when its ``with`` block ends, however it ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ledger.sealed.arrays import row_bytes
from ledger.sealed.memory import Arena
from ledger.sealed.parallel import for_each, thread_count
from ledger.sealed.reader import SealedFile

# Below so many segments a thread pool costs more than it gains.
_PARALLEL_FROM = 4
_COPY_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class _Placed:
    """Where a tensor lies in its group's part of the scratch.

    Attributes:
        copy: where an aligned copy is made, when `offset` is no multiple of its element.
    """

    offset: int
    nbytes: int
    copy: int | None


@dataclass(frozen=True, slots=True)
class Group:
    """Tensors that are decrypted together.

    Attributes:
        segments: of the package, ascending.
        size: bytes of scratch they take.
    """

    segments: tuple[int, ...]
    placed: Mapping[str, _Placed]
    size: int


class Scratch:
    """One arena that groups are decrypted into, one on top of another where they nest.

    Not thread-safe: the caller lets one thread use it at a time.

    Attributes:
        live: bytes that hold plaintext now.
        peak: the most there ever were.
    """

    def __init__(self, file: SealedFile) -> None:
        self._file = file
        self._plain = file._plain  # noqa: SLF001 - one class in two pieces
        self._segments = self._plain.segments
        self._arena: Arena | None = None
        self.live = 0
        self.peak = 0

    def group(self, names: Iterable[tuple[str, int]]) -> Group:
        """Plan a group of tensors, each with the alignment it needs.

        Raises:
            UsageError: no such tensor.
        """
        step = self._segments.step
        spans: dict[str, tuple[int, int, int]] = {}
        for name, alignment in names:
            entry = self._plain.entry(name)
            start = self._plain.position(entry.member, entry.offset)
            spans[name] = (start, entry.nbytes, alignment)
        numbers = sorted(
            {
                n
                for at, size, _ in spans.values()
                for n in range(at // step, -(-(at + size) // step))
            }
        )
        slot = {number: index for index, number in enumerate(numbers)}
        size = len(numbers) * step
        placed: dict[str, _Placed] = {}
        for name, (at, nbytes, alignment) in spans.items():
            offset = slot[at // step] * step + at % step if nbytes else 0
            copy = None
            if offset % alignment:
                copy = size
                size += -(-nbytes // _COPY_ALIGNMENT) * _COPY_ALIGNMENT
            placed[name] = _Placed(offset, nbytes, copy)
        return Group(tuple(numbers), placed, size)

    def row_group(self, name: str, rows: Sequence[int]) -> tuple[Group, list[int]]:
        """A group of some rows of one tensor, and where each begins in the group's only view.

        Raises:
            UsageError: no such tensor.
            UnsupportedModel: its rows do not fill whole bytes.
        """
        step = self._segments.step
        entry = self._plain.entry(name)
        width = row_bytes(entry)
        first = self._plain.position(entry.member, entry.offset)
        starts = [first + row * width for row in rows]
        numbers = sorted({n for at in starts for n in (at // step, (at + width - 1) // step)})
        slot = {number: index for index, number in enumerate(numbers)}
        size = len(numbers) * step
        group = Group(tuple(numbers), {name: _Placed(0, size, None)}, size)
        return group, [slot[at // step] * step + at % step for at in starts]

    def aligned(self, name: str, alignment: int) -> bool:
        """Whether a tensor's place in the package suits its elements as it is."""
        entry = self._plain.entry(name)
        return self._plain.position(entry.member, entry.offset) % alignment == 0

    def reserve(self, size: int) -> None:
        """Map so many bytes; groups that nest beyond them get memory of their own."""
        self._arena = self._segments.arena(size)

    @contextlib.contextmanager
    def use(self, group: Group) -> Iterator[dict[str, memoryview]]:
        """The plaintext of a group's tensors, writable, until the block ends.

        Raises:
            SegmentTampered, ContentMismatch, SealedTruncated: nothing decrypted is left then.
            UsageError: the file is closed.
        """
        arena, base = self._arena, self.live
        if arena is None or base + group.size > len(arena):
            arena, base = self._segments.arena(group.size), 0
        part = memoryview(arena)[base : base + group.size]
        self.live += group.size
        self.peak = max(self.peak, self.live)
        try:
            with self._file.in_use():
                self._decrypt(group, part)
            yield {
                name: part[place.offset if place.copy is None else place.copy :][: place.nbytes]
                for name, place in group.placed.items()
            }
        finally:
            arena.zero(base, group.size)
            self.live -= group.size

    def _decrypt(self, group: Group, part: memoryview) -> None:
        step = self._segments.step

        def one(index: int) -> None:
            self._segments.decrypt(group.segments[index], part[index * step : (index + 1) * step])

        count = len(group.segments)
        for_each(count, one, threads=thread_count(None) if count >= _PARALLEL_FROM else 1)
        for place in group.placed.values():
            if place.copy is not None:
                part[place.copy : place.copy + place.nbytes] = part[place.offset :][: place.nbytes]
