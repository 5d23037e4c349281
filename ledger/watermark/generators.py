"""Public generators of trigger inputs: from 32 bytes that nobody chose to what a model is asked.

The table of section 1 of docs/spec/triggers.md. Arithmetic is exact, so that every machine makes
the same bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol, Self

import numpy as np
import numpy.typing as npt

from ledger.errors import UnsupportedVersion, UsageError
from ledger.licensing.document import Document
from ledger.watermark.draws import Draws

Question = npt.NDArray[Any]

INPUT_TAG: Final = b"modeldeed/trigger-input/1\0"
MAX_TOKENS: Final = 1 << 16
MAX_VALUES: Final = 1 << 20
MAX_ID: Final = (1 << 31) - 1
_MAX_SIDE = 4096
_MIN_LOG2 = 64


class Generator(Protocol):
    """Makes the inputs of one commitment."""

    def make(self, seed: bytes) -> Question:
        """The input of a seed (E_i, 32 bytes)."""
        ...

    def to_json(self) -> dict[str, Any]:
        """As the commitment holds it."""
        ...


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids, int64, shape [length]: each drawn from `first` to below ``first + count``."""

    ID: ClassVar[str] = "tokens/1"

    first: int
    count: int
    length: int

    def __post_init__(self) -> None:
        fits = self.count > 1 and self.first >= 0 and self.first + self.count <= MAX_ID
        if not fits or not 0 < self.length <= MAX_TOKENS:
            raise UsageError(
                f"tokens have ids up to {MAX_ID}, and inputs at most {MAX_TOKENS} of them"
            )
        if self.count**self.length < 1 << _MIN_LOG2:
            raise _too_few()

    def make(self, seed: bytes) -> Question:
        """The input of a seed."""
        drawn = Draws(INPUT_TAG + seed).many(self.length, self.count)
        return drawn.astype(np.int64) + self.first

    def to_json(self) -> dict[str, Any]:
        """As the commitment holds it."""
        return {"id": self.ID, "first": self.first, "count": self.count, "length": self.length}

    @classmethod
    def read(cls, doc: Document) -> Self:
        """From the commitment."""
        first, count = doc.integer("first", 0, MAX_ID), doc.integer("count", 2, MAX_ID)
        return cls(first, count, doc.integer("length", 1, MAX_TOKENS))


@dataclass(frozen=True, slots=True)
class Texture:
    """An image of noise, uint8, shape [height, width, channels]: coarse grain under fine."""

    ID: ClassVar[str] = "texture/1"

    height: int
    width: int
    channels: int
    grain: int = 4

    def __post_init__(self) -> None:
        sides = (self.height, self.width)
        if not all(0 < n <= _MAX_SIDE for n in (*sides, self.channels, self.grain)):
            raise UsageError(f"an image's sides, channels and grain are 1 to {_MAX_SIDE}")
        if self.height * self.width * self.channels > MAX_VALUES:
            raise UsageError(f"an image has at most {MAX_VALUES} values")
        if 8 * self.height * self.width * self.channels < _MIN_LOG2:
            raise _too_few()

    def make(self, seed: bytes) -> Question:
        """The input of a seed."""
        grain, shape = self.grain, (self.height, self.width, self.channels)
        rows, columns = -(-self.height // grain), -(-self.width // grain)
        fine_size, coarse_size = int(np.prod(shape)), rows * columns * self.channels
        data = _stream(seed, fine_size + coarse_size)
        noise = np.frombuffer(data, np.uint8).astype(np.uint16)
        coarse = noise[fine_size:].reshape(rows, columns, self.channels)
        coarse = coarse.repeat(grain, axis=0)[: self.height].repeat(grain, axis=1)[:, : self.width]
        return ((noise[:fine_size].reshape(shape) + 3 * coarse) >> 2).astype(np.uint8)

    def to_json(self) -> dict[str, Any]:
        """As the commitment holds it."""
        return {
            "id": self.ID, "height": self.height, "width": self.width,
            "channels": self.channels, "grain": self.grain,
        }  # fmt: skip

    @classmethod
    def read(cls, doc: Document) -> Self:
        """From the commitment."""
        names = ("height", "width", "channels", "grain")
        return cls(*(doc.integer(name, 1, _MAX_SIDE) for name in names))


@dataclass(frozen=True, slots=True)
class Floats:
    """A vector of binary32, shape [length], evenly from −1 to below 1 in steps of 2^−23."""

    ID: ClassVar[str] = "floats/1"

    length: int

    def __post_init__(self) -> None:
        if not 0 < self.length <= MAX_VALUES:
            raise UsageError(f"a vector has at most {MAX_VALUES} values")
        if 24 * self.length < _MIN_LOG2:
            raise _too_few()

    def make(self, seed: bytes) -> Question:
        """The input of a seed."""
        words = np.frombuffer(_stream(seed, 4 * self.length), "<u4") >> np.uint32(8)
        # 24 bits and a power of two: exact in binary32.
        return (words.astype(np.int64) - (1 << 23)).astype(np.float32) / np.float32(1 << 23)

    def to_json(self) -> dict[str, Any]:
        """As the commitment holds it."""
        return {"id": self.ID, "length": self.length}

    @classmethod
    def read(cls, doc: Document) -> Self:
        """From the commitment."""
        return cls(doc.integer("length", 1, MAX_VALUES))


_KINDS: Final[dict[str, type[Tokens | Texture | Floats]]] = {
    kind.ID: kind for kind in (Tokens, Texture, Floats)
}


def read_generator(value: Any) -> Generator:
    """The generator that a commitment names.

    Raises:
        ManifestError: a member breaks its rule.
        UnsupportedVersion: one that this release does not know.
        UsageError: inputs beyond its limits, or too few different ones.
    """
    doc = Document(value, "the generator of triggers")
    name = doc.text("id", limit=64)
    kind = _KINDS.get(name)
    if kind is None:
        raise UnsupportedVersion(f"triggers of the generator {name!r} cannot be made here")
    Document(value, "the generator of triggers", ("id", *kind.__dataclass_fields__))
    return kind.read(doc)


def _stream(seed: bytes, size: int) -> bytes:
    return hashlib.shake_256(INPUT_TAG + seed).digest(size)


def _too_few() -> UsageError:
    return UsageError(
        "so short an input may turn up in ordinary use",
        hint=f"let it have at least 2^{_MIN_LOG2} possible values: make it longer",
    )
