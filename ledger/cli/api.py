"""``deed api``: keys, roles, webhooks and audit log of a service, straight on its database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli import api_audit, api_webhooks
from ledger.cli.index_args import opened, operator_name
from ledger.cli.output import Answer, fields, table, time_text
from ledger.cli.session import Session
from ledger.cli.verb import Verbs

if TYPE_CHECKING:
    from ledger.access.principals import By, KeyFacts
    from ledger.access.store import AccessStore
    from ledger.ids import Address

app = Verbs("Keys, roles, sessions, webhooks and audit log of the service.")
keys = Verbs("API keys of the service, on its database.")
roles = Verbs("Who is auditor or operator of the service.")
sessions = Verbs("Who is signed in at the service.")

Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="The service's; by default DEED_DATABASE, or deed up's own.",
    ),
]
_Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="0x and 40 hex digits.")]
_Appointed = Annotated[str, typer.Argument(metavar="ROLE", help="auditor or operator.")]


@keys.verb("create", waits=False)
def create(
    session: Session,
    *,
    name: Annotated[str, typer.Argument(help="What it is for, for people.")],
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", help="Such as audit:read; repeat it."),
    ] = None,
    account: Annotated[
        str | None,
        typer.Option("--account", metavar="ACCOUNT", help="Whose it is; its roles count."),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option("--role", metavar="ROLE", help="In place of an account: auditor, operator."),
    ] = None,
    days: Annotated[int, typer.Option("--days", metavar="N", help="Until it expires.")] = 90,
    database: Database = None,
) -> Answer:
    """Make an API key. It is printed this once; the database keeps its hash.

    A key of an account may do what the account may, as of each request, and only what its scopes
    name. Scopes: docs/spec/access.md.
    """
    from ledger.ids import Address

    owner = None if account is None else Address.parse(account)
    with _store(session, database) as (store, by):
        token, facts = store.create_key(by, name, scope or (), account=owner, role=role, days=days)
    data = _data(facts) | {"key": token.text}
    rows: list[tuple[str, object]] = [
        ("key", token.text),
        ("id", facts.id),
        ("whose", facts.account or f"nobody's, with the role {facts.role}"),
        ("scopes", " ".join(facts.scopes)),
        ("expires", time_text(facts.expires_at)),
    ]
    return Answer(data, fields(rows), notes=("it is not shown again: keep it now",))


@keys.verb("list")
def list_keys(
    session: Session,
    *,
    account: Annotated[
        str | None, typer.Option("--account", metavar="ACCOUNT", help="Only this account's.")
    ] = None,
    database: Database = None,
) -> Answer:
    """List API keys, the newest first; revoked and expired ones too."""
    from ledger.ids import Address

    owner = None if account is None else Address.parse(account)
    with _store(session, database) as (store, _):
        found, now = list(_all_keys(store, owner)), store.now()
    shown = [
        (
            each.id,
            each.name,
            each.account or f"role {each.role}",
            " ".join(each.scopes),
            _state(each, now),
            time_text(each.used_at or 0),
        )
        for each in found
    ]
    head = ("id", "name", "whose", "scopes", "state", "last used")
    return Answer(
        {"keys": [_data(each) for each in found]}, table(head, shown, empty="there are no keys")
    )


@keys.verb("revoke", waits=False)
def revoke(
    session: Session,
    *,
    id_: Annotated[str, typer.Argument(metavar="ID", help="As deed api keys list shows it.")],
    database: Database = None,
) -> Answer:
    """Revoke an API key: it is refused from the next request on."""
    with _store(session, database) as (store, by):
        facts = store.revoke_key(by, id_)
    rows: list[tuple[str, object]] = [
        ("revoked", f"{facts.id} ({facts.name})"),
        ("since", time_text(facts.revoked_at or 0)),
    ]
    return Answer(_data(facts), fields(rows))


@roles.verb("grant", waits=False)
def grant(
    session: Session, *, account: _Account, role: _Appointed, database: Database = None
) -> Answer:
    """Make an account auditor or operator of the service."""
    from ledger.ids import Address

    whom = Address.parse(account)
    with _store(session, database) as (store, by):
        new = store.grant_role(by, whom, role)
    said = f"{whom} is {role}" + ("" if new else ", and was before")
    return Answer({"account": whom, "role": role, "new": new}, said)


@roles.verb("revoke", waits=False)
def take_back(
    session: Session, *, account: _Account, role: _Appointed, database: Database = None
) -> Answer:
    """Take a granted role back: it counts no more from the next request on."""
    from ledger.ids import Address

    whom = Address.parse(account)
    with _store(session, database) as (store, by):
        gone = store.revoke_role(by, whom, role)
    said = f"{whom} is no {role} any more" if gone else f"{whom} was no {role} by this database"
    return Answer({"account": whom, "role": role, "gone": gone}, said, ok=gone)


@roles.verb("list")
def list_roles(session: Session, *, database: Database = None) -> Answer:
    """List granted roles; those of the service's settings are not among them."""
    with _store(session, database) as (store, _):
        found = store.roles()
    data = [
        {"account": account, "role": role, "granted_at": at, "granted_by": by}
        for account, role, at, by in found
    ]
    shown = [(account, role, time_text(at), by) for account, role, at, by in found]
    head = ("account", "role", "since", "granted by")
    return Answer({"roles": data}, table(head, shown, empty="no role is granted here"))


@sessions.verb("end", waits=False)
def end(session: Session, *, account: _Account, database: Database = None) -> Answer:
    """End every session of an account, as after a token was stolen; its API keys stay."""
    from ledger.ids import Address

    whom = Address.parse(account)
    with _store(session, database) as (store, by):
        ended = store.end_sessions(by, whom)
    said = f"{ended} of {whom} ended" if ended else f"{whom} was not signed in"
    return Answer({"account": whom, "ended": ended}, said)


app.add_typer(keys, name="keys", help=keys.info.help)
app.add_typer(roles, name="roles", help=roles.info.help)
app.add_typer(sessions, name="sessions", help=sessions.info.help)
app.add_typer(api_audit.app, name="audit", help=api_audit.app.info.help)
app.add_typer(api_webhooks.app, name="webhooks", help=api_webhooks.app.info.help)


# -- pieces --------------------------------------------------------------------------------------


@contextmanager
def _store(session: Session, database: str | None) -> Iterator[tuple[AccessStore, By]]:
    from ledger.access.principals import By
    from ledger.access.store import AccessStore

    chain_id = session.network.deployment.chain_id
    with opened(session, database) as engine:
        yield AccessStore(engine, chain_id), By(f"local:{operator_name()}")


def _all_keys(store: AccessStore, account: Address | None) -> Iterator[KeyFacts]:
    after = None
    while page := store.keys(account, after=after):
        yield from page
        after = page[-1].id


def _state(facts: KeyFacts, now: float) -> str:
    if facts.revoked_at is not None:
        return f"revoked {time_text(facts.revoked_at)}"
    over = facts.expires_at <= now
    return f"{'expired' if over else 'until'} {time_text(facts.expires_at)}"


def _data(facts: KeyFacts) -> dict[str, Any]:
    names = ("id", "name", "account", "role", "scopes", "created_at", "created_by", "expires_at")
    return {name: getattr(facts, name) for name in (*names, "used_at", "revoked_at")}
