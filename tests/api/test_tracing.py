"""Spans of the service, over OTLP to a collector of this test's own."""

from __future__ import annotations

import asyncio
import functools
import http.client
import importlib
import json
import secrets
import socket
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvicorn
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr

from api import security
from api.__main__ import http_config
from api.app import Opened, create_app
from api.dependencies import Service
from api.settings import Settings
from api.tracing import Traced, Traces
from api.webhooks import open_webhooks
from ledger.chain.anvil import free_port
from ledger.chain.profile import profile_for
from ledger.index.database import open_database
from ledger.index.views import Index
from ledger.remote.posting import Sent

worlds: Any = importlib.import_module("index_world")
stories: Any = importlib.import_module("story_world")
hooks_world: Any = importlib.import_module("webhook_world")

ACCOUNT = "0x" + "a1" * 20
MODEL = "0x" + "b2" * 32
SERVER, ERROR = 2, 2  # Span.SPAN_KIND_SERVER, Status.STATUS_CODE_ERROR


class Collector(ThreadingHTTPServer):
    """Takes what is exported; `posts` has path and body of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        self.posts: list[tuple[str, bytes]] = []
        super().__init__(("127.0.0.1", 0), _Taker)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def told(self):
        """Each span, with its scope and resource."""
        for path, body in list(self.posts):
            assert path == "/v1/traces"
            asked = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
            for resource in asked.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        yield span, scope.scope, resource.resource

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class _Taker(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.posts.append((self.path, body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class Served:
    """The application over an index that others follow, with traces, on a real socket."""

    def __init__(self, url: str, folder: Path, **settings: Any) -> None:
        self.engine = open_database(url)
        hooked = settings.pop("hooked", None)
        given = Settings(
            deployment=Path("unused"), database_url=SecretStr(url), follow=False,
            evidence_folder=folder, log_level="error", telemetry="otlp", ready_lag=1e9,
            public_url="https://deed.example", **settings,
        )  # fmt: skip
        index = Index(self.engine, worlds.chain_world.CHAIN_ID)
        service = Service(given, index, None, None, profile_for(31337))
        hooks = None
        if hooked is not None:
            hooks = open_webhooks(service)
            hooked(hooks)
        self.front = create_app(given, Opened(service, None, hooks, ExitStack()))
        self.port = free_port()
        self._server = uvicorn.Server(http_config(self.front, host="127.0.0.1", port=self.port))
        self.thread = threading.Thread(target=self._server.run, daemon=True)
        self.thread.start()
        until(lambda: self._server.started)

    def ask(self, path: str, method: str = "GET", headers: Any = ()) -> int:
        """The status."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        link.putrequest(method, path)
        for name, value in headers:
            link.putheader(name, value)
        link.endheaders()
        status = link.getresponse().status
        link.close()
        return status

    def close(self) -> None:
        self._server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()
        self.engine.dispose()


def until(holds: Any) -> Any:
    deadline = time.monotonic() + 20
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """An index of a few blocks."""
    made = worlds.empty_sqlite(tmp_path_factory.mktemp("index") / "index.db")
    stand = worlds.Stand(made)
    stand.chain.grow(5)
    stand.catch_up()
    stand.close()
    return made


@pytest.fixture(scope="module")
def collector():
    made = Collector()
    yield made
    made.close()


