"""Regular files of unknown honesty: opened without waiting, and named so that nothing misleads."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ledger.errors import LimitExceeded, TensorFileError

MAX_SHOWN = 400


def shown(path: Path | str) -> str:
    """A path as messages give it: whole when it is ordinary, else escaped and cut short."""
    text = str(path)
    if len(text) <= MAX_SHOWN and text.isprintable():
        return text
    return ascii(text[:MAX_SHOWN])


def open_regular(path: Path) -> tuple[int, os.stat_result]:
    """A read-only descriptor of a regular file, and its state; never blocks on a pipe.

    Raises:
        TensorFileError: there is no such file, or it is a pipe, device, socket or folder.
    """
    try:
        # Without O_NONBLOCK the open of a FIFO waits for a writer for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise TensorFileError(
            f"{shown(path)} cannot be read: {reason}", hint="check the path and its permissions"
        ) from None
    state = os.fstat(fd)
    if not stat.S_ISREG(state.st_mode):
        os.close(fd)
        raise TensorFileError(
            f"{shown(path)} is not a regular file",
            hint="give a .safetensors file or a model's folder",
        )
    return fd, state


def read_regular(path: Path, limit: int, *, head: bool = False) -> bytes:
    """The bytes of a regular file, at most `limit`; with `head`, only the first `limit`.

    Raises:
        TensorFileError: it cannot be read.
        LimitExceeded: it is larger.
    """
    fd, state = open_regular(path)
    with os.fdopen(fd, "rb") as file:
        if state.st_size > limit and not head:
            raise LimitExceeded(
                f"{shown(path)} has {state.st_size} bytes; at most {limit} are read"
            )
        # Read allocates what it is asked for, whatever the file holds.
        return file.read(min(limit, state.st_size))


def check_link(folder: Path, name: str) -> None:
    """A link may point into the folder or, in a Hugging Face cache, to that model's blobs.

    Anything else could carry a private file of this host into a package that is handed out.

    Raises:
        TensorFileError: it leaves both, or leads to a folder.
    """
    root = folder.resolve()
    target = (folder / name).resolve()
    homes = [root]
    for inner in (root, *root.parents):
        if inner.parent.name == "snapshots":
            homes.append(inner.parent.parent / "blobs")
            break
    if target.is_dir() or not any(target.is_relative_to(home) for home in homes):
        raise TensorFileError(
            f"{shown(folder)}: {name[:200]!r} is a link that leaves the folder",
            hint="replace the link by a copy of the file it points to",
        )
