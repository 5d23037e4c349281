"""Licenses that are about to end: told once for each license and term."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from sqlalchemy import update

from ledger.index.database import writing
from ledger.webhooks.reminders import EVERY_SECONDS, STALE_SECONDS

world: Any = importlib.import_module("webhook_world")
stories: Any = importlib.import_module("story_world")

BOTH = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
DAY = 86_400


@pytest.fixture
def licensed(stand, hooks):
    """A plan with one license, which ends in ten days of the test's clock."""
    story, state = stand.chain.story, stand.chain.head.state
    stand.chain.grow(transactions=[story.register(state, stand.chain.head.time + 12)])
    stand.chain.grow(transactions=[story.plan(stand.chain.head.state, 0)])
    made = Licensed(stand, hooks)
    made.issue(10)
    return made


class Licensed:
    def __init__(self, stand, hooks):
        self.stand, self.hooks = stand, hooks
        self.plan = max(stand.chain.head.state.plans)
        self.model, self.licensor = next(iter(stand.chain.head.state.models.items()))
        self.serial = 0

    def issue(self, days):
        self.serial += 1
        id_ = self.plan << 32 | self.serial
        end = int(self.hooks.clock()) + days * DAY if days else 0
        return self.emit(
            "LicenseIssued", id_, planId=self.plan, to=b"\x44" * 20, notBefore=1, notAfter=end
        )

    def emit(self, event, id_, **values):
        log = stories.emit("LicenseLedger", event, licenseId=id_, **values)
        self.stand.chain.grow(transactions=[[log]])
        self.stand.catch_up()
        return id_

    def look(self, seconds=EVERY_SECONDS + 1):
        """Time passes, and reminders are looked for and sent; how many were made."""
        self.hooks.clock.time += seconds
        self.hooks.synced()
        made = self.hooks.reminders.remind()
        self.hooks.send()
        return made


@BOTH
def test_a_license_is_told_of_once_before_its_end_and_again_after_a_renewal(
    licensed, hooks, receiver
):
    _, secret = hooks.add(receiver.url, types=["license.expiring"], days=7)
    assert licensed.look() == 0
    assert licensed.look(2 * DAY) == 0
    assert licensed.look(DAY + 1) == 1
    ((headers, body),) = receiver.got
    assert world.verify(secret, headers, body)
    (message,) = receiver.bodies()
    assert message["type"] == "license.expiring"
    assert message["data"]["license"] == f"{licensed.plan}.1"
    assert message["data"]["model"] == "0x" + licensed.model.hex()
    assert message["data"]["not_after"] == 1_800_000_000 + 10 * DAY
    assert licensed.look() == 0
    hooks.renew()
    assert licensed.look(DAY) == 0
    end = int(hooks.clock()) + 30 * DAY
    licensed.emit("LicenseRenewed", licensed.plan << 32 | 1, notAfter=end)
    assert licensed.look() == 0
    assert licensed.look(24 * DAY) == 1
    assert licensed.look(4 * DAY) == 0
    assert [each["data"]["not_after"] for each in receiver.bodies()][1] == end
    assert licensed.look(30 * DAY) == 0  # it has ended


def test_revoked_and_endless_licenses_are_not_told_of_and_suspended_ones_are(
    licensed, hooks, receiver
):
    hooks.add(receiver.url, days=30)
    licensed.issue(0)
    revoked, suspended = licensed.issue(10), licensed.issue(10)
    licensed.emit(
        "LicenseRevoked", revoked, by=b"\x01" * 20, effectiveAt=int(hooks.clock()) + 9 * DAY,
        reason=bytes(32),
    )  # fmt: skip
    licensed.emit("LicenseSuspended", suspended, reason=bytes(32))
    assert licensed.look() == 2
    told = [each["data"]["license"] for each in receiver.bodies()]
    assert told == [f"{licensed.plan}.1", f"{licensed.plan}.4"]


def test_a_reminder_of_long_ago_is_not_forgotten_while_its_term_runs(licensed, hooks, receiver):
    licensed.issue(90)
    hooks.add(receiver.url, days=100)
    assert licensed.look() == 2
    hooks.clock.time += 31 * DAY
    hooks.spreader.prune()
    assert licensed.look() == 0


def test_filters_and_days_are_each_endpoints_own(licensed, hooks, receivers):
    early, late, other, silent, mine = (receivers() for _ in range(5))
    hooks.add(early.url, days=30)
    hooks.add(late.url, days=1)
    hooks.add(other.url, days=30, models=["bb" * 32])
    hooks.add(silent.url, types=["event.applied"], days=30)
    hooks.add(mine.url, days=30, licenses=[str(licensed.plan << 32 | 1)])
    licensed.look()
    assert [len(each.got) for each in (early, late, other, silent, mine)] == [1, 0, 0, 0, 1]
    assert early.got[0][1] == mine.got[0][1]
    licensed.look(9 * DAY)
    assert [len(each.got) for each in (early, late, other, silent, mine)] == [1, 1, 0, 0, 1]
    assert late.got[0][0]["webhook-id"] == early.got[0][0]["webhook-id"]


def test_an_index_that_may_not_know_of_a_renewal_tells_of_no_end(licensed, hooks, receiver):
    hooks.add(receiver.url, days=30)
    assert licensed.look() == 1
    licensed.issue(10)
    hooks.clock.time += STALE_SECONDS + EVERY_SECONDS
    assert hooks.reminders.remind() == 0
    assert licensed.look() == 1


def test_many_are_told_of_each_once_though_processes_look_at_once_and_one_is_killed(
    licensed, hooks, receiver, monkeypatch
):
    hooks.add(receiver.url, days=30)
    for _ in range(4):
        licensed.issue(10)
    monkeypatch.setattr("ledger.webhooks.reminders._PAGE", 2)
    hooks.clock.time += EVERY_SECONDS + 1
    hooks.synced()
    page, calls = hooks.reminders._page, []

    def dies(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return page(*given)

    hooks.reminders._page = dies
    with pytest.raises(KeyboardInterrupt):
        hooks.reminders.remind()
    assert len(hooks.rows()) == 2
    hooks.renew()
    assert hooks.reminders.remind() == 3
    with writing(hooks.engine) as connection:
        place = importlib.import_module("ledger.index.webhook_tables").webhook_place
        connection.execute(update(place).values(reminded_at=0))
    assert hooks.reminders.remind() == 0
    assert len(hooks.rows()) == 5
