"""The index behind PgBouncer in transaction mode: each transaction may have another connection."""

from __future__ import annotations

import importlib
import os
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from ledger.errors import Fenced
from ledger.index import listing
from ledger.index.database import open_database
from ledger.index.views import Index

world: Any = importlib.import_module("index_world")
chaos: Any = importlib.import_module("chaos_world")
servers: Any = importlib.import_module("postgres_world")


@pytest.fixture
def pooled(postgres):
    """The URL of an empty database, through PgBouncer."""
    name = postgres.fresh()
    try:
        with servers.bouncer(postgres) as folder:
            yield postgres.url(name, host=folder, port=6432)
    except LookupError as error:
        # Where the project's own set-up ran there is one.
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


def test_an_index_behind_a_pooler_is_made_and_follows_and_goes_back_and_is_read(pooled):
    stand = world.Stand(pooled)
    stand.chain.grow(30)
    stand.catch_up()
    stand.chain.reorg(5, 8)
    stand.catch_up()
    stand.check()
    with Index(stand.engine, stand.chain.chain_id).snapshot() as snapshot:
        assert len(listing.models(snapshot)) == len(stand.chain.head.state.models)
    assert stand.errors == []
    stand.close()


def test_followers_that_take_turns_behind_a_pooler_leave_the_rows_of_one(pooled):
    stand = world.Stand(pooled)
    engines = [open_database(pooled) for _ in range(3)]
    followers = [stand.new_follower(engine=engine) for engine in engines]
    for turn in range(30):
        stand.chain.grow(1)
        follower = followers[turn % 3]
        try:
            follower.step()
        except Fenced:
            follower.take_over()
    stand.catch_up()
    stand.check()
    for engine in engines:
        engine.dispose()
    stand.close()


def test_three_processes_race_behind_a_pooler(pooled):
    stand = world.Stand(pooled)
    stand.chain.grow(3)
    children = [chaos.Child(stand, silent_ms=100) for _ in range(3)]
    chaos.wait_quiet(stand)
    for _ in range(10):
        stand.chain.grow(3)
        stand.chain.reorg(2)
        children.pop(0).kill()
        children.append(chaos.Child(stand, silent_ms=100))
    chaos.wait_quiet(stand)
    for child in children:
        child.kill()
    stand.check()
    stand.close()


def test_prepared_statements_would_not_survive_the_pooler(pooled):
    """Why `open_database` switches them off: one client would run another's statement."""
    address = {**make_url(pooled).query, "user": "deed", "dbname": make_url(pooled).database}

    def wrong(threshold: int | None) -> int:
        """Answers that are another client's, or none at all."""
        clients = [psycopg.connect(**address, prepare_threshold=threshold) for _ in range(2)]
        found = 0
        for _ in range(5):
            for number, client in enumerate(clients):
                try:
                    row = client.execute(f"SELECT {number} + %s", (1,)).fetchone()
                    found += row != (number + 1,)
                except psycopg.Error:
                    found += 1
            for client in clients:
                client.commit()
        for client in clients:
            client.close()
        return found

    assert wrong(0) > 0
    engine = open_database(pooled)
    with engine.connect() as connection:
        assert connection.connection.dbapi_connection.prepare_threshold is None
    engine.dispose()
    assert wrong(None) == 0
