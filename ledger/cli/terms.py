"""``deed terms``: write a template, check a document."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.output import Answer, fields
from ledger.cli.settings import write_text
from ledger.cli.verb import Verbs
from ledger.errors import UsageError

app = Verbs("Write and check license terms.")
_MAX = 1 << 20


@app.verb("new")
def new(
    file: Annotated[Path, typer.Argument(help="Where to write the template.")] = Path("terms.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> Answer:
    """Write a template of license terms, with every choice explained."""
    from ledger.licensing.terms import TEMPLATE

    if file.exists() and not force:
        raise UsageError(f"{file} exists", hint="choose another name, or pass --force")
    write_text(file, TEMPLATE)
    return Answer(
        {"file": file}, str(file), notes=(f"edit {file}, then run deed terms check {file}",)
    )


@app.verb("check")
def check(
    file: Annotated[Path, typer.Argument(help="A terms document, TOML or JSON.")],
) -> Answer:
    """Check a terms document and print the hash that a plan puts on chain."""
    from ledger.licensing.terms import parse

    with file.open("rb") as handle:
        terms = parse(handle.read(_MAX))
    digest = terms.hash()
    text = fields(
        [
            ("title", terms.title),
            ("licensor", terms.licensor),
            ("territory", ", ".join(terms.territory)),
            ("purposes", ", ".join(terms.purposes)),
            ("fields", ", ".join(terms.fields)),
            ("evidence", ", ".join(terms.evidence)),
            ("export", "permitted" if terms.export else "forbidden"),
            ("hours", "; ".join(map(str, terms.windows)) + " UTC" if terms.windows else "any"),
            ("terms hash", digest),
        ]
    )
    return Answer({"terms_hash": digest, "document": terms.document}, text)
