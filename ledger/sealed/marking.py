"""Where cells lie, and how form B of a cell differs from form A (docs/spec/tracing.md, section 1).

Form A is the model's bytes. Form B adds a sign mark: ``w + e * sigma_row * s`` with signs s that
are drawn from both keys of the cell, of which no license has more than one. Places are drawn from
all keys. Only the licensor, and the brokers that hold every key, can compute either.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from dataclasses import dataclass
from typing import Any, Final

import ml_dtypes
import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ledger.errors import CapacityExceeded, UsageError
from ledger.ids import ZERO_DIGEST, ModelId
from ledger.sealed.cells import CellKeys
from ledger.sealed.index import MemberEntry, Tables, TensorEntry
from ledger.sealed.memory import burn
from ledger.tensors.model import ModelSource

PLACES_TAG: Final = b"modeldeed/cell-places/1"
MARK_TAG: Final = b"modeldeed/cell-mark/1"
STRONGEST: Final = 0.05
"""The mark's size in standard deviations of a row, where cells are a small part of the weights."""
_SPREAD_OUT = 0.01  # its size if every eligible weight were in a cell
SHORT_ROW = 32  # below, a row's standard deviation is taken from the whole cell
_MOST_ZEROS = 0.25
_HELD_BACK = re.compile(
    r"(^|[._/])(embed\w*|\w*embeddings?|wte|wpe|lm_head|shared|output|head|classifier)([._/]|$)"
)

