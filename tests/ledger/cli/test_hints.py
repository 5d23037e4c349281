from __future__ import annotations

import importlib
import re
from pathlib import Path

from ledger.cli.commands import ENTRIES

ROOT = Path(__file__).parents[3]
SAYS = re.compile(r"\bdeed ([a-z]+)(?: ([a-z]+(?:-[a-z]+)*)(?: ([a-z]+(?:-[a-z]+)*))?)?")
# "deed" followed by a verb of an ordinary sentence.
SENTENCES = {"asks", "command", "failed"}


def test_every_command_that_a_hint_or_page_names_exists():
    apps = {
        entry.name: importlib.import_module(f"ledger.cli.{entry.module}").app
        for entry in ENTRIES
        if entry.group
    }
    inner = {
        (name, group.name): {c.name for c in group.typer_instance.registered_commands}
        for name, app in apps.items()
        for group in app.registered_groups
    }
    verbs = {
        name: {command.name for command in app.registered_commands}
        | {group for outer, group in inner if outer == name}
        for name, app in apps.items()
    }
    names = {entry.name for entry in ENTRIES}
    pages = [
        *(ROOT / "ledger").rglob("*.py"),
        *(ROOT / "api").rglob("*.py"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "README.md",
    ]
    missing = set()
    for page in pages:
        for word, second, third in SAYS.findall(page.read_text()):
            if word in SENTENCES:
                continue
            if word not in names or (second and word in verbs and second not in verbs[word]):
                missing.add((str(page.relative_to(ROOT)), f"deed {word} {second}".strip()))
            if third and third not in inner.get((word, second), {third}):
                missing.add((str(page.relative_to(ROOT)), f"deed {word} {second} {third}"))
    assert missing == set()
