"""The keys that a release brought to a host: the content key, and one key for each cell.

Whoever gets them zeroes them: ``wipe``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ledger.broker.celldeposits import CELL_KEYS, has_cells
from ledger.broker.cellshares import ReleasedPart
from ledger.broker.custody import zero
from ledger.broker.deposits import Wrap
from ledger.broker.leases import Lease
from ledger.broker.protocol import KeyRequest, release_info
from ledger.broker.vault import check_commitment
from ledger.errors import KeyAccessError, LimitExceeded, ManifestError, SignatureInvalid
from ledger.licensing.document import Document
from ledger.sealed.cells import ReleasedCells, released_bytes
from ledger.sealed.codeword import MAX_CELLS
from ledger.sealed.recipients import KemPrivateKey, unwrap
from ledger.sealed.record import SealingRecord

_KEY = 32


@dataclass(slots=True)
class ReleasedKeys:
    """What opens one license's copy. Its repr shows no key.

    Attributes:
        content: the content key.
        cells: one key per cell with the word that chose them; None without cells.
    """

    content: bytearray = field(repr=False)
    cells: ReleasedCells | None = field(default=None, repr=False)

    def check(self, record: SealingRecord) -> None:
        """Hold the keys against the sealing record; zeroes them when they do not fit.

        A sealing's cell table says whether each cell key is the committed one
        (``CellTable.check``); without it, only whether there are any.

        Raises:
            KeyAccessError: they are another sealing's.
        """
        if has_cells(record) != (self.cells is not None):
            self.wipe()
            raise KeyAccessError(
                "the released keys and the sealing differ in whether there are cells",
                hint="tell the licensor and the broker's operator",
            )
        try:
            check_commitment(self.content, record)
        except BaseException:
            self.wipe()
            raise

    def wipe(self) -> None:
        """Zero the keys. Safe to repeat."""
        zero(self.content)
        if self.cells is not None:
            self.cells.wipe()

    def to_bytes(self) -> bytearray:
        """Content key, and then what a release of cells wraps; the caller zeroes it."""
        if self.cells is None:
            return bytearray(self.content)
        return bytearray(self.content) + self.cells.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytearray) -> ReleasedKeys:
        """Read what `to_bytes` gave; `data` is zeroed.

        Raises:
            LimitExceeded: not of that form.
        """
        try:
            content, rest = data[:_KEY], data[_KEY:]
            if len(content) != _KEY:
                raise LimitExceeded("these are not released keys")
            if not rest:
                return cls(content)
            return cls(content, ReleasedCells.from_bytes(rest, _count(len(rest))))
        finally:
            zero(data)


def _count(length: int) -> int:
    """How many cells a payload of this length is of; lengths of two counts never agree."""
    count = (length - released_bytes(0)) * 8 // (_KEY * 8 + 1)
    if released_bytes(count) != length:
        raise LimitExceeded(f"{length} bytes are not released keys of cells")
    return count


def open_cells(
    reply: Mapping[str, Any],
    wraps: Mapping[str, Wrap],
    kem: KemPrivateKey,
    request: KeyRequest,
    lease: Lease,
) -> ReleasedCells | None:
    """The cell keys of one broker's release; None where the reply tells of none.

    Raises:
        ManifestError: the reply says cells and holds none, or the reverse.
        NoIdentityMatch: they do not open. LimitExceeded: not as many as the reply says.
        SignatureInvalid: they are of another code word than the reply says.
    """
    said = _said(reply, CELL_KEYS, wraps)
    if said is None:
        return None
    info = release_info(CELL_KEYS, request, lease)
    data = unwrap(wraps[CELL_KEYS].data, kem, info=info)
    cells = ReleasedCells.from_bytes(data, said.integer("count", 1, MAX_CELLS))
    if cells.word.hash() != said.digest("code_hash"):
        cells.wipe()
        raise _other_word()
    return cells


def open_part(
    reply: Mapping[str, Any],
    label: str,
    wraps: Mapping[str, Wrap],
    kem: KemPrivateKey,
    *,
    request: KeyRequest,
    lease: Lease,
) -> ReleasedPart | None:
    """The same of one broker of several, under its label: its part, which the caller checks.

    Raises:
        as `open_cells`.
    """
    said = _said(reply, label, wraps)
    if said is None:
        return None
    data = unwrap(wraps[label].data, kem, info=release_info(label, request, lease))
    part = ReleasedPart.from_bytes(data, said.integer("count", 1, MAX_CELLS))
    if part.cells.word.hash() != said.digest("code_hash"):
        part.wipe()
        raise _other_word()
    return part


def said_cells(reply: Mapping[str, Any]) -> int | None:
    """How many cells a reply says that it released keys of; None without cells.

    Raises:
        ManifestError: not a number that a sealing can have.
    """
    if "cells" not in reply:
        return None
    outer = Document(dict(reply), "the broker's reply")
    told = Document(outer.object("cells"), "the reply's cells", ("count", "code_hash"))
    return told.integer("count", 1, MAX_CELLS)


def _said(reply: Mapping[str, Any], label: str, wraps: Mapping[str, Wrap]) -> Document | None:
    if ("cells" in reply) != (label in wraps):
        raise ManifestError("the broker's reply and its wraps differ in whether there are cells")
    if "cells" not in reply:
        return None
    outer = Document(dict(reply), "the broker's reply")
    return Document(outer.object("cells"), "the reply's cells", ("count", "code_hash"))


def _other_word() -> SignatureInvalid:
    return SignatureInvalid(
        "the broker's reply states another code word than the keys it released are of",
        hint="tell the licensor: a tracing would rest on what it states",
    )