@pytest.fixture(scope="module")
def served(url, collector, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hunter2")
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        patch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        # What newer releases of FastAPI would export by themselves.
        patch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
        made = Served(url, tmp_path_factory.mktemp("jobs"))
        yield made
        made.close()


@pytest.fixture
def traced(served, collector):
    """Asks as a caller with a trace, and gives the status and the span that came of it."""

    def ask(path: str, method: str = "GET", headers: Any = ()) -> Any:
        trace_id = secrets.token_hex(16)
        parent = ("traceparent", f"00-{trace_id}-00f067aa0ba902b7-01")
        status = served.ask(path, method, [parent, *headers])
        (span,) = until(
            lambda: [each for each, _, _ in collector.told() if each.trace_id.hex() == trace_id]
        )
        return status, span

    return ask


def attributes(told: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in told}


def test_a_request_is_one_server_span_of_the_callers_trace(traced, collector):
    status, span = traced("/v1/models?limit=1")
    assert status == 200
    assert (span.name, span.kind, span.status.code) == ("GET /v1/models", SERVER, 0)
    assert span.parent_span_id.hex() == "00f067aa0ba902b7"
    found = attributes(span.attributes)
    assert len(found.pop("modeldeed.request_id")) == 16
    assert found == {
        "http.request.method": "GET",
        "http.route": "/v1/models",
        "url.path": "/v1/models",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "server.address": "deed.example",
        "server.port": 443,
    }
    assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
    # Nobody else exports, and nothing but spans.
    for _, scope, resource in collector.told():
        assert scope.name == "modeldeed"
        told = attributes(resource.attributes)
        assert (told["service.name"], told["deployment.environment.name"]) == ("modeldeed", "test")


def test_what_a_request_carries_is_in_no_span(served, traced, collector):
    key = "deed_live_Ab3dE5fG7h_" + "h" * 49
    bearer = ("authorization", f"Bearer {key}")
    assert traced(f"/v1/licensors/{ACCOUNT}/statistics?days=77", headers=[bearer])[0] == 401
    status, span = traced(f"/v1/models/{MODEL}?as_of=3141592", headers=[("cookie", "x=hunter3")])
    assert status == 404
    assert attributes(span.attributes)["url.path"] == "/v1/models/{id}"
    status, span = traced(f"/hunter4/{ACCOUNT}", "PURGE", [("user-agent", "hunter5")])
    assert (status, span.name) == (404, "HTTP")
    found = attributes(span.attributes)
    assert found["http.request.method"] == "_OTHER"
    assert "url.path" not in found
    sent = b"".join(body for _, body in collector.posts)
    for each in (key, ACCOUNT, MODEL, "days=77", "3141592", "hunter", "PURGE", "127.0.0.1"):
        assert each.encode() not in sent, each


def test_a_failure_of_the_service_is_an_error_and_a_refusal_is_none(traced, url):
    assert traced("/v1/models/0x12")[1].status.code == 0
    engine = open_database(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE model RENAME TO gone")
    try:
        status, span = traced("/v1/models?limit=7")
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE gone RENAME TO model")
        engine.dispose()
    assert (status, span.status.code) == (503, ERROR)
    assert attributes(span.attributes)["error.type"] == "503"
    assert not span.events  # a message may hold what was asked for


@pytest.mark.parametrize(
    "parents",
    [
        ["nonsense"],
        ["00-" + "0" * 32 + "-00f067aa0ba902b7-01"],
        ["00-" + "1" * 32 + "-00f067aa0ba902b7-01", "00-" + "2" * 32 + "-00f067aa0ba902b7-01"],
    ],
)
def test_a_parent_that_cannot_be_meant_begins_a_trace_of_its_own(served, collector, parents):
    before = {span.span_id for span, _, _ in collector.told()}
    served.ask("/nowhere", "PATCH", [("traceparent", each) for each in parents])

    def fresh():
        found = [span for span, _, _ in collector.told() if span.name == "PATCH"]
        return [span for span in found if span.span_id not in before]

    (span,) = until(fresh)
    assert span.parent_span_id == b""
    assert span.trace_id.hex() not in {"1" * 32, "2" * 32}


def test_probes_and_answers_from_memory_make_no_spans(served, traced, collector):
    path = ("/v1/batches", b"limit=3")
    for _ in range(20):
        served.ask("/v1/batches?limit=3")
        if path in served.front.state.memory.pages:
            break
    assert path in served.front.state.memory.pages
    untraced = secrets.token_hex(16)
    parent = ("traceparent", f"00-{untraced}-00f067aa0ba902b7-01")
    for each in ("/v1/batches?limit=3", "/healthz", "/metrics"):
        assert served.ask(each, headers=[parent]) == 200
    traced("/v1/models?limit=4")  # exported after them, if they were
    assert untraced not in {span.trace_id.hex() for span, _, _ in collector.told()}


def test_the_log_line_names_the_trace(traced, monkeypatch, caplog):
    caplog.set_level("INFO", "api")
    # A logger of its own: one that is in use keeps how it was configured when it first was.
    kept = structlog.testing.LogCapture()
    monkeypatch.setattr(security, "log", structlog.wrap_logger(None, processors=[kept]))
    _, span = traced("/v1/models?limit=5")
    (line,) = [each for each in kept.entries if each.get("trace_id") == span.trace_id.hex()]
    assert line["event"] == "request"
    assert line["request_id"] == attributes(span.attributes)["modeldeed.request_id"]


# -- collectors that are not there -----------------------------------------------------------------


@pytest.fixture
def hanging():
    """Takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1/traces"


async def _answer(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _fail(scope, receive, send):
    raise RuntimeError("hunter6")


def call(app: Any, path: str = "/x") -> None:
    scope = {
        "type": "http", "method": "GET", "path": path, "scheme": "http", "http_version": "1.1",
        "headers": [], "server": ("127.0.0.1", 1),
    }  # fmt: skip

    async def send(_: Any) -> None:
        pass

    asyncio.run(app(scope, None, send))


def test_a_collector_that_hangs_holds_up_no_request_and_no_end(hanging, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    exporter = OTLPSpanExporter(endpoint=hanging, timeout=120)
    traces = Traces(exporter, origin=None)
    layer = Traced(_answer, traces=traces)
    for _ in range(50):
        call(layer)
    # The queue of the SDK is bounded; more than it holds changes nothing.
    for _ in range(5000):
        with traces.work("x"):
            pass
    ending = threading.Thread(target=traces.close, args=(0.2,), daemon=True)
    ending.start()
    ending.join(20)  # the SDK alone would wait for 30 s, and for as long again
    assert not ending.is_alive()


def test_without_a_collector_the_service_answers_and_ends(url, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}/hunter8")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    monkeypatch.setattr(Traces, "close", functools.partialmethod(Traces.close, 0.2))
    served = Served(url, tmp_path)
    assert [served.ask("/v1/models?limit=6") for _ in range(3)] == [200, 200, 200]
    until(lambda: "ConnectionError" in caplog.text)
    served.close()
    assert "hunter8" not in caplog.text


def test_each_transaction_of_the_follower_is_a_span_that_is_exported_at_the_end(
    collector, tmp_path
):
    traces = Traces(OTLPSpanExporter(endpoint=f"{collector.url}/v1/traces"), origin=None)
    stand = worlds.Stand(worlds.empty_sqlite(tmp_path / "index.db"))
    stand.follower.around = traces.work
    stand.chain.grow(4)
    stand.catch_up()
    stand.chain.reorg(2)
    stand.catch_up()
    stand.close()
    traces.close()
    found = [span for span, _, _ in collector.told() if span.name.startswith("index.")]
    by_name = {span.name: attributes(span.attributes) for span in found}
    assert by_name["index.roll_back"] == {"modeldeed.last": 4, "modeldeed.ancestor": 2}
    assert by_name["index.append"]["modeldeed.first"] == 3
    assert by_name["index.append"]["modeldeed.last"] >= 4


def test_each_attempt_of_a_webhook_is_a_span_that_its_receiver_is_told_of(
    served, url, collector, tmp_path
):
    """One that is refused, one that is taken; and nothing of where they led."""
    receivers = [hooks_world.Receiver(), hooks_world.Receiver()]
    receivers[0].answers = [500]

    def hooked(hooks):
        for each in receivers:
            asked = hooks_world.Asked(each.url, hooks_world.EVERYTHING)
            made, _ = hooks.endpoints.create(hooks_world.BY, hooks_world.OWNER, asked)
            hooks.endpoints.test(hooks_world.OWNER, made.id, {})

    account = hooks_world.OWNER.removeprefix("account:").lower()
    sending = Served(
        url, tmp_path, hooked=hooked, operators=(account,), webhook_networks=("127.0.0.0/8",)
    )
    try:
        for receiver, status in zip(receivers, (500, 204), strict=True):
            until(lambda receiver=receiver: receiver.got)
            headers, _ = receiver.got[0]
            version, trace_id, span_id, flags = headers["traceparent"].split("-")
            assert (version, int(flags, 16) & 1) == ("00", 1)  # sampled
            assert "tracestate" not in headers

            def exported(trace_id=trace_id):
                told = [span for span, _, _ in collector.told()]
                return [span for span in told if span.trace_id.hex() == trace_id]

            (span,) = until(exported)
            assert (span.name, span.kind, span.span_id.hex()) == ("webhook.attempt", 3, span_id)
            assert span.parent_span_id == b""
            found = attributes(span.attributes)
            assert found.pop("http.response.status_code") == status
            error = {"error.type": "500"} if status == 500 else {}
            assert found == {"http.request.method": "POST", **error}
            assert span.status.code == (ERROR if error else 0)
    finally:
        sending.close()
        for each in receivers:
            each.close()
    sent = b"".join(body for _, body in collector.posts)
    assert b"hunter2" not in sent
    assert f":{receivers[0].port}".encode() not in sent


def test_an_attempt_that_finds_nobody_is_an_error_without_a_status():
    exporter = InMemorySpanExporter()
    traces = Traces(exporter, origin=None)

    async def nobody(headers):
        assert list(headers) == ["traceparent"]
        return Sent(None, "ConnectError")

    async def stopped(_):
        raise asyncio.CancelledError

    assert asyncio.run(traces.attempt(nobody)).trouble == "ConnectError"
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(traces.attempt(stopped))
    traces.close()
    told = [each.attributes for each in exporter.get_finished_spans()]
    assert [each["error.type"] for each in told] == ["unanswered", "CancelledError"]
    assert not [each for each in told if "http.response.status_code" in each]


def test_an_exception_is_told_by_its_class_alone():
    exporter = InMemorySpanExporter()
    traces = Traces(exporter, origin=None)
    with pytest.raises(RuntimeError):
        call(Traced(_fail, traces=traces))
    with pytest.raises(KeyError), traces.work("x"):
        raise KeyError("hunter7")
    traces.close()
    found = exporter.get_finished_spans()
    assert [each.attributes["error.type"] for each in found] == ["RuntimeError", "KeyError"]
    assert not [each.status for each in found if each.status.is_ok]
    assert "hunter" not in "".join(each.to_json() for each in found)


def test_the_console_gets_one_line_for_each_span(capsys):
    given = Settings(deployment=Path("d"), database_url=SecretStr("x"), telemetry="console")
    traces = Traces.open(given)
    call(Traced(_answer, traces=traces))
    call(Traced(_answer, traces=traces))
    traces.close()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["attributes"]["http.response.status_code"] for each in lines] == [204, 204]
    assert lines[0]["resource"]["attributes"]["service.name"] == "modeldeed"
