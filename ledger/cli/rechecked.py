"""What a bundle's findings say of a suspect, computed again from the suspect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ledger.cli.output import console, steps


def rechecked(
    file: Path, suspect: str, ours: Path | None, sketch: Path | None
) -> tuple[list[dict[str, Any]], str, bool]:
    """The checks as data and as text, and whether none failed."""
    from ledger.rechecking import recheck
    from ledger.suspects import received

    with console.progress("hash") as progress, received(suspect, progress=progress) as there:
        checks = recheck(file, there, ours, sketch)
    text = steps(checks, what="with the suspect", empty="nothing")
    return [c.to_json() for c in checks], text, all(c.result != "fail" for c in checks)
