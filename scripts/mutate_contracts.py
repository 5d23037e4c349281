#!/usr/bin/env python3
"""Mutate the contracts: what of contracts/src can be changed without a test noticing?

    scripts/mutate_contracts.py --count 60 --seed 3          exit 1 under nine in ten
    scripts/mutate_contracts.py --list --only LicenseMarket   the mutants there are

Systematic mutants, sampled with a seed, each compiled in a copy and run against the whole suite but
the gas bounds: the tests first, then the invariants. A mutant is

- ``caught`` when a test fails,
- ``invalid`` when it does not compile,
- ``identical`` when the compiler makes the same code of it,
- ``equivalent`` when contracts/mutation.toml says why nobody could ever tell it from the original,
- ``survived`` otherwise.

Only caught and survived ones count.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "contracts"
EQUIVALENTS = CONTRACTS / "mutation.toml"
# A gas bound notices nearly every mutant; what is judged here are the tests of behaviour.
NOT_JUDGED = "test/{gas,symbolic}/**"
TIMEOUT = 900

OPERATORS = [
    (r" < ", [" <= ", " > "]),
    (r" <= ", [" < "]),
    (r" > ", [" >= ", " < "]),
    (r" >= ", [" > "]),
    (r" == ", [" != "]),
    (r" != ", [" == "]),
    (r" && ", [" || "]),
    (r" \|\| ", [" && "]),
    (r" \+ ", [" - "]),
    (r" - ", [" + "]),
    (r" \* ", [" + "]),
    (r" / ", [" * "]),
    (r" % ", [" / "]),
    (r" & ", [" | "]),
    (r" \| ", [" & "]),
    (r" << ", [" >> "]),
    (r" >> ", [" << "]),
    (r"\+\+", ["--"]),
    (r" \+= ", [" -= "]),
    (r" -= ", [" += "]),
    (r" \|= ", [" &= "]),
    (r"(?<=\()!(?=[\w(])", [""]),
    (r" nonReentrant\b", [""]),
    (r"\btrue\b", ["false"]),
    (r"\bfalse\b", ["true"]),
]
STATEMENT = re.compile(
    r"(?<=[;{}\n])[ ]{8,}"
    r"(?!return\b|emit\b|if\b|for\b|else\b|while\b|do\b|unchecked\b)([^;{}\n]+);"
)
ASSIGNED = re.compile(r"(?:[\w.]+(?:\[[^=]*\])?|\+\+\w+|delete [^=]+)(?: [-+|&]?= |$)")
DECLARED = re.compile(r"\w+ \w+ = |[\w.]+ (?:storage|memory) ")
STORED = re.compile(r"_|delete|plan\.|ext\.|batch\.")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one file, with the whole lines it touches before and after."""

    file: str
    line: int
    kind: str
    start: int
    end: int
    new: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.kind}: {self.before}  ->  {self.after}"


def code_of(text: str) -> str:
    """Return the text with comments and strings blanked, so that offsets stay."""
    quoted = r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'"
    return re.sub(
        rf"//[^\n]*|/\*.*?\*/|{quoted}",
        lambda match: re.sub(r"[^\n]", " ", match.group()),
        text,
        flags=re.DOTALL,
    )


def closing(code: str, opening: int) -> int:
    """Return the place of the bracket that closes the one at ``opening``."""
    depth = 0
    for at in range(opening, len(code)):
        depth += {"(": 1, ")": -1}.get(code[at], 0)
        if depth == 0:
            return at
    raise ValueError("unbalanced")


def changes_of(text: str) -> list[tuple[str, int, int, str]]:
    """Return every change of a source: its kind, the span it replaces and the new text."""
    code = code_of(text)
    found: list[tuple[str, int, int, str]] = []
    for pattern, replacements in OPERATORS:
        for match in re.finditer(pattern, code):
            found += [("operator", *match.span(), new) for new in replacements]
    for match in re.finditer(r"\b(if|while) \(", code):
        span = (match.end(), closing(code, match.end() - 1))
        condition = text[slice(*span)]
        found.append(("negated condition", *span, f"!({condition})"))
        if match.group(1) == "if":
            found.append(("condition never", *span, f"false && ({condition})"))
    for match in re.finditer(r"(?<![\w.])\d[\d_]*(?![\w.])", code):
        value = int(match.group().replace("_", ""))
        found.append(("constant + 1", *match.span(), str(value + 1)))
        if value:
            found.append(("constant - 1", *match.span(), str(value - 1)))
    # Whole statements: reverts and checks gone, writes dropped. Events are left alone.
    for match in STATEMENT.finditer(code):
        statement = match.group(1).strip()
        called = statement.endswith(")") and re.match(r"[\w.]+\(", statement)
        if statement.startswith("revert") or called:
            found.append(("statement dropped", match.start(1), match.end(), ""))
        elif ASSIGNED.match(statement) and not DECLARED.match(statement):
            what = "storage write" if STORED.match(statement) else "statement"
            found.append((f"{what} dropped", match.start(1), match.end(), ""))
    declarations = re.compile(r"^(?:import|pragma|event|error|using)\b[^;]*;", flags=re.MULTILINE)
    skipped = [match.span() for match in declarations.finditer(code)]
    return [c for c in found if not any(a <= c[1] < b for a, b in skipped)]


