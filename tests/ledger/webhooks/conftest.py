"""Webhooks over a chain of the test's own making, on SQLite unless a test names both databases."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.index.database import open_database

world: Any = importlib.import_module("webhook_world")
stories: Any = importlib.import_module("story_world")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A PostgreSQL server of this process's own, and a database with the tables made, to copy."""
    with importlib.import_module("postgres_world").server() as server:
        template = server.fresh()
        open_database(server.url(template)).dispose()
        yield server, template


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    """Which database a test runs on; tests of what differs name both."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def database_url(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Iterator[str]:
    """An empty index database."""
    if database == "sqlite":
        yield importlib.import_module("index_world").empty_sqlite(tmp_path / "index.db")
        return
    server, template = request.getfixturevalue("postgres")
    name = server.fresh(template)
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def stand(database_url: str) -> Iterator[Any]:
    """A chain, a follower of it, and an index that has read a few blocks."""
    chain = importlib.import_module("chain_world").Chain(final_depth=6, strangers=0)
    found = importlib.import_module("index_world").Stand(database_url, chain)
    found.chain.grow(7, transactions=[])
    # One that is not final yet: events of a first backfill get no entries in the outbox.
    log = stories.emit("Anchors", "RootAnchored", root=b"0" * 32, sender=bytes(20))
    found.chain.grow(transactions=[[log]])
    found.catch_up()
    yield found
    found.close()


@pytest.fixture
def hooks(stand: Any, tmp_path: Path) -> Any:
    """Its webhooks: ``webhook_world.Hooks``."""
    return world.Hooks(stand.engine, stand.chain.chain_id, tmp_path)


@pytest.fixture
def receivers() -> Iterator[Any]:
    """Makes receivers, gone with the test."""
    made: list[Any] = []

    def make(port: int = 0) -> Any:
        made.append(world.Receiver(port))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def receiver(receivers: Any) -> Any:
    """One receiver."""
    return receivers()
