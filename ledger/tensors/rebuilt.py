"""Tensors whose row-major payload stands nowhere in the file: it is made once, when first read.

Views with strides, Fortran order, big-endian and deflated arrays are rewritten into one unlinked
temporary file, so that whoever reads tensors by place and length can read these as well.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ledger.errors import LimitExceeded, TensorFileError
from ledger.tensors.model import Member, ModelSource, TensorInfo
from ledger.tensors.regular import shown
from ledger.tensors.zips import Entry, inflate

# A small file must not fill the disk: at most this, or so many times the file.
FREE_BYTES: Final = 1 << 30
# Nor keep a processor busy: tensors may share bytes, and views may reach far for little.
FREE_WORK: Final = 8 << 30
MAX_GROWTH: Final = 64
# A view is gathered from its whole storage in memory.
MAX_STORAGE_BYTES: Final = 4 << 30
_CHUNK_BYTES: Final = 4 << 20

Read: TypeAlias = Callable[[int, int, memoryview], None]
"""Fills a view from a member and an offset."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a payload is made.

    Attributes:
        nbytes: of the payload.
        make: gives it in pieces; what goes beyond `nbytes` is dropped. It may read real members
            and earlier recipes' results.
        reads: bytes that it reads for that.
    """

    nbytes: int
    make: Callable[[Read], Iterable[bytes | memoryview]]
    reads: int = 0


class RebuiltSource(ModelSource):
    """A model of which some tensors are made when they are read.

    A tensor of recipe r has the member number ``len(members) + r``.

    Args:
        members, tensors, title, left_out, states: as of `ModelSource`.
        recipes: payloads to be made.

    Raises:
        LimitExceeded: recipes or tensors have far more bytes than the files.
    """

    def __init__(
        self,
        members: tuple[Member, ...],
        tensors: tuple[TensorInfo, ...],
        *,
        title: str,
        left_out: tuple[str, ...],
        states: tuple[os.stat_result, ...],
        recipes: tuple[Recipe, ...],
    ) -> None:
        super().__init__(members, tensors, title=title, left_out=left_out, states=states)
        for total, free, what in (
            (sum(recipe.nbytes for recipe in recipes), FREE_BYTES, "would take {} unpacked"),
            (sum(recipe.reads for recipe in recipes), FREE_WORK, "has views that reach over {}"),
            (sum(info.nbytes for info in tensors), FREE_WORK, "announces {} of tensors"),
        ):
            if total > max(free, MAX_GROWTH * self.total_bytes):
                raise LimitExceeded(
                    f"{shown(title)} has {self.total_bytes} bytes and {what.format(total)}",
                    hint="save it again without compression (numpy.savez, torch.save of copies)",
                )
        self._recipes = recipes
        self._places = [0]
        for recipe in recipes:
            self._places.append(self._places[-1] + recipe.nbytes)
        self._made: set[int] = set()
        # Re-entrant: a recipe may read another's result.
        self._making = threading.RLock()
        self._spool: Any = None

    def read_at(self, member: int, offset: int, into: memoryview) -> None:
        """Fill `into`, from a file or from what a recipe makes.

        Raises:
            TensorFileError: a file cannot be read, changed, or does not hold what it announces.
        """
        number = member - len(self.members)
        if number < 0:
            super().read_at(member, offset, into)
            return
        place = self._ensure_made(number) + offset
        done = 0
        while done < len(into):
            count = os.preadv(self._spool.fileno(), [into[done:]], place + done)
            if count == 0:
                raise TensorFileError(f"{shown(self.title)}: a rebuilt tensor is cut short")
            done += count

    def close(self) -> None:
        """Release the files and the temporary one."""
        super().close()
        with self._making:
            self._made.clear()
            if self._spool is not None:
                self._spool.close()
                self._spool = None

    def _ensure_made(self, number: int) -> int:
        with self._making:
            if self._closed:
                raise TensorFileError(f"{self.title} is closed", hint="open the model again")
            if number not in self._made:
                if self._spool is None:
                    self._spool = tempfile.TemporaryFile(prefix="deed-")  # noqa: SIM115 - closed in close()
                self._fill(number)
                self._made.add(number)
            return self._places[number]

    def _fill(self, number: int) -> None:
        recipe, place = self._recipes[number], self._places[number]
        done = 0
        try:
            for piece in recipe.make(self.read_at):
                data = memoryview(piece).cast("B")[: recipe.nbytes - done]
                while data:
                    count = os.pwrite(self._spool.fileno(), data, place + done)
                    done, data = done + count, data[count:]
        except ValueError as error:
            raise TensorFileError(
                f"{shown(self.title)} holds a tensor that cannot be unpacked: {error}",
                hint="the file is damaged or made to mislead; get it again from its source",
            ) from None
        except OSError as error:
            raise TensorFileError(
                f"a tensor of {shown(self.title)} cannot be unpacked: {error.strerror}",
                hint="make room in the folder for temporary files, or set TMPDIR to another",
            ) from None
        if done != recipe.nbytes:
            raise TensorFileError(f"{shown(self.title)}: a rebuilt tensor is cut short")


def deflated(entry: Entry, member: int) -> Recipe:
    """The unpacked bytes of a deflated zip entry."""

    def make(read: Read) -> Iterator[bytes]:
        def take(offset: int, length: int) -> bytes:
            room = bytearray(length)
            read(member, offset, memoryview(room))
            return bytes(room)

        return inflate(entry, take)

    return Recipe(entry.size, make)


def swapped(member: int, offset: int, nbytes: int, width: int) -> Recipe:
    """Big-endian elements of `width` bytes, turned around."""

    def make(read: Read) -> Iterator[memoryview]:
        for start in range(0, nbytes, _CHUNK_BYTES):
            room = bytearray(min(_CHUNK_BYTES, nbytes - start))
            read(member, offset + start, memoryview(room))
            yield np.frombuffer(room, f">u{width}").astype(f"<u{width}").data.cast("B")

    return Recipe(nbytes, make)


def strided(
    member: int, offset: int, width: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> Recipe:
    """A view, gathered into row-major order.

    Args:
        member: the file.
        offset: of the view's first element there; no other lies before it.
        width: bytes of an element.
        shape: dimensions, none of them 0.
        strides: in elements, none negative.

    Raises:
        LimitExceeded: the storage under the view is too large to be gathered from.
    """
    last = sum((dim - 1) * stride for dim, stride in zip(shape, strides, strict=True))
    span = (last + 1) * width
    if span > MAX_STORAGE_BYTES:
        raise LimitExceeded(
            f"a tensor is a view of {span} bytes; at most {MAX_STORAGE_BYTES} are gathered",
            hint="save contiguous copies (tensor.contiguous())",
        )
    count = 1
    for dim in shape:
        count *= dim

    def make(read: Read) -> Iterator[memoryview]:
        room = bytearray(span)
        read(member, offset, memoryview(room))
        flat: npt.NDArray[Any] = np.frombuffer(room, f"<u{width}" if width <= 8 else f"V{width}")
        view = np.lib.stride_tricks.as_strided(
            flat, shape, tuple(stride * width for stride in strides), writeable=False
        )
        step = max(1, _CHUNK_BYTES * shape[0] // max(count * width, 1))
        for start in range(0, shape[0], step):
            part = np.ascontiguousarray(view[start : start + step])
            yield part.view(np.uint8).reshape(-1).data

    return Recipe(count * width, make, span)
