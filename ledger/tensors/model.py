"""One model on disk: its files, its tensors, and their bytes on request.

Nothing is executed and nothing is mapped: payloads are read with ``pread`` into memory that the
caller sees, so a file that shrinks or changes under us is an error and never a crash.
"""

from __future__ import annotations

import os
import re
import threading
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeAlias

from ledger.errors import LimitExceeded, TensorFileError
from ledger.tensors.folder import INDEX_SUFFIX, WEIGHTS_SUFFIX, scan_folder
from ledger.tensors.formats import PREFIX_BYTES, other_format, unknown, unsupported
from ledger.tensors.other import is_other, read_other
from ledger.tensors.regular import open_regular, shown
from ledger.tensors.safetensors import (
    MAX_TENSORS,
    TensorInfo,
    check_name,
    header_length,
    parse_header,
)

__all__ = ["Member", "ModelSource", "TensorInfo", "open_model", "title_of"]

# Linux moves at most 2^31 − 4096 bytes in one call.
_MAX_IO = 1 << 30
_PLAIN_TITLES = frozenset(
    {"model", "pytorch_model", "diffusion_pytorch_model", "adapter_model", "weights", "checkpoint"}
)


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a model.

    Attributes:
        name: relative to the model's folder, POSIX style.
        path: where it lies on this host.
        size: bytes.
        role: ``weights`` or ``side``.
        header: of safetensors, the raw header with its eight length bytes; else empty.
    """

    name: str
    path: Path
    size: int
    role: Literal["weights", "side"]
    header: bytes


class ModelSource:
    """An open model. Thread-safe for reading; a context manager.

    Attributes:
        members: its files, sorted by name.
        tensors: every tensor of every weights file, by member and then by offset.
        total_bytes: size of all members.
        title: a name for people, taken from the path.
        left_out: names of files in the folder that are not part of the model.
    """

    def __init__(
        self,
        members: tuple[Member, ...],
        tensors: tuple[TensorInfo, ...],
        *,
        title: str,
        left_out: tuple[str, ...],
        states: tuple[os.stat_result, ...],
    ) -> None:
        self.members = members
        self.tensors = tensors
        self.total_bytes = sum(member.size for member in members)
        self.title = title
        self.left_out = left_out
        self._states = states
        self._fds: dict[int, int] = {}
        self._closed = False
        self._lock = threading.Lock()

    def read(self, info: TensorInfo) -> memoryview:
        """The payload of one tensor: exactly `info.nbytes` bytes, in memory of their own.

        Raises:
            TensorFileError: the file cannot be read, or changed since it was opened.
        """
        buffer = memoryview(bytearray(info.nbytes))
        self.read_at(info.member, info.offset, buffer)
        return buffer

    def read_at(self, member: int, offset: int, into: memoryview) -> None:
        """Fill `into` from one member, beginning at an absolute byte offset.

        Raises:
            TensorFileError: the file cannot be read, or changed since it was opened.
        """
        fd = self._descriptor(member)
        done = 0
        while done < len(into):
            try:
                count = os.preadv(fd, [into[done : done + _MAX_IO]], offset + done)
            except OSError as error:
                name = shown(self.members[member].path)
                raise TensorFileError(f"{name} cannot be read: {error.strerror}") from None
            if count == 0:
                raise self._changed(member)
            done += count

    def ensure_unchanged(self) -> None:
        """Check that no member changed since it was opened, after reading through all of it.

        Raises:
            TensorFileError: a member's size or modification time differs.
        """
        for index in range(len(self.members)):
            self._check_state(index, os.fstat(self._descriptor(index)))

    def close(self) -> None:
        """Release the files. Reading afterwards raises."""
        with self._lock:
            self._closed = True
            for fd in self._fds.values():
                os.close(fd)
            self._fds.clear()

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
        if getattr(self, "_fds", None):
            self.close()

    def _descriptor(self, member: int) -> int:
        with self._lock:
            if self._closed:
                raise TensorFileError(f"{self.title} is closed", hint="open the model again")
            if member not in self._fds:
                fd, state = open_regular(self.members[member].path)
                try:
                    self._check_state(member, state)
                except TensorFileError:
                    os.close(fd)
                    raise
                self._fds[member] = fd
            return self._fds[member]

    def _check_state(self, member: int, now: os.stat_result) -> None:
        then = self._states[member]
        if (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns) != (
            then.st_dev,
            then.st_ino,
            then.st_size,
            then.st_mtime_ns,
        ):
            raise self._changed(member)

    def _changed(self, member: int) -> TensorFileError:
        return TensorFileError(
            f"{shown(self.members[member].path)} changed while it was being read",
            hint="let whatever writes it finish, then try again",
        )


def open_model(path: Path | str) -> ModelSource:
    """Open one ``.safetensors``, ``.onnx`` or ``.gguf`` file, or a folder of shards and side files.

    Only headers are read here. A shard index (``*.safetensors.index.json``) stands for its folder.

    Raises:
        TensorFileError: truncated, inconsistent, or not readable.
        LimitExceeded: a declared size beyond what is read.
        UnsupportedModel: a model in another format; the message says which.
    """
    place = Path(path)
    try:
        if place.name.endswith(INDEX_SUFFIX):
            place = place.parent
        if place.is_dir():
            return _open_folder(place)
        return _open_file(place)
    except (OSError, ValueError, RuntimeError) as error:
        # A link that loops, a name this system cannot encode, a folder we may not list.
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise TensorFileError(
            f"{shown(path)} cannot be read: {reason}",
            hint="check the path and its permissions",
        ) from None


def _open_file(path: Path) -> ModelSource:
    check_name(path.name, shown(path.parent))
    found = _read_member(path.parent, path.name, 0, weights=True)
    return ModelSource(
        tuple(member for member, _, _ in found),
        tuple(info for _, infos, _ in found for info in infos),
        title=title_of(path, path.stem),
        left_out=(),
        states=tuple(state for _, _, state in found),
    )


def _open_folder(folder: Path) -> ModelSource:
    files = scan_folder(folder)
    weights = set(files.weights)
    members: list[Member] = []
    states: list[os.stat_result] = []
    tensors: list[TensorInfo] = []
    taken: set[str] = set()
    for name in sorted(weights | set(files.side)):
        if name in taken:
            continue  # an ONNX file's data, taken with it
        found = _read_member(folder, name, len(members), weights=name in weights)
        for member, infos, state in found:
            if member.name in taken:
                raise TensorFileError(
                    f"{shown(folder)} uses {member.name[:200]!r} both as data and for itself",
                    hint="give the model's data file another name",
                )
            taken.add(member.name)
            members.append(member)
            states.append(state)
            tensors += infos
        if len(tensors) > MAX_TENSORS:
            raise LimitExceeded(f"{shown(folder)} holds more than {MAX_TENSORS} tensors")
    _check_names(folder, members, tensors, files.index)
    return ModelSource(
        tuple(members),
        tuple(tensors),
        title=title_of(folder, "model"),
        left_out=tuple(name for name in files.left_out if name not in taken),
        states=tuple(states),
    )


_Found: TypeAlias = list[tuple[Member, tuple[TensorInfo, ...], os.stat_result]]


def _read_member(folder: Path, name: str, number: int, *, weights: bool) -> _Found:
    """One file as a member; of an ONNX file also its data files."""
    path = folder / name
    if not weights:
        fd, state = open_regular(path)
        os.close(fd)
        return [(Member(name, path, state.st_size, "side", b""), (), state)]
    if not is_other(name):
        return [_weights(path, name, number)]
    return [
        (
            Member(other.name, folder / other.name, other.state.st_size, "weights", b""),
            other.tensors,
            other.state,
        )
        for other in read_other(path, first=number)
    ]


def _weights(
    path: Path, name: str, member: int
) -> tuple[Member, tuple[TensorInfo, ...], os.stat_result]:
    fd, state = open_regular(path)
    with os.fdopen(fd, "rb") as file:
        prefix = file.read(PREFIX_BYTES)
        # A safetensors file has "{" in ninth place, which none of the other magics allows.
        title = None if prefix[8:9] == b"{" else other_format(name, prefix)
        if title is not None:
            raise unsupported(shown(path), title)
        if prefix[8:9] not in {b"{", b""} and path.suffix.lower() != WEIGHTS_SUFFIX:
            raise unknown(shown(path))
        length = header_length(prefix, state.st_size, what=shown(path))
        file.seek(0)
        header = file.read(8 + length)
    tensors = parse_header(header, member=member, file_size=state.st_size, what=shown(path))
    return Member(name, path, state.st_size, "weights", header), tensors, state


def _check_names(
    folder: Path, members: list[Member], tensors: list[TensorInfo], index: dict[str, str]
) -> None:
    where = shown(folder)
    home: dict[str, str] = {}
    for info in tensors:
        shard = members[info.member].name
        if info.name in home:
            raise TensorFileError(
                f"{where}: {home[info.name]} and {shard} both hold a tensor {info.name[:80]!r}",
                hint="these are two models; give one file, or keep the files of one",
            )
        home[info.name] = shard
    for name, shard in index.items():
        if home.get(name) != shard:
            raise TensorFileError(
                f"{where}: the index places tensor {name[:80]!r} in {shard}, which lacks it",
                hint="index and shards belong to different versions; download both again",
            )


def title_of(path: Path, stem: str) -> str:
    """The file's or nearest folder's telling name; of a Hugging Face cache, the repository's."""
    absolute = path.absolute()
    for part in reversed(absolute.parts):
        if part.startswith("models--"):
            return part.removeprefix("models--").rpartition("--")[2]
    if path.is_dir():
        stem = absolute.name
        absolute = absolute / stem
    stem = re.sub(r"-\d{5}-of-\d{5}$", "", stem)
    for candidate in (stem, *(parent.name for parent in absolute.parents)):
        if candidate and candidate.lower() not in _PLAIN_TITLES:
            return unicodedata.normalize("NFC", candidate)
    return "model"
