"""``deed up``: stopped or killed, it leaves nothing running and comes back with everything."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from ledger.chain.rpc import Rpc
from ledger.errors import ConfigurationError
from ledger.index.database import PAGE_BYTES
from ledger.stack import ServiceRefused, Stack

from .conftest import runner, small_model


class Up:
    """A ``deed up`` in a folder."""

    def __init__(self, folder: Path, *before: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [*before, sys.executable, "-m", "ledger.cli.main", "up", "--json"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.children: list[int] = []

    def ready(self) -> dict:
        live = self.folder / ".deed" / "network.json"
        deadline = time.monotonic() + 90
        while not live.exists():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.children = descendants(self.process.pid)
        return json.loads(live.read_text())

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        self.process.wait(60)
        deadline = time.monotonic() + 20
        while alive := [pid for pid in self.children if running(pid)]:
            assert time.monotonic() < deadline, f"left behind: {alive}"
            time.sleep(0.05)
        return self.process.returncode


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def publish(folder: Path) -> str:
    deed = runner(folder)
    small_model(folder / "model.safetensors")
    assert deed("terms", "new", "terms.toml").code == 0
    done = deed("publish", "model.safetensors", "--terms", "terms.toml", "--json")
    assert done.code == 0, done.err
    return done.json["model_id"]


def wait_until_all_is_final(live: dict) -> None:
    deadline = time.monotonic() + 60
    with Rpc(live["rpc"]) as rpc:
        while any(
            rpc.block(number).raw["transactions"]
            for number in range(rpc.block("finalized").number + 1, rpc.block("latest").number + 1)
        ):
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        signal.SIGKILL,
        pytest.param(signal.SIGINT, marks=pytest.mark.deep),
        pytest.param(signal.SIGHUP, marks=pytest.mark.deep),
    ],
)
def test_ended_by_a_signal_it_leaves_no_process_and_resumes_with_everything(folder, number):
    first = Up(folder)
    before = first.ready()
    assert len(first.children) >= 2
    model_id = publish(folder)
    wait_until_all_is_final(before)  # what is not final, a hard kill may lose

    code = first.end(number)

    assert code == (-9 if number == signal.SIGKILL else 0)
    if number != signal.SIGKILL:
        assert not (folder / ".deed" / "network.json").exists()
    (folder / ".deed" / "network.json").unlink(missing_ok=True)
    second = Up(folder)
    try:
        after = second.ready()
        assert after["deployment"] == before["deployment"]
        assert (after["rpc"], after["api"]) == (before["rpc"], before["api"])
        shown = httpx.get(f"{after['api']}/v1/models/{model_id}", timeout=10)
        assert shown.status_code == 200, shown.text
        plans = runner(folder)("plan", "list", "--json").json["plans"]
        assert [plan["terms"]["model_id"] for plan in plans] == [model_id]
        issued = runner(folder)("license", "issue", "1", "--to", "holder", "--json")
        assert issued.code == 0, issued.err
    finally:
        second.end(signal.SIGINT)


def test_under_nohup_a_closed_terminal_does_not_end_it(folder):
    up = Up(folder, "nohup")
    up.ready()
    try:
        up.process.send_signal(signal.SIGHUP)
        assert runner(folder)("plan", "list").code == 0
        assert up.process.poll() is None
    finally:
        assert up.end(signal.SIGTERM) == 0
    assert "stopped by SIGTERM" in up.process.communicate()[1]


def test_a_second_one_is_refused_and_an_index_that_is_removed_is_said_once_in_the_terminal(folder):
    first = Up(folder)
    first.ready()
    late = threading.Timer(60, first.process.kill)
    try:
        second = runner(folder)("up")
        assert second.code == 2
        assert "running already" in second.err
        assert "hint:" in second.err
        lost = folder / ".deed" / "index.sqlite3"
        lost.unlink()
        late.start()
        said = next(line for line in first.process.stderr if "was removed" in line)
        assert str(lost) in said
        assert "start this again" in said
        assert "deed index restore" in said
        assert first.process.poll() is None
    finally:
        late.cancel()
        first.end(signal.SIGINT)
    assert "was removed" not in first.process.communicate()[1]


def test_a_key_that_others_can_read_is_named_with_its_mode_and_the_way_out(folder, monkeypatch):
    webhooks = folder / "webhook-key"
    webhooks.write_text("00" * 32 + "\n")
    webhooks.chmod(0o644)
    monkeypatch.setenv("DEED_API_WEBHOOK_KEY_FILE", str(webhooks))

    with pytest.raises(ServiceRefused) as service:
        Stack.start(folder)
    keys = folder / ".deed" / "broker" / "keys.json"
    keys.chmod(0o640)
    with pytest.raises(ConfigurationError) as broker:
        Stack.start(folder)

    assert f"code 2: {webhooks} can be read by others" in service.value.message
    assert service.value.hint == f"run chmod 600 {webhooks}"
    assert broker.value.message == f"{keys} can be read by others: its mode is 0640"
    assert broker.value.hint == f"run chmod 600 {keys}"


def test_over_an_index_of_another_chain_it_says_so_at_once_and_ends_with_the_code_of_that(folder):
    Stack.start(folder).stop()
    index = folder / ".deed" / "index.sqlite3"
    with contextlib.closing(sqlite3.connect(index)) as raw, raw:
        assert raw.execute("UPDATE chain SET genesis_hash = randomblob(32)").rowcount == 1

    # It would wait for readiness for a minute.
    done = runner(folder)("up", "--json", timeout=45)

    assert done.code == 2, done.err
    assert done.json["error"]["code"] == "WRONG_NETWORK"
    assert f"error: {index} cannot be used: the index database holds another chain" in done.err
    assert "hint: name another database, or put back the copy" in done.err
    assert "retry" not in done.err + done.out
    assert "--fresh" not in done.err


@pytest.mark.parametrize(
    "harm", ["part", *(pytest.param(harm, marks=pytest.mark.deep) for harm in ("all", "garbage"))]
)
def test_over_an_index_that_is_damaged_or_none_it_says_so_at_once(folder, harm):
    Stack.start(folder).stop()
    index = folder / ".deed" / "index.sqlite3"
    with index.open("r+b") as raw:
        if harm == "all":
            raw.seek(PAGE_BYTES)
            raw.write(bytes(index.stat().st_size - PAGE_BYTES))
        elif harm == "part":
            # What is read at the opening is whole.
            raw.seek(10 * PAGE_BYTES)
            raw.write(bytes(8 * PAGE_BYTES))
        else:
            raw.truncate(0)
            raw.write(b"garbage\n")

    done = runner(folder)("up", "--json", timeout=45)

    assert done.code == 2, done.err
    code, said = done.json["error"]["code"], done.err
    if harm == "garbage":
        assert f"{index} is no SQLite database" in said
    else:
        assert code == "INDEX_DAMAGED"
        whole = f"{index} cannot be used: the index database is damaged: "
        assert (whole if harm == "part" else f"{index} is damaged: ") in said
    assert "deed index restore" in said
    assert "retry" not in said + done.out
    if harm == "all":
        ran = runner(folder)("index", "status", "--json")
        assert (ran.code, ran.json["error"]["code"]) == (2, "INDEX_DAMAGED")
        assert f"{index} is damaged: " in ran.err


def test_without_a_stack_commands_say_how_to_get_one(folder):
    done = runner(folder)("plan", "list")

    assert done.code == 2
    assert "hint: run deed up" in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_while_starting_it_leaves_no_process(folder, number):
    up = Up(folder)
    deadline = time.monotonic() + 60
    while len(descendants(up.process.pid)) < 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    up.children = descendants(up.process.pid)

    code = up.end(number)

    assert code in {0, 130}
    assert (folder / ".deed").exists()
