"""Followers as processes, and a run of random reorganisations, kills and lies around them.

The followers are real processes that are killed for real. What a run does follows from its seed but
for the moments at which things happen; so a seed that fails is likely, not certain, to fail again.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chain_world
import index_world
from sqlalchemy import Engine, event

from ledger.chain.rpc import Rpc
from ledger.errors import IndexUnavailable
from ledger.index import database, follow, journal
from ledger.index.database import open_database
from ledger.index.follow import Follower

# Children are forked by a process without threads that has everything imported: quick and safe.
_START = multiprocessing.get_context("forkserver")
_START.set_forkserver_preload(["index_world", "ledger.index.follow"])


@dataclass(frozen=True)
class Orders:
    """What a child follows, and what happens to it."""

    url: str
    endpoint: str
    deployment: chain_world.Deployment
    profile: chain_world.Profile
    stop_after: str = ""
    term_at: str = ""
    frozen: int = 60
    silent_ms: int = 30_000


def _follow(orders: Orders) -> None:
    """The life of a child, as ``deed index run`` lives."""
    logging.disable(logging.CRITICAL)
    follow.LEADER_SILENT_MS = orders.silent_ms
    follow.MAX_WAIT_SECONDS = 0.3
    database.FROZEN_SECONDS = orders.frozen
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    engine = _open(orders.url)
    armed = [True]

    def watch(statement: str, wanted: str, number: int) -> None:
        if wanted and armed[0] and statement.startswith(wanted):
            armed[0] = False
            os.kill(os.getpid(), number)

    event.listen(
        engine,
        "after_cursor_execute",
        lambda c, cursor, statement, *_: watch(statement, orders.stop_after, signal.SIGSTOP),
    )
    event.listen(
        engine,
        "before_cursor_execute",
        lambda c, cursor, statement, *_: watch(statement, orders.term_at, signal.SIGTERM),
    )

    def told_first(insert: Any) -> Any:
        def act(connection: Any, table: Any, rows: Any) -> None:
            # COPY passes the listeners by.
            watch(f"INSERT INTO {table.name}", orders.term_at, signal.SIGTERM)
            insert(connection, table, rows)

        return act

    journal.insert_rows = told_first(journal.insert_rows)
    journal.insert_packed = told_first(journal.insert_packed)
    rpc = Rpc(orders.endpoint, timeout=2.0)
    Follower(rpc, engine, orders.deployment, orders.profile, poll=0.02).run(stop)
    engine.dispose()


def _open(url: str) -> Engine:
    """Open the database, however often its server ends the connection meanwhile: what a service
    manager does, that starts a process again.
    """
    while True:
        try:
            return open_database(url)
        except IndexUnavailable:
            time.sleep(0.1)


class Child:
    """One follower in a process of its own."""

    def __init__(self, stand: index_world.Stand, **orders: Any) -> None:
        told = Orders(stand.url, stand.endpoint.url, stand.deployment, stand.profile, **orders)
        self.process = _START.Process(target=_follow, args=(told,), daemon=True)
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def stopped(self) -> bool:
        state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "T"

    def kill(self) -> None:
        """As by ``kill -9``."""
        self.process.kill()
        self.process.join(20)


def wait_quiet(stand: index_world.Stand, seconds: float = 60) -> None:
    """Until the index stands on the head.

    Raises:
        AssertionError: it never does.
    """
    deadline = time.monotonic() + seconds
    at = None
    while time.monotonic() < deadline:
        # Before the first commit there is no cursor.
        with suppress(IndexUnavailable):
            cursor = stand.cursor()
            at = (cursor.block, cursor.last_hash)
        head = stand.chain.head
        if at == (head.number, head.hash):
            return
        time.sleep(0.05)
    raise AssertionError(f"the index stands at {at}, the chain at {head.number}")


# -- at random -----------------------------------------------------------------------------------


def _lies(rng: random.Random) -> chain_world.Change:
    by_chance = rng.random()

    def sometimes(change: chain_world.Change) -> chain_world.Change:
        chance = random.Random(rng.random())
        return lambda q, r: change(q, r) if chance.random() < by_chance else r

    pick = rng.choice(
        [
            index_world.without(lambda logs: logs),
            index_world.without(lambda logs: logs[-1:]),
            index_world.without(lambda logs: logs[::2]),
            index_world.of_logs(lambda logs: [x for log in logs for x in (log, log)]),
            index_world.of_logs(lambda logs: logs[::-1]),
            index_world.of_each_log(lambda log: log | {"blockHash": "0x" + "11" * 32}),
            index_world.of_each_log(lambda log: log | {"blockHash": None}),
            index_world.of_each_log(lambda log: log | {"topics": log["topics"][:1]}),
            index_world.of_blocks(lambda block: None),
            index_world.of_blocks(lambda block: block | {"parentHash": "0x" + "22" * 32}),
            index_world.of_blocks(
                lambda block: chain_world.forged(block, parentHash="0x" + "22" * 32)
            ),
            index_world.of_blocks(lambda block: block | {"number": "0x1"}),
            chain_world.other_chain_id(5),
        ]
    )
    return sometimes(pick)


_WIRE = ["busy", "wait", "503", "html", "gzip", "refuse", "ids", "short", "double", "within"]
_HARMLESS = ["order", "single"]
ACTS = 200
"""At least so many things happen in a run."""


@dataclass
class Chaos:
    """One run over one database.

    Attributes:
        done: how often each thing was done.
        disturb: further things that may happen, such as a backend's end.
    """

    stand: index_world.Stand
    seed: int
    disturb: list[Callable[[], None]] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)

    def run(self, *, events: int, seconds: float = 0) -> None:
        """Until so many events happened and so much time went by; then quiet, and the oracle."""
        rng = random.Random(self.seed)
        chain = self.stand.chain
        children = [self._child() for _ in range(3)]
        until = time.monotonic() + seconds
        branches = [chain.view()]
        try:
            while chain.events < events or self.acts < ACTS or time.monotonic() < until:
                name = rng.choice(
                    ["grow"] * 8
                    + ["reorg"] * 4
                    + ["lie", "wire", "fork"] * 2
                    + ["kill", "kill", "freeze", "back", "heal", "heal", "disturb"]
                )
                self._do(name, rng, children, branches)
                time.sleep(rng.random() * 0.06)
                if rng.random() < 0.03:
                    self._quiet(children)
            self._quiet(children)
        finally:
            for child in children:
                child.kill()
        self.stand.check()

    def _child(self) -> Child:
        return Child(self.stand, silent_ms=200, frozen=2)

    def _quiet(self, children: list[Child]) -> None:
        """Everything heals: soon the index must be right."""
        self._count("quiet")
        self.stand.endpoint.heal()
        for child in children:
            child.signal(signal.SIGCONT)
        # A lower head than once was is an endpoint that lags; the chain outgrows it.
        chain = self.stand.chain
        chain.grow(1 + chain.highest - chain.head.number)
        wait_quiet(self.stand)
        self.stand.check(clean=False)

    @property
    def acts(self) -> int:
        return sum(self.done.values())

    def _count(self, name: str) -> None:
        self.done[name] = self.done.get(name, 0) + 1

    def _do(
        self,
        name: str,
        rng: random.Random,
        children: list[Child],
        branches: list[chain_world.View],
    ) -> None:
        chain, endpoint = self.stand.chain, self.stand.endpoint
        self._count(name)
        match name:
            case "grow":
                chain.grow(rng.randrange(1, 4), busy=0.8, most=2)
            case "reorg":
                depth = rng.randrange(1, 13)
                blocks = depth + rng.randrange(-1, 3)
                branches[:] = [chain.reorg(depth, blocks, busy=0.5, most=2)]
            case "back":
                # Only where it drops no finalized block: that would be another test.
                with chain.lock:
                    old, now = branches[-1], chain.view()
                    same = sum(1 for a, b in zip(old.blocks, now.blocks, strict=False) if a is b)
                    if same > (now.finalized or 0) and len(old.blocks) + 2 >= len(now.blocks):
                        branches[:] = [now]
                        chain.restore(old)
                        chain.grow(3)
            case "lie":
                endpoint.change = _lies(rng)
            case "wire":
                endpoint.socket_fault = rng.choice(_WIRE + _HARMLESS * 3)
            case "fork":
                chance, old = random.Random(rng.random()), branches[-1]
                endpoint.route = lambda q, view: old if chance.random() < 0.1 else view
            case "heal":
                endpoint.heal()
            case "kill":
                at = rng.randrange(len(children))
                children[at].kill()
                children[at] = self._child()
            case "freeze":
                child = rng.choice(children)
                child.signal(rng.choice([signal.SIGSTOP, signal.SIGCONT]))
            case "disturb":
                if self.disturb:
                    rng.choice(self.disturb)()
