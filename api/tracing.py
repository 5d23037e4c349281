"""Spans: one for each request, made by a plain ASGI layer, exported by the OpenTelemetry SDK.

Attributes follow the semantic conventions for HTTP server spans (1.44), but that paths are those of
routes: an account or license in a path, a query, and who asks, are in none. Imported by
`api.telemetry.open_traces` alone.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from fastapi import FastAPI
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from api.asgi import App, Message, Receive, Scope, Send
from api.settings import Settings
from ledger import __version__
from ledger.remote.posting import Sent
from ledger.webhooks.sending import Post

CLOSE_SECONDS: Final = 3.0
"""That a collector gets to take the last spans."""
UNTRACED: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked by machines every few seconds, and answered from what is at hand."""
_SCHEMA: Final = "https://opentelemetry.io/schemas/1.44.0"
_METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
)
_FAILED: Final = 500

log = logging.getLogger("api")


class Traces:
    """One process's spans, and the thread that exports them.

    Args:
        exporter: where batches of them go. It may be slow, or fail: spans wait for it in a queue of
            the SDK (2,048), and what does not fit is dropped.
        origin: the service's own, which spans name as the server.
    """

    def __init__(self, exporter: SpanExporter, *, origin: str | None) -> None:
        self._exporter = exporter
        named = {"service.name": "modeldeed", "service.version": __version__}
        told = OTELResourceDetector().detect().attributes
        # Not at exit: the SDK would wait half a minute for a collector that is gone.
        self._provider = TracerProvider(
            resource=Resource.create({**named, **told}, _SCHEMA), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer = self._provider.get_tracer("modeldeed", __version__, schema_url=_SCHEMA)
        self.server = _server(origin)
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    def open(cls, settings: Settings) -> Traces:
        """By the settings, and the ``OTEL_*`` variables of the environment.

        Raises:
            ValueError: one of those cannot be meant.
        """
        exporter: SpanExporter
        if settings.telemetry == "console":
            exporter = ConsoleSpanExporter(
                out=sys.stdout, formatter=lambda span: span.to_json(indent=None) + "\n"
            )
        else:
            exporter = OTLPSpanExporter()
            logging.getLogger(OTLPSpanExporter.__module__).addFilter(_without_urls)
        return cls(exporter, origin=settings.origin)

    def surround(self, app: FastAPI) -> None:
        """Make a span of each request to `app`; whatever is added to it later lies outside."""
        app.add_middleware(Traced, traces=self)

    @contextmanager
    def work(self, name: str, /, **counts: int) -> Iterator[None]:
        """A span around a piece of work that no request asked for."""
        told = {f"modeldeed.{key}": value for key, value in counts.items()}
        with self.tracer.start_as_current_span(
            name, attributes=told, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as error:
                _fail(span, type(error).__qualname__)
                raise

    async def attempt(self, send: Post) -> Sent:
        """A span around one attempt of a webhook, which its receiver may go on with.

        It is the root of a trace of its own: what made the message was another process's work, or
        is long over. Where it leads is its owner's business, and is in no attribute.
        """
        with self.tracer.start_as_current_span(
            "webhook.attempt",
            context=contexts.Context(),
            kind=SpanKind.CLIENT,
            attributes={"http.request.method": "POST"},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            headers: dict[str, str] = {}
            self._propagator.inject(headers)
            try:
                sent = await send(headers)
            except BaseException as error:
                _fail(span, type(error).__qualname__)
                raise
            if sent.status is not None:
                span.set_attribute("http.response.status_code", sent.status)
            if sent.trouble:
                _fail(span, "unanswered" if sent.status is None else str(sent.status))
        return sent

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Export what waits; what no collector has taken after `seconds` is lost."""
        # The SDK's own bound is half a minute for each of its parts.
        ending = threading.Thread(target=self._provider.shutdown, name="telemetry", daemon=True)
        ending.start()
        ending.join(seconds)
        if ending.is_alive():
            log.warning("spans were lost: no collector took them")
            self._exporter.shutdown()  # ends its pauses between attempts


class Traced:
    """Makes a span of each request that comes this far; answers from memory do not.

    A W3C ``traceparent`` makes it a child of the caller's span. The trace's id goes to
    ``scope["state"]["trace_id"]``, for the log line.

    Args:
        app: the application inside.
        traces: where spans go.
    """

    def __init__(self, app: App, *, traces: Traces) -> None:
        self._app = app
        self._tracer = traces.tracer
        self._server = traces.server
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] in UNTRACED:
            await self._app(scope, receive, send)
            return
        known = scope["method"] if scope["method"] in _METHODS else None
        span = self._tracer.start_span(
            known or "HTTP",
            context=self._propagator.extract(_sent(scope), contexts.Context()),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": known or "_OTHER",
                "url.scheme": scope["scheme"],
                "network.protocol.version": scope["http_version"],
                **(self._server or _socket(scope)),
            },
        )
        state = scope.setdefault("state", {})
        if (of := span.get_span_context()).is_valid:
            state["trace_id"] = trace.format_trace_id(of.trace_id)
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        token = contexts.attach(trace.set_span_in_context(span))
        try:
            await self._app(scope, receive, send_on)
        except BaseException as error:
            _fail(span, type(error).__qualname__)
            raise
        finally:
            contexts.detach(token)
            if span.is_recording():
                _complete(span, known or "HTTP", scope, status)
            span.end()


def _complete(span: Span, method: str, scope: Scope, status: int) -> None:
    """What is known at the end alone."""
    route = getattr(scope.get("route"), "path", None)
    if route is not None:
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)
        span.set_attribute("url.path", route)
    if request_id := scope["state"].get("request_id"):
        span.set_attribute("modeldeed.request_id", request_id)
    if status:
        span.set_attribute("http.response.status_code", status)
    if status >= _FAILED:
        _fail(span, str(status))


def _fail(span: Span, what: str) -> None:
    """Mark a span as failed, by a class or a status: messages may hold what was asked for."""
    span.set_attribute("error.type", what)
    span.set_status(StatusCode.ERROR)


def _without_urls(record: logging.LogRecord) -> bool:
    """Let a collector's failures be logged by their class: their texts have its URL."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            type(each).__name__ if isinstance(each, BaseException) else each for each in record.args
        )
    return True


def _sent(scope: Scope) -> dict[str, str]:
    """The caller's trace context; several `traceparent` headers, in a row, are none."""
    found: dict[str, list[str]] = {"traceparent": [], "tracestate": []}
    for name, value in scope["headers"]:
        if name in {b"traceparent", b"tracestate"}:
            found[name.decode()].append(value.decode("latin-1"))
    return {name: ",".join(values) for name, values in found.items() if values}


def _server(origin: str | None) -> dict[str, str | int]:
    if origin is None:
        return {}
    parts = urlsplit(origin)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {"server.address": parts.hostname or "", "server.port": port}


def _socket(scope: Scope) -> dict[str, str | int]:
    """Where it came in. The Host header is the caller's word, and is not known to be good here."""
    address, port = scope.get("server") or (None, None)
    found: dict[str, str | int] = {} if address is None else {"server.address": address}
    return found if port is None else {**found, "server.port": port}
