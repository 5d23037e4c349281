"""Is the process alive, can it be relied on, and what does it count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from api import problems, schemas
from api.anchoring import Said, said_by
from api.dependencies import Served, Service
from ledger import __version__
from ledger.errors import LedgerError

if TYPE_CHECKING:
    from ledger.broker.service import BrokerService

router = APIRouter(tags=["health"])


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
    block = head = finalized = lag_blocks = None
    lag = None
    reorgs = 0
    try:
        with served.index.snapshot() as snapshot, served.index.engine.connect() as connection:
            lag = snapshot.as_of.lag_s
            block, finalized = snapshot.as_of.block, snapshot.as_of.finalized
            head = max(block, served.index.journal.cursor(connection).head)
            lag_blocks = head - block
            reorgs = snapshot.reorgs()
    except LedgerError as error:
        reason = reason or error.message
    fresh = lag is not None and lag <= served.settings.ready_lag
    if not fresh and not reason:
        reason = f"the index is {lag:.0f} s behind the chain's head" if lag is not None else state
    # A follower on watch is no fault: another process follows into the same database.
    well = state in {"synced", "following", "standby", "reading"}
    return schemas.Ready(
        ready=fresh and well,
        state=state,
        reason=reason,
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


@router.get("/metrics", response_class=Response, include_in_schema=False)
def metrics(request: Request) -> Response:
    """Counters in the Prometheus text format."""
    registry: CollectorRegistry = request.app.state.registry
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class IndexGauges(Collector):
    """Where the index stands, read when asked."""

    def __init__(self, served: Service) -> None:
        self._served = served

    def collect(self) -> list[GaugeMetricFamily]:
        """The gauges of this moment; a value that cannot be had is left out."""
        facts = readiness(self._served, broker=False)
        values = {
            "deed_index_block": ("Last block read", facts.block),
            "deed_index_head_block": ("The endpoint's head", facts.head),
            "deed_index_finalized_block": ("Highest final block", facts.finalized),
            "deed_index_lag_seconds": ("Since the index stood on the head", facts.lag_s),
            "deed_index_reorgs": ("Rollbacks since the database was made", facts.reorgs),
            "deed_index_ready": ("Whether /readyz says yes", int(facts.ready)),
        }
        return [
            GaugeMetricFamily(name, text, value=value)
            for name, (text, value) in values.items()
            if value is not None
        ]
