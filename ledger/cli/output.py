"""The one console of the process: stdout carries data, stderr speaks to people.

Under ``--json`` stdout carries exactly one JSON document: the answer, or
``{"error": {"code", "message", "hint", "exit"}}`` (with ``retry_after`` in seconds where waiting
helps). stderr says the same to people either way. Text that came from outside (tensor names,
titles, URLs) may hold terminal control sequences; they are shown escaped.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass
from dataclasses import fields as dataclass_fields
from datetime import UTC, datetime
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from ledger.cli.exits import Failure
from ledger.errors import UsageError

if TYPE_CHECKING:
    from ledger.broker.policy import Check

Progress = Callable[[int, int], None]

PERPETUAL: Final = (1 << 40) - 1  # the ledger's notAfter for "no end"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command found: data for programs, lines for people, and yes, no or not yet."""

    data: Mapping[str, Any]
    text: str = ""
    ok: bool = True
    undecided: bool = False
    notes: tuple[str, ...] = field(default=())


class Console:
    """Writes answers, notes, errors and progress; asks questions."""

    def __init__(self) -> None:
        self.json = False
        self.waits = False
        """Whether the running command takes --wait and would be helped by it."""

    @property
    def talks(self) -> bool:
        """Whether somebody sits at the terminal and can be asked."""
        return sys.stdin.isatty() and sys.stderr.isatty() and not self.json

    def answer(self, answer: Answer) -> None:
        """Print an answer on stdout, its notes on stderr."""
        if self.json:
            self._out(json.dumps(plain(answer.data), ensure_ascii=False, indent=2))
        elif answer.text:
            self._out(escaped(answer.text))
        for note in answer.notes:
            self.note(note)

    def note(self, text: str) -> None:
        """Say something to the person at the terminal."""
        print(escaped(text), file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Tell a story: on stdout, or on stderr where stdout is one JSON document."""
        if self.json:
            self.note(text)
        else:
            self._out(escaped(text))

    def failure(self, failure: Failure) -> None:
        """Print ``error:`` and ``hint:`` lines, and the JSON error where JSON was asked for."""
        print(f"error: {escaped(failure.message)}", file=sys.stderr)
        if failure.hint:
            print(f"hint: {escaped(failure.hint)}", file=sys.stderr)
        error: dict[str, Any] = {
            "code": failure.code,
            "message": failure.message,
            "hint": failure.hint,
            "exit": failure.exit,
        }
        if failure.retry_after is not None:
            otherwise = ", or add --wait" if self.waits else ""
            print(f"retry: in {failure.retry_after:g} s{otherwise}", file=sys.stderr)
            error["retry_after"] = failure.retry_after
        sys.stderr.flush()
        if self.json:
            self._out(json.dumps({"error": error}, ensure_ascii=False, indent=2))

    @contextmanager
    def progress(self, label: str, unit: str = "B") -> Iterator[Progress]:
        """A progress line on stderr; nothing unless stderr is a terminal.

        Args:
            label: what is going on.
            unit: ``"B"`` for bytes, anything else counts.

        Yields:
            ``callback(done, total)``, cheap enough to call for every block.
        """
        if not sys.stderr.isatty():
            yield lambda _done, _total: None
            return
        started = time.monotonic()
        shown = [started]

        def show(done: int, total: int) -> None:
            now = time.monotonic()
            # Nothing for the first second: most commands are over by then.
            if now - started < 1 or (now - shown[0] < 0.1 and done < total):
                return
            shown[0] = now
            rate = done / (now - started)
            share = 100 * done // total if total else 100
            speed = f"{size_text(int(rate))}/s" if unit == "B" else f"{rate:.0f} {unit}/s"
            sys.stderr.write(f"\r\x1b[K{label} {share:3d} %  {speed}")
            sys.stderr.flush()

        try:
            yield show
        finally:
            if shown[0] > started:
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()

    def step(self, text: str) -> None:
        """Say what is being done now; nothing unless stderr is a terminal."""
        if sys.stderr.isatty():
            self.note(text)

    def ask(self, question: str, *, default: str | None = None, flag: str) -> str:
        """Ask on stderr, read a line from stdin.

        Raises:
            UsageError: nobody is there to answer.
        """
        if not sys.stdin.isatty():
            if default is not None:
                return default
            raise UsageError(f"{question}: not given", hint=f"pass {flag}")
        tail = f" [{default}]" if default else ""
        sys.stderr.write(f"{question}{tail}: ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.strip() or default or ""

    def confirm(self, question: str) -> bool:
        """Ask for a yes.

        Raises:
            UsageError: nobody is there to answer.
        """
        if not sys.stdin.isatty():
            raise UsageError(f"{question} Nobody is there to answer", hint="pass --yes")
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    def _out(self, text: str) -> None:
        try:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader (head, say) has all it wanted. Later flushes must not fail either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


console: Final = Console()


def escaped(text: str) -> str:
    """Text with control characters (other than newline and tab) made visible."""
    return "".join(
        c if c in "\n\t" or (c.isprintable() or c == " ") else f"\\x{ord(c):02x}" for c in text
    )


def plain(value: object) -> Any:
    """The JSON form of our values, all the way down.

    Whole numbers beyond 2^53, which JSON readers may round, become text; bytes become 0x text.

    Raises:
        TypeError: a value that has none; our bug.
    """
    from ledger.ids import Address, Digest, LicenseId

    if isinstance(value, Enum):
        return value.name.lower()
    if value is None or isinstance(value, bool | str | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 53 else str(value)
    if isinstance(value, Digest | Address | LicenseId | PurePath):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclass_fields(value)}
    if isinstance(value, bytes | bytearray | memoryview):
        return "0x" + bytes(value).hex()
    if isinstance(value, Mapping):
        return {str(key): plain(member) for key, member in value.items()}
    if isinstance(value, Iterable):
        return [plain(member) for member in value]
    raise TypeError(f"no JSON form for {type(value).__name__}")


def fields(rows: Sequence[tuple[str, object]]) -> str:
    """``name  value`` lines, aligned."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {_shown(value)}" for name, value in rows)


def table(head: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> str:
    """Aligned columns under a header line, or the sentence for an empty list."""
    if not rows:
        return empty
    cells = [list(head), *([_shown(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def steps(checks: Sequence[Check], *, what: str = "check", empty: str = "no checks") -> str:
    """Numbered checks and how each ended, as a table."""
    rows = [(f"({each.number})", each.title, each.result, each.detail) for each in checks]
    return table(("", what, "result", "detail"), rows, empty=empty)


def _shown(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Enum):
        return value.name.lower()
    return str(value)


def time_text(seconds: int) -> str:
    """UTC time to the second; ``never`` and ``-`` for the ledger's two special values."""
    if seconds == 0:
        return "-"
    if seconds >= PERPETUAL:
        return "never"
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OSError, OverflowError, ValueError):
        return f"{seconds} s"  # before the year 1: nobody's clock, but what is kept may say so


def size_text(count: int) -> str:
    """Bytes in the unit a person would use."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
