"""``deed evidence report``: printed forms of a bundle, beside it or in a copy."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.output import Answer, console, fields, size_text
from ledger.cli.verb import Verbs
from ledger.errors import UsageError

if TYPE_CHECKING:
    from ledger.dating import DigestSigner

app = Verbs()


@app.verb("report")
def report(
    file: Annotated[Path, typer.Argument(help="An evidence bundle.")],
    *,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where to write.  [default: beside it]"),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option("--into", metavar="FILE", help="Put them into this new copy of the bundle."),
    ] = None,
    actor: Annotated[
        str, typer.Option("--actor", metavar="TEXT", help="Who prints, for the custody log.")
    ] = "not named",
) -> Answer:
    """Print a bundle: summary.pdf, report.pdf, report.html and draft certifications.

    The bundle must hold; what a reader vouches for is not needed and changes nothing in them. Equal
    bundles printed by equal software are equal byte for byte. With --into they go into a copy,
    with an entry in its custody log that lists their digests.
    """
    if out is not None and into is not None:
        raise UsageError("--out and --into are two ways", hint="give one of them")
    if into is None:
        from ledger.filing import print_beside

        folder = out if out is not None else file.with_name(file.name + ".printed")
        written = print_beside(file, folder)
        sizes = [(path.name, path.stat().st_size) for path in written]
        return Answer(
            {
                "folder": folder,
                "files": [{"file": path, "bytes": path.stat().st_size} for path in written],
            },
            fields([("folder", folder), *((name, size_text(size)) for name, size in sizes)]),
            notes=("the certifications are drafts: a qualified person completes and signs them",),
        )
    if into.exists():
        raise UsageError(f"{into} exists", hint="choose another name with --into")
    size = put_in(file, into, actor=actor)
    return Answer(
        {"file": into, "bytes": size},
        fields([("bundle", f"{into} ({size_text(size)})")]),
        notes=("its id is new, its contents digest and what it proves are the same",),
    )


def put_in(
    file: Path,
    dest: Path,
    *,
    actor: str,
    now: datetime | None = None,
    signer: DigestSigner | None = None,
) -> int:
    """Write `file` with printed forms to `dest`; its size."""
    from ledger.files import write_whole
    from ledger.filing import print_into
    from ledger.investigation import software

    data = print_into(
        file,
        time=(now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        actor=actor,
        software=software(),
        signer=None if signer is None else signer.address,
        sign=None if signer is None else signer.sign_digest,
    )
    write_whole(dest, data)
    return len(data)


def put_in_if_possible(
    file: Path, *, actor: str, now: datetime | None, signer: DigestSigner | None
) -> None:
    """Printed forms into a bundle just collected; without the typesetter a note says so."""
    import importlib.util

    if importlib.util.find_spec("typst") is None or importlib.util.find_spec("segno") is None:
        console.note("printed forms left out: they need pip install 'modeldeed[evidence]'")
        return
    console.step("printing")
    put_in(file, file, actor=actor, now=now, signer=signer)


__all__ = ["app", "put_in", "put_in_if_possible", "report"]
