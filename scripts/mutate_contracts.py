"""Mutation of the contracts: what of contracts/src can be changed without a test noticing?

Systematic mutants, sampled with a fixed seed, each compiled and run against the whole suite: the tests first, then the
invariants. `caught` means that a test failed or the mutant does not compile into the suite; what does not compile at all
is `invalid` and does not count. Works in a copy, so the tree is never touched.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "contracts"
# A gas bound notices nearly every mutant; what is judged here are the tests of behaviour.
NOT_JUDGED = "test/{gas,symbolic}/**"

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
    (r"\btrue\b", ["false"]),
    (r"\bfalse\b", ["true"]),
]


@dataclass(frozen=True)
class Mutant:
    file: str
    line: int
    kind: str
    start: int
    end: int
    new: str
    old: str


def _code_of(text: str) -> str:
    """The text with comments and strings blanked, so that offsets stay."""
    blank = lambda match: re.sub(r"[^\n]", " ", match.group())  # noqa: E731
    return re.sub(r"//[^\n]*|/\*.*?\*/|\"(?:[^\"\\\n]|\\.)*\"", blank, text, flags=re.DOTALL)


def mutants_of(path: Path) -> list[Mutant]:
    text = path.read_text()
    code = _code_of(text)
    found: list[Mutant] = []

    def add(kind: str, start: int, end: int, new: str) -> None:
        line = code.count("\n", 0, start) + 1
        found.append(
            Mutant(str(path.relative_to(CONTRACTS)), line, kind, start, end, new, text[start:end])
        )

    skip = [
        m.span()
        for m in re.finditer(r"^(?:import|pragma|event|error|using)\b[^;]*;", code, flags=re.MULTILINE)
    ]
    inside = lambda at: any(a <= at < b for a, b in skip)  # noqa: E731

    for pattern, replacements in OPERATORS:
        for match in re.finditer(pattern, code):
            if not inside(match.start()):
                for new in replacements:
                    add("operator", match.start(), match.end(), new)
    for match in re.finditer(r"\b(?:if|while) \(", code):
        end = _closing(code, match.end() - 1)
        condition = text[match.end() : end]
        add("negated condition", match.end(), end, f"!({condition})")
        if code[match.start() : match.start() + 2] == "if":
            add("condition never", match.end(), end, f"false && ({condition})")
    for match in re.finditer(r"(?<![\w.])(?:0x)?\d[\d_]*(?![\w.])", code):
        literal = match.group().replace("_", "")
        if inside(match.start()) or literal.startswith("0x") or len(literal) > 20:
            continue
        value = int(literal)
        add("constant + 1", match.start(), match.end(), str(value + 1))
        if value:
            add("constant - 1", match.start(), match.end(), str(value - 1))
    # Whole statements: reverts and checks gone, storage writes dropped. Events are told apart and left alone.
    for match in re.finditer(
        r"(?<=[;{}\n])[ ]{8,}(?!return\b|emit\b|if\b|for\b|else\b|while\b|do\b|unchecked\b)([^;{}\n]+);",
        code,
    ):
        statement = match.group(1).strip()
        assigned = re.match(
            r"(?:[\w.]+(?:\[[^=]*\])?|\+\+\w+|delete [^=]+)(?: [-+|&]?= |$)", statement
        )
        if (
            statement.startswith("revert")
            or (statement.endswith(")")
            and re.match(r"[\w.]+\(", statement))
        ):
            add("statement dropped", match.start(1), match.end(), "")
        elif assigned and not re.match(r"\w+ \w+ = |[\w.]+ (?:storage|memory) ", statement):
            kind = (
                "storage write dropped"
                if re.match(r"_|delete|plan\.|ext\.|batch\.", statement)
                else "statement dropped"
            )
            add(kind, match.start(1), match.end(), "")
    return found


def _closing(code: str, opening: int) -> int:
    depth = 0
    for at in range(opening, len(code)):
        depth += {"(": 1, ")": -1}.get(code[at], 0)
        if depth == 0:
            return at
    raise ValueError("unbalanced")


def _sample(count: int, seed: int, only: str) -> tuple[list[Mutant], int]:
    """In turn from each file, so that small files are not left out, and every file in proportion to the square root of its
    mutants.
    """
    random_ = random.Random(seed)
    per_file = {}
    for path in sorted((CONTRACTS / "src").rglob("*.sol")):
        mutants = (
            mutants_of(path)
            if "interfaces" not in path.parts and re.search(only, path.name)
            else []
        )
        if mutants:
            random_.shuffle(mutants)
            per_file[path.name] = mutants
    total = sum(len(mutants) for mutants in per_file.values())
    weights = {name: len(mutants) ** 0.5 for name, mutants in per_file.items()}
    chosen: list[Mutant] = []
    for name, mutants in per_file.items():
        chosen += mutants[: max(1, round(count * weights[name] / sum(weights.values())))]
    random_.shuffle(chosen)
    return chosen, total


class Suite:
    def __init__(self, where: Path) -> None:
        self.root = where / "contracts"
        shutil.copytree(
            CONTRACTS,
            self.root,
            ignore=shutil.ignore_patterns("node_modules", "out", "cache", "cache-*", "out-*"),
        )
        (self.root / "node_modules").symlink_to(CONTRACTS / "node_modules")
        (where / "scripts").mkdir()
        shutil.copy(ROOT / "scripts" / "solc", where / "scripts" / "solc")
        self.failing: list[str] = []

    def forge(self, *arguments: str, timeout: int = 600) -> tuple[int, str]:
        command = [str(CONTRACTS / "node_modules/.bin/forge"), *arguments]
        environment = {**os.environ, "FOUNDRY_PROFILE": "mutation"}
        try:
            done = subprocess.run(
                command,
                cwd=self.root,
                env=environment,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return 1, "timeout"
        return done.returncode, done.stdout + done.stderr

    def _tests(self, *more: str) -> tuple[int, str]:
        skipped = "|".join(["^invariant", *(f"^{name}\\(" for name in self.failing)])
        return self.forge(
            "test",
            "--no-match-path",
            NOT_JUDGED,
            "--no-match-test",
            skipped,
            "--fuzz-runs",
            "16",
            *more,
        )

    def baseline(self) -> None:
        """Without mutants. A test that fails here says nothing about any mutant."""
        code, output = self._tests("--fuzz-seed", "1")
        if code and "failing test" not in output:
            sys.exit(f"error: the contracts do not build\n{output[-3000:]}")
        self.failing = sorted(set(re.findall(r"^\[FAIL.*\] (\w+)\(", output, flags=re.MULTILINE)))
        if self.failing:
            print(f"warning: left out, they fail without any mutant: {', '.join(self.failing)}")

    def caught_by(self, mutant: Mutant, invariants: bool) -> str:
        path = self.root / mutant.file
        original = path.read_text()
        path.write_text(original[: mutant.start] + mutant.new + original[mutant.end :])
        try:
            code, output = self._tests("--fail-fast", "--fuzz-seed", "1")
            if "Compiler run failed" in output or "Compiler error" in output:
                return "invalid"
            if not code and invariants:
                code, output = self.forge(
                    "test",
                    "--no-match-path",
                    NOT_JUDGED,
                    "--match-test",
                    "^invariant",
                    "--fail-fast",
                    "--fuzz-seed",
                    "1",
                )
            if not code:
                return ""
            names = re.findall(r"^\[FAIL.*?\] (\w+)\(", output, flags=re.MULTILINE)
            return names[0] if names else "timeout" if output == "timeout" else "build or run"
        finally:
            path.write_text(original)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--only", default="", help="regular expression on the file's name")
    parser.add_argument("--no-invariants", action="store_true")
    parser.add_argument("--bar", type=float, default=0.9, help="the share that must be caught")
    parser.add_argument("--out", type=Path, help="results as JSON lines")
    options = parser.parse_args()

    chosen, total = _sample(options.count, options.seed, options.only)
    print(f"{len(chosen)} of {total} mutants, seed {options.seed}", flush=True)
    scores: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    survivors = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as where:
        suite = Suite(Path(where))
        suite.baseline()
        for mutant in chosen:
            by = suite.caught_by(mutant, not options.no_invariants)
            if by != "invalid":
                scores[mutant.file][0 if by else 1] += 1
            if not by:
                survivors.append(mutant)
            label = {"": "SURVIVED", "invalid": "invalid"}.get(by, f"caught by {by}")
            print(
                f"{mutant.file}:{mutant.line} {mutant.kind} `{mutant.old[:60]}` -> `{mutant.new[:70]}`: {label}",
                flush=True,
            )
            if options.out:
                with options.out.open("a") as stream:
                    stream.write(json.dumps({**asdict(mutant), "by": by}) + "\n")
    caught = sum(score[0] for score in scores.values())
    judged = caught + sum(score[1] for score in scores.values())
    for file, (yes, no) in sorted(scores.items()):
        print(f"{file:40} {yes:4} caught {no:4} survived")
    print(f"{caught} of {judged} caught ({caught / max(judged, 1):.1%})")
    for mutant in survivors:
        print(
            f"survivor: {mutant.file}:{mutant.line} {mutant.kind} `{mutant.old}` -> `{mutant.new}`"
        )
    return 0 if judged and caught / judged >= options.bar else 1


if __name__ == "__main__":
    sys.exit(main())
