"""Take a check out of the program while it runs, and see whether a test misses it.

A check is a piece of a module's text. The module is compiled once more with something else in its
place, and the functions that have come out differently get the other code, where they are and for
as long as one test runs. So one process tries all of a table, with imports, servers and nodes
shared; that each piece is still found keeps the table true to the program.

As a pytest plugin (``-p ablation_world``) this module runs, in place of each test it is given, that
test once for every ablation that names it, and writes down how each ended.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

ROOT = Path(__file__).parents[2]
ORDERS = "DEED_ABLATIONS"
"""Names the file that the plugin takes its table from; the outcome goes beside it."""

SECONDS = 60.0
"""After which a test without its check has not ended as it should."""

PATIENCE = 6.0
"""The same, where going on for ever is what the check prevents."""

_LOADED = ("-p", "no:cacheprovider", "-p", "no:schemathesis", "-p", "no:xdist", "--timeout", "0")


@dataclass(frozen=True)
class Ablation:
    """A piece of a module, what stands in its place, and the test that notices.

    Attributes:
        module: of ``ledger``, or a whole name of ``api``.
        endless: whether the test then goes on for ever, which is how it fails.
    """

    module: str
    piece: str
    instead: str
    test: str
    endless: bool = False

    @property
    def name(self) -> str:
        """The module's whole name."""
        return self.module if self.module.startswith("api.") else f"ledger.{self.module}"

    @property
    def file(self) -> Path:
        """Where its text is."""
        return ROOT / f"{self.name.replace('.', '/')}.py"


def tried(table: Mapping[str, Ablation]) -> dict[str, Ablation]:
    """All of a table under ``make deep``, else every sixth."""
    every = 1 if os.environ.get("DEED_DEEP") else 6
    return {name: table[name] for name in list(table)[::every]}


def listed(table: Mapping[str, Ablation]) -> list[Any]:
    """The table's names as parameters of a test that asks how each ended."""
    now = tried(table)
    return [name if name in now else pytest.param(name, marks=pytest.mark.deep) for name in table]


def changed_text(ablation: Ablation, text: str) -> str:
    """The module's text without the check."""
    assert text.count(ablation.piece) == 1, (
        f"the check has another text by now, or none: correct the table: {ablation.piece!r}"
    )
    return text.replace(ablation.piece, ablation.instead)


def knows_the_program(table: Mapping[str, Ablation]) -> Callable[[str], None]:
    """The test of a table itself: each piece stands once in its module."""

    @pytest.mark.parametrize("name", table)
    def check(name: str) -> None:
        ablation = table[name]
        assert ablation.instead in changed_text(ablation, ablation.file.read_text())

    return check


@contextmanager
def taken_away(ablation: Ablation) -> Iterator[None]:
    """The check is not there meanwhile."""
    module = importlib.import_module(ablation.name)
    assert module.__file__ is not None
    text = Path(module.__file__).read_text()
    whole = compile(text, module.__file__, "exec")
    other = compile(changed_text(ablation, text), module.__file__, "exec")
    swaps = [
        (_function(module, name), code)
        for name, code in _functions(other).items()
        if not _alike(code, _functions(whole).get(name))
    ]
    assert swaps, f"the piece is in no function: {ablation.piece!r}"
    kept = [(function, function.__code__) for function, _ in swaps]
    try:
        for function, code in swaps:
            function.__code__ = code
        yield
    finally:
        for function, code in kept:
            function.__code__ = code


def _functions(code: CodeType) -> dict[str, CodeType]:
    """Functions of a module and methods of its classes by qualified name."""
    found: dict[str, CodeType] = {}
    for inner in code.co_consts:
        if not isinstance(inner, CodeType):
            continue
        if inner.co_flags & inspect.CO_NEWLOCALS and inner.co_flags & inspect.CO_OPTIMIZED:
            if not inner.co_name.startswith("<"):
                found[inner.co_qualname] = inner
        else:
            found |= _functions(inner)
    return found


def _alike(one: CodeType, other: CodeType | None) -> bool:
    """Whether two pieces of code do the same, on whatever lines they stand."""
    if other is None or len(one.co_consts) != len(other.co_consts):
        return False
    same = (one.co_code, one.co_names, one.co_varnames) == (
        other.co_code,
        other.co_names,
        other.co_varnames,
    )
    return same and all(
        _alike(a, b) if isinstance(a, CodeType) and isinstance(b, CodeType) else a == b
        for a, b in zip(one.co_consts, other.co_consts, strict=True)
    )


def _function(module: ModuleType, name: str) -> FunctionType:
    held: Any = module
    for part in name.split("."):
        held = inspect.getattr_static(held, part)
        if isinstance(held, property):
            held = held.fget
        elif isinstance(held, (classmethod, staticmethod)):
            held = held.__func__
    held = inspect.unwrap(held)
    assert isinstance(held, FunctionType), f"{name} is no function"
    return held


# -- many of them, in one process -----------------------------------------------------------------


def try_all(table: Mapping[str, Ablation], folder: Path, *, seconds: float) -> dict[str, str]:
    """How each ablation's test ended, by the table's names: failed, passed, or what else."""
    orders = folder / "ablations.json"
    orders.write_text(json.dumps({name: asdict(each) for name, each in table.items()}))
    tests = dict.fromkeys(each.test for each in table.values())
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "ablation_world", *_LOADED, *tests],
        cwd=ROOT,
        env={**os.environ, ORDERS: str(orders), "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    outcome = orders.with_suffix(".out")
    assert outcome.exists(), done.stdout + done.stderr
    found: dict[str, str] = json.loads(outcome.read_text())
    return found


class _TooLong(Exception):
    """The test waits for what the check gave."""


class _Trial:
    """The plugin itself."""

    def __init__(self, orders: Path) -> None:
        self.out = orders.with_suffix(".out")
        self.table = {k: Ablation(**v) for k, v in json.loads(orders.read_text()).items()}
        self.ended: dict[str, str] = {}
        self.late = False

    def _too_long(self, *_: object) -> None:
        # Noted too: on its way up the exception may become another, even the one waited for.
        self.late = True
        raise _TooLong

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> bool:
        names = [name for name, each in self.table.items() if each.test == item.nodeid]
        for name in names:
            item._initrequest()
            # The item itself goes and comes again; what its module stands on stays.
            after = nextitem if name == names[-1] else item.parent
            self.late = False
            signal.signal(signal.SIGALRM, self._too_long)
            endless = self.table[name].endless
            signal.setitimer(signal.ITIMER_REAL, PATIENCE if endless else SECONDS)
            try:
                with taken_away(self.table[name]):
                    reports = runtestprotocol(item, nextitem=after, log=False)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            if self.late:
                self.ended[name] = "failed" if endless else "endless"
            else:
                self.ended[name] = _outcome(reports)
        return True

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        self.out.write_text(json.dumps(self.ended))
        # A test that failed may have left a thread that would never end.
        os._exit(0)


def _outcome(reports: list[Any]) -> str:
    """Only a failure of the test's own sentences counts, none of what it stands on."""
    for report in reports:
        if report.when == "setup" and not report.passed:
            return f"not run: {report.longrepr}"
    return next(report.outcome for report in reports if report.when == "call")


def pytest_configure(config: Any) -> None:
    """Pytest's way in."""
    if ORDERS in os.environ:
        config.pluginmanager.register(_Trial(Path(os.environ[ORDERS])))
