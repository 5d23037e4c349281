"""Attempts: again and again with longer pauses, one process at a time, and nothing lost."""

from __future__ import annotations

import asyncio
import base64
import importlib
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from ledger.access.roles import OPERATOR
from ledger.access.store import AccessStore
from ledger.ids import Address
from ledger.index.database import writing
from ledger.index.given import telling
from ledger.index.webhook_tables import webhook_endpoint
from ledger.webhooks.keys import KeyRing
from ledger.webhooks.rights import Rights
from ledger.webhooks.sending import DISABLED_AFTER, KEYLESS, PAUSES
from ledger.webhooks.worker import Worker

world: Any = importlib.import_module("webhook_world")
stories: Any = importlib.import_module("story_world")

BOTH = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
DAY = 86_400
OTHER = "account:0x00000000000000000000000000000000000000b1"


def happen(stand: Any, hooks: Any, number: int) -> None:
    """So many events, spread."""
    for _ in range(number):
        root, sender = stand.chain.rng.randbytes(32), bytes(20)
        log = stories.emit("Anchors", "RootAnchored", root=root, sender=sender)
        stand.chain.grow(transactions=[[log]])
    stand.catch_up()
    hooks.spread()


def state(hooks: Any, id_: str) -> Any:
    return hooks.endpoints.get(world.OWNER, id_)


def test_what_is_not_taken_comes_again_with_longer_pauses_and_dies_at_last(stand, hooks, receiver):
    endpoint, _ = hooks.add(receiver.url)
    receiver.answers = [500] * 99
    happen(stand, hooks, 1)
    for pause in PAUSES:
        assert hooks.send() == 1
        hooks.clock.time += pause - 1
        assert hooks.send() == 0
        hooks.clock.time += 1
    assert hooks.send() == 1
    hooks.clock.time += 10 * DAY
    assert hooks.send() == 0
    (dead,) = hooks.endpoints.deliveries(world.OWNER, endpoint.id, state="dead")
    assert (dead.attempts, dead.last_status, dead.trouble) == (54, 500, "HTTP 500")
    assert sum(PAUSES) > DAY
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert len({body for _, body in receiver.got}) == 1
    assert (state(hooks, endpoint.id).dead, state(hooks, endpoint.id).enabled) == (1, True)
    receiver.answers = []
    again = hooks.endpoints.retry(world.OWNER, endpoint.id, dead.message)
    assert (again.state, again.attempts) == ("waiting", 0)
    assert hooks.send() == 1
    assert hooks.endpoints.deliveries(world.OWNER, endpoint.id)[0].state == "delivered"


def test_a_pause_is_longer_by_chance_and_never_shorter(hooks):
    hooks.sending._chance = lambda: 0.999
    assert PAUSES[0] < hooks.sending._pause(1) <= PAUSES[0] * 1.2
    hooks.sending._chance = lambda: 0.0
    assert hooks.sending._pause(1) == PAUSES[0]
    assert hooks.sending._pause(99) == PAUSES[-1]


def test_a_target_that_is_down_for_a_day_loses_nothing_and_gets_it_in_order(
    stand, hooks, receivers
):
    down = receivers()
    url, port = down.url, down.port
    endpoint, _ = hooks.add(url)
    down.close()
    happen(stand, hooks, 3)
    begun = hooks.clock.time
    while hooks.clock.time < begun + DAY:
        if hooks.clock.time == begun + 3600:
            happen(stand, hooks, 3)
        hooks.send()
        hooks.clock.time += 1800
    failing = state(hooks, endpoint.id)
    assert failing.enabled
    assert failing.failing_since == begun
    assert failing.waiting == 6
    up = receivers(port)
    hooks.renew()  # as after a restart meanwhile
    back = hooks.clock.time
    while not (taken := hooks.send()):
        hooks.clock.time += 60
    # Within the hour, and with the first all that wait, though their own pauses are not over.
    assert hooks.clock.time - back <= 3600
    assert taken == 6
    sequences = [each["data"]["sequence"] for each in up.bodies()]
    # The first is the one whose turn it was; it ends the outage, and the others come in order.
    assert sequences[1:] == sorted(sequences[1:])
    assert len(set(sequences)) == 6
    found = state(hooks, endpoint.id)
    assert (found.waiting, found.dead, found.failures, found.failing_since) == (0, 0, 0, None)


