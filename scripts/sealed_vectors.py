"""What the generators of tests/vectors/sealed have in common: fixed bytes, sealing, what opens."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ledger.ids import Address, ModelId
from ledger.sealed.file import CellPlan, SealedFile, seal
from ledger.sealed.record import SealingRecord
from ledger.tensors.model import open_model

Case = dict[str, Any]
KEY = hashlib.sha256(b"sealed vectors: content key").digest()
OTHER_KEY = hashlib.sha256(b"sealed vectors: another key").digest()


def stream(label: str, size: int) -> bytes:
    """`size` bytes that look random and are the same everywhere."""
    return hashlib.shake_256(label.encode()).digest(size)


def fixed_entropy(label: str) -> Callable[[int], bytes]:
    """A source of IVs that repeats itself; for vectors only."""
    count = 0

    def draw(size: int) -> bytes:
        nonlocal count
        count += 1
        return stream(f"{label} {count}", size)

    return draw


def safetensors_bytes(rows: list[tuple[str, str, list[int], bytes]]) -> bytes:
    """A safetensors file of tensors given as name, dtype, shape and payload."""
    header: dict[str, Any] = {}
    position = 0
    for name, dtype, shape, data in rows:
        end = position + len(data)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(row[3] for row in rows)


def seal_fixed(
    source: Path, dest: Path, *, suite: int, label: str, cells: CellPlan | None = None
) -> SealingRecord:
    """Seal a model; the same bytes each time."""
    with open_model(source) as model:
        return seal(
            model,
            dest,
            content_key=KEY,
            model_id=ModelId(stream("model id", 32)),
            chain_id=31337,
            registry=Address(stream("registry", 20)),
            broker_set=1,
            brokers=("https://broker.example",),
            suite=suite,
            log2_segment=16,
            cells=cells,
            threads=1,
            entropy=fixed_entropy(label),
        )


def facts(file: SealedFile) -> Case:
    """What an open package must be found to hold."""
    tensors = {
        name: {
            "dtype": file.info(name).dtype,
            "shape": list(file.info(name).shape),
            "cid": str(file.info(name).cid),
            "sha256": hashlib.sha256(file.get_bytes(name)).hexdigest(),
        }
        for name in file.keys()  # noqa: SIM118 - not a dict
    }
    files = {name: base64.b64encode(bytes(data)).decode() for name, data in file.files().items()}
    return {"tensors": tensors, "files": files, "content_root": str(file.verify_content())}
