"""The real service in a process of its own, over a real chain with one published model."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.chain.anvil import free_port
from ledger.chain.licenses import PlanTerms
from ledger.chain.registry import InclusionProof
from ledger.claim import Claim, build_manifest, manifest_hash
from ledger.fingerprint.exact import Fingerprint, fingerprint
from ledger.ids import ZERO_DIGEST, Digest, LicenseId, ModelId
from ledger.tensors.model import open_model

ROOT = Path(__file__).parents[2]


class Service:
    """``python -m api`` under test."""

    def __init__(self, folder: Path, network: Any, **settings: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        network.deployment.save(folder / "deployment.json")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "api.log"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("DEED_")}
        self.environment = kept | {
            "DEED_API_PORT": str(self.port),
            "DEED_API_RPC_URLS": ",".join(network.rpc_urls),
            "DEED_API_DEPLOYMENT": str(folder / "deployment.json"),
            "DEED_API_DATABASE_URL": str(folder / "index.db"),
            "DEED_API_POLL": "0.05",
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(base_url=self.url, timeout=20)

    def start(self) -> Service:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "api"],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        self.until(lambda: self.client.get("/healthz").status_code == 200)
        return self

    def until(self, holds: Any, *, seconds: float = 30) -> None:
        """Wait until `holds()`; fail with the log otherwise."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                break
            try:
                if holds():
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(self.log.read_text()[-4000:])

    def caught_up(self, rpc: Any) -> None:
        """Wait until the index stands at or beyond the chain's present head."""
        head = rpc.block("latest").number
        self.until(lambda: (self.client.get("/readyz").json()["block"] or -1) >= head)

    def get(self, path: str, **params: Any) -> Any:
        """The JSON of a GET that must succeed."""
        reply = self.client.get(path, params=params)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.client.close()
        if self.process is None:
            return 0
        self.process.terminate()
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()


@dataclass(frozen=True)
class Published:
    """A registered, sealed, planned and licensed model."""

    model: ModelId
    claim: Claim
    manifest: dict[str, Any]
    fingerprint: Fingerprint
    plan: int
    license: LicenseId


def publish(
    deployed: Any, folder: Path, *, title: str = "a small model", parents: tuple[ModelId, ...] = ()
) -> Published:
    """Everything a licensor does on chain, with random weights."""
    rng = np.random.default_rng(secrets.randbits(64))
    path = folder / f"{secrets.token_hex(4)}.safetensors"
    save_file({n: rng.standard_normal((16, 8)).astype("f4") for n in ("up", "down")}, path)
    with open_model(path) as opened:
        found = fingerprint(opened, level="deep")
        manifest = build_manifest(opened, title=title)
    licensor = deployed.sender("licensor")
    claim = Claim(
        31337,
        deployed.deployment.addresses["ModelRegistry"],
        licensor.signer.address,
        found.content_root,
        found.content_id(),
        ZERO_DIGEST,
        manifest_hash(manifest),
        parents,
        Digest(secrets.token_bytes(32)),
    )
    leaf = claim.commitment_leaf()
    deployed.anchors.anchor(licensor, leaf)
    model, _ = deployed.registry.register(licensor, claim, InclusionProof.of_single(leaf))
    deployed.registry.lodge_sealing(licensor, model, 1, Digest(secrets.token_bytes(32)))
    terms = PlanTerms(
        model, Digest(secrets.token_bytes(32)), duration=3600, grace=60, lease_ttl=60,
        max_offline=120, seats=2,
    )  # fmt: skip
    plan, _ = deployed.licenses.create_plan(licensor, terms)
    holder = deployed.wallet("holder").address
    license_, _ = deployed.licenses.issue(licensor, plan, holder)
    return Published(model, claim, manifest, found, plan, license_)


@pytest.fixture(scope="module")
def published(deployed: Any, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """One model, published on the module's chain."""
    return publish(deployed, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def service(
    deployed: Any, published: Published, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """The service, caught up with the published model."""
    running = Service(tmp_path_factory.mktemp("service"), deployed.network).start()
    try:
        running.caught_up(deployed.rpc)
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def relaying(
    deployed: Any, published: Published, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """As `service`; its operator lets it pass transactions on."""
    folder = tmp_path_factory.mktemp("service")
    running = Service(folder, deployed.network, DEED_API_RELAY="true").start()
    try:
        running.caught_up(deployed.rpc)
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def make() -> Any:
    """`Service` and `publish` for tests that need another one."""

    class Make:
        service = Service

        @staticmethod
        def publish(deployed: Any, folder: Path, **options: Any) -> Published:
            return publish(deployed, folder, **options)

    return Make