def test_one_message_that_is_not_taken_holds_up_no_other(stand, hooks, receiver):
    hooks.add(receiver.url)
    happen(stand, hooks, 3)
    receiver.answers = [400]
    hooks.send()
    hooks.clock.time += PAUSES[0]
    hooks.send()
    ids = [headers["webhook-id"] for headers, _ in receiver.got]
    assert ids == [ids[0], ids[0], *ids[2:]]
    receiver.got.clear()
    happen(stand, hooks, 2)
    receiver.answers = [400]
    hooks.send()
    first = receiver.got[0][0]["webhook-id"]
    with writing(stand.engine) as connection:
        # Its pause is longer than the endpoint's rest.
        made = importlib.import_module("ledger.index.webhook_tables").webhook_delivery
        connection.execute(update(made).where(made.c.message == first).values(next_at_ms=1 << 60))
    hooks.clock.time += PAUSES[0]
    assert hooks.send() == 1
    assert [row.state for row in hooks.rows()].count("waiting") == 1


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("7200", 7200),
        ("999999999999", DAY),
        ("nonsense", PAUSES[0]),
        ("-5", PAUSES[0]),
        ("Thu, 01 Jan 1970 00:00:00 GMT", PAUSES[0]),
    ],
)
def test_retry_after_is_heeded_up_to_a_day(stand, hooks, receiver, text, wait):
    hooks.add(receiver.url)
    receiver.answers = [(503, {"Retry-After": text})]
    happen(stand, hooks, 2)
    assert hooks.send() == 1
    hooks.clock.time += wait - 1
    assert hooks.send() == 0
    hooks.clock.time += 1
    assert hooks.send() == 2


def test_410_disables_and_what_waits_comes_when_it_is_enabled(stand, hooks, receiver):
    endpoint, _ = hooks.add(receiver.url)
    receiver.answers = [410]
    happen(stand, hooks, 2)
    assert hooks.send() == 1
    found = state(hooks, endpoint.id)
    assert (found.enabled, found.reason, found.waiting, found.dead) == (
        False, "it answered 410: gone", 1, 1,
    )  # fmt: skip
    assert found.disabled_at == hooks.clock.time
    hooks.clock.time += 10 * DAY
    assert hooks.send() == 0
    happen(stand, hooks, 1)  # while it is disabled: not for it
    hooks.endpoints.change(world.BY, world.OWNER, endpoint.id, {}, enabled=True)
    assert hooks.send() == 1
    assert state(hooks, endpoint.id).reason == ""
    happen(stand, hooks, 1)
    assert hooks.send() == 1


def test_who_takes_nothing_for_days_is_disabled(stand, hooks, receiver):
    endpoint, _ = hooks.add(receiver.url)
    receiver.answers = [500] * 999
    happen(stand, hooks, 1)
    hooks.send()
    hooks.clock.time += DISABLED_AFTER - 1
    assert hooks.send() == 1
    assert state(hooks, endpoint.id).enabled
    hooks.clock.time += 3600
    assert hooks.send() == 1
    found = state(hooks, endpoint.id)
    assert (found.enabled, found.reason) == (False, "it took nothing for 5 days")


@BOTH
def test_of_two_processes_one_sends_to_an_endpoint(stand, hooks, receivers, tmp_path):
    taking = [receivers() for _ in range(3)]
    for each in taking:
        hooks.add(each.url)
    happen(stand, hooks, 10)
    others = [world.Hooks(stand.engine, stand.chain.chain_id, tmp_path) for _ in range(3)]
    for each in others:
        each.clock = hooks.clock
    faults: list[BaseException] = []

    def run(one: Any) -> None:
        try:
            for _ in range(20):
                one.send()
        except BaseException as error:  # noqa: BLE001  told by the main thread
            faults.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not faults
    for each in taking:
        sequences = [told["data"]["sequence"] for told in each.bodies()]
        assert len(sequences) == 10
        assert sequences == sorted(set(sequences))


