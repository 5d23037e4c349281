from __future__ import annotations

import email.utils
import http.server
import json
import socket
import threading
import time

import pytest

from ledger.chain.deployment import Deployment
from ledger.ids import Address, Digest


def closed_port() -> int:
    """A port where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def add_network(deed, url, chain_id=31337):
    names = ("Anchors", "ModelRegistry", "LicenseLedger", "BrokerRegistry")
    manifest = Deployment(
        chain_id=chain_id,
        genesis_hash=Digest(b"\x01" * 32),
        block=0,
        addresses={name: Address(bytes([i + 1]) * 20) for i, name in enumerate(names)},
        code_hashes={name: Digest(bytes([i + 1]) * 32) for i, name in enumerate(names)},
    )
    (deed.cwd / "manifest.json").write_text(json.dumps(manifest.to_json()))
    ran = deed("network", "add", "there", "--rpc", url, "--deployment", "manifest.json")
    assert ran.code == 0, ran.err
    deed("network", "use", "there")


@pytest.fixture
def no_broker():
    """An HTTP server that knows nothing; ``skew[0]`` seconds off."""

    class Nothing(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def log_message(self, *args):
            pass

        def date_time_string(self, timestamp=None):
            return email.utils.formatdate(time.time() + skew[0], usegmt=True)

    skew = [0]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nothing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.skew = skew
    yield server
    server.shutdown()
    server.server_close()


def states(ran):
    return {c["name"]: c["state"] for c in ran.json["checks"]}


def test_with_nothing_set_up_it_says_what_to_do_and_is_not_alarmed(deed):
    ran = deed("doctor", "--json")
    assert ran.code == 0
    assert [c["name"] for c in ran.json["checks"]] == ["key", "clock", "broker", "rpc", "file"]
    assert states(ran) == {
        "key": "skipped",
        "clock": "ok",
        "broker": "skipped",
        "rpc": "skipped",
        "file": "skipped",
    }


def test_a_key_that_others_may_read_is_reported_with_the_cure(deed, passphrase):
    deed("init", "--role", "licensor")
    (key,) = deed.cwd.parent.rglob("main.json")
    assert states(deed("doctor", "--json"))["key"] == "ok"
    key.chmod(0o644)
    ran = deed("doctor")
    assert ran.code == 1
    assert f"hint: chmod 600 {key}" in ran.out


def test_a_missing_runtime_key_is_reported(deed):
    deed("init", "--role", "runtime")
    assert states(deed("doctor", "--json"))["key"] == "ok"
    (deed.cwd.parent / "config" / "runtime.json").unlink()
    ran = deed("doctor")
    assert ran.code == 1
    assert "deed runtime init" in ran.out


def test_endpoints_that_are_down_are_each_named_and_the_rest_still_checked(deed):
    down = f"http://127.0.0.1:{closed_port()}"
    add_network(deed, down)
    deed.env["DEED_BROKER"] = down
    ran = deed("doctor", "--json")
    assert ran.code == 1
    assert states(ran)["rpc"] == "bad"
    assert states(ran)["broker"] == "bad"
    for check in ran.json["checks"]:
        if check["state"] == "bad":
            assert check["hint"]


def test_a_server_that_is_no_broker_is_told_apart_from_one_that_is_down(deed, no_broker):
    deed.env["DEED_BROKER"] = f"http://127.0.0.1:{no_broker.server_port}"
    ran = deed("doctor")
    assert ran.code == 1
    assert "status 404" in ran.out


def test_a_clock_far_from_a_servers_is_reported(deed, no_broker):
    deed.env["DEED_BROKER"] = f"http://127.0.0.1:{no_broker.server_port}"
    no_broker.skew[0] = -3600
    clock = next(c for c in deed("doctor", "--json").json["checks"] if c["name"] == "clock")
    assert clock["state"] == "bad"
    assert "ahead of" in clock["detail"]


def test_a_file_is_looked_at_last(deed):
    (deed.cwd / "odd").write_bytes(b"nothing")
    ran = deed("doctor", "odd", "--json")
    assert ran.code == 1
    assert states(ran)["file"] == "bad"
    assert deed("doctor", "missing").code == 1


@pytest.mark.parametrize("words", [("plan", "list"), ("license", "list"), ("chain", "status")])
def test_an_rpc_that_is_down_is_exit_3_with_the_time_to_retry(deed, words):
    add_network(deed, f"http://127.0.0.1:{closed_port()}")
    ran = deed(*words, "--json")
    assert ran.code == 3
    assert ran.error["code"] == "CHAIN_UNAVAILABLE"
    assert ran.error["retry_after"] > 0
    assert ran.error["hint"]
