"""What is told, to whom, and that it is told once, whoever spreads it."""

from __future__ import annotations

import importlib
import threading
from typing import Any

import pytest
from sqlalchemy import select

from ledger.index.database import writing
from ledger.index.outbox import Outbox
from ledger.index.webhook_tables import webhook_message
from ledger.webhooks.filters import MISSED
from ledger.webhooks.keeping import origin_of

world: Any = importlib.import_module("webhook_world")
stories: Any = importlib.import_module("story_world")

BOTH = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)


def anchor(number: int) -> list[Any]:
    return [stories.emit("Anchors", "RootAnchored", root=bytes([number]) * 32, sender=bytes(20))]


def told(receiver: Any) -> list[Any]:
    """Types, and roots of anchors, of all that came."""
    return [
        (each["type"], each["data"].get("event", {}).get("arguments", {}).get("root", "")[2:4])
        for each in receiver.bodies()
    ]


def test_an_event_is_told_as_the_api_tells_it_and_signed(stand, hooks, receiver):
    endpoint, secret = hooks.add(receiver.url)
    stand.chain.grow(transactions=[anchor(1)])
    stand.catch_up()
    hooks.spread()
    assert hooks.send() == 1
    ((headers, body),) = receiver.got
    assert world.verify(secret, headers, body)
    assert not world.verify(secret, headers, body + b" ")
    assert not world.verify(secret, headers | {"webhook-id": "msg_0"}, body)
    assert not world.verify(secret, headers | {"webhook-timestamp": "1"}, body)
    message = receiver.bodies()[0]
    assert message["type"] == "event.applied"
    data, head = message["data"], stand.chain.head
    assert data["id"] == headers["webhook-id"]
    assert (data["as_of"]["block"], data["as_of"]["hash"]) == (
        head.number, "0x" + head.hash.hex(),
    )  # fmt: skip
    event = data["event"]
    assert (event["contract"], event["event"]) == ("Anchors", "RootAnchored")
    assert (event["block"], event["finality"]) == (head.number, "included")
    assert event["arguments"]["root"] == "0x" + "01" * 32
    assert event["subjects"] == ["0x" + "01" * 32]
    with stand.engine.connect() as connection:
        last = Outbox(stand.chain.chain_id).place(connection).last_seq
    assert data["sequence"] <= last
    (delivery,) = hooks.endpoints.deliveries(world.OWNER, endpoint.id)
    assert (delivery.state, delivery.attempts, delivery.last_status) == ("delivered", 1, 204)


def test_what_came_before_the_endpoint_is_not_told(stand, hooks, receivers):
    receiver, first = receivers(), receivers()
    hooks.add(first.url)
    stand.chain.grow(transactions=[anchor(1)])
    stand.catch_up()
    hooks.add(receiver.url)
    hooks.spread()
    assert hooks.send() == 1
    assert told(first) == [("event.applied", "01")]
    assert hooks.send() == 0
    stand.chain.grow(transactions=[anchor(2)])
    stand.catch_up()
    hooks.spread()
    hooks.send()
    assert told(receiver) == [("event.applied", "02")]


