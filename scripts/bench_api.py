"""Benchmark of the service: reads under load beside the smallest FastAPI service, and events.

The index holds 100,000 models with a license each and 1,000,000 events (``bench_api_seed.py``), on
SQLite and on PostgreSQL. The service is the real one in a process of its own, which also follows a
real Anvil, idle meanwhile but for its heartbeats; it logs warnings only. The yardstick is the
smallest FastAPI service by uvicorn as it comes, without a log of requests and without anything of
ours (``bench_api_hello.py``). wrk sends on 32 connections from one thread. All runs take turns with
the yardstick's on the same two cores, on which PostgreSQL, the node and wrk run too; figures are
medians, ratios medians of each turn's.

Rows, for each database: ``asgi_over_fastapi_hello`` entitlements of 5,000 licenses, answered in
front; ``p99_ms`` of the same runs, beside the yardsticks'; ``in_fastapi_over_hello`` the same of a
second process that has to count requests per network, so that they are answered inside the FastAPI
application, behind its layers; ``list_over_hello`` 200 pages of 50 models or licenses between two
blocks; ``list_cold_over_hello`` pages that nobody asked for before; ``block_to_sse_ms_p95`` from
the node's word that a block is mined to the listener's line.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bench_api_seed as seeds
import get_wrk
from measuring import row

from ledger.chain.anvil import free_port
from ledger.chain.deployment import deploy
from ledger.chain.dev import DevChain
from ledger.chain.profile import profile_for
from ledger.chain.rpc import Rpc
from ledger.chain.transactions import Sender
from ledger.chain.wallet import dev_wallet
from ledger.ids import LicenseId
from ledger.index.database import open_database

ROOT = Path(__file__).resolve().parents[1]
MODELS = int(os.environ.get("BENCH_API_MODELS", "100000"))
EVENTS = int(os.environ.get("BENCH_API_EVENTS", "1000000"))
ROUNDS = int(os.environ.get("BENCH_API_ROUNDS", "5"))
SECONDS = float(os.environ.get("BENCH_API_SECONDS", "2"))
DATABASES = os.environ.get("BENCH_API_DATABASES", "sqlite,postgres").split(",")
HOT = 5000
PAGES = 200
CONNECTIONS = 32
BLOCKS = 60

# wrk asks for one path after the other.
_SCRIPT = """
local asked, at = {}, 0
init = function(arguments)
  for line in io.lines(arguments[1]) do asked[#asked + 1] = wrk.format("GET", line) end
end
request = function() at = at + 1; return asked[(at - 1) % #asked + 1] end
"""


@dataclass
class Run:
    """What one run of wrk came to: requests a second, 99th percentile in ms, processor µs."""

    rate: float
    p99: float
    cpu: float


@dataclass
class Process:
    """One server under load."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def get(self, path: str) -> bytes:
        """The body of a GET that must succeed."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(link):
            link.request("GET", path)
            reply = link.getresponse()
            body = reply.read()
            if reply.status != 200:
                raise SystemExit(f"error: {path} was answered with {reply.status}: {body[:200]!r}")
            return body

    def processor(self) -> float:
        """Seconds of processor time so far."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def rows() -> list[dict[str, Any]]:
    """Seed, load and listen, on one database after the other."""
    sys.path.insert(0, str(ROOT / "tests" / "worlds"))
    wrk = get_wrk.find()
    if wrk is None:
        raise SystemExit("error: wrk is not here\nhint: scripts/get_wrk.py gets it from Debian")
    out: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "ask.lua").write_text(_SCRIPT)
        node = stack.enter_context(DevChain.start())
        rpc = stack.enter_context(Rpc(node.rpc_url, chain_id=31337, timeout=300.0))
        rpc.call("anvil_mine", [hex(seeds.BLOCKS + seeds.GAP), "0x0"])
        sender = Sender(rpc, dev_wallet("deployer"), profile_for(31337))
        deployment = deploy(sender)
        deployment.save(folder / "deployment.json")
        load = Load(folder, str(wrk), node.rpc_url)
        for kind in DATABASES:
            with _database(kind, folder) as url:
                _seed(url, deployment, rpc)
                out += load.measure(kind, url, rpc, deployment)
    return out


def _seed(url: str, deployment: Any, rpc: Rpc) -> None:
    began = time.perf_counter()
    engine = open_database(url)
    # Blocks of the run before are behind us: the follower goes on from here.
    head = rpc.block("latest")
    seeds.seed(engine, deployment, head, models=MODELS, events=EVENTS)
    engine.dispose()
    print(f"seeded in {time.perf_counter() - began:.0f} s", file=sys.stderr)


@contextlib.contextmanager
def _database(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder}/index.db"
        return
    world = importlib.import_module("postgres_world")
    settings = {"autovacuum": "on", "shared_buffers": "256MB", "max_wal_size": "2GB"}
    with world.server(**settings) as server:
        yield server.url(server.fresh())


class Load:
    """wrk, and the processes it loads."""

    def __init__(self, folder: Path, wrk: str, rpc_url: str) -> None:
        self._folder = folder
        self._wrk = wrk
        self._rpc_url = rpc_url
        self._fresh = 0

    def measure(self, kind: str, url: str, rpc: Rpc, deployment: Any) -> list[dict[str, Any]]:
        """The rows of one database."""
        service = {"DEED_API_DATABASE_URL": url}
        counting = {"DEED_API_FOLLOW": "false", "DEED_API_RATE_ANONYMOUS": "999999/999999"}
        yardstick = str(ROOT / "scripts" / "bench_api_hello.py")
        with (
            self._served("hello", [yardstick, "hello"], {}) as hello,
            self._served("bare", [yardstick, "bare"], {}) as bare,
            self._served("service", ["-m", "api"], service) as ours,
            self._served("counting", ["-m", "api"], service | counting) as inside,
        ):
            licenses = [
                f"/v1/entitlements/{LicenseId(seeds.license_id(n * 7919 % MODELS))}"
                for n in range(min(HOT, MODELS))
            ]
            pages = [self._page(n) for n in range(PAGES)]
            kinds: dict[str, tuple[Process, Callable[[], list[str]]]] = {
                "hello": (hello, lambda: ["/hello"]),
                "bare": (bare, lambda: ["/hello"]),
                "asgi": (ours, lambda: licenses),
                "in_fastapi": (inside, lambda: licenses),
                "list": (ours, lambda: pages),
                "list_cold": (ours, self._cold),
            }
            for server, paths in ((ours, licenses), (inside, licenses), (ours, pages)):
                for path in paths:
                    server.get(path)
            found: dict[str, list[Run]] = {name: [] for name in kinds}
            for turn in range(ROUNDS):
                names = list(kinds)
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    server, asked = kinds[name]
                    found[name].append(self._run(server, asked()))
            out = self._rows(kind, found)
            return [*out, *_listened(kind, ours, rpc, deployment)]

    def _page(self, number: int) -> str:
        block = number * seeds.BLOCKS // PAGES
        if number % 2:
            return f"/v1/licenses?cursor={seeds.license_id(number * MODELS // PAGES)}"
        return f"/v1/models?cursor={block}-{seeds.digest('page', number).hex()}"

    def _cold(self) -> list[str]:
        self._fresh += 20_000
        return [
            f"/v1/models?cursor={number % seeds.BLOCKS}-{seeds.digest('cold', number).hex()}"
            for number in range(self._fresh, self._fresh + 20_000)
        ]

    def _rows(self, kind: str, found: dict[str, list[Run]]) -> list[dict[str, Any]]:
        base = _median(found["hello"], "rate"), _median(found["hello"], "cpu")
        out = [row(f"hello_{kind}", base[0], "1/s", f"{base[1]:.0f} µs of processor each")]
        bars = {
            "bare": ("bare_asgi_over_fastapi_hello", "uvicorn alone, no bar"),
            "asgi": ("asgi_over_fastapi_hello", "≥ 3.0"),
            "in_fastapi": ("in_fastapi_over_hello", "≥ 0.8"),
            "list": ("list_over_hello", "≥ 0.35"),
            "list_cold": ("list_cold_over_hello", "no bar"),
        }
        for name, (what, bar) in bars.items():
            rate, cpu = _median(found[name], "rate"), _median(found[name], "cpu")
            shown = f"{bar}; {cpu:.1f} µs of processor each, {base[1] / cpu:.2f} × by that"
            over = statistics.median(
                ours.rate / yard.rate
                for ours, yard in zip(found[name], found["hello"], strict=True)
            )
            out.append(row(f"{what}_{kind}", rate, "1/s", shown, over))
        p99 = {name: _median(found[name], "p99") for name in ("asgi", "hello", "bare")}
        beside = f"≤ 5: bar; hello {p99['hello']:.1f}, bare ASGI {p99['bare']:.1f} ms"
        out.append(row(f"p99_ms_{kind}", p99["asgi"], "ms", beside))
        return out

    @contextlib.contextmanager
    def _served(self, name: str, command: list[str], settings: dict[str, str]) -> Iterator[Process]:
        port = free_port()
        kept = {k: v for k, v in os.environ.items() if not k.startswith("DEED_")}
        environment = kept | {
            "DEED_API_PORT": str(port),
            "DEED_API_RPC_URLS": self._rpc_url,
            "DEED_API_DEPLOYMENT": str(self._folder / "deployment.json"),
            "DEED_API_LOG_LEVEL": "warning",
            "DEED_API_EVIDENCE_FOLDER": str(self._folder / f"{name}-{port}"),
            # The seeded events are none of this node's, and have no proofs.
            "DEED_API_INDEX_PROOFS": "false",
            **settings,
        }
        yardstick = name in {"hello", "bare"}
        if yardstick:
            command = [*command, str(port)]
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment)
        served = Process(name, port, process)
        try:
            for _ in range(600):
                with contextlib.suppress(OSError, SystemExit):
                    served.get("/hello" if yardstick else "/healthz")
                    break
                time.sleep(0.1)
            yield served
        finally:
            process.terminate()
            process.wait(30)

    def _run(self, server: Process, paths: list[str]) -> Run:
        asked = self._folder / "paths"
        asked.write_text("\n".join(paths) + "\n")
        command = [
            self._wrk, "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS:g}s", "--latency",
            "-s", str(self._folder / "ask.lua"), f"http://127.0.0.1:{server.port}",
            "--", str(asked),
        ]  # fmt: skip
        environment = {**os.environ, "LD_LIBRARY_PATH": get_wrk.libraries()}
        before = server.processor()
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        spent = server.processor() - before
        text = ran.stdout
        if "Non-2xx" in text or "Socket errors" in text:
            raise SystemExit(f"error: {server.name} failed under load:\n{text}")
        count = int(_found(r"(\d+) requests in", text)[0])
        value, unit = _found(r"99%\s+([\d.]+)(us|ms|s)", text)
        p99 = float(value) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]
        return Run(float(_found(r"Requests/sec:\s+([\d.]+)", text)[0]), p99, spent / count * 1e6)


