"""Which axes of a model's tensors have no order of their own, and their values as rows of units.

Recognised by names and shapes as ``docs/spec/lineage.md``, "Roles", says. Only what a test needs is
read: rows that were drawn, in pieces, so that memory stays flat however large the model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np

from ledger.fingerprint.lineage import Matrix, Places, drawn
from ledger.fingerprint.rows import block_of
from ledger.tensors.model import ModelSource, TensorInfo
from ledger.tensors.safetensors import Blocks
from ledger.tensors.values import READABLE, is_readable, weight_shape

Role: TypeAlias = Literal[
    "hidden units", "convolution units", "recurrent units", "residual dimensions"
]

LEAST_UNITS: Final = 16
LEAST_FEATURES: Final = 8
_TOKENS: Final = 1000
_TALL: Final = 6
_LONGEST_ROW: Final = 64 << 20
_LEAST_STACKED: Final = 32  # both axes of a matrix of a stack that no name tells of
_MOST_STACKED: Final = 512
_OUR_STACKED: Final = 4  # matrices of each stack of ours that are tested
_MOST_PLANES: Final = 4

_GATE_ORDERS: Final[dict[int, tuple[tuple[int, ...], ...]]] = {
    # PyTorch ifgo; ONNX iofc, both ways; Keras ifco is PyTorch's.
    4: ((0, 1, 2, 3), (0, 2, 3, 1), (0, 3, 1, 2)),
    # PyTorch rzn; ONNX and Keras zrh.
    3: ((0, 1, 2), (1, 0, 2)),
}


def _words(*alternatives: str) -> re.Pattern[str]:
    return re.compile(r"(?:^|[^a-z])(?:" + "|".join(alternatives) + r")(?:$|[^a-z])", re.IGNORECASE)


_FIXED: Final = re.compile(
    r"stft|basis|mel|filter_?bank|fbank|window|dct|sinus|rotary|inv_freq", re.IGNORECASE
)
_POSITIONS: Final = re.compile(r"position|pos_?emb|pos_?enc|(?:^|[._])wpe(?:$|[._])", re.IGNORECASE)
_ATTENTION: Final = re.compile(r"attn|attention|qkv|[qkvo]_proj|query|value_proj", re.IGNORECASE)
_ATTENTION_WORDS: Final = _words("q", "k", "v", "key", "value", "self_?att", "mha")
_OUTPUT: Final = re.compile(r"lm_head|classif|logits|fc_out|prediction", re.IGNORECASE)
_OUTPUT_WORDS: Final = _words("cls", "head", "score", r"^output\.weight$")
_EMBEDDING: Final = re.compile(r"embed|word_emb|tok_emb|token_emb|\bwte\b", re.IGNORECASE)
_RECURRENT: Final = re.compile(r"lstm|gru|rnn|weight_ih|weight_hh", re.IGNORECASE)
_CODES: Final = re.compile(r"_q(?:uant(?:ized)?)?$", re.IGNORECASE)
_EXPERTS: Final = re.compile(r"expert|_exps", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Units:
    """One way to see a tensor as rows of units.

    Attributes:
        info: the tensor.
        role: what the units are.
        shape: of the tensor as a matrix, row-major.
        columns: whether the units are its columns.
        units: how many.
        width: features of one gate of a unit.
        gates: rows (or columns) that make up one unit.
        order: the order in which the gates are taken.
        first: of a stack of matrices, the row of the whole at which this one begins.
        plane: of planes interleaved along the last axis, (which one, how many).
        part: what the name says of the two, as ``[3]`` or ``[..., 1]``.
    """

    info: TensorInfo
    role: Role
    shape: tuple[int, int]
    columns: bool
    units: int
    width: int
    gates: int = 1
    order: tuple[int, ...] = (0,)
    first: int = 0
    plane: tuple[int, int] = (0, 1)
    part: str = ""

    @property
    def name(self) -> str:
        """Of the tensor, and which part of it."""
        return self.info.name + self.part

    @property
    def features(self) -> int:
        """Values of one unit."""
        return self.width * self.gates

    def variants(self) -> Iterator[Units]:
        """This view, and with its gates in the orders of other formats."""
        for order in _GATE_ORDERS.get(self.gates, (self.order,)):
            yield replace(self, order=order)

    def read(self, model: ModelSource, units: Places, features: Places) -> Matrix:
        """The values of these units and features (of each gate), one unit a row.

        Raises:
            TensorFileError: the file cannot be read, or changed since it was opened.
        """
        parts = []
        which, planes = self.plane
        for gate in self.order:
            lines = units + gate * self.units
            rows, columns = (features, lines) if self.columns else (lines, features)
            values = block_of(
                model, self.info, self.shape, rows + self.first, columns * planes + which
            )
            parts.append(values.T if self.columns else values)
        return np.ascontiguousarray(np.concatenate(parts, axis=1))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A tensor that the test does not look at, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Roles:
    """The views of a model that can be tested, and what is left out."""

    units: tuple[Units, ...]
    left_out: tuple[LeftOut, ...]


def roles_of(model: ModelSource, *, names: bool = True) -> Roles:
    """Recognise the roles of a model's tensors; reads no values.

    Args:
        model: the open model.
        names: whether they are to be believed. A suspect's are not: to call everything attention
            costs nothing. Its tensors are seen without their names as well.
    """
    shapes = {info: _squeezed(info) for info in model.tensors}
    sizes = _Sizes.of(shapes, flat=not names)
    plain = {info: replace(info, name=str(number)) for number, info in enumerate(shapes)}
    bare = sizes
    if not names:
        bare = _Sizes.of({plain[info]: shape for info, shape in shapes.items()}, flat=True)
    found: list[Units] = []
    left_out: list[LeftOut] = []
    for info, shape in shapes.items():
        if math.prod(shape) < LEAST_UNITS * LEAST_FEATURES:
            continue
        reason = _reason(info, shape)
        seen = reason or _view(info, shape, sizes)
        views = [] if isinstance(seen, str) else [seen]
        if reason is None:
            views += _ours_taken_apart(info, shape, sizes, alone=not views) if names else []
        if not names:
            unnamed = plain[info]
            other = _reason(unnamed, shape) or _view(unnamed, shape, bare)
            others = [] if isinstance(other, str) else [other]
            if not _unreadable(info, shape):
                others += _taken_apart(unnamed, shape, bare)
            views += [v for one in others if (v := replace(one, info=info)) not in views]
        if isinstance(seen, str) and not views:
            left_out.append(LeftOut(info.name, seen))
        found += views
    return Roles(tuple(found), tuple(left_out))


def _ours_taken_apart(
    info: TensorInfo, shape: tuple[int, ...], sizes: _Sizes, *, alone: bool
) -> Iterator[Units]:
    """A few matrices of a stack, and both planes of pairs; which ones, no value decides."""
    if _stacked(info, shape) and (alone or _EXPERTS.search(info.name)):
        count = math.prod(shape[:-2])
        for number in drawn(b"", f"stack/{count}", count, _OUR_STACKED).tolist():
            yield from _of_stack(info, shape, sizes, number)
    if len(shape) == 3 and shape[-1] == 2:
        yield from _planes(info, shape, sizes)


def _taken_apart(info: TensorInfo, shape: tuple[int, ...], sizes: _Sizes) -> Iterator[Units]:
    """A tensor of theirs as other matrices: cut from a stack, from planes, or laid flat."""
    if len(shape) <= 2:
        return
    if _stacked(info, shape):
        for number in range(math.prod(shape[:-2])):
            yield from _of_stack(info, shape, sizes, number)
    if len(shape) == 3 and shape[-1] <= _MOST_PLANES:
        yield from _planes(info, shape, sizes)
    for cut in range(1, len(shape)):
        flat = (math.prod(shape[:cut]), math.prod(shape[cut:]))
        if not isinstance(seen := _view(info, flat, sizes), str):
            yield seen


def _stacked(info: TensorInfo, shape: tuple[int, ...]) -> bool:
    """Whether a tensor may be several matrices, one after the other."""
    if len(shape) <= 2 or math.prod(shape[:-2]) > _MOST_STACKED:
        return False
    if _ATTENTION.search(info.name) or _ATTENTION_WORDS.search(info.name):
        return False
    return min(shape[-2:]) >= (2 if _EXPERTS.search(info.name) else _LEAST_STACKED)


def _of_stack(
    info: TensorInfo, shape: tuple[int, ...], sizes: _Sizes, number: int
) -> Iterator[Units]:
    rows, columns = shape[-2:]
    seen = _view(info, (rows, columns), sizes)
    if not isinstance(seen, str):
        whole = (math.prod(shape[:-1]), columns)
        yield replace(seen, shape=whole, first=number * rows, part=f"[{number}]")


def _planes(info: TensorInfo, shape: tuple[int, ...], sizes: _Sizes) -> Iterator[Units]:
    rows, columns, planes = shape
    seen = _view(info, (rows, columns), sizes)
    if not isinstance(seen, str):
        for which in range(planes):
            whole = (rows, columns * planes)
            yield replace(seen, shape=whole, plane=(which, planes), part=f"[..., {which}]")


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Sizes of axes of a model: those made, those taken, and the widths of its embeddings."""

    made: dict[int, set[TensorInfo]]
    taken: dict[int, set[TensorInfo]]
    widths: frozenset[int]
    gates: dict[int, int]

    @classmethod
    def of(cls, shapes: dict[TensorInfo, tuple[int, ...]], *, flat: bool) -> _Sizes:
        """Of these tensors; with `flat` also of all matrices that they can be laid out as."""
        made: dict[int, set[TensorInfo]] = {}
        taken: dict[int, set[TensorInfo]] = {}
        widths: set[int] = set()
        gates = _gates(shapes)
        for info, shape in shapes.items():
            if len(shape) < 2 or not _readable(info):
                continue
            recurrent = _RECURRENT.search(info.name) and len(shape) == 2
            each = gates.get(shape[0], 1) if recurrent else 1
            made.setdefault(shape[0] // each, set()).add(info)
            taken.setdefault(shape[1], set()).add(info)
            if _is_embedding(info, shape):
                widths.add(shape[1])
        for info, shape in shapes.items():
            if len(shape) < 3 or not _readable(info):
                continue
            cuts = range(1, len(shape)) if flat else ()
            inner = [(math.prod(shape[:cut]), math.prod(shape[cut:])) for cut in cuts]
            if _stacked(info, shape):
                inner.append((shape[-2], shape[-1]))
            for rows, columns in inner:
                made.setdefault(rows, set()).add(info)
                taken.setdefault(columns, set()).add(info)
        return cls(made, taken, frozenset(widths), gates)

    def hidden(self, size: int) -> bool:
        """Whether one tensor makes this size and another takes it."""
        both = self.made.get(size, set()) | self.taken.get(size, set())
        return size in self.made and size in self.taken and len(both) > 1


def _readable(info: TensorInfo) -> bool:
    if isinstance(info.packing, Blocks):
        return is_readable(info)
    return info.dtype in READABLE


def _squeezed(info: TensorInfo) -> tuple[int, ...]:
    """The shape without leading dimensions of 1."""
    shape = list(weight_shape(info))
    while len(shape) > 2 and shape[0] == 1:
        shape.pop(0)
    return tuple(shape)


def _reason(info: TensorInfo, shape: tuple[int, ...]) -> str | None:
    """Why a tensor cannot be tested, as far as its own name and shape tell."""
    if unreadable := _unreadable(info, shape):
        return unreadable
    name = _CODES.sub("", info.name)
    if _FIXED.search(name):
        return "a fixed table by its name"
    if _POSITIONS.search(name):
        return "positions have an order of their own"
    if _OUTPUT.search(name) or _OUTPUT_WORDS.search(name):
        return "outputs have an order of their own"
    if (_ATTENTION.search(name) or _ATTENTION_WORDS.search(name)) and len(shape) == 2:
        return "attention: heads tie units together"
    return None


def _unreadable(info: TensorInfo, shape: tuple[int, ...]) -> str | None:
    """The reasons that lie in how it is stored."""
    if not _readable(info):
        return f"stored as {info.dtype} in a way that this test does not read"
    rest = math.prod(shape[1:])
    if len(shape) < 2 or min(rest, shape[0]) < 2:
        return "one dimension: too few values a unit"
    if 4 * rest > _LONGEST_ROW and not _stacked(info, shape):
        return "its rows are longer than this test reads"
    return None


def _view(info: TensorInfo, shape: tuple[int, ...], sizes: _Sizes) -> Units | str:
    rest = math.prod(shape[1:])
    flat = (shape[0], rest)
    if _is_embedding(info, shape):
        seen = Units(info, "residual dimensions", flat, columns=True, units=rest, width=shape[0])
    elif _RECURRENT.search(info.name) and len(shape) == 2:
        gates = sizes.gates.get(shape[0], 0)
        if not gates:
            return "recurrent, and nothing tells how many gates it has"
        units = shape[0] // gates
        seen = Units(
            info,
            "recurrent units",
            flat,
            columns=False,
            units=units,
            width=rest,
            gates=gates,
            order=tuple(range(gates)),
        )
    elif len(shape) > 2:
        if not sizes.hidden(shape[0]):
            return "no other tensor takes its units in: they may be outputs"
        seen = Units(info, "convolution units", flat, columns=False, units=shape[0], width=rest)
    elif shape[0] == shape[1] and shape[0] in sizes.widths:
        return "square beside an embedding: it may be attention"
    else:
        hidden = [axis for axis in (0, 1) if sizes.hidden(shape[axis]) and not _tokens(shape, axis)]
        if not hidden:
            return "no axis of it is made by one tensor and taken by another"
        axis = max(hidden, key=lambda axis: shape[axis])
        seen = Units(
            info, "hidden units", flat, axis == 1, units=shape[axis], width=shape[1 - axis]
        )
    if seen.units < LEAST_UNITS or seen.features < LEAST_FEATURES:
        return f"too small: {seen.units} units of {seen.features} values"
    return seen


def _gates(shapes: dict[TensorInfo, tuple[int, ...]]) -> dict[int, int]:
    """Rows of recurrent matrices, and how many of them are one unit.

    The recurrent matrix of n units is 4n x n (LSTM) or 3n x n (GRU), and tells it of the others
    with as many rows.
    """
    gates: dict[int, int] = {}
    for info, shape in shapes.items():
        if len(shape) == 2 and _RECURRENT.search(info.name):
            for each in _GATE_ORDERS:
                if shape[0] == each * shape[1]:
                    gates[shape[0]] = each
    return gates


def _is_embedding(info: TensorInfo, shape: tuple[int, ...]) -> bool:
    if len(shape) != 2 or _POSITIONS.search(info.name) or shape[1] < LEAST_UNITS:
        return False
    named = bool(_EMBEDDING.search(info.name)) and shape[0] > shape[1]
    return named or _tokens(shape, 0)


def _tokens(shape: tuple[int, ...], axis: int) -> bool:
    """Whether an axis is so long beside the other that it is tokens."""
    return shape[axis] >= _TOKENS and shape[axis] >= _TALL * shape[1 - axis]
