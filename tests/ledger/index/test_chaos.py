"""At random: reorganisations, kills, frozen processes, lies and broken wires, three followers.

In CI each seed has at least 500 events. ``make chaos`` goes on, seed after seed, for
``DEED_CHAOS_SECONDS``. After every quiet moment and at the end the oracle is asked.
"""

from __future__ import annotations

import importlib
import os
import time
from typing import Any

import pytest

world: Any = importlib.import_module("index_world")
chains: Any = importlib.import_module("chain_world")
chaos: Any = importlib.import_module("chaos_world")

SECONDS = float(os.environ.get("DEED_CHAOS_SECONDS", "0"))
EVENTS = 500


def run(url: str, seed: int, disturb: list[Any]) -> None:
    print(f"seed {seed}")
    stand = world.Stand(url, chains.Chain(seed, strangers=(0.0, 0.3)[seed % 2]))
    stand.profile = chains.Profile(test_network=seed % 3 == 0)
    try:
        run_ = chaos.Chaos(stand, seed, disturb)
        run_.run(events=EVENTS, seconds=min(SECONDS, 60))
        assert stand.chain.events >= EVENTS
        print(f"seed {seed}: {stand.chain.events} events, {run_.done}")
    finally:
        stand.close()


@pytest.mark.timeout(600)
@pytest.mark.skipif(SECONDS > 0, reason="make chaos runs the other one")
@pytest.mark.parametrize("seed", [1, 2, pytest.param(3, marks=pytest.mark.deep)])
def test_a_random_run_ends_with_no_wrong_row(database_url, request, seed):
    disturb = []
    if database_url.startswith("postgresql"):
        disturb = [lambda: terminate(request.getfixturevalue("postgres"))]
    run(database_url, seed, disturb)


@pytest.mark.timeout(0)
@pytest.mark.skipif(SECONDS == 0, reason="make chaos")
def test_hours_of_random_runs_end_with_no_wrong_row(tmp_path, postgres, postgres_template):
    until, seed = time.monotonic() + SECONDS, int(time.time())
    while time.monotonic() < until:
        seed += 1
        if seed % 2:
            run(world.empty_sqlite(tmp_path / f"{seed}.db"), seed, [])
        else:
            name = postgres.fresh(postgres_template)
            run(postgres.url(name), seed, [lambda: terminate(postgres)])
            postgres.drop(name)


def terminate(postgres: Any) -> None:
    """End all backends but this one."""
    with postgres.admin() as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
