"""Benchmark of the key broker: full releases over HTTP against the real service process.

A release is a challenge and a request, both over HTTP on kept connections: `python -m api` with the
index off, the ten steps, an HPKE wrap, both signatures and a receipt on disk. The chain is one
Anvil seen through three endpoints of the broker (three clients with connections of their own; all
three reads are made and compared), with a new block every two seconds, as on an L2.

``release_p50_ms`` is one client asking again and again; ``release_per_s`` is a few clients at once,
on threads of one process that check what was granted and nothing else, so that the cores are the
service's. The shares are of one release inside the library, timed in the same run.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from measuring import row

ROOT = Path(__file__).resolve().parents[1]
ENDPOINTS = 3
RUNTIMES = 64
CLIENTS = int(os.environ.get("BENCH_CLIENTS", "8"))
ALONE_SECONDS = 4.0
TOGETHER_SECONDS = 8.0
BLOCK_SECONDS = 2.0


def rows() -> list[dict[str, Any]]:
    """Start chain and service, measure, stop them."""
    made = _world()
    with tempfile.TemporaryDirectory() as folder, made.world(Path(folder)) as world:
        askers = _askers(world)
        with _blocks(world.chain), _service(world, Path(folder)) as port:
            warm = Asking(port, world)
            for asker in askers:
                warm.release(asker)
            alone = _alone(port, world, askers)
            before = _processor()
            rate, together = _together(port, world, askers)
            spent = [b - a for a, b in zip(before, _processor(), strict=True)]
        with _blocks(world.chain):
            shares = _shares(world, askers)
    bars = "bar, challenge and request, one client"
    out = [
        row("release_p50_ms", statistics.median(alone) * 1e3, "ms", f"≤ 8: {bars}", None),
        row("release_p95_ms", _at(alone, 0.95) * 1e3, "ms", "", None),
        row("release_per_s", rate, "1/s", f"≥ 200: bar, {CLIENTS} clients at once", None),
        row("release_together_p50_ms", statistics.median(together) * 1e3, "ms", "", None),
    ]
    each = [seconds / len(together) for seconds in spent]
    for who, seconds in zip(("service", "node", "clients"), each, strict=True):
        out.append(row(f"processor_{who}_ms", seconds * 1e3, "ms", "one release", None))
    # What the same work allows where no others use the cores: all of it on two, and the service,
    # whose Python runs on one at a time, on one.
    free = min(2 / sum(each), 1 / each[0])
    out.append(row("release_per_s_by_processor", free, "1/s", "2 cores of our own", None))
    whole = shares.pop("whole")
    for what, seconds in shares.items():
        part = seconds / whole
        out.append(row(f"share_{what}", seconds * 1e3, "ms", "one release in the library", part))
    return [*out, row("release_in_library_ms", whole * 1e3, "ms", "", None)]


def _at(times: list[float], share: float) -> float:
    return sorted(times)[int(share * (len(times) - 1))]


def _world() -> ModuleType:
    """The stack that the broker's tests use."""
    path = ROOT / "tests" / "worlds" / "broker_world.py"
    spec = importlib.util.spec_from_file_location("broker_world", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["broker_world"] = module
    spec.loader.exec_module(module)
    return module


def _askers(world: Any) -> list[Any]:
    from ledger.broker.client import Asker

    license_id = world.license(world.plan(seats=0))
    ledger = world.chain.deployment.addresses["LicenseLedger"]
    askers = []
    for _ in range(RUNTIMES):
        identity = world.runtime(license_id)
        held = identity.grant_for(31337, ledger, license_id)
        askers.append(
            Asker(
                identity=identity,
                license=license_id,
                model=world.published.model_id,
                sealing=world.published.record.hash(),
                grant=held.grant,
                acceptance=held.acceptance,
                terms=None,
            )
        )
    world.broker.unserve()
    return askers


@contextlib.contextmanager
def _blocks(chain: Any) -> Iterator[None]:
    """A new block every two seconds."""
    stop = threading.Event()

    def mine() -> None:
        while not stop.wait(BLOCK_SECONDS):
            chain.rpc.call("evm_mine")

    thread = threading.Thread(target=mine)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def _service(world: Any, folder: Path) -> Iterator[int]:
    """`python -m api` over the world's broker folder; gives its port."""
    world.broker.service.store.close()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    secret = folder / "passphrase"
    secret.write_text("a passphrase for tests")
    secret.chmod(0o600)
    manifest = folder / "deployment.json"
    world.chain.deployment.save(manifest)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DEED_")},
        "DEED_API_PORT": str(port),
        "DEED_API_RPC_URLS": ",".join([world.chain.node.rpc_url] * ENDPOINTS),
        "DEED_API_DEPLOYMENT": str(manifest),
        "DEED_API_DATABASE_URL": str(folder / "index.sqlite"),
        "DEED_API_FOLLOW": "false",
        "DEED_API_BROKER_HOME": str(folder / "broker"),
        "DEED_API_BROKER_PASSPHRASE_FILE": str(secret),
        "DEED_API_LOG_LEVEL": "warning",
    }
    process = subprocess.Popen([sys.executable, "-m", "api"], env=environment, cwd=ROOT)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("error: the service does not start")
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _processor() -> list[float]:
    """Processor seconds so far of service, node and this process."""
    ticks = os.sysconf("SC_CLK_TCK")
    found = {"api": 0.0, "node": 0.0}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            head, _, rest = (folder / "stat").read_text().rpartition(")")
            parts = rest.split()
            if int(parts[1]) == os.getpid():
                who = "node" if "anvil" in head else "api"
                found[who] += (int(parts[11]) + int(parts[12])) / ticks
    return [found["api"], found["node"], time.process_time()]


