"""Webhooks on both databases, over a chain of the test's own making."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.index.database import open_database

world: Any = importlib.import_module("webhook_world")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A PostgreSQL server of this process's own, and a database with the tables made, to copy."""
    with importlib.import_module("postgres_world").server() as server:
        template = server.fresh()
        open_database(server.url(template)).dispose()
        yield server, template


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty index database, of each kind that the index runs on."""
    if request.param == "sqlite":
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
    found.chain.grow(8)
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
