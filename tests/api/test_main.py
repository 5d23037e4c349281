"""The process: how it starts, what it says when it cannot, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from api.__main__ import main
from ledger.access import trail
from ledger.chain.anvil import free_port
from ledger.chain.dev import DevChain
from ledger.chain.network import Network
from ledger.ids import Digest
from ledger.index.database import open_database, reading, writing
from ledger.index.journal import Journal

pytestmark = pytest.mark.chain

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "changed",
    [
        {"DEPLOYMENT": ""},
        {"DEPLOYMENT": "none.json"},
        {"RPC_URLS": ""},
        {"RPC_URLS": "ftp://s3cret@host"},
        {"PORT": "99999"},
        {"DATABASE_URL": "mysql://user:s3cret@host/x"},
        {"DATABASE_URL": "d.json/x.db"},
        {"AUDIT_DAYS": "89"},
        {"BROKER_HOME": "broker"},
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_meant_gives_one_error_and_no_secret(
    changed, tmp_path, deployed, monkeypatch, capsys
):
    deployed.deployment.save(tmp_path / "d.json")
    monkeypatch.chdir(tmp_path)
    good = {"DEPLOYMENT": "d.json", "RPC_URLS": deployed.chain.rpc_url, "DATABASE_URL": "i.db"}
    for name, value in (good | changed).items():
        monkeypatch.setenv(f"DEED_API_{name}", value)
    assert main() in {2, 3}
    said = capsys.readouterr().err
    assert said.startswith("error: "), said
    assert "Traceback" not in said
    assert "s3cret" not in said


def test_a_missing_setting_ends_the_process_with_status_2():
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DEED_")}
    done = subprocess.run(
        [sys.executable, "-m", "api"], cwd=ROOT, env=kept, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: DEED_API_DEPLOYMENT"), done.stderr


def test_it_stops_on_sigterm_with_status_0_and_leaves_a_readable_log(
    deployed, published, make, tmp_path
):
    service = make.service(tmp_path, deployed.network).start()
    service.caught_up(deployed.rpc)
    service.get(f"/v1/models/{published.model}")
    assert service.stop() == 0
    lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    served = [line for line in lines if line["event"] == "request"]
    assert served[-1]["route"] == "/v1/models/{id}"
    assert str(published.model) not in service.log.read_text()


def test_a_restart_resumes_where_it_was(deployed, published, make, tmp_path):
    first = make.service(tmp_path, deployed.network).start()
    first.caught_up(deployed.rpc)
    first.process.kill()
    first.process.wait()
    first.client.close()
    second = make.service(tmp_path, deployed.network).start()
    try:
        second.caught_up(deployed.rpc)
        events = second.get("/v1/events", limit=1000)["events"]
        places = [(event["block"], event["log_index"]) for event in events]
        assert places == sorted(set(places))
        assert any(event["event"] == "LicenseIssued" for event in events)
    finally:
        second.stop()


@pytest.mark.deep  # a service of its own; tests of the index say the same of its parts
def test_a_database_removed_under_it_is_told_and_another_in_its_place_is_not_taken(
    deployed, published, make, tmp_path
):
    service = make.service(tmp_path, deployed.network).start()
    try:
        service.caught_up(deployed.rpc)
        for each in tmp_path.glob("index.db*"):
            if each.suffix in {".db", ".db-wal", ".db-shm"}:
                each.unlink()
        # What a command made there, had it been let.
        other = open_database(f"sqlite:///{tmp_path / 'index.db'}")
        service.until(lambda: service.client.get("/readyz").json()["state"] == "stopped")
        reply = service.client.get("/readyz")
        assert (reply.status_code, reply.json()["ready"]) == (503, False)
        assert "replaced by another while it was open" in reply.json()["reason"]
        assert "start this again" in reply.json()["reason"]
        reply = service.client.get("/v1/models")
        assert (reply.status_code, reply.json()["code"]) == (503, "INDEX_REPLACED")
        with reading(other) as connection:
            assert connection.execute(text("SELECT count(*) FROM cursor")).scalar_one() == 0
        other.dispose()
    finally:
        service.stop()


def test_it_forgets_what_in_the_audit_log_is_older_than_its_setting(deployed, make, tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'index.db'}")
    with writing(engine) as connection:
        for days in (100, 80):
            old = int((time.time() - days * 86_400) * 1000)
            trail.append(connection, trail.Act("local:x", f"of {days} days"), now_ms=old)
    service = make.service(tmp_path, deployed.network, DEED_API_AUDIT_DAYS="90").start()

    def acts():
        with reading(engine) as connection:
            return [json.loads(row.text)["act"] for row in trail.rows(connection)]

    try:
        service.until(lambda: acts() == ["of 80 days", "audit.pruned"])
    finally:
        service.stop()
    with reading(engine) as connection:
        assert trail.verify(trail.rows(connection)).holds
    engine.dispose()


def test_without_its_chain_it_answers_from_what_it_has_and_says_that_it_is_not_ready(
    make, tmp_path, deployed
):
    with DevChain.start() as chain:
        network = Network("x", (chain.rpc_url,), deployed.deployment, deployed.profile)
        service = make.service(tmp_path / "wrong", network).start()
        try:
            reply = service.client.get("/readyz")
            service.until(lambda: service.client.get("/readyz").json()["state"] == "stopped")
            reply = service.client.get("/readyz")
            assert reply.status_code == 503
            assert "its genesis differs" in reply.json()["reason"]
            assert service.client.get("/v1/models").status_code == 503
        finally:
            service.stop()


@pytest.mark.parametrize("follows", ["1", "0"])
def test_over_a_database_of_another_chain_nothing_is_answered_and_readiness_says_why(
    make, tmp_path, deployed, follows
):
    engine = open_database(f"sqlite:///{tmp_path / 'index.db'}")
    with writing(engine) as connection:
        Journal(deployed.deployment.chain_id).pin(
            connection, genesis=Digest(b"\x07" * 32), deployment={}, first=1
        )
    engine.dispose()
    service = make.service(tmp_path, deployed.network, DEED_API_FOLLOW=follows).start()
    try:
        service.until(lambda: service.client.get("/readyz").json()["state"] == "stopped")
        asked = service.client.get("/v1/models")
        assert (asked.status_code, asked.json()["code"]) == (503, "WRONG_NETWORK")
        assert "retry-after" not in asked.headers
        reply = service.client.get("/readyz")
        told = reply.json()
        assert (reply.status_code, told["ready"], told["code"]) == (503, False, "WRONG_NETWORK")
        assert "database holds another chain" in told["reason"]
        assert told["hint"].startswith("name another database, or put back the copy")
        assert "retry" not in reply.text
        assert "retry-after" not in reply.headers
    finally:
        service.stop()


def test_readiness_turns_red_with_the_lag_when_the_endpoint_is_gone_and_green_again(
    deployed, make, tmp_path
):
    relay = Relay(deployed.chain.rpc_url)
    network = Network("x", (relay.url,), deployed.deployment, deployed.profile)
    service = make.service(tmp_path, network, DEED_API_READY_LAG="1").start()
    try:
        service.until(lambda: service.client.get("/readyz").status_code == 200)
        relay.stop()
        service.until(lambda: service.client.get("/readyz").status_code == 503)
        service.until(lambda: service.client.get("/readyz").json()["lag_s"] > 1)
        told = service.client.get("/readyz").json()
        assert told["state"] == "unavailable"
        assert "refuses connections" in told["reason"]
        assert service.get("/v1/models")["as_of"]["lag_s"] > 1
        assert "deed_index_ready 0.0" in service.client.get("/metrics").text
        relay.start()
        service.until(lambda: service.client.get("/readyz").status_code == 200)
    finally:
        service.stop()
        relay.stop()


class Relay:
    """A TCP relay to the node that can be taken away."""

    def __init__(self, url: str) -> None:
        self._target = int(httpx.URL(url).port or 0)
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        code = (
            "import asyncio,sys\n"
            "async def pipe(r,w):\n"
            "    try:\n"
            "        while d:=await r.read(65536): w.write(d); await w.drain()\n"
            "    except OSError: pass\n"
            "    finally: w.close()\n"
            "async def serve(r,w):\n"
            "    a,b=await asyncio.open_connection('127.0.0.1',int(sys.argv[2]))\n"
            "    await asyncio.gather(pipe(r,b),pipe(a,w))\n"
            "async def main():\n"
            "    s=await asyncio.start_server(serve,'127.0.0.1',int(sys.argv[1]))\n"
            "    await s.serve_forever()\n"
            "asyncio.run(main())\n"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, str(self._port), str(self._target)],
            stderr=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
