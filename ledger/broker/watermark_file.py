"""The watermark record on disk, under a passphrase or opened: docs/spec/watermark.md, section 1."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ledger.broker.custody import (
    decrypt_with_passphrase,
    encrypt_with_passphrase,
    write_private,
    zero,
)
from ledger.canonical import parse_json
from ledger.watermark.record import MAX_BYTES, TYPE, Record

PURPOSE: Final = "modeldeed-watermark"


def load_record(path: Path, passphrase: Callable[[], str]) -> Record:
    """Read a record file, encrypted or opened; asks for the passphrase only of the first kind.

    Raises:
        ManifestError: not a watermark record.
        WrongPassphrase: it does not open.
    """
    with path.open("rb") as file:
        data = file.read(2 * MAX_BYTES + 1)
    outer = parse_json(data, what=path.name, limit=2 * MAX_BYTES)
    if isinstance(outer, dict) and outer.get("type") == TYPE:
        return Record.from_contents(data, what=path.name)
    plain = decrypt_with_passphrase(outer, passphrase(), purpose=PURPOSE)
    try:
        return Record.from_contents(plain, what=path.name)
    finally:
        zero(plain)


def save_record(record: Record, path: Path, passphrase: str, *, replace_it: bool) -> None:
    """Write a record file, whole or not at all, for its owner's eyes.

    Raises:
        ConfigurationError: it is there and `replace_it` is false, or cannot be written.
    """
    plain = record.contents()
    try:
        document = encrypt_with_passphrase(plain, passphrase, purpose=PURPOSE)
    finally:
        zero(plain)
    write_private(path, json.dumps(document, indent=2).encode() + b"\n", replace=replace_it)
