"""Put the service together: index, follower, broker and routes, in one ASGI application."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.concurrency import run_in_threadpool

from api import access, anchoring, brokering, description, problems, telemetry, webhooks
from api.dependencies import Service
from api.direct import Direct
from api.feed import Feed
from api.front import Front
from api.memory import Memory
from api.once import Once
from api.remembered import Kept
from api.routes import access as access_routes
from api.routes import (
    broker,
    catalogue,
    entitlements,
    events,
    evidence,
    health,
    licenses,
    models,
    preparing,
    search,
    transactions,
)
from api.routes import webhooks as webhook_routes
from api.scraping import Scrapers
from api.security import BodyLimit, Boundary, Hosts, Tally
from api.settings import Settings
from ledger import __version__
from ledger.access import trail
from ledger.access.forgetting import forget
from ledger.chain.deployment import Deployment
from ledger.chain.profile import profile_for
from ledger.chain.rpc import Rpc
from ledger.index.database import open_database
from ledger.index.endpoints import Endpoints
from ledger.index.follow import Follower
from ledger.index.given import telling
from ledger.index.keeper import Keeper
from ledger.index.pool import Source
from ledger.index.views import Index
from ledger.webhooks.worker import Worker

if TYPE_CHECKING:
    from api.tracing import Traces
    from ledger.broker.service import BrokerService

log = structlog.get_logger("api")

FOLLOWER_STOP_SECONDS = 20.0
_ABOUT = """Models, licenses and evidence of one deployment, as its contracts recorded them.

