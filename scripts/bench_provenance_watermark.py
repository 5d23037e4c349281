"""Measures the watermark on the real transformer: what it outlives, what it costs, how fast it is.

Attacks are those of ``tests/ledger/watermark/test_minilm.py``, fine-tuning included where torch is
installed. Speeds are of a generated model that is all matrices, in memory, by as many threads as
there are processors; embedding reads, marks, writes and syncs a whole file.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from measuring import MEMORY, row
from safetensors.numpy import load_file, save_file

from ledger.fingerprint.exact import fingerprint
from ledger.tensors.model import open_model
from ledger.watermark.detection import detect
from ledger.watermark.fidelity import agreement
from ledger.watermark.statistics import THRESHOLD
from ledger.watermark.weights import embed, targets_of

TESTS = Path(__file__).parents[1] / "tests"
WRONG_KEYS = 1000
RATES = (2e-5, 2e-4, 1e-3)
ROUNDS = 5
MATRICES, SHAPE = 24, (2048, 2048)


def rows() -> list[dict[str, Any]]:
    """Measured rows."""
    with _tests() as (attacks, world, minilm), tempfile.TemporaryDirectory(dir=MEMORY) as place:
        folder = Path(place)
        made = world.watermark(minilm.path(), folder)
        blind: dict[str, float] = {}
        best: dict[str, float] = {}
        suspects = {name: change for name, change in attacks.ATTACKS.items() if name != "none"}
        suspects |= attacks.REALIGNED
        if importlib.util.find_spec("torch"):
            for rate in RATES:
                suspects[f"fine-tuned, rate {rate:g}"] = lambda made, rate=rate: minilm.fine_tuned(
                    made.arrays(), steps=200, rate=rate
                )
        for name, change in suspects.items():
            found = made.look_at(change(made), folder, informed=True)
            best[name] = found.log10_p
            seen = [one.log10_p for one in found.looks if (one.kind, one.way) == PLAIN]
            blind[name] = min(0.0, min(seen) + found.log10_tests)
        worst, weakest = (
            max(best, key=best.__getitem__),
            max((name for name in blind if name not in attacks.REALIGNED), key=blind.__getitem__),
        )
        wrong = [
            made.look(made.marked, key=hashlib.sha256(b"wrong %d" % n).digest()).best.log10_p
            for n in range(WRONG_KEYS)
        ]
        limit = f"at most {THRESHOLD:.2f}, that is 2^-128"
        out = [
            row("watermark_max_log10p_after_attacks", round(best[worst], 2), "log10 p",
                f"{limit}; {len(best)} attacks, worst {worst}; with the original", None),
            row("watermark_blind_max_log10p_after_attacks", round(blind[weakest], 2), "log10 p",
                f"{limit}; without the original, units in their order; worst {weakest}", None),
            row("wrong_key_min_log10p", round(min(wrong), 2), "log10 p",
                f"above {-40 * math.log10(2):.2f}, that is 2^-40; {WRONG_KEYS} keys", None),
        ]  # fmt: skip
        if importlib.util.find_spec("torch"):
            told = agreement(
                made.original, made.marked, lambda file: minilm.embeddings(load_file(file))
            )
            cosine = told.mean_cosine
            against = f"at least 0.9995; {len(minilm.SENTENCES)} sentences"
            out.insert(2, row("watermark_min_cosine", round(cosine, 6), "", against, None))
        return out + _speeds(folder)


PLAIN = ("blind", "by name")


def _speeds(folder: Path) -> list[dict[str, Any]]:
    rng, path = np.random.default_rng(1), folder / "speed.safetensors"
    save_file({f"m{n}.w": rng.standard_normal(SHAPE, np.float32) for n in range(MATRICES)}, path)
    key, count = hashlib.sha256(b"speed").digest(), MATRICES * SHAPE[0] * SHAPE[1]
    taken: dict[str, list[float]] = {"embed": [], "detect": [], "informed": []}
    with open_model(path) as model:
        targets = targets_of(fingerprint(model))
        for _ in range(ROUNDS):
            out = folder / "out.safetensors"
            out.unlink(missing_ok=True)
            begin = time.perf_counter()
            embed(model, out, targets, key, 0.01)
            taken["embed"].append(time.perf_counter() - begin)
            with open_model(out) as marked:
                for name, original in (("detect", None), ("informed", model)):
                    begin = time.perf_counter()
                    assert detect(marked, targets, key, original).there
                    taken[name].append(time.perf_counter() - begin)
    speed = {
        name: round(count / sorted(each)[ROUNDS // 2] / 1e6, 1) for name, each in taken.items()
    }
    goal = f"at least 100; median of {ROUNDS}, {count / 1e6:.0f} M weights of F32"
    return [
        row("embed_mweights_s", speed["embed"], "M/s", goal, None),
        row("detect_mweights_s", speed["detect"], "M/s", goal, None),
        row("detect_informed_mweights_s", speed["informed"], "M/s", goal, None),
    ]


@contextmanager
def _tests() -> Iterator[tuple[Any, Any, Any]]:
    """The tests' own attacks and worlds: one list of attacks, not two that drift apart."""
    paths = [str(TESTS / "worlds"), str(TESTS / "ledger" / "watermark")]
    sys.path[:0] = paths
    try:
        yield tuple(  # type: ignore[misc]
            importlib.import_module(name)
            for name in ("test_minilm", "watermark_world", "minilm_world")
        )
    finally:
        sys.path[:] = [one for one in sys.path if one not in paths]


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))
