"""By whose right an endpoint is sent to: it rests while that is gone, and loses nothing by it."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest
from sqlalchemy import select, update

from ledger.access.principals import By
from ledger.access.store import AccessStore
from ledger.ids import Address
from ledger.index.access_tables import access_audit
from ledger.index.database import writing
from ledger.index.webhook_tables import webhook_endpoint
from ledger.webhooks.records import Asked
from ledger.webhooks.rights import PAUSED_SECONDS, STALE_SECONDS, Rights

world: Any = importlib.import_module("webhook_world")
stories: Any = importlib.import_module("story_world")

BOTH = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
ACCOUNT = Address.parse(world.OWNER.removeprefix("account:").lower())
OPERATOR = By("local:root@here")
DAY = 86_400


def happen(stand: Any, hooks: Any, number: int, *, spread: bool = True) -> None:
    """So many events."""
    for _ in range(number):
        root = stand.chain.rng.randbytes(32)
        log = stories.emit("Anchors", "RootAnchored", root=root, sender=bytes(20))
        stand.chain.grow(transactions=[[log]])
    stand.catch_up()
    if spread:
        hooks.spread()
    hooks.synced()


def key_of(hooks: Any, **given: Any) -> By:
    """A new API key of the account, asking."""
    given = given or {"account": ACCOUNT}
    token, _ = hooks.access.create_key(world.BY, "ci", ["webhooks:write"], **given)
    owner = world.OWNER if "account" in given else f"key:{token.id}"
    return By(owner, f"key:{token.id}")


def made(hooks: Any, by: By, url: str) -> str:
    return hooks.endpoints.create(by, by.actor, Asked(url, world.EVERYTHING))[0].id


def state(hooks: Any, id_: str, owner: str = world.OWNER) -> Any:
    return hooks.endpoints.get(owner, id_)


def acts(hooks: Any) -> list[tuple[str, str]]:
    """Acts and actors about webhooks in the audit log."""
    with hooks.engine.connect() as connection:
        texts = connection.execute(
            select(access_audit.c.entry).order_by(access_audit.c.sequence)
        ).scalars()
        entries = [json.loads(text) for text in texts]
    return [
        (each["act"], each["actor"].partition("@")[0])
        for each in entries
        if each["act"].startswith("webhook.") and each["act"] != "webhook.created"
    ]


@BOTH
def test_a_revoked_keys_endpoint_rests_until_its_account_takes_it_over(stand, hooks, receiver):
    by = key_of(hooks)
    id_ = made(hooks, by, receiver.url)
    happen(stand, hooks, 1)
    assert (hooks.rights.look(), hooks.send()) == (0, 1)
    key = by.via.removeprefix("key:")
    hooks.access.revoke_key(world.BY, key)
    assert (hooks.rights.look(), hooks.rights.look()) == (1, 0)
    happen(stand, hooks, 3)
    hooks.clock.time += DAY
    assert hooks.send() == 0
    found = state(hooks, id_)
    assert (found.state, found.waiting, found.disabled_at) == ("paused", 3, None)
    assert found.paused_at == hooks.clock.time - DAY
    assert found.reason == f"API key {key}, by which it was made, was revoked"
    # Another change takes nothing over; enabling it does, by who asks for that.
    hooks.endpoints.change(world.BY, world.OWNER, id_, {"description": "x"}, enabled=None)
    assert state(hooks, id_).state == "paused"
    happen(stand, hooks, 1, spread=False)
    hooks.endpoints.change(world.BY, world.OWNER, id_, {}, enabled=True)
    hooks.spread()
    assert (hooks.rights.look(), hooks.send()) == (0, 4)
    sequences = [each["data"]["sequence"] for each in receiver.bodies()]
    assert sequences == sorted(set(sequences))
    found = state(hooks, id_)
    assert (found.state, found.reason, found.paused_at) == ("enabled", "", None)
    assert acts(hooks) == [
        ("webhook.paused", "local:service"),
        ("webhook.changed", world.OWNER),
        ("webhook.changed", world.OWNER),
    ]


def test_a_key_that_expired_rests_too_and_a_new_key_takes_over(stand, hooks, receiver):
    by = key_of(hooks, account=ACCOUNT, days=1)
    id_ = made(hooks, by, receiver.url)
    hooks.clock.time += DAY - 1
    hooks.synced()
    assert hooks.rights.look() == 0
    hooks.clock.time += 1
    assert hooks.rights.look() == 1
    assert state(hooks, id_).reason.endswith("has expired")
    new = key_of(hooks)
    hooks.endpoints.change(new, world.OWNER, id_, {}, enabled=True)
    assert hooks.rights.look() == 0
    hooks.access.revoke_key(world.BY, new.via.removeprefix("key:"))
    assert hooks.rights.look() == 1


def test_a_lost_role_rests_all_of_an_accounts_endpoints_until_it_is_back(stand, hooks, receiver):
    # Nobody is appointed: the role is one that was granted.
    access = AccessStore(hooks.engine, hooks.index.chain_id, now=hooks.clock)
    rights = Rights(hooks.index, access)
    access.grant_role(OPERATOR, ACCOUNT, "operator")
    ids = [hooks.add(receiver.url)[0].id, made(hooks, key_of(hooks), receiver.url)]
    hooks.synced()
    assert rights.look() == 0
    access.revoke_role(OPERATOR, ACCOUNT, "operator")
    assert rights.look() == 2
    happen(stand, hooks, 1)
    assert hooks.send() == 0
    reason = f"{ACCOUNT} has no role any more that may have webhooks"
    assert {state(hooks, id_).reason for id_ in ids} == {reason}
    access.grant_role(OPERATOR, ACCOUNT, "operator")
    assert (rights.look(), hooks.send()) == (2, 2)
    assert [act for act, _ in acts(hooks)] == ["webhook.paused"] * 2 + ["webhook.resumed"] * 2


def test_an_old_index_says_nothing_of_roles_and_keys_are_heard(stand, hooks, receiver):
    access = AccessStore(hooks.engine, hooks.index.chain_id, now=hooks.clock)
    rights = Rights(hooks.index, access)
    hooks.add(receiver.url)  # by an account without any role
    by = key_of(hooks)
    made(hooks, by, receiver.url)
    hooks.synced()
    hooks.clock.time += STALE_SECONDS + 1
    assert rights.look() == 0
    hooks.access.revoke_key(world.BY, by.via.removeprefix("key:"))
    assert rights.look() == 1
    hooks.synced()
    assert rights.look() == 1


def test_what_rested_for_a_month_is_disabled_and_no_longer_kept_for(stand, hooks, receiver):
    by = key_of(hooks)
    id_ = made(hooks, by, receiver.url)
    hooks.access.revoke_key(world.BY, by.via.removeprefix("key:"))
    hooks.synced()
    hooks.rights.look()
    hooks.clock.time += PAUSED_SECONDS - 1
    hooks.synced()
    assert hooks.rights.look() == 0
    hooks.clock.time += 1
    assert (hooks.rights.look(), hooks.rights.look()) == (1, 0)
    found = state(hooks, id_)
    assert (found.state, found.disabled_at) == ("disabled", hooks.clock.time)
    assert found.reason.startswith("paused for 30 days: API key")
    happen(stand, hooks, 1)
    assert state(hooks, id_).waiting == 0
    assert acts(hooks)[-1] == ("webhook.disabled", "local:service")


def test_what_a_session_made_does_not_hang_on_the_accounts_keys(stand, hooks, receiver):
    by = key_of(hooks)
    id_ = hooks.add(receiver.url)[0].id
    # As one that was made before this was kept.
    with writing(hooks.engine) as connection:
        told = json.dumps(world.EVERYTHING)
        connection.execute(update(webhook_endpoint).values(filters=told))
    hooks.access.revoke_key(world.BY, by.via.removeprefix("key:"))
    hooks.synced()
    assert hooks.rights.look() == 0
    assert state(hooks, id_).state == "enabled"


def test_a_key_with_a_role_of_its_own_is_all_the_right_there_is(stand, hooks, receiver):
    by = key_of(hooks, role="holder")
    id_ = made(hooks, by, receiver.url)
    hooks.synced()
    assert hooks.rights.look() == 0
    hooks.access.revoke_key(OPERATOR, by.via.removeprefix("key:"))
    assert hooks.rights.look() == 1
    assert state(hooks, id_, by.actor).state == "paused"


def test_an_owner_who_came_first_is_not_overruled(stand, hooks, receiver):
    by = key_of(hooks)
    id_ = made(hooks, by, receiver.url)
    with hooks.engine.connect() as connection:
        row = connection.execute(select(webhook_endpoint)).one()
    hooks.endpoints.change(world.BY, world.OWNER, id_, {}, enabled=True)  # taken over meanwhile
    assert not hooks.rights._turn(row, "what was found before", int(hooks.clock()))
    assert state(hooks, id_).state == "enabled"
    assert [act for act, _ in acts(hooks)] == ["webhook.changed"]
