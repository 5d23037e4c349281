"""Benchmark of the index: a whole backfill from real contracts on Anvil into both databases.

Our figures are of the product's own follower in a process of its own (which gives the peak of its
memory), from the first question to the endpoint until the index stands on the head with every index
made: headers, parent chain, blooms and shapes checked, journal, fold and cursor in one transaction
a range. The node runs on the same two cores. Each is the best of three, in turns with the others.

Peers: web3.py's own event reader, which decodes and stores nothing; Ponder 0.16.10 from npm, when
``npm install --prefix .peers/ponder ponder@0.16.10 hono viem`` was run. Ponder stores two
rows an issue (the event and the license) and is timed warm: its second run, with all RPC answers
cached in its database, from its start until it says it is ready. Cold it waits most of the time.

A PostgreSQL server is started from the programs on the machine, with fsync on.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = int(os.environ.get("BENCH_INDEX_BLOCKS", "8000"))
"""Blocks of 25 logs each; 8,000 as in the figures the bars come from."""
MOST = int(os.environ.get("BENCH_INDEX_MOST", "1000000"))
"""Events of the longest chain, for the price of an event as chains grow; 0 leaves that out."""

TIMES = 3
WEB3_LOGS = 5000
LATENCY_BLOCKS = 200


def rows() -> list[dict[str, Any]]:
    """Build the chains; measure."""
    sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "worlds")]
    made = importlib.import_module("bench_index_chain")
    out: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, _postgres() as fresh, made.chain() as chain:
        folder = Path(name)
        chain.grow(BLOCKS)
        chain.settle()
        best = _both(chain, folder, fresh)
        rate = {kind: found["events"] / found["seconds"] for kind, found in best.items()}
        out += [
            _row(f"backfill_{kind}_ev_s", rate[kind], "1/s", f"≥ {bar:,}: bar", None)
            for kind, bar in (("sqlite", 45_000), ("postgres", 50_000))
            if kind in rate
        ]
        out += [
            _row(f"backfill_{kind}_by_processor_ev_s", *_by_processor(kind, found))
            for kind, found in best.items()
        ]
        web3 = _web3(chain)
        out.append(
            _row("over_web3py", rate["sqlite"], "1/s", "≥ 15: web3.py", rate["sqlite"] / web3)
        )
        out += _ponder_rows(chain, fresh, rate, folder)
        out.append(
            _row("rss_mb", max(f["rss"] for f in best.values()) / 2**20, "MB", "≤ 250: bar", None)
        )
        out += _latency(chain, folder)
    with tempfile.TemporaryDirectory() as name, _postgres() as fresh:
        out += _as_it_grows(made, Path(name), fresh)
    return out


def _as_it_grows(made: Any, folder: Path, fresh: Any) -> list[dict[str, Any]]:
    """What an event costs in chains of one shape and three lengths.

    Their blocks are so full that every block's receipts are read and proved, which costs several
    times what an event of ordinary blocks does; what counts is whether that grows.
    """
    lengths = [length for length in (10_000, 100_000, MOST) if length <= MOST]
    with contextlib.ExitStack() as stack:
        chains = [stack.enter_context(made.chain()) for _ in lengths]
        for chain, length in zip(chains, lengths, strict=True):
            chain.grow_fast(length)
            chain.settle()
        costs: dict[str, list[float]] = {}
        for chain in chains:
            for kind, found in _both(chain, folder, fresh, times=1).items():
                cost = found["seconds"] / found["events"] * 1e6
                costs.setdefault(kind, []).append(cost)
    told = " / ".join(f"{length:,}" for length in lengths)
    return [
        _row(
            f"cost_{kind}_us",
            found[-1],
            "µs",
            f"an event of {told}: {' / '.join(f'{cost:.1f}' for cost in found)}",
            found[-2] / found[-1],
        )
        for kind, found in costs.items()
        if len(found) > 1
    ]


def _by_processor(kind: str, found: dict[str, Any]) -> tuple[float, str, str, None]:
    """What the same work allows on two cores that no others use.

    All of it is spread over both; the thread that folds and commits is on one.
    """
    spent, events = found["spent"], found["events"]
    parts = ", ".join(f"{who} {seconds / events * 1e6:.1f}" for who, seconds in spent.items())
    free = events / max(sum(spent.values()) / 2, found["thread"])
    return free, "1/s", f"two cores of our own; µs of processor an event: {parts} ({kind})", None


def _row(what: str, value: float, unit: str, against: str, ratio: float | None) -> dict[str, Any]:
    return {"what": what, "value": value, "unit": unit, "against": against, "ratio": ratio}


# -- ours ----------------------------------------------------------------------------------------


def _both(chain: Any, folder: Path, fresh: Any, times: int = TIMES) -> dict[str, dict[str, Any]]:
    """The best of a few backfills into each database, in turns."""
    expected = chain.count()
    best: dict[str, dict[str, Any]] = {}
    for turn in range(times):
        urls = {"sqlite": f"sqlite:///{folder}/{turn}-{expected}.db"}
        if fresh is not None:
            urls["postgres"] = fresh()
        for kind, url in urls.items():
            before = _processor()
            found = _child(chain, url)
            after = _processor()
            spent = {
                who: after[who] - before[who]
                for who in after
                if kind == "postgres" or who == "node"
            }
            found["spent"] = {"follower": found["cpu"], **spent}
            if found["events"] != expected:
                raise SystemExit(f"error: {found['events']} events of {expected} were indexed")
            if kind not in best or found["seconds"] < best[kind]["seconds"]:
                best[kind] = found
        for path in folder.glob(f"{turn}-{expected}.db*"):
            path.unlink()
    return best


def _processor() -> dict[str, float]:
    """Processor seconds so far of the node and of PostgreSQL, both our children."""
    ticks = os.sysconf("SC_CLK_TCK")
    stats: dict[int, tuple[str, int, float]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            head, _, rest = path.read_text().rpartition(")")
            parts = rest.split()
            # Those that have ended are in their parent's account.
            used = sum(int(part) for part in parts[11:15]) / ticks
            stats[int(path.parent.name)] = (head.partition("(")[2], int(parts[1]), used)
    found = {"node": 0.0, "server": 0.0}
    for name, parent, used in stats.values():
        if name == "anvil" and parent == os.getpid():
            found["node"] += used
        elif name == "postgres" and (
            parent == os.getpid() or stats.get(parent, ("", 0, 0.0))[1] == os.getpid()
        ):
            found["server"] += used
    return found


def _child(chain: Any, database: str) -> dict[str, Any]:
    deployment = chain.deployment
    given = {
        "rpc": chain.rpc.urls[0],
        "database": database,
        "chain_id": deployment.chain_id,
        "genesis": str(deployment.genesis_hash),
        "block": deployment.block,
        "addresses": {name: str(address) for name, address in deployment.addresses.items()},
    }
    ran = subprocess.run(
        [sys.executable, __file__, json.dumps(given)], stdout=subprocess.PIPE, check=True, cwd=ROOT
    )
    return dict(json.loads(ran.stdout))


def _follower(given: dict[str, Any]) -> tuple[Any, Any]:
    from bench_index_chain import Contracted, Profile

    from ledger.chain.rpc import Rpc
    from ledger.ids import Address, Digest
    from ledger.index.database import open_database
    from ledger.index.follow import Follower

    deployment = Contracted(
        given["chain_id"],
        Digest.parse(given["genesis"]),
        given["block"],
        {name: Address.parse(text) for name, text in given["addresses"].items()},
    )
    engine = open_database(given["database"])
    return engine, Follower(Rpc(given["rpc"], timeout=60.0), engine, deployment, Profile())


def _backfill(given: dict[str, Any]) -> dict[str, Any]:
    """In the child: follow until the head is reached."""
    import resource

    from sqlalchemy import func, select

    from ledger.errors import ChainUnavailable
    from ledger.index import tables
    from ledger.index.deferred import missing

    engine, follower = _follower(given)
    began, cpu, thread = time.perf_counter(), time.process_time(), time.thread_time()
    beside = 0
    at_head = False
    while not at_head:
        # A range that is more than one reply holds is asked for in halves, as `Follower.run` does.
        with contextlib.suppress(ChainUnavailable):
            at_head = follower.step()
        beside = max(beside, _peak_with_children())
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    thread = time.thread_time() - thread
    with engine.connect() as connection:
        events = connection.execute(select(func.count()).select_from(tables.raw_log)).scalar_one()
        if missing(connection):
            raise SystemExit("error: indexes are missing at the head")
    # The process that read ahead has ended with the backfill, and counts with this one.
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu += children.ru_utime + children.ru_stime
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    peak = max(peak, beside)
    return {"events": events, "seconds": seconds, "cpu": cpu, "thread": thread, "rss": peak}


def _peak_with_children() -> int:
    """Bytes: the most that this process and those it has now ever held, one with another."""
    total = 0
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    for pid in (os.getpid(), *pids):
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            peak = next(line for line in lines if line.startswith("VmHWM:"))
            total += int(peak.split()[1]) * 1024
    return total


def _latency(chain: Any, folder: Path) -> list[dict[str, Any]]:
    """From the node's word that a block is mined until a reader of the database sees its row."""
    import sqlite3

    path = folder / "live.db"
    deployment = chain.deployment
    given = {
        "rpc": chain.rpc.urls[0],
        "database": f"sqlite:///{path}",
        "chain_id": deployment.chain_id,
        "genesis": str(deployment.genesis_hash),
        "block": deployment.block,
        "addresses": {name: str(address) for name, address in deployment.addresses.items()},
    }
    engine, follower = _follower(given)
    while not follower.step():
        pass
    stop = threading.Event()
    thread = threading.Thread(target=follower.run, args=(stop,))
    thread.start()
    times = []
    reader = sqlite3.connect(path, isolation_level=None)
    # By the key: without the chain each look would scan a whole index, 11 ms of 200,000 events.
    newest = f"SELECT max(block) FROM raw_log WHERE chain_id = {deployment.chain_id:d}"  # noqa: S608
    try:
        for number in range(LATENCY_BLOCKS):
            chain.grow(1)
            began = time.perf_counter()
            block = chain.rpc.block("latest").number
            while reader.execute(newest).fetchone()[0] < block:
                time.sleep(0.001)
            times.append((time.perf_counter() - began) * 1e3)
            # No common rhythm with the follower's own.
            time.sleep(0.05 + 0.007 * (number % 11))
    finally:
        stop.set()
        thread.join()
        reader.close()
        engine.dispose()
    times.sort()
    return [
        _row("block_to_row_ms_p95", times[int(0.95 * (len(times) - 1))], "ms", "≤ 50: bar", None),
        _row("block_to_row_ms_p50", statistics.median(times), "ms", "", None),
    ]