class Asking:
    """One client: a kept connection, and no more work than asking takes."""

    def __init__(self, port: int, world: Any) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.connect()
        assert self._connection.sock is not None
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._identity = world.broker.home.identity

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        data = json.dumps(body, separators=(",", ":")).encode()
        self._connection.request("POST", path, data, {"content-type": "application/json"})
        reply = self._connection.getresponse()
        read = reply.read()
        if reply.status != http.client.OK:
            raise SystemExit(f"error: {path} answered {reply.status}: {read[:300]!r}")
        return dict(json.loads(read))

    def release(self, asker: Any) -> dict[str, Any]:
        """One challenge, one request."""
        from ledger.broker.protocol import Evidence, KeyRequest
        from ledger.sealed.recipients import KemPrivateKey

        named = {"license": str(asker.license), "model": str(asker.model)}
        issued = self._post("/v1/broker/challenges", named)
        now = int(time.time())
        request = KeyRequest(
            challenge=bytes.fromhex(issued["challenge"][2:]),
            license=asker.license,
            model=asker.model,
            kem=KemPrivateKey.generate().public,
            evidence=Evidence("software", "release", asker.sealing, asker.identity.use, "bench"),
            audience=issued["audience"],
            issued_at=now,
            expires_at=now + 120,
            runtime=asker.identity.key,
            grant=asker.grant,
            acceptance=asker.acceptance,
        ).signed(asker.identity.sign, self._identity.domain)
        reply = self._post("/v1/broker/releases", {"request": request.to_json(), "terms": None})
        if not reply["granted"]:
            raise SystemExit(f"error: refused: {reply['denial']}")
        return reply


def _alone(port: int, world: Any, askers: list[Any]) -> list[float]:
    client, times = Asking(port, world), []
    end = time.perf_counter() + ALONE_SECONDS
    while (began := time.perf_counter()) < end:
        client.release(askers[len(times) % len(askers)])
        times.append(time.perf_counter() - began)
    return times


def _together(port: int, world: Any, askers: list[Any]) -> tuple[float, list[float]]:
    times: list[list[float]] = [[] for _ in range(CLIENTS)]
    begin = time.perf_counter()
    end = begin + TOGETHER_SECONDS

    def run(number: int) -> None:
        client, own = Asking(port, world), askers[number::CLIENTS]
        while (began := time.perf_counter()) < end:
            client.release(own[len(times[number]) % len(own)])
            times[number].append(time.perf_counter() - began)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [one for each in times for one in each]
    return len(done) / (time.perf_counter() - begin), done


def _shares(world: Any, askers: list[Any]) -> dict[str, float]:
    """Median seconds of each part of a release, asked of the library itself."""
    from ledger.broker.chainview import ChainView
    from ledger.broker.deciding import Decisions
    from ledger.broker.grants import RuntimeGrant
    from ledger.broker.service import BrokerService
    from ledger.broker.sharing import SharedRpc
    from ledger.broker.signing import BrokerSigningKeys
    from ledger.broker.store import BrokerStore

    rpcs = [SharedRpc(world.chain.node.rpc_url, chain_id=31337) for _ in range(ENDPOINTS)]
    view = ChainView(rpcs, world.chain.deployment, world.chain.profile)
    service = BrokerService(world.broker.home, view)
    spent: dict[str, list[float]] = defaultdict(list)

    def timed(what: str, holder: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(holder, name)

        def run(*args: Any, **given: Any) -> Any:
            began = time.perf_counter()
            try:
                return real(*args, **given)
            finally:
                spent[what].append(time.perf_counter() - began)

        setattr(holder, name, run)

    timed("chain_reads", Decisions, "_read_chain")
    timed("wrap", service, "_wrap")
    timed("recover", RuntimeGrant, "signer")
    timed("sign", BrokerSigningKeys, "sign_whole")
    timed("database", BrokerStore, "write")
    timed("database", BrokerStore, "row")
    totals: dict[str, list[float]] = defaultdict(list)
    try:
        for number in range(200):
            asker = askers[number % len(askers)]
            began = time.perf_counter()
            _in_library(service, asker)
            totals["whole"].append(time.perf_counter() - began)
            for what, parts in spent.items():
                totals[what].append(sum(parts))
            spent.clear()
    finally:
        service.close()
        view.close()
    return {what: statistics.median(times) for what, times in sorted(totals.items())}


def _in_library(service: Any, asker: Any) -> None:
    class Local(Asking):
        def __init__(self) -> None:
            self._identity = service.identity

        def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
            act = service.challenge if path.endswith("challenges") else service.release
            return dict(act(body))

    Local().release(asker)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    print(json.dumps(rows(), indent=2))
