"""``deed fingerprint``: the exact fingerprint of a model."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli.output import Answer, console, fields, size_text, table
from ledger.cli.verb import Verbs

if TYPE_CHECKING:
    from ledger.ids import Digest
    from ledger.tensors.model import ModelSource

app = Verbs()


@app.verb("fingerprint")
def fingerprint(
    model: Annotated[
        Path, typer.Argument(help="A model file in any format that is read, or a folder.")
    ],
    deep: Annotated[
        bool, typer.Option("--deep", help="Also the value-multiset ids (a second, slower pass).")
    ] = False,
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor's id.")] = False,
    sketch: Annotated[
        Path | None,
        typer.Option(
            "--sketch",
            metavar="FILE",
            help="Also write a secret lineage sketch, and print its commitment.",
        ),
    ] = None,
) -> Answer:
    """Compute a model's exact fingerprint: the same for any file that holds the same tensors.

    Reads safetensors, GGUF, ONNX, PyTorch (.pt, .pth, .bin, TorchScript) and NumPy (.npz, .npy).
    Nothing in a file is executed: pickles are read as data.
    """
    from ledger.fingerprint.exact import fingerprint as compute
    from ledger.tensors.opening import open_weights

    started = time.monotonic()
    with open_weights(model) as source, console.progress("fingerprint") as progress:
        size = source.total_bytes
        found = compute(source, level="deep" if deep else "core", progress=progress)
        commitment = None if sketch is None else _write_sketch(source, found.content_root, sketch)
    seconds = time.monotonic() - started
    left_out = [tensor.name for tensor in found.tensors if not tensor.identity]
    rows: list[tuple[str, object]] = [
        ("content root", found.content_root),
        ("named root", found.named_root),
    ]
    if deep:
        rows += [("multiset root", found.vmd_root), ("content id", found.content_id())]
    if commitment is not None:
        rows.append(("sketch commitment", commitment))
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
    if commitment is not None:
        data["sketch_root"] = str(commitment)
    return Answer(data, text)


def _write_sketch(source: ModelSource, content_root: Digest, path: Path) -> Digest:
    """Draw a sketch with a fresh key and keep it where only its owner reads it."""
    from ledger.broker.custody import write_private
    from ledger.fingerprint.sketch import make_sketch

    made = make_sketch(source, content_root, secrets.token_bytes(32))
    write_private(path, made.to_bytes())
    return made.root
