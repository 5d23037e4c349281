"""Events as they happen: in order, once, taken back when the chain does, and gone on with."""

from __future__ import annotations

import json
import queue
import secrets
import socket
import threading
import time

import httpx
import pytest

from ledger.ids import Digest

pytestmark = pytest.mark.chain

PATH = "/v1/events/stream"


class Listener:
    """Server-sent events of one connection, read by a thread."""

    def __init__(self, service, headers=None, **params):
        self._client = httpx.Client(base_url=service.url, timeout=30)
        self._asked = self._client.stream("GET", PATH, params=params, headers=headers)
        self.reply = self._asked.__enter__()
        self.events = queue.Queue()
        self.ended = threading.Event()
        self.last = None
        threading.Thread(target=self._read, daemon=True).start()
        self.begun = self.events.get(timeout=10)

    def _read(self):
        found = {}
        try:
            for line in self.reply.iter_lines():
                if line:
                    name, _, value = line.partition(":")
                    found[name] = value.strip()
                else:
                    self.events.put(found)
                    found = {}
        except httpx.TransportError:
            pass
        self.ended.set()

    def next(self, kind=None):
        deadline = time.monotonic() + 15
        while True:
            one = self.events.get(timeout=max(0.01, deadline - time.monotonic()))
            self.last = one.get("id", self.last)
            if "data" in one and kind in {None, one["event"]}:
                return json.loads(one["data"])

    def close(self):
        self._asked.__exit__(None, None, None)
        self._client.close()


@pytest.fixture
def listen(service):
    made = []

    def open_one(headers=None, **params):
        made.append(Listener(service, headers, **params))
        return made[-1]

    yield open_one
    for one in made:
        one.close()


def anchor(deployed):
    root = Digest(secrets.token_bytes(32))
    deployed.anchors.anchor(deployed.sender("holder"), root)
    return str(root)


def test_an_event_comes_within_moments_with_what_it_says(service, deployed, listen):
    listener = listen()
    assert listener.reply.headers["content-type"].startswith("text/event-stream")
    assert listener.reply.headers["x-content-type-options"] == "nosniff"
    root = anchor(deployed)
    told = listener.next("applied")
    assert (told["event"], told["contract"]) == ("RootAnchored", "Anchors")
    assert told["arguments"]["root"] == root
    assert told["subjects"] == [root]
    block = deployed.rpc.block(told["block"])
    assert (told["block_hash"], told["block_time"]) == (str(block.hash), block.timestamp)
    assert int(listener.last) == told["seq"]


def test_who_comes_back_goes_on_where_it_was_without_gap_or_doubling(service, deployed, listen):
    listener = listen()
    roots = [anchor(deployed) for _ in range(3)]
    assert listener.next("applied")["arguments"]["root"] == roots[0]
    listener.close()
    roots += [anchor(deployed) for _ in range(2)]
    again = listen(headers={"Last-Event-ID": listener.last})
    assert [again.next("applied")["arguments"]["root"] for _ in range(4)] == roots[1:]
    other = listen(after=int(listener.last))
    assert [other.next("applied")["arguments"]["root"] for _ in range(4)] == roots[1:]


def test_only_what_was_asked_for_comes(service, deployed, published, listen):
    mine, plans = listen(license=str(published.license)), listen(event="PlanPaused")
    anchor(deployed)
    licensor = deployed.sender("licensor")
    deployed.licenses.suspend(licensor, published.license)
    deployed.licenses.set_paused(licensor, published.plan, paused=True)
    deployed.licenses.reinstate(licensor, published.license)
    deployed.licenses.set_paused(licensor, published.plan, paused=False)
    found = [mine.next("applied")["event"] for _ in range(2)]
    assert found[0] == "LicenseSuspended"
    assert [plans.next("applied")["arguments"]["paused"] for _ in range(2)] == [True, False]


def test_a_reorganisation_is_told_as_taken_back_and_put_in_again(deployed, make, tmp_path):
    running = make.service(tmp_path, deployed.network).start()
    try:
        running.caught_up(deployed.rpc)
        listener = Listener(running)
        with deployed.chain.hold_finality():
            root = anchor(deployed)
            first = listener.next("applied")
            assert first["arguments"]["root"] == root
            depth = deployed.rpc.block("latest").number - first["block"] + 1
            deployed.rpc.call("anvil_reorg", [depth, []])
            taken = listener.next("retracted")
        assert (taken["block"], taken["block_hash"]) == (first["block"], first["block_hash"])
        assert taken["arguments"] == first["arguments"]
        again = anchor(deployed)
        assert listener.next("applied")["arguments"]["root"] == again
        deployed.rpc.call("anvil_mine", ["0x4"])
        assert listener.next("finalized")["block"] >= first["block"] - 1
        listener.close()
    finally:
        running.stop()


@pytest.mark.parametrize("given", [{"after": 10**9}, {"headers": {"Last-Event-ID": "99999999"}}])
def test_a_number_that_is_not_there_is_404_with_the_way_out(service, given):
    reply = service.client.get(
        PATH, params={k: v for k, v in given.items() if k == "after"}, headers=given.get("headers")
    )
    assert (reply.status_code, reply.json()["code"]) == (404, "UNKNOWN_RECORD")
    assert "read the events themselves" in reply.json()["hint"]


@pytest.mark.parametrize(
    ("params", "headers"),
    [({"after": -1}, {}), ({"event": "no-word"}, {}), ({}, {"Last-Event-ID": "x"})],
)
def test_what_cannot_be_listened_to_is_422(service, params, headers):
    reply = service.client.get(PATH, params=params, headers=headers)
    assert reply.status_code == 422
    assert reply.json()["hint"]


def dial(service):
    one = socket.create_connection(("127.0.0.1", service.port), timeout=15)
    one.sendall(f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    return one


def test_a_crowd_is_told_all_of_it_and_one_too_many_is_sent_away(deployed, make, tmp_path):
    running = make.service(tmp_path, deployed.network).start()
    crowd = []
    try:
        running.caught_up(deployed.rpc)
        for _ in range(256):
            crowd.append(dial(running))
            assert crowd[-1].recv(15) == b"HTTP/1.1 200 OK"
        reply = running.client.get(PATH)
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
        root = anchor(deployed)
        # Those who read nothing hold up nobody.
        for one in crowd[::16]:
            seen = b""
            while root.encode() not in seen:
                more = one.recv(65536)
                assert more
                seen += more
        assert running.client.get("/v1/models").status_code == 200
        crowd.pop().close()
        running.until(lambda: _opens(running))
    finally:
        for one in crowd:
            one.close()
        running.stop()


def _opens(service):
    with service.client.stream("GET", PATH) as reply:
        return reply.status_code == 200


def test_a_service_that_is_told_to_stop_does_not_wait_for_those_who_listen(
    deployed, make, tmp_path
):
    running = make.service(tmp_path, deployed.network).start()
    running.caught_up(deployed.rpc)
    listener = Listener(running)
    started = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - started < 8
    assert listener.ended.wait(5)
