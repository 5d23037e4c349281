"""A mark is never older than the question for it."""

from __future__ import annotations

import asyncio
import importlib
import os
from typing import Any

import pytest
from sqlalchemy import text

from ledger.errors import IndexUnavailable
from ledger.ids import Digest
from ledger.index import library
from ledger.index.database import open_database, writing
from ledger.index.watching import mark_in, watch_of

servers: Any = importlib.import_module("postgres_world")


async def mark_of(watch):
    return watch.look() or await watch.ask()


def beat(engine, number):
    """A commit that the mark shows."""
    with writing(engine, durable=False) as connection:
        connection.execute(text("UPDATE cursor SET synced_at_ms = :n"), {"n": number})


def test_a_question_is_answered_with_every_commit_before_it(stand):
    stand.chain.grow(3)
    stand.catch_up()

    async def ask():
        watch = watch_of(stand.engine, stand.chain.chain_id)
        beat(stand.engine, 0)
        try:
            for number in range(1, 80):
                # Others ask already, and their question is on its way.
                others = [asyncio.create_task(mark_of(watch)) for _ in range(3)]
                for _ in range(number % 4):
                    await asyncio.sleep(0)
                beat(stand.engine, number)
                assert (await mark_of(watch)).synced_at_ms == number
                assert {(await each).synced_at_ms for each in others} <= {number - 1, number}
        finally:
            watch.close()

    asyncio.run(ask())


def test_what_was_written_before_a_question_and_committed_after_it_is_told_by_the_next(stand):
    stand.chain.grow(3)
    stand.catch_up()

    async def ask():
        watch = watch_of(stand.engine, stand.chain.chain_id)
        try:
            beat(stand.engine, 1)
            for number in range(2, 9):
                with writing(stand.engine, durable=False) as connection:
                    connection.execute(text("UPDATE cursor SET synced_at_ms = :n"), {"n": number})
                    for _ in range(2):
                        assert (await mark_of(watch)).synced_at_ms == number - 1
                found = await mark_of(watch)
                assert found.synced_at_ms == number
                # Others' work moves nothing, and is not taken for ours.
                with writing(stand.engine, durable=False) as connection:
                    connection.execute(text("UPDATE library_place SET id = id"))
                assert await mark_of(watch) == found
        finally:
            watch.close()

    asyncio.run(ask())


def test_a_mark_tells_blocks_reorganisations_documents_and_rebuilds(stand):
    chain = stand.chain
    chain.grow(4)
    stand.catch_up()

    async def ask():
        watch = watch_of(stand.engine, chain.chain_id)
        try:
            found = [await mark_of(watch)]
            assert found[0].state.last_hash == chain.head.hash
            chain.grow(1)
            stand.catch_up()
            found.append(await mark_of(watch))
            assert found[-1].state.next_block == found[-2].state.next_block + 1
            assert found[-1].last_seq > found[-2].last_seq
            chain.reorg(1)
            stand.catch_up()
            found.append(await mark_of(watch))
            assert found[-1].state.next_block == found[-2].state.next_block
            with writing(stand.engine) as connection:
                name = Digest(bytes(32))
                library.put_document(connection, "manifest", name, {}, complete=True, now_ms=1)
            found.append(await mark_of(watch))
            assert found[-1].deposits == found[-2].deposits + 1
            stand.follower.take_over()
            found.append(await mark_of(watch))
            assert found[-1].state.epoch > found[-2].state.epoch
            assert len({mark.page for mark in found}) == len(found)
            with stand.engine.connect() as connection:
                assert mark_in(connection, chain.chain_id) == found[-1]
        finally:
            watch.close()

    asyncio.run(ask())


def test_a_database_that_holds_nothing_of_the_chain_has_no_mark(database_url):
    engine = open_database(database_url)

    async def ask():
        watch = watch_of(engine, 1)
        try:
            for _ in range(2):
                with pytest.raises(IndexUnavailable):
                    await mark_of(watch)
        finally:
            watch.close()

    asyncio.run(ask())
    engine.dispose()


def test_a_watch_behind_a_pooler_sees_every_commit(postgres):
    world: Any = importlib.import_module("index_world")
    name = postgres.fresh()
    try:
        with servers.bouncer(postgres) as folder:
            stand = world.Stand(postgres.url(name, host=folder, port=6432))
            stand.chain.grow(3)
            stand.catch_up()

            async def ask():
                watch = watch_of(stand.engine, stand.chain.chain_id)
                for number in range(1, 30):
                    beat(stand.engine, number)
                    assert (await mark_of(watch)).synced_at_ms == number
                watch.close()

            asyncio.run(ask())
            stand.close()
    except LookupError as error:
        # Where the project's own set-up ran there is one.
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