Every answer carries `as_of`: the block it rests on, how much of the chain is final, and how old the
index is. Failures are problem+json (RFC 9457) with a stable `code` and a `hint`.
"""


@dataclass(frozen=True, slots=True)
class Opened:
    """What a process holds while it serves; closing `resources` lets go of all of it."""

    service: Service
    broker: BrokerService | None
    webhooks: webhooks.Webhooks | None
    resources: ExitStack


def open_service(settings: Settings) -> Opened:
    """Open database, chain and broker, before anything is served.

    Raises:
        LedgerError: something is configured wrongly; nothing stays open.
    """
    with ExitStack() as stack:
        served = _open(settings, stack)
        keys = brokering.open_broker(settings, served)
        if keys is not None:
            stack.callback(keys.close)
        hooks = webhooks.open_webhooks(served)
        return Opened(served, keys, hooks, stack.pop_all())


def create_app(settings: Settings, opened: Opened | None = None) -> Front:
    """The application for `settings`, and what answers from memory in front of it.

    Its lifespan opens what was not opened before, follows the chain, and closes everything.

    Raises:
        ConfigurationError: traces are asked for that cannot be made, or a token of /metrics that
            cannot be read.
    """
    registry, tally = CollectorRegistry(), Tally()
    traces = telemetry.open_traces(settings)
    hosts = Hosts(frozenset(name.lower() for name in settings.allowed_hosts))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        held = opened
        if held is None:
            held = await run_in_threadpool(open_service, settings)
        served = held.service
        with held.resources:
            app.state.service = served
            app.state.broker = held.broker
            app.state.access = access.open_access(served)
            app.state.memory = memory = Memory(served.index)
            front.begin(memory)
            app.state.feed = Feed(served.index, memory.watch)
            _register_gauges(registry, held)
            _surround(held, traces)
            stop = threading.Event()
            threads = _start(served, stop)
            jobs = app.state.evidence_jobs = evidence.open_jobs(served)
            if jobs is not None:
                worker = threading.Thread(
                    target=jobs.run, args=(stop,), name="evidence", daemon=True
                )
                worker.start()
                threads.append(worker)
            hooks = app.state.webhooks = held.webhooks
            if hooks is not None:
                threads += _begin(stop, webhooks=hooks.worker)
            has_broker = held.broker is not None
            log.info("serving", chain_id=served.index.chain_id, broker=has_broker)
            try:
                yield
            finally:
                stop.set()
                for thread in threads:
                    await run_in_threadpool(thread.join, FOLLOWER_STOP_SECONDS)
                if jobs is not None:
                    jobs.close()
                memory.close()
                if traces is not None:
                    await run_in_threadpool(traces.close)

    app = _framework(lifespan)
    app.state.registry = registry
    app.state.scrapers = Scrapers.of(settings)
    _include_routes(app)
    app.add_middleware(Kept)
    app.add_middleware(Once, limit=settings.max_body)
    # Inside what answers the hot calls, which are public, unless those are to be limited too.
    if not access.limits(settings):
        app.add_middleware(access.Access, settings=settings)
    if settings.broker_home is not None:
        app.include_router(broker.router, responses=problems.WRITE_FAILURES)
        app.add_middleware(Direct)
    if access.limits(settings):
        app.add_middleware(access.Access, settings=settings)
    app.add_middleware(
        BodyLimit, limit=settings.max_body, larger={"/leaves": settings.max_leaves_body}
    )
    app.add_middleware(Boundary, hosts=hosts, registry=registry, tally=tally)
    if traces is not None:
        traces.surround(app)
    front = Front(app, hosts=hosts, tally=tally, whole=not access.limits(settings))
    return front


def _framework(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]) -> FastAPI:
    app = FastAPI(
        title="modeldeed",
        version=__version__,
        description=_ABOUT,
        lifespan=lifespan,
        openapi_url="/v1/openapi.json",
        # The documentation pages would load script from a foreign host.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=description.operation_id,
        telemetry=telemetry.FASTAPI_OWN,
    )
    description.complete(app)
    app.state.broker = None
    app.state.evidence_jobs = None
    app.state.webhooks = None
    app.state.memory = None
    return app


def _surround(held: Opened, traces: Traces | None) -> None:
    """What is done about each transaction of the follower, and each attempt of a webhook."""
    if traces is not None and held.webhooks is not None:
        held.webhooks.worker.surround(traces.attempt)
    follower = held.service.follower
    if follower is None:
        return
    if traces is not None:
        follower.around = traces.work
    if held.webhooks is not None:
        follower.around = telling(follower.around, held.webhooks.worker.wake)


def _register_gauges(registry: CollectorRegistry, held: Opened) -> None:
    registry.register(health.IndexGauges(held.service))
    if held.service.endpoints is not None:
        registry.register(health.NodeGauges(held.service.endpoints))
    if held.broker is not None:
        registry.register(brokering.EndpointGauges(held.broker))
        registry.register(anchoring.AnchorGauges(held.broker))
    if held.webhooks is not None:
        registry.register(webhooks.WebhookGauges(held.service, held.webhooks.worker))


def _include_routes(app: FastAPI) -> None:
    problems.install(app)
    # The hot ones first: a route is found by trying one after the other.
    for module in (entitlements, models, licenses, search, catalogue, events, evidence, health):
        app.include_router(module.router)
    app.include_router(evidence.jobs_router)
    app.include_router(access_routes.router)
    app.include_router(preparing.router)
    app.include_router(transactions.router)
    app.include_router(webhook_routes.router)
    app.webhooks.include_router(webhook_routes.sent)


def _open(settings: Settings, stack: ExitStack) -> Service:
    deployment = Deployment.load(settings.deployment)
    profile = profile_for(deployment.chain_id)
    engine = open_database(settings.database)
    stack.callback(engine.dispose)
    index = Index(engine, deployment.chain_id, of=deployment)
    rpc = None
    if settings.rpc_urls:
        asked = [url.get_secret_value() for url in settings.rpc_urls]
        rpc = stack.enter_context(Rpc(asked, chain_id=deployment.chain_id, timeout=5.0))
    if not settings.follow:
        return Service(settings, index, None, deployment, profile, rpc=rpc)
    urls = settings.index_rpc_urls or settings.rpc_urls
    endpoints = Endpoints(
        [Source.parse(url.get_secret_value()) for url in urls],
        deployment,
        finality_depth=profile.finality_depth,
        quorum=settings.index_quorum or None,
    )
    stack.callback(endpoints.close)
    follower = Follower(endpoints, engine, deployment, profile, poll=settings.poll)
    keeper = Keeper(
        endpoints,
        engine,
        deployment.chain_id,
        proofs=settings.index_proofs and profile.proof_kind == "mpt",
        active=lambda: follower.status.state in {"synced", "following"},
        kept_days=settings.outbox_days,
        also=lambda: forget(
            engine, settings.audit_days, actor=trail.service_name(), now=index.now()
        ),
    )
    return Service(settings, index, follower, deployment, profile, endpoints, keeper, rpc)


def _start(served: Service, stop: threading.Event) -> list[threading.Thread]:
    return _begin(stop, follower=served.follower, keeper=served.keeper)


def _begin(
    stop: threading.Event, **workers: Follower | Keeper | Worker | None
) -> list[threading.Thread]:
    """A thread for each, by its name."""
    threads = [
        threading.Thread(target=worker.run, args=(stop,), name=name, daemon=True)
        for name, worker in workers.items()
        if worker is not None
    ]
    for thread in threads:
        thread.start()
    return threads
