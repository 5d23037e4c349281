"""The plaintext of an open package, by file and offset: where it lies and how it gets into memory.

Apart from ``reader``, which says what may be asked for and by whom: here nobody is asked whether
the package is still open. Apart from ``segments``, which knows numbered segments and no files.
"""

from __future__ import annotations

from ledger.errors import UsageError
from ledger.sealed.index import MemberEntry, Tables, TensorEntry
from ledger.sealed.memory import Arena
from ledger.sealed.opening import Opened
from ledger.sealed.parallel import Meter, Progress, thread_count
from ledger.sealed.segments import Segments
from ledger.sealed.source import ByteSource

# A tensor in at most so many segments is copied out of a scratch segment; a larger one is decrypted
# straight to where it stays.
_SMALL_SEGMENTS = 2


class Plaintext:
    """Reads files of a package; safe to use from several threads at once.

    What raises is as in `ledger.sealed.segments`.

    Attributes:
        tables: what the package says it holds.
        tensors: the same by name, in file order.
        segments: the payload, and all memory it was decrypted into.
        loaded: all weights at once, where `load` was called.
    """

    def __init__(self, source: ByteSource, opened: Opened, *, verify: bool) -> None:
        self.tables: Tables = opened.tables
        self.tensors = {tensor.name: tensor for tensor in opened.tables.tensors}
        self.segments = Segments(source, opened, verify=verify)
        self.loaded: Arena | None = None
        self._count = opened.clear.info.segments

    @property
    def members(self) -> tuple[MemberEntry, ...]:
        """The files inside, in order."""
        return self.tables.members

    def member(self, name: str) -> int:
        """The number of a file.

        Raises:
            UsageError: no such file.
        """
        for number, member in enumerate(self.members):
            if member.name == name:
                return number
        raise UsageError(
            f"the package has no file {str(name)[:80]!r}", hint="members lists its files"
        )

    def entry(self, name: str) -> TensorEntry:
        """What the table says about a tensor.

        Raises:
            UsageError: no such tensor.
        """
        try:
            return self.tensors[name]
        except KeyError:
            raise UsageError(
                f"the package has no tensor {str(name)[:80]!r}", hint="keys() lists them"
            ) from None

    def position(self, member: int, offset: int) -> int:
        """Where a byte of a file is in the payload: files begin on segments."""
        return self.members[member].first * self.segments.step + offset

    def copy(self, member: int, offset: int, into: memoryview) -> None:
        """Fill `into` from `offset` in a file."""
        start = self.position(member, offset)
        if self.loaded is not None and self.members[member].role == "weights":
            into[:] = memoryview(self.loaded)[start : start + len(into)]
        else:
            self.segments.copy(start, into)

    def fetch(self, member: int, offset: int, size: int) -> memoryview:
        """Some bytes of a file, read-only."""
        return self.memory(member, offset, size).toreadonly()

    def memory(self, member: int, offset: int, size: int) -> memoryview:
        """Some bytes of a file, in memory that may be written to."""
        step = self.segments.step
        start = self.position(member, offset)
        if self.loaded is not None and self.members[member].role == "weights":
            return memoryview(self.loaded)[start : start + size]
        if not size:
            return memoryview(b"")
        first, after = start // step, -(-(start + size) // step)
        if after - first <= _SMALL_SEGMENTS:
            arena = self.segments.arena(size)
            into = memoryview(arena)[:size]
            self.segments.copy(start, into)
            return into
        arena = self.segments.load(
            range(first, after),
            size=(after - first) * step,
            origin=first,
            threads=thread_count(None),
            meter=Meter(None, 0),
        )
        within = start - first * step
        return memoryview(arena)[within : within + size]

    def load(self, threads: int, progress: Progress | None) -> None:
        """Decrypt all weights into `loaded`, each byte at its position in the payload."""
        step = self.segments.step
        numbers = [
            number
            for member in self.members
            if member.role == "weights"
            for number in range(member.first, member.first + -(-member.size // step))
        ]
        size = self._count * step
        meter = Meter(progress, len(numbers) * step)
        self.loaded = self.segments.load(numbers, size=size, origin=0, threads=threads, meter=meter)

    def wipe(self) -> None:
        """Zero all of it, and the keys."""
        self.segments.wipe()
        self.loaded = None
