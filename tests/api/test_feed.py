"""Many listeners at once: what they read of the database, and who keeps whom waiting."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest
from sqlalchemy import event

from api import feed as feeds
from api.feed import Feed
from ledger.errors import IndexUnavailable
from ledger.ids import ZERO_DIGEST
from ledger.index import tables
from ledger.index.database import open_database, writing
from ledger.index.journal import Journal
from ledger.index.outbox import OutboxPlace
from ledger.index.views import Index
from ledger.index.watching import watch_of

CHAIN = 31337
ENTRIES = 3000


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """An index whose outbox holds `ENTRIES` entries about final blocks."""
    engine = open_database(f"sqlite:///{tmp_path_factory.mktemp('feed') / 'index.db'}")
    with writing(engine) as connection:
        deployment = {"Anchors": "0x" + "aa" * 20}
        Journal(CHAIN).pin(connection, genesis=ZERO_DIGEST, deployment=deployment, first=1)
    grow(engine, 1, ENTRIES)
    yield Index(engine, CHAIN)
    engine.dispose()


def grow(engine, first, last):
    with writing(engine) as connection:
        rows = [
            {
                "chain_id": CHAIN, "seq": n, "kind": "finalized", "block": n, "log_index": None,
                "block_hash": None, "event": "", "subjects": b"", "created_at_ms": 0,
            }
            for n in range(first, last + 1)
        ]  # fmt: skip
        connection.execute(tables.outbox.insert(), rows)
        connection.execute(tables.outbox_place.delete())
        place = dict.fromkeys(OutboxPlace.__dataclass_fields__, 0) | {"last_seq": last}
        connection.execute(tables.outbox_place.insert(), {"chain_id": CHAIN, **place})


@contextlib.contextmanager
def watched(engine):
    """Counts pages that are read, and the most connections that are in use at once."""
    seen = {"pages": 0, "now": 0, "most": 0}
    lock = threading.Lock()

    def ran(_connection, _cursor, statement, *_):
        if "FROM outbox \n" in statement:
            with lock:
                seen["pages"] += 1

    def out(*_):
        with lock:
            seen["now"] += 1
            seen["most"] = max(seen["most"], seen["now"])

    def back(*_):
        with lock:
            seen["now"] -= 1

    named = (
        (engine, "before_cursor_execute", ran),
        (engine, "checkout", out),
        (engine, "checkin", back),
    )
    for each in named:
        event.listen(*each)
    try:
        yield seen
    finally:
        for each in named:
            event.remove(*each)


async def read(feed, after, count, **more):
    """The numbers of the first `count` entries after `after`."""
    found = []
    async with contextlib.aclosing(feed.listen(after, silence=5, **more)) as entries:
        async for told in entries:
            if told is not None:
                found.append(told.seq)
            if len(found) == count:
                return found
    return found


def feed_of(index):
    return Feed(index, watch_of(index.engine, index.chain_id))


def test_a_page_that_many_want_at_once_is_read_once(index):
    async def go():
        feed = feed_of(index)
        with watched(index.engine) as seen:
            found = await asyncio.gather(*(read(feed, ENTRIES - 100, 100) for _ in range(200)))
        assert found == [list(range(ENTRIES - 99, ENTRIES + 1))] * 200
        return seen["pages"]

    assert asyncio.run(go()) == 1


def test_listeners_who_read_all_that_was_take_few_connections_and_hold_up_no_news(index):
    """From places of their own, so that no page serves two of them."""

    async def go():
        feed = feed_of(index)
        with watched(index.engine) as seen:
            old = [asyncio.create_task(read(feed, n, 2000)) for n in range(24)]
            await asyncio.sleep(0)
            start = await feed.begin(ENTRIES - 5)
            assert await read(feed, start, 5) == list(range(ENTRIES - 4, ENTRIES + 1))
            done = sum(task.done() for task in old)
            await asyncio.gather(*old)
        return seen["most"], done

    most, done = asyncio.run(go())
    assert most <= 3
    assert done < 12


def test_listeners_beyond_the_limits_are_sent_away(index, monkeypatch):
    monkeypatch.setattr(feeds, "MAX_LISTENERS", 5)
    monkeypatch.setattr(feeds, "MAX_OF_NETWORK", 2)

    async def go():
        feed = feed_of(index)
        held = []

        async def hold(network=None):
            listening = feed.listen(0, silence=5, network=network)
            held.append(listening)
            return await anext(listening, None)

        assert [await hold("a/24") is not None for _ in range(3)] == [True, True, False]
        with pytest.raises(IndexUnavailable, match="2 others of this network"):
            await feed.begin(None, network="a/24")
        assert [await hold("b/24") is not None for _ in range(2)] == [True, True]
        assert [await hold() is not None for _ in range(2)] == [True, False]
        with pytest.raises(IndexUnavailable, match="5 others"):
            await feed.begin(None)
        for listening in held:
            await listening.aclose()
        assert feed.listeners == 0
        assert await feed.begin(None, network="a/24") == ENTRIES
        assert await hold("a/24")
        await held[-1].aclose()

    asyncio.run(go())


def test_a_page_that_could_not_be_read_is_read_again_for_the_next_who_wants_it(index, monkeypatch):
    async def go():
        feed = feed_of(index)
        real = feed._read

        def broken(after, limit):
            raise IndexUnavailable("gone")

        monkeypatch.setattr(feed, "_read", broken)
        assert await asyncio.gather(*(read(feed, 0, 10) for _ in range(5))) == [[]] * 5
        monkeypatch.setattr(feed, "_read", real)
        assert await read(feed, 0, 10) == list(range(1, 11))

    asyncio.run(go())
