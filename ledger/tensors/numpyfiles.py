r"""Where NumPy's ``.npy`` and ``.npz`` files keep their arrays; pickled ones are not read.

Layout: ``"\x93NUMPY" ‖ u8 major ‖ u8 minor ‖ length ‖ header ‖ payload``; the header is a Python
dict of three entries, here matched as text and never evaluated. Source: NEP 1 and
``numpy/lib/_format_impl.py`` of NumPy 2.4.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ledger.errors import UnsupportedModel
from ledger.tensors.dtypes import DTYPES
from ledger.tensors.rebuilt import Recipe, deflated, strided, swapped
from ledger.tensors.safetensors import MAX_DIM, MAX_DIMS, MAX_TENSORS, TensorInfo
from ledger.tensors.torchtensors import Located
from ledger.tensors.window import Window
from ledger.tensors.zips import Entry, inflate

MAGIC: Final = b"\x93NUMPY"
_MAX_HEADER: Final = 1 << 16
_SUFFIX: Final = ".npy"
# V2 is how an array of ml_dtypes.bfloat16 is written, and what nothing else of weights is.
_TYPES: Final = {
    "b1": "BOOL", "u1": "U8", "i1": "I8", "u2": "U16", "i2": "I16", "u4": "U32", "i4": "I32",
    "u8": "U64", "i8": "I64", "f2": "F16", "f4": "F32", "f8": "F64", "c8": "C64", "V2": "BF16",
}  # fmt: skip
_HEADER: Final = re.compile(
    rb"\{'descr': '([<>|=])([a-zA-Z]\d{1,4})', 'fortran_order': (True|False), "
    # A comma after each dimension but the last: runs of digits must have one reading alone.
    rb"'shape': \(((?:\d{1,20}L?, ?)*(?:\d{1,20}L?)?)\),? ?\}\s*"
)


@dataclass(frozen=True, slots=True)
class _Array:
    """An array's header: type, whether its bytes are to be turned, order, shape, header bytes."""

    dtype: str
    big: bool
    fortran: bool
    shape: tuple[int, ...]
    start: int


class _Making:
    """Recipes, numbered as members beyond the files."""

    def __init__(self, virtual: int) -> None:
        self._virtual = virtual
        self.recipes: list[Recipe] = []

    def __call__(self, recipe: Recipe) -> int:
        self.recipes.append(recipe)
        return self._virtual + len(self.recipes) - 1


def locate_array(window: Window, *, name: str, member: int, virtual: int) -> Located:
    """The one array of a ``.npy`` file.

    Raises:
        TensorFileError: damaged, or made to mislead.
        UnsupportedModel: its elements are objects, records or texts.
    """
    array = _header(window.take(0, min(window.size, _MAX_HEADER)), window)
    if array is None:
        raise UnsupportedModel(
            f"{window.what} is a NumPy array whose elements are no plain numbers",
            hint="save an array of floats; pickled objects are never loaded",
        )
    make = _Making(virtual)
    info = _tensor(make, name, array, member, array.start, window.size - array.start, window)
    return Located((info,), tuple(make.recipes), ())


def locate_archive(
    window: Window,
    found: tuple[Entry, ...],
    read: Callable[[int, int], bytes],
    *,
    member: int,
    virtual: int,
) -> Located:
    """The arrays of a ``.npz`` file, each named for its entry.

    Args:
        window: of the file.
        found: its entries.
        read: gives bytes of the file by offset and length.
        member: index of the file.
        virtual: the member number of the first recipe's result.

    Raises:
        TensorFileError: damaged, or made to mislead.
        UnsupportedModel: no array of plain numbers is in it.
    """
    infos: list[TensorInfo] = []
    left_out: list[str] = []
    make = _Making(virtual)
    for entry in found[:MAX_TENSORS]:
        name = entry.name.removesuffix(_SUFFIX)
        head = _head(entry, read, window)
        array = _header(head, window) if head[:6] == MAGIC else None
        if array is None:
            left_out.append(entry.name)
            continue
        place, begin = member, entry.offset
        if entry.deflated:
            place, begin = make(deflated(entry, member)), 0
        rest = entry.size - array.start
        infos.append(_tensor(make, name, array, place, begin + array.start, rest, window))
    if not infos:
        raise UnsupportedModel(
            f"{window.what} is a NumPy archive without arrays of plain numbers",
            hint="save arrays of floats; pickled objects are never loaded",
        )
    return Located(tuple(infos), tuple(make.recipes), tuple(left_out))


def _head(entry: Entry, read: Callable[[int, int], bytes], window: Window) -> bytes:
    if not entry.deflated:
        return read(entry.offset, min(entry.size, _MAX_HEADER))
    head = b""
    try:
        for piece in inflate(entry, read):
            head += piece
            if len(head) >= _MAX_HEADER:
                break
    except ValueError:
        raise window.damaged(f"has a damaged {entry.name[:80]!r}") from None
    return head[:_MAX_HEADER]


def _header(head: bytes, window: Window) -> _Array | None:
    """The header, or None when the elements are no plain numbers."""
    major = head[6] if len(head) > 12 and head[:6] == MAGIC else 0
    width = {1: 2, 2: 4, 3: 4}.get(major)
    if width is None:
        raise window.damaged("holds an array of an unknown version")
    start = 8 + width + int.from_bytes(head[8 : 8 + width], "little")
    if start > len(head):
        raise window.damaged("holds an array whose header does not end")
    match = _HEADER.fullmatch(head[8 + width : start])
    if match is None:
        return None
    order, code, fortran, dims = match.groups()
    dtype = _TYPES.get(code.decode())
    shape = tuple(int(dim.strip(b" L")) for dim in dims.split(b",") if dim.strip())
    if dtype is None:
        return None
    if len(shape) > MAX_DIMS or max(shape, default=0) > MAX_DIM:
        raise window.damaged("holds an array with a dimension that is no number")
    big = order == b">" and DTYPES[dtype].bits > 8
    return _Array(dtype, big, fortran == b"True", shape, start)


def _tensor(  # noqa: PLR0917 - place and room belong together
    make: _Making, name: str, array: _Array, member: int, offset: int, room: int, window: Window
) -> TensorInfo:
    width = DTYPES[array.dtype].bits // 8
    count = 1
    for dim in array.shape:
        count *= dim
    if count * width != room:
        raise window.damaged(f"holds array {name[:80]!r} with other bytes than its shape takes")
    if array.big and count:
        # A complex number is two parts, each turned for itself.
        part = width // 2 if array.dtype == "C64" else width
        member, offset = make(swapped(member, offset, room, part)), 0
    if array.fortran and count and sum(dim != 1 for dim in array.shape) > 1:
        strides: list[int] = []
        step = 1
        for dim in array.shape:
            strides.append(step)
            step *= dim
        recipe = strided(member, offset, width, array.shape, tuple(strides))
        member, offset = make(recipe), 0
    return TensorInfo(name, array.dtype, array.shape, member, offset, room)
