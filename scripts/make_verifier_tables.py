#!/usr/bin/env python3
"""Writes the data that the stand-alone verifiers embed: released code, fixed texts, test networks.

Without arguments it rewrites the files; with ``--check`` it only says whether they are current.
Between ``BEGIN TABLES`` and ``END TABLES`` nothing is edited by hand.
"""

from __future__ import annotations

import json
import pprint
import sys
from pathlib import Path
from typing import Any

from ledger.evidence.bundle import README_BODY
from ledger.evidence.releases import known_code
from ledger.evidence.report import LIMITS, NO_VALUE, TEST_NETWORKS
from ledger.evidence.timestamps import IN_ALL

VERIFIERS = Path(__file__).resolve().parents[1] / "ledger" / "evidence" / "verifiers"


def tables() -> dict[str, Any]:
    """What every verifier must know of this version, as plain JSON values."""
    return {
        "RELEASES": [
            {
                "release": code.release,
                "contract": code.contract,
                "size": code.size,
                "masked_hash": code.masked_hash.raw.hex(),
                "immutables": [list(span) for span in code.immutables],
                "init_code_hash": code.init_code_hash.raw.hex(),
            }
            for code in known_code()
        ],
        "TEST_NETWORKS": sorted(TEST_NETWORKS),
        "NO_VALUE": NO_VALUE,
        "LIMITS": list(LIMITS),
        "STAMPS_IN_ALL": IN_ALL,
        "README": README_BODY,
    }


def python() -> str:
    """The tables as Python."""
    kinds = {"RELEASES": "list[dict[str, Any]]", "TEST_NETWORKS": "list[int]"}
    kinds |= {"LIMITS": "list[str]", "STAMPS_IN_ALL": "dict[str, int]"}
    return "".join(
        f"{name}: {kinds.get(name, 'str')} = {pprint.pformat(value, width=96, sort_dicts=False)}\n"
        for name, value in tables().items()
    )


def script(text: str) -> str:
    """``verify.py`` with the tables of this version."""
    begin, end = "# BEGIN TABLES\n", "# END TABLES\n"
    head, _, rest = text.partition(begin)
    return f"{head}{begin}# fmt: off\n{python()}# fmt: on\n{end}{rest.partition(end)[2]}"


def javascript() -> str:
    """The tables for the page."""
    said = "// Data of this version, written by scripts/make_verifier_tables.py.\n"
    return f"{said}const TABLES = {json.dumps(tables(), indent=1)};\n"


def main() -> int:
    """Rewrite or check."""
    if "--json" in sys.argv:
        print(json.dumps(tables()))
        return 0
    path, page = VERIFIERS / "verify.py", VERIFIERS / "page" / "tables.js"
    text = path.read_text("utf-8")
    made, data = script(text), javascript()
    if "--check" in sys.argv:
        return int(made != text or not page.exists() or data != page.read_text("utf-8"))
    path.write_text(made, "utf-8")
    page.write_text(data, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