def test_a_claim_that_ran_out_is_anothers_and_a_late_result_counts_for_nothing(
    stand, hooks, receiver, tmp_path
):
    hooks.add(receiver.url)
    happen(stand, hooks, 1)
    other = world.Hooks(stand.engine, stand.chain.chain_id, tmp_path)
    other.clock = other.index.now = hooks.clock
    (id_,) = hooks.sending.claim()
    due = hooks.sending.next(id_)
    assert other.sending.claim() == []
    hooks.clock.time += hooks.way.seconds + 5.1
    assert other.sending.claim() == [id_]
    sent = importlib.import_module("ledger.remote.posting").Sent(204)
    assert not hooks.sending.record(due, sent)
    assert hooks.sending.next(id_) is None
    hooks.sending.release(id_)
    assert other.sending.next(id_) is not None


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import webhook_world as world
from ledger.index.database import open_database
hooks = world.Hooks(open_database(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
(id_,) = hooks.sending.claim()
due = hooks.sending.next(id_)
assert asyncio.run(hooks.sending.attempt(due)).status == 204
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_killed_between_sending_and_recording_sends_it_again_under_its_id(
    stand, hooks, receiver, tmp_path, database_url
):
    endpoint, _ = hooks.add(receiver.url)
    happen(stand, hooks, 1)
    worlds = str(Path(world.__file__).parent)
    (tmp_path / "other").mkdir()
    ran = subprocess.run(
        [
            sys.executable, "-c", KILLED, worlds, database_url, str(stand.chain.chain_id),
            str(tmp_path / "other"),
        ],
        cwd=Path(world.__file__).parents[2], check=False, timeout=60,
    )  # fmt: skip
    assert ran.returncode == -signal.SIGKILL
    assert len(receiver.got) == 1
    assert hooks.send() == 0  # its claim holds
    hooks.clock.time += hooks.way.seconds + 6
    assert hooks.send() == 1
    assert receiver.got[0][0]["webhook-id"] == receiver.got[1][0]["webhook-id"]
    assert receiver.got[0][1] == receiver.got[1][1]
    assert state(hooks, endpoint.id).waiting == 0


def test_while_a_secret_is_replaced_both_sign_and_then_the_new_one_alone(stand, hooks, receiver):
    endpoint, old = hooks.add(receiver.url)
    changed, new = hooks.endpoints.rotate(world.BY, world.OWNER, endpoint.id, keep_hours=24)
    assert changed.old_secret_until == hooks.clock.time + DAY
    happen(stand, hooks, 1)
    hooks.send()
    ((headers, body),) = receiver.got
    assert headers["webhook-signature"].count("v1,") == 2
    assert world.verify(old, headers, body)
    assert world.verify(new, headers, body)
    hooks.clock.time += DAY
    happen(stand, hooks, 1)
    hooks.send()
    headers, body = receiver.got[1]
    assert world.verify(new, headers, body)
    assert not world.verify(old, headers, body)
    _, newest = hooks.endpoints.rotate(world.BY, world.OWNER, endpoint.id, keep_hours=0)
    happen(stand, hooks, 1)
    hooks.send()
    headers, body = receiver.got[2]
    assert world.verify(newest, headers, body)
    assert not world.verify(new, headers, body)


def test_a_new_key_of_the_service_leaves_endpoints_theirs_until_they_rotate(stand, hooks, receiver):
    endpoint, old = hooks.add(receiver.url)
    first = hooks.path.read_text()
    hooks.path.write_text("3c" * 32 + "\n" + first)
    hooks.renew()
    happen(stand, hooks, 1)
    hooks.send()
    assert world.verify(old, *receiver.got[0])
    hooks.path.write_text("3c" * 32 + "\n")
    hooks.renew()
    happen(stand, hooks, 1)
    assert hooks.send() == 1
    assert len(receiver.got) == 1
    (waiting,) = hooks.endpoints.deliveries(world.OWNER, endpoint.id, state="waiting")
    assert (waiting.trouble, waiting.attempts) == (KEYLESS, 0)
    _, new = hooks.endpoints.rotate(world.BY, world.OWNER, endpoint.id)
    hooks.clock.time += 10
    hooks.send()
    assert world.verify(new, *receiver.got[1])


def test_nothing_that_signs_is_in_the_database(stand, hooks, receiver, database_url):
    endpoint, secret = hooks.add(receiver.url)
    ring = KeyRing.read(hooks.path)
    assert world.KEY not in repr(ring)
    with stand.engine.connect() as connection:
        held = repr(connection.execute(select(webhook_endpoint)).all())
    stand.engine.dispose()
    path = Path(database_url.removeprefix("sqlite:///"))
    files = b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))
    assert endpoint.id.encode() in files
    key = base64.b64decode(secret.removeprefix("whsec_"))
    for each in (key, secret.removeprefix("whsec_").encode(), world.KEY.encode()):
        assert each not in files
    assert secret.removeprefix("whsec_") not in held


def test_a_worker_sends_and_is_gone_at_once_when_it_is_told_to_stop(stand, hooks, receivers):
    slow, taking = receivers(), receivers()
    release = threading.Event()
    slow.before = lambda _: release.wait(60)
    stuck, _ = hooks.add(slow.url)
    quick, _ = hooks.add(taking.url)
    worker = Worker(hooks.spreader, hooks.reminders, hooks.sending, hooks.rights)
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        happen(stand, hooks, 2)
        # One that is slow holds up no other.
        taking.next()
        taking.next()
        slow.next()
        # Told to stop before it has noted the second, it would send that again.
        world.until(lambda: state(hooks, quick.id).waiting == 0)
        stop.set()
        thread.join(hooks.way.seconds - 5)
        assert not thread.is_alive()
        # The claim was given back, so the next start need not wait for it to run out.
        slow.before = None
        release.set()
        assert hooks.send() == 2
        assert state(hooks, stuck.id).waiting == 0
        assert worker.counts["delivered"] >= 2
    finally:
        stop.set()
        release.set()
        thread.join(20)


