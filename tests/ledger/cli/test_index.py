"""``deed index``: each command on a real stack, on a real database, with what goes wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ledger.chain import anvil
from ledger.chain.abi_codec import contract
from ledger.chain.deployment import Deployment
from ledger.chain.dev import DevChain
from ledger.chain.network import load_live
from ledger.chain.rpc import Rpc
from ledger.cli.index import _lacking, _proposed
from ledger.evidence.origin import DEPLOYED, FACTORY, factory_call
from ledger.evidence.releases import shipped_code, shipped_init_code
from ledger.ids import Digest, keccak256
from ledger.index.accepting import Proposal
from ledger.index.database import open_database
from ledger.index.fetch import Header, Heads
from ledger.index.journal import Cursor
from ledger.index.mending import FEWER

pytestmark = pytest.mark.chain

PROGRAM = Path(sys.executable).with_name("deed")


@pytest.fixture
def database(tmp_path):
    return tmp_path / "index.sqlite3"


@contextmanager
def raw_connection(path):
    """A connection past our code, closed at the end.

    Left open, whoever reads the bytes of the file afterwards in this process would let go of its
    locks, and the next to close the database elsewhere would take the log away under it.
    """
    with closing(sqlite3.connect(path, timeout=5)) as raw, raw:
        yield raw


@pytest.fixture
def index(live, database):
    """``deed index WORD…`` on a database of the test's own, named by its path."""

    def run(word, *words, stdin=""):
        return live("index", word, *words, "--database", str(database), stdin=stdin)

    return run


def followed(live, database, *words, until=lambda shown: shown["behind"] == 0, heard=None):
    """Run ``deed index run`` until it has come so far, then Ctrl-C; its answer.

    What it told people goes into `heard`.
    """
    running = subprocess.Popen(
        [PROGRAM, "index", "run", "--database", f"sqlite:///{database}", "--json", *words],
        cwd=live.cwd,
        env=live.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for _ in range(300):
            ran = live("index", "status", "--database", f"sqlite:///{database}", "--json")
            if ran.code == 0 and until(ran.json):
                break
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.1)
        else:
            pytest.fail(ran.out + ran.err)
    finally:
        running.send_signal(signal.SIGINT)
        out, said = running.communicate(timeout=40)
    assert running.returncode == 0, said
    assert "Traceback" not in said
    if heard is not None:
        heard.append(said)
    return json.loads(out)


def whole(shown):
    return shown["behind"] == 0 and shown["evidence"]["events"] > 0 == shown["evidence"]["backlog"]


@pytest.fixture(scope="module")
def template(live, tmp_path_factory):
    """A database that has followed the stack's chain, proofs and all, and is in one file."""
    file = tmp_path_factory.mktemp("followed") / "index.sqlite3"
    followed(live, file, "--proof-rate", "5000", until=whole)
    with raw_connection(file) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file


@pytest.fixture
def held(template, database):
    """A copy of it in the test's place."""
    shutil.copy(template, database)


def rpc_url(live):
    return load_live(live.cwd).rpc_urls[0]


def test_run_follows_takes_proofs_and_reports_when_it_is_ended(live, database):
    shown = followed(live, database, until=whole)
    assert shown["block"] > 0
    assert shown["epoch"] == 1
    assert shown["evidence"]["events"] == shown["journal"]["events"] > 0
    (endpoint,) = shown["endpoints"]
    assert (endpoint["healthy"], endpoint["role"], endpoint["disabled"]) == (True, "any", None)
    assert endpoint["answered"] > 0


