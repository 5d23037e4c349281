"""Finding what ``deed publish`` and ``deed reseal`` left in a folder: claim, terms, sealed file.

A publication's folder holds ``journal.json``; commands that need its parts look in the folder they
were given, else in the working directory and two levels below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ledger.canonical import parse_json
from ledger.errors import ManifestError, UsageError

JOURNAL: Final = "journal.json"
_MAX_JOURNAL: Final = 4 << 20
_LEVELS_BELOW: Final = 2
_MAX_PART: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class Folder:
    """A publication's folder, and what its journal says."""

    path: Path
    inputs: dict[str, Any]
    steps: dict[str, dict[str, Any]]

    def result(self, step: str, name: str) -> Any:
        """What a step noted under a name.

        Raises:
            ManifestError: the publication has not come that far.
        """
        value = self.steps.get(step, {}).get(name)
        if value is None:
            raise ManifestError(
                f"the publication in {self.path} has no {step} yet",
                hint="finish it: run the same deed publish or deed reseal again",
            )
        return value

    def document(self, name: str) -> Any:
        """A JSON file of the publication.

        Raises:
            ManifestError: it is missing or not JSON.
        """
        path = self.path / name
        if not path.is_file():
            raise ManifestError(
                f"{path} is missing", hint="restore it, or run the command that made it again"
            )
        return parse_json(path.read_bytes(), what=str(path), limit=_MAX_PART)

    @property
    def sealed(self) -> Path:
        """The sealed file.

        Raises:
            ManifestError: there is none, or more than one.
        """
        found = sorted(self.path.glob("*.sealed"))
        if len(found) != 1:
            raise ManifestError(
                f"{self.path} holds {len(found)} sealed files, not one",
                hint="finish the publication, or name the file with --sealed",
            )
        return found[0]


def read(path: Path) -> Folder:
    """Read a publication's folder.

    Raises:
        ManifestError: there is no publication in it.
    """
    journal = path / JOURNAL
    if not journal.is_file():
        raise ManifestError(
            f"{path} holds no publication",
            hint="give the folder that deed publish or deed reseal wrote",
        )
    stored = parse_json(journal.read_bytes(), what=str(journal), limit=_MAX_JOURNAL)
    inputs = stored.get("inputs") if isinstance(stored, dict) else None
    steps = stored.get("steps") if isinstance(stored, dict) else None
    if not isinstance(inputs, dict) or not isinstance(steps, dict):
        raise ManifestError(f"{journal} is not a publication's journal")
    return Folder(path, inputs, steps)


def find(
    given: Path | None,
    matches: Callable[[Folder], bool],
    *,
    what: str,
    flag: str = "--from",
    best: Callable[[Folder], bool] | None = None,
) -> Folder:
    """The publication that a command needs.

    Args:
        given: a folder named on the command line, or None to look around.
        matches: tells whether a publication is the one.
        what: the thing it is of, for the error.
        flag: the option that names a folder.
        best: looking around, one for which this holds too is taken before others.

    Raises:
        UsageError: the given one is of something else, or none was found.
        ManifestError: the given folder holds none.
    """
    if given is not None:
        folder = read(given)
        if not matches(folder):
            raise UsageError(f"the publication in {given} is not of {what}", hint="check the id")
        return folder
    found = [folder for folder in around() if matches(folder)]
    if found:
        return next(filter(best, found), found[0]) if best else found[0]
    raise UsageError(
        f"the publication of {what} is not in this folder",
        hint=f"name the folder that deed publish or deed reseal wrote: {flag} FOLDER",
    )


def is_around(folder: Path) -> bool:
    """Whether `find` looks into a folder without being told."""
    start, folder = Path.cwd(), folder.resolve()
    return start.resolve() in {folder, *folder.parents[:_LEVELS_BELOW]}


def around() -> Iterator[Folder]:
    """Every publication in the working directory and two levels below."""
    start = Path.cwd()
    for level in range(_LEVELS_BELOW + 1):
        pattern = "*/" * level + JOURNAL
        for journal in sorted(start.glob(pattern)):
            try:
                yield read(journal.parent)
            except (ManifestError, OSError):
                continue
