"""Finds the targets of a mark in a suspect that moved, renamed, permuted or converted them.

Everything is learnt from the suspect and the unmarked original; no sign is looked at, so the bound
of docs/spec/watermark.md, section 5, holds for whatever is found. The search is that of tracing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ledger.sealed.marking import MARKED_DTYPES
from ledger.tensors.model import ModelSource, TensorInfo
from ledger.tracing.alignment import Aligned, Finder
from ledger.watermark.record import Target

_LONG: Final = 8  # sides this far apart show best how the shorter dimension was changed
_LEARNT_FROM: Final = 2  # tensors for each length


@dataclass(frozen=True, slots=True)
class Realigned:
    """One target: its original weights, and what the suspect holds in their places.

    Attributes:
        target: which.
        original: the unmarked weights.
        found: shaped like them, NaN where nothing is; None when it is not there.
    """

    target: Target
    original: npt.NDArray[np.float32]
    found: Aligned | None


def realigned(
    suspect: ModelSource, original: ModelSource, targets: tuple[Target, ...]
) -> Iterator[Realigned]:
    """Every target that can be found, one at a time; what is missing is looked for twice.

    Memory: a target in both models, and sketches of the suspect.

    Raises:
        TensorFileError: a file cannot be read, or changed meanwhile.
    """
    infos = {info.name: info for info in original.tensors}
    finder = Finder(suspect, frozenset(target.name for target in targets))
    missing = []
    for target in targets:
        one = _look(finder, original, infos, target)
        if one.found is None:
            missing.append(target)
        else:
            yield one
    if missing and not finder.hopeless:
        # What was found, and long tensors, tell how a dimension was changed everywhere.
        _learn(finder, original, {side for target in missing for side in target.shape})
        yield from (_look(finder, original, infos, target) for target in missing)


def _look(
    finder: Finder, original: ModelSource, infos: dict[str, TensorInfo], target: Target
) -> Realigned:
    weights = read_rows(original, infos[target.name])
    return Realigned(target, weights, finder.find(target.name, weights))


def _learn(finder: Finder, original: ModelSource, sides: set[int]) -> None:
    long = sorted(
        (-max(info.shape) / min(info.shape), info.name, info)
        for info in original.tensors
        if info.dtype in MARKED_DTYPES and len(info.shape) == 2 and min(info.shape) in sides
    )
    seen: Counter[int] = Counter()
    for ratio, name, info in long:
        side = min(info.shape)
        if ratio <= -_LONG and seen[side] < _LEARNT_FROM:
            seen[side] += 1
            finder.learn(name, read_rows(original, info))


def read_rows(model: ModelSource, info: TensorInfo) -> npt.NDArray[np.float32]:
    """A whole matrix in binary32."""
    plain = np.frombuffer(model.read(info), MARKED_DTYPES[info.dtype])
    return plain.astype(np.float32).reshape(info.shape)
