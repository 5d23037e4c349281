"""Our figures beside what they are compared with, same machine, same run.

Usage: ``python scripts/bench.py NAME [--json]`` with NAME one of fingerprint, provenance,
sealed, remote, gas, evidence, broker, index, api.

The JSON form is the same for every benchmark::

    {"name": …, "machine": …,
     "rows": [{"what": …, "value": …, "unit": …, "against": …, "ratio": …}]}

``ratio`` is our value over the value of ``against``, measured interleaved in the same run where
that can be run here, and over a published figure (said in ``against``) where it cannot.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from pathlib import Path

NAMES = (
    "fingerprint", "provenance", "sealed", "remote", "gas", "evidence", "broker", "index", "api",
)  # fmt: skip


def machine() -> str:
    """One line that says what the figures were measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = models[0].partition(":")[2].strip() if models else cpu
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} x {cpu}, {system}"


def main() -> int:
    """Run one benchmark and print its rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    rows = importlib.import_module(f"bench_{arguments.name}").rows()
    if arguments.as_json:
        print(json.dumps({"name": arguments.name, "machine": machine(), "rows": rows}, indent=2))
        return 0
    print(f"{arguments.name}: {machine()}")
    for row in rows:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.3g}x"
        figure = f"{row['value']:>12,.5g} {row['unit']:8}"
        print(f"  {row['what']:36} {figure} {ratio:>8}  {row['against'] or ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
