"""Coverage-guided fuzzing of what a sealed package makes us read before and after its tags.

Usage: ``python scripts/fuzz_sealed.py TARGET [libFuzzer options]`` with TARGET one of

- ``prelude``: the first 96 bytes and the public part, as anyone can write them;
- ``tables``: the encrypted tables and leaf list, as whoever holds the content key can write them,
  as raw bytes and as a good document with values of other kinds in it;
- ``package``: a whole file, opened with its key; the input is a list of edits to a good one.

Anything but a class of our error tree is a finding, and so is a mutated package that opens. Needs
atheris (``make .fuzz``). ``make deep`` gives each target FUZZ_SECONDS.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / ".fuzz"))
import atheris  # noqa: E402  installed apart

with atheris.instrument_imports(include=["ledger"]):
    from ledger.canonical import canonical_json
    from ledger.errors import LedgerError
    from ledger.ids import Address, ModelId
    from ledger.sealed.file import open_sealed, seal
    from ledger.sealed.header import PRELUDE_BYTES, Prelude, PublicPart
    from ledger.sealed.index import Tables, join_index, split_index

KEY = hashlib.sha256(b"fuzz").digest()
STEP = 1 << 16


def prelude(data: bytes) -> None:
    """Prelude and public part."""
    try:
        Prelude.parse(data[:PRELUDE_BYTES])
        PublicPart.parse(data[PRELUDE_BYTES:])
    except LedgerError:
        return


def tables(data: bytes) -> None:
    """Index plaintext and tables, as bytes or as a good document with some values replaced."""
    source = atheris.FuzzedDataProvider(data)
    segments = source.ConsumeIntInRange(1, 4)
    if source.ConsumeBool():
        table, leaves = replaced(source, segments), bytes(32 * segments)
    else:
        rest = source.ConsumeBytes(len(data))
        try:
            table, leaves = split_index(rest, segments)
        except LedgerError:
            table, leaves = rest, b""
    try:
        made = Tables.parse(table, segments=segments, segment_bytes=STEP)
    except LedgerError:
        return
    again = Tables.parse(made.to_bytes(), segments=segments, segment_bytes=STEP)
    if again != made:
        raise RuntimeError("accepted tables do not come back the same")
    if leaves and split_index(join_index(table, leaves), segments) != (table, leaves):
        raise RuntimeError("an accepted index does not come back the same")


def replaced(source: Any, segments: int) -> bytes:
    """A good document in which up to four values are others."""
    size = segments * STEP
    document: Any = {
        "members": [["m", size, "weights", 0, "00" * 32]],
        "tensors": [
            ["a", "F32", [4], 0, 8, "00" * 32],
            ["b", "F16", [2, 2], 0, 24, "11" * 32],
        ],
        "version": 1,
    }
    for _ in range(source.ConsumeIntInRange(0, 4)):
        node = document
        while True:
            places = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not places:
                break
            place = places[source.ConsumeIntInRange(0, len(places) - 1)]
            if isinstance(node[place], dict | list) and source.ConsumeBool():
                node = node[place]
                continue
            node[place] = value(source)
            break
    return json.dumps(document, separators=(",", ":")).encode("utf-8", "surrogatepass")


def value(source: Any) -> Any:
    """Some JSON value."""
    kind = source.ConsumeIntInRange(0, 8)
    plain = (None, True, False, -1, 2**63, 10**40, 0.5, [], {})
    if kind < 4:
        return plain[source.ConsumeIntInRange(0, len(plain) - 1)]
    if kind < 6:
        return source.ConsumeInt(8)
    if kind == 6:
        return [source.ConsumeInt(4) for _ in range(source.ConsumeIntInRange(0, 9))]
    return source.ConsumeUnicode(source.ConsumeIntInRange(0, 70))


def package(folder: Path) -> Callable[[bytes], None]:
    """Edits of a good package: five bytes each, place and XOR."""
    import numpy as np
    from safetensors.numpy import save_file

    from ledger.tensors.model import open_model

    rng = np.random.default_rng(3)
    save_file({"w": rng.standard_normal((40, 640)).astype("f4")}, folder / "m.safetensors")
    good = folder / "good.sealed"
    with open_model(folder / "m.safetensors") as model:
        seal(
            model,
            good,
            content_key=KEY,
            model_id=ModelId(bytes(32)),
            chain_id=31337,
            registry=Address(bytes(20)),
            log2_segment=16,
        )
    original, hostile = good.read_bytes(), folder / "hostile.sealed"

    def edited(data: bytes) -> None:
        body = bytearray(original)
        for at in range(0, len(data) - 4, 5):
            body[int.from_bytes(data[at : at + 4], "big") % len(body)] ^= data[at + 4]
        if body == original:
            return
        hostile.write_bytes(body)
        try:
            with open_sealed(hostile, KEY) as opened:
                opened.load_all()
        except LedgerError:
            return
        raise RuntimeError("an altered package was accepted")

    return edited


def seeds(folder: Path) -> None:
    """Good inputs to start from."""
    row = ["w", "F32", [4], 0, 8, "00" * 32]
    table = canonical_json(
        {"members": [["m", 24, "weights", 0, "00" * 32]], "tensors": [row], "version": 1}
    )
    (folder / "table").write_bytes(b"\0" + table)
    (folder / "index").write_bytes(b"\0" + join_index(table, bytes(32)))
    public = PublicPart(ModelId(bytes(32)), 1, Address(bytes(20)), 1, 0, ("https://x",)).to_bytes()
    head = b"\x89SLM\r\n\x1a\n\0\1\0\2\x14\0\0\0" + len(public).to_bytes(4, "big")
    head += (1 << 12).to_bytes(4, "big") + (1).to_bytes(8, "big") + bytes(64)
    (folder / "prelude").write_bytes(head + public)
    (folder / "edit").write_bytes(bytes([0, 0, 0, 12, 1]))


def main() -> None:
    """Fuzz one target until libFuzzer's options end it."""
    if len(sys.argv) < 2 or sys.argv[1] not in ("prelude", "tables", "package"):
        print(__doc__)
        sys.exit(2)
    name = sys.argv.pop(1)
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        corpus = work / "corpus"
        corpus.mkdir()
        seeds(corpus)
        targets = {"prelude": prelude, "tables": tables}
        target = targets.get(name) or package(work)
        artifacts = ROOT / "build" / "fuzz"
        artifacts.mkdir(parents=True, exist_ok=True)
        options = [f"-artifact_prefix={artifacts}/", *sys.argv[1:], str(corpus)]
        atheris.Setup([sys.argv[0], *options], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
