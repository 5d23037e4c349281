"""``deed fetch``: the sealed file that a license card names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.bar import transfer_bar
from ledger.cli.output import Answer, console, fields, size_text
from ledger.cli.verb import Verbs
from ledger.ids import LicenseId

app = Verbs()


@app.verb("fetch")
def fetch(
    card: Annotated[str, typer.Argument(help="A license card: path, or https: or s3: URL.")],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="The file, or its folder; by default named as the card's."
        ),
    ] = None,
    license_: Annotated[
        str | None,
        typer.Option("--license", metavar="LICENSE", help="Which license the card must be for."),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1, help="Seconds for any one request.")
    ] = 60,
) -> Answer:
    """Download the sealed file of a license card; run again, it goes on where it stopped.

    The card's signature and the file's root, key commitment and length are checked before the
    download. No key is asked for; opening the file authenticates every byte. What has arrived
    stands in FILE.part until the file is whole.
    """
    from ledger.broker.fetching import fetch as fetch_file

    try:
        with transfer_bar("fetch") as progress:
            done = fetch_file(
                card,
                out,
                license_id=LicenseId.parse(license_) if license_ else None,
                timeout=timeout,
                progress=progress,
            )
    except KeyboardInterrupt:
        console.note("what has arrived is kept: the same command goes on with it")
        raise
    return Answer(
        {
            "sealed": done.path,
            "bytes": done.size,
            "source": done.source,
            "resumed_bytes": done.resumed,
            "license": done.card.license,
            "model": done.card.model,
        },
        fields(
            [
                ("sealed", f"{done.path} ({size_text(done.size)})"),
                ("from", done.source),
                ("license", done.card.license),
                ("model", done.card.model),
            ]
        ),
        notes=("nothing of it is authenticated before it is opened with its key",),
    )
