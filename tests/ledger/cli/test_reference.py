from __future__ import annotations

from pathlib import Path

from ledger.cli.commands import ENTRIES
from ledger.cli.reference import reference

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_page_in_docs_is_what_the_program_says():
    assert PAGE.read_text() == reference(), "run make docs"


def test_the_page_covers_every_command():
    page = reference()
    for entry in ENTRIES:
        assert f"\n## deed {entry.name}\n" in page
    assert "### deed license revoke\n" in page
    assert "PLAN.SERIAL, such as 7.1." in page
