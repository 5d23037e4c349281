"""``deed evidence redact`` and ``restore``: members left out of a bundle, and put back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ledger.cli import stamping
from ledger.cli.output import Answer, fields, size_text
from ledger.cli.session import Session
from ledger.errors import ClaimMismatch, UsageError
from ledger.ids import LicenseId


def redact(
    session: Session,
    file: Annotated[Path, typer.Argument(help="An evidence bundle.")],
    *,
    withhold: Annotated[
        list[str] | None,
        typer.Option(
            "--withhold",
            metavar="NAME",
            help="tensors, terms, cards, match, releases, fingerprint, or a member; repeat.",
        ),
    ] = None,
    licenses: Annotated[
        list[str] | None,
        typer.Option(
            "--license", metavar="LICENSE", help="Keep this license's card and withhold others'."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The bundle to write.")
    ] = None,
    actor: Annotated[
        str, typer.Option("--actor", metavar="TEXT", help="Who withholds, for the custody log.")
    ] = "not named",
    note: stamping.Note = "",
    sign: stamping.Sign = False,
) -> Answer:
    """Write a copy that leaves members out; what is left stays proved, and stamps stay valid.

    The copy lists what is withheld by name, size and SHA-256, so whoever guesses the bytes can
    confirm the guess. Printed forms are left out: make them anew from the copy. Keep what is
    withheld: deed evidence restore puts it back.
    """
    from ledger.evidence.bundle import read_bundle
    from ledger.evidence.redaction import choose
    from ledger.investigation import redact_evidence

    dest = _free(out, file, "redacted")
    keep = [LicenseId.parse(text) for text in licenses or ()]
    names = choose(read_bundle(file), withhold or (), keep=keep)
    signer = stamping.signer_of(session, sign=sign)
    path = redact_evidence(file, dest, names, actor=actor, note=note, signer=signer)
    return _told(path, "withheld", names)


def restore(
    session: Session,
    file: Annotated[Path, typer.Argument(help="An evidence bundle that withholds members.")],
    members: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="The bytes of withheld members.")
    ],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The bundle to write.")
    ] = None,
    actor: Annotated[
        str, typer.Option("--actor", metavar="TEXT", help="Who restores, for the custody log.")
    ] = "not named",
    note: stamping.Note = "",
    sign: stamping.Sign = False,
) -> Answer:
    """Write a copy with withheld members put back; anyone who has their bytes can.

    Each file is told by its size and SHA-256, whatever it is called. All of them must be members
    that the bundle withholds, or nothing is written. Printed forms are left out: make them anew.
    """
    from ledger.evidence.bundle import read_bundle
    from ledger.evidence.redaction import recognise
    from ledger.investigation import restore_evidence

    dest = _free(out, file, "restored")
    bundle = read_bundle(file)
    names: list[str] = []
    given = []
    for path in members:
        data = _bytes_of(path)
        try:
            names += recognise(bundle, [data])
        except ClaimMismatch as error:
            raise ClaimMismatch(f"{path}: {error.message}", hint=error.hint) from None
        given.append(data)
    signer = stamping.signer_of(session, sign=sign)
    made = restore_evidence(file, dest, given, actor=actor, note=note, signer=signer)
    return _told(made, "restored", tuple(dict.fromkeys(names)))


def _free(out: Path | None, file: Path, word: str) -> Path:
    name = f"{file.name.removesuffix('.evidence.zip')}.{word}.evidence.zip"
    dest = out or file.with_name(name)
    if dest.exists():
        raise UsageError(f"{dest} exists", hint="move it away, or choose another with --out")
    return dest


def _bytes_of(path: Path) -> bytes:
    from ledger.evidence.archive import MAX_MEMBER_BYTES

    with path.open("rb") as handle:
        data = handle.read(MAX_MEMBER_BYTES + 1)
    if len(data) > MAX_MEMBER_BYTES:
        raise UsageError(f"{path} is larger than a member of a bundle", hint="give the member")
    return data


def _told(path: Path, word: str, names: tuple[str, ...]) -> Answer:
    from ledger.evidence.bundle import read_bundle

    made = read_bundle(path)
    return Answer(
        {"file": path, "bundle": made.id, "contents": made.contents, word: list(names)},
        fields(
            [
                ("bundle", f"{path} ({size_text(path.stat().st_size)})"),
                (word, ", ".join(names)),
                ("contents", f"{made.contents} (as before)"),
            ]
        ),
    )