def test_what_was_lost_is_asked_for_again(live, held, database):
    with raw_connection(database) as raw:
        change = "UPDATE evidence SET hash = NULL, lost = 'missing trie node' WHERE kind = 'state'"
        count = raw.execute(change).rowcount
        raw.execute("UPDATE evidence_place SET events = 0, lost = ?", (count,))
    words = ("index", "prove", "--database", f"sqlite:///{database}", "--proof-rate", "5000")
    away = ("--rpc", "http://127.0.0.1:1")
    ran = live(*words, *away)
    assert (ran.code, ran.out) == (0, f"found  {count} proofs\n")  # They were there.
    with raw_connection(database) as raw:
        raw.execute(change)
        raw.execute("UPDATE evidence_place SET events = 0, lost = ?", (count,))
        raw.execute("DELETE FROM proof WHERE kind = 'state'")
    away = live(*words, *away)
    assert away.code == 3
    with DevChain.start() as other:
        wrong = live(*words, "--rpc", other.rpc_url)
    assert "retry: in " in away.err
    # Of another chain: asking it again in a second mends nothing.
    assert (wrong.code, "no endpoint can be used: 127.0.0.1" in wrong.err) == (2, True), wrong.err
    assert "retry" not in wrong.err
    ran = live(*words, "--json")
    assert (ran.code, ran.json) == (0, {"found": count, "lost": 0, "reasons": {}})
    ran = live("index", "audit", "--database", f"sqlite:///{database}")
    assert ran.code == 0, ran.out
    assert live(*words).out == "found  0 proofs\n"


def test_a_backup_is_restored_where_nothing_is_and_holds(index, held, database, tmp_path):
    copy = tmp_path / "monday.db"
    assert index("backup", copy).code == 0
    again = index("backup", copy)
    assert (again.code, "is there already" in again.err) == (2, True)
    taken = index("restore", copy)
    assert (taken.code, f"{database} is there already" in taken.err) == (2, True)
    database.unlink()
    ran = index("restore", copy, "--json")
    block = index("status", "--json").json["block"]
    assert ran.json == {"file": str(database), "bytes": copy.stat().st_size, "block": block}
    assert index("audit", "--chain").code == 0


def test_the_copying_of_a_server_is_left_to_its_own_tools(live, tmp_path):
    for word in ("backup", "restore"):
        url = "postgresql+psycopg://u@127.0.0.1:1/n"
        ran = live("index", word, str(tmp_path / "copy.db"), "--database", url)
        assert (ran.code, "pg_dump" in ran.err) == (2, True)


