"""An open sealed package: tensors on request, or all at once into one private arena.

``plaintext`` reads, ``lifetime`` says whether it may be read still, ``checking`` and ``exporting``
go over all of it; here they are one object with one close.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ledger.errors import UnsupportedModel, UsageError
from ledger.ids import Digest
from ledger.sealed.arrays import NUMPY_DTYPES, address_of, row_bytes
from ledger.sealed.checking import measured_root
from ledger.sealed.exporting import export
from ledger.sealed.index import MemberEntry
from ledger.sealed.lifetime import Lifetime
from ledger.sealed.memory_files import LinkFolder, MemoryFile
from ledger.sealed.opening import Opened, SealedInfo
from ledger.sealed.parallel import Progress, thread_count
from ledger.sealed.passing import Passed, descriptor_of, pack_index, pack_secret
from ledger.sealed.plaintext import Plaintext
from ledger.sealed.source import ByteSource
from ledger.sealed.variants import OpenCells
from ledger.sealed.views import LoadedTensors


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
        self._opened = opened
        self._verify = verify
        self._plain = Plaintext(source, opened, verify=verify)
        self._loading = threading.Lock()
        self._files: dict[str, MemoryFile] = {}
        self._folders: list[LinkFolder] = []
        self._life = Lifetime()
        self.public: SealedInfo = opened.clear.info
        self.cells: OpenCells | None = opened.cells

    # -- what is inside --

    def keys(self) -> tuple[str, ...]:
        """Names of the tensors, in file order."""
        return tuple(self._plain.tensors)

    @property
    def members(self) -> tuple[MemberEntry, ...]:
        """The files inside, in order."""
        return self._plain.members

    def info(self, name: str) -> TensorFacts:
        """Dtype, shape and content id of a tensor.

        Raises:
            UsageError: no such tensor.
        """
        tensor = self._plain.entry(name)
        return TensorFacts(tensor.dtype, tensor.shape, tensor.cid)

    @property
    def marked(self) -> tuple[str, ...]:
        """Tensors of this copy that differ from the registered model, by a cell in form B."""
        if self.cells is None:
            return ()
        entries = zip(self.cells.index.entries, self.cells.forms, strict=True)
        numbers = sorted({entry.tensor for entry, form in entries if form})
        return tuple(self._plain.tables.tensors[number].name for number in numbers)

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
        tensor = self._plain.entry(name)
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
        with self._life.reading():
            data = self._plain.memory(tensor.member, offset, size)
            if size and address_of(data) % alignment:
                arena = self._plain.segments.arena(size)
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
        tensor = self._plain.entry(name)
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
        number = self._plain.member(name)
        with self._life.reading():
            return self._plain.fetch(number, 0, self.members[number].size)

    def memory_file(self, name: str) -> MemoryFile:
        """One file of the package as a file in memory, for consumers that insist on a path.

        It lives, and is zeroed, with this package; a second call gives the same.

        Raises:
            ToolMissing: this system has no such files.
            UsageError, SegmentTampered, ContentMismatch, SealedTruncated: as `get_bytes`.
        """
        number = self._plain.member(name)
        member, plain = self.members[number], self._plain

        def fill(into: memoryview) -> None:
            plain.segments.fill(plain.position(number, 0), into, threads=thread_count(None))

        with self._life.reading(), self._loading:
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
        with self._life.reading():
            folder = LinkFolder({name: self.memory_file(name).path for name in names})
            self._folders.append(folder)
            return folder.path

    def files(self) -> dict[str, memoryview]:
        """The side files (settings, tokenizer …): name to bytes, read-only.

        Raises:
            UsageError, SegmentTampered, ContentMismatch, SealedTruncated: as `get_bytes`.
        """
        with self._life.reading():
            return {
                member.name: self._plain.fetch(number, 0, member.size)
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
        with self._life.reading(), self._loading:
            if self._plain.loaded is None:
                self._plain.load(thread_count(threads), progress)
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
        with self._life.reading():
            return measured_root(
                self._source.name,
                self._plain,
                self.cells,
                set(self.marked),
                threads=threads,
                progress=progress,
            )

    def verify_records(self) -> None:
        """Hold the encrypted cells of all forms against the index: reading needs one form of each.

        Raises:
            SegmentTampered: a record is not the one that was sealed.
            UsageError, SealedTruncated: as `get_bytes`.
        """
        with self._life.reading():
            if self.cells is not None:
                self.cells.check_records(self._source.read)

    def export(self, folder: Path, *, progress: Progress | None = None) -> tuple[Path, ...]:
        """Write every member, decrypted, into a new folder, which appears whole or not at all.

        Returns:
            The paths written.

        Raises:
            UsageError: the folder exists and is not empty, or cannot be written.
            SegmentTampered, ContentMismatch, SealedTruncated: as `get_bytes`.
        """
        with self._life.reading():
            return export(self._plain, Path(folder), progress=progress)

    def pass_on(self) -> Passed:
        """What another process of this user needs to open the same package.

        Raises:
            UnsupportedModel: its table is not written canonically.
            UsageError: the file is closed.
        """
        with self._life.reading():
            fd, index = descriptor_of(self._source), pack_index(self._opened)
            secret = pack_secret(self._opened)
            return Passed(fd, index, secret, self.public.cells, self._verify)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """A block that `close` waits for, so that what is read there is not zeroed there.

        Raises:
            UsageError: the file is closed.
        """
        # Not the lifetime's own block: this one keeps the package from being collected meanwhile.
        with self._life.reading():
            yield

    # -- end --

    def close(self) -> None:
        """Wait for readers, zero keys and plaintext, release the file.

        Safe to repeat: whoever calls it, all is zero when it returns. Where the wait was
        interrupted nothing can be read any more, and the next call goes on from there.

        Raises:
            UsageError: this very thread is reading, so the wait would never end: a signal handler
                called it. The read ends with this error.
        """
        self._life.close(let_go=self._let_go, abandon=self._abandon)

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
        if hasattr(self, "_life"):
            self.close()

    # -- inside --

    def _let_go(self) -> None:
        try:
            self._drop_files()
        finally:
            self._plain.wipe()
        self._source.close()

    def _abandon(self) -> None:
        self._drop_files()
        self._source.close()

    def _drop_files(self) -> None:
        for folder in self._folders:
            folder.close()
        for file in self._files.values():
            file.close()
