"""Is the process alive, can it be relied on, and what does it count."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from api import problems
from api.anchoring import Said, said_by
from api.dependencies import Served, Service
from api.schemas import health as schemas
from api.scraping import SCRAPER
from api.strict import StrictRoute
from ledger import __version__
from ledger.errors import IndexDamaged, IndexReplaced, LedgerError, WrongNetwork
from ledger.index.endpoints import Endpoints
from ledger.index.standing import standing

if TYPE_CHECKING:
    from ledger.broker.service import BrokerService

router = APIRouter(tags=["health"], responses=problems.NAME_FAILURES, route_class=StrictRoute)


@router.get("/healthz")
async def alive() -> schemas.Alive:  # no thread, so that a busy service is not taken for a dead one
    """The process answers; says nothing about the chain."""
    return schemas.Alive(version=__version__)


@router.get(
    "/readyz",
    responses={int(problems.NOT_READY): {"model": schemas.Ready, "description": "not ready"}},
)
def ready(served: Served, response: Response, request: Request) -> schemas.Ready:
    """Whether answers are fresh: the index stood on the chain's head a moment ago."""
    broker: BrokerService | None = getattr(request.app.state, "broker", None)
    answer = readiness(served, broker=broker is not None, anchoring=said_by(broker))
    if not answer.ready:
        response.status_code = int(problems.NOT_READY)
    return answer


def readiness(served: Service, *, broker: bool, anchoring: Said = "off") -> schemas.Ready:
    """Judge the follower's state and the index's age."""
    status = None if served.follower is None else served.follower.status
    state = "reading" if status is None else status.state
    reason = "" if status is None else status.reason
    stuck = None if status is None else status.stuck
    block = head = finalized = lag_blocks = None
    lag = None
    reorgs = 0
    stale = 0.0
    try:
        with served.index.snapshot() as snapshot:
            lag = snapshot.as_of.lag_s
            block, finalized = snapshot.as_of.block, snapshot.as_of.finalized
            head = max(block, served.index.journal.cursor(snapshot.connection).head)
            lag_blocks = head - block
            reorgs = snapshot.reorgs()
            limit, now = served.profile.max_head_age, served.index.now()
            if limit is not None and now - (snapshot.as_of.time or now) > limit:
                stale = now - (snapshot.as_of.time or now)
    except (IndexDamaged, IndexReplaced, WrongNetwork) as error:
        # Whatever the follower said before is of a file that no path leads to any more; or nobody
        # follows here, who would have found out that it is of another chain.
        state, reason, stuck = "stopped", f"{error.message}; {error.hint}", error
    except LedgerError as error:
        reason = reason or error.message
    fresh = lag is not None and lag <= served.settings.ready_lag
    if not fresh and not reason:
        reason = f"the index is {lag:.0f} s behind the chain's head" if lag is not None else state
    if fresh and stale:
        # The index stands on the endpoint's head, and that has stopped.
        fresh, reason = False, reason or f"the endpoint's head is {stale:.0f} s old"
    if not reason and served.endpoints is not None:
        # Fresh all the same: what is read is right, but nothing newer becomes final.
        reason = served.endpoints.trouble
    # A follower on watch is no fault: another process follows into the same database.
    well = state in {"synced", "following", "standby", "reading"}
    return schemas.Ready(
        ready=fresh and well,
        state=state,
        reason=reason,
        code=None if stuck is None else stuck.code,
        hint=None if stuck is None else stuck.hint,
        lag_s=lag,
        lag_blocks=lag_blocks,
        block=block,
        head=head,
        finalized=finalized,
        chain_id=served.index.chain_id,
        reorgs=reorgs,
        broker="on" if broker else "off",
        anchoring=anchoring,
    )


@router.get("/metrics", response_class=Response, include_in_schema=False, dependencies=[SCRAPER])
def metrics(request: Request) -> Response:
    """Counters in the Prometheus text format."""
    registry: CollectorRegistry = request.app.state.registry
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class IndexGauges(Collector):
    """Where the index stands and what it keeps, read when asked."""

    def __init__(self, served: Service) -> None:
        self._served = served

    def collect(self) -> Iterator[Metric]:
        """The values of this moment; one that cannot be had is left out."""
        facts = readiness(self._served, broker=False)
        values: dict[str, tuple[str, float | None]] = {
            "deed_index_block": ("Last block read", facts.block),
            "deed_index_head_block": ("The endpoint's head", facts.head),
            "deed_index_finalized_block": ("Highest final block", facts.finalized),
            "deed_index_lag_seconds": ("Since the index stood on the head", facts.lag_s),
            "deed_index_lag_blocks": ("Blocks below the head", facts.lag_blocks),
            "deed_index_reorgs": ("Rollbacks since the database was made", facts.reorgs),
            "deed_index_ready": ("Whether /readyz says yes", int(facts.ready)),
        }
        counters: dict[str, tuple[str, float]] = {}
        with suppress(LedgerError, SQLAlchemyError), self._served.index.engine.connect() as found:
            stands = standing(found, self._served.index.chain_id)
            outbox, cover = stands.outbox, stands.coverage
            values |= {
                "deed_index_epoch": ("Rises with every take-over", stands.cursor.epoch),
                "deed_index_reorg_depth_max": ("Blocks of the deepest rollback", stands.deepest),
                "deed_index_outbox_entries": (
                    "Entries kept",
                    outbox.last_seq - outbox.pruned_seq,
                ),
                "deed_index_evidence_backlog": ("Final events without proofs", cover.backlog),
                "deed_index_evidence_lost": ("Proofs that could not be had", cover.lost),
                "deed_index_evidence_bytes": ("Size of all proofs taken", cover.size),
            }
            counters = {
                "deed_index_events": ("Events that came into the journal", outbox.applied),
                "deed_index_retracted": ("Events that reorganisations took back", outbox.retracted),
                "deed_index_proved": ("Events whose proofs are kept", cover.events),
            }
        for name, (text, value) in values.items():
            if value is not None:
                yield GaugeMetricFamily(name, text, value=value)
        for name, (text, value) in counters.items():
            yield CounterMetricFamily(name, text, value=value)


class NodeGauges(Collector):
    """How the endpoints are that the index follows, read when asked."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints

    def collect(self) -> Iterator[Metric]:
        """Gauges and counters by host; a value that cannot be had is left out."""
        shown = [each.to_json() for each in self._endpoints.shown()]
        gauges = {
            "deed_index_endpoint_healthy": ("Whether it answers well", "healthy"),
            "deed_index_endpoint_head_block": ("Its head", "head"),
            "deed_index_endpoint_finalized_block": ("Its finalized block", "finalized"),
            "deed_index_endpoint_lag_blocks": ("Below the agreed head", "lag"),
            "deed_index_endpoint_latency_ms": ("Median time of a look", "latency_ms"),
        }
        for name, (text, key) in gauges.items():
            gauge = GaugeMetricFamily(name, text, labels=["host"])
            for each in shown:
                if each[key] is not None:
                    gauge.add_metric([each["host"]], float(each[key]))
            yield gauge
        answered = CounterMetricFamily(
            "deed_index_endpoint_answered", "Questions answered", labels=["host"]
        )
        faults = CounterMetricFamily(
            "deed_index_endpoint_faults", "Faults by kind", labels=["host", "kind"]
        )
        for each in shown:
            answered.add_metric([each["host"]], each["answered"])
            for kind, count in each["faults"].items():
                faults.add_metric([each["host"], kind], count)
            faults.add_metric([each["host"], "contrary"], each["contrary"])
        yield answered
        yield faults
