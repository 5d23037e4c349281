"""A suspect as it is received: hashed before anything else reads it, and never changed.

A file or folder is read where it lies. What a URL names is downloaded into a file of its own, and
read from there: by ranges, pinned to the object that answered first, or as one answer from a server
that gives files only whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ledger.errors import (
    LedgerError,
    LimitExceeded,
    RangesRefused,
    TensorFileError,
    ToolMissing,
    UnavailableError,
    UsageError,
)
from ledger.evidence.match import folder_digest
from ledger.evidence.match_form import MAX_FILES, MAX_NAME, MAX_TEXT
from ledger.evidence.wording import is_plain, one_line
from ledger.tensors.formats import PREFIX_BYTES, other_format
from ledger.tensors.regular import open_regular, read_regular, shown

if TYPE_CHECKING:
    from ledger.remote.objects import RemoteObject

MAX_DOWNLOAD: Final = 1 << 40
MAX_WHOLE: Final = 1 << 36
"""Of a server without ranges: what breaks off begins anew."""
SPARE_BYTES: Final = 256 << 20
_PIECE: Final = 8 << 20
_MAX_ON_DISK: Final = 200  # bytes of a name; file systems take 255
_MAX_SUFFIX: Final = 20
_OTHERWISE: Final = "download it by other means, and give the file"

Progress = Callable[[int, int], None]
_Bytes = TypeVar("_Bytes", bytes, bytearray)
_State = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Received:
    """A suspect on disk.

    Attributes:
        path: where it is read.
        record: as ``match.json`` lists it: name, kind, size, digests, time.
    """

    path: Path
    record: dict[str, Any]
    _states: tuple[tuple[Path, _State], ...] = ()

    def ensure_unchanged(self) -> None:
        """See that nothing was written to it since it was hashed.

        Raises:
            TensorFileError: something was, or a file is gone.
        """
        for path, state in self._states:
            try:
                now = _state(path.stat())
            except OSError:
                now = None
            if now != state:
                raise TensorFileError(
                    f"{shown(path)} changed after it was hashed",
                    hint="copy the suspect somewhere that nobody writes to, and examine the copy",
                )


@contextmanager
def received(
    suspect: str,
    *,
    keep: Path | None = None,
    limit: int = MAX_DOWNLOAD,
    timeout: float = 60.0,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    progress: Progress = lambda _done, _total: None,
) -> Iterator[Received]:
    """Receive a suspect: a path, or a URL.

    Args:
        suspect: as the user named it.
        keep: where what a URL names is kept; it goes away afterwards when None.
        limit: bytes that are downloaded at most; of a server without ranges also `MAX_WHOLE`.
        timeout: seconds within which a server must have sent each piece of 8 MiB.
        now: the examiner's clock.
        progress: called with bytes hashed and in all.

    Raises:
        TensorFileError: it cannot be read.
        LimitExceeded: too many files, or more bytes than `limit`.
        UsageError: nothing to keep, or `keep` exists; nothing lies at the URL.
        ConfigurationError, StoreUnavailable, ToolMissing: as `ledger.remote.objects`.
    """
    from ledger.remote.places import is_url

    if not is_url(suspect):
        if keep is not None:
            raise UsageError("a suspect on disk is kept where it is", hint="leave --keep out")
        yield _on_disk(Path(suspect), now, progress)
        return
    if keep is not None:
        if keep.exists():
            raise UsageError(f"{keep} exists", hint="name a file that is not there yet")
        yield _downloaded(suspect, keep, now, progress, limit=limit, timeout=timeout)
        return
    with tempfile.TemporaryDirectory(prefix="modeldeed-suspect-") as folder:
        dest = Path(folder) / _on_disk_as(_name_of(suspect))
        there = _downloaded(suspect, dest, now, progress, limit=limit, timeout=timeout)
        with _told_as(dest, suspect):
            yield there


def unread(suspect: Received, members: Sequence[str]) -> list[tuple[str, str]]:
    """Name and SHA-256 of files that begin or are named like weights, and are not `members`.

    A folder is read as one model. Another beside it, or below it, is hashed and not looked at.

    Raises:
        TensorFileError: one cannot be read.
    """
    if suspect.record["kind"] != "folder":
        return []
    taken, left = set(members), []
    for of in suspect.record["files"]:
        if of["name"] not in taken:
            head = read_regular(suspect.path / of["name"], PREFIX_BYTES, head=True)
            if head[8:9] == b"{" or other_format(of["name"], head) is not None:
                left.append((str(of["name"]), str(of["sha256"])))
    return left


def _on_disk(path: Path, now: Callable[[], datetime], progress: Progress) -> Received:
    folder = path.is_dir()
    found = _walk(path) if folder else [(path, path.name)]
    sizes = [_size(one) for one, _ in found]
    total, done, states = sum(sizes), 0, []
    files: list[dict[str, Any]] = []
    at = _utc(now())
    for (one, name), _ in zip(found, sizes, strict=True):
        fd, state = open_regular(one)
        digest = hashlib.sha256()
        with os.fdopen(fd, "rb", buffering=0) as handle:
            room = memoryview(bytearray(_PIECE))
            while count := handle.readinto(room):
                digest.update(room[:count])
                done += count
                progress(min(done, total), total)
            after = os.fstat(handle.fileno())
        if _state(after) != _state(state):
            raise TensorFileError(
                f"{shown(one)} changed while it was hashed",
                hint="copy the suspect somewhere that nobody writes to, and examine the copy",
            )
        states.append((one, _state(after)))
        files.append({"name": name, "size": state.st_size, "sha256": "0x" + digest.hexdigest()})
    files.sort(key=lambda of: str(of["name"]))
    kind = "folder" if folder else "file"
    sha256 = str(folder_digest(files)) if folder else files[0]["sha256"]
    record = {
        "name": one_line(path.resolve().name or "suspect")[:MAX_NAME],
        "kind": kind,
        "size": sum(int(of["size"]) for of in files),
        "sha256": sha256,
        "received": at,
        "files": files,
    }
    return Received(path, record, tuple(states))


def _walk(folder: Path) -> list[tuple[Path, str]]:
    found = []
    for place, folders, names in os.walk(folder, onerror=_unreadable):
        folders.sort()
        for name in folders:
            if (Path(place) / name).is_symlink():
                # Not entered, or it might lead round; and passed over it would hide what it holds.
                raise TensorFileError(
                    f"{shown(Path(place) / name)} is a link to a folder",
                    hint="replace the link by a copy of the folder it points to",
                )
        for name in sorted(names):
            path = Path(place) / name
            relative = path.relative_to(folder).as_posix()
            if not is_plain(relative) or len(relative) > MAX_TEXT:
                raise TensorFileError(
                    f"{shown(path)} has a name that no record can hold",
                    hint="give the files that matter alone",
                )
            found.append((path, relative))
            if len(found) > MAX_FILES:
                raise LimitExceeded(
                    f"{shown(folder)} holds more than {MAX_FILES} files",
                    hint="give the folder of one model",
                )
    if not found:
        raise TensorFileError(f"{shown(folder)} holds no file", hint="check the path")
    return found


def _unreadable(error: OSError) -> None:
    raise TensorFileError(
        f"{shown(error.filename)} cannot be read: {error.strerror}",
        hint="check the path and its permissions",
    ) from None


def _downloaded(
    url: str,
    dest: Path,
    now: Callable[[], datetime],
    progress: Progress,
    *,
    limit: int,
    timeout: float,
) -> Received:
    with _answering(url, limit, timeout) as (source, size, pieces):
        if size > shutil.disk_usage(dest.resolve().parent).free - SPARE_BYTES:
            raise UsageError(
                f"the {size} bytes of {source} do not fit on the disk",
                hint="name a file on another disk with --keep",
            )
        digest, at, done = hashlib.sha256(), _utc(now()), 0
        try:
            with dest.open("xb") as file:
                for piece in pieces:
                    digest.update(piece)
                    file.write(piece)
                    done += len(piece)
                    progress(done, size)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            dest.unlink(missing_ok=True)
            raise UsageError(f"{dest} cannot be written: {error.strerror}") from None
        except BaseException:
            dest.unlink(missing_ok=True)
            raise
        dest.chmod(0o444)
    name, sha256 = _name_of(url), "0x" + digest.hexdigest()
    one = {"name": name, "size": size, "sha256": sha256}
    record = {**one, "kind": "url", "received": at, "files": [one]}
    return Received(dest, record, ((dest, _state(dest.stat())),))


@contextmanager
def _answering(
    url: str, limit: int, timeout: float
) -> Iterator[tuple[str, int, Iterator[bytes | bytearray]]]:
    """What a URL's server is called, the file's size and its bytes, piece by piece."""
    from ledger.remote.objects import RemoteObject
    from ledger.remote.places import Place
    from ledger.remote.whole import whole_object

    place = Place.parse(url)
    with ExitStack() as stack:
        source = None
        with _hinted(), suppress(RangesRefused):
            source = stack.enter_context(closing(RemoteObject(place, timeout=timeout)))
        if source is not None:
            _check_size(source.name, source.size, limit)
            yield source.name, source.size, _hinted_pieces(_by_ranges(source))
            return
        with _hinted():
            answer = stack.enter_context(whole_object(place, timeout=timeout))
        _check_size(answer.name, answer.size, min(limit, MAX_WHOLE))
        yield answer.name, answer.size, _hinted_pieces(answer.pieces())


def _by_ranges(source: RemoteObject) -> Iterator[bytearray]:
    for offset in range(0, source.size, _PIECE):
        room = bytearray(min(_PIECE, source.size - offset))
        source.read(offset, memoryview(room))
        yield room


def _hinted_pieces(pieces: Iterator[_Bytes]) -> Iterator[_Bytes]:
    while True:
        with _hinted():
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece


def _check_size(name: str, size: int, limit: int) -> None:
    if size == 0:
        raise TensorFileError(f"{name} is empty", hint="check the URL")
    if size > limit:
        why = "no model is that large; check the URL"
        if limit == MAX_WHOLE:
            why = f"its server gives files only whole: {_OTHERWISE}"
        raise LimitExceeded(f"{name} has {size} bytes; at most {limit} are downloaded", hint=why)


@contextmanager
def _told_as(dest: Path, url: str) -> Iterator[None]:
    """Errors about the file that a URL's bytes lie in for now name the URL's server and file."""
    from ledger.remote.places import Place

    try:
        yield
    except LedgerError as error:
        # A URL's path may give access, as its query; its last part is in the record anyway.
        place = Place.parse(url)
        server = f"{place.scheme}://{place.host}/…"
        for path, said in ((dest, f"{server}/{_name_of(url)}"), (dest.parent, server)):
            error.message = error.message.replace(shown(path), said)
            error.hint = error.hint.replace(shown(path), said)
        error.args = (error.message,)
        raise


@contextmanager
def _hinted() -> Iterator[None]:
    """Hints of the remote reader speak of sealed files and their cards; a suspect has none."""
    try:
        yield
    except ToolMissing:
        raise
    except UnavailableError as error:
        if "(HTTP 416)" in error.message:  # it has no first byte
            what = error.message.partition(" ")[0]
            raise TensorFileError(f"{what} is empty", hint="check the URL") from None
        error.hint = f"try again shortly, or {_OTHERWISE}"
        raise
    except LedgerError as error:
        error.hint = f"check the URL, or {_OTHERWISE}"
        raise


def _name_of(url: str) -> str:
    """The last part of a URL's path; neither host nor query, which may give access."""
    from ledger.remote.places import Place

    name = PurePosixPath(Place.parse(url).path).name
    return one_line(name)[:MAX_NAME].replace("/", "_").lstrip(".") or "suspect"


def _on_disk_as(name: str) -> str:
    """A name that every file system takes; the suffix stays, as formats are told by it."""
    if len(name.encode()) <= _MAX_ON_DISK:
        return name
    suffix = PurePosixPath(name).suffix
    return "suspect" + (suffix if len(suffix.encode()) <= _MAX_SUFFIX else "")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise TensorFileError(
            f"{shown(path)} cannot be read: {error.strerror}",
            hint="check the path and its permissions",
        ) from None


def _state(of: os.stat_result) -> _State:
    return of.st_dev, of.st_ino, of.st_size, of.st_mtime_ns, of.st_ctime_ns


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