@BOTH
def test_an_owner_of_many_endpoints_leaves_places_for_others(stand, hooks, receiver):
    for _ in range(20):
        hooks.add(receiver.url)
    theirs, _ = hooks.add(receiver.url, owner=OTHER)
    happen(stand, hooks, 1)
    first = hooks.sending.claim(16)
    assert len(first) == 9
    assert theirs.id in first[:2]
    # Nobody else waits, and what is left stays free for who comes next.
    assert hooks.sending.claim(7) == []
    third, _ = hooks.add(receiver.url, owner=OTHER[:-1] + "2")
    happen(stand, hooks, 1)
    assert hooks.sending.claim(7) == [third.id]


def test_the_next_place_is_of_the_owner_who_was_served_the_longest_ago(stand, hooks, receivers):
    ours = [hooks.add(receivers().url)[0].id for _ in range(3)]
    theirs, _ = hooks.add(receivers().url, owner=OTHER)
    happen(stand, hooks, 3)
    turns = []
    for _ in range(6):
        hooks.clock.time += 1
        (id_,) = hooks.sending.claim(1)
        turns.append(id_)
        due = hooks.sending.next(id_)
        assert hooks.sending.record(due, asyncio.run(hooks.sending.attempt(due)))
        hooks.sending.release(id_)
    # In turn, whoever begins, though one of them has three times as many.
    assert [each == theirs.id for each in turns] in ([True, False] * 3, [False, True] * 3)
    assert {each for each in turns if each != theirs.id} == set(ours)


def test_a_receiver_for_which_much_is_due_gives_its_place_back_in_between(
    stand, hooks, receivers, monkeypatch
):
    monkeypatch.setattr("ledger.webhooks.worker.MOST", 1)
    monkeypatch.setattr("ledger.webhooks.worker.SLICE_SECONDS", 0.0)
    order: list[str] = []
    for name, owner in (("busy", world.OWNER), ("other", OTHER)):
        one = receivers()
        one.before = lambda _, name=name: order.append(name)
        hooks.add(one.url, owner=owner)
    happen(stand, hooks, 3)
    both = (Address.parse(each.removeprefix("account:").lower()) for each in (world.OWNER, OTHER))
    access = AccessStore(
        stand.engine, stand.chain.chain_id, {OPERATOR: frozenset(both)}, hooks.clock
    )
    rights = Rights(hooks.index, access)
    worker = Worker(hooks.spreader, hooks.reminders, hooks.sending, rights)
    ticking = hooks.sending.record

    def record(*given: Any) -> bool:
        hooks.clock.time += 1
        return ticking(*given)

    monkeypatch.setattr(hooks.sending, "record", record)
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        world.until(lambda: len(order) == 6)
    finally:
        stop.set()
        thread.join(20)
    assert order in (["busy", "other"] * 3, ["other", "busy"] * 3)


def test_a_worker_that_looks_seldom_is_woken_by_what_was_committed_and_by_a_stop(
    stand, hooks, receiver, monkeypatch
):
    monkeypatch.setattr("ledger.webhooks.worker.LOOK_SECONDS", 3600.0)
    hooks.add(receiver.url)
    worker = Worker(hooks.spreader, hooks.reminders, hooks.sending, hooks.rights)
    worker.wake()  # before it runs
    stand.follower.around = telling(stand.follower.around, worker.wake)
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        for _ in range(3):
            log = stories.emit(
                "Anchors", "RootAnchored", root=stand.chain.rng.randbytes(32), sender=bytes(20)
            )
            stand.chain.grow(transactions=[[log]])
            stand.catch_up()
            receiver.next("event.applied")
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()
    worker.wake()  # after it ended


def test_no_secret_and_no_path_is_in_the_log(stand, hooks, receiver, caplog):
    caplog.set_level("DEBUG")
    endpoint, secret = hooks.add(receiver.url)
    receiver.answers = [500]
    worker = Worker(hooks.spreader, hooks.reminders, hooks.sending, hooks.rights)
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    happen(stand, hooks, 1)
    world.until(lambda: state(hooks, endpoint.id).failures == 1)
    stop.set()
    thread.join(20)
    ours = "".join(r.getMessage() for r in caplog.records if not r.name.startswith("httpx"))
    assert "webhook not taken" in ours
    for each in ("hunter2", secret.removeprefix("whsec_"), world.KEY):
        assert each not in ours
