"""Benchmark of sealed packages: sealing, loading, one tensor, opening, memory.

``rows(size=…)`` returns the rows of ``scripts/bench.py sealed --json``. What is compared runs
interleaved, warm, on the same bytes; figures are medians. Run alone: ``bench_sealed.py [BYTES]``.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench_serving
import numpy as np
from bench_sealed_peers import prepared
from safetensors.numpy import load_file, save_file

from ledger.ids import Address, Digest, ModelId
from ledger.sealed.cells import CellKeys, ReleasedCells
from ledger.sealed.codeword import CodeWord
from ledger.sealed.file import CellPlan, open_sealed, seal
from ledger.sealed.memory import Arena
from ledger.sealed.parallel import for_each, thread_count
from ledger.tensors.model import open_model

DEFAULT_BYTES = 1 << 30
ROUNDS = 7
_STEP = 1 << 20
_KEY = hashlib.sha256(b"benchmark content key").digest()
_SMALL = "small.bias"
_PEERS = {"tensorizer": "tensorizer_encrypted", "cryptotensors": "cryptotensors"}
_PLAIN = "plain parallel read into the same arena"
# VmHWM and not ru_maxrss: the latter survives exec and would show the parent's peak.
_CHILD = """
import re, sys
from ledger.sealed.file import open_sealed
with open_sealed(sys.argv[1], bytes.fromhex(sys.argv[2])) as file:
    file.load_all()
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


def generate(folder: Path, size: int) -> Path:
    """A safetensors file of about `size` bytes, in F16 tensors shaped like a language model's."""
    rng = np.random.default_rng(7)
    width = 2048 if size >= 256 << 20 else 512
    # Without the exponent's highest bit all are finite numbers, as cells need them.
    block = rng.integers(0, 1 << 16, (width, width), dtype=np.uint16) & 0xBFFF
    tensors: dict[str, np.ndarray] = {
        _SMALL: rng.integers(0, 1 << 16, 32768, dtype=np.uint16).view(np.float16)
    }
    layer = 0
    while sum(t.nbytes for t in tensors.values()) < size:
        tensors[f"layers.{layer}.weight"] = np.roll(block, layer).view(np.float16)
        layer += 1
    path = folder / f"generated-{size}.safetensors"
    save_file(tensors, path)
    return path


def _seal(
    source: Path, dest: Path, *, threads: int | None = None, cells: CellPlan | None = None
) -> None:
    with open_model(source) as model:
        seal(
            model,
            dest,
            content_key=_KEY,
            model_id=ModelId(bytes(32)),
            chain_id=31337,
            registry=Address(bytes(20)),
            threads=threads,
            cells=cells,
        )


