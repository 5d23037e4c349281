"""Runs the transcripts in this folder; README.md says how they read."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import pytest

from ledger.cli.main import main
from ledger.cli.output import console

FOLDER = Path(__file__).parent


@dataclass
class Entry:
    """A command and what it must print."""

    command: str
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    code: int = 0


def entries(text: str) -> list[Entry]:
    found: list[Entry] = []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if line.startswith("$ "):
            found.append(Entry(line[2:]))
        elif line.startswith("! "):
            found[-1].err.append(line[2:])
        elif line.startswith("= "):
            found[-1].code = int(line[2:])
        elif found:
            found[-1].out.append(line)
    for entry in found:
        while entry.out and not entry.out[-1]:
            entry.out.pop()
    return found


def same(wanted: list[str], got: str) -> bool:
    pattern = "\n".join(".*".join(map(re.escape, line.split("…"))) for line in wanted)
    return re.fullmatch(pattern, got.rstrip("\n")) is not None


def run(command: str, env: dict[str, str]) -> tuple[int, str, str]:
    words = shlex.split(command)
    if words[0] == "echo":
        Path(words[-1]).write_text(" ".join(words[1:-2]) + "\n")
        return 0, "", ""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, env, clear=True),
        mock.patch.object(sys, "stdin", io.StringIO()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = main(words[1:])
        finally:
            console.json = False
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.txt")))
def test_the_terminal_shows_what_the_transcript_says(name, tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr("eth_keyfile.keyfile.get_default_work_factor_for_kdf", lambda kdf: 4096)
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse battery staple\n")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DEED_")}
    env = {
        **kept,
        "DEED_CONFIG_DIR": str(tmp_path / "config"),
        "DEED_WALLET_PASSWORD_FILE": str(secret),
    }
    for entry in entries((FOLDER / name).read_text()):
        code, out, err = run(entry.command, env)
        shown = f"$ {entry.command}\n{out}\n{err}= {code}"
        assert code == entry.code, shown
        assert same(entry.out, out), shown
        assert same(entry.err, err), shown
