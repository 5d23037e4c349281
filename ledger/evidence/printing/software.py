"""Which software printed a form: its version, the digest of its code, and its typesetter."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable


@dataclass(frozen=True, slots=True)
class Software:
    """What must be equal for two printings to be equal.

    Attributes:
        code: SHA-256 over the files of ``ledger/evidence``, by name.
    """

    name: str
    code: str
    typesetter: str

    @property
    def mark(self) -> str:
        """One line that printed forms carry, by which a verifier knows whether to compare."""
        return f"{self.name}; code {self.code}; {self.typesetter}"


@cache
def software() -> Software:
    """This software."""
    return Software(_named("modeldeed"), _code(), _named("typst"))


def _named(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package}, version unknown"


def _code() -> str:
    digest = hashlib.sha256(b"modeldeed/evidence-code/1\0")
    for name, file in sorted(_walk(files("ledger.evidence"), "")):
        data = file.read_bytes()
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return "0x" + digest.hexdigest()


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, Traversable]]:
    found = []
    for item in folder.iterdir():
        name = prefix + item.name
        if item.is_dir() and item.name != "__pycache__":
            found += _walk(item, name + "/")
        elif name.endswith((".py", ".typ", ".json", ".html", ".css")):
            found.append((name, item))
    return found
