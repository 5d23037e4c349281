#!/usr/bin/env python3
"""Joins the parts of the page's verifier into one file, ``verify.html``.

The parts stand one after another as they are written: the shipped file is their source. Without
arguments it rewrites the file; with ``--check`` it only says whether it is current.
"""

from __future__ import annotations

import base64
import hashlib
import sys
from pathlib import Path

VERIFIERS = Path(__file__).resolve().parents[1] / "ledger" / "evidence" / "verifiers"
PAGE = VERIFIERS / "page"
# Tools that any textbook has, then the steps in the order of their numbers: what node runs too.
LOGIC = (
    *("base", "hashes", "rlp", "curves", "tables", "wording", "der", "x509", "opentimestamps"),
    *("stamps", "releases", "match", "suspect", "form", "chain", "subject", "licenses"),
    *("custody", "report", "verify", "again"),
)
SHOWN = ("words", "ui")


def script(parts: tuple[str, ...] = (*LOGIC, *SHOWN)) -> str:
    """The parts as one script."""
    return "\n" + "\n".join((PAGE / f"{name}.js").read_text("utf-8") for name in parts)


def page() -> str:
    """``verify.html``: nothing in it is fetched, and nothing else than its own script may run.

    Raises:
        SystemExit: a part has what would end the element that it stands in.
    """
    code, style = script(), "\n" + (PAGE / "style.css").read_text("utf-8")
    if "</" in style or any(text in code.lower() for text in ("</script", "<!--", "<script")):
        raise SystemExit("error: a part would end its element; write it in another way")
    policy = (
        f"default-src 'none'; script-src '{_hash(code)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    made = (PAGE / "shell.html").read_text("utf-8")
    for place, text in (("@POLICY@", policy), ("@STYLE@", style), ("@SCRIPT@", code)):
        before, found, after = made.partition(place)
        if not found:
            raise SystemExit(f"error: shell.html has no {place}")
        made = before + text + after
    return made


def _hash(text: str) -> str:
    """As a content security policy names what it allows (CSP 3 section 2.3.1)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def main() -> int:
    """Rewrite or check."""
    path, made = VERIFIERS / "verify.html", page()
    if "--check" in sys.argv:
        return int(not path.is_file() or path.read_text("utf-8") != made)
    path.write_text(made, "utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
