"""An open package in two other shapes: a mapping of arrays, and the model that was sealed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from ledger.sealed.index import Tables
from ledger.tensors.model import Member, ModelSource, TensorInfo

if TYPE_CHECKING:
    from ledger.sealed.reader import SealedFile


class LoadedTensors(Mapping[str, npt.NDArray[Any]]):
    """Name to read-only array, over the arena of an open file."""

    __slots__ = ("_file", "_names")

    def __init__(self, file: SealedFile) -> None:
        self._file = file
        self._names = dict.fromkeys(file.keys())

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if name not in self._names:
            raise KeyError(name)
        return self._file.get_tensor(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class PlaintextSource(ModelSource):
    """A package's plaintext in the shape the fingerprint reads.

    Args:
        name: of the package, for messages.
        tables: of the package.
        copy: fills a view from an offset in a member, authenticating what it reads.
    """

    def __init__(
        self, name: str, tables: Tables, copy: Callable[[int, int, memoryview], None]
    ) -> None:
        path = Path(name)
        super().__init__(
            tuple(Member(m.name, path, m.size, m.role, b"") for m in tables.members),
            tuple(
                TensorInfo(t.name, t.dtype, t.shape, t.member, t.offset, t.nbytes)
                for t in tables.tensors
            ),
            title=path.stem,
            left_out=(),
            states=(),
        )
        self._copy = copy

    def read_at(self, member: int, offset: int, into: memoryview) -> None:
        """Fill `into` from `offset` in a member's plaintext."""
        self._copy(member, offset, into)

    def ensure_unchanged(self) -> None:
        """Nothing to do: every segment is authenticated as it is read."""
