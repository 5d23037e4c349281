"""Notices by webhook, to a real server on this machine."""

import base64
import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ledger.broker.notices import FILE, PAUSES, Notices, targets_of
from ledger.broker.store import BrokerStore
from ledger.errors import ConfigurationError
from ledger.remote.posting import signature

SECRET = bytes(range(32))
TEXT = "whsec_" + base64.b64encode(SECRET).decode()


class Server(ThreadingHTTPServer):
    def __init__(self):
        self.got, self.answers = [], []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hook?token=hunter2"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((dict(self.headers), body))
        status = self.server.answers.pop(0) if self.server.answers else 204
        self.send_response(status)
        if status == 307:
            self.send_header("location", self.server.url + "&moved")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    made = Server()
    yield made
    made.shutdown()
    made.server_close()


class Clock:
    now = 1_800_000_000

    def __call__(self):
        return self.now


def outbox(tmp_path, *targets):
    path = tmp_path / FILE
    path.write_text(
        json.dumps({"type": "modeldeed/webhooks", "version": 1, "targets": list(targets)})
    )
    path.chmod(0o600)
    store = BrokerStore(tmp_path / "b.sqlite3")
    clock = Clock()
    return store, clock, Notices(store, targets_of(tmp_path), clock=clock)


def target(server, **changes):
    return {"url": server.url, "secret": TEXT, "private": True, **changes}


def put(store, notices, clock):
    with store.transaction():
        notices.put("broker.license.held", {"license": "1.1"}, clock.now)


def test_a_notice_arrives_once_and_signed_as_standard_webhooks_say(tmp_path, server):
    store, clock, notices = outbox(tmp_path, target(server))
    put(store, notices, clock)
    assert notices.send_due() == 1
    assert notices.send_due() == 0
    ((headers, body),) = server.got
    named = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.new(SECRET, named, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{wanted}"
    assert json.loads(body)["type"] == "broker.license.held"


def test_the_signature_is_that_of_the_specifications_example():
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    signed = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_notice_that_is_not_taken_is_sent_again_with_pauses_and_dies_at_last(tmp_path, server):
    store, clock, notices = outbox(tmp_path, target(server))
    server.answers = [500] * 20
    put(store, notices, clock)
    for pause in PAUSES:
        assert notices.send_due() == 1
        clock.now += pause - 1
        assert notices.send_due() == 0
        clock.now += 1
    assert notices.send_due() == 1
    clock.now += 10**6
    assert notices.send_due() == 0
    ((_, body, trouble),) = notices.dead()
    assert (json.loads(body)["data"], trouble) == ({"license": "1.1"}, "HTTP 500")
    assert len({headers["webhook-id"] for headers, _ in server.got}) == 1
    store.close()


def test_a_redirect_is_not_followed(tmp_path, server):
    store, clock, notices = outbox(tmp_path, target(server))
    server.answers = [307]
    put(store, notices, clock)
    notices.send_due()
    assert len(server.got) == 1
    store.close()


def test_an_address_that_is_not_public_is_refused_unless_it_is_meant(tmp_path, server, caplog):
    port = server.server_address[1]
    url = f"https://localhost:{port}/hook?token=hunter2"
    store, clock, notices = outbox(tmp_path, {"url": url, "secret": TEXT})
    put(store, notices, clock)
    notices.send_due()
    assert server.got == []
    ((trouble,),) = store.rows("SELECT trouble FROM notices")
    assert "not a public address" in trouble
    for secret in ("hunter2", TEXT[6:], SECRET.hex()):
        assert secret not in caplog.text + trouble + repr(targets_of(tmp_path))
    store.close()


def test_a_notice_of_a_transaction_that_fails_is_never_sent(tmp_path, server):
    store, clock, notices = outbox(tmp_path, target(server))

    def fail():
        with store.transaction():
            notices.put("broker.license.held", {}, clock.now)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert notices.send_due() == 0
    store.close()


def test_the_thread_sends_by_itself_and_what_a_stop_left_goes_out_after_the_next_start(
    tmp_path, server
):
    store, clock, notices = outbox(tmp_path, target(server))
    put(store, notices, clock)
    notices.stop()
    again = Notices(store, targets_of(tmp_path), clock=clock)
    again.start()
    for _ in range(100):
        if server.got:
            break
        threading.Event().wait(0.1)
    again.stop()
    assert len(server.got) == 1
    store.close()


@pytest.mark.parametrize(
    "change",
    [
        {"url": "ftp://a.example/"},
        {"url": "http://a.example/", "private": False},
        {"secret": "whsec_AAAA"},
        {"secret": base64.b64encode(SECRET).decode()},
        {"extra": 1},
    ],
)
def test_a_target_that_is_none_stops_the_broker_from_starting(tmp_path, server, change):
    with pytest.raises(ConfigurationError):
        outbox(tmp_path, target(server, **change))


def test_a_file_that_others_can_read_is_refused(tmp_path, server):
    store, *_ = outbox(tmp_path, target(server))
    store.close()
    (tmp_path / FILE).chmod(0o644)
    with pytest.raises(ConfigurationError):
        targets_of(tmp_path)
