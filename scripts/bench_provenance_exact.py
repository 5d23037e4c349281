"""Times the exact fingerprint beside model-signing's hashing and beside bare SHA-256.

All read the same file of 520 MB in memory, in turns; the median counts. model-signing hashes as it
does by default (one SHA-256 over the file). Its package wants a dozen others for signing, so its
hashing modules alone are imported, unchanged, from ``.peers`` (``make .peers``).
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from bench_fingerprint import _bare_file, _bare_memory
from measuring import MEMORY, interleaved, ratio, row, timed

from ledger.fingerprint.exact import fingerprint
from ledger.tensors.model import open_model

ROUNDS = 7
SIZE = 520 << 20
PEERS = Path(__file__).resolve().parents[1] / ".peers"
# The kernel's high-water mark of memory, begun anew: a child inherits its parent's otherwise.
_PEAK = """
import sys
from pathlib import Path
from ledger.fingerprint.exact import fingerprint
from ledger.tensors.model import open_model
def kib(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))
with open_model(sys.argv[1]) as model:
    Path("/proc/self/clear_refs").write_text("5")
    before = kib("VmRSS")
    fingerprint(model, level="core", threads=2)
    print(kib("VmHWM") - before)
"""


def _model(path: Path) -> None:
    """Matrices of the sizes that a transformer has."""
    rng = np.random.default_rng(0)
    shape = (1024, 4096)
    count = SIZE // (4 * shape[0] * shape[1])
    made = {f"layer.{n}": rng.standard_normal(shape, np.float32) for n in range(count)}
    safetensors.numpy.save_file(made, path)


def _model_signing(path: Path) -> Callable[[], object] | None:
    """model-signing's default hashing of one file, or None where it is not installed."""
    package = PEERS / "model_signing"
    if not package.is_dir():
        print(f"no model-signing in {PEERS.name}: run make .peers", file=sys.stderr)
        return None
    # The package's own __init__ imports its signing, and that a dozen packages.
    parent = types.ModuleType("model_signing")
    parent.__path__ = [str(package)]
    sys.modules["model_signing"] = parent
    hashing = importlib.import_module("model_signing.hashing")
    return lambda: hashing.Config().hash(path)


def _fingerprint(path: Path, level: Any) -> object:
    with open_model(path) as model:
        return fingerprint(model, level=level, threads=2)


def rows() -> list[dict[str, Any]]:
    """Speeds of both levels, their ratios to the peers, and the memory of one pass."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        path = Path(folder) / "model.safetensors"
        _model(path)
        size = path.stat().st_size
        content = memoryview(path.read_bytes())
        works: dict[str, Callable[[], object]] = {
            "core": lambda: _fingerprint(path, "core"),
            "file": lambda: _bare_file(path, size),
            "memory": lambda: _bare_memory(content),
            "deep": lambda: _fingerprint(path, "deep"),
        }
        peer = _model_signing(path)
        if peer is not None:
            works["peer"] = peer
        taken = interleaved({name: timed(work) for name, work in works.items()}, ROUNDS)
        peak = subprocess.run(
            [sys.executable, "-c", _PEAK, str(path)], check=True, capture_output=True, text=True
        )
    speed = {name: size / seconds / 1e6 for name, seconds in taken.items()}
    found = [
        row("fingerprint_mb_s", round(speed["core"], 1), "MB/s"),
        ratio(
            "fingerprint_over_sha256_limit",
            round(speed["core"] / speed["file"], 3),
            f"{speed['file']:.0f} MB/s: bare SHA-256 of the file, 2 threads",
        ),
        ratio(
            "fingerprint_over_sha256_from_memory",
            round(speed["core"] / speed["memory"], 3),
            f"{speed['memory']:.0f} MB/s: bare SHA-256 of bytes in memory already, 2 threads",
        ),
        row("fingerprint_deep_mb_s", round(speed["deep"], 1), "MB/s"),
        row("fingerprint_memory_mb", round(int(peak.stdout) / 1024, 1), "MB"),
    ]
    if peer is not None:
        over = round(speed["core"] / speed["peer"], 3)
        against = f"{speed['peer']:.0f} MB/s: model-signing 1.1.1, default hashing"
        found.insert(1, ratio("fingerprint_over_model_signing", over, against))
    return found
