"""An open sealed package: tensors on request, or all at once into one private arena."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ledger.errors import ContentMismatch, UnsupportedModel, UsageError
from ledger.fingerprint.exact import fingerprint, with_content_ids
from ledger.ids import Digest
from ledger.paths import beside
from ledger.sealed.arrays import NUMPY_DTYPES, address_of, row_bytes
from ledger.sealed.index import MemberEntry, TensorEntry, outside_tensors
from ledger.sealed.memory import Arena
from ledger.sealed.memory_files import LinkFolder, MemoryFile
from ledger.sealed.opening import Opened, SealedInfo
from ledger.sealed.parallel import Meter, Progress, thread_count
from ledger.sealed.passing import Passed, descriptor_of, pack_index, pack_secret
from ledger.sealed.segments import Segments
from ledger.sealed.source import ByteSource
from ledger.sealed.variants import OpenCells
from ledger.sealed.views import LoadedTensors, PlaintextSource

# A tensor in at most so many segments is copied out of a scratch segment; a larger one is decrypted
# straight to where it stays.
_SMALL_SEGMENTS = 2


class TensorFacts(NamedTuple):
    """What a package says about one tensor."""

    dtype: str
    shape: tuple[int, ...]
    cid: Digest


class SealedFile:
    """An open sealed package. Thread-safe; a context manager.

    Tensors are read-only views into private memory that core dumps leave out and forked children
    see empty. :meth:`close` zeroes that memory: arrays still held then read zeros, and asking for
    a tensor afterwards, or in a forked child, raises ``UsageError``.

    Attributes:
        public: the file's public facts, authenticated by now.
        cells: where the cells are that are marked per license; None without any.
    """

    def __init__(self, source: ByteSource, opened: Opened, *, verify: bool) -> None:
        self._source = source
        self._tables = opened.tables
        self._opened = opened
        self._verify = verify
        self._segments = Segments(source, opened, verify=verify)
        self._tensors = {tensor.name: tensor for tensor in opened.tables.tensors}
        self._loaded: Arena | None = None
        self._state = threading.Condition()
        self._loading = threading.Lock()
        self._files: dict[str, MemoryFile] = {}
        self._folders: list[LinkFolder] = []
        self._readers: list[int] = []
        self._closed = self._wiped = False
        self._pid = os.getpid()
        self.public: SealedInfo = opened.clear.info
        self.cells: OpenCells | None = opened.cells

    # -- what is inside --

    def keys(self) -> tuple[str, ...]:
        """Names of the tensors, in file order."""
        return tuple(self._tensors)

    @property
    def members(self) -> tuple[MemberEntry, ...]:
        """The files inside, in order."""
        return self._tables.members

    def info(self, name: str) -> TensorFacts:
        """Dtype, shape and content id of a tensor.

        Raises:
            UsageError: no such tensor.
        """
        tensor = self._entry(name)
        return TensorFacts(tensor.dtype, tensor.shape, tensor.cid)

    @property
    def marked(self) -> tuple[str, ...]:
        """Tensors of this copy that differ from the registered model, by a cell in form B."""
        if self.cells is None:
            return ()
        entries = zip(self.cells.index.entries, self.cells.forms, strict=True)
        numbers = sorted({entry.tensor for entry, form in entries if form})
        return tuple(self._tables.tensors[number].name for number in numbers)

    # -- reading --

    def get_bytes(self, name: str) -> memoryview:
        """The payload of one tensor, read-only.

        Raises:
            UsageError: no such tensor, or the file is closed.
            SegmentTampered: its bytes fail their authentication tag.
            ContentMismatch: its bytes are not those the licensor sealed.
            SealedTruncated: the file shrank since it was opened.
        """
        return self.get_memory(name).toreadonly()

    def get_memory(self, name: str, *, rows: range | None = None, alignment: int = 1) -> memoryview:
        """The payload of one tensor, or of some of its rows, in memory that may be written to.

        For frameworks without read-only arrays; what is written there, later reads may see.

        Args:
            name: of the tensor.
            rows: indices of its first axis, step 1; only their segments are read.
            alignment: of the first byte's address.

        Raises:
            UnsupportedModel: rows that do not fill whole bytes.
            UsageError: rows that the tensor has not; and as `get_bytes`.
            SegmentTampered, ContentMismatch, SealedTruncated: as `get_bytes`.
        """
        tensor = self._entry(name)
        offset, size = tensor.offset, tensor.nbytes
        if rows is not None:
            count = tensor.shape[0] if tensor.shape else 0
            if rows.step != 1 or (len(rows) and not 0 <= rows.start < rows.stop <= count):
                raise UsageError(
                    f"a tensor of {count} rows has no {rows}",
                    hint="give range(first, last + 1) within its first axis",
                )
            width = row_bytes(tensor)
            offset, size = offset + rows.start * width, len(rows) * width
        with self._reading():
            data = self._memory(tensor.member, offset, size)
            if size and address_of(data) % alignment:
                arena = self._segments.arena(size)
                moved = memoryview(arena)[:size]
                moved[:] = data
                return moved
            return data

    def get_tensor(self, name: str, *, rows: range | None = None) -> npt.NDArray[Any]:
        """One tensor, or some of its rows, as a read-only array.

        Raises:
            UnsupportedModel: NumPy has no such element type or shape; `get_bytes` gives the bytes.
            UsageError, SegmentTampered, ContentMismatch, SealedTruncated: as `get_bytes`.
        """
        tensor = self._entry(name)
        shape = tensor.shape if rows is None else (len(rows), *tensor.shape[1:])
        dtype = NUMPY_DTYPES.get(tensor.dtype)
        if dtype is None:
            raise UnsupportedModel(
                f"NumPy has no element type for {tensor.dtype}",
                hint="get_bytes(name) gives the tensor's bytes",
            )
        data = self.get_memory(name, rows=rows).toreadonly()
        try:
            # An empty one may have any other dimensions, also some that no array can have.
            array = np.frombuffer(data, dtype) if len(data) else np.empty(0, dtype)
            array = array.reshape(shape)
        except ValueError:
            raise UnsupportedModel(
                f"NumPy has no arrays of shape {list(shape)}",
                hint="get_bytes(name) gives the tensor's bytes",
            ) from None
        array.flags.writeable = False
        return array

    def read_member(self, name: str) -> memoryview:
        """One file of the package, weights or side, read-only.

        Raises:
            UsageError, SegmentTampered, ContentMismatch, SealedTruncated: as `get_bytes`.
        """
        number = self._member(name)
        with self._reading():
            return self._fetch(number, 0, self.members[number].size)

    def memory_file(self, name: str) -> MemoryFile:
        """One file of the package as a file in memory, for consumers that insist on a path.

        It lives, and is zeroed, with this package; a second call gives the same.

        Raises:
            ToolMissing: this system has no such files.
            UsageError, SegmentTampered, ContentMismatch, SealedTruncated: as `get_bytes`.
        """
        number = self._member(name)
        member = self.members[number]

        def fill(into: memoryview) -> None:
            self._segments.fill(self._position(number, 0), into, threads=thread_count(None))

        with self._reading(), self._loading:
            if name not in self._files:
                self._files[name] = MemoryFile(member.size, fill)
            return self._files[name]

    def link_folder(self, names: Iterable[str]) -> Path:
        """A folder in memory where files of the package have their names.

        It lives with this package.

        Raises:
            ToolMissing, UsageError, SegmentTampered, ContentMismatch, SealedTruncated: as
                `memory_file`.
        """
        # Inside a read, or a close meanwhile would leave the folder behind.
        with self._reading():
            folder = LinkFolder({name: self.memory_file(name).path for name in names})
            with self._state:
                self._folders.append(folder)
            return folder.path

    def files(self) -> dict[str, memoryview]:
        """The side files (settings, tokenizer …): name to bytes, read-only.

        Raises:
            UsageError, SegmentTampered, ContentMismatch, SealedTruncated: as `get_bytes`.
        """
        with self._reading():
            return {
                member.name: self._fetch(number, 0, member.size)
                for number, member in enumerate(self.members)
                if member.role == "side"
            }

    def load_all(
        self, *, threads: int | None = None, progress: Progress | None = None
    ) -> LoadedTensors:
        """Decrypt every weights member into one arena, on all cores; a second call is free.

        Args:
            threads: default one per core.
            progress: called with bytes done and in total, from worker threads, one at a time;
                raising stops the work.

        Raises:
            UsageError, SegmentTampered, ContentMismatch, SealedTruncated: as `get_bytes`; nothing
                decrypted is left behind.
        """
        with self._reading(), self._loading:
            if self._loaded is None:
                self._loaded = self._load(thread_count(threads), progress)
            return LoadedTensors(self)

    def verify_content(
        self, *, threads: int | None = None, progress: Progress | None = None
    ) -> Digest:
        """Recompute the fingerprint from the decrypted bytes, trusting no table.

        Of a copy with per-license marks the tensors in `marked` are not the registered ones: their
        cells are held against the table's SHA-256 of form B and their other bytes against their
        leaves, and the table's word is taken for their content ids.

        Returns:
            The content root; it is the registered model when this equals its artifact root.

        Raises:
            ContentMismatch: a tensor or side file is not what the table says.
            UsageError, SegmentTampered, SealedTruncated: as `get_bytes`.
        """
        with self._reading():
            for number, member in enumerate(self.members):
                if self._digest_outside_tensors(number) != member.digest.raw:
                    raise ContentMismatch(f"{member.name} is not the file the table describes")
            self._check_cells()
            plain = PlaintextSource(self._source.name, self._tables, self._copy)
            measured = fingerprint(plain, threads=threads, progress=progress)
        marked = set(self.marked)
        for tensor in measured.tensors:
            if tensor.name not in marked and tensor.cid != self._tensors[tensor.name].cid:
                raise ContentMismatch(f"tensor {tensor.name!r} is not the one the table describes")
        cids = {name: self._tensors[name].cid for name in marked}
        return with_content_ids(measured, cids).content_root if marked else measured.content_root

    def verify_records(self) -> None:
        """Hold the encrypted cells of all forms against the index: reading needs one form of each.

        Raises:
            SegmentTampered: a record is not the one that was sealed.
            UsageError, SealedTruncated: as `get_bytes`.
        """
        with self._reading():
            if self.cells is not None:
                self.cells.check_records(self._source.read)

    def _check_cells(self) -> None:
        if self.cells is None:
            return
        plain = bytearray(self.public.cell_bytes)
        try:
            for cell, entry in enumerate(self.cells.index.entries):
                tensor = self._tables.tensors[entry.tensor]
                self._copy(tensor.member, tensor.offset + entry.offset, memoryview(plain))
                self.cells.check_other(cell, plain)
        finally:
            plain[:] = bytes(len(plain))

    def export(self, folder: Path, *, progress: Progress | None = None) -> tuple[Path, ...]:
        """Write every member, decrypted, into a new folder, which appears whole or not at all.

        Returns:
            The paths written.

        Raises:
            UsageError: the folder exists and is not empty, or cannot be written.
            SegmentTampered, ContentMismatch, SealedTruncated: as `get_bytes`.
        """
        folder = Path(folder)
        part = beside(folder, f".{folder.name}.{os.urandom(6).hex()}.part")
        meter = Meter(progress, sum(member.size for member in self.members))
        with self._reading():
            try:
                part.mkdir(mode=0o700, parents=True)
                try:
                    for number, member in enumerate(self.members):
                        self._export_member(number, member, part / member.name, meter)
                    part.rename(folder)
                except BaseException:
                    shutil.rmtree(part, ignore_errors=True)
                    raise
            except OSError as error:
                raise UsageError(
                    f"{folder} cannot be written: {error.strerror or error}",
                    hint="give a folder that does not exist yet",
                ) from None
        return tuple(folder / member.name for member in self.members)

    def pass_on(self) -> Passed:
        """What another process of this user needs to open the same package.

        Raises:
            UnsupportedModel: its table is not written canonically.
            UsageError: the file is closed.
        """
        with self._reading():
            fd, index = descriptor_of(self._source), pack_index(self._opened)
            secret = pack_secret(self._opened)
            return Passed(fd, index, secret, self.public.cells, self._verify)

    def in_use(self) -> contextlib.AbstractContextManager[None]:
        """A block that `close` waits for, so that what is read there is not zeroed there.

        Raises:
            UsageError: the file is closed.
        """
        return self._reading()

    # -- end --

    def close(self) -> None:
        """Wait for readers, zero keys and plaintext, release the file.

        Safe to repeat: whoever calls it, all is zero when it returns. Where the wait was
        interrupted nothing can be read any more, and the next call goes on from there.

        Raises:
            UsageError: this very thread is reading, so the wait would never end: a signal handler
                called it. The read ends with this error.
        """
        if os.getpid() != self._pid:
            # A forked child has empty copies of keys and arenas, and perhaps a lock held for ever.
            if not self._closed:
                self._closed = True
                self._drop_files()
                self._source.close()
            return
        with self._state:
            self._closed = True
            if threading.get_ident() in self._readers:
                raise UsageError(
                    "the sealed file cannot be closed by the thread that is reading it",
                    hint="raise an exception in the signal handler, and close behind the read",
                )
            while self._readers:
                self._state.wait()
            if self._wiped:
                return
            try:
                self._drop_files()
            finally:
                self._segments.wipe()
            self._loaded = None
            self._source.close()
            self._wiped = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_pid"):
            self.close()

    # -- inside --

    def _drop_files(self) -> None:
        for folder in self._folders:
            folder.close()
        for file in self._files.values():
            file.close()

    def _member(self, name: str) -> int:
        for number, member in enumerate(self.members):
            if member.name == name:
                return number
        raise UsageError(
            f"the package has no file {str(name)[:80]!r}", hint="members lists its files"
        )

    def _entry(self, name: str) -> TensorEntry:
        try:
            return self._tensors[name]
        except KeyError:
            raise UsageError(
                f"the package has no tensor {str(name)[:80]!r}", hint="keys() lists them"
            ) from None

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        if os.getpid() != self._pid:
            raise UsageError(
                "this process was forked after the sealed file was opened, and has no key",
                hint="open the file in the process that uses it",
            )
        with self._state:
            if self._closed:
                raise UsageError(
                    "the sealed file is closed", hint="use its tensors inside the with block"
                )
            self._readers.append(threading.get_ident())
        try:
            yield
        finally:
            with self._state:
                self._readers.remove(threading.get_ident())
                self._state.notify_all()

    def _copy(self, member: int, offset: int, into: memoryview) -> None:
        """Fill `into` from `offset` in a member's plaintext."""
        start = self._position(member, offset)
        if self._loaded is not None and self.members[member].role == "weights":
            into[:] = memoryview(self._loaded)[start : start + len(into)]
        else:
            self._segments.copy(start, into)

    def _position(self, member: int, offset: int) -> int:
        return self.members[member].first * self._segments.step + offset

    def _fetch(self, member: int, offset: int, size: int) -> memoryview:
        return self._memory(member, offset, size).toreadonly()

    def _memory(self, member: int, offset: int, size: int) -> memoryview:
        step = self._segments.step
        start = self._position(member, offset)
        if self._loaded is not None and self.members[member].role == "weights":
            return memoryview(self._loaded)[start : start + size]
        if not size:
            return memoryview(b"")
        first, after = start // step, -(-(start + size) // step)
        if after - first <= _SMALL_SEGMENTS:
            arena = self._segments.arena(size)
            into = memoryview(arena)[:size]
            self._segments.copy(start, into)
            return into
        arena = self._segments.load(
            range(first, after),
            size=(after - first) * step,
            origin=first,
            threads=thread_count(None),
            meter=Meter(None, 0),
        )
        within = start - first * step
        return memoryview(arena)[within : within + size]

    def _load(self, threads: int, progress: Progress | None) -> Arena:
        step = self._segments.step
        numbers = [
            number
            for member in self.members
            if member.role == "weights"
            for number in range(member.first, member.first + -(-member.size // step))
        ]
        size = self.public.segments * step
        meter = Meter(progress, len(numbers) * step)
        return self._segments.load(numbers, size=size, origin=0, threads=threads, meter=meter)

    def _digest_outside_tensors(self, number: int) -> bytes:
        state = hashlib.sha256()
        inside = ((t.offset, t.nbytes) for t in self._tables.tensors if t.member == number)
        for start, end in outside_tensors(self.members[number].size, inside):
            for offset in range(start, end, self._segments.step):
                count = min(self._segments.step, end - offset)
                state.update(self._fetch(number, offset, count))
        return state.digest()

    def _export_member(self, number: int, member: MemberEntry, path: Path, meter: Meter) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        step = self._segments.step
        with path.open("xb") as file:
            for offset in range(0, member.size, step):
                count = min(step, member.size - offset)
                data = self._fetch(number, offset, count)
                file.write(data)
                meter.add(count)
            file.flush()
            os.fsync(file.fileno())
