"""The process that reads ranges ahead gives what reading here gives, or nothing at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from ledger.chain import anvil
from ledger.chain.endpoint import MAX_REPLY_BYTES
from ledger.chain.rpc import Rpc
from ledger.errors import IndexUnavailable
from ledger.index import follow, reader
from ledger.index.apart import Apart
from ledger.index.contracts import Contracts
from ledger.index.database import open_database
from ledger.index.decode import EVENTS
from ledger.index.endpoints import client
from ledger.index.fetch import read_span
from ledger.index.fold import fold
from ledger.index.follow import Follower
from ledger.index.packed import Packed
from ledger.index.receipts import Rule
from ledger.index.step import Place

pytestmark = pytest.mark.chain

READY = 30.0


@pytest.fixture
def early(monkeypatch):
    """Backfill and the other process begin for a few blocks already."""
    monkeypatch.setattr(follow, "BACKFILL_BLOCKS", 10)
    monkeypatch.setattr(follow, "COMMIT_LOGS", 8)
    monkeypatch.setattr(reader, "APART_LOGS", 1)
    monkeypatch.setattr(reader, "CORES", 2)


@pytest.fixture
def apart(old):
    made = started(old)
    yield made
    made.close()


def started(old, *, postgres=False):
    made = Apart(old.deployment.addresses, old.deployment.chain_id, postgres=postgres)
    assert made._ready.wait(READY)
    return made


def follower_of(old, engine, look):
    follower = Follower(old.rpc, engine, old.deployment, look.Profile(test_network=False))
    follower._ahead.blocks = 4
    return follower


def begin(follower):
    """Turn until the other process is there; the first blocks hold no logs."""
    while follower._reader.apart is None:
        assert not follower.step()
    assert follower._reader.apart._ready.wait(READY)


def here(old, first, last, *, postgres=False):
    span = read_span(old.rpc, Contracts.of(old.deployment.addresses), first, last, rule=Rule())
    return Packed.of(span, old.deployment.chain_id, postgres=postgres)


def gone(pid):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("postgres", [False, True])
def test_a_range_read_apart_is_the_range_read_here(old, postgres):
    apart = started(old, postgres=postgres)
    first, last = old.deployment.block, old.rpc.block("latest").number
    found = apart.read(old.rpc, first, last, Rule())
    apart.close()
    expected = here(old, first, last, postgres=postgres)
    assert found is not None
    assert found.count == len(old.logs())
    assert found.plain() == expected.plain()
    assert list(found.told()) == list(expected.told())


def test_a_backfill_with_it_ends_with_the_rows_of_the_chain(old, engine, look, early):
    follower = follower_of(old, engine, look)
    begin(follower)
    pid, used = follower._reader.apart.pid, []
    read = follower._reader.apart.read
    follower._reader.apart.read = lambda *asked: used.append(read(*asked)) or used[-1]
    # What was read ahead before it was there.
    follower._ahead.drop()
    look.catch_up(follower)
    assert sum(isinstance(each, Packed) for each in used) >= 3
    assert follower._reader.apart is None
    assert gone(pid)
    assert look.journal(engine) == old.logs()
    assert look.refolded(engine, follower) == look.state(engine)


def test_a_backfill_goes_on_without_it_when_it_is_killed(old, engine, look, early, caplog):
    follower = follower_of(old, engine, look)
    begin(follower)
    follower._ahead.drop()
    follower.step()
    os.kill(follower._reader.apart.pid, signal.SIGKILL)
    look.catch_up(follower)
    assert look.journal(engine) == old.logs()
    assert look.refolded(engine, follower) == look.state(engine)


def test_who_waits_for_an_answer_of_one_that_is_killed_reads_here(old, apart, monkeypatch, caplog):
    os.kill(apart.pid, signal.SIGSTOP)
    monkeypatch.setattr("ledger.index.apart.PATIENCE", 0.3)
    assert apart.read(old.rpc, 1, 3, Rule()) is None
    assert "has ended" in caplog.text
    assert gone(apart.pid)
    assert apart.read(old.rpc, 1, 3, Rule()) is None


def test_a_range_with_a_fault_is_left_to_the_caller_and_the_next_is_answered(old, apart):
    head = old.rpc.block("latest").number
    assert apart.read(old.rpc, head, head + 5, Rule()) is None
    assert apart.read(Rpc(f"http://127.0.0.1:{anvil.free_port()}"), 1, 2, Rule()) is None
    wrong = Rpc(old.rpc.urls, chain_id=old.deployment.chain_id + 1)
    assert apart.read(wrong, 1, 2, Rule()) is None
    found = apart.read(old.rpc, 1, head, Rule())
    assert found is not None
    assert found.count == len(old.logs())


def test_it_ends_when_the_process_that_started_it_is_killed(old):
    code = (
        "import time; from ledger.index.apart import Apart\n"
        "made = Apart({}, 1, postgres=False); made._ready.wait(30)\n"
        "print(made.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    assert b"ledger.index.apart" in Path(f"/proc/{pid}/cmdline").read_bytes()
    parent.kill()
    parent.wait()
    assert gone(pid)


def test_a_key_in_a_url_is_in_no_argument_and_no_environment(old, apart):
    key = "0123456789abcdef-private"
    apart.read(Rpc(f"{old.rpc.urls[0]}/v2/{key}"), 1, 2, Rule())
    for name in ("cmdline", "environ"):
        assert key.encode() not in Path(f"/proc/{apart.pid}/{name}").read_bytes()


def test_a_client_that_cannot_be_made_again_is_not_used_apart(old, apart):
    special = Rpc(old.rpc.urls, transport=httpx.HTTPTransport())
    assert special.elsewhere() is None
    assert apart.read(special, 1, 2, Rule()) is None

    class Odd(Rpc):
        pass

    assert client(Odd(old.rpc.urls), 1) is None
    assert client(old.rpc, 1) is old.rpc
    urls, *_ = old.rpc.elsewhere()
    again = Rpc.opened((urls, 7.0, old.deployment.chain_id, MAX_REPLY_BYTES))
    assert again.elsewhere() == (urls, 7.0, old.deployment.chain_id, MAX_REPLY_BYTES)
    again.close()


def test_a_chain_with_little_ahead_is_read_alone(old, tmp_path, look, early, monkeypatch):
    monkeypatch.setattr(reader, "APART_LOGS", 10**6)
    engine = open_database(f"sqlite:///{tmp_path / 'alone.db'}")
    follower = follower_of(old, engine, look)
    while not follower.step():
        assert follower._reader.apart is None
    engine.dispose()


class Plans:
    """State in which one plan exists and nothing else."""

    def __init__(self, plan):
        self.plan = plan

    def get(self, table, key):
        return self.plan if (table, key) == ("plan", (7,)) else None


def test_a_license_that_is_not_numbered_as_one_of_its_plan_is_refused():
    kind = next(k for k in EVENTS["LicenseLedger"].values() if k.name == "LicenseIssued")
    values = (8 << 32 | 1, 7, bytes(20), 0, 0)
    with pytest.raises(IndexUnavailable, match="not numbered"):
        fold(Plans({"issued": 0, "model_id": bytes(32)}), kind, values, Place(1, 1, 0, bytes(32)))
