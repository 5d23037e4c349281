"""Kept connections: the bounds and errors are those of every endpoint."""

import json
import socket
import threading
import time

import pytest

from ledger.broker.sharing import SharedRpc
from ledger.chain.kept import KeptEndpoint
from ledger.errors import ChainUnavailable


class Raw:
    """A server of raw bytes: one script per connection, each answer after one request."""

    def __init__(self, *scripts):
        self.scripts, self.connections, self.requests = list(scripts), 0, []
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.sock.getsockname()[1]}/v2/secret-api-key-12345"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                connection, _ = self.sock.accept()
            except OSError:
                return
            self.connections += 1
            script = self.scripts.pop(0) if self.scripts else []
            threading.Thread(target=self._serve, args=(connection, script), daemon=True).start()

    def _serve(self, connection, script):
        with connection:
            for answer in script:
                data = b""
                while b"\r\n\r\n" not in data:
                    part = connection.recv(65536)
                    if not part:
                        return
                    data += part
                self.requests.append(data)
                for piece in answer if isinstance(answer, list) else [answer]:
                    if isinstance(piece, float):
                        time.sleep(piece)
                    else:
                        connection.sendall(piece)

    def close(self):
        self.sock.close()


def http(body, head=b"HTTP/1.1 200 OK"):
    return head + b"\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


OK = http(json.dumps({"jsonrpc": "2.0", "id": 1, "result": "0x1"}).encode())


@pytest.fixture
def serve():
    made = []

    def start(*scripts, timeout=2.0, max_reply=1 << 16):
        server = Raw(*scripts)
        endpoint = KeptEndpoint(server.url, timeout=timeout, max_reply=max_reply, transport=None)
        made.extend([server, endpoint])
        return server, endpoint

    yield start
    for each in made:
        each.close()


def post(endpoint, retry=True):
    return endpoint.exchange({"jsonrpc": "2.0", "id": 1, "method": "x", "params": []}, retry=retry)


def test_one_connection_carries_request_after_request(serve):
    server, endpoint = serve([OK] * 5)
    for _ in range(5):
        assert post(endpoint)["result"] == "0x1"
    assert server.connections == 1


def test_a_kept_connection_that_was_closed_is_replaced_once(serve):
    server, endpoint = serve([OK], [OK])
    post(endpoint)
    time.sleep(0.1)
    assert post(endpoint)["result"] == "0x1"
    assert server.connections == 2


def test_what_must_not_be_repeated_is_not_sent_twice(serve):
    server, endpoint = serve([OK], [OK])
    post(endpoint)
    time.sleep(0.1)
    with pytest.raises(ChainUnavailable, match="broke off"):
        post(endpoint, retry=False)
    assert server.connections == 1


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ([http(b"", b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/")], "answered HTTP 302"),
        ([http(b"", b"HTTP/1.1 429 Too Many\r\nretry-after: 7")], "fewer requests"),
        ([http(b"x" * 70_000)], "sent more than"),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{}"], "broke off"),
        ([b"SSH-2.0-OpenSSH\r\n\r\n"], "broke off"),
        ([[b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", 1.5, b"x"]], "in time|took longer"),
        ([http(b"<html>")], "cannot be read"),
    ],
)
def test_an_answer_that_is_none_is_unavailable_and_shows_no_key(serve, script, message):
    _, endpoint = serve(script, script, timeout=1.0)
    with pytest.raises(ChainUnavailable, match=message) as caught:
        post(endpoint)
    assert "secret-api-key" not in str(caught.value)


def test_nobody_there_is_unavailable():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with SharedRpc(url) as rpc, pytest.raises(ChainUnavailable, match="refuses connections"):
        rpc.batch([("eth_blockNumber", [])])


def test_abort_ends_a_request_under_way(serve):
    server, endpoint = serve([[60.0]], [[60.0]], timeout=30.0)
    failed = []

    def ask():
        try:
            post(endpoint, retry=False)
        except ChainUnavailable:
            failed.append(True)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.connections:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.1)
    endpoint.abort()
    thread.join(5)
    assert failed == [True]


def test_a_chunked_answer_is_read(serve):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "result": "0x1"}).encode()
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
    server, endpoint = serve([chunked % (len(body), body)] * 2)
    assert post(endpoint)["result"] == "0x1"
    assert post(endpoint)["result"] == "0x1"
    assert server.connections == 1


BODY = json.dumps({"jsonrpc": "2.0", "id": 1, "result": "0x1"}).encode()


def chunked(*parts):
    framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n" + framed + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (chunked(BODY[:7], BODY[7:]), True),
        (b"HTTP/1.1 100 Continue\r\na: b\r\n\r\nHTTP/1.1 103 Hints\r\n\r\n" + OK, True),
        (http(BODY, b"HTTP/1.1 200 OK\r\nConnection: Close"), False),
        (http(BODY, b"HTTP/1.0 200 OK"), False),
        (http(BODY, b"HTTP/1.0 200 OK\r\nConnection: keep-alive"), True),
        (http(BODY, b"HTTP/1.1 200 OK\r\nCONTENT-TYPE : text/plain\r\nno colon"), True),
        (http(BODY).replace(b"\r\n", b"\n"), True),
    ],
)
def test_heads_of_every_kind_are_read(serve, answer, kept):
    server, endpoint = serve([answer, OK], [OK])
    assert post(endpoint)["result"] == "0x1"
    assert post(endpoint)["result"] == "0x1"
    assert server.connections == (1 if kept else 2)


def test_a_body_without_a_length_ends_with_its_connection(serve):
    server, endpoint = serve([b"HTTP/1.1 200 OK\r\n\r\n" + BODY], [OK])
    assert post(endpoint)["result"] == "0x1"
    assert post(endpoint)["result"] == "0x1"
    assert server.connections == 2


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\na: " + b"b" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
    ],
)
def test_a_head_that_is_none_is_unavailable(serve, head):
    _, endpoint = serve([head], [head], timeout=1.0)
    with pytest.raises(ChainUnavailable, match="broke off"):
        post(endpoint)
