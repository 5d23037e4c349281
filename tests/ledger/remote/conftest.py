"""A sealed model, servers that hold it, and a card for it."""

import hashlib
import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.chain.wallet import dev_wallet
from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.licensing import card as card_module
from ledger.licensing import terms as terms_module
from ledger.licensing.card import BrokerSet, CardBroker, CardFile
from ledger.sealed.file import seal
from ledger.sealed.record import SealingRecord
from ledger.tensors.model import open_model

KEY = hashlib.sha256(b"remote test content key").digest()
MODEL = ModelId(b"\x44" * 32)
REGISTRY = Address(b"\x22" * 20)


@dataclass(frozen=True)
class Shop:
    """A sealed file of a few tens of MiB in a folder that servers serve."""

    folder: Path
    path: Path
    record: SealingRecord
    tensors: dict

    def card(self, *urls, size=None, path=None):
        """A card that names these URLs, as its JSON document."""
        terms = terms_module.parse(terms_module.TEMPLATE.encode()).document
        member = CardBroker(1, Digest(b"\x06" * 32), Digest(b"\x07" * 32), ("http://127.0.0.1:9",))
        there = self.path.stat().st_size if size is None else size
        document = card_module.build(
            dev_wallet("licensor"),
            chain_id=31337,
            ledger=Address(b"\x11" * 20),
            registry=REGISTRY,
            broker_registry=Address(b"\x33" * 20),
            license_id=LicenseId.of(1, 1),
            model=MODEL,
            sealing=self.record.to_json(),
            sealing_hash=self.record.hash(),
            terms=terms,
            brokers=BrokerSet(1, 1, (member,)),
            files=[CardFile(url, there, self.record.root) for url in urls],
        )
        if path is not None:
            path.write_text(json.dumps(document))
        return document


def seal_model(source, dest):
    with open_model(source) as model:
        return seal(model, dest, content_key=KEY, model_id=MODEL, chain_id=31337, registry=REGISTRY)


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(5)
    tensors = {
        f"layers.{number}.weight": rng.standard_normal((1024, 1280), dtype=np.float32).astype(
            np.float16
        )
        for number in range(14)
    }
    tensors["small.bias"] = rng.standard_normal(32768, dtype=np.float32).astype(np.float16)
    source = folder / "model"
    source.mkdir()
    save_file(tensors, source / "model.safetensors")
    (source / "config.json").write_text('{"layers": 14}')
    record = seal_model(source, folder / "model.sealed")
    # Another sealing of the same model under the same key: same root, other bytes.
    seal_model(source, folder / "again.sealed")
    return Shop(folder, folder / "model.sealed", record, tensors)


@pytest.fixture
def server(shop):
    with import_module("store_world").serving(shop.folder) as server:
        yield server


def same_tensors(file, tensors):
    loaded = file.load_all()
    assert set(loaded) == set(tensors)
    return all(np.array_equal(loaded[name], array) for name, array in tensors.items())
