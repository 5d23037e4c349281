"""Reads a safetensors header: untrusted bytes in, a checked tensor table out.

Layout: ``u64 length (little-endian) ‖ JSON header ‖ payload``. The header maps a name to
``{"dtype", "shape", "data_offsets": [begin, end]}``; the tensors must cover the payload exactly,
without gap or overlap. Source: the format section of the safetensors README (0.8). We refuse three
things more than it does: repeated keys, a header without tensors, and control characters in names.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import Any

from ledger.canonical import parse_json
from ledger.errors import LimitExceeded, ManifestError, TensorFileError
from ledger.tensors.dtypes import dtype_of

# The largest headers seen (10^5 tensors in one file) have 10 MB. JSON takes about 20 times its size
# in memory, so this bounds what a hostile header can make us allocate.
MAX_HEADER_BYTES = 32 << 20
MAX_TENSORS = 1 << 20
MAX_NAME_BYTES = 4096
MAX_DIMS = 64
# Beyond 2^53 − 1 an integer has no canonical JSON form.
MAX_DIM = (1 << 53) - 1

_DAMAGED = "the file is damaged or made to mislead; get it again from its source"


@dataclass(frozen=True, slots=True)
class Blocks:
    """Weights in ggml's blocks: the block type's number, and the shape of the weights."""

    kind: int
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Affine:
    """Weights as ``(q − zero) · scale``.

    Attributes:
        scale: name of the tensor of scales.
        zero: name of the tensor of zero points, their values, or None for 0.
        axis: along which a list of scales runs; None when shapes broadcast.
    """

    scale: str
    zero: str | tuple[int, ...] | None
    axis: int | None


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor lies.

    Attributes:
        name: as the file gives it.
        dtype: safetensors' name of the element type, such as ``F32``.
        shape: dimensions, row-major; () is a scalar.
        member: index of the file in ``ModelSource.members``.
        offset: absolute byte offset in that file.
        nbytes: payload bytes.
        packing: how its integers stand for weights, where the file says so. A reading aid: it is
            no part of what the tensor is, and not compared.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    member: int
    offset: int
    nbytes: int
    packing: Blocks | Affine | None = field(default=None, compare=False)

    @property
    def elements(self) -> int:
        """Number of elements."""
        count = 1
        for dim in self.shape:
            count *= dim
        return count


def header_length(prefix: bytes, file_size: int, *, what: str) -> int:
    """Bytes of the JSON header, from the file's first eight bytes.

    Raises:
        TensorFileError: the file is too short, or the header would not fit into it.
        LimitExceeded: the header is longer than `MAX_HEADER_BYTES`.
    """
    if len(prefix) < 8:
        raise TensorFileError(f"{what} has {file_size} bytes: too short for a safetensors file")
    length = int.from_bytes(prefix[:8], "little")
    if length < 2 or length > file_size - 8:
        raise TensorFileError(
            f"{what} is not a complete safetensors file: its first eight bytes announce a header "
            f"of {length} bytes, and {file_size - 8} follow",
            hint="give a complete .safetensors file; if this is one, download it again",
        )
    if length > MAX_HEADER_BYTES:
        raise LimitExceeded(
            f"the header of {what} has {length} bytes; at most {MAX_HEADER_BYTES} are read",
            hint="split the model into shards",
        )
    return length


def parse_header(
    header: bytes, *, member: int, file_size: int, what: str
) -> tuple[TensorInfo, ...]:
    """Check a header and list its tensors in file order.

    Args:
        header: the eight length bytes and the JSON after them.
        member: index that the infos will carry.
        file_size: bytes of the whole file.
        what: how errors name the file.

    Raises:
        TensorFileError: anything the format does not allow.
        LimitExceeded: too long, or too many tensors.
    """
    length = header_length(header[:8], file_size, what=what)
    if len(header) != 8 + length or header[8:9] != b"{":
        raise TensorFileError(f"the header of {what} is not a JSON object")
    try:
        document = parse_json(header[8:], what=f"the header of {what}", limit=MAX_HEADER_BYTES)
    except ManifestError as error:
        raise TensorFileError(error.message, hint=_DAMAGED) from None
    metadata = document.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise TensorFileError(f"{what}: __metadata__ does not map text to text", hint=_DAMAGED)
    if not document:
        raise TensorFileError(
            f"{what} holds no tensors", hint="save the model's state dict, not only its settings"
        )
    if len(document) > MAX_TENSORS:
        raise LimitExceeded(f"{what} holds {len(document)} tensors; at most {MAX_TENSORS} are read")
    base = 8 + length
    infos = [_entry(name, entry, member, base, what) for name, entry in document.items()]
    infos.sort(key=lambda info: (info.offset, info.nbytes, info.name))
    _check_cover(infos, base, file_size, what)
    return tuple(infos)


def check_name(name: str, what: str) -> None:
    """Refuse names that cannot be printed, encoded or bound safely.

    Raises:
        TensorFileError: control characters, lone surrogates, or longer than `MAX_NAME_BYTES`.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = MAX_NAME_BYTES + 1
    if size > MAX_NAME_BYTES or any(unicodedata.category(c) == "Cc" for c in name):
        raise TensorFileError(
            f"{what}: {name[:40]!r} cannot be a name: it holds a control character, is not UTF-8, "
            f"or is longer than {MAX_NAME_BYTES} bytes",
            hint=_DAMAGED,
        )


def _entry(name: str, entry: Any, member: int, base: int, what: str) -> TensorInfo:
    check_name(name, what)
    where = f"{what}: tensor {name[:80]!r}"
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise TensorFileError(f"{where} lacks dtype, shape or data_offsets", hint=_DAMAGED)
    if not isinstance(entry["dtype"], str):
        raise TensorFileError(f"{where} has a dtype that is not text", hint=_DAMAGED)
    dtype = dtype_of(entry["dtype"])
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _naturals(shape) or len(shape) > MAX_DIMS or max(shape, default=0) > MAX_DIM:
        raise TensorFileError(
            f"{where}: its shape is not a list of at most {MAX_DIMS} whole numbers below 2^53",
            hint=_DAMAGED,
        )
    if not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise TensorFileError(f"{where}: its data_offsets are not begin and end", hint=_DAMAGED)
    begin, end = offsets
    info = TensorInfo(name, dtype.name, tuple(shape), member, base + begin, end - begin)
    if dtype.nbytes(info.elements) != info.nbytes:
        raise TensorFileError(
            f"{where}: its dtype and shape do not fill the bytes its data_offsets span",
            hint=_DAMAGED,
        )
    return info


def _naturals(values: Any) -> bool:
    # `type is int` on purpose: True is an int to isinstance, and no dimension.
    return isinstance(values, list) and all(type(v) is int and v >= 0 for v in values)


def _check_cover(infos: list[TensorInfo], base: int, file_size: int, what: str) -> None:
    """The sorted tensors must tile the payload."""
    position = base
    for info in infos:
        if info.offset != position:
            fault = "overlaps the one before it" if info.offset < position else "leaves a gap"
            raise TensorFileError(f"{what}: tensor {info.name[:80]!r} {fault}", hint=_DAMAGED)
        position += info.nbytes
    if position > file_size:
        raise TensorFileError(
            f"{what} is truncated: its tensors need {position} bytes, it has {file_size}",
            hint="download it again",
        )
    if position < file_size:
        raise TensorFileError(
            f"{what} has {file_size - position} bytes that belong to no tensor", hint=_DAMAGED
        )
