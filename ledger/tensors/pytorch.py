"""Where a PyTorch file keeps its tensors, without torch and without unpickling.

Two layouts: a zip archive with ``data.pkl`` and one entry for each storage (since 1.6; TorchScript
has ``constants.pkl`` beside it), and before that a row of pickles with the storages behind them.
Storages are located and never loaded. Source: ``torch/serialization.py`` of PyTorch 2.9.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import Any, Final

from ledger.errors import LimitExceeded, UnsupportedModel
from ledger.tensors.dtypes import DTYPES
from ledger.tensors.pickles import MAX_PICKLE_BYTES, Built, read_pickle
from ledger.tensors.rebuilt import deflated
from ledger.tensors.torchtensors import Located, Storage, TensorWalk, storage_of, values_in
from ledger.tensors.window import Window
from ledger.tensors.zips import Entry, inflate

# What torch pickled first, so that its files are known.
_LEGACY_NUMBER: Final = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION: Final = 1001
_MAX_STORAGES: Final = 1 << 20


def is_legacy(prefix: bytes) -> bool:
    """Whether a file begins as PyTorch's pickles did before 1.6."""
    number = _LEGACY_NUMBER.to_bytes(10, "little")
    return prefix[:1] == b"\x80" and prefix[2:4] == b"\x8a\x0a" and prefix[4:14] == number


def locate_zip(
    window: Window, fd: int, found: tuple[Entry, ...], *, member: int, virtual: int
) -> Located:
    """List the tensors of a zip archive that torch wrote.

    Args:
        window: of the file.
        fd: of the file.
        found: its entries.
        member: index of the file.
        virtual: the member number of the first recipe's result.

    Raises:
        TensorFileError, LimitExceeded: damaged, made to mislead, or too large.
        UnsupportedModel: no tensor is in it.
    """
    by_name = {entry.name: entry for entry in found}
    roots = [name for name in by_name if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise UnsupportedModel(
            f"{window.what} is a zip archive, and not one of PyTorch or NumPy",
            hint="give the model file itself",
        )
    top = roots[0].removesuffix("data.pkl")
    order = by_name.get(top + "byteorder")
    if order is not None and _content(fd, order, window) != b"little":
        raise UnsupportedModel(
            f"{window.what} was saved on a big-endian machine",
            hint="load and save it with torch on a little-endian one",
        )
    walk = TensorWalk(window, member, virtual)
    for title, folder in (("data.pkl", "data/"), ("constants.pkl", "constants/")):
        if top + title not in by_name:
            continue
        content = _content(fd, by_name[top + title], window)
        walk.resolve = lambda key, folder=folder: _entry_storage(  # type: ignore[misc]
            walk, by_name.get(f"{top}{folder}{key}")
        )
        # Constants of a TorchScript file are a tuple without names.
        prefix = "" if title == "data.pkl" else "constants"
        walk.collect(read_pickle(io.BytesIO(content), window.what), prefix)
    return walk.located()


def locate_legacy(window: Window, fd: int, *, member: int, virtual: int) -> Located:
    """List the tensors of a file that torch wrote before 1.6.

    Raises:
        TensorFileError, LimitExceeded: damaged, made to mislead, or too large.
        UnsupportedModel: no tensor is in it.
    """
    stream = _Stream(fd, window.size)
    number = read_pickle(stream, window.what)
    version = read_pickle(stream, window.what)
    system = read_pickle(stream, window.what)
    little = not isinstance(system, dict) or system.get("little_endian", True) is True
    if number != _LEGACY_NUMBER or version != _LEGACY_VERSION or not little:
        raise UnsupportedModel(
            f"{window.what} is a PyTorch file of a kind that is not read",
            hint="load and save it with a current torch",
        )
    value = read_pickle(stream, window.what)
    keys = read_pickle(stream, window.what)
    if not isinstance(keys, list) or len(keys) > _MAX_STORAGES:
        raise window.damaged("does not list its storages")
    walk = TensorWalk(window, member, virtual)
    widths = dict(_storage_widths(value))
    places: dict[str, Storage] = {}
    at = stream.place
    for key in keys:
        width = widths.get(key) if isinstance(key, str) else None
        if width is None:
            raise window.damaged("lists a storage that nothing uses")
        nbytes = window.little(at, 8) * width
        places[key] = Storage(member, at + 8, nbytes)
        at += 8 + nbytes
        if at > window.size:
            raise window.damaged("is truncated")
    walk.resolve = places.get
    walk.collect(value, "")
    return walk.located()


class _Stream:
    """Reads a file from the front, in pieces."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size
        self._data = b""
        self._at = 0
        self.place = 0

    def read(self, count: int) -> bytes:
        if self._at + count > len(self._data):
            self._data = os.pread(self._fd, max(count, 1 << 16), self.place)
            self._at = 0
        found = self._data[self._at : self._at + count]
        self._at += len(found)
        self.place += len(found)
        return found


def _content(fd: int, entry: Entry, window: Window) -> bytes:
    if entry.size > MAX_PICKLE_BYTES:
        raise LimitExceeded(
            f"{window.what} has a pickle of {entry.size} bytes, above {MAX_PICKLE_BYTES}",
            hint="save only the weights (state_dict)",
        )
    if not entry.deflated:
        return os.pread(fd, entry.size, entry.offset)
    try:
        return b"".join(inflate(entry, lambda offset, count: os.pread(fd, count, offset)))
    except ValueError:
        raise window.damaged(f"has a damaged {entry.name[:80]!r}") from None


def _entry_storage(walk: TensorWalk, entry: Entry | None) -> Storage | None:
    if entry is None:
        return None
    if not entry.deflated:
        return Storage(walk.member, entry.offset, entry.size)
    return Storage(walk.make(deflated(entry, walk.member)), 0, entry.size)


def _storage_widths(root: Any) -> Iterator[tuple[str, int]]:
    """Bytes of an element, for each storage that a value refers to."""
    for _, value in values_in(root, ""):
        if isinstance(value, Built) and isinstance(value.args, tuple | list) and value.args:
            found = storage_of(value.args[0])
            if found is not None:
                yield found[1], DTYPES[found[2]].bits // 8
