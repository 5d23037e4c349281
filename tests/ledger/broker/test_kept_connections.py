"""A kept connection that breaks under a request: who may ask again does, and a release never."""

import json
import socket
import struct
import threading

import pytest

from api.__main__ import KEEP_ALIVE_SECONDS
from ledger.broker.link import KEPT_SECONDS, BrokerLink
from ledger.errors import BrokerUnavailable


class Closing:
    """Answers the first request of each connection and resets the connection under the second."""

    def __init__(self, *, first=b"{}"):
        self.asked = []
        self.connections = 0
        self._first = first
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                connection.settimeout(20)
                self._read(connection)
                if self._first is not None:
                    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(self._first)
                    connection.sendall(head + self._first)
                    if not self._read(connection):
                        continue
                # Closed now, with a reset, as by a server that was closing when the request came.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _read(self, connection):
        data = b""
        while b"\r\n\r\n" not in data:
            part = connection.recv(65536)
            if not part:
                return False
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n")
             if line.startswith(b"content-length")), 0,
        )  # fmt: skip
        while len(body) < length:
            body += connection.recv(65536)
        self.asked.append(head.split(b"\r\n")[0].decode().rpartition(" ")[0])
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [("GET", "/v1/broker", {}), ("POST", "/v1/broker/challenges", {"repeatable": True})],
)
def test_what_may_be_asked_twice_is_asked_again_when_a_kept_connection_broke(method, path, options):
    with Closing(first=json.dumps({"a": 1}).encode()) as server, BrokerLink(server.url) as link:
        body = None if method == "GET" else {}
        for _ in range(3):
            assert link._send(method, path, body, **options) == {"a": 1}
    assert (len(server.asked), server.connections) == (5, 3)


def test_a_release_is_sent_once_though_its_connection_breaks():
    with Closing() as server, BrokerLink(server.url) as link:
        link._send("GET", "/v1/broker")
        with pytest.raises(BrokerUnavailable, match="does not answer"):
            link._send("POST", "/v1/broker/releases", {})
    assert server.asked == ["GET /v1/broker", "POST /v1/broker/releases"]


def test_a_new_connection_that_breaks_is_no_reason_to_ask_again():
    with (
        Closing(first=None) as server,
        BrokerLink(server.url) as link,
        pytest.raises(BrokerUnavailable, match="does not answer"),
    ):
        link._send("GET", "/v1/broker")
    assert len(server.asked) == 1


def test_a_client_lets_go_of_idle_connections_long_before_the_server():
    assert min(KEEP_ALIVE_SECONDS, 5) > 2 * KEPT_SECONDS