def _plain_arena(path: Path) -> None:
    """The least any eager loader does: all bytes of the file into the same kind of arena."""
    size = path.stat().st_size
    arena = Arena(size)
    view = memoryview(arena)
    fd = os.open(path, os.O_RDONLY)
    batch = 8 * _STEP

    def work(number: int) -> None:
        start = number * batch
        end = min(size, start + batch)
        arena.populate(start, end - start)
        for at in range(start, end, _STEP):
            os.preadv(fd, [view[at : min(at + _STEP, end)]], at)

    try:
        for_each(-(-size // batch), work, threads=thread_count(None))
    finally:
        os.close(fd)


def _load(path: Path, *, verify: bool, cells: ReleasedCells | None = None) -> Callable[[], float]:
    def run() -> float:
        file = open_sealed(path, _KEY, verify=verify, cells=cells)
        begin = time.perf_counter()
        file.load_all()
        taken = time.perf_counter() - begin
        # Zeroing is close()'s work and not the load's; the plain loaders do not zero.
        file.close()
        return taken

    return run


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        begin = time.perf_counter()
        kept = work()
        taken = time.perf_counter() - begin
        del kept
        return taken

    return run


def _interleaved(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            taken = run()
            if number:  # the first round warms up
                times[name].append(taken)
    return {name: statistics.median(values) for name, values in times.items()}


def _one_tensor_ms(path: Path) -> float:
    """Median time of a 64 KiB tensor from an open file, its segment not yet decrypted."""
    times = []
    with open_sealed(path, _KEY) as file:
        others = [name for name in file.keys() if name != _SMALL]  # noqa: SIM118 - not a dict
        for number in range(40):
            # Another tensor first, so that the segment is not the one still in scratch.
            file.get_tensor(others[number % len(others)])
            begin = time.perf_counter()
            file.get_tensor(_SMALL)
            times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e3


def _open_ms(path: Path) -> float:
    times = []
    for _ in range(15):
        begin = time.perf_counter()
        file = open_sealed(path, _KEY)
        times.append(time.perf_counter() - begin)
        file.close()
    return statistics.median(times) * 1e3


def _peak_minus_file_mib(path: Path) -> float:
    """Peak memory of a fresh process that loads the file, interpreter included, less the file."""
    out = subprocess.run(
        [sys.executable, "-c", _CHILD, str(path), _KEY.hex()],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
    ).stdout
    return int(out) / 1024 - path.stat().st_size / (1 << 20)


def _row(
    what: str, value: float, unit: str, against: str | None = None, ratio: float | None = None
) -> dict[str, Any]:
    return {"what": what, "value": value, "unit": unit, "against": against, "ratio": ratio}


def _ratio(what: str, ratio: float, against: str) -> dict[str, Any]:
    return _row(what, ratio, "x", against, ratio)


def rows(*, size: int = DEFAULT_BYTES, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Measure on a generated model of about `size` bytes, in memory-backed storage if there is."""
    shm = Path("/dev/shm")  # noqa: S108 - only to keep the disk out of the figures
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as name:
        folder = Path(name)
        source = generate(folder, size)
        bytes_in = source.stat().st_size
        sealed = folder / "model.sealed"
        sealing = []
        for _ in range(3):
            begin = time.perf_counter()
            _seal(source, sealed)
            sealing.append(time.perf_counter() - begin)
        # As many cells as cost no more than 3 % in size; each is stored twice.
        count = max(1, min(4096, int(bytes_in * 0.0275) // (2 << 14)))
        keys = CellKeys.create(count)
        marked = folder / "marked.sealed"
        _seal(source, marked, cells=CellPlan(keys, Digest(_KEY)))
        word = CodeWord(bytes(number % 2 for number in range(count)), bytes(32))
        copy = ReleasedCells(word, keys.chosen(word))
        medians = _interleaved(
            {
                "plain": _timed(lambda: _plain_arena(source)),
                "aead": _load(sealed, verify=False),
                "default": _load(sealed, verify=True),
                "cells": _load(marked, verify=True, cells=copy),
                "numpy": _timed(lambda: load_file(source)),
                **{name: _timed(load) for name, load in prepared(source, folder).items()},
            },
            rounds,
        )
        plain, aead, default, numpy = (medians[k] for k in ("plain", "aead", "default", "numpy"))
        larger = marked.stat().st_size / sealed.stat().st_size
        open_ms = _open_ms(sealed)
        return [
            _row("seal_gb_per_s", bytes_in / 1e9 / statistics.median(sealing), "GB/s"),
            _row("plain_arena_ms", plain * 1e3, "ms"),
            _row("aead_load_ms", aead * 1e3, "ms", "plain_arena_ms", aead / plain),
            _row("default_load_ms", default * 1e3, "ms", "plain_arena_ms", default / plain),
            _row("numpy_load_file_ms", numpy * 1e3, "ms"),
            _ratio("aead_over_plain_arena", aead / plain, _PLAIN),
            _ratio("default_over_plain_arena", default / plain, _PLAIN),
            _ratio("default_over_numpy_load_file", default / numpy, "safetensors.numpy.load_file"),
            *(
                _ratio(f"{label}_over_default", medians[name] / default, "its load, over ours")
                for name, label in _PEERS.items()
                if name in medians
            ),
            _row("cells", count, "cells of 16 KiB"),
            _ratio("cells_size_over_unmarked", larger, "the same model sealed without cells"),
            _ratio("cells_load_over_default", medians["cells"] / default, "default_load_ms"),
            _row("one_tensor_64k_ms", _one_tensor_ms(sealed), "ms"),
            _row("open_ms", open_ms, "ms"),
            _row("open_ms_per_gib", open_ms / (bytes_in / (1 << 30)), "ms/GiB"),
            _row("peak_rss_minus_file_mib", _peak_minus_file_mib(sealed), "MiB"),
            *bench_serving.rows(),
        ]


if __name__ == "__main__":
    print(json.dumps(rows(size=int(sys.argv[1]) if sys.argv[1:] else DEFAULT_BYTES), indent=1))