@BOTH
def test_a_reorganisation_takes_back_by_id_and_what_comes_again_has_another(stand, hooks, receiver):
    hooks.add(receiver.url)
    stand.chain.grow(transactions=[anchor(1)])
    stand.catch_up()
    hooks.spread()
    branch = stand.chain.reorg(1, 2, transactions=[anchor(2)])
    stand.catch_up()
    stand.chain.restore(branch)
    stand.chain.grow(3, transactions=[anchor(3)])
    stand.catch_up()
    hooks.spread()
    hooks.send()
    seen = receiver.bodies()
    first, gone = seen[0]["data"], [each["data"] for each in seen if "retracts" in each["data"]]
    assert gone[0]["retracts"] == first["id"]
    assert gone[0]["event"]["block_hash"] == first["event"]["block_hash"]
    assert {each["event"]["finality"] for each in gone} == {"retracted"}
    again = [
        each["data"]
        for each in seen[1:]
        if each["type"] == "event.applied"
        and each["data"]["event"]["block_hash"] == first["event"]["block_hash"]
    ]
    assert len(again) == 1
    assert again[0]["id"] != first["id"]
    ids = [each["data"]["id"] for each in seen]
    assert len(set(ids)) == len(ids)
    # Read in order, what was applied and not taken back is the journal.
    held: dict[str, Any] = {}
    for each in sorted(seen, key=lambda one: one["data"]["sequence"]):
        if "retracts" in each["data"]:
            del held[each["data"]["retracts"]]
        else:
            held[each["data"]["id"]] = each["data"]["event"]
    ours = [row for row in stand.chain.logs() if row[0] > 8]
    assert sorted((e["block"], e["log_index"], e["block_hash"]) for e in held.values()) == [
        (block, index, "0x" + hash_.hex()) for block, index, hash_, *_ in ours
    ]


def test_an_event_that_came_and_went_before_it_could_be_told_is_told_as_taken_back(
    stand, hooks, receiver
):
    hooks.add(receiver.url)
    stand.chain.grow(transactions=[anchor(1)])
    stand.catch_up()
    stand.chain.reorg(1, 2, transactions=[])
    stand.catch_up()
    hooks.spread()
    hooks.send()
    applied, retracted = receiver.bodies()
    assert applied["data"]["event"]["finality"] == "retracted"
    assert retracted["data"]["retracts"] == applied["data"]["id"]


def test_who_was_told_is_told_that_it_is_no_more_though_the_filter_no_longer_fits(
    stand, hooks, receivers
):
    told_of, other = receivers(), receivers()
    endpoint, _ = hooks.add(told_of.url)
    hooks.add(other.url, events=["LicenseRevoked"])
    stand.chain.grow(transactions=[anchor(1)])
    stand.catch_up()
    hooks.spread()
    hooks.endpoints.change(
        world.BY, world.OWNER, endpoint.id, {"filters": {"events": ["LicenseRevoked"]}},
        enabled=None,
    )  # fmt: skip
    stand.chain.reorg(1, 2, transactions=[anchor(2)])
    stand.catch_up()
    hooks.spread()
    hooks.send()
    assert [kind for kind, _ in told(told_of)] == ["event.applied", "event.retracted"]
    assert told(other) == []


def test_ids_are_those_of_an_index_that_is_built_again(stand, hooks, receiver, tmp_path):
    hooks.add(receiver.url)
    stand.chain.grow(3, transactions=[anchor(1), anchor(2)])
    stand.catch_up()
    hooks.spread()
    hooks.send()
    other = importlib.import_module("index_world").Stand(
        importlib.import_module("index_world").empty_sqlite(tmp_path / "again.db"), stand.chain
    )
    try:
        # Its outbox is another: what this chain began with was a backfill.
        other.catch_up()
        with other.engine.connect() as connection:
            origin = origin_of(connection, stand.chain.chain_id)
        for each in receiver.bodies():
            event = each["data"]["event"]
            hash_ = bytes.fromhex(event["block_hash"][2:])
            row = {"block_hash": hash_, "log_index": event["log_index"]}
            assert origin.event_id("applied", row, 0) == each["data"]["id"]
    finally:
        other.close()