MARKED_DTYPES: Final[dict[str, npt.DTypeLike]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
"""Element types that can carry cells. Integers and quantised types carry none."""

# A quarter of the largest number of each: the mark never overflows.
_LARGEST: Final = {"F32": 8e37, "F16": 16376.0, "BF16": 8e37}


@dataclass(frozen=True, slots=True)
class CellPlace:
    """Where a cell lies.

    Attributes:
        tensor: its number in the table.
        offset: of its first byte in that tensor.
        position: of its first byte in the payload's plaintext.
    """

    tensor: int
    offset: int
    position: int


def strength_for(cells: int, eligible: int) -> float:
    """How strong the mark is when cells are so many of the eligible slots."""
    return min(STRONGEST, _SPREAD_OUT / math.sqrt(max(cells, 1) / max(eligible, 1)))


def require_room(model: ModelSource, count: int, *, log2_cell: int, log2_segment: int) -> None:
    """See that a model can carry so many cells, before anything rests on it.

    Raises:
        CapacityExceeded: it cannot.
        TensorFileError: the model cannot be read.
    """
    segment = 1 << log2_segment
    firsts = itertools.accumulate((-(-m.size // segment) for m in model.members), initial=0)
    tables = Tables(
        tuple(
            MemberEntry(member.name, member.size, member.role, first, ZERO_DIGEST)
            for member, first in zip(model.members, firsts, strict=False)
        ),
        tuple(
            TensorEntry(t.name, t.dtype, t.shape, t.member, t.offset, t.nbytes, ZERO_DIGEST)
            for t in model.tensors
        ),
    )
    # Other keys choose other places, and find as many.
    keys = CellKeys.create(count)
    Marker(
        model,
        tables,
        keys,
        model_id=ModelId(bytes(32)),
        log2_cell=log2_cell,
        segment_bytes=segment,
    )


class Marker:
    """Chooses the cells of a model and gives both forms of each.

    Attributes:
        places: in order of their positions.
        strength: of the mark, in standard deviations of a row.

    Raises:
        CapacityExceeded: the model has no room for so many cells.
    """

    def __init__(
        self,
        model: ModelSource,
        tables: Tables,
        keys: CellKeys,
        *,
        model_id: ModelId,
        log2_cell: int,
        segment_bytes: int,
        strength: float | None = None,
    ) -> None:
        self._model = model
        self._tables = tables
        self._keys = keys
        self._model_id = model_id
        self._cell = 1 << log2_cell
        self._segment = segment_bytes
        slots = self._slots()
        if keys.count * 2 > len(slots):
            room = len(slots) // 2
            raise CapacityExceeded(
                f"the model has room for {room} cells of {self._cell} bytes, not for {keys.count}:"
                " half of the places stay unmarked, so that none is known for a cell",
                hint=f"ask for {room} cells, or for smaller ones"
                if room
                else "only F32, F16 and BF16 matrices of 32 KiB and more carry cells",
            )
        self.strength = strength_for(keys.count, len(slots)) if strength is None else strength
        if not 0 < self.strength <= 1:
            raise UsageError("a mark's strength lies between 0 and 1 standard deviations")
        self.places = self._choose(slots)

    def forms(self, cell: int) -> tuple[bytes, bytes]:
        """The bytes of form A and of form B."""
        place = self.places[cell]
        tensor = self._tables.tensors[place.tensor]
        plain = self._read(tensor, place.offset, self._cell)
        weights = np.frombuffer(plain, MARKED_DTYPES[tensor.dtype])
        sigma = self._sigma(tensor, place.offset, weights)
        step = self.strength * sigma * self._signs(cell, tensor, len(weights))
        marked = (weights.astype(np.float64) + step).astype(weights.dtype)
        return plain, marked.tobytes()

    # -- places --

    def _slots(self) -> list[CellPlace]:
        """Every place that could hold a cell: matrices first, embeddings and heads if need be."""
        inner: list[CellPlace] = []
        outer: list[CellPlace] = []
        for number, tensor in enumerate(self._tables.tensors):
            if tensor.dtype not in MARKED_DTYPES or len(tensor.shape) < 2:
                continue
            into = outer if _HELD_BACK.search(tensor.name) else inner
            into += self._slots_of(number, tensor)
        return inner if len(inner) >= 2 * self._keys.count else inner + outer

    def _slots_of(self, number: int, tensor: TensorEntry) -> list[CellPlace]:
        start = self._tables.members[tensor.member].first * self._segment + tensor.offset
        first = -(-start // self._cell) * self._cell
        if (first - start) % np.dtype(MARKED_DTYPES[tensor.dtype]).itemsize:
            return []
        last = start + tensor.nbytes - self._cell
        return [CellPlace(number, at - start, at) for at in range(first, last + 1, self._cell)]

    def _choose(self, slots: list[CellPlace]) -> tuple[CellPlace, ...]:
        seed = hashlib.sha256(PLACES_TAG + b"\0" + self._model_id.raw)
        seed.update(self._keys.data)
        drawn = hashlib.shake_256(seed.digest()).digest(8 * len(slots))
        order = np.argsort(np.frombuffer(drawn, ">u8"), kind="stable")
        chosen: list[CellPlace] = []
        for number in order.tolist():
            if self._fit(slots[number]):
                chosen.append(slots[number])
                if len(chosen) == self._keys.count:
                    return tuple(sorted(chosen, key=lambda place: place.position))
        raise CapacityExceeded(
            f"only {len(chosen)} places of the model hold weights that can carry a mark",
            hint="fewer or smaller cells; constant, sparse and non-finite weights carry none",
        )

    def _fit(self, place: CellPlace) -> bool:
        tensor = self._tables.tensors[place.tensor]
        dtype = MARKED_DTYPES[tensor.dtype]
        plain = self._read(tensor, place.offset, self._cell)
        weights = np.frombuffer(plain, dtype).astype(np.float64)
        largest = _LARGEST[tensor.dtype]
        return bool(
            np.isfinite(weights).all()
            and np.abs(weights).max() < largest
            and (weights == 0).mean() <= _MOST_ZEROS
            and weights.std() > np.abs(weights).mean() * 1e-3
        )

    # -- the mark --

    def _signs(self, cell: int, tensor: TensorEntry, count: int) -> npt.NDArray[np.float64]:
        both = bytearray(self._keys.key(cell, 0)) + self._keys.key(cell, 1)
        info = MARK_TAG + b"\0" + cell.to_bytes(4, "big")
        derived = HKDF(hashes.SHA256(), 32, self._model_id.raw, info).derive(both)
        both[:] = bytes(len(both))
        drawn = hashlib.shake_256(derived + tensor.cid.raw).digest((count + 7) // 8)
        burn(derived)
        bits = np.unpackbits(np.frombuffer(drawn, np.uint8), count=count)
        return bits.astype(np.float64) * 2 - 1

    def _sigma(self, tensor: TensorEntry, offset: int, weights: npt.NDArray[Any]) -> Any:
        """The standard deviation of the row that each weight lies in."""
        row = row_length(tensor.shape)
        if row < SHORT_ROW:
            return np.float64(weights.astype(np.float64).std())
        item = weights.dtype.itemsize
        first = offset // item
        rows = range(first // row, -(-(first + len(weights)) // row))
        spreads = np.empty(len(rows))
        for number, at in enumerate(rows):
            data = self._read(tensor, at * row * item, row * item)
            values = np.frombuffer(data, weights.dtype).astype(np.float64)
            spread = float(values.std())
            spreads[number] = spread if math.isfinite(spread) else 0.0
        numbers = (first + np.arange(len(weights))) // row - rows[0]
        return spreads[numbers]

    def _read(self, tensor: TensorEntry, offset: int, size: int) -> bytes:
        buffer = bytearray(size)
        self._model.read_at(tensor.member, tensor.offset + offset, memoryview(buffer))
        return bytes(buffer)


def row_length(shape: tuple[int, ...]) -> int:
    """Weights in one row of a tensor: its last dimension, and of filters one filter."""
    return shape[-1] if len(shape) <= 3 else math.prod(shape[1:])
