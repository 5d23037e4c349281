"""Sealed packages: seal, inspect, open. ``docs/spec/sealed-package.md`` is the format."""

from __future__ import annotations

from pathlib import Path

from ledger.sealed.cells import ReleasedCells
from ledger.sealed.keys import key_commitment
from ledger.sealed.opening import SealedInfo, open_steps, read_clear
from ledger.sealed.reader import SealedFile, TensorFacts
from ledger.sealed.record import SealingRecord
from ledger.sealed.source import ByteSource, FileSource
from ledger.sealed.stream import Readable
from ledger.sealed.views import LoadedTensors
from ledger.sealed.writer import CellPlan, seal

__all__ = [
    "CellPlan",
    "LoadedTensors",
    "SealedFile",
    "SealedInfo",
    "SealingRecord",
    "TensorFacts",
    "inspect",
    "key_commitment",
    "open_sealed",
    "seal",
]


def inspect(path: Path | str | ByteSource) -> SealedInfo:
    """The public facts of a sealed file; needs no key, and authenticates nothing.

    A source given in place of a path is closed.

    Raises:
        NotSealed: another kind of file.
        SealedTruncated: another length than its prelude fixes.
        UnsupportedVersion, LimitExceeded, SealedFormatError: a file this release does not read.
    """
    source = _source(path)
    try:
        return read_clear(source).info
    finally:
        source.close()


def open_sealed(
    path: Path | str | ByteSource,
    content_key: Readable,
    *,
    record: SealingRecord | None = None,
    verify: bool = True,
    cells: ReleasedCells | None = None,
) -> SealedFile:
    """Open a sealed file.

    Args:
        path: of the file; or a source, which is closed with the file, and on failure.
        content_key: 32 bytes; not kept, and the caller may zero it afterwards.
        record: the sealing record the licensor lodged. Without it, the file is only known to be
            one that the key belongs to.
        verify: check each segment against its leaf. Without that, anyone who holds the content key
            (every licensee) could have forged what is read.
        cells: in a file that has cells, one license's keys of them, or the master's
            (`variants.master`); not kept, and the caller may zero them afterwards.

    Raises:
        NotSealed: another kind of file.
        SealedTruncated: another length than its prelude fixes.
        UnsupportedVersion, LimitExceeded, SealedFormatError: a file this release does not read.
        ContentMismatch: not what `record` fixes: another model, epoch or file.
        WrongKey: not the key of this file, or not the keys of its cells.
        HeaderTampered: prelude, public part or index were altered.
        UsageError: the key has not 32 bytes.
    """
    source = _source(path)
    try:
        opened = open_steps(source, content_key, record, cells)
        return SealedFile(source, opened, verify=verify)
    except BaseException:
        source.close()
        raise


def _source(place: Path | str | ByteSource) -> ByteSource:
    return FileSource(place) if isinstance(place, Path | str) else place
