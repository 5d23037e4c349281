"""What a publication's folder holds, and the lock that keeps two from working in it."""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ledger.broker.custody import write_private
from ledger.canonical import canonical_json, parse_json
from ledger.claim import Claim
from ledger.errors import ClaimMismatch, ManifestError, UsageError
from ledger.licensing.terms import Terms

VERSION: Final = 1
# What `write_private` and `seal` name the files they have not finished; a killed run leaves them.
_UNFINISHED: Final = re.compile(
    r"\.(?:(?:claim|manifest|terms|fingerprint|journal|deposit-receipt|.+\.recovery)\.json"
    r"\.[0-9a-f]{8}\.tmp|.+\.sealed\.[0-9a-f]{12}\.part)"
)


class Journal:
    """The folder's memory: inputs that may not change, and each step's result."""

    def __init__(self, path: Path, inputs: dict[str, Any]) -> None:
        self._path = path
        if path.exists():
            stored = parse_json(path.read_bytes(), what=str(path))
            if not isinstance(stored, dict) or stored.get("version") != VERSION:
                raise ManifestError(
                    f"{path} is not a publication journal of this version",
                    hint="give another --out folder",
                )
            for name, value in inputs.items():
                if stored["inputs"].get(name) != value:
                    raise UsageError(
                        f"{path.parent} holds a publication with another {name.replace('_', ' ')}",
                        hint="repeat the command it was begun with, or give another --out folder",
                    )
            self._steps: dict[str, dict[str, Any]] = stored["steps"]
        else:
            self._steps = {}
        self._inputs = inputs

    def get(self, step: str) -> dict[str, Any] | None:
        """What the step left, or None."""
        return self._steps.get(step)

    def note(self, step: str, result: dict[str, Any]) -> None:
        """Remember a step's result durably."""
        self._steps[step] = result
        document = {"version": VERSION, "inputs": self._inputs, "steps": self._steps}
        write_private(self._path, json.dumps(document, indent=2).encode() + b"\n", replace=True)


def keep_documents(
    folder: Path, model: Path, claim: Claim, manifest: dict[str, Any], terms: Terms
) -> None:
    """Keep claim, manifest and terms beside the journal; the claim stays as it was begun.

    Raises:
        ClaimMismatch: another claim is there: the model, or what lies beside it, has changed.
    """
    path = folder / "claim.json"
    document = canonical_json(claim.to_json()) + b"\n"
    if path.exists() and path.read_bytes() != document:
        raise ClaimMismatch(
            f"{model} or its side files changed since this publication began",
            hint="put the model back as it was, or publish the new one in another folder",
        )
    write_private(path, document, replace=True)
    for name, value in {"manifest": manifest, "terms": dict(terms.document)}.items():
        write_private(folder / f"{name}.json", canonical_json(value) + b"\n", replace=True)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the folder of this lock file alone, cleared of what a killed run left unfinished.

    Raises:
        UsageError: another process holds it.
    """
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"another deed publish or deed reseal works in {path.parent}",
                hint="wait for it, or give another --out folder",
            ) from None
        for left in path.parent.iterdir():
            if _UNFINISHED.fullmatch(left.name):
                left.unlink(missing_ok=True)
        yield
