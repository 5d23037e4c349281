"""``deed api webhooks``: everybody's webhooks at a service, for its operator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from ledger.cli.index_args import opened, operator_name
from ledger.cli.output import Answer, table, time_text
from ledger.cli.session import Session
from ledger.cli.verb import Verbs

if TYPE_CHECKING:
    from ledger.webhooks.endpoints import Endpoints
    from ledger.webhooks.records import Endpoint

app = Verbs("Webhooks of the service: whose they are and how they stand.")

Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="The service's; by default DEED_DATABASE, or deed up's own.",
    ),
]


@app.verb("list")
def list_webhooks(session: Session, *, database: Database = None) -> Answer:
    """List webhooks, the oldest first: by host, since a path may open something."""
    with _endpoints(session, database) as endpoints:
        found = [_data(each) for each in endpoints.all()]
    shown = [
        (
            each["id"],
            each["owner"],
            each["host"],
            each["reason"] or each["state"],
            each["waiting"],
            each["dead"],
            time_text(each["failing_since"] or 0),
        )
        for each in found
    ]
    head = ("id", "whose", "host", "state", "waiting", "dead", "failing since")
    return Answer({"webhooks": found}, table(head, shown, empty="there are no webhooks"))


@app.verb("remove", waits=False)
def remove(
    session: Session,
    *,
    id_: Annotated[str, typer.Argument(metavar="ID", help="As deed api webhooks list shows it.")],
    database: Database = None,
) -> Answer:
    """End a webhook, whoever made it; what waits is not sent any more."""
    from ledger.access.principals import By

    with _endpoints(session, database) as endpoints:
        endpoints.delete(By(f"local:{operator_name()}"), None, id_)
    return Answer({"removed": id_}, f"{id_} is ended")


@contextmanager
def _endpoints(session: Session, database: str | None) -> Iterator[Endpoints]:
    from ledger.index.views import Index
    from ledger.webhooks.endpoints import Endpoints
    from ledger.webhooks.keys import KeyRing

    with opened(session, database) as engine:
        # Nothing here makes a secret.
        yield Endpoints(Index(engine, session.network.deployment.chain_id), KeyRing.empty())


def _data(each: Endpoint) -> dict[str, Any]:
    return {
        "id": each.id,
        "owner": each.owner,
        "host": urlsplit(each.asked.url).hostname or "",
        "state": each.state,
        "reason": each.reason,
        "waiting": each.waiting,
        "dead": each.dead,
        "failing_since": each.failing_since,
        "created_at": each.created_at,
    }