def _found(pattern: str, text: str) -> tuple[str, ...]:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"error: wrk said something else:\n{text}")
    return match.groups()


def _median(runs: list[Run], name: str) -> float:
    return float(statistics.median(getattr(run, name) for run in runs))


# -- events --------------------------------------------------------------------------------------


def _line(reply: http.client.HTTPResponse) -> bytes:
    with contextlib.suppress(AttributeError, OSError, ValueError):  # closed meanwhile
        return reply.readline()
    return b""


def _listened(kind: str, served: Process, rpc: Rpc, deployment: Any) -> list[dict[str, Any]]:
    """From the node's word that a block with an event is mined to the line a listener reads."""
    link = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    arrived: dict[bytes, float] = {}
    begun, news = threading.Event(), threading.Condition()
    link.request("GET", "/v1/events/stream?event=RootAnchored")
    reply = link.getresponse()

    def read() -> None:
        begun.set()
        while line := _line(reply):
            at = time.perf_counter()
            match = re.search(rb'"subjects":\["(0x[0-9a-f]{64})', line)
            if match and b'"applied"' in line:
                with news:
                    arrived[match[1]] = at
                    news.notify_all()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    begun.wait()
    account, to = rpc.call("eth_accounts")[1], str(deployment.addresses["Anchors"])
    abi = importlib.import_module("ledger.chain.abi_codec").contract("Anchors")
    times = []
    for number in range(BLOCKS):
        root = seeds.digest(f"sse {kind} {time.time_ns()}", number)
        fields = {"from": account, "to": to, "data": "0x" + abi.encode("anchor", root).hex()}
        tx = rpc.call("eth_sendTransaction", [{**fields, "gas": hex(200_000)}])
        while rpc.call("eth_getTransactionReceipt", [tx]) is None:
            time.sleep(0.0005)
        mined = time.perf_counter()
        name = b"0x" + root.hex().encode()
        with news:
            if not news.wait_for(lambda name=name: name in arrived, 20):
                raise SystemExit("error: an event never came")
        times.append((arrived[name] - mined) * 1e3)
        # No common rhythm with the follower's own.
        time.sleep(0.05 + 0.007 * (number % 11))
    link.close()
    times.sort()
    p95 = times[int(0.95 * (len(times) - 1))]
    return [
        row(f"block_to_sse_ms_p95_{kind}", p95, "ms", "≤ 100: bar"),
        row(f"block_to_sse_ms_p50_{kind}", statistics.median(times), "ms"),
    ]
