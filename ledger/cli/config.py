"""``deed config``: every setting and where it comes from."""

from __future__ import annotations

from ledger.cli import networks, settings
from ledger.cli.output import Answer, fields, table
from ledger.cli.verb import Verbs

app = Verbs()


@app.verb("config")
def config() -> Answer:
    """Show every setting and where it comes from.

    Precedence: flag, environment, deed.toml (searched upward), default. Secrets are never shown.
    """
    found = settings.load()
    rows = [
        (known.name, settings.shown(found, known.name) or "-", found.source(known.name), known.help)
        for known in settings.KNOWN
    ]
    known_networks = networks.names(found)
    text = "\n\n".join(
        [
            table(("setting", "value", "from", "meaning"), rows, empty=""),
            fields(
                [
                    ("deed.toml", found.file or "none found here or above"),
                    ("networks", ", ".join(known_networks) or "none added"),
                ]
            ),
        ]
    )
    data = {
        "settings": settings.as_dict(found),
        "file": found.file,
        "networks": known_networks,
    }
    return Answer(data, text)