def test_killed_under_load_it_goes_on_where_it_was_and_nothing_is_missing(live, database, index):
    network = load_live(live.cwd)
    anchors = str(network.deployment.addresses["Anchors"])
    sent, over = [], threading.Event()

    def load():
        with Rpc(network.rpc_urls) as rpc:
            account = rpc.call("eth_accounts")[5]
            while not over.is_set():
                data = contract("Anchors").encode("anchor", os.urandom(32))
                fields = {"from": account, "to": anchors, "data": "0x" + data.hex()}
                sent.append(rpc.call("eth_sendTransaction", [fields]))
                time.sleep(0.01)

    sender = threading.Thread(target=load)
    sender.start()
    try:
        read = 0
        for _ in range(2):
            running = subprocess.Popen(
                [PROGRAM, "index", "run", "--database", f"sqlite:///{database}"],
                cwd=live.cwd,
                env=live.env,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            deadline = time.monotonic() + 40
            before = read
            while read < before + 20 and time.monotonic() < deadline:
                time.sleep(0.05)
                read = events_of(database)
            running.kill()
            _, said = running.communicate(timeout=20)
            assert "Traceback" not in said
            assert read >= before + 20
    finally:
        over.set()
        sender.join(20)
    shown = followed(live, database)
    assert shown["epoch"] == 3
    assert shown["journal"]["events"] >= len(sent)
    ran = index("audit", "--chain", "--json")
    assert ran.json["holds"], ran.out
    assert [c["result"] for c in ran.json["checks"] if c["number"] in {2, 3, 5, 10, 11}] == [
        "pass"
    ] * 5


def events_of(database):
    if not database.exists():
        return 0
    with raw_connection(database) as raw:
        try:
            return raw.execute("SELECT count(*) FROM raw_log").fetchone()[0]
        except sqlite3.OperationalError:
            return 0  # its tables are being made


def test_run_without_proofs_leaves_them(live, database):
    heard = []
    database.touch()
    shown = followed(live, database, "--no-proofs", heard=heard)
    first = load_live(live.cwd).deployment.block
    assert f"nothing is kept in {database} yet: begins at block {first}\n" in heard[0]
    assert shown["evidence"]["events"] == 0
    assert shown["evidence"]["backlog"] > 0


def test_status_says_all_of_it_to_people_and_to_programs(live, database, index, held):
    shown = index("status", "--json").json
    assert set(shown) == {
        "block", "time", "head", "behind", "lag_s", "safe", "finalized", "epoch", "holder",
        "endpoints", "usable", "quorum", "trouble", "hint", "reorgs", "journal", "outbox",
        "evidence",
    }  # fmt: skip
    assert shown["outbox"]["last"] >= shown["journal"]["events"]
    text = index("status").out
    for name in ("read to", "head", "behind", "finalized", "writer", "journal", "outbox"):
        assert re.search(rf"^{name} ", text, re.MULTILINE), text
    assert "1, of which 1 must agree" in text
    assert "healthy, head" in text


def test_status_says_that_nobody_writes_into_this_file(database, index, held):
    """Such as one that was put in the place of another under a service that has that one open."""
    for ago, said in ((0, False), (90, True)):
        with raw_connection(database) as raw:
            raw.execute("UPDATE cursor SET updated_at_ms = ?", (int((time.time() - ago) * 1000),))
        writer = re.search(r"^writer .*$", index("status").out, re.MULTILINE)[0]
        assert ("has written nothing for 9" in writer) is said, writer


@pytest.fixture
def public(deed, monkeypatch):
    """A network that is no test network, with our contracts; ``deed`` in a folder that uses it."""
    monkeypatch.setattr(anvil, "CHAIN_ID", 1)
    port = anvil.free_port()
    process = anvil.spawn(port, None)
    try:
        with Rpc(f"http://127.0.0.1:{port}") as rpc:
            sender = rpc.call("eth_accounts")[0]
            for name in DEPLOYED:
                data = factory_call(shipped_init_code(name))
                fields = {"from": sender, "to": str(FACTORY), "data": "0x" + data.hex()}
                rpc.call("eth_sendTransaction", [{**fields, "gas": hex(8_000_000)}])
            made = {name: shipped_code(name).address for name in DEPLOYED}
            code = {name: Digest(keccak256(rpc.code(at))) for name, at in made.items()}
            manifest = Deployment(1, rpc.block(0).hash, 1, made, code)
            (deed.cwd / "manifest.json").write_text(json.dumps(manifest.to_json()))
            words = ("--rpc", rpc.urls[0], "--deployment", "manifest.json")
            assert deed("network", "add", "public", *words).code == 0
            deed.env["DEED_NETWORK"] = "public"
            rpc.call("anvil_mine", [hex(10)])
            yield deed, rpc
    finally:
        anvil.kill(process)


def test_status_says_that_what_was_final_is_no_longer_the_chains(public, database):
    deed, rpc = public
    shown = followed(deed, database, "--no-proofs")
    on = ("--database", database)
    told = deed("index", "status", *on, "--json")
    assert (told.code, told.json["trouble"], told.json["hint"]) == (0, None, None)
    rpc.call("anvil_setCoinbase", ["0x" + os.urandom(20).hex()])
    rpc.call("anvil_reorg", [6, []])
    assert shown["finalized"] > shown["block"] - 6
    told = deed("index", "status", *on)
    assert told.code == 1, told.out
    shared = re.search(r"^hint: .*deed index accept-reorg (\d+)$", told.out, re.MULTILINE)[1]
    assert f"error: the endpoint contradicts finalized block {shown['finalized']}" in told.out
    shown = deed("index", "status", *on, "--json").json
    assert "contradicts finalized block" in shown["trouble"]
    assert shown["hint"].endswith(f"accept-reorg {shared}")
    assert deed("index", "accept-reorg", shared, "--yes", *on).code == 0
    assert deed("index", "status", *on).code == 0


def test_status_over_several_names_the_one_that_is_away(live, database, index, held):
    ran = index("status", "--rpc", rpc_url(live), "--rpc", "archive=http://127.0.0.1:9", "--json")
    assert ran.code == 0
    first, second = ran.json["endpoints"]
    assert (first["healthy"], second["healthy"], second["role"]) == (True, False, "archive")
    assert "refuses connections" in second["trouble"]
    assert "only 1 of 2" in ran.json["trouble"]
    assert ran.json["usable"] == 1


def test_status_over_none_that_answers_shows_what_it_knows_and_says_that_it_is_old(index, held):
    ran = index("status", "--rpc", "http://127.0.0.1:9")
    assert ran.code == 3
    assert re.search(r"^read to ", ran.out, re.MULTILINE)
    assert "error: no endpoint can be used" in ran.out + ran.err
    assert index("status", "--rpc", "http://127.0.0.1:9", "--json").json["usable"] == 0


def test_run_over_an_endpoint_that_is_away_uses_the_other(live, database):
    shown = followed(live, database, "--rpc", "http://127.0.0.1:9", "--rpc", rpc_url(live))
    away, used = shown["endpoints"]
    assert (away["answered"], away["healthy"]) == (0, False)
    assert used["answered"] > 0


def test_of_a_path_where_nothing_is_the_commands_say_so_and_leave_nothing(live, index, database):
    for word, *more in (["status"], ["audit"], ["rebuild"], ["prove"], ["accept-reorg", "3"]):
        ran = index(word, *more)
        assert ran.code == 2
        assert f"there is no index database at {database}" in ran.err
        assert "deed index run" in ran.err
    assert list(database.parent.iterdir()) == []
    there = f"sqlite:///{database.parent / 'no' / 'index.sqlite3'}"
    ran = live("index", "run", "--database", there)
    assert (ran.code, "there is no folder" in ran.err) == (2, True), ran.err
    assert list(database.parent.iterdir()) == []


def test_ended_before_any_endpoint_answered_it_says_why_and_names_not_itself(live, database):
    running = subprocess.Popen(
        [PROGRAM, "index", "run", "--database", database, "--rpc", "http://127.0.0.1:1"],
        cwd=live.cwd,
        env=live.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = [next(line for line in running.stderr if "127.0.0.1:1" in line and "Ctrl-C" in line)]
    time.sleep(1)
    running.send_signal(signal.SIGINT)
    said.append(running.communicate(timeout=40)[1])
    assert running.returncode == 3, said
    assert "error: nothing was followed before it ended: " in said[1]
    assert "hint: pass --rpc with an endpoint of this chain" in said[1]
    assert "deed index run" not in said[1]


def test_following_into_a_file_that_is_removed_is_told_and_ends_in_no_report(live, database):
    running = subprocess.Popen(
        [PROGRAM, "index", "run", "--database", f"sqlite:///{database}", "--no-proofs"],
        cwd=live.cwd,
        env=live.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    late = threading.Timer(60, running.kill)
    late.start()
    try:
        while events_of(database) == 0:
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.05)
        for each in database.parent.glob("index.sqlite3*"):
            each.unlink()
        for line in running.stderr:
            if "was removed while it was open" in line:
                break
        assert "start this again" in line
    finally:
        late.cancel()
        running.send_signal(signal.SIGINT)
        out, said = running.communicate(timeout=40)
    assert running.returncode == 3, said
    assert out == ""
    assert list(database.parent.iterdir()) == []


def test_run_over_a_database_or_endpoints_of_another_chain_ends_with_the_error(
    live, database, held, tmp_path
):
    def run(*words):
        # Of its own, since it may never end.
        command = [PROGRAM, "index", "run", *words]
        given = {"cwd": live.cwd, "env": live.env, "timeout": 40, "text": True}
        done = subprocess.run(command, capture_output=True, check=False, **given)
        assert (done.returncode, "retry" in done.stderr) == (2, False), done.stderr
        return done.stderr

    with DevChain.start() as other:
        host = other.rpc_url.removeprefix("http://")
        for each in (database, tmp_path / "new.db"):
            assert host in run("--database", each, "--rpc", other.rpc_url)
    with raw_connection(database) as raw:
        raw.execute("UPDATE chain SET genesis_hash = randomblob(32)")
    said = run("--database", database)
    assert "database holds another chain" in said
    assert "hint: name another database" in said


def test_of_a_copy_of_another_chain_the_commands_say_which_chain_it_holds(index, held, database):
    with raw_connection(database) as raw:
        for table in ("cursor", "chain", "block", "raw_log"):
            raw.execute(f"UPDATE {table} SET chain_id = 11155111")
    for word in ("status", "audit"):
        ran = index(word)
        assert (ran.code, "holds chain 11155111, and nothing of chain 31337" in ran.err) == (
            2,
            True,
        )
        assert "--network" in ran.err
        assert "retry" not in ran.err


def test_an_index_of_another_chain_of_that_id_is_neither_shown_nor_changed(index, held, database):
    with raw_connection(database) as raw:
        raw.execute("UPDATE chain SET genesis_hash = randomblob(32)")
        before = list(raw.iterdump())
    for words in (["status"], ["prove"], ["rebuild"], ["accept-reorg", "0", "-y"]):
        ran = index(*words)
        assert (ran.code, "holds another chain of id 31337" in ran.err) == (2, True), ran.err
        assert "retry" not in ran.err
    with raw_connection(database) as raw:
        assert list(raw.iterdump()) == before


def test_before_anything_was_followed_the_commands_say_so(index, database):
    open_database(f"sqlite:///{database}").dispose()
    for word in ("status", "audit"):
        ran = index(word)
        assert ran.code == 3
        assert "has read nothing" in ran.err
    assert index("rebuild").code == 3


def test_rebuild_says_nothing_differed_and_afterwards_what_did(live, database, index, held):
    ran = index("rebuild", "--json")
    assert (ran.code, ran.json["same"], ran.json["differences"]) == (0, True, [])
    with raw_connection(database) as raw:
        count = raw.execute("UPDATE broker SET url = 'http://x' WHERE died_block IS NULL").rowcount
    assert count > 0
    ran = index("rebuild", "--json")
    assert (ran.code, ran.json["same"]) == (1, False)
    assert ran.json["differences"] == [{"table": "broker", "extra": count, "missing": count}]
    assert re.search("^differed +nothing$", index("rebuild").out, re.MULTILINE)
    other = "UPDATE outbox SET subjects = zeroblob(32) WHERE kind = 'applied'"
    with raw_connection(database) as raw:
        told = raw.execute(other).rowcount
    assert told > 1
    ran = index("rebuild", "--json")
    assert (ran.code, ran.json["outbox"], ran.json["differences"]) == (1, told, [])
    with raw_connection(database) as raw:
        raw.execute(other)
    ran = index("rebuild")
    assert re.search(f"^ +outbox +{told} entries named other subjects$", ran.out, re.MULTILINE)


def altered_operator(database):
    """Another operator in a broker's registration, as a hand writes it into the journal."""
    with raw_connection(database) as raw:
        where = "WHERE event = 'BrokerRegistered'"
        (topics,) = raw.execute(f"SELECT topics FROM raw_log {where}").fetchone()
        raw.execute(f"UPDATE raw_log SET topics = ? {where}", (topics[:-1] + b"\x77",))


def test_a_rebuild_from_an_altered_journal_calls_nothing_right(index, held, database):
    """Right tables are made as wrong as it, which an audit without the chain cannot see."""
    altered_operator(database)
    with raw_connection(database) as raw:
        for table in ("proof", "evidence", "evidence_place"):
            raw.execute(f"DELETE FROM {table}")
    ran = index("rebuild")
    assert ran.code == 1
    assert re.search("^differed +yes, and is made anew$", ran.out, re.MULTILINE), ran.out
    assert "\nhint: the tables are what the journal gives, and nothing here says" in ran.out
    assert "deed index audit --chain" in ran.out
    assert "right" not in ran.out
    assert index("audit").code == 0
    assert index("audit", "--chain").code == 1
    again = index("rebuild", "--json").json
    assert (again["same"], again["hints"]) == (True, [])


def test_a_rebuild_says_what_of_the_database_it_does_not_mend(index, held, database):
    with raw_connection(database) as raw:
        raw.execute("DROP TABLE access_audit")
        raw.execute("CREATE TRIGGER tr AFTER INSERT ON raw_log BEGIN SELECT 1; END")
    ran = index("rebuild", "--json")
    lacking = [
        "table access_audit is not there",
        "trigger tr on table raw_log is not of this release",
    ]
    assert (ran.code, ran.json["same"], ran.json["lacking"]) == (1, False, lacking)
    text = index("rebuild").out
    assert re.search("^  database +table access_audit is not there$", text, re.MULTILINE), text
    assert re.search("^hint: drop a trigger .* put a copy back", text, re.MULTILINE), text


def test_a_rebuild_is_refused_where_a_kept_proof_shows_the_journal_otherwise(index, held, database):
    altered_operator(database)
    ran = index("rebuild")
    assert (ran.code, "is not what its block says" in ran.err) == (2, True), ran.err
    assert "hint: nothing was changed; put a copy back" in ran.err
    with raw_connection(database) as raw:
        raw.execute("DELETE FROM raw_log WHERE event = 'BrokerRegistered'")
    assert "events of ours, and" in index("rebuild").err


def test_reasons_that_differ_in_every_block_do_not_fill_the_screen():
    told = _lacking({"no state": 9, **{f"no block {number}": 1 for number in range(100)}})
    assert told[0] == "9 proofs: no state"
    assert told[-1] == "96 proofs for other reasons; --json has them all"
    assert len(told) == 6
    assert _lacking({"no state": 1}) == ["1 proof: no state"]
    # Of events, and nothing tells it again.
    fewer = _lacking({**{f"no block {number}": 9 for number in range(100)}, FEWER: 2})[0]
    assert fewer.startswith("2 events fewer are proved than were counted, and")


def test_one_model_is_told_in_the_singular():
    at = Cursor(9, None, 0, 0, 0, 8, 1, "", 0, 0)
    heads = Heads(Header(8, b"h" * 32, b"p" * 32, 0, 0), 0, 0)
    rows = dict(_proposed(Proposal(5, at, heads, {}, models=1, licenses=2)))
    assert rows["touches"] == "1 model, 2 licenses"


def test_audit_passes_and_fails_by_number_with_its_exit_code(live, database, index, held):
    ran = index("audit", "--chain", "--json")
    assert (ran.code, ran.json["holds"]) == (0, True), ran.out
    results = {check["number"]: check["result"] for check in ran.json["checks"]}
    assert results == {**dict.fromkeys(range(1, 14), "pass"), 9: "not checked"}
    with raw_connection(database) as raw:
        raw.execute("UPDATE proof SET body = x'00' WHERE kind = 'header'")
    ran = index("audit")
    assert ran.code == 1
    assert re.search(r"^\(6\) +fail ", ran.out, re.MULTILINE), ran.out
    assert "the index does not hold" in ran.out
    assert "\nhint: (6): deed index prove; what it does not find: put a copy back" in ran.out


def hints(ran):
    return {check["number"]: check["hint"] for check in ran.json["checks"] if check["hint"]}


def test_an_audit_says_the_way_out_of_each_check_that_fails(index, held, database):
    """A rebuild only where the chain bears the journal out, and never what was just run."""
    with raw_connection(database) as raw:
        raw.execute("UPDATE broker SET url = 'http://x'")
    assert "\nhint: (10): first deed index audit --chain, " in index("audit").out
    assert hints(index("audit", "--chain", "--json")) == {10: "deed index rebuild"}
    with raw_connection(database) as raw:
        raw.execute("UPDATE outbox SET block = 10000000 WHERE kind = 'finalized'")
    out = index("audit").out
    assert re.search(r"^hint: \(5\): first .*; else put a copy back ", out, re.MULTILINE), out
    altered_operator(database)
    told = hints(index("audit", "--chain", "--json"))
    renew = "put a copy back (deed index restore, or pg_restore), or follow the chain into a new"
    assert {number for number, way in told.items() if way.startswith(renew)} == {5, 7, 10, 12}
    assert told[6].startswith("deed index prove")


def test_an_audit_against_a_chain_that_was_not_there_to_compare_is_no_yes(index, held):
    with DevChain.start() as other:
        told = index("audit", "--chain", "--rpc", other.rpc_url, "--json")
    assert (told.code, told.json["holds"], told.json["compared"]) == (3, True, False)
    ran = index("audit", "--chain", "--rpc", "http://127.0.0.1:1")
    assert ran.code == 3, ran.out
    assert "error: the index was not compared with the chain" in ran.out
    assert "by itself the index holds" in ran.out


def test_a_lone_copy_is_looked_at_by_what_it_holds(deed, held, database):
    """In a folder where no network is chosen, and none runs."""
    on = ("--database", database)
    ran = deed("index", "audit", *on, "--json")
    assert (ran.code, ran.json["holds"]) == (0, True), ran.out + ran.err
    results = {check["number"]: check["result"] for check in ran.json["checks"]}
    unmade = dict.fromkeys((1, 9, 11, 12), "not checked")
    assert results == {**dict.fromkeys(range(1, 14), "pass"), **unmade}
    text = deed("index", "audit", *on).out
    assert "no network was named to compare with; it says chain 31337, first block 0x" in text
    assert "by itself the index holds" in text
    told = deed("index", "status", *on)
    assert told.code == 3
    assert re.search(r"^network +none chosen; chain 31337$", told.out, re.MULTILINE), told.out
    assert "error: no network is chosen: head and behind are as the index knew" in told.out
    shown = deed("index", "status", *on, "--json").json
    assert (shown["block"], shown["endpoints"]) == (ran.json["block"], [])
    assert deed("index", "rebuild", *on).code == 0
    asked = deed("index", "audit", *on, "--chain")
    assert (asked.code, "no network is chosen" in asked.err) == (2, True)
    assert "no index database is named" in deed("index", "audit").err


def test_of_a_lone_copy_one_event_of_another_contract_is_found(deed, held, database):
    with raw_connection(database) as raw:
        raw.execute(
            "UPDATE raw_log SET address = randomblob(20) WHERE (block, log_index) = "
            "(SELECT block, log_index FROM raw_log WHERE contract = 'BrokerRegistry' LIMIT 1)"
        )
    ran = deed("index", "audit", "--database", database)
    assert ran.code == 1
    assert re.search(r"^\(3\) +fail .* is of no contract of ours$", ran.out, re.MULTILINE), ran.out


def test_of_a_copy_that_holds_two_chains_one_must_be_named(deed, held, database):
    with raw_connection(database) as raw:
        raw.execute("CREATE TEMP TABLE other AS SELECT * FROM cursor")
        raw.execute("UPDATE other SET chain_id = 1")
        raw.execute("INSERT INTO cursor SELECT * FROM other")
    for word in ("audit", "status", "rebuild"):
        ran = deed("index", word, "--database", database)
        assert (ran.code, "holds chains 1, 31337" in ran.err) == (2, True), ran.err
        assert "--network" in ran.err


def test_accept_reorg_where_there_is_none_is_refused(live, database, index, held):
    ran = index("accept-reorg", "3", "--yes")
    assert ran.code == 2
    assert "nothing to take back" in ran.err
    assert index("accept-reorg", "--", "-3").code == 2


def test_accept_reorg_asks_says_what_it_costs_and_only_then_acts(live, database, index, held):
    """The chain is another one above a block, as after a reorganisation past finality."""
    with raw_connection(database) as raw:
        blocks = [n for (n,) in raw.execute("SELECT number FROM block ORDER BY number DESC")]
        shared = blocks[5]
        for number in blocks[:5]:
            raw.execute("UPDATE block SET hash = ? WHERE number = ?", (os.urandom(32), number))
        raw.execute(
            "UPDATE cursor SET last_hash = (SELECT hash FROM block WHERE number = ?)", blocks[:1]
        )
    before = database.read_bytes()
    ran = index("accept-reorg", shared)
    assert ran.code == 2
    assert "Nobody is there to answer" in ran.err
    assert f"block {shared} and everything before it" in ran.err
    assert "were final" in ran.err
    assert f"accept-reorg {shared}" in index("accept-reorg", shared - 1, "--yes").err
    assert database.read_bytes() == before
    ran = index("accept-reorg", shared, "--yes", "--why", "the node was restored", "--json")
    assert (ran.code, ran.json["accepted"], ran.json["blocks"]) == (0, True, 5)
    shown = index("status", "--json").json
    (last,) = shown["reorgs"]["last"]
    assert (last["depth"], last["past_finality"]) == (5, True)
    assert last["accepted_why"].startswith("the node was restored")
    assert last["accepted_by"]
    assert "past finality, accepted by" in index("status").out
    heard = []
    assert followed(live, database, heard=heard)["block"] >= blocks[0]
    assert "nothing is kept" not in heard[0]
    assert index("audit", "--chain").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rpc", "ftp://x"), "not a URL"),
        (("--rpc", "full=http://127.0.0.1:9"), "no role"),
        (("--rpc", "http://127.0.0.1:9", "--quorum", 2), "2 of 1"),
        (("--rpc", "http://127.0.0.1:9", "--rpc", "http://127.0.0.1:9"), "twice"),
    ],
)
def test_endpoints_that_cannot_be_meant_are_refused(index, held, words, said):
    ran = index("status", *words)
    assert ran.code == 2
    assert said in ran.err
    assert ran.err.count("hint: ") == 1


