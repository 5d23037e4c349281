"""Where an ONNX file keeps its tensors, without the ``onnx`` package and without loading it.

ONNX is a protobuf message; its weights are the ``raw_data`` of initializers and of tensors in node
attributes, in nested graphs and functions too, or lie in files beside it (external data). Field
numbers: onnx.proto3 of ONNX 1.23. Payloads in the typed lists (``int64_data`` and the like) are
varints or rare; they are left to the member's digest, ``float_data`` is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from ledger.errors import LimitExceeded, TensorFileError, UnsupportedModel
from ledger.tensors.dtypes import DTYPES
from ledger.tensors.onnxpacking import ARITHMETIC as _ARITHMETIC
from ledger.tensors.onnxpacking import PACKABLE as _PACKABLE
from ledger.tensors.onnxpacking import Arithmetic as _Arithmetic
from ledger.tensors.onnxpacking import by_name, packings
from ledger.tensors.safetensors import (
    MAX_DIM,
    MAX_DIMS,
    MAX_TENSORS,
    Affine,
    TensorInfo,
    check_name,
)
from ledger.tensors.window import Window

MAX_DEPTH: Final = 32
_MAX_TEXT: Final = 4096
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FLOAT_LIST, _INT_LIST, _DOUBLE_LIST, _RAW = 4, 5, 10, 9
_MAX_ZEROS: Final = 1 << 16
_MAX_ENTRIES: Final = 64
_MAX_INPUTS: Final = 3  # of a node that scales

# TensorProto.DataType by number; types that safetensors lacks are left to the digest.
_DTYPES: Final = {
    1: "F32", 2: "U8", 3: "I8", 4: "U16", 5: "I16", 6: "I32", 7: "I64", 9: "BOOL", 10: "F16",
    11: "F64", 12: "U32", 13: "U64", 14: "C64", 16: "BF16", 17: "F8_E4M3", 18: "F8_E4M3FNUZ",
    19: "F8_E5M2", 20: "F8_E5M2FNUZ", 24: "F8_E8M0",
}  # fmt: skip


class _Field(NamedTuple):
    """One protobuf field: its number, and where its value lies (or the value, of a varint)."""

    number: int
    kind: int
    value: int
    start: int
    end: int


@dataclass(slots=True)
class _Tensor:
    """A TensorProto as far as we need it."""

    name: str = ""
    dims: list[int] = field(default_factory=list)
    dtype: int = 0
    external: bool = False
    integers: tuple[int, int] | None = None
    raw: tuple[int, int] | None = None
    entries: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OnnxTensors:
    """What an ONNX file tells.

    Attributes:
        tensors: those with bytes in the file itself.
        external: those in other files: its name, and the tensor there.
    """

    tensors: tuple[TensorInfo, ...]
    external: tuple[tuple[str, TensorInfo], ...]


def locate_tensors(window: Window, *, member: int) -> OnnxTensors:
    """List the tensors of an ONNX file that lie somewhere as plain little-endian payloads.

    Raises:
        TensorFileError: not a protobuf message of this kind, or one that points outside itself.
        LimitExceeded: more than `MAX_TENSORS` tensors, or graphs nested deeper than `MAX_DEPTH`.
        UnsupportedModel: no such tensor is in it.
    """
    walk = _Walk(window, member)
    walk.model()
    if not walk.inside and not walk.outside:
        raise UnsupportedModel(
            f"{window.what} is an ONNX file without tensors that this release reads",
            hint="save it again with onnx.save_model, which writes raw data",
        )
    return OnnxTensors(
        tuple(walk.packed(info) for info in _apart(walk.inside)),
        tuple((location, walk.packed(info)) for location, info in walk.outside),
    )


def _apart(tensors: list[TensorInfo]) -> tuple[TensorInfo, ...]:
    """In file order, without any that shares bytes with one before it."""
    kept: list[TensorInfo] = []
    end = 0
    for info in sorted(tensors, key=lambda t: (t.offset, t.nbytes)):
        if info.offset >= end:
            kept.append(info)
            end = info.offset + info.nbytes
    return tuple(kept)


class _Walk:
    """One pass over the message."""

    def __init__(self, window: Window, member: int) -> None:
        self._window = window
        self._member = member
        self._names: dict[str, int] = {}
        self._kinds: dict[str, str] = {}
        self._integers: dict[str, tuple[int, ...]] = {}
        self._arithmetic: list[_Arithmetic] = []
        self._packings: dict[str, Affine] | None = None
        self.inside: list[TensorInfo] = []
        self.outside: list[tuple[str, TensorInfo]] = []

    def model(self) -> None:
        for part in self._fields(0, self._window.size):
            if part.kind == _BYTES and part.number == 7:
                self._graph(part, 0)
            elif part.kind == _BYTES and part.number == 25:
                self._nodes(part, 7, 0)

    def _graph(self, graph: _Field, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise LimitExceeded(f"{self._window.what} nests graphs deeper than {MAX_DEPTH}")
        for part in self._fields(graph.start, graph.end):
            if part.kind == _BYTES and part.number == 5:
                self._tensor(part, "")
        self._nodes(graph, 1, depth)

    def _nodes(self, parent: _Field, number: int, depth: int) -> None:
        for part in self._fields(parent.start, parent.end):
            if part.kind == _BYTES and part.number == number:
                self._node(part, depth)

    def _node(self, node: _Field, depth: int) -> None:
        title, kind = "", ""
        inputs: list[str] = []
        attributes: list[_Field] = []
        for part in self._fields(node.start, node.end):
            if part.kind == _BYTES and part.number == 2 and not title:
                title = self._text(part)
            elif part.kind == _BYTES and part.number == 1:
                if len(inputs) <= _MAX_INPUTS:
                    inputs.append(self._text(part))
            elif part.kind == _BYTES and part.number == 4:
                kind = self._text(part)
            elif part.kind == _BYTES and part.number == 5:
                attributes.append(part)
        if kind in _ARITHMETIC and len(inputs) <= _MAX_INPUTS:
            axis = self._axis(attributes) if kind == "DequantizeLinear" else None
            self._arithmetic.append(_Arithmetic(kind, tuple(inputs), title, axis))
        for attribute in attributes:
            for part in self._fields(attribute.start, attribute.end):
                if part.kind == _BYTES and part.number in {5, 10}:
                    self._tensor(part, title)
                elif part.kind == _BYTES and part.number in {6, 11}:
                    self._graph(part, depth + 1)

    def _tensor(self, place: _Field, title: str) -> None:
        tensor = _Tensor()
        for part in self._fields(place.start, place.end):
            self._tensor_field(tensor, part)
        dtype = DTYPES.get(_DTYPES.get(tensor.dtype, ""))
        if dtype is None or len(tensor.dims) > MAX_DIMS:
            return
        elements = 1
        for dim in tensor.dims:
            if dim > MAX_DIM:
                raise self._window.damaged("gives a tensor a dimension that is no number")
            elements *= dim
        nbytes = dtype.nbytes(elements)
        if not nbytes:
            return
        name = self._unique(title or tensor.name or "tensor")
        if len(self._kinds) > 2 * MAX_TENSORS:
            raise LimitExceeded(f"{self._window.what} holds more than {MAX_TENSORS} tensors")
        self._kinds[name] = dtype.name
        if tensor.external:
            self._outside(name, dtype.name, tensor, nbytes)
        elif tensor.raw is not None:
            start, end = tensor.raw
            if end - start != nbytes:
                raise self._window.damaged(f"gives tensor {name[:80]!r} other bytes than its shape")
            self._add(self.inside, self._info(name, dtype.name, tensor.dims, start, nbytes))
        elif tensor.integers is not None and dtype.name in _PACKABLE:
            self._integers[name] = tuple(self._signed(*tensor.integers))

    def _tensor_field(self, tensor: _Tensor, part: _Field) -> None:
        if part.number == 1 and part.kind == _VARINT:
            if len(tensor.dims) <= MAX_DIMS:
                tensor.dims.append(part.value)
        elif part.number == 1 and part.kind == _BYTES:
            at = part.start
            while at < part.end and len(tensor.dims) <= MAX_DIMS:
                value, at = self._window.varint(at, part.end)
                tensor.dims.append(value)
        elif part.number == 2 and part.kind == _VARINT:
            tensor.dtype = part.value
        elif part.number == 8 and part.kind == _BYTES:
            tensor.name = self._text(part)
        elif part.number in {_RAW, _FLOAT_LIST, _DOUBLE_LIST} and part.kind == _BYTES:
            # A packed list of floats is the little-endian payload itself.
            fits = {_FLOAT_LIST: 1, _DOUBLE_LIST: 11}.get(part.number, tensor.dtype)
            if tensor.raw is None and fits in {tensor.dtype, 0}:
                tensor.raw = (part.start, part.end)
        elif part.number == _INT_LIST and part.kind == _BYTES:
            tensor.integers = (part.start, part.end)
        elif part.number == 13 and part.kind == _BYTES:
            pair = {
                p.number: self._text(p)
                for p in self._fields(part.start, part.end)
                if p.kind == _BYTES
            }
            if len(tensor.entries) < _MAX_ENTRIES:
                tensor.entries[pair.get(1, "")] = pair.get(2, "")
        elif part.number == 14 and part.kind == _VARINT:
            tensor.external = part.value == 1

    def _signed(self, start: int, end: int) -> Iterator[int]:
        """Zero points come as a list of varints; longer lists are no zero points."""
        for _ in range(_MAX_ZEROS):
            if start >= end:
                return
            value, start = self._window.varint(start, end)
            yield value - (1 << 64) if value >> 63 else value

    def _axis(self, attributes: list[_Field]) -> int:
        """The attribute of that name; 1 is the default of DequantizeLinear."""
        for attribute in attributes:
            name, value = "", 0
            for part in self._fields(attribute.start, attribute.end):
                if part.number == 1 and part.kind == _BYTES:
                    name = self._text(part)
                elif part.number == 3 and part.kind == _VARINT:
                    value = part.value - (1 << 64) if part.value >> 63 else part.value
            if name == "axis":
                return value
        return 1

    def packed(self, info: TensorInfo) -> TensorInfo:
        """The tensor with its packing, if the graph or the names tell one."""
        if info.dtype not in _PACKABLE:
            return info
        if self._packings is None:
            self._packings = packings(self._arithmetic, self._kinds)
        found = self._packings.get(info.name) or by_name(info.name, self._kinds)
        if found is None:
            return info
        if isinstance(found.zero, str) and found.zero in self._integers:
            found = replace(found, zero=self._integers[found.zero])
        return replace(info, packing=found)

    def _outside(self, name: str, dtype: str, tensor: _Tensor, nbytes: int) -> None:
        entries = tensor.entries
        try:
            offset = int(entries.get("offset", "0"))
            length = int(entries.get("length", str(nbytes)))
        except ValueError:
            raise self._window.damaged("places a tensor at no number in its data file") from None
        location = entries.get("location", "")
        if not location or offset < 0 or length != nbytes:
            raise self._window.damaged(f"places tensor {name[:80]!r} in no data file")
        if len(self.outside) >= MAX_TENSORS:
            raise LimitExceeded(f"{self._window.what} holds more than {MAX_TENSORS} tensors")
        self.outside.append((location, self._info(name, dtype, tensor.dims, offset, nbytes)))

    def _info(self, name: str, dtype: str, dims: list[int], offset: int, nbytes: int) -> TensorInfo:
        return TensorInfo(name, dtype, tuple(dims), self._member, offset, nbytes)

    def _add(self, into: list[TensorInfo], info: TensorInfo) -> None:
        if len(into) >= MAX_TENSORS:
            raise LimitExceeded(f"{self._window.what} holds more than {MAX_TENSORS} tensors")
        into.append(info)

    def _unique(self, name: str) -> str:
        """Branches of one graph may use a name twice; ours are unique in the file."""
        check_name(name, self._window.what)
        count = self._names.get(name, 0) + 1
        self._names[name] = count
        if count == 1:
            return name
        return self._unique(f"{name}#{count}")

    def _text(self, part: _Field) -> str:
        if part.end - part.start > _MAX_TEXT:
            raise self._window.damaged("holds a name that is too long")
        try:
            return self._window.take(part.start, part.end - part.start).decode()
        except UnicodeDecodeError:
            raise self._window.damaged("holds a name that is not UTF-8") from None

    def _fields(self, start: int, end: int) -> Iterator[_Field]:
        at = start
        while at < end:
            tag, at = self._window.varint(at, end)
            number, kind = tag >> 3, tag & 7
            value, first = 0, at
            if kind == _VARINT:
                value, at = self._window.varint(at, end)
            elif kind == _BYTES:
                length, first = self._window.varint(at, end)
                at = first + length
            elif kind in {_FIXED64, _FIXED32}:
                at += 8 if kind == _FIXED64 else 4
            else:
                raise TensorFileError(f"{self._window.what} is not an ONNX file")
            if number == 0 or at > end:
                raise TensorFileError(f"{self._window.what} is not an ONNX file, or is truncated")
            yield _Field(number, kind, value, first, at)