def mutants_of(path: Path) -> list[Mutant]:
    """Return every mutant of a file."""
    text = path.read_text()
    mutants = []
    for kind, start, end, new in changes_of(text):
        a = text.rfind("\n", 0, start) + 1
        b = text.find("\n", end)
        before = " ".join(text[a:b].split())
        after = " ".join((text[a:start] + new + text[end:b]).split())
        line = text.count("\n", 0, start) + 1
        name = str(path.relative_to(CONTRACTS))
        mutants.append(Mutant(name, line, kind, start, end, new, before, after))
    return mutants


def all_mutants() -> dict[str, list[Mutant]]:
    """Return the mutants of every file with code in it, by file."""
    paths = (p for p in sorted((CONTRACTS / "src").rglob("*.sol")) if "interfaces" not in p.parts)
    return {str(p.relative_to(CONTRACTS)): found for p in paths if (found := mutants_of(p))}


def equivalents(mutants: dict[str, list[Mutant]]) -> dict[tuple[str, str, str], str]:
    """Return the reasons of contracts/mutation.toml, by file, lines before and lines after.

    Raises:
        SystemExit: an entry has no reason or is about a line that is no more.
    """
    there = {(m.file, m.before, m.after) for found in mutants.values() for m in found}
    reasons = {}
    for entry in tomllib.loads(EQUIVALENTS.read_text()).get("equivalent", []):
        for after in entry["becomes"]:
            key = (entry["file"], entry["line"], after)
            if key not in there or not entry["why"]:
                raise SystemExit(
                    f"error: no mutant of {entry['file']} makes `{entry['line']}` into `{after}`\n"
                    "hint: the line has changed; judge it anew in contracts/mutation.toml"
                )
            reasons[key] = entry["why"]
    return reasons


def sample(mutants: dict[str, list[Mutant]], count: int, seed: int) -> list[Mutant]:
    """Return mutants of each file in proportion to the square root of how many it has.

    So small files are not left out.
    """
    chance = random.Random(seed)  # noqa: S311  a sample, no secret
    weight = sum(len(found) ** 0.5 for found in mutants.values())
    chosen: list[Mutant] = []
    for found in mutants.values():
        share = max(1, round(count * len(found) ** 0.5 / weight))
        chosen += chance.sample(found, min(share, len(found)))
    chance.shuffle(chosen)
    return chosen


