"""An index of a chain that a test drives, and the oracle that says whether it is right.

The oracle, once all is quiet: the cursor stands on the chain's head, the journal holds what
``eth_getLogs`` of the true chain gives, folding the journal anew gives the live tables, and an
index made from nothing by a clean follower has the same tables.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import chain_world
import endpoint_world
from sqlalchemy import Engine, select

from ledger.chain.rpc import Rpc
from ledger.errors import Fenced, LedgerError
from ledger.index import tables
from ledger.index.database import open_database
from ledger.index.follow import Follower
from ledger.index.journal import Journal
from ledger.index.rebuilding import refold

STATE = {**tables.STATE, "log_subject": tables.log_subject}
Rows = dict[str, list[tuple[Any, ...]]]


def state(engine: Engine) -> Rows:
    """All rows of all state tables."""
    with engine.connect() as connection:
        return _state(connection)


def _state(connection: Any) -> Rows:
    return {
        name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
        for name, table in STATE.items()
    }


def journal(engine: Engine) -> list[tuple[int, int, bytes, bytes, bytes]]:
    """The journal in the form of `Chain.logs`."""
    table = tables.raw_log
    columns = (table.c.block, table.c.log_index, table.c.block_hash, table.c.topics, table.c.data)
    with engine.connect() as connection:
        rows = connection.execute(select(*columns).order_by(table.c.block, table.c.log_index))
        return [tuple(row) for row in rows]  # type: ignore[misc]


def refolded(engine: Engine, chain_id: int) -> Rows:
    """The state tables after folding the whole journal anew; nothing is committed."""
    with (
        engine.connect().execution_options(writes=True) as connection,
        connection.begin() as transaction,
    ):
        refold(connection, chain_id)
        found = _state(connection)
        transaction.rollback()
    return found


@cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        engine = open_database(f"sqlite:///{path}")
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        engine.dispose()
        return path.read_bytes()


def empty_sqlite(path: Path) -> str:
    """A database with the tables made; its URL. Copying takes less time than making them."""
    path.write_bytes(_template())
    return f"sqlite:///{path}"


class Stand:
    """A chain, an endpoint of it that can be made faulty, and an index database.

    Attributes:
        errors: what the follower raised since `chain` last was quiet, in order.
    """

    def __init__(self, url: str, chain: chain_world.Chain | None = None, *, first: int = 1) -> None:
        self.url = url
        self.chain = chain or chain_world.Chain()
        self.endpoint = endpoint_world.Endpoint(self.chain)
        self.engine = open_database(url)
        self.deployment = chain_world.Deployment.of(self.chain, first)
        self.profile = chain_world.Profile()
        self.errors: list[LedgerError] = []
        self._rpcs: list[Rpc] = []
        self.follower = self.new_follower()

    def close(self) -> None:
        for rpc in self._rpcs:
            rpc.close()
        self.endpoint.close()
        self.engine.dispose()

    def new_follower(self, **options: Any) -> Follower:
        """Another follower of the same chain into the same database."""
        rpc = Rpc(self.endpoint.url, timeout=options.pop("timeout", 5.0))
        self._rpcs.append(rpc)
        profile = options.pop("profile", self.profile)
        return Follower(
            rpc, options.pop("engine", self.engine), self.deployment, profile, **options
        )

    def steps(self, number: int, follower: Follower | None = None) -> None:
        """So many turns, whatever goes wrong in them."""
        for _ in range(number):
            try:
                (follower or self.follower).step()
            except LedgerError as error:
                self.errors.append(error)
                # As `Follower.run`: whatever answers next may be another chain.
                (follower or self.follower)._identified = False

    def catch_up(self, follower: Follower | None = None, *, tries: int = 300) -> None:
        """Turn until the index stands on the head."""
        found = follower or self.follower
        for _ in range(tries):
            try:
                if found.step() and self.cursor().last_hash == self.chain.head.hash:
                    return
            except Fenced:
                found._epoch = None
            except LedgerError as error:
                self.errors.append(error)
                found._identified = False
        raise AssertionError(f"the follower never reached the head: {self.errors[-1:]}")

    def cursor(self) -> Any:
        with self.engine.connect() as connection:
            return Journal(self.chain.chain_id).cursor(connection)

    # -- the oracle

    def check_so_far(self) -> None:
        """What was read is true, though not all may have been read."""
        at = self.cursor().block
        truth = self.chain.logs(self.deployment.block)
        assert journal(self.engine) == [row for row in truth if row[0] <= at]

    def check(self, *, clean: bool = True) -> None:
        """The index is right, all of it.

        Args:
            clean: also make another index from nothing and compare.
        """
        assert self.endpoint.broken is None, self.endpoint.broken
        head = self.chain.head
        cursor = self.cursor()
        assert (cursor.block, cursor.last_hash) == (head.number, head.hash)
        assert journal(self.engine) == self.chain.logs(self.deployment.block)
        self._check_places()
        live = state(self.engine)
        assert refolded(self.engine, self.chain.chain_id) == live
        if clean:
            self._check_clean(live)

    def _check_clean(self, live: Rows) -> None:
        with tempfile.TemporaryDirectory() as folder:
            engine = open_database(empty_sqlite(Path(folder) / "clean.db"))
            node = chain_world.Direct(self.chain)
            follower = Follower(node, engine, self.deployment, self.profile)
            try:
                while not follower.step():
                    pass
                assert state(engine) == live
                assert self._answers(engine) == self._answers(self.engine)
            finally:
                engine.dispose()

    def _check_places(self) -> None:
        """Blocks, times and transactions are those of the chain."""
        blocks = self.chain.view().blocks
        final = self.cursor().finalized
        with self.engine.connect() as connection:
            kept = {
                row.number: (row.hash, row.parent_hash, row.time)
                for row in connection.execute(select(tables.block))
            }
            logs = connection.execute(select(tables.raw_log)).all()
        for number, row in kept.items():
            block = blocks[number]
            parent = b"" if block.parent is None else block.parent.hash
            assert row == (block.hash, parent, block.time)
        assert set(range(max(final, self.deployment.block), len(blocks))) <= set(kept)
        for log in logs:
            raw = blocks[log.block].logs[log.log_index]
            assert log.tx_hash.hex() == raw["transactionHash"][2:]
            assert log.address.hex() == raw["address"][2:]
            assert hex(log.tx_index) == raw["transactionIndex"]
            assert log.block_time == blocks[log.block].time

    @staticmethod
    def _answers(engine: Engine) -> list[tuple[Any, ...]]:
        table = tables.raw_read
        with engine.connect() as connection:
            return sorted(tuple(row) for row in connection.execute(select(table)))


# -- lies about logs: from the true list to what is said instead ----------------------------------

Logs = list[dict[str, Any]]


def of_logs(change: Callable[[Logs], Any]) -> chain_world.Change:
    """Every answer to ``eth_getLogs`` is changed so."""

    def changed(question: dict[str, Any], result: Any) -> Any:
        return change(result) if question["method"] == "eth_getLogs" else result

    return changed


def of_each_log(change: Callable[[dict[str, Any]], dict[str, Any]]) -> chain_world.Change:
    return of_logs(lambda logs: [change(log) for log in logs])


def of_blocks(change: Callable[[dict[str, Any]], Any]) -> chain_world.Change:
    """Every block asked for by its number is changed so; tags are not."""

    def changed(question: dict[str, Any], result: Any) -> Any:
        numbered = (
            question["method"] == "eth_getBlockByNumber"
            and question["params"][0].startswith("0x")
            and question["params"][0] != "0x0"
        )
        return change(result) if numbered and result is not None else result

    return changed


def without(part: Callable[[Logs], Logs]) -> chain_world.Change:
    """In each block the logs that `part` picks are left out."""

    def cut(logs: Logs) -> Logs:
        by_block: dict[str, Logs] = {}
        for log in logs:
            by_block.setdefault(log["blockNumber"], []).append(log)
        gone = {id(log) for group in by_block.values() for log in part(group)}
        return [log for log in logs if id(log) not in gone]

    return of_logs(cut)
