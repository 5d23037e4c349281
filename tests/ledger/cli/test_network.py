from __future__ import annotations

import json
import stat
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

SECRET = "SECRETAPIKEY"


def manifest(chain_id=11155111):
    from ledger.chain.deployment import Deployment
    from ledger.ids import Address, Digest

    names = ("Anchors", "ModelRegistry", "LicenseLedger", "BrokerRegistry")
    return Deployment(
        chain_id=chain_id,
        genesis_hash=Digest(b"\x01" * 32),
        block=7,
        addresses={name: Address(bytes([i + 1]) * 20) for i, name in enumerate(names)},
        code_hashes={name: Digest(bytes([i + 1]) * 32) for i, name in enumerate(names)},
    ).to_json()


@pytest.fixture
def known(deed):
    """The program with one network added, whose RPC URL holds an API key."""
    (deed.cwd / "manifest.json").write_text(json.dumps(manifest()))
    url = f"https://rpc.example/v2/{SECRET}"
    ran = deed("network", "add", "sepolia", "--rpc", url, "--deployment", "manifest.json")
    assert ran.code == 0, ran.err
    return deed


def test_elsewhere_there_is_no_default_network(deed):
    ran = deed("plan", "list")
    assert ran.code == 2
    assert ran.err.splitlines() == [
        "error: no network is chosen, and none is live in this folder",
        "hint: run deed up in this folder, or choose one with deed network use NAME",
    ]


def test_an_added_network_is_listed_used_and_shown(known):
    (row,) = known("network", "list", "--json").json["networks"]
    assert row == {
        "name": "sepolia",
        "rpc": ["https://rpc.example/…"],
        "live": False,
        "chosen": False,
    }
    assert known("network", "use", "sepolia").code == 0
    shown = known("network", "show", "--json").json
    assert shown["chain_id"] == 11155111
    assert shown["deployment"]["addresses"] == manifest()["addresses"]


def test_a_network_is_not_replaced_by_accident(known):
    again = (
        "network",
        "add",
        "sepolia",
        "--rpc",
        "http://a.example",
        "--deployment",
        "manifest.json",
    )
    ran = known(*again)
    assert ran.code == 2
    assert "there is a network sepolia already" in ran.err
    (row,) = known("network", "list", "--json").json["networks"]
    assert row["rpc"] == ["https://rpc.example/…"]
    assert known(*again, "--force").code == 0


def test_an_api_key_in_a_url_is_kept_privately_and_never_shown(known):
    stored = [p for p in known.cwd.parent.rglob("*") if p.is_file() and SECRET in p.read_text()]
    (file,) = stored
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    known.env["DEED_NETWORK"] = "sepolia"
    for words in (["network", "list"], ["network", "show"], ["config"], ["doctor"]):
        ran = known(*words)
        assert SECRET not in ran.out + ran.err
        ran = known(*words, "--json")
        assert SECRET not in ran.out + ran.err


@pytest.fixture
def web():
    """A web server: its URL, and what it answers a POST, to be set."""

    class Page(BaseHTTPRequestHandler):
        said: ClassVar = (200, b"<html>")

        def do_POST(self):
            status, body = self.said
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", Page
        server.shutdown()


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ((200, b"<html>a page</html>"), 2),
        ((200, b'{"jsonrpc": "2.0", "id": 1, "result": "mainnet"}'), 2),
        ((404, b"no such page"), 2),
        ((405, b""), 2),
        # An endpoint that has no time, or asks for a key that others have.
        ((503, b""), 0),
        ((403, b""), 0),
    ],
)
def test_a_web_page_is_no_endpoint_and_one_that_is_away_is_a_note(deed, web, said, code):
    url, page = web
    page.said = said
    (deed.cwd / "manifest.json").write_text(json.dumps(manifest()))
    ran = deed("network", "add", "x", "--rpc", url, "--deployment", "manifest.json")
    assert (ran.code, "is no JSON-RPC endpoint" in ran.err) == (code, code == 2), ran.err
    assert bool(deed("network", "list", "--json").json["networks"]) == (code == 0)


@pytest.mark.parametrize("name", ["local", "Sepolia", "a/b", "", "-x"])
def test_a_name_that_cannot_be_is_refused(deed, name):
    (deed.cwd / "manifest.json").write_text(json.dumps(manifest()))
    ran = deed("network", "add", "--rpc", "http://a", "--deployment", "manifest.json", "--", name)
    assert ran.code == 2
    assert list(deed.cwd.parent.rglob("networks.toml")) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense", '{"chain_id": -1}'])
def test_a_file_that_is_no_manifest_is_refused(deed, text):
    (deed.cwd / "manifest.json").write_text(text)
    ran = deed("network", "add", "x", "--rpc", "http://a", "--deployment", "manifest.json")
    assert ran.code == 2
    assert ran.err.startswith("error: ")
    assert list(deed.cwd.parent.rglob("networks.toml")) == []


def test_a_chain_without_a_profile_is_refused(deed):
    (deed.cwd / "manifest.json").write_text(json.dumps(manifest(chain_id=424242)))
    ran = deed("network", "add", "x", "--rpc", "http://a", "--deployment", "manifest.json")
    assert ran.code == 2
    assert "424242" in ran.err


def test_an_unknown_network_is_named_with_the_way_to_find_the_known_ones(deed):
    ran = deed("network", "use", "moon")
    assert ran.code == 2
    assert "deed network list" in ran.err
    assert not (deed.cwd / "deed.toml").exists()


def test_local_without_a_running_stack_says_how_to_start_it(deed):
    ran = deed("plan", "list", "--network", "local")
    assert ran.code == 2
    assert "deed up" in ran.err