def test_filters_let_through_what_they_say(stand, hooks, receiver):
    story = stand.chain.story
    # What the contracts hold is there before the events that tell of it.
    state = stand.chain.head.state
    life = [story.register(state, stand.chain.head.time + 12), story.plan(state, 0)]
    ((model, old),) = list(state.holders.items())[-1:]
    (plan,) = state.plans
    life.append(story.issue(state, 0)[1:2])
    license_ = plan << 32 | 1
    life.append([stories.emit("LicenseLedger", "LicenseRenewed", licenseId=license_, notAfter=3)])
    life.append(story.transfer_title(state, 0)[1:])
    new = state.holders[model]
    licensed = {"LicenseIssued", "LicenseRenewed"}
    every = {"ModelRegistered", "PlanCreated", *licensed, "TitleTransferred"}
    cases: list[tuple[dict[str, Any], set[Any]]] = [
        ({}, every),
        ({"events": ["LicenseIssued"]}, {"LicenseIssued"}),
        ({"licenses": [str(license_)]}, licensed),
        ({"models": [model.hex()]}, every),
        ({"licensors": [old.hex()]}, every),
        ({"licensors": [new.hex()]}, {"TitleTransferred"}),
        ({"licensors": ["33" * 20]}, set()),
        ({"models": ["bb" * 32], "licenses": [str(5 << 32)]}, set()),
        ({"models": [model.hex()], "events": ["TitleTransferred"]}, {"TitleTransferred"}),
        ({"types": ["event.finalized"]}, {None}),
    ]
    for number, (filters, _) in enumerate(cases):
        hooks.add(f"{receiver.url}&case={number}", **filters)
    for logs in life:
        stand.chain.grow(transactions=[logs])
    stand.chain.grow(8, transactions=[])
    stand.catch_up()
    hooks.spread()
    hooks.send()
    for number, (filters, wanted) in enumerate(cases):
        bodies = [told for path, told in receiver.paths if path.endswith(f"case={number}")]
        seen = {each["data"].get("event", {}).get("event") for each in bodies}
        assert seen == wanted, filters


@BOTH
def test_two_processes_that_spread_at_once_tell_everything_once(stand, hooks, receiver, tmp_path):
    hooks.add(receiver.url)
    stand.chain.grow(40, transactions=[anchor(n) for n in range(1, 16)])
    stand.catch_up()
    others = [world.Hooks(stand.engine, stand.chain.chain_id, tmp_path) for _ in range(3)]
    faults: list[Exception] = []

    def run(one: Any) -> None:
        try:
            one.spread()
        except Exception as error:  # noqa: BLE001  told by the main thread
            faults.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not faults
    rows = hooks.rows()
    assert len(rows) == 600
    assert [row.number for row in rows] == list(range(1, 601))
    with stand.engine.connect() as connection:
        sequences = connection.execute(
            select(webhook_message.c.sequence).order_by(webhook_message.c.sequence)
        ).scalars()
        found = list(sequences)
    assert found == list(range(found[0], found[0] + 600))


def test_what_the_outbox_has_forgotten_is_not_passed_over_in_silence(stand, hooks, receiver):
    hooks.add(receiver.url, events=["LicenseRevoked"])
    stand.chain.grow(transactions=[anchor(1), anchor(3)])
    stand.catch_up()
    with writing(stand.engine) as connection:
        assert Outbox(stand.chain.chain_id).prune(connection, 1 << 62) > 0
    stand.chain.grow(transactions=[anchor(2)])
    stand.catch_up()
    hooks.spread()
    hooks.send()
    (message,) = receiver.bodies()
    assert message["type"] == MISSED
    assert message["data"]["resumed_at"] > message["data"]["after"]


@BOTH
def test_what_is_done_with_is_forgotten_and_what_waits_is_not(stand, hooks, receivers):
    taking, down = receivers(), receivers()
    hooks.add(taking.url)
    hooks.add(down.url)
    down.answers = [500] * 99
    stand.chain.grow(transactions=[anchor(1)])
    stand.catch_up()
    hooks.spread()
    hooks.send()
    hooks.spreader.prune()
    assert len(hooks.rows()) == 2
    hooks.clock.time += 31 * 86_400
    hooks.spreader.prune()
    assert [row.state for row in hooks.rows()] == ["waiting"]
    with stand.engine.connect() as connection:
        assert len(connection.execute(select(webhook_message)).all()) == 1
