"""The file of an SQLite index: made only by who may, and the same one for as long as it is open.

SQLite opens a path anew with each connection, and makes an empty database where nothing is. Of a
file that was removed or replaced meanwhile a pool would hold both: connections to what no path
leads to any more, and others to what stands there now, and whoever wrote would write into either.
"""

from __future__ import annotations

import logging
import os
import shlex
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from ledger.errors import (
    ConfigurationError,
    IndexDamaged,
    IndexReplaced,
    IndexUnavailable,
    UsageError,
)
from ledger.index.belonging import (
    ASK_REVISIONS,
    REVISIONS,
    Place,
    anothers,
    holds_index,
    lacks_ours,
    name_taken,
)

log = logging.getLogger(__name__)

_SMALLEST_PAGE: Final = 512
_STILL: Final = "ro&immutable=1"
_Identity = tuple[int, int]
_Look = tuple[int, int, int]
_DENIALS: Final = frozenset({sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})
# Where a program says whose a file is; no release of ours has set either.
_MARKS: Final = ("application_id", "user_version")
_NAME_UNKNOWN: Final = ("no such table: ", "no such column: ")
_NAME_TAKEN: Final = " already exists"
_NO_TEXT: Final = "Could not decode to UTF-8 column "
DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PERMIT: Final = "let this user read and write the file and its folder, or name another place"
_ANOTHER: Final = (
    "nothing was put back: use another copy; deed index audit --database tells of each whether it "
    "is whole"
)
_PUT_BACK: Final = (
    "stop all that use it, move it and its -wal away, and put a copy in its place with deed index "
    "restore; without a copy the chain is read anew into a new file; if this is a copy itself, use "
    "another"
)


class DatabaseFile:
    """What stood at a path when it was opened first; every connection to it is made here.

    Its methods may be called from any thread. It never opens the file but through SQLite: closing
    a descriptor of one's own would let go of the locks that this process has on it (POSIX).
    """

    def __init__(self, path: Path, opened: _Identity) -> None:
        self._path = path
        self._opened = opened
        # What it was when it was first read without locks; None while it never was.
        self._still: _Look | None = None
        self._lost: IndexReplaced | None = None

    @classmethod
    def open(cls, path: Path, *, create: bool, copy: bool = False) -> Self:
        """Look at what stands at `path`; nothing that is there is changed.

        Args:
            path: absolute.
            create: whether an empty file is made where nothing is; what is there is then written,
                and refused where that may not be.
            copy: whether it is to be put back, which is said otherwise where it cannot be used.

        Raises:
            UsageError: nothing is there, or an empty file, and nothing may be made; or its folder
                is not there; or it is a folder, or no SQLite database, or another program's, or
                does not say which release's shape it has; or it may not be used so.
            IndexDamaged: it lacks its end.
            sqlite3.Error: it cannot be opened.
            OSError: likewise.
        """
        try:
            found = path.stat()
            size, there = found.st_size, True
            if not stat.S_ISREG(found.st_mode):
                raise _no_file(path, found.st_mode)
        except (FileNotFoundError, NotADirectoryError):
            size, there = 0, False
        # Looked at again: another process may have made both since.
        if size == 0 and (log := log_of(path)) is not None and _is_empty(path):
            # SQLite would take it for rubbish and delete it.
            raise UsageError(
                f"{log} is the log of an index database, but {path.name} is not beside it",
                hint="put the file back that it belongs to, or move the log away",
            )
        if not there and not create:
            raise _nothing(path, copy=copy)
        if not there and not path.parent.is_dir():
            raise UsageError(
                f"there is no folder {path.parent} for the index database",
                hint="make it first, or correct the path",
            )
        if 0 < size < _SMALLEST_PAGE:
            raise _no_database(path, copy=copy)
        # First: SQLite opens what may only be read all the same, and may leave a log beside it.
        if create and there and (denied := _denied(path, copy=copy)) is not None:
            raise denied
        with closing(_connect(path, "rwc" if create else _mode(path))) as raw:
            raw.isolation_level = None
            try:
                # Nobody writes into the file, or takes away what is in the log, before a
                # transaction ends that began to read it: its length and the log are of one moment.
                raw.execute("BEGIN")
                rows = raw.execute("SELECT name, type FROM sqlite_master").fetchall()
                marks = [raw.execute(f"PRAGMA {mark}").fetchone()[0] for mark in _MARKS]
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                    raise _no_database(path, copy=copy) from None
                raise
            found = path.stat()
            opened = found.st_dev, found.st_ino
            _require_end(raw, path, found.st_size, copy=copy)
            rows = [(name, kind) for name, kind in rows if not name.startswith("sqlite_")]
            tables = {name for name, kind in rows if kind == "table"}
            revisions = _revisions(raw) if REVISIONS in tables else set()
        place = _place(path, copy=copy)
        there = holds_index(place, tables, revisions)
        other = [name for name, kind in rows if kind != "table"]
        if not there and (other or any(marks)):
            raise anothers(place, other)
        if not tables and not create:
            raise _empty(path, copy=copy) if size == 0 else _without_log(path)
        if not there and not create:
            raise _nothing(path, copy=copy)
        return cls(path, opened)

    @contextmanager
    def unwritten(self) -> Iterator[None]:
        """Read within it what is read without locks: pages of two moments are not what was asked.

        Raises:
            IndexUnavailable: it was written meanwhile. Where there are locks nothing is looked at.
        """
        try:
            yield
        except Exception:
            self._require_unwritten()
            raise
        self._require_unwritten()

    def _require_unwritten(self) -> None:
        if self._still is not None and _look(self._path) != self._still:
            raise IndexUnavailable(
                f"{self._path} was written while it was read, from where more may be written than "
                "here, and so without its locks",
                hint="use it where it is written, or once nobody writes into it",
            )

    def connect(self, *, timeout: float) -> sqlite3.Connection:
        """A connection to the file that was opened first, and to no other.

        Args:
            timeout: seconds to wait for locks.

        Raises:
            IndexReplaced: the path leads to another file, or to none, or did so before.
        """
        self.check()
        mode = _mode(self._path)
        if mode == _STILL and self._still is None:
            self._still = _look(self._path)
        try:
            raw = _connect(self._path, mode, timeout)
        except sqlite3.OperationalError:
            self.check()
            raise
        try:
            # It may have been replaced since.
            self.check()
        except BaseException:
            raw.close()
            raise
        return raw

    def check(self) -> None:
        """Whether the path still leads to the file that is open: one system call.

        Raises:
            IndexReplaced: it does not, or did not before.
        """
        if self._lost is not None:
            # Also when it is back: whoever opened the path meanwhile may have taken its log away.
            raise IndexReplaced(self._lost.message)
        try:
            if _identity(self._path) == self._opened:
                return
            what = "replaced by another"
        except (FileNotFoundError, NotADirectoryError):
            what = "removed"
        except OSError:
            # Not to be seen at this moment: the next transaction tells.
            return
        error = IndexReplaced(f"the file of the index database was {what} while it was open")
        self._lost = error
        log.error("%s; %s", error.message, error.hint, extra={"code": error.code})
        raise error