class Suite:
    """A copy of the contracts to break, with a build of its own."""

    def __init__(self, where: Path, like: Suite | None = None) -> None:
        self.root = where / "contracts"
        ignored = ["node_modules"] if like else ["node_modules", "out", "cache"]
        shutil.copytree(
            like.root if like else CONTRACTS, self.root, ignore=shutil.ignore_patterns(*ignored)
        )
        (self.root / "node_modules").symlink_to(CONTRACTS / "node_modules")
        (where / "scripts").mkdir()
        shutil.copy(ROOT / "scripts" / "solc", where / "scripts" / "solc")
        self.built = like.built if like else ""

    def forge(self, *arguments: str) -> tuple[int, str]:
        """Run forge itself: npm's wrapper around it ends with 0 even when tests fail."""
        binary = next((CONTRACTS / "node_modules" / "@foundry-rs").glob("forge-*/bin/forge"))
        environment = {**os.environ, "FOUNDRY_PROFILE": "mutation"}
        try:
            done = subprocess.run(
                [str(binary), *arguments],
                cwd=self.root,
                env=environment,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return 1, "timeout"
        return done.returncode, done.stdout + done.stderr

    def test(self, *arguments: str) -> tuple[int, str]:
        """Run what is judged; the seed makes a fuzzed verdict the same twice."""
        return self.forge("test", "--no-match-path", NOT_JUDGED, "--fuzz-seed", "1", *arguments)

    def code(self) -> str:
        """Return a hash of the code that the present build would deploy."""
        parts = []
        for path in sorted((CONTRACTS / "src").glob("*.sol")):
            artifact = self.root / "out" / path.name / f"{path.stem}.json"
            parts.append(json.loads(artifact.read_text())["bytecode"]["object"])
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def baseline(self) -> None:
        """Run the suite without mutants: what fails here says nothing about any.

        Raises:
            SystemExit: a test fails.
        """
        status, output = self.test()
        if status:
            lines = [line for line in output.splitlines() if "FAIL" in line]
            raise SystemExit(
                "error: the suite is not green without mutants\n"
                + ("\n".join(lines) or output[-2000:])
            )
        self.built = self.code()

    def verdict(self, mutant: Mutant) -> str:
        """Break, judge, mend. Returns ``invalid``, ``identical``, ``survived`` or who caught it."""
        path = self.root / mutant.file
        original = path.read_text()
        path.write_text(original[: mutant.start] + mutant.new + original[mutant.end :])
        try:
            for which in ("--no-match-test", "--match-test"):
                status, output = self.test("--fail-fast", which, "^invariant")
                if "Compiler run failed" in output:
                    return "invalid"
                if status:
                    names = re.findall(r"^\[FAIL.*?\] (\w+)\(", output, flags=re.MULTILINE)
                    return f"caught by {names[0] if names else output.strip()[-80:]}"
                if self.code() == self.built:
                    return "identical"
            return "survived"
        finally:
            path.write_text(original)


def judge(chosen: list[Mutant], jobs: int, out: Path | None) -> list[tuple[Mutant, str]]:
    """Return the verdict on each mutant, from ``jobs`` copies at once."""
    judged = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        first = Suite(Path(folder) / "0")
        first.baseline()
        free: SimpleQueue[Suite] = SimpleQueue()
        free.put(first)
        for number in range(1, jobs):
            free.put(Suite(Path(folder) / str(number), like=first))

        def one(mutant: Mutant) -> str:
            suite = free.get()
            try:
                return suite.verdict(mutant)
            finally:
                free.put(suite)

        with ThreadPoolExecutor(jobs) as pool:
            for mutant, verdict in zip(chosen, pool.map(one, chosen), strict=True):
                print(f"{verdict:9} {mutant}", flush=True)
                judged.append((mutant, verdict))
                if out:
                    with out.open("a") as stream:
                        stream.write(json.dumps({**asdict(mutant), "verdict": verdict}) + "\n")
    return judged


def report(judged: list[tuple[Mutant, str]], bar: float) -> int:
    """Print the score by file and the survivors; return 1 under the bar."""
    scores: dict[str, Counter[str]] = defaultdict(Counter)
    for mutant, verdict in judged:
        scores[mutant.file][verdict.split(" ", maxsplit=1)[0]] += 1
    total: Counter[str] = Counter()
    kinds = ("caught", "survived", "equivalent", "identical", "invalid")
    print(f"\n{'':36}" + "".join(f"{kind:>11}" for kind in kinds))
    for file, score in sorted(scores.items()):
        print(f"{file:36}" + "".join(f"{score[kind]:11}" for kind in kinds))
        total += score
    print(f"{'all':36}" + "".join(f"{total[kind]:11}" for kind in kinds))
    count = total["caught"] + total["survived"]
    share = total["caught"] / max(count, 1)
    print(f"{total['caught']} of {count} caught: {share:.1%}")
    return 0 if count and share >= bar else 1


def main() -> int:
    """Sample, judge and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--only", default="", help="regular expression on the file's name")
    parser.add_argument("--jobs", type=int, default=1, help="copies at work at once")
    parser.add_argument("--bar", type=float, default=0.9, help="the share that must be caught")
    parser.add_argument("--out", type=Path, help="results as JSON lines")
    parser.add_argument("--list", action="store_true", help="print all mutants and judge none")
    options = parser.parse_args()

    mutants = all_mutants()
    reasons = equivalents(mutants)
    mutants = {file: found for file, found in mutants.items() if re.search(options.only, file)}
    if options.list:
        for mutant in (m for found in mutants.values() for m in found):
            print(mutant)
        return 0
    chosen = sample(mutants, options.count, options.seed)
    every = sum(len(found) for found in mutants.values())
    print(f"{len(chosen)} of {every} mutants, seed {options.seed}", flush=True)
    known = [(m, "equivalent") for m in chosen if (m.file, m.before, m.after) in reasons]
    for mutant, _ in known:
        print(f"equivalent {mutant}")
    skipped = {mutant for mutant, _ in known}
    judged = judge([m for m in chosen if m not in skipped], options.jobs, options.out)
    return report(known + judged, options.bar)


if __name__ == "__main__":
    sys.exit(main())
