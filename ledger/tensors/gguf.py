"""Where a GGUF file keeps its tensors, without the ``gguf`` package and without loading it.

Layout: ``"GGUF" ‖ u32 version ‖ u64 tensors ‖ u64 pairs ‖ pairs ‖ tensor infos ‖ padding ‖ data``,
little-endian; source: ggml ``docs/gguf.md``, versions 2 and 3. Dimensions stand reversed and are
given row-major here. Block-quantised types have no element type of ours: such a tensor is listed as
``U8`` with its rows in bytes, which is how the ``gguf`` package shows it too; `TensorInfo.packing`
tells how to read weights out of it (``ledger.tensors.values``).
"""

from __future__ import annotations

from typing import Final

from ledger.errors import LimitExceeded, UnsupportedModel, UnsupportedVersion
from ledger.tensors.safetensors import (
    MAX_DIM,
    MAX_NAME_BYTES,
    MAX_TENSORS,
    Blocks,
    TensorInfo,
    check_name,
)
from ledger.tensors.window import Window

MAX_PAIRS: Final = 1 << 16
MAX_ITEMS: Final = 1 << 24
_MAX_DIMS: Final = 4
_ALIGNMENT: Final = b"general.alignment"
_STRING, _ARRAY = 8, 9
_WIDTHS: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_PLAIN: Final = {
    0: ("F32", 4), 1: ("F16", 2), 24: ("I8", 1), 25: ("I16", 2), 26: ("I32", 4), 27: ("I64", 8),
    28: ("F64", 8), 30: ("BF16", 2),
}  # fmt: skip

BLOCKS: Final = {
    2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110),
    22: (256, 82), 23: (256, 136), 29: (256, 56), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""Block types by ggml's number: elements of a block, and its bytes."""


def locate_tensors(window: Window, *, member: int) -> tuple[TensorInfo, ...]:
    """List the tensors of a GGUF file in file order.

    Raises:
        TensorFileError: inconsistent, or it points outside itself.
        LimitExceeded: more tensors, pairs or items than are read.
        UnsupportedVersion: another version than 2 and 3.
        UnsupportedModel: no tensor of a known type is in it.
    """
    version, count, pairs = window.little(4, 4), window.little(8, 8), window.little(16, 8)
    if version not in {2, 3}:
        raise UnsupportedVersion(
            f"{window.what} is a GGUF file of version {version}; 2 and 3 are read"
        )
    if count > MAX_TENSORS or pairs > MAX_PAIRS:
        raise LimitExceeded(f"{window.what} announces {count} tensors and {pairs} settings")
    at, alignment = _settings(window, pairs)
    rows: list[tuple[str, list[int], int, int]] = []
    for _ in range(count):
        name, at = _string(window, at)
        check_name(name, window.what)
        dims = window.little(at, 4)
        if dims > _MAX_DIMS:
            raise window.damaged(f"gives tensor {name[:80]!r} {dims} dimensions")
        shape = [window.little(at + 4 + 8 * axis, 8) for axis in reversed(range(dims))]
        at += 4 + 8 * dims
        rows.append((name, shape, window.little(at, 4), window.little(at + 4, 8)))
        at += 12
    base = -(-at // alignment) * alignment
    known = [_info(window, row, base, member) for row in rows]
    infos = sorted((i for i in known if i is not None and i.nbytes), key=lambda i: i.offset)
    _check(window, infos)
    return tuple(infos)


def _settings(window: Window, pairs: int) -> tuple[int, int]:
    """Where the key-value pairs end, and the alignment they set."""
    at, alignment, items = 24, 32, 0
    for _ in range(pairs):
        size = window.little(at, 8)
        if size > MAX_NAME_BYTES:
            raise window.damaged("holds a name that is too long")
        key = window.take(at + 8, size)
        at += 8 + size
        kind = window.little(at, 4)
        at += 4
        if kind == _ARRAY:
            inner, length = window.little(at, 4), window.little(at + 4, 8)
            at += 12
            items += length
            if items > MAX_ITEMS or inner == _ARRAY:
                raise LimitExceeded(f"{window.what} holds more settings than are read")
            if inner == _STRING:
                for _ in range(length):
                    at += 8 + window.little(at, 8)
            else:
                at += length * _width(window, inner)
        elif kind == _STRING:
            at += 8 + window.little(at, 8)
        else:
            if key == _ALIGNMENT:
                alignment = window.little(at, _width(window, kind))
            at += _width(window, kind)
    if not 0 < alignment <= 1 << 16 or alignment & (alignment - 1):
        raise window.damaged("sets an alignment that is no power of two")
    return at, alignment


def _width(window: Window, kind: int) -> int:
    try:
        return _WIDTHS[kind]
    except KeyError:
        raise window.damaged("holds a setting of an unknown type") from None


def _string(window: Window, at: int) -> tuple[str, int]:
    size = window.little(at, 8)
    if size > MAX_NAME_BYTES:
        raise window.damaged("holds a name that is too long")
    try:
        return window.take(at + 8, size).decode(), at + 8 + size
    except UnicodeDecodeError:
        raise window.damaged("holds a name that is not UTF-8") from None


def _info(
    window: Window, row: tuple[str, list[int], int, int], base: int, member: int
) -> TensorInfo | None:
    name, shape, kind, offset = row
    elements = 1
    for dim in shape:
        if dim > MAX_DIM:
            raise window.damaged("gives a tensor a dimension that is no number")
        elements *= dim
    packing = None
    if kind in _PLAIN:
        dtype, width = _PLAIN[kind]
        nbytes = elements * width
    elif kind in BLOCKS and shape and shape[-1] % BLOCKS[kind][0] == 0:
        block, width = BLOCKS[kind]
        dtype, nbytes = "U8", elements // block * width
        packing = Blocks(kind, tuple(shape))
        shape = [*shape[:-1], shape[-1] // block * width]
    else:
        # Newer than this release: its bytes are covered by the member's digest alone.
        return None
    return TensorInfo(name, dtype, tuple(shape), member, base + offset, nbytes, packing)


def _check(window: Window, infos: list[TensorInfo]) -> None:
    if not infos:
        raise UnsupportedModel(
            f"{window.what} is a GGUF file without tensors that this release reads",
            hint="convert the model again with a current llama.cpp",
        )
    end, names = 0, set()
    for info in infos:
        if info.offset < end or info.name in names:
            raise window.damaged(f"places tensor {info.name[:80]!r} twice or over another")
        end = info.offset + info.nbytes
        names.add(info.name)
    if end > window.size:
        raise window.damaged("is truncated")