@pytest.mark.parametrize("word", ["status", "audit", "rebuild"])
def test_a_name_that_is_empty_is_not_taken_for_none(live, word):
    """Such as that of a shell's variable which is not set."""
    ran = live("index", word, "--database", "")
    assert ran.code == 2
    assert ran.err.count("hint: ") == 1


def test_another_contracts_database_is_not_followed(live, database, index, held, tmp_path):
    with raw_connection(database) as raw:
        raw.execute("UPDATE chain SET deployment_hash = x'00'")
    ran = index("audit")
    assert ran.code == 1
    assert "other contracts" in ran.out


@pytest.mark.parametrize("word", ["rebuild", "audit"])
def test_ended_in_the_middle_nothing_is_changed(live, database, index, held, word):
    before = index("status", "--json").json
    running = subprocess.Popen(
        [PROGRAM, "index", word, "--database", f"sqlite:///{database}"],
        cwd=live.cwd,
        env=live.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # Anywhere: while it loads, asks, folds, or when it is over.
    time.sleep(1.2)
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=30)
    assert running.returncode in {0, 130, -signal.SIGTERM}, said
    assert "Traceback" not in said
    after = index("status", "--json").json
    assert after["block"] == before["block"]
    assert index("audit").code == 0


def test_the_service_counts_what_the_index_keeps(live):
    import httpx

    network = load_live(live.cwd)
    with Rpc(network.rpc_urls) as rpc:
        head = rpc.block("latest").number
    text = httpx.get(f"{network.api_url}/metrics").text
    values = dict(re.findall(r"^(deed_index_\w+(?:\{[^}]*\})?) ([0-9.e+]+)$", text, re.MULTILINE))
    assert float(values["deed_index_head_block"]) >= head - 3
    assert float(values["deed_index_events_total"]) > 0
    assert float(values["deed_index_outbox_entries"]) > 0
    host = network.rpc_urls[0].removeprefix("http://")
    assert values[f'deed_index_endpoint_healthy{{host="{host}"}}'] == "1.0"
    assert float(values[f'deed_index_endpoint_answered_total{{host="{host}"}}']) > 0
    for name in ("evidence_backlog", "evidence_lost", "evidence_bytes", "lag_seconds", "epoch"):
        assert f"deed_index_{name}" in values
