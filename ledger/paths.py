"""Names of files: what a path or title from outside must be before one is made from it."""

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


def own_name(path: Path) -> str:
    """What a file, without its suffix, or a folder is called, however it is reached."""
    whole = path.resolve()
    return whole.name if whole.is_dir() else whole.stem


def file_stem(title: str) -> str:
    """A title as part of a file's name, at most 80 characters."""
    kept = "".join(c if c.isalnum() or c in "-._" else "-" for c in title).strip("-.")
    return kept[:80] or "model"
