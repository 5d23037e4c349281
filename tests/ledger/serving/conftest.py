"""Real models, sealed, and open under a lease that this host keeps without a broker."""

import hashlib
import importlib.util
import secrets
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from ledger.broker.floor import ClockFloor
from ledger.broker.identity import RuntimeIdentity
from ledger.broker.keeper import LeaseKeeper
from ledger.broker.keeping import Nobody
from ledger.broker.leases import BlockRef, Lease
from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.sealed.file import open_sealed, seal
from ledger.serving.model import SealedModel
from ledger.tensors.model import open_model

KEY = hashlib.sha256(b"test content key").digest()


def real_file(package: str, name: str) -> Path:
    """A file of an installed model package, which is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"the package {package} is not installed")
    return Path(spec.origin).parent / name


def sealed_copy(source: Path, dest: Path, *, log2_segment: int = 20):
    with open_model(source) as model:
        return seal(
            model, dest, content_key=KEY, model_id=ModelId(b"\x11" * 32), chain_id=31337,
            registry=Address(b"\x22" * 20), log2_segment=log2_segment,
        )  # fmt: skip


def a_lease(seconds: int) -> Lease:
    now = int(time.time())
    block, zero = BlockRef(1, Digest(bytes(32)), now), Digest(bytes(32))
    return Lease(
        id=zero, license=LicenseId.parse("7.1"), model=ModelId(b"\x11" * 32), epoch=1,
        sealing=zero, runtime_key_hash=zero, kem_key_hash=zero, audience="test", issued_at=now,
        not_after=now + seconds, grace_until=now + seconds, sequence=0, heartbeat=1000,
        enforce=True, head=block, finalized=block,
    )  # fmt: skip


class Opener:
    """Seals a model once and opens it as often as asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.identity = RuntimeIdentity.create(folder / "runtime.json", name="test")
        self._sealed: dict[tuple[Path, int], tuple[Path, object]] = {}

    def package(self, source: Path, log2_segment: int = 20):
        if (source, log2_segment) not in self._sealed:
            dest = self.folder / f"{secrets.token_hex(4)}.sealed"
            record = sealed_copy(source, dest, log2_segment=log2_segment)
            self._sealed[source, log2_segment] = (dest, record)
        return self._sealed[source, log2_segment]

    def __call__(
        self, source: Path, *, log2_segment: int = 20, seconds: int = 3600, **options
    ) -> SealedModel:
        path, record = self.package(source, log2_segment)
        nobody = Nobody(ClockFloor(self.identity))
        lease = a_lease(seconds)
        return SealedModel(
            open_sealed(path, KEY, record=record),
            lambda lost: LeaseKeeper(nobody, self.identity, lease, on_loss=lost),
            record=record,
            **options,
        )


@pytest.fixture(scope="session")
def opened(tmp_path_factory) -> Opener:
    """``opened(source)`` is the sealed model under a lease of an hour."""
    return Opener(tmp_path_factory.mktemp("serving"))


@pytest.fixture(scope="session")
def real():
    """``real(package, name)`` is a file of an installed model package."""
    return real_file


@pytest.fixture(scope="session")
def serving_world() -> ModuleType:
    """The module ``tests/worlds/broker_world.py``."""
    return import_module("broker_world")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator:
    """A chain, a broker behind HTTP, a published model."""
    with import_module("broker_world").world(tmp_path_factory.mktemp("world")) as made:
        yield made
