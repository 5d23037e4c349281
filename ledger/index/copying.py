"""A copy of an SQLite index, whole and of one moment, while others read and write it.

The newest transactions of a database in WAL mode lie in a log beside its file: the file alone is
no copy, and beside another's log it would take that one over. What is made here is one file with no
log, and is made only where nothing stands that it could be mistaken for. PostgreSQL has its own
tools (docs/guides/keeping-the-index.md).
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.errors import IndexUnavailable, UsageError
from ledger.files import sync_folder, take_name
from ledger.index.database_file import DAMAGE, DatabaseFile, damaged, log_of, refusal

BUSY_SECONDS: Final = 10.0
# 64 MB between two looks at whether the user has had enough.
_PAGES_AT_ONCE: Final = 4096
_CHECK: Final = "PRAGMA integrity_check(1)"
# SQLite deletes files of these names when it opens the database that they are named after.
_LOGS: Final = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy holds: bytes of its file, the last block, None before the first."""

    size: int
    block: int | None


def copy_index(
    source: Path,
    dest: Path,
    *,
    restores: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Copied:
    """Copy the index database at `source` to `dest`, where nothing may stand yet.

    All of it is of one moment, however much is written meanwhile, and nobody waits for it. The copy
    is on the disk, whole and checked by SQLite (``integrity_check``), before it has its name; ended
    at any point, no file of that name is there. It has the permissions of its source, and
    its owner may write it.

    Args:
        source: an index, also one that is followed or served at this moment, or a copy.
        dest: the new file; its folder must be there.
        restores: whether `source` is a copy that is put back: the way out is then another one.
        progress: called with the pages done and their number.

    Raises:
        UsageError: `source` is no index, damaged, or may not be read; `dest` or a log beside it is
            there, or not its folder, or is named like a log.
        IndexUnavailable: `source` is held by another process, or was written meanwhile from where
            there are other rights; the disk is full, or keeps something else.
    """
    source, dest = source.absolute(), dest.absolute()
    if not os.path.lexists(source):
        raise UsageError(
            f"there is no {source}",
            hint="name a copy that is there" if restores else "name the index, or a copy of one",
        )
    _require_free(dest)
    part: Path | None = None
    try:
        file = DatabaseFile.open(source, create=False, copy=restores)
        with file.unwritten(), closing(file.connect(timeout=BUSY_SECONDS)) as raw:
            part = _part(dest)
            # What was put away to be read only is to be followed again where it is restored.
            part.chmod(source.stat().st_mode & 0o777 | 0o200)
            block = _copy(raw, source, part, progress, restores=restores)
        size = _name(part, dest)
    except (sqlite3.Error, OSError) as error:
        # What the system says of the copy is nothing about its source.
        about_it = isinstance(error, sqlite3.Error) or error.filename == str(source)
        refused = refusal(source, error, copy=restores) if about_it else None
        if refused is not None:
            raise refused from error
        said = str(error) if isinstance(error, sqlite3.Error) else error.strerror
        raise IndexUnavailable(
            f"the index database cannot be copied: {said or type(error).__name__}",
            hint="check the free space where the copy is to be, and that nothing holds the index",
        ) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
    return Copied(size, block)


def _require_free(dest: Path) -> None:
    if not dest.parent.is_dir():
        raise UsageError(f"there is no folder {dest.parent}", hint="make it first")
    if dest.name.endswith(_LOGS):
        raise UsageError(
            f"{dest.name} is what SQLite calls a log of a database, and removes",
            hint="give the copy another name",
        )
    if os.path.lexists(dest):
        raise UsageError(
            f"{dest} is there already", hint="nothing was changed: name another, or move it away"
        )
    journal = dest.with_name(f"{dest.name}-journal")
    log = journal if os.path.lexists(journal) else log_of(dest)
    if log is not None:
        raise UsageError(
            f"{log} is the log of another database",
            hint="move it away with the file that it belongs to, which is not whole without",
        )


def _part(dest: Path) -> Path:
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{dest.name}.", dir=dest.parent)
    except OSError as error:
        raise UsageError(
            f"cannot write into {dest.parent}: {error.strerror}",
            hint="check its permissions, or choose another folder",
        ) from None
    os.close(descriptor)
    return Path(name)


def _copy(
    raw: sqlite3.Connection,
    source: Path,
    part: Path,
    progress: Callable[[int, int], None],
    *,
    restores: bool,
) -> int | None:
    # A transaction of ours: without it a copy begins again whenever someone else has written.
    raw.isolation_level = None
    raw.execute("BEGIN")
    (block,) = raw.execute("SELECT max(next_block) - 1 FROM cursor").fetchone()
    with closing(sqlite3.connect(part, isolation_level=None)) as copy:
        copy.execute("PRAGMA journal_mode=OFF")
        copy.execute("PRAGMA synchronous=OFF")
        raw.backup(
            copy,
            pages=_PAGES_AT_ONCE,
            progress=lambda _, left, pages: progress(pages - left, pages),
        )
        # One that needs no log beside it can be read from where nothing can be written.
        try:
            copy.execute("PRAGMA journal_mode=DELETE")
            (found,) = copy.execute(_CHECK).fetchone()
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF not in DAMAGE:
                raise
            found = str(error)
    if found != "ok":
        (own,) = raw.execute(_CHECK).fetchone()
        if own != "ok":
            raise damaged(source, own, copy=restores)
        raise IndexUnavailable(
            f"what was written into {part.parent} is not what is read from there: "
            f"{' '.join(found.split())}",
            hint="the index itself is whole: copy it to another disk",
        )
    return None if block is None else int(block)


def _name(part: Path, dest: Path) -> int:
    """Put the file on the disk, and then under its name; its bytes."""
    descriptor = os.open(part, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        size = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    _require_free(dest)
    try:
        take_name(part, dest)
    except FileExistsError:
        _require_free(dest)
        raise
    sync_folder(dest.parent)
    return size
