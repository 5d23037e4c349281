"""Value-multiset ids: which values a tensor holds, in any order.

``vid = H(11 ‖ "mfp1" ‖ u16 dtype ‖ u64 n ‖ sorted words)`` survives transposing, reshaping and
reordering neurons, heads and gates, which change every byte position and nothing a network
computes. Sorting needs all values at once, so a large tensor is sorted in ranges: each range is
collected by reading the tensor again, and the ranges follow one another into the hash. The same
pass gives the ids of a float32 tensor's casts.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ledger.fingerprint.casts import CastHasher, CastRoots
from ledger.fingerprint.workers import run_jobs, worker_count
from ledger.tensors.dtypes import DTYPES
from ledger.tensors.model import ModelSource, TensorInfo

# Extra memory of all workers together, in bytes.
MEMORY_BUDGET = 1 << 30
_CHUNK_BYTES = 4 << 20

Words = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class DeepIds:
    """What the second pass tells of one tensor: its vid (32 bytes), and its casts if it is F32."""

    vid: bytes
    casts: tuple[CastRoots, ...] = ()


def deep_ids(
    model: ModelSource,
    tensors: list[int],
    threads: int | None,
    progress: Callable[[int], None],
    *,
    budget: int = MEMORY_BUDGET,
) -> dict[int, DeepIds]:
    """The vid of each of these tensors, and its casts' ids, by index into ``model.tensors``.

    Args:
        model: the open model.
        tensors: which; the largest are taken first, so that the workers end together.
        threads: workers; one per processor when None.
        progress: called in this thread with the payload bytes done so far.
        budget: extra memory of all workers together, in bytes.

    Raises:
        TensorFileError: a file cannot be read, or changed meanwhile.
    """
    # NumPy's counting takes up to 12 bytes for each byte of a chunk, beside the sorted range.
    share = max(budget // worker_count(threads) - 16 * _CHUNK_BYTES, _CHUNK_BYTES)
    order = sorted(tensors, key=lambda index: -model.tensors[index].nbytes)
    ids: dict[int, DeepIds] = {}
    done = 0
    for index, deep in run_jobs(
        lambda i: (i, _ids(model, model.tensors[i], share)), order, threads
    ):
        ids[index] = deep
        done += model.tensors[index].nbytes
        progress(done)
    return ids


@dataclass(frozen=True, slots=True)
class _Stream:
    """One tensor's payload as unsigned words, read again on every pass."""

    model: ModelSource
    info: TensorInfo
    width: int

    def chunks(self) -> Iterator[Words]:
        """All words in file order, in one buffer that is filled again and again."""
        total = self.info.nbytes
        room = memoryview(bytearray(min(_CHUNK_BYTES, total)))
        for start in range(0, total, _CHUNK_BYTES):
            data = room[: min(_CHUNK_BYTES, total - start)]
            self.model.read_at(self.info.member, self.info.offset + start, data)
            yield np.frombuffer(data, f"<u{self.width}")

    def counts(self, top: int, known: int, step: int) -> Words:
        """How often each next `step` bits follow the upper `known` bits `top`."""
        shift = 8 * self.width - known - step
        counts = np.zeros(1 << step, np.int64)
        for words in self.chunks():
            chosen = words[words >> (shift + step) == top] if known else words
            digits = (chosen >> shift) & ((1 << step) - 1)
            counts += np.bincount(digits.astype(np.uint16), minlength=1 << step)
        return counts

    def collect(self, low: int, span: int, total: int) -> Words:
        """The `total` words in [low, low + span), sorted."""
        found = np.empty(total, f"<u{self.width}")
        filled = 0
        for words in self.chunks():
            # Unsigned: what lies below `low` wraps around to far above the span.
            chosen = words[words - words.dtype.type(low) < span]
            found[filled : filled + len(chosen)] = chosen
            filled += len(chosen)
        found.sort()
        return found


def _ids(model: ModelSource, info: TensorInfo, share: int) -> DeepIds:
    dtype = DTYPES[info.dtype]
    width = dtype.word_bytes
    hasher = hashlib.sha256(b"\x11mfp1" + struct.pack("<HQ", dtype.code, info.nbytes // width))
    casts = CastHasher(info.elements) if info.dtype == "F32" else None
    stream = _Stream(model, info, width)
    parts: Iterable[Words]
    if width > 2 and info.nbytes <= share:
        words = np.frombuffer(model.read(info), f"<u{width}")
        if casts is not None:
            casts.take(words)
        words.sort()
        parts = (words,)
    else:
        if casts is not None:
            for words in stream.chunks():
                casts.take(words)
        parts = _sorted_parts(stream, share)
    for part in parts:
        hasher.update(part.data.cast("B"))
        if casts is not None:
            casts.take_sorted(part)
    return DeepIds(hasher.digest(), () if casts is None else casts.roots())


def _sorted_parts(stream: _Stream, share: int, *, top: int = 0, known: int = 0) -> Iterator[Words]:
    """The sorted words whose upper `known` bits equal `top`, in parts of at most `share` bytes.

    Counts the words by their next 16 bits. Digits that together fit are collected and sorted; one
    digit too frequent for that is split by the bits below it. After the last digit its count says
    all there is to know.
    """
    bits = 8 * stream.width
    step = min(16, bits)
    shift = bits - known - step
    counts = stream.counts(top, known, step)
    if shift == 0:
        yield from _counted(counts, top << step, stream.width)
        return
    first = 0
    while first < len(counts):
        last, total = first + 1, int(counts[first])
        while last < len(counts) and (total + int(counts[last])) * stream.width <= share:
            total += int(counts[last])
            last += 1
        low = (top << step) + first
        if total * stream.width > share:
            yield from _sorted_parts(stream, share, top=low, known=known + step)
        elif total:
            yield stream.collect(low << shift, (last - first) << shift, total)
        first = last


def _counted(counts: Words, base: int, width: int) -> Iterator[Words]:
    """Words base, base + 1, … repeated as often as counted, in parts of a chunk's size."""
    room = _CHUNK_BYTES // width
    pending: list[Words] = []
    size = 0
    for digit in np.flatnonzero(counts):
        left = int(counts[digit])
        while left:
            take = min(left, room - size)
            pending.append(np.full(take, base + int(digit), f"<u{width}"))
            left -= take
            size += take
            if size == room:
                yield np.concatenate(pending)
                pending, size = [], 0
    if pending:
        yield np.concatenate(pending)
