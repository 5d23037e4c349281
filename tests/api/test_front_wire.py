"""Questions that a connection hands to the front: on the wire they are as all others are."""

from __future__ import annotations

import importlib
import re
import socket
import threading
import time
from typing import Any

import pytest

from api.memory import Page
from api.wire import Wire

fronts: Any = importlib.import_module("front_world")
log, path_of = fronts.log, fronts.path_of
postgres, url, stand, serve = fronts.postgres, fronts.url, fronts.stand, fronts.serve

SUSPENDED, REINSTATED = "LicenseSuspended", "LicenseReinstated"
ROUNDS = 16


@pytest.fixture
def licensor(stand):
    """Of three licenses."""
    found = fronts.Licensor(stand)
    found.block(*(found.issue()[1] for _ in range(3)))
    stand.catch_up()
    return found


def until(holds, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def question(path, *lines, version="1.1"):
    """A request as it is sent."""
    return "\r\n".join([f"GET {path} HTTP/{version}", "host: localhost", *lines, "", ""]).encode()


class Link:
    """A connection of its own, and the server's end of it."""

    def __init__(self, served, buffer=None):
        self._socket = socket.socket()
        if buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self._socket.settimeout(20)
        self._socket.connect(("127.0.0.1", served.port))
        self._own = self._socket.getsockname()
        self._served = served
        self._got = b""

    @property
    def wire(self) -> Wire:
        """The server's end."""
        found = []

        def there():
            found[:] = [w for w in self._served.wires() if w.client == self._own]
            return bool(found)

        until(there)
        return found[0]

    def send(self, data):
        self._socket.sendall(data)

    def answer(self):
        """The next answer: its head but for what no two share, and its body."""
        while b"\r\n\r\n" not in self._got:
            self._more()
        head, _, rest = self._got.partition(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head)[1])
        while len(rest) < length:
            self._more()
            rest = self._got[len(head) + 4 :]
        self._got = rest[length:]
        return re.sub(rb"(date|x-request-id): [^\r]+", rb"\1", head), rest[:length]

    def ended(self):
        """Whether nothing more comes."""
        return not self._got and self._socket.recv(1) == b""

    def ask(self, path, *lines, **more):
        self.send(question(path, *lines, **more))
        return self.answer()

    def _more(self):
        got = self._socket.recv(1 << 16)
        assert got, f"the connection ended: {self._got!r}"
        self._got += got

    def close(self):
        self._socket.close()


@pytest.fixture
def links():
    """Opens connections, and closes them."""
    made = []

    def link(*given, **more):
        made.append(Link(*given, **more))
        return made[-1]

    yield link
    for each in made:
        each.close()


def test_every_way_to_an_answer_gives_the_same_bytes(licensor, serve, links):
    served, inside = serve(), serve(rate_anonymous="999999/999999")
    served.clock.at = inside.clock.at = time.time()
    limits = re.compile(rb"\r\nratelimit[^\r]*")
    for path in [*map(path_of, licensor.holders), "/v1/licenses?limit=2", "/v1/plans"]:
        route = links(served).ask(path, "if-none-match: x")
        assert route[0].startswith(b"HTTP/1.1 200 OK\r\n")
        links(served).ask(path)
        direct, behind = links(served), links(served)
        assert direct.ask(path) == route
        assert direct.wire.cycle is None  # uvicorn has never begun one
        # One behind another is answered by the front as any server asks it.
        behind.send(question("/healthz") + question(path))
        behind.answer()
        assert behind.answer() == route
        assert behind.wire.cycle is not None
        # As is one that is to be the last, which it says.
        for more in ({"version": "1.0"}, {}):
            last = links(served)
            lines = [] if more else ["connection: close"]
            head, body = last.ask(path, *lines, **more)
            assert (head, body) == (route[0] + b"\r\nconnection: close", route[1])
            assert last.ended()
        counted = links(inside)
        for _ in range(2):
            head, body = counted.ask(path)
        assert limits.search(head)
        assert sorted(limits.sub(b"", head).split(b"\r\n")) == sorted(route[0].split(b"\r\n"))
        assert body == route[1]


def test_answers_come_in_the_order_of_the_questions(licensor, serve, links):
    served = serve()
    hot = [*map(path_of, licensor.holders)]
    link = links(served)
    for path in hot:
        link.ask(path)
    asked = [hot[0], hot[1], "/healthz", hot[2], path_of(99 << 32 | 1), hot[0], "/v1/plans", hot[1]]
    alone = [link.ask(path)[1] for path in asked]
    batch = b"POST /v1/entitlements HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}"
    link.send(batch)
    alone.insert(1, link.answer()[1])
    for cut in (0, 7, 60, 61, 300):
        first, *others = map(question, asked)
        sent = first + batch + b"".join(others)
        link.send(sent[:cut])
        time.sleep(0.01 if cut else 0)
        link.send(sent[cut:])
        for said in alone:
            assert without_age(link.answer()[1]) == without_age(said)


def without_age(body):
    return re.sub(rb'"(lag_s|at|grace_until|uptime_s)":[\d.]+', b"", body)


