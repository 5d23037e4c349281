"""Hashes tensor payloads leaf by leaf, on all processors and in flat memory.

Each worker reads into one buffer of its own, one leaf at a time: the leaf is still in the
processor's cache when it is hashed. Mapping the file instead would save that copy, but a file that
shrinks while mapped kills the process.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ledger.fingerprint.workers import run_jobs
from ledger.merkle import T1
from ledger.tensors.dtypes import DTYPES
from ledger.tensors.model import ModelSource

LEAF_BYTES = 1 << 20
# A job is what one thread takes at a time: small enough that all threads end together, and at most
# some thousand of them.
_JOBS = 512
_MAX_JOB_BYTES = 16 << 20
# Enough to tell any real tensor from a constant one without looking at all of it.
_PROBE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Payload:
    """What one pass over a payload tells.

    Attributes:
        root: T1 root over its leaves, 32 bytes.
        constant: whether all its words are equal (also true of an empty payload).
    """

    root: bytes
    constant: bool


@dataclass(frozen=True, slots=True)
class _Piece:
    tensor: int
    leaf: int
    member: int
    offset: int
    size: int


def hash_payloads(
    model: ModelSource, threads: int | None, progress: Callable[[int], None]
) -> list[Payload]:
    """Hash every tensor's payload, in the order of ``model.tensors``.

    Args:
        model: the open model.
        threads: workers; one per processor when None.
        progress: called in this thread with the payload bytes done so far.

    Raises:
        TensorFileError: a file cannot be read, or changed meanwhile.
    """
    infos = model.tensors
    leaves = [[b""] * -(-info.nbytes // LEAF_BYTES) for info in infos]
    # The distinct words seen as long as every leaf repeats a single one; None once one does not.
    words: list[set[bytes] | None] = [set() for _ in infos]
    widths = [DTYPES[info.dtype].word_bytes for info in infos]
    local = threading.local()

    def run(job: list[_Piece]) -> int:
        if not hasattr(local, "room"):
            # The byte in front stays zero: it is the leaf's domain byte.
            local.room = memoryview(bytearray(LEAF_BYTES + 1))
        room: memoryview = local.room
        for piece in job:
            data = room[1 : piece.size + 1]
            model.read_at(piece.member, piece.offset, data)
            leaves[piece.tensor][piece.leaf] = hashlib.sha256(room[: piece.size + 1]).digest()
            seen, width = words[piece.tensor], widths[piece.tensor]
            if seen is not None and _repeats(data, width):
                seen.add(bytes(data[:width]))
            else:
                words[piece.tensor] = None
        return sum(piece.size for piece in job)

    done = 0
    for size in run_jobs(run, _jobs(model), threads):
        done += size
        progress(done)
    return [
        Payload(T1.root(tree), constant=seen is not None and len(seen) <= 1)
        for tree, seen in zip(leaves, words, strict=True)
    ]


def _jobs(model: ModelSource) -> Iterator[list[_Piece]]:
    total = sum(info.nbytes for info in model.tensors)
    goal = min(max(total // _JOBS, LEAF_BYTES), _MAX_JOB_BYTES)
    job: list[_Piece] = []
    size = 0
    for tensor, info in enumerate(model.tensors):
        for leaf, start in enumerate(range(0, info.nbytes, LEAF_BYTES)):
            count = min(LEAF_BYTES, info.nbytes - start)
            job.append(_Piece(tensor, leaf, info.member, info.offset + start, count))
            size += count
            if size >= goal:
                yield job
                job, size = [], 0
    if job:
        yield job


def _repeats(data: memoryview, width: int) -> bool:
    """Whether `data` is one word of `width` bytes over and over."""
    probe = bytes(data[:_PROBE_BYTES])
    if probe[width:] != probe[:-width]:
        return False
    values = np.frombuffer(data, np.uint8)
    return bool(np.array_equal(values[width:], values[:-width]))