def log_of(path: Path) -> Path | None:
    """The write-ahead log beside an SQLite file, or where one was, if it holds anything."""
    # SQLite follows a link, also one that leads nowhere yet, and has the log beside its end.
    log = Path(f"{os.path.realpath(path)}-wal")
    try:
        return log if log.stat().st_size else None
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_empty(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except FileNotFoundError:
        return True


def _revisions(raw: sqlite3.Connection) -> set[str]:
    try:
        return {str(name) for (name,) in raw.execute(ASK_REVISIONS)}
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_ERROR:
            raise
        # Without that column it is not as ours.
        return {REVISIONS}


def _require_end(raw: sqlite3.Connection, path: Path, size: int, *, copy: bool) -> None:
    """SQLite takes a last page that is cut for a whole one, and reads zeros where its end was."""
    if log_of(path) is not None:
        # A checkpoint may have been cut off: the log has what the file lacks, and SQLite knows.
        return
    ((page,),) = raw.execute("PRAGMA page_size")
    ((pages,),) = raw.execute("PRAGMA page_count")
    if size % page or size < page * pages:
        how = f"it has {size} bytes, where its {pages} pages take {page * pages}"
        raise damaged(path, how, copy=copy)


def refusal(
    path: Path, error: BaseException | None, *, copy: bool = False
) -> ConfigurationError | None:
    """What is said of `error` where to try again is no use: damaged, changed, or not permitted.

    Args:
        path: of the file.
        error: of SQLite, SQLAlchemy or the system, at opening or using it.
        copy: whether the file is to be put back.
    """
    cause = getattr(error, "orig", error)
    code = getattr(cause, "sqlite_errorcode", None)
    if (how := _damage_in(error)) is not None:
        return damaged(path, how, copy=copy)
    # SQLite has no codes of their own for these. Our statements are fixed, and right about our
    # tables: it is the tables that are not ours.
    if code == sqlite3.SQLITE_ERROR and str(cause).startswith(_NAME_UNKNOWN):
        return lacks_ours(_place(path, copy=copy), str(cause))
    if code == sqlite3.SQLITE_ERROR and str(cause).endswith(_NAME_TAKEN):
        return name_taken(_place(path, copy=copy))
    if not isinstance(cause, PermissionError) and (code is None or code & 0xFF not in _DENIALS):
        return None
    return _denied(path, copy=copy)


def _denied(path: Path, *, copy: bool) -> UsageError | None:
    """What this process may not do that a writer must; None where it may do all of it."""
    path = path.absolute()
    if not _may(path.parent, os.X_OK):
        return UsageError(f"{path.parent} may not be entered", hint=_PERMIT)
    if _may(path, os.F_OK):
        if not _may(path, os.R_OK):
            return UsageError(f"{path} may not be read", hint=_PERMIT)
        if not _may(path, os.W_OK):
            return UsageError(
                f"{path} may only be read, and an index is written",
                hint=_PERMIT + _elsewhere(path, copy=copy),
            )
    # SQLite follows a link, and has the log beside its end.
    folder = Path(os.path.realpath(path)).parent
    if not _may(folder, os.W_OK):
        return UsageError(
            f"nothing may be written into {folder}, where an index has its log",
            hint=_PERMIT + _elsewhere(path, copy=copy),
        )
    return None


def damage_of(error: BaseException | None) -> IndexDamaged | None:
    """What is said where SQLite finds its file damaged, or a text no UTF-8; None of other errors.

    Without the path: it may reach whoever asks the service.
    """
    how = _damage_in(error)
    if how is None:
        return None
    return IndexDamaged(f"the index database is damaged: {how}", hint=_PUT_BACK)


def _damage_in(error: BaseException | None) -> str | None:
    cause = getattr(error, "orig", error)
    if (how := undecoded(cause)) is not None:
        return how
    code = getattr(cause, "sqlite_errorcode", None)
    # The low byte is the primary code.
    return None if code is None or code & 0xFF not in DAMAGE else str(cause)


def undecoded(error: BaseException | None) -> str | None:
    """How the driver says that a text of some row is no UTF-8, for which it has no code.

    Without that text, which no log should hold.
    """
    if not isinstance(error, sqlite3.OperationalError) or not str(error).startswith(_NO_TEXT):
        return None
    return str(error).partition(" with text ")[0]


def damaged(path: Path, how: str, *, copy: bool = False) -> IndexDamaged:
    """An index file whose bytes are not what SQLite wrote.

    Args:
        path: of the file.
        how: in SQLite's words, or ours.
        copy: whether it is to be put back, and not the index that is in use.
    """
    return IndexDamaged(
        f"{path} is damaged: {' '.join(how.split())}", hint=_ANOTHER if copy else _PUT_BACK
    )


def _may(path: Path, mode: int) -> bool:
    # What this process may do, and not who started it. A read-only file system counts.
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _elsewhere(path: Path, *, copy: bool) -> str:
    """How what stands there is used all the same; empty where nothing does."""
    log = log_of(path)
    if log is not None:
        return f"; {path.name} and {log.name}, copied together while nobody uses them, are whole"
    if copy or not _may(path, os.R_OK):
        return ""
    return f"; deed index restore {shlex.quote(str(path))} puts a copy of it elsewhere"


def _no_file(path: Path, mode: int) -> UsageError:
    what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
    return UsageError(
        f"{path} is {what}, and no index database", hint="name a file, such as index.db in a folder"
    )


def _connect(path: Path, mode: str, timeout: float = 5.0) -> sqlite3.Connection:
    uri = f"file://{quote(os.fsencode(path))}?mode={mode}"
    return sqlite3.connect(uri, uri=True, check_same_thread=False, timeout=timeout)


def _mode(path: Path) -> str:
    # A file that once had a log wants one beside it, also to be read, unless it is told otherwise.
    return _STILL if _is_still(path) else "rw"


def _is_still(path: Path) -> bool:
    """Whether it is read without locks or a log: none is in use there, and none can be made.

    Not that nobody writes: another user, or another mount, may begin to (`DatabaseFile.unwritten`).
    """
    real = os.path.realpath(path)
    if not os.path.lexists(real):
        return False
    # Where only the file may not be written, a log could be made and never taken away again.
    if _may(Path(real), os.W_OK) and _may(Path(real).parent, os.W_OK):
        return False
    return not any(os.path.lexists(real + log) for log in ("-wal", "-journal"))


def _look(path: Path) -> _Look:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _identity(path: Path) -> _Identity:
    found = os.stat(path)  # noqa: PTH116 -- with each transaction; a Path takes twice as long
    return found.st_dev, found.st_ino


def _place(path: Path, *, copy: bool) -> Place:
    if copy:
        return Place(str(path), shared=False, other="name a copy of an index", back=_ANOTHER)
    return Place(str(path), shared=False, other="name the index's own file", back=_PUT_BACK)


def _empty(path: Path, *, copy: bool) -> UsageError:
    return UsageError(
        f"{path} is empty, and no index",
        hint=_ANOTHER
        if copy
        else "correct the path; deed index run --database follows the chain into it; to put a copy "
        "there (deed index restore), remove the empty file first",
    )


def _nothing(path: Path, *, copy: bool) -> UsageError:
    return UsageError(
        f"there is no index database at {path}",
        hint=_ANOTHER
        if copy
        else "correct the path; if it was lost, deed index restore puts a copy there; deed index "
        "run --database makes a new one and follows the chain into it",
    )


def _without_log(path: Path) -> UsageError:
    return UsageError(
        f"{path} is an SQLite database without tables",
        hint="of an index that is in use the file alone is no copy, for its newest part lies in "
        "the log beside it (-wal): make copies with deed index backup",
    )


def _no_database(path: Path, *, copy: bool) -> UsageError:
    return UsageError(
        f"{path} is no SQLite database",
        hint=_ANOTHER
        if copy
        else "nothing in it was changed: name the index's own file; where this was its place, move "
        "this away and put a copy there with deed index restore, or let the chain be read anew",
    )
