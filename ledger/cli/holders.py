"""Lists of holders, as CSV or JSON, for issuing many licenses at once.

CSV has a header line with ``to`` and, where wanted, ``not_before``, ``not_after`` and
``external_ref``. JSON is a list of accounts, or of objects with those members.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ledger.canonical import parse_json
from ledger.errors import LimitExceeded, ManifestError, UsageError
from ledger.ids import Address, quoted
from ledger.licensing.batch import MAX_LEAVES

COLUMNS: Final = ("to", "not_before", "not_after", "external_ref")
_MAX_BYTES: Final = 64 << 20
_HINT: Final = f"begin a CSV file with the line to, and where wanted {', '.join(COLUMNS[1:])}"


@dataclass(frozen=True, slots=True)
class Holder:
    """One row. Times in Unix seconds, 0 where the row says none."""

    to: Address
    not_before: int = 0
    not_after: int = 0
    external_ref: str = ""


def read(
    path: Path, account: Callable[[str], Address], moment: Callable[[str], int]
) -> tuple[Holder, ...]:
    """Read a list of holders.

    Args:
        path: the file; JSON when it begins with ``[``.
        account: reads an account as people name it.
        moment: reads a time as people write it, in Unix seconds.

    Raises:
        ManifestError: not such a list; the message names the row.
        LimitExceeded: more than 64 MiB or 131,072 rows.
    """
    with path.open("rb") as handle:
        raw = handle.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise LimitExceeded(f"{path.name} is longer than 64 MiB", hint="split the list")
    rows = _json_rows(raw, path.name) if raw.lstrip()[:1] == b"[" else _csv_rows(raw, path.name)
    holders = []
    for number, row in enumerate(rows, 1):
        if number > MAX_LEAVES:
            raise LimitExceeded(
                f"{path.name} has more than {MAX_LEAVES} rows", hint="split the list"
            )
        try:
            holders.append(_holder(row, account, moment))
        except UsageError as error:
            raise ManifestError(
                f"row {number} of {path.name}: {error.message}", hint=error.hint
            ) from None
    if not holders:
        raise ManifestError(f"{path.name} lists no holder", hint=_HINT)
    return tuple(holders)


def _holder(
    row: Mapping[str, str], account: Callable[[str], Address], moment: Callable[[str], int]
) -> Holder:
    def when(name: str) -> int:
        text = row.get(name, "")
        return 0 if text in {"", "0"} else moment(text)

    to = row.get("to", "")
    if not to:
        raise UsageError("there is no holder in it", hint=_HINT)
    return Holder(account(to), when("not_before"), when("not_after"), row.get("external_ref", ""))


def _csv_rows(raw: bytes, name: str) -> Iterable[Mapping[str, str]]:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ManifestError(f"{name} is not UTF-8 text", hint="save it as CSV in UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        head = [cell.strip() for cell in next(reader, [])]
        _check_columns(head, name)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(head):
                raise ManifestError(
                    f"line {reader.line_num} of {name} has {len(cells)} cells, its header "
                    f"{len(head)}",
                    hint="put a text with commas into quotes",
                )
            yield dict(zip(head, (cell.strip() for cell in cells), strict=True))
    except csv.Error as error:
        raise ManifestError(f"{name} is not CSV: {error}", hint=_HINT) from None


def _json_rows(raw: bytes, name: str) -> Iterable[Mapping[str, str]]:
    document = parse_json(raw, what=name, limit=_MAX_BYTES)
    for item in document:
        if isinstance(item, str):
            yield {"to": item}
            continue
        if not isinstance(item, dict):
            raise ManifestError(f"{name} lists {quoted(json.dumps(item))}", hint=_HINT)
        _check_columns(list(item), name)
        yield {key: _text(key, value, name) for key, value in item.items()}


def _text(key: str, value: Any, name: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and key.startswith("not_"):
        return str(value)
    raise ManifestError(f"{name}: {key} is text", hint="write it in quotes")


def _check_columns(names: list[str], name: str) -> None:
    unknown = sorted(set(names) - set(COLUMNS))
    if unknown:
        raise ManifestError(f"{name} has a column {quoted(unknown[0])}", hint=_HINT)
    if "to" not in names or len(set(names)) != len(names):
        raise ManifestError(f"{name} needs one column to", hint=_HINT)
