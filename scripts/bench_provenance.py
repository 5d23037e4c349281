"""Provenance in figures: exact fingerprints, lineage, watermarks. One module for each, one list.

Each module ``bench_provenance_*`` has a function ``rows()``; a module that another change has yet
to bring is passed over in silence by nobody: its absence is a row.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from measuring import row

MODULES = (
    "bench_provenance_exact",
    "bench_provenance_lineage",
    "bench_provenance_watermark",
    "bench_provenance_triggers",
)


def rows() -> list[dict[str, Any]]:
    """The rows of every module, in order."""
    found: list[dict[str, Any]] = []
    for name in MODULES:
        if importlib.util.find_spec(name) is None:
            found.append(row(f"not here: {name}", 0, "rows"))
        else:
            found += importlib.import_module(name).rows()
    return found
