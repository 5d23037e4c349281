"""Write the pages in docs/ that are generated; tests compare them with what they come from."""

from __future__ import annotations

from pathlib import Path

from ledger.cli.reference import reference

DOCS = Path(__file__).parents[1] / "docs"


def main() -> None:
    """Write every generated page and name it."""
    for name, text in (("cli.md", reference()),):
        (DOCS / name).write_text(text)
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
