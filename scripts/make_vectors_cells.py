"""Vectors of packages with cells, for ``make_vectors_sealed.py``: one copy, the master, one fault.

A case gives the keys as a release wraps them (docs/spec/variants.md): salt, packed code word, keys.
"""

from __future__ import annotations

import hashlib
import tempfile
from array import array
from pathlib import Path
from typing import Any

from sealed_vectors import KEY, Case, facts, fixed_entropy, safetensors_bytes, seal_fixed, stream

from ledger.ids import Digest
from ledger.sealed import keys
from ledger.sealed.cells import CellKeys, ReleasedCells
from ledger.sealed.codeword import CodeWord
from ledger.sealed.file import CellPlan, inspect, open_sealed
from ledger.sealed.header import CELL_OVERHEAD, PRELUDE_BYTES, SUITE_BLAKE3, Prelude
from ledger.sealed.record import SealingRecord
from ledger.sealed.variants import encrypt_form

COUNT = 2
ZERO = "0x" + "00" * 32


def _weights() -> bytes:
    """Finite numbers that a mark can be added to, with room for twice as many cells."""
    values = array("f", [(byte - 127.5) / 64 for byte in stream("marked weight", 20480)])
    return values.tobytes()


def make_marked(dest: Path, scratch: Path) -> tuple[SealingRecord, CellKeys]:
    """Seal a matrix with cells; the same bytes each time."""
    source = scratch / "marked.safetensors"
    source.write_bytes(safetensors_bytes([("layer.weight", "F32", [80, 256], _weights())]))
    cell_keys = CellKeys(bytearray(stream("cell keys", 64 * COUNT)))
    plan = CellPlan(cell_keys, Digest(stream("code commitment", 32)))
    record = seal_fixed(source, dest, suite=SUITE_BLAKE3, label="cells", cells=plan)
    return record, cell_keys


def released(cell_keys: CellKeys, *forms: int) -> str:
    """One license's keys, as they are wrapped for it."""
    word = CodeWord(bytes(forms), stream("word salt", 32))
    return ReleasedCells(word, cell_keys.chosen(word)).to_bytes().hex()


def _good(path: Path, record: SealingRecord, keys_hex: str, description: str) -> Case:
    opened = ReleasedCells.from_bytes(bytearray.fromhex(keys_hex), COUNT)
    with open_sealed(path, KEY, record=record, cells=opened) as file:
        found = facts(file) | {"marked": list(file.marked)}
    return {
        "description": description,
        "input": {
            "package": path.name,
            "key": KEY.hex(),
            "record": record.to_json(),
            "cells": COUNT,
            "released": keys_hex,
        },
        "expect": {"inspect": inspect(path).to_json(), "record_hash": str(record.hash()), **found},
    }


def _forged(data: bytes, prelude: Prelude, cell_keys: CellKeys) -> bytes:
    """A record of cell 0, form A, over other bytes: a holder of its key can make the tag."""
    clear = data[PRELUDE_BYTES : prelude.index_offset]
    binding = keys.header_binding(data[:PRELUDE_BYTES], clear)
    plain = stream("forged cell", prelude.cell_bytes)
    return encrypt_form(
        cell_keys.key(0, 0), binding, 0, 0, plain, entropy=fixed_entropy("forged record")
    )


def cell_cases(folder: Path) -> dict[str, Case]:
    """A package with cells under one license's keys, and it with one fault each."""
    path = folder / "cells.sealed"
    with tempfile.TemporaryDirectory() as name:
        record, cell_keys = make_marked(path, Path(name))
    data = path.read_bytes()
    prelude = Prelude.parse(data[:PRELUDE_BYTES])
    length = prelude.cell_bytes + CELL_OVERHEAD
    own = released(cell_keys, 0, 1)
    good = _good(path, record, own, "a package with two cells, of a license with forms A and B")
    lodged = good["input"]["record"]

    def at(cell: int, form: int) -> int:
        return prelude.cell_record_offset(cell, form)

    def put(offset: int, part: bytes) -> dict[str, Any]:
        return {"edits": [{"at": offset, "hex": part.hex()}]}

    def flip(offset: int) -> dict[str, Any]:
        return put(offset, bytes([data[offset] ^ 1]))

    def exchange(one: int, two: int) -> dict[str, Any]:
        # Both are copied from the file as it was.
        places = ((one, two), (two, one))
        return {"edits": [{"at": to, "from": of, "bytes": length} for to, of in places]}

    altered = bytearray.fromhex(own)
    altered[-1] ^= 1
    one_cell = CellKeys(bytearray(stream("cell keys", 64)))
    fewer = {"edits": [{"at": 14, "hex": "0001"}], "length": prelude.file_bytes - 2 * length}
    faults: dict[str, tuple[str, dict[str, Any], str]] = {
        "record": ("a record of this license is altered", flip(at(1, 1) + 99), "SEGMENT_TAMPERED"),
        "iv": ("the IV of a record is altered", flip(at(0, 0)), "SEGMENT_TAMPERED"),
        "tag": ("the tag of a record is altered", flip(at(0, 1) - 1), "SEGMENT_TAMPERED"),
        "forms-exchanged": (
            "the records of a cell are exchanged",
            exchange(at(0, 0), at(0, 1)),
            "SEGMENT_TAMPERED",
        ),
        "exchanged": (
            "the records of two cells are exchanged",
            exchange(at(0, 0), at(1, 0)),
            "SEGMENT_TAMPERED",
        ),
        "forged": (
            "a holder of its key encrypts other bytes",
            put(at(0, 0), _forged(data, prelude, cell_keys)),
            "CONTENT_MISMATCH",
        ),
        "cut": (
            "the variant section is missing",
            {"length": prelude.variants_offset},
            "SEALED_TRUNCATED",
        ),
        "fewer": ("the prelude says one cell fewer", fewer, "HEADER_TAMPERED"),
        "no-keys": ("no keys of the cells", {"released": None}, "WRONG_KEY"),
        "key": ("a key is altered", {"released": altered.hex()}, "WRONG_KEY"),
        "other-form": (
            "the word says another form than its key is of",
            {"released": own[:64] + "c0" + own[66:]},
            "WRONG_KEY",
        ),
        "fewer-keys": (
            "keys of one cell",
            {"released": released(one_cell, 0), "cells": 1},
            "WRONG_KEY",
        ),
        "unmarked-record": (
            "the lodged record has no cells",
            {"record": lodged | {"variant_root": ZERO, "code_commit": ZERO}},
            "CONTENT_MISMATCH",
        ),
        "other-variant-root": (
            "the lodged record names another variant root",
            {"record": lodged | {"variant_root": "0x" + hashlib.sha256(b"x").hexdigest()}},
            "CONTENT_MISMATCH",
        ),
        "of-another-file": (
            "keys of cells for a file without any",
            {"package": "package-suite-2.sealed", "record": None},
            "WRONG_KEY",
        ),
    }
    cases = {
        "cells": good,
        "cells-master": _good(
            path, record, released(cell_keys, 0, 0), "the same with every cell in form A"
        ),
        "cells-other-license": {
            **good,
            "description": "a record of another license is altered, which this one never reads",
            "input": good["input"] | flip(at(1, 0) + 99),
        },
    }
    for fault, (description, change, code) in faults.items():
        cases[f"cells-{fault}"] = {
            "description": description,
            "input": good["input"] | change,
            "expect": {"error": code},
        }
    return cases


if __name__ == "__main__":
    raise SystemExit("run make_vectors_sealed.py, which writes these too")
