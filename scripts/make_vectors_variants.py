"""Write the vectors of docs/spec/variants.md: one fault each, named for it."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from ledger.ids import Address, Digest, LicenseId
from ledger.sealed.cells import CellKeys, CellRow, CellTable, ReleasedCells, records_hash
from ledger.sealed.codeword import CodeParameters, biases, code_commitment, code_word

ROOT = Path(__file__).parents[1] / "tests" / "vectors" / "variants"
HOLDER = Address(bytes([0x44]) * 20)


def fixed(name: str, size: int = 32) -> bytes:
    """Bytes that are the same in every run."""
    return hashlib.shake_256(name.encode()).digest(size)


def hexed(data: bytes | bytearray) -> str:
    """0x and lower-case digits."""
    return "0x" + bytes(data).hex()


def write(name: str, vector: dict[str, Any]) -> None:
    """Write one vector file."""
    ROOT.mkdir(parents=True, exist_ok=True)
    (ROOT / f"{name}.json").write_text(json.dumps(vector, indent=1) + "\n")


def word_vector(
    count: int, colluders: int, license_id: LicenseId, holder: Address = HOLDER, tenure: int = 0
) -> dict[str, Any]:
    """A code word with all it is made of."""
    parameters = CodeParameters(count, colluders)
    key, salt = fixed("code key"), fixed("salt of the code key")
    word = code_word(parameters, key, license_id, holder, tenure)
    return {
        "kind": "word",
        "count": count,
        "colluders": colluders,
        "code_key": hexed(key),
        "key_salt": hexed(salt),
        "code_commit": str(code_commitment(parameters, key, salt)),
        "license": str(int(license_id)),
        "holder": hexed(holder.raw),
        "tenure": tenure,
        "biases": [f"0x{one:016x}" for one in biases(parameters, key)],
        "salt": hexed(word.salt),
        "packed": hexed(word.packed()),
        "code_hash": str(word.hash()),
    }


def cell_vectors() -> dict[str, dict[str, Any]]:
    """Released cells, whole and with one fault."""
    count = 11
    keys = CellKeys(bytearray(fixed("cell keys", 64 * count)))
    records = [
        records_hash(Digest(fixed(f"record A {n}")), Digest(fixed(f"record B {n}")))
        for n in range(count)
    ]
    table = CellTable.of(keys, records)
    word = code_word(CodeParameters(count, 3), fixed("code key"), LicenseId.of(1, 1), HOLDER, 0)
    data = bytes(ReleasedCells(word, keys.chosen(word)).to_bytes())

    def rows(one: CellTable) -> list[list[str]]:
        return [[str(row.a), str(row.b), str(row.records)] for row in one.rows]

    def vector(released: bytes, error: str | None, **changes: Any) -> dict[str, Any]:
        return {
            "kind": "cells",
            "count": count,
            "table": rows(table),
            "variant_root": str(table.root()),
            "root_holds": True,
            "released": hexed(released),
            "error": error,
        } | changes

    def changed(at: int, by: int) -> bytes:
        return data[:at] + bytes([data[at] ^ by]) + data[at + 1 :]

    first = table.rows[0]
    forms = CellTable((CellRow(first.b, first.a, first.records), *table.rows[1:]))
    other = CellTable((CellRow(first.a, first.b, table.rows[1].records), *table.rows[1:]))
    return {
        "cells": vector(data, None),
        "cells-key-altered": vector(changed(40, 1), "KEY_ACCESS_ERROR"),
        "cells-last-key-altered": vector(changed(len(data) - 1, 0x80), "KEY_ACCESS_ERROR"),
        "cells-bit-altered": vector(changed(32, 0x80), "KEY_ACCESS_ERROR"),
        "cells-bit-behind-the-last": vector(changed(33, 1), "LIMIT_EXCEEDED"),
        "cells-short": vector(data[:-1], "LIMIT_EXCEEDED"),
        "cells-long": vector(data + b"\0", "LIMIT_EXCEEDED"),
        "cells-one-fewer": vector(data[:-32], "LIMIT_EXCEEDED"),
        "cells-table-forms-exchanged": vector(
            data, "KEY_ACCESS_ERROR", table=rows(forms), root_holds=False
        ),
        "cells-table-other-records": vector(data, None, table=rows(other), root_holds=False),
        "cells-table-shorter": vector(
            data, "KEY_ACCESS_ERROR", table=rows(table)[:-1], root_holds=False
        ),
    }


def main() -> int:
    """Write them all."""
    license_id = LicenseId.of(7, 42)
    write("word-one-cell", word_vector(1, 1, license_id))
    for colluders in (1, 2, 3, 4, 5, 8, 16):
        write(f"word-colluders-{colluders}", word_vector(24, colluders, license_id))
    write("word-odd-length", word_vector(13, 4, license_id))
    write("word-other-license", word_vector(24, 4, LicenseId.of(7, 43)))
    write("word-other-holder", word_vector(24, 4, license_id, Address(bytes([0x45]) * 20)))
    write("word-second-tenure", word_vector(24, 4, license_id, tenure=2))
    for name, vector in cell_vectors().items():
        write(name, vector)
    sys.stdout.write(f"wrote {len(list(ROOT.glob('*.json')))} vectors\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
