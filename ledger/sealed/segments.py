"""The payload of an open package, segment by segment, and the memory it is decrypted into."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Sequence

from ledger.errors import ContentMismatch, SealedAuthError
from ledger.sealed import keys
from ledger.sealed.memory import Arena
from ledger.sealed.opening import Opened
from ledger.sealed.parallel import Meter, for_each
from ledger.sealed.source import ByteSource, Reads
from ledger.sealed.variants import OpenCells

_BATCH_SEGMENTS = 8
_BATCH_BYTES = 8 << 20  # over a network eight batches are in memory, beside the arena

_Block = tuple[int, memoryview]  # where it begins in the package, and its bytes


class Segments:
    """Decrypts and checks segments; safe to use from several threads at once.

    Attributes:
        step: plaintext bytes of one segment.
        arenas: every arena handed out that is still referred to.
    """

    def __init__(self, source: ByteSource, opened: Opened, *, verify: bool) -> None:
        self._source = source
        self._prelude = opened.clear.prelude
        self._leaves = opened.leaves
        self._payload = opened.payload
        self._cells = opened.cells
        self._verify = verify
        self._scratch = threading.local()
        self._lock = threading.Lock()
        self.arenas: weakref.WeakSet[Arena] = weakref.WeakSet()
        self.step = self._prelude.segment_bytes
        self._batch = max(1, min(_BATCH_SEGMENTS, _BATCH_BYTES // self.step))

    def arena(self, size: int) -> Arena:
        """Memory that :meth:`wipe` will zero."""
        arena = Arena(size)
        with self._lock:
            self.arenas.add(arena)
        return arena

    def decrypt(self, number: int, out: memoryview, record: memoryview | None = None) -> None:
        """Steps 14 and 16: one segment and its cells into `out`, which is zero after any failure.

        Args:
            number: of the segment.
            out: as long as a segment.
            record: its encrypted form, where that was read before.

        Raises:
            SegmentTampered: its tag does not verify.
            ContentMismatch: its leaf is another one.
            SealedTruncated: the file shrank since it was opened.
        """
        prelude = self._prelude
        if record is None:
            record = getattr(self._scratch, "record", None)
            if record is None:
                record = self._scratch.record = memoryview(bytearray(prelude.record_bytes))
            self._source.read(self._place(number), record)
        try:
            self._payload.decrypt_into(number, record, out, last=number == prelude.segments - 1)
            if self._verify:
                self._check_leaf(number, out)
            if self._cells is not None:
                self._put_cells(self._cells, number, out)
        except SealedAuthError as error:
            out[:] = bytes(len(out))
            error.step = error.step or 14
            raise
        except BaseException:
            out[:] = bytes(len(out))
            raise

    def _check_leaf(self, number: int, plain: memoryview) -> None:
        leaf = keys.LEAF[self._prelude.suite](plain)
        if leaf != self._leaves[32 * number : 32 * number + 32]:
            raise ContentMismatch(
                f"segment {number} is not what the licensor sealed",
                hint="another holder of the key forged it; download the file again",
            )

    def _put_cells(self, cells: OpenCells, number: int, out: memoryview) -> None:
        inside = cells.in_segment(number)
        if not inside:
            return
        scratch, size = self._scratch, 1 + self._prelude.cell_bytes
        if getattr(scratch, "cell", None) is None:
            scratch.cell = memoryview(bytearray(cells.record_span(inside[0])[1]))
            scratch.form = self.arena(size)
        mine, plain = scratch.cell, memoryview(scratch.form)[:size]
        for cell in inside:
            offset, length = cells.record_span(cell)
            ahead = self._fetched(offset, length)
            if ahead is None:
                self._source.read(offset, mine)
            try:
                cells.decrypt(cell, ahead or mine, plain, verify=self._verify)
                cells.place(cell, out)[:] = plain[1:]
            except BaseException:
                plain[:] = bytes(len(plain))
                raise

    def copy(self, start: int, into: memoryview) -> None:
        """Fill `into` with package plaintext from absolute position `start`.

        Raises:
            SegmentTampered, ContentMismatch, SealedTruncated: as `decrypt`.
        """
        done = 0
        after = -(-(start + len(into)) // self.step)
        records: dict[int, memoryview | None] = {}
        reads = self._source.reads()
        while done < len(into):
            number, offset = divmod(start + done, self.step)
            if number not in records and getattr(self._scratch, "number", -1) != number:
                # One request for what follows, too: over a network each costs a round trip.
                ahead = range(number, min(after, number + self._batch))
                records = self._records(ahead, reads)
            count = min(self.step - offset, len(into) - done)
            into[done : done + count] = self._one(number, records.get(number))[
                offset : offset + count
            ]
            done += count

    def load(
        self, numbers: Sequence[int], *, size: int, origin: int, threads: int, meter: Meter
    ) -> Arena:
        """An arena of `size` bytes whose segment ``n - origin`` is package segment ``n``.

        Raises:
            SegmentTampered, ContentMismatch, SealedTruncated: as `decrypt`; the arena is zero then.
        """
        arena = self.arena(size)
        view = memoryview(arena)
        step = self.step

        def decrypt_batch(batch: int) -> None:
            chosen = numbers[batch * self._batch : (batch + 1) * self._batch]
            records = self._records(chosen, reads)
            arena.populate((chosen[0] - origin) * step, (chosen[-1] - chosen[0] + 1) * step)
            for number in chosen:
                at = (number - origin) * step
                self.decrypt(number, view[at : at + step], records[number])
                meter.add(step)

        reads = self._source.reads()
        try:
            for_each(
                -(-len(numbers) // self._batch),
                decrypt_batch,
                threads=max(threads, self._source.width),
                abandon=reads.abandon,
            )
        except BaseException:
            arena.wipe()
            raise
        return arena

    def fill(self, start: int, into: memoryview, *, threads: int) -> None:
        """Fill `into` from absolute position `start`, in parallel; zero after any failure.

        Raises:
            SegmentTampered, ContentMismatch, SealedTruncated: as `decrypt`.
        """
        step = self.step
        first, after = start // step, -(-(start + len(into)) // step)

        def one(index: int) -> None:
            number = first + index
            at, end = number * step - start, (number + 1) * step - start
            if at >= 0 and end <= len(into):
                self.decrypt(number, into[at:end])
            else:
                low, high = max(at, 0), min(end, len(into))
                self.copy(start + low, into[low:high])

        try:
            for_each(after - first, one, threads=threads)
        except BaseException:
            into[:] = bytes(len(into))
            raise

    def wipe(self) -> None:
        """Zero every arena handed out, and the keys."""
        with self._lock:
            arenas = list(self.arenas)
        for arena in arenas:
            arena.wipe()
        self._payload.wipe()
        if self._cells is not None:
            self._cells.wipe()

    def _place(self, number: int) -> int:
        return self._prelude.payload_offset + number * self._prelude.record_bytes

    def _records(self, numbers: Sequence[int], reads: Reads) -> dict[int, memoryview | None]:
        """Segments in encrypted form, one read for those that follow one another.

        None stands for a segment that is best read when it is decrypted.
        """
        size = self._prelude.record_bytes
        found: dict[int, memoryview | None] = {}
        blocks: list[_Block] = []
        for _, group in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
            run = [number for _, number in group]
            block = reads.block(self._place(run[0]), len(run) * size)
            for at, number in enumerate(run):
                found[number] = None if block is None else block[at * size : (at + 1) * size]
            if block is not None and self._cells is not None:
                blocks.append(self._cell_block(self._cells, run, reads))
        self._scratch.cell_blocks = blocks
        return found

    def _cell_block(self, cells: OpenCells, run: list[int], reads: Reads) -> _Block:
        """The records of all cells in a run of segments: both forms, for they alternate."""
        inside = [cell for number in run for cell in cells.in_segment(number)]
        if not inside:
            return 0, memoryview(b"")
        start = self._prelude.cell_record_offset(inside[0], 0)
        end = self._prelude.cell_record_offset(inside[-1] + 1, 0)
        return start, reads.block(start, end - start) or memoryview(b"")

    def _fetched(self, offset: int, length: int) -> memoryview | None:
        """Bytes that this thread fetched along with the segments it decrypts now."""
        blocks: list[_Block] = getattr(self._scratch, "cell_blocks", [])
        for start, block in blocks:
            if start <= offset and offset + length <= start + len(block):
                return block[offset - start : offset - start + length]
        return None

    def _one(self, number: int, record: memoryview | None = None) -> memoryview:
        """The plaintext of one segment, in this thread's scratch; valid until the next call."""
        scratch = self._scratch
        if getattr(scratch, "plain", None) is None:
            scratch.plain = self.arena(self.step)
            scratch.number = -1
        plain = memoryview(scratch.plain)
        if scratch.number != number:
            scratch.number = -1
            self.decrypt(number, plain, record)
            scratch.number = number
        return plain
