"""What a broker's answer may do to the one who asked."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ledger.broker.client import BrokerClient
from ledger.broker.link import MAX_RETRY_SECONDS
from ledger.errors import BrokerUnavailable, LedgerError


@pytest.fixture
def answering():
    """A server that answers everything with one problem document."""
    body = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            data = body["text"].encode()
            self.send_response(503)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield body, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("1" + "0" * 400, MAX_RETRY_SECONDS),
        ("9007199254740991", MAX_RETRY_SECONDS),
        ("1e300", MAX_RETRY_SECONDS),
        ("-5", 0.0),
        ("7", 7.0),
        ("true", 2.0),
        ('"soon"', 2.0),
        ("null", 2.0),
    ],
)
def test_a_wait_of_any_size_is_kept_within_an_hour(answering, told, kept):
    body, url = answering
    body["text"] = f'{{"code": "BROKER_UNAVAILABLE", "detail": "busy", "retry_after": {told}}}'
    with BrokerClient(url) as client, pytest.raises(BrokerUnavailable) as caught:
        client.facts()
    assert caught.value.message == "busy"
    assert caught.value.retry_after == kept


def test_a_client_knows_whether_it_is_pinned(answering):
    body, url = answering
    body["text"] = "{}"
    with BrokerClient(url) as client:
        assert not client.pinned
        with pytest.raises(LedgerError):
            client.facts()
