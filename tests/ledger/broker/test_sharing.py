"""Reads that decisions share: once per block and endpoint, together in flight, never older."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ledger.broker.sharing import ANSWERS_KEPT, BLOCKS_KEPT, MAX_TOGETHER, SharedRpc
from ledger.errors import ChainUnavailable, ContractReverted

HASH = "0x" + "11" * 32
TO = "0x" + "22" * 20


class Node(ThreadingHTTPServer):
    """A node that counts, and answers as slowly as it is told."""

    daemon_threads = True

    def __init__(self):
        self.posts, self.slow, self.number, self.down = [], 0.0, 0, False
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, request):
        name, params = request["method"], request["params"]
        if name == "eth_chainId":
            return {"result": "0x7a69"}
        if name == "eth_call" and params[0]["data"] == "0xdead":
            return {"error": {"code": 3, "message": "execution reverted", "data": "0x"}}
        if name == "eth_call":
            block = params[1]["blockHash"][-2:] if isinstance(params[1], dict) else "ff"
            return {"result": params[0]["data"] + block}
        self.number += 1
        return {"result": hex(self.number)}

    @property
    def asked(self):
        return [request for post in self.posts for request in post]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each body waits for an ACK of its head

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        many = isinstance(asked, list)
        self.server.posts.append(asked if many else [asked])
        if self.server.down:
            self.close_connection = True
            return
        time.sleep(self.server.slow)
        replies = [
            {"jsonrpc": "2.0", "id": each["id"], **self.server.answer(each)}
            for each in (asked if many else [asked])
        ]
        body = json.dumps(replies if many else replies[0]).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def node():
    made = Node()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def rpc(node):
    with SharedRpc(node.url) as made:
        yield made


def call(data, block=HASH):
    return ("eth_call", [{"to": TO, "data": data}, {"blockHash": block, "requireCanonical": True}])


NEWEST = ("eth_getBlockByNumber", ["latest", False])


def test_what_a_block_holds_is_asked_once(node, rpc):
    for _ in range(3):
        assert rpc.batch([call("0x01"), call("0x02")]) == ["0x0111", "0x0211"]
    assert len(node.asked) == 2
    assert rpc.batch([call("0x01", "0x" + "33" * 32), call("0x02")]) == ["0x0133", "0x0211"]
    assert len(node.asked) == 3


def test_one_call_at_two_blocks_is_two_questions(node, rpc):
    blocks = [HASH, "0x" + "33" * 32]
    assert rpc.batch([call("0x01", block) for block in blocks]) == ["0x0111", "0x0133"]
    assert rpc.batch([call("0x01", block) for block in blocks]) == ["0x0111", "0x0133"]


def test_where_the_chain_stands_is_asked_every_time(node, rpc):
    assert [rpc.batch([NEWEST]) for _ in range(3)] == [["0x1"], ["0x2"], ["0x3"]]


def test_a_call_by_number_or_tag_is_never_kept(node, rpc):
    for block in ("latest", "0x5"):
        for _ in range(2):
            rpc.batch([("eth_call", [{"to": TO, "data": "0x01"}, block])])
    assert len(node.asked) == 4


def test_two_endpoints_share_nothing(node):
    with SharedRpc(node.url) as one, SharedRpc(node.url) as other:
        one.batch([call("0x01")])
        other.batch([call("0x01")])
    assert len(node.asked) == 2


def test_questions_of_many_threads_go_together_and_no_answer_is_older_than_its_question(node, rpc):
    rpc.batch([NEWEST])
    node.slow = 0.05

    def ask(_):
        before = node.number
        (answer,) = rpc.batch([NEWEST])
        return int(answer, 16) > before

    with ThreadPoolExecutor(24) as pool:
        assert all(pool.map(ask, range(96)))
    assert len(node.posts) < 40


def test_one_threads_revert_is_not_anothers(node, rpc):
    node.slow = 0.05

    def ask(number):
        data = "0xdead" if number % 8 == 0 else f"0x{number:04x}"
        try:
            return rpc.batch([call(data)]) == [data + "11"]
        except ContractReverted:
            return data == "0xdead"

    with ThreadPoolExecutor(24) as pool:
        assert all(pool.map(ask, range(96)))


def test_an_endpoint_that_breaks_off_fails_everyone_who_waits_and_nobody_after(node, rpc):
    node.down = True

    def ask(number):
        with pytest.raises(ChainUnavailable):
            rpc.batch([call(f"0x{number:04x}")])

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(ask, range(24)))
    node.down = False
    assert rpc.batch([call("0x01")]) == ["0x0111"]


def test_what_is_kept_is_bounded(node, rpc):
    for number in range(BLOCKS_KEPT + 3):
        rpc.batch([call("0x01", f"0x{number:064x}")])
    assert len(rpc._known) == BLOCKS_KEPT
    for start in range(0, ANSWERS_KEPT + 200, 100):
        rpc.batch([call(f"0x{start + n:06x}") for n in range(100)])
    assert len(rpc._known[HASH]) <= ANSWERS_KEPT
    assert max(map(len, node.posts)) <= max(MAX_TOGETHER, 100)


def test_a_failure_of_our_own_reaches_who_waits_and_leaves_the_connection_usable(
    node, rpc, monkeypatch
):
    def broken(*_):
        raise ZeroDivisionError

    for _ in range(5):
        with monkeypatch.context() as patch:
            patch.setattr(rpc._endpoints[0], "exchange_batch", broken)
            with pytest.raises(ZeroDivisionError):
                rpc.batch([call("0x09")])
    assert rpc._flying == 0
    assert rpc.batch([call("0x01")]) == ["0x0111"]
