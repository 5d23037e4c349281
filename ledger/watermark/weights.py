"""Writes the mark into a copy of a model: section 4 of docs/spec/watermark.md.

The copy is the file as it was, byte for byte, but for the marked weights. Regions are read, marked
and written where they lie, by several threads in pieces of some hundred kilobytes, so that memory
stays flat whatever the model's size, but for the signs: a bit for each weight of a tensor at work.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ledger.errors import ClaimMismatch, ConfigurationError, UnsupportedModel, UsageError
from ledger.files import sync_folder
from ledger.fingerprint.exact import Fingerprint
from ledger.fingerprint.workers import run_jobs
from ledger.sealed.marking import MARKED_DTYPES
from ledger.tensors.model import ModelSource, TensorInfo
from ledger.watermark.keys import sign_bytes, unpacked
from ledger.watermark.record import Target

LEAST_SIDE: Final = 32
MOST_RATIO: Final = 16
PIECE: Final = 1 << 16  # weights at a time: what a core's own cache holds several times
_COPY_BYTES: Final = 1 << 20
# GGUF says token_embd, BERT word_embeddings, GPT-2 wte; "output" alone is GGUF's head, and a part
# of every matrix's name in BERT.
_HELD_BACK = re.compile(
    r"(^|[._/])(embed\w*|\w*embd|\w*embeddings?|wte|wpe|lm_head|head|classifier|score)([._/]|$)"
    r"|^output\.weight$"
)

Signs = Callable[[Target], npt.NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Embedded:
    """What embedding did.

    Attributes:
        tensors: how many carry the mark.
        weights: how many weights that are.
        change: root mean square of the change over that of the marked weights; −40 dB is 0.01.
        realised: the part of the mark that rounding left, 1 when all.
    """

    tensors: int
    weights: int
    change: float
    realised: float

    @property
    def decibels(self) -> float:
        """The change as engineers write it."""
        return 20 * math.log10(self.change) if self.change > 0 else -math.inf

    def expected_blind_log10(self, epsilon: float) -> float:
        """About what detection without the original will find in an unaltered copy."""
        z = self.realised * epsilon * math.sqrt(self.weights)
        return -z * z / 2 / math.log(10)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "tensors": self.tensors,
            "weights": self.weights,
            "relative_change": self.change,
            "realised": self.realised,
        }


@dataclass(frozen=True, slots=True)
class _Moved:
    """Sums over one piece: of s (w' − w)/σ, of (w' − w)², of w², and of weights."""

    along: float
    change: float
    energy: float
    weights: int


@dataclass(frozen=True, slots=True)
class _Mark:
    """What is written, and where."""

    places: Mapping[TensorInfo, Target]
    signs: Signs
    epsilon: float

    def into(self, room: bytearray, info: TensorInfo, first: int) -> _Moved:
        """Mark whole rows in place, of which the first weight has this number in its tensor."""
        stored = np.frombuffer(room, MARKED_DTYPES[info.dtype]).reshape(-1, info.shape[1])
        before = stored.astype(np.float32)
        packed = self.signs(self.places[info])
        signs = unpacked(packed, first, stored.size).reshape(before.shape)
        sigma = row_spread(before)
        after = marked_rows(stored, before, signs, sigma, self.epsilon)
        stored[:] = after
        change = after.astype(np.float32) - before
        np.nan_to_num(change, copy=False, posinf=0.0, neginf=0.0)
        along = np.einsum("ij,ij->i", change, signs)
        live = sigma > 0
        finite = before if live.all() else np.where(live[:, None], before, 0)
        return _Moved(
            float((along / np.where(live, sigma, 1)).sum()),
            float(np.einsum("ij,ij->", change, change)),
            float(np.einsum("ij,ij->", finite, finite)),
            int(live.sum()) * info.shape[1],
        )


def targets_of(made: Fingerprint) -> tuple[Target, ...]:
    """The tensors that carry a mark, ascending by name.

    Of tensors with the same content the first alone: their signs would be the same, and counted
    twice they would pass for more evidence than they are.

    Raises:
        UnsupportedModel: none can.
    """
    found = sorted(
        (
            Target(tensor.name, tensor.dtype, (tensor.shape[0], tensor.shape[1]), tensor.cid)
            for tensor in made.tensors
            if tensor.identity and _carries(tensor.name, tensor.dtype, tensor.shape)
        ),
        key=lambda target: target.name,
    )
    alone = {target.cid: target for target in reversed(found)}
    found = [target for target in found if alone[target.cid] is target]
    if not found:
        raise UnsupportedModel(
            "no tensor of this model can carry a watermark",
            hint="matrices of F32, F16 or BF16 with 32 rows and columns can, outside embeddings "
            "and heads; mark the model before it is quantised",
        )
    return tuple(found)


def _carries(name: str, dtype: str, shape: tuple[int, ...]) -> bool:
    if dtype not in MARKED_DTYPES or len(shape) != 2 or min(shape) < LEAST_SIDE:
        return False
    return max(shape) <= MOST_RATIO * min(shape) and not _HELD_BACK.search(name)


def signs_of(key: bytes) -> Signs:
    """The packed signs of targets under a key; those of the last few tensors are kept.

    Threads that work on one tensor share them.
    """

    @lru_cache(maxsize=4)
    def drawn(target: Target) -> npt.NDArray[np.uint8]:
        return sign_bytes(key, target.cid, target.weights)

    return drawn


def piece_rows(columns: int) -> int:
    """Rows that are worked on together: a multiple of eight, so that signs begin a byte."""
    return max(8, PIECE // columns // 8 * 8)


def embed(
    model: ModelSource,
    dest: Path,
    targets: tuple[Target, ...],
    key: bytes,
    epsilon: float,
    *,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Embedded:
    """Write a marked copy of a model, whole or not at all.

    Args:
        model: the unmarked model, of which the caller knows that it is the committed one.
        dest: a file for a model of one file, else a folder; nothing may be there.
        targets: what carries the mark.
        key: the effective key.
        epsilon: the mark's size in standard deviations of a row.
        threads: workers; one per processor when None.
        progress: called in this thread with (bytes done, bytes in all).

    Raises:
        UsageError: something is at `dest`.
        ClaimMismatch: a target is not in the model.
        TensorFileError: a file changed meanwhile.
        ConfigurationError: `dest` cannot be written.
    """
    if dest.exists() or dest.is_symlink():
        raise UsageError(f"{dest} is already there", hint="name a file or folder that is not")
    places = places_of(model, targets)
    single = len(model.members) == 1
    building = dest.with_name(f".{dest.name}.{secrets.token_hex(6)}.part")
    try:
        if single:
            building.parent.mkdir(parents=True, exist_ok=True)
            names = [building]
        else:
            building.mkdir(parents=True)
            names = [building / member.name for member in model.members]
        moved = _write(
            model, names, _Mark(places, signs_of(key), epsilon), threads=threads, progress=progress
        )
        model.ensure_unchanged()
        os.rename(building, dest)  # noqa: PTH104 - the same call for a file and a folder
        sync_folder(dest.parent)
    except OSError as error:
        raise ConfigurationError(f"cannot write {dest}: {error.strerror}") from None
    finally:
        if building.is_dir():
            shutil.rmtree(building, ignore_errors=True)
        else:
            building.unlink(missing_ok=True)
    weights = sum(one.weights for one in moved)
    energy = sum(one.energy for one in moved)
    return Embedded(
        len(targets),
        sum(target.weights for target in targets),
        math.sqrt(sum(one.change for one in moved) / energy) if energy else 0.0,
        sum(one.along for one in moved) / (weights * epsilon) if weights else 0.0,
    )


def places_of(model: ModelSource, targets: tuple[Target, ...]) -> dict[TensorInfo, Target]:
    """Where the targets lie in the unmarked model.

    Raises:
        ClaimMismatch: one is not there as the record lists it.
    """
    by_name = {info.name: info for info in model.tensors}
    places = {}
    for target in targets:
        info = by_name.get(target.name)
        if info is None or (info.dtype, info.shape) != (target.dtype, target.shape):
            raise ClaimMismatch(
                f"the model has no tensor {target.name[:80]!r} as the record lists it",
                hint="give the very model that was committed to",
            )
        places[info] = target
    return places


def _write(
    model: ModelSource,
    names: list[Path],
    mark: _Mark,
    *,
    threads: int | None,
    progress: Callable[[int, int], None] | None,
) -> list[_Moved]:
    out: list[int] = []
    try:
        for name, member in zip(names, model.members, strict=True):
            name.parent.mkdir(parents=True, exist_ok=True)
            out.append(os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
            os.truncate(out[-1], member.size)

        def run(job: tuple[int, int, int, TensorInfo | None]) -> tuple[int, _Moved | None]:
            member, offset, size, info = job
            room = bytearray(size)
            model.read_at(member, offset, memoryview(room))
            moved = None
            if info is not None:
                moved = mark.into(room, info, (offset - info.offset) // _width(info))
            _write_at(out[member], room, offset)
            return size, moved

        done, kept = 0, []
        for size, moved in run_jobs(run, _jobs(model, mark.places), threads):
            done += size
            if moved is not None:
                kept.append(moved)
            if progress is not None:
                progress(done, model.total_bytes)
        for fd in out:
            os.fsync(fd)
        return kept
    finally:
        for fd in out:
            os.close(fd)


def _jobs(
    model: ModelSource, places: Mapping[TensorInfo, Target]
) -> Iterator[tuple[int, int, int, TensorInfo | None]]:
    """Every byte of every member once: marked pieces of targets, and what lies between them."""
    for number, member in enumerate(model.members):
        at = 0
        mine = sorted((i for i in places if i.member == number), key=lambda info: info.offset)
        for info in mine:
            yield from _between(number, at, info.offset)
            step = piece_rows(info.shape[1]) * info.shape[1] * _width(info)
            for start in range(0, info.nbytes, step):
                yield number, info.offset + start, min(step, info.nbytes - start), info
            at = info.offset + info.nbytes
        yield from _between(number, at, member.size)


def _between(member: int, start: int, end: int) -> Iterator[tuple[int, int, int, None]]:
    bounds = [*range(start, end, _COPY_BYTES), end]
    for first, last in itertools.pairwise(bounds):
        yield member, first, last - first, None


def row_spread(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """σ of each row in binary64; 0 where a row is not finite."""
    with np.errstate(all="ignore"):
        wide = rows.astype(np.float64)
        wide -= wide.mean(axis=1, keepdims=True)
        sigma = np.sqrt(np.einsum("ij,ij->i", wide, wide) / rows.shape[1])
    return np.asarray(np.nan_to_num(sigma, nan=0.0, posinf=0.0))


def marked_rows(
    stored: npt.NDArray[Any],
    rows: npt.NDArray[np.float32],
    signs: npt.NDArray[np.float32],
    sigma: npt.NDArray[np.float64],
    epsilon: float,
) -> npt.NDArray[Any]:
    """``w' = round(binary32(w + s · step))``, with what the page says stays as it was.

    Args:
        stored: whole rows in the tensor's own type.
        rows: the same in binary32.
        signs: of each weight, +1 or −1.
        sigma: of each row, as ``row_spread`` gives it.
        epsilon: the mark's size in standard deviations of a row.
    """
    step = (epsilon * sigma).astype(np.float32)
    with np.errstate(all="ignore"):
        made = signs * step[:, None]
        made += rows
        out = made.astype(stored.dtype, copy=False)
        stay = rows == 0
        if not (step > 0).all():
            stay |= (step <= 0)[:, None]
        if not np.isfinite(out.astype(np.float32, copy=False)).all():
            stay |= ~np.isfinite(out.astype(np.float32))
    if stay.any():
        out[stay] = stored[stay]
    return out


def _width(info: TensorInfo) -> int:
    return np.dtype(MARKED_DTYPES[info.dtype]).itemsize


def _write_at(fd: int, data: bytearray, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, offset)
        view, offset = view[count:], offset + count
