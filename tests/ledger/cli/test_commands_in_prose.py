"""Commands that pages and messages tell people to type are commands that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ledger.cli.commands import ENTRIES

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "cli.md"
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
SOURCES = [*(ROOT / "ledger").rglob("*.py"), *(ROOT / "api").rglob("*.py")]

NAMES = {entry.name for entry in ENTRIES}
GROUPS = {entry.name for entry in ENTRIES if entry.group}
# As typed: the words of a command, then whatever follows it on the line.
TYPED = re.compile(r"(?<![\w./-])deed ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)*)([^`\n]*)")
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z0-9-]*)")


def sections() -> dict[tuple[str, ...], str]:
    """What ``docs/cli.md`` says of each command, by its words."""
    parts = re.split(r"^##+ deed ", REFERENCE.read_text(), flags=re.MULTILINE)[1:]
    return {tuple(part.split("\n", 1)[0].split()): part for part in parts}


SECTIONS = sections()


def wrong_in(command: re.Match[str]) -> str | None:
    """What is no command or option in one that somebody is told to type."""
    words = tuple(command[1].split())
    if words[0] not in NAMES:
        return f"deed {words[0]}"
    known = max(
        (words[:n] for n in range(1, len(words) + 1) if words[:n] in SECTIONS), key=len, default=()
    )
    if words[0] in GROUPS and len(words) > len(known) == 1:
        return f"deed {words[0]} {words[1]}"
    # Another command on the same line, or a comment after this one, is not this one's.
    rest = re.split(r" #|\||&&|;| deed |, (?:then|or)", command[2], maxsplit=1)[0]
    for option in OPTION.findall(rest):
        if option not in SECTIONS[known] and option not in {"--json", "--help"}:
            return f"deed {' '.join(known)} {option}"
    return None


def blocks(text: str) -> str:
    """What stands in a page as code: fenced, or between backticks."""
    fenced = re.findall(r"^```(?:sh|console|)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"`(deed [^`\n]+)`", text)])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_shows_no_command_that_there_is_not(page):
    if page in {REFERENCE, ROOT / "CHANGELOG.md"}:
        return
    assert [w for each in TYPED.finditer(blocks(page.read_text())) if (w := wrong_in(each))] == []


def test_no_message_tells_to_type_a_command_that_there_is_not():
    told = re.compile(r"(?:run|with|see|by|use|then) (deed [^\"'\n]+)")
    wrong = [
        (source.name, w)
        for source in SOURCES
        for found in told.finditer(source.read_text())
        for each in TYPED.finditer(found[1])
        if each[1].split()[0] in NAMES and (w := wrong_in(each))
    ]
    assert wrong == []
