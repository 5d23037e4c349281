"""Writes the cells of a package: leaves first, then both records of each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import cast

from ledger.errors import ContentMismatch
from ledger.sealed import keys
from ledger.sealed.cells import CellKeys, key_commitment
from ledger.sealed.header import Prelude
from ledger.sealed.marking import Marker
from ledger.sealed.parallel import for_each
from ledger.sealed.stream import Entropy
from ledger.sealed.variants import CellEntry, CellIndex, encrypt_form

_FORMS = (0, 1)


class CellSection:
    """The cells of the package that is being written."""

    def __init__(
        self, marker: Marker, cell_keys: CellKeys, suite: int, segment_bytes: int, threads: int
    ) -> None:
        self._marker = marker
        self._keys = cell_keys
        self._leaf = keys.LEAF[suite]
        self._segment = segment_bytes
        self._threads = threads
        self._in_segment: dict[int, list[int]] = {}
        for cell, place in enumerate(marker.places):
            self._in_segment.setdefault(place.position // segment_bytes, []).append(cell)
        self._cell = len(marker.forms(0)[0])
        entries: list[CellEntry | None] = [None] * len(marker.places)

        def describe(cell: int) -> None:
            entries[cell] = self._entry(cell)

        for_each(len(entries), describe, threads=threads)
        self.entries = cast("tuple[CellEntry, ...]", tuple(entries))

    def leaves(self) -> list[bytes]:
        """What the roots are over."""
        return [entry.leaf for entry in self.entries]

    def cut_out(self, number: int, segment: memoryview) -> None:
        """Put zeros where cells lie in a segment."""
        for cell in self._in_segment.get(number, ()):
            at = self._marker.places[cell].position % self._segment
            segment[at : at + self._cell] = bytes(self._cell)

    def write(
        self,
        prelude: Prelude,
        binding: bytes,
        put: Callable[[bytes, int], None],
        entropy: Entropy,
    ) -> CellIndex:
        """Encrypt every record and hand it to `put` with its place in the file.

        Raises:
            ContentMismatch: the model changed since its leaves were taken.
        """
        records: list[tuple[bytes, bytes] | None] = [None] * len(self.entries)

        def encrypt(cell: int) -> None:
            digests = []
            for form, plain in zip(_FORMS, self._marker.forms(cell), strict=True):
                if self._leaf(plain) != self.entries[cell].leaves[form]:
                    raise ContentMismatch(
                        "the model changed while it was being sealed",
                        hint="let whatever writes it finish, then seal again",
                    )
                key = self._keys.key(cell, form)
                record = encrypt_form(key, binding, cell, form, plain, entropy=entropy)
                put(record, prelude.cell_record_offset(cell, form))
                digests.append(hashlib.sha256(record).digest())
            records[cell] = (digests[0], digests[1])

        for_each(len(self.entries), encrypt, threads=self._threads)
        done = cast("tuple[tuple[bytes, bytes], ...]", tuple(records))
        return CellIndex(self.entries, done, prelude.cell_bytes)

    def _entry(self, cell: int) -> CellEntry:
        place = self._marker.places[cell]
        form_a, form_b = self._marker.forms(cell)
        return CellEntry(
            place.tensor,
            place.offset,
            (
                key_commitment(cell, 0, self._keys.key(cell, 0)).raw,
                key_commitment(cell, 1, self._keys.key(cell, 1)).raw,
            ),
            (self._leaf(form_a), self._leaf(form_b)),
            hashlib.sha256(form_b).digest(),
        )
