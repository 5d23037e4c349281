"""Whether what is inside a package is what its table says: everything read again, nothing believed.

Apart from ``reader``, since reading trusts the authenticated table and this does not: it changes
with what a fingerprint covers, and with what per-license marks leave out of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from ledger.errors import ContentMismatch
from ledger.fingerprint.exact import fingerprint, with_content_ids
from ledger.ids import Digest
from ledger.sealed.index import outside_tensors
from ledger.sealed.parallel import Progress
from ledger.sealed.plaintext import Plaintext
from ledger.sealed.variants import OpenCells
from ledger.sealed.views import PlaintextSource


def measured_root(
    name: str,
    plain: Plaintext,
    cells: OpenCells | None,
    marked: Collection[str],
    *,
    threads: int | None,
    progress: Progress | None,
) -> Digest:
    """The content root, recomputed as `SealedFile.verify_content` says.

    Args:
        name: of the package, for messages.
        plain: what is inside.
        cells: where the marks of this license are; None without any.
        marked: the tensors that they changed, whose content ids are taken from the table.
        threads: default one per core.
        progress: as of `fingerprint`.

    Raises:
        ContentMismatch: a tensor or side file is not what the table says.
        SegmentTampered, SealedTruncated: as of a read.
    """
    for number, member in enumerate(plain.members):
        if _digest_outside_tensors(plain, number) != member.digest.raw:
            raise ContentMismatch(f"{member.name} is not the file the table describes")
    if cells is not None:
        _check_cells(plain, cells)
    source = PlaintextSource(name, plain.tables, plain.copy)
    measured = fingerprint(source, threads=threads, progress=progress)
    told = plain.tensors
    for tensor in measured.tensors:
        if tensor.name not in marked and tensor.cid != told[tensor.name].cid:
            raise ContentMismatch(f"tensor {tensor.name!r} is not the one the table describes")
    cids = {name: told[name].cid for name in marked}
    return with_content_ids(measured, cids).content_root if marked else measured.content_root


def _check_cells(plain: Plaintext, cells: OpenCells) -> None:
    cell_bytes = bytearray(cells.index.cell_bytes)
    try:
        for cell, entry in enumerate(cells.index.entries):
            tensor = plain.tables.tensors[entry.tensor]
            plain.copy(tensor.member, tensor.offset + entry.offset, memoryview(cell_bytes))
            cells.check_other(cell, cell_bytes)
    finally:
        cell_bytes[:] = bytes(len(cell_bytes))


def _digest_outside_tensors(plain: Plaintext, number: int) -> bytes:
    state = hashlib.sha256()
    step = plain.segments.step
    inside = ((t.offset, t.nbytes) for t in plain.tables.tensors if t.member == number)
    for start, end in outside_tensors(plain.members[number].size, inside):
        for offset in range(start, end, step):
            state.update(plain.fetch(number, offset, min(step, end - offset)))
    return state.digest()
