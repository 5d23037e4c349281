#!/usr/bin/env python3
"""Verify the contracts deeper than the tests of every day do: the parts of `make deep`.

    scripts/deep_contracts.py prove      Halmos: the proofs of contracts/test/symbolic
    scripts/deep_contracts.py analyse    Slither: no high, no medium without a written reason
    scripts/deep_contracts.py cover      lines and branches that the tests run, 98 % at least

Each ends with 1 when what it found is not good enough. Halmos and Slither are those beside the
Python that runs this script: `make deep` sets up an environment for them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "contracts"
REASONS = ROOT / "docs" / "self-audit-tools.md"
BAR = 0.98
# What measures gas fails on the code that coverage runs, which is not optimized.
NOT_COVERED = "test/{gas,symbolic,invariants,market/invariants}/**"
NOT_COVERED_TESTS = (
    "test_aLensQueryCostsTheSameHoweverManyThereAre"
    "|test_aLicenseOfABatchCostsTheSameHoweverManyThereAre"
    "|test_theLargestSettlementTakesASmallPartOfABlock"
)


def run(command: list[str | Path], **environment: str) -> int:
    """Run a tool in contracts/, with forge itself on the path, and return how it ended.

    npm's wrapper around forge ends with 0 even when tests fail.
    """
    forge = next((CONTRACTS / "node_modules" / "@foundry-rs").glob("forge-*/bin"))
    path = os.pathsep.join([str(forge), str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        [str(part) for part in command],
        cwd=CONTRACTS,
        env={**os.environ, "PATH": path, **environment},
        check=False,
    ).returncode


def prove() -> int:
    """Run every proof."""
    profile = {"FOUNDRY_PROFILE": "symbolic"}
    if run(["forge", "build"], **profile):
        return 1
    return run(
        [
            "halmos",
            "--forge-build-out",
            "out/symbolic",
            # A license's word stands at a slot that solady computes in its own way.
            "--storage-layout",
            "generic",
            # In the default millisecond few branches are seen to be impossible, and paths explode.
            "--solver-timeout-branching",
            "100ms",
            "--solver-timeout-assertion",
            "10m",
            "--statistics",
            "--no-status",
        ],
        **profile,
    )


def name_of(element: dict[str, Any]) -> str:
    """Return ``Contract.function`` or ``Contract.function.variable``."""
    parent = element.get("type_specific_fields", {}).get("parent")
    return (f"{name_of(parent)}." if parent else "") + element["name"]


def reasons() -> dict[tuple[str, str], str]:
    """Return the reasons of docs/self-audit-tools.md, by detector and place."""
    row = re.compile(r"^\| `([a-z0-9-]+)` \| `([\w.]+)` \| (.+) \|$", re.MULTILINE)
    rows = row.findall(REASONS.read_text())
    return {(detector, place): reason for detector, place, reason in rows}


def analyse() -> int:
    """Report what Slither finds and nobody has given a reason for."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "slither.json"
        # A build of its own: Slither takes what it finds for the whole.
        own = {"FOUNDRY_OUT": "out/slither", "FOUNDRY_CACHE_PATH": "cache/slither"}
        tool = ["slither", ".", "--config-file", "slither.config.json", "--fail-none"]
        if run([*tool, "--json", answer], **own) or not answer.exists():
            return 1
        found = json.loads(answer.read_text())
    if not found["success"]:
        print(f"error: {found['error']}", file=sys.stderr)
        return 1
    given = reasons()
    seen: set[tuple[str, str]] = set()
    failed = False
    for finding in found["results"].get("detectors", []):
        key = (finding["check"], name_of(finding["elements"][0]))
        seen.add(key)
        if finding["impact"] == "High" or key not in given:
            failed = True
            print(
                f"error: {finding['impact']} {' '.join(key)} ({finding['first_markdown_element']})"
            )
            print(f"hint: mend it, or say in docs/{REASONS.name} why it is none (never of a high)")
    for key in sorted(set(given) - seen):
        print(f"note: docs/{REASONS.name} gives a reason for {' '.join(key)}, which is not found")
    print(f"{len(seen)} findings, {len(seen & set(given))} with a reason")
    return int(failed)


def assembly_of(source: str) -> set[int]:
    """Return the numbers of the lines inside assembly blocks."""
    lines: set[int] = set()
    for match in re.finditer(r"assembly [^{]*\{(?:[^{}]|\{[^{}]*\})*\}", source):
        first = source.count("\n", 0, match.start()) + 1
        lines |= set(range(first, source.count("\n", 0, match.end()) + 2))
    return lines


def covered(trace: str) -> dict[str, list[int]]:
    """Return lines run, lines, branches taken and branches of each contract, from LCOV."""
    counts: dict[str, list[int]] = {}
    name, skipped = "", set[int]()
    for entry in trace.splitlines():
        kind, _, value = entry.partition(":")
        if kind == "SF":
            name = value
            if name.startswith("src/"):
                # The compiler gives assembly no place in this mode, run or not.
                skipped = assembly_of((CONTRACTS / name).read_text())
        if kind not in {"DA", "BRDA"} or not name.startswith("src/"):
            continue
        fields = value.split(",")
        if int(fields[0]) in skipped:
            continue
        hit = fields[-1 if kind == "BRDA" else 1] not in {"0", "-"}
        count = counts.setdefault(name, [0, 0, 0, 0])
        at = 0 if kind == "DA" else 2
        count[at] += hit
        count[at + 1] += 1
        if not hit:
            print(f"not run: {name}:{fields[0]}{'' if kind == 'DA' else ' (a branch)'}")
    return counts


def cover() -> int:
    """Measure what the tests of behaviour run of contracts/src; invariants and gas left out."""
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "lcov.info"
        status = run(
            [
                *("forge", "coverage", "--report", "lcov", "--report-file", trace),
                # Without via-IR the ledger has too many variables; like this, too many bytes.
                *("--ir-minimum", "--code-size-limit", "200000"),
                *("--no-match-path", NOT_COVERED, "--no-match-test", NOT_COVERED_TESTS),
            ],
            FOUNDRY_OUT="out/coverage",
        )
        if status:
            return 1
        counts = covered(trace.read_text())
    for path in sorted((CONTRACTS / "src").rglob("*.sol")):
        name = str(path.relative_to(CONTRACTS))
        if "interfaces" not in path.parts and name not in counts:
            print(f"not measured, forge finds no place for it: {name}")
    sums = [sum(column) for column in zip(*counts.values(), strict=True)]
    print(f"{'':36}{'lines':>16}{'branches':>16}")
    for name, (lines, of, branches, there) in [*sorted(counts.items()), ("all", sums)]:
        line, branch = lines / of, branches / max(there, 1)
        print(f"{name:36}{line:9.1%} {of:6}{branch if there else 1:9.1%} {there:6}")
    good = sums[0] >= BAR * sums[1] and sums[2] >= BAR * sums[3]
    if not good:
        print(f"error: under {BAR:.0%}", file=sys.stderr)
    return int(not good)


def main() -> int:
    """Run one part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts = {"prove": prove, "analyse": analyse, "cover": cover}
    parser.add_argument("part", choices=parts)
    return parts[parser.parse_args().part]()


if __name__ == "__main__":
    sys.exit(main())
