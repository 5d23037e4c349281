from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time

import pytest

from ledger.cli.commands import ENTRIES
from ledger.cli.main import assemble, main
from ledger.cli.output import console

from .test_doctor import add_network


def test_help_lists_every_command_with_its_line(program):
    ran = program("--help")
    assert ran.code == 0
    for entry in ENTRIES:
        assert f"  {entry.name} " in ran.out
        assert entry.help in ran.out


def test_help_imports_nothing_heavy_and_no_command():
    code = (
        "import sys; from ledger.cli.main import main; main(['--help']);"
        "heavy = {'web3', 'eth_account', 'fastapi', 'sqlmodel', 'torch', 'numpy', 'httpx', 'rich'};"
        "sys.exit(','.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_comes_in_under_four_tenths_of_a_second_of_cpu(program):
    best = 9.0
    for _ in range(3):
        before = os.times()
        assert program("--help").code == 0
        after = os.times()
        spent = after.children_user - before.children_user
        best = min(best, spent + after.children_system - before.children_system)
    assert best < 0.4


def test_the_version_is_one_line(program):
    from ledger import __version__

    assert program("--version").out == f"modeldeed {__version__}\n"


def test_the_module_behind_every_entry_holds_the_command_it_names():
    missing = []
    for entry in ENTRIES:
        app = importlib.import_module(f"ledger.cli.{entry.module}").app
        names = {command.name for command in app.registered_commands}
        if not entry.group and entry.name not in names:
            missing.append(entry.name)
        if entry.group and not names and not app.registered_groups:
            missing.append(entry.name)
    assert missing == []


def test_a_mistyped_command_names_the_nearest_and_exits_2(program):
    ran = program("licence", "list")
    assert ran.code == 2
    assert ran.out == ""
    error, hint = ran.err.splitlines()
    assert error.startswith("error: no such command 'licence'. Did you mean 'license'")
    assert hint == "hint: see deed --help"


def test_a_missing_argument_points_to_the_commands_own_help(deed):
    ran = deed("terms", "check")
    assert ran.code == 2
    assert "hint: see deed terms check --help" in ran.err


def test_no_command_at_all_prints_the_help_and_exits_2(program):
    ran = program()
    assert ran.code == 2
    assert "Commands:" in ran.err
    assert ran.out == ""


@pytest.mark.parametrize(
    "words",
    [("--json", "terms", "check", "no.toml"), ("terms", "check", "no.toml", "--json")],
    ids=["before", "after"],
)
def test_json_is_accepted_before_and_after_the_command(program, words):
    ran = program(*words)
    assert ran.code == 2
    assert ran.error["exit"] == 2
    assert "no.toml" in ran.error["message"]
    assert "error: " in ran.err


def test_wrong_usage_is_answered_in_json_too(deed):
    ran = deed("terms", "chek", "--json")
    assert ran.code == 2
    assert ran.error["code"] == "USAGE"


@pytest.mark.parametrize("words", [(), ("plan",), ("wallet",)])
def test_no_command_is_answered_in_json_too(deed, words):
    ran = deed(*words, "--json")
    assert ran.code == 2
    assert ran.error["code"] == "USAGE"
    assert ran.error["hint"] == " ".join(["see deed", *words, "--help"])


KEY = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"


@pytest.mark.parametrize("prefix", ["", "0x"])
@pytest.mark.parametrize(
    "words",
    [
        ("wallet", "import", "imp3", "KEY"),
        ("wallet", "import", "KEY"),
        ("wallet", "create", "KEY"),
        ("wallet", "use", "KEY"),
        ("wallet", "show", "--wallet", "KEY"),
        ("wallet", "import", "--KEY", "x"),
        ("wallet", "KEY"),
        ("KEY",),
        ("license", "issue", "1", "--to", "KEY"),
        ("license", "issue", "KEY", "--to", "x"),
        ("license", "show", "KEY"),
        ("license", "list", "--holder", "KEY"),
        ("plan", "list", "--licensor", "KEY"),
        ("network", "use", "KEY"),
    ],
    ids=" ".join,
)
def test_a_private_key_typed_where_it_does_not_belong_is_not_repeated(deed, words, prefix):
    add_network(deed, "http://127.0.0.1:9")
    ran = deed(*(word.replace("KEY", prefix + KEY) for word in words), "--json")
    assert ran.code in {1, 2, 3}
    for start in range(0, 64, 8):
        assert KEY[start : start + 8] not in ran.out + ran.err


def test_more_arguments_than_a_command_takes_are_said_to_be_too_many(deed):
    ran = deed("wallet", "import", "imp3", "one", "two")
    assert ran.code == 2
    assert ran.err.splitlines()[0] == "error: got more arguments than it takes"
    assert "one" not in ran.err


def test_json_after_a_double_dash_is_an_argument(deed):
    ran = deed("terms", "check", "--", "--json")
    assert ran.code == 2
    assert "--json: no such file" in ran.err


def test_a_bug_is_reported_by_type_and_place_and_never_by_its_text(monkeypatch, capsys):
    secret = "00" * 31 + "ff"

    def broken(words):
        raise RuntimeError(secret)

    monkeypatch.setattr("ledger.cli.main.assemble", broken)
    assert main(["terms", "new"]) == 4
    said = capsys.readouterr()
    assert secret not in said.err + said.out
    assert "RuntimeError" in said.err
    assert "DEED_DEBUG=1" in said.err


def test_debug_shows_the_trace(monkeypatch, capsys):
    def broken(words):
        raise RuntimeError("boom")

    monkeypatch.setenv("DEED_DEBUG", "1")
    monkeypatch.setattr("ledger.cli.main.assemble", broken)
    assert main(["terms", "new"]) == 4
    assert "Traceback" in capsys.readouterr().err


def test_a_missing_extra_is_named_with_the_line_that_installs_it(monkeypatch, capsys):
    def light(words):
        raise ModuleNotFoundError("No module named 'eth_account'", name="eth_account")

    monkeypatch.setattr("ledger.cli.main.assemble", light)
    assert main(["wallet", "list"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: this command needs the Python package eth_account",
        "hint: pip install 'modeldeed[chain]'",
    ]


def reading(fifo):
    """Wait until somebody reads it; a descriptor that keeps them waiting."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        time.sleep(0.01)
    raise AssertionError("nobody reads it")


def test_ctrl_c_ends_with_130_and_no_trace(deed, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    running = subprocess.Popen(
        [sys.executable, "-m", "ledger.cli.main", "terms", "check", fifo],
        cwd=deed.cwd,
        env=deed.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    writer = reading(fifo)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=20)
    os.close(writer)
    assert running.returncode == 130
    assert out == ""
    assert "Traceback" not in err


def test_a_reader_that_closes_early_is_no_error(deed):
    done = subprocess.run(
        f"{sys.executable} -m ledger.cli.main config | head -c 1",
        shell=True,
        cwd=deed.cwd,
        env=deed.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


def test_every_command_takes_json_and_none_takes_a_key():
    import typer.main

    forbidden = ("private-key", "--key ", "passphrase", "password", "secret", "mnemonic")

    def walk(command, path):
        children = getattr(command, "commands", None)
        if children:
            for name, child in children.items():
                yield from walk(child, [*path, name])
        else:
            yield path, command

    program = typer.main.get_command(assemble(None))
    seen = 0
    for path, command in walk(program, ["deed"]):
        options = [o for p in command.params for o in getattr(p, "opts", [])]
        assert "--json" in options, path
        for option in options:
            assert not any(word in option + " " for word in forbidden), (path, option)
        seen += 1
    assert seen > 40


def teardown_function():
    console.json = False
