"""Names of files beside files: what a path from outside must be before one is made from it."""

from __future__ import annotations

from pathlib import Path

from ledger.errors import UsageError


def require_file_name(path: Path, *, what: str = "a file") -> Path:
    """The path, when a file of that name can be, or is to be, there.

    ``.``, ``/`` and ``..`` have no name that another could be made from, and a folder is in the
    way of any file.

    Args:
        path: as the user gave it.
        what: what should be named instead, for the hint.

    Raises:
        UsageError: it is a folder.
    """
    if path.name in {"", ".."} or path.is_dir():
        raise UsageError(f"{path} is a folder", hint=f"name {what}, in it or elsewhere")
    return path


def beside(path: Path, name: str) -> Path:
    """The path with another name; for ``.`` and the like that of the folder they stand for.

    Raises:
        UsageError: it is the root of the file system.
    """
    whole = path if path.name not in {"", ".."} else path.resolve()
    if not whole.name:
        raise UsageError(f"{path} is the root folder", hint="name a folder or file below it")
    return whole.with_name(name)