def test_a_client_that_does_not_read_is_sent_no_more_until_it_does(licensor, serve, links):
    served = serve()
    path, memory = path_of(next(iter(licensor.holders))), served.memory
    links(served).ask(path)
    large = Page(b'{"as_of":{"lag_s":', b',"x":"' + b"x" * (1 << 18) + b'"}}', 1e9, [], "/large")
    memory.put_page(("/large", b""), large, memory._mark)
    link = links(served, buffer=4096)
    wire, sent = link.wire, 0
    while not wire.flow.write_paused:
        assert sent < 200
        link.send(question("/large"))
        sent += 1
        done = sent
        until(lambda done=done: wire.server_state.total_requests > done or wire.flow.write_paused)
    # Those are asked while nothing can be sent.
    unsent = wire.transport.get_write_buffer_size()
    link.send(question(path))
    until(lambda: wire.cycle is not None and not wire.cycle.response_complete)
    link.send(question(path) * 2)
    until(lambda: wire.pipeline)
    assert wire.transport.get_write_buffer_size() <= unsent
    for _ in range(sent):
        assert len(link.answer()[1]) > 1 << 18
    for _ in range(3):
        assert b'"VALID"' in link.answer()[1]
    cycle = wire.cycle
    assert b'"VALID"' in link.ask(path)[1]
    assert wire.cycle is cycle  # the short way again


def test_what_only_looks_like_a_kept_question_is_none(licensor, serve, links):
    served = serve()
    path = path_of(next(iter(licensor.holders)))
    links(served).ask(path)
    for lines, status in [
        (["Host: localhost"], b"400"),
        (["Host: evil.example"], b"400"),
        (["expect: 100-continue"], b"200"),
        (["connection: upgrade", "upgrade: h2c"], b"200"),
        (["cookie: theme=dark"], b"200"),
        (["authorization: Bearer deed_wrong"], b"401"),
        (["content-length: 0"], b"200"),
    ]:
        link = links(served)
        head, _ = link.ask(path, *lines)
        assert head.split()[1] == status, lines
        if status != b"400":
            assert link.wire.cycle is not None, lines
    link = links(served)
    link.send(question(path).replace(b"localhost", b"evil.example"))
    assert link.answer()[0].split()[1] == b"421"
    # A path that is kept under what it says decoded, and one that only decodes to itself.
    served.memory.put_page(("/%41", b""), Page(b"{", b"}", 1e9, [], "/x"), served.memory._mark)
    assert links(served).ask("/%41")[0].split()[1] == b"404"
    coded = path.replace("v1", "%761")
    assert links(served).ask(coded)[1][:40] == links(served).ask(path)[1][:40]


def test_a_question_completed_after_a_commit_is_answered_with_it(licensor, stand, serve, links):
    """However many are asked meanwhile, whose answer is under way."""
    served = serve()
    id_ = next(iter(licensor.holders))
    path = path_of(id_)
    links(served).ask(path)
    over = threading.Event()
    noisy = [links(served) for _ in range(4)]

    def ask(link):
        while not over.is_set():
            link.ask(path)

    threads = [threading.Thread(target=ask, args=(link,)) for link in noisy]
    for thread in threads:
        thread.start()
    try:
        halves = [links(served) for _ in range(4)]
        for number in range(ROUNDS):
            what, code = [(SUSPENDED, b"SUSPENDED"), (REINSTATED, b"VALID")][number % 2]
            licensor.block([log(what, licenseId=id_, reason=bytes(32))])
            asked = question(path)
            cut = 1 + number % (len(asked) - 1)
            for link in halves[:2]:
                link.send(asked[:cut])
            stand.catch_up()
            for link in halves:
                link.send(asked[cut if link in halves[:2] else 0 :])
            for link in halves:
                assert b'"code":"%b"' % code in link.answer()[1], number
        # Most of them the short way; the first of a commit is its route's.
        assert b'"VALID"' in links(served).ask(path)[1]
        for link in halves:
            cycle = link.wire.cycle
            link.ask(path)
            assert link.wire.cycle is cycle
    finally:
        over.set()
        for thread in threads:
            thread.join(20)


def test_a_question_that_comes_while_another_is_under_way_is_not_answered_by_it(
    licensor, stand, serve, links
):
    served = serve()
    id_ = next(iter(licensor.holders))
    path = path_of(id_)
    first, second = links(served), links(served)
    for link in (first, second):
        link.ask(path)
    loop, watch = first.wire.loop, served.memory.watch
    asking, committed = threading.Event(), threading.Event()

    def ask():
        first.wire.data_received(question(path))
        under_way()

    def under_way():
        if watch.look() is None and watch._under_way is None:
            loop.call_soon(under_way)
            return
        # The loop has read no answer yet, whatever was said of the index.
        asking.set()
        assert committed.wait(20)
        second.wire.data_received(question(path))

    licensor.block([log(SUSPENDED, licenseId=id_, reason=bytes(32))])
    loop.call_soon_threadsafe(ask)
    assert asking.wait(20)
    stand.catch_up()
    committed.set()
    assert b'"SUSPENDED"' in second.answer()[1]
    assert b'"license":"%b"' % path.rpartition("/")[2].encode() in first.answer()[1]


def test_who_is_waiting_at_the_end_is_answered_before_it(licensor, serve, links, stand):
    served = serve()
    path = path_of(next(iter(licensor.holders)))
    link = links(served)
    link.ask(path)
    wire, reached = link.wire, threading.Event()

    def end():
        # What arrives in this turn is taken over, and not yet answered when the server ends.
        wire.data_received(question(path))
        assert wire._asked is not None
        wire.shutdown()
        reached.set()

    wire.loop.call_soon_threadsafe(end)
    assert reached.wait(20)
    head, body = link.answer()
    assert head.endswith(b"\r\nconnection: close")
    assert b'"VALID"' in body
    assert link.ended()
    # And one who is gone by then is not waited for.
    gone = links(served)
    gone.ask(path)
    wire = gone.wire
    reached.clear()

    def vanish():
        wire.data_received(question(path))
        wire.transport.abort()
        reached.set()

    wire.loop.call_soon_threadsafe(vanish)
    assert reached.wait(20)
    assert b'"VALID"' in links(served).ask(path)[1]
