from __future__ import annotations

import importlib
import re
from pathlib import Path

from ledger.cli.commands import ENTRIES

ROOT = Path(__file__).parents[3]
SAYS = re.compile(r"\bdeed ([a-z]+)(?: ([a-z]+(?:-[a-z]+)*))?")
# "deed" followed by a verb of an ordinary sentence.
SENTENCES = {"asks", "command", "failed"}


def test_every_command_that_a_hint_or_page_names_exists():
    verbs = {
        entry.name: {
            command.name
            for command in importlib.import_module(
                f"ledger.cli.{entry.module}"
            ).app.registered_commands
        }
        for entry in ENTRIES
        if entry.group
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
        for word, second in SAYS.findall(page.read_text()):
            if word in SENTENCES:
                continue
            if word not in names or (second and word in verbs and second not in verbs[word]):
                missing.add((str(page.relative_to(ROOT)), f"deed {word} {second}".strip()))
    assert missing == set()