@contextlib.contextmanager
def _postgres() -> Iterator[Any]:
    """A server of the tests' world; gives a function that makes an empty database, or None."""
    try:
        world = importlib.import_module("postgres_world")
    except ImportError:
        print("PostgreSQL is not measured: its programs are missing", file=sys.stderr)
        yield None
        return
    settings = {"fsync": "on", "full_page_writes": "on", "autovacuum": "on"}
    with world.server(**settings, shared_buffers="128MB", max_wal_size="2GB") as server:
        yield lambda: server.url(server.fresh())


# -- peers ---------------------------------------------------------------------------------------


def _web3(chain: Any) -> float:
    """Events a second of web3.py, reading and decoding; the faster of its two ways."""
    from web3 import HTTPProvider, Web3

    from ledger.chain.abi_codec import contract

    w3 = Web3(HTTPProvider(chain.rpc.urls[0]))
    address = str(chain.deployment.addresses["LicenseLedger"])
    bound = w3.eth.contract(
        address=w3.to_checksum_address(address), abi=contract("LicenseLedger").abi
    )
    first = chain.deployment.block + 100
    blocks = WEB3_LOGS // 25
    kinds = (bound.events.LicenseIssued(), bound.events.Transfer())

    def by_event() -> int:
        return sum(
            len(kind.get_logs(from_block=start, to_block=start + 49))
            for start in range(first, first + blocks, 50)
            for kind in kinds
        )

    def by_log() -> int:
        count = 0
        topics = [[kind.topic for kind in kinds]]
        by_topic = {bytes.fromhex(kind.topic.removeprefix("0x")): kind for kind in kinds}
        for start in range(first, first + blocks, 50):
            query = {"fromBlock": start, "toBlock": start + 49, "address": address}
            for log in w3.eth.get_logs({**query, "topics": topics}):
                by_topic[bytes(log["topics"][0])].process_log(log)
                count += 1
        return count

    rates = []
    for way in (by_event, by_log) * 2:
        began = time.perf_counter()
        rates.append(way() / (time.perf_counter() - began))
    return max(rates)


def _ponder_rows(
    chain: Any, fresh: Any, rate: dict[str, float], folder: Path
) -> list[dict[str, Any]]:
    modules = ROOT / ".peers" / "ponder" / "node_modules"
    if fresh is None or not (modules / ".bin" / "ponder").exists():
        print("Ponder is not measured: see the head of bench_index.py", file=sys.stderr)
        return []
    peer = importlib.import_module("bench_index_ponder")
    found = peer.measure(chain, fresh(), folder / "ponder", modules)
    ours = rate["postgres"]
    return [
        _row("over_ponder", ours, "1/s", "≥ 1.5: Ponder warm, to ready", ours / found["warm"]),
        _row("ponder_warm_ev_s", found["warm"], "1/s", "start to ready, answers cached", None),
        _row("ponder_cold_ev_s", found["cold"], "1/s", "first run", None),
    ]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "scripts"))
    print(json.dumps(_backfill(json.loads(sys.argv[1]))))
