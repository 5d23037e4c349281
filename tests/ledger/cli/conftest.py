"""Runs ``deed`` in an empty folder with an empty configuration.

``program`` starts the real program. ``deed`` calls the same entry point in this process, which
spares a second of start-up per run; everything it touches (arguments, environment, folder, streams)
is what a process of its own would have.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from ledger.cli.main import main
from ledger.cli.output import console
from ledger.stack import Stack

PROGRAM = Path(sys.executable).with_name("deed")


@dataclass(frozen=True)
class Ran:
    """What a run of ``deed`` left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]


@dataclass
class Deed:
    """``deed(…)`` runs the program; ``env`` and ``cwd`` may be changed between runs."""

    cwd: Path
    env: dict[str, str] = field(default_factory=dict)

    def __call__(self, *words: object, stdin: str = "") -> Ran:
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(self.cwd),
            mock.patch.dict(os.environ, self.env, clear=True),
            mock.patch.object(sys, "stdin", io.StringIO(stdin)),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                code = main([str(word) for word in words])
            finally:
                console.json = False
        assert "Traceback" not in err.getvalue(), err.getvalue()
        return Ran(code, out.getvalue(), err.getvalue())


class Program(Deed):
    """The same as a process of its own."""

    def __call__(self, *words: object, stdin: str = "", timeout: float = 60) -> Ran:
        done = subprocess.run(
            [PROGRAM, *map(str, words)],
            cwd=self.cwd,
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)


def clean_environment(config: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DEED_")}
    return {**kept, "DEED_CONFIG_DIR": str(config), "NO_COLOR": "1", "COLUMNS": "100"}


def workplace(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    return work, clean_environment(tmp_path / "config")


@pytest.fixture
def deed(tmp_path) -> Deed:
    return Deed(*workplace(tmp_path))


@pytest.fixture
def program(tmp_path) -> Program:
    return Program(*workplace(tmp_path))


@pytest.fixture
def passphrase(deed, tmp_path, monkeypatch) -> str:
    """A password file is configured; the passphrase it holds. Keystores take little work."""
    file = tmp_path / "passphrase"
    file.write_text("correct horse battery staple\n")
    deed.env["DEED_WALLET_PASSWORD_FILE"] = str(file)
    monkeypatch.setattr("eth_keyfile.keyfile.get_default_work_factor_for_kdf", lambda kdf: 4096)
    return "correct horse battery staple"


class Live(Deed):
    """A folder below a running stack; everything that any run here printed is kept."""

    said: list[str]

    def __call__(self, *words: object, stdin: str = "") -> Ran:
        ran = super().__call__(*words, stdin=stdin)
        self.said += [ran.out, ran.err]
        return ran


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> Iterator[Live]:
    """``deed`` in a folder where the whole stack runs: chain, contracts, index, API, broker."""
    folder = tmp_path_factory.mktemp("live")
    config = tmp_path_factory.mktemp("config")
    secret = config / "passphrase"
    secret.write_text("correct horse battery staple\n")
    running = Stack.start(folder)
    try:
        deed = Live(folder, clean_environment(config))
        deed.said = []
        deed.env["DEED_WALLET_PASSWORD_FILE"] = str(secret)
        yield deed
    finally:
        running.stop()
