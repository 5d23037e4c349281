"""Evidence made ready for a file: printed forms and verifier copies beside a bundle or in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from ledger.canonical import canonical_json
from ledger.dating import close_bundle
from ledger.evidence.bundle import CUSTODY, PRINTED, VERIFIERS, read_bundle
from ledger.evidence.custody import append, read_log
from ledger.evidence.printing import print_forms, verifier_copies
from ledger.files import write_whole
from ledger.ids import Address, Digest


def print_beside(path: Path, folder: Path) -> list[Path]:
    """Write a bundle's printed forms into `folder`; the bundle is not changed.

    Raises:
        VerificationError: the bundle does not hold.
        UsageError: the folder cannot be written, or the typesetter is not installed.
    """
    forms = print_forms(read_bundle(path))
    return [_put(folder / name, data) for name, data in forms.items()]


def print_into(
    path: Path,
    *,
    time: str,
    actor: str,
    software: str,
    note: str = "",
    signer: Address | None = None,
    sign: Callable[[Digest], bytes] | None = None,
) -> bytes:
    """The bundle at `path` with printed forms and verifier copies in it, listed in its custody log.

    Forms already in it are made anew. Its `contents` stays what it is.

    Raises:
        VerificationError: the bundle does not hold.
        UsageError: the typesetter is not installed.
    """
    bundle = read_bundle(path)
    kept = {
        name: data for name, data in bundle.members.items() if name not in {*PRINTED, *VERIFIERS}
    }
    # What the forms say of the custody log ends before the entry that lists them.
    log = read_log(bundle.json(CUSTODY), bundle.computed_contents)
    added = print_forms(bundle, log=[entry.to_json() for entry in log]) | verifier_copies()
    log = append(
        log,
        time=time,
        actor=actor,
        action="printed",
        note=note,
        software=software,
        contents=bundle.computed_contents,
        printed={name: Digest(hashlib.sha256(data).digest()) for name, data in added.items()},
        signer=signer,
        sign=sign,
    )
    entries = canonical_json([entry.to_json() for entry in log])
    return close_bundle(bundle.subject, {**kept, **added, CUSTODY: entries}, bundle.left_out)


def _put(path: Path, data: bytes) -> Path:
    write_whole(path, data)
    return path
