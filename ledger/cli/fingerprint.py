"""``deed fingerprint``: the exact fingerprint of a model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.cli.output import Answer, console, fields, size_text, table
from ledger.cli.verb import Verbs

app = Verbs()


@app.verb("fingerprint")
def fingerprint(
    model: Annotated[
        Path, typer.Argument(help="A .safetensors, .onnx or .gguf file, or a folder.")
    ],
    deep: Annotated[
        bool, typer.Option("--deep", help="Also the value-multiset ids (a second, slower pass).")
    ] = False,
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor's id.")] = False,
) -> Answer:
    """Compute a model's exact fingerprint: the same for any file that holds the same tensors."""
    from ledger.fingerprint.exact import fingerprint as compute
    from ledger.tensors.model import open_model

    started = time.monotonic()
    with open_model(model) as source, console.progress("fingerprint") as progress:
        size = source.total_bytes
        found = compute(source, level="deep" if deep else "core", progress=progress)
    seconds = time.monotonic() - started
    left_out = [tensor.name for tensor in found.tensors if not tensor.identity]
    rows: list[tuple[str, object]] = [
        ("content root", found.content_root),
        ("named root", found.named_root),
    ]
    if deep:
        rows += [("multiset root", found.vmd_root), ("content id", found.content_id())]
    rows += [
        ("tensors", f"{len(found.tensors)}, {len(left_out)} without identity"),
        ("parameters", f"{found.n_params:,}"),
        ("size", size_text(size)),
    ]
    text = fields(rows)
    if tensors:
        listed = [
            (t.cid, t.dtype, "x".join(map(str, t.shape)) or "scalar", t.name) for t in found.tensors
        ]
        text += "\n\n" + table(("id", "type", "shape", "name"), listed, empty="no tensors")
    data: dict[str, Any] = {**found.to_json(), "bytes": size, "seconds": round(seconds, 3)}
    return Answer(data, text)
