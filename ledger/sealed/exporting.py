"""A package's files, decrypted, in a folder that appears whole or not at all.

Apart from ``reader``, since it alone writes plaintext to a disk.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ledger.errors import UsageError
from ledger.paths import beside
from ledger.sealed.index import MemberEntry
from ledger.sealed.parallel import Meter, Progress
from ledger.sealed.plaintext import Plaintext


def export(plain: Plaintext, folder: Path, *, progress: Progress | None) -> tuple[Path, ...]:
    """Write every file into a new folder.

    Returns:
        The paths written.

    Raises:
        UsageError: the folder exists and is not empty, or cannot be written.
        SegmentTampered, ContentMismatch, SealedTruncated: as of a read.
    """
    part = beside(folder, f".{folder.name}.{os.urandom(6).hex()}.part")
    meter = Meter(progress, sum(member.size for member in plain.members))
    try:
        part.mkdir(mode=0o700, parents=True)
        try:
            for number, member in enumerate(plain.members):
                _write(plain, number, member, part / member.name, meter)
            part.rename(folder)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written: {error.strerror or error}",
            hint="give a folder that does not exist yet",
        ) from None
    return tuple(folder / member.name for member in plain.members)


def _write(plain: Plaintext, number: int, member: MemberEntry, path: Path, meter: Meter) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    step = plain.segments.step
    with path.open("xb") as file:
        for offset in range(0, member.size, step):
            count = min(step, member.size - offset)
            data = plain.fetch(number, offset, count)
            file.write(data)
            meter.add(count)
        file.flush()
        os.fsync(file.fileno())
