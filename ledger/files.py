"""Files that are on the disk, whole, before they have their name."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# What a file system without hard links says.
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})


def write_whole(path: Path, data: bytes, *, mode: int = 0o644, replace: bool = True) -> None:
    """Write a small file: readers see what was there before, or all of it, even after a power cut.

    A process that is killed meanwhile leaves a file ``.NAME.8 hex digits.tmp`` beside it. Of a link
    it is the link that is replaced, and not the file that it leads to.

    Args:
        path: of the file; its folder is made where it is not there.
        data: what it is to hold.
        mode: its permissions from the first byte on, less the umask; none for others that a file
            in whose place it comes did not give them.
        replace: take the place of a file of that name.

    Raises:
        FileExistsError: something of that name is there, and `replace` is false.
        OSError: it cannot be written; about `path`, where what was there still is. Where only the
            folder failed, which comes last, a file that was replaced is: all of `data` is there
            then, but may not outlive a power cut.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        _make_folder(path.parent)
        if replace:
            with contextlib.suppress(OSError):  # nothing is there, or a link to nothing
                mode &= path.stat().st_mode | stat.S_IRWXU
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                part.replace(path)
            else:
                take_name(part, path)
        finally:
            part.unlink(missing_ok=True)
        try:
            sync_folder(path.parent)
        except OSError:
            if not replace:
                # Whoever tries again is not to be told that it is there.
                path.unlink(missing_ok=True)
            raise
    except OSError as error:
        # The file beside it is nobody's business.
        raise type(error)(error.errno, error.strerror, str(path)) from None


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[int]:
    """A descriptor of a new file beside `path`, which takes its name when the block succeeds.

    A file of that name is replaced. Where the file system can, the new one has no name until then
    and vanishes with the process, even one that is killed; else it is called ``.NAME.12 hex
    digits.part``.

    Raises:
        OSError: it cannot be written; what was there still is, unless only the folder failed, which
            comes last: the new file may not outlive a power cut then.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    fd, nameless = _opened(part)
    try:
        try:
            yield fd
            os.fsync(fd)
            if nameless:
                # Only with a folder descriptor does os.link follow the link in /proc.
                os.link(f"/proc/self/fd/{fd}", part, src_dir_fd=fd, follow_symlinks=True)
        finally:
            os.close(fd)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _opened(part: Path) -> tuple[int, bool]:
    flags = os.O_RDWR | os.O_CLOEXEC
    if Path("/proc/self/fd").is_dir():
        with contextlib.suppress(OSError):
            return os.open(part.parent, flags | os.O_TMPFILE, 0o666), True
    return os.open(part, flags | os.O_CREAT | os.O_EXCL, 0o666), False


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # which would be taken for the file's own name
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None


def take_name(part: Path, path: Path) -> None:
    """Give a finished file the name that it is to have, if nothing has it yet.

    Where there are no hard links, a process killed in here may leave an empty file of that name.

    Raises:
        FileExistsError: something of that name is there; both are as they were.
        OSError: it cannot have it.
    """
    try:
        os.link(part, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # The name is ours before anything takes its place.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            part.replace(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    else:
        part.unlink()


def sync_folder(folder: Path) -> None:
    """Make names that were given in a folder survive a power cut, as far as its file system can.

    Raises:
        OSError: the disk fails.
    """
    with contextlib.suppress(PermissionError):  # one may write where one may not read
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # it has nothing to do
                raise
        finally:
            os.close(descriptor)
