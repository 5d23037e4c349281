"""Tracing a leaked copy with what the licensor kept: recovery file, sealed file, issued licenses.

The numbered checks of docs/spec/tracing.md, section 6. A broken proof is an exception; that no
license is named is an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ledger.broker.policy import Check
from ledger.broker.recovery import Recovery
from ledger.canonical import parse_json
from ledger.errors import ClaimMismatch, LedgerError, ManifestError, UsageError
from ledger.ids import Address, LicenseId
from ledger.licensing.document import Document
from ledger.sealed.cells import ReleasedCells
from ledger.sealed.codeword import SALT_BYTES, CodeWord
from ledger.sealed.file import SealedFile, open_sealed
from ledger.sealed.record import SealingRecord
from ledger.tensors.opening import open_weights
from ledger.tracing.accusation import Accusation, Candidate, accuse
from ledger.tracing.extraction import Reading, read_suspect
from ledger.tracing.planning import CANDIDATES, Plan, plan

_ROWS: Final = (
    'write rows such as [{"license": "1.7", "holder": "0x…", "tenure": 1}], or leave --candidates '
    "out: then they are read from the chain"
)
_MAX_CANDIDATES = 1 << 20
_MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Lodging:
    """Whether and since when a sealing record stands on chain.

    A code that was fixed after the copy was found proves nothing: its maker could have chosen it to
    fit. The record on chain commits to the code and all cell keys.

    Attributes:
        result: ``pass``, ``fail`` when it does not stand there, or ``not checked``.
        detail: where and since when, or why not.
        block: in which it was lodged, where that is known.
        time: of that block, in Unix seconds.
    """

    result: str
    detail: str
    block: int | None = None
    time: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"result": self.result, "block": self.block, "time": self.time}


UNASKED = Lodging("not checked", "no chain was asked")


@dataclass(frozen=True, slots=True)
class LeakReport:
    """What a tracing found."""

    record: SealingRecord
    checks: tuple[Check, ...]
    reading: Reading
    accusation: Accusation
    plan: Plan
    lodging: Lodging

    @property
    def proven(self) -> bool:
        """Whether a license is named and its code is not known to be made up afterwards."""
        return bool(self.accusation.named) and self.lodging.result != "fail"

    @property
    def verdict(self) -> str:
        """What came of it, in a sentence."""
        count = len(self.accusation.named)
        if not count:
            return "no license is named"
        head = f"traced to {count} license{'s' if count > 1 else ''}"
        if self.lodging.result == "fail":
            return (
                f"{head}, but it proves nothing to others: this sealing does not stand on chain, "
                "so its code may have been made after the copy was found"
            )
        if self.lodging.result != "pass":
            return f"{head}; whether the sealing stands on chain was not checked"
        return head

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the figures do not say by themselves."""
        said = []
        count, carried = len(self.accusation.named), self.plan.carried
        if count > max(carried, 1):
            said.append(
                f"{count} licenses are named, where the cells are made for {carried or 'none'}: "
                "that number is how many are proven to be found. The bound on naming an innocent "
                "holds for each license named, however many they are."
            )
        if not count and self._unmarked:
            said.append(
                "Every cell that could be read shows form A: this is the registered model itself, "
                "or a copy made of it, which carries no license's mark. No licensee had it from "
                "the sealed file; only many of them together could have made their copies look so."
            )
        return tuple(said)

    @property
    def _unmarked(self) -> bool:
        symbols = self.reading.evidence.symbols()
        if self.reading.evidence.stretched() is not None:
            return False  # faint marks, as of a merged copy, read as form A too
        return not set(symbols) & set("Bm") and 2 * symbols.count("A") >= len(symbols)

    @property
    def others(self) -> str:
        """Who else could have made the copy."""
        brokers = (
            f"every broker of set {self.record.broker_set} that holds this sealing's keys alone "
            "(where several of its brokers must release together, only so many of them together)"
            if self.record.broker_set
            else "every broker that holds this sealing's keys alone (where several must release "
            "together, only so many of them together)"
        )
        return (
            "Whoever holds the code key and all cell keys could have made this copy in any "
            f"license's name: the licensor, and {brokers}. Whoever holds the code key alone (each "
            "single broker of such a set does) could have told other licenses' words to licensees "
            "who between them have both forms of most cells, and they could. Whoever had the named "
            "license's own copy or keys could have passed them on in its holder's place. No other "
            "licensee could, nor several together: they have the words of their own licenses only."
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON; shows no word and no bias."""
        symbols = self.reading.evidence.symbols()
        return {
            "sealing": str(self.record.hash()),
            "model_id": str(self.record.model_id),
            "named": [finding.to_json() for finding in self.accusation.named],
            "candidates": [finding.to_json() for finding in self.accusation.findings],
            "tests": self.accusation.tests,
            "epsilon_1": self.accusation.false_accusation,
            "guarantees": self.plan.to_json(),
            "cells": {name: symbols.count(letter) for name, letter in _LETTERS},
            "tensors": [match.to_json() for match in self.reading.matches],
            "checks": [check.to_json() for check in self.checks],
            "who_else": self.others if self.accusation.named else None,
            "lodged": self.lodging.to_json(),
            "verdict": self.verdict,
            "remarks": list(self.remarks),
        }


_LETTERS = (("form_a", "A"), ("form_b", "B"), ("mixed", "m"), ("unsure", "?"), ("erased", "-"))


def trace_leak(
    suspect: Path,
    sealed: Path,
    recovery: Recovery,
    candidates: Sequence[Candidate],
    *,
    lodging: Callable[[SealingRecord, Sequence[LicenseId]], Lodging] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LeakReport:
    """Hold a copy against every candidate's word.

    Args:
        suspect: the copy that was found: a file or folder that `open_weights` reads.
        sealed: the sealed file that all licenses open.
        recovery: of that sealing, with its cells.
        candidates: the words that were released, or may have been.
        lodging: asks the chain about the record and the named licenses; None asks nobody.
        progress: called with tensors done and in all.

    Raises:
        UsageError: the sealing has no cells, or there is no candidate.
        KeyAccessError: the recovery file's cells are another sealing's.
        ClaimMismatch: the sealed file's unmarked content is not the registered model.
        SealedAuthError, FormatError: the sealed file is not that of the record.
        TensorFileError, UnsupportedModel: the suspect cannot be read.
    """
    cells, record = recovery.cells, recovery.record
    if cells is None or record is None:
        raise UsageError(
            "this recovery file is of a sealing without per-license marks",
            hint="only files sealed with --cells can be traced; a watermark may still be found",
        )
    done: list[Check] = []

    def note(title: str, result: str, detail: str) -> None:
        done.append(Check(len(done) + 1, title, result, detail))

    # (1) the secrets
    cells.check(record)
    note("the code key and all cell keys are those the sealing committed to", "pass", _at(record))
    count = cells.parameters.count
    with (
        _opened(sealed, recovery, record, 0) as master,
        _opened(sealed, recovery, record, 1) as marked,
    ):
        # (2) the sealed file
        note("the sealed file is that of the record, and both forms open", "pass", f"{count} cells")
        # (3) the master
        _check_master(master, recovery, note)
        # (4) the suspect
        with open_weights(suspect) as source:
            reading = read_suspect(source, master, marked, progress=progress)
            source.ensure_unchanged()
    found = sum(match.found is not None for match in reading.matches)
    note(
        "the suspect holds tensors that carry cells",
        "pass" if found else "fail",
        f"{found} of {len(reading.matches)} found",
    )
    # (5) the cells
    symbols = reading.evidence.symbols()
    shown = ", ".join(f"{symbols.count(letter)} {name}" for name, letter in _LETTERS)
    note("the cells were read", "pass" if set(symbols) - {"-"} else "fail", shown)
    # (6) the words
    views = [reading.evidence]
    stretched = reading.evidence.stretched()
    if stretched is not None:
        views.append(stretched)
    accusation = accuse(cells.parameters, cells.code_key, views, candidates)
    named = accusation.named
    note(
        "some candidate's word explains them beyond chance",
        "pass" if named else "fail",
        f"{len(named)} of {len(set(candidates))} candidates, {accusation.tests} tests, bound "
        f"{accusation.false_accusation:g} over all",
    )
    # (7) the chain
    licenses = sorted({finding.candidate.license_id for finding in named})
    stands = UNASKED if lodging is None else lodging(record, licenses)
    note("the sealing record stands on chain", stands.result, stands.detail)
    # The guarantee of this very trace: for as many suspects as were tested, if they were many.
    carried = plan(cells.parameters, candidates=max(CANDIDATES, len(accusation.findings)))
    return LeakReport(record, tuple(done), reading, accusation, carried, stands)


def _at(record: SealingRecord) -> str:
    return f"sealing {record.hash().short}, epoch {record.epoch}"


def _opened(sealed: Path, recovery: Recovery, record: SealingRecord, form: int) -> SealedFile:
    assert recovery.cells is not None
    keys = recovery.cells.keys
    word = CodeWord(bytes([form]) * keys.count, bytes(SALT_BYTES))
    released = ReleasedCells(word, keys.chosen(word))
    try:
        return open_sealed(sealed, recovery.content_key, record=record, cells=released)
    finally:
        released.wipe()


def _check_master(
    master: SealedFile, recovery: Recovery, note: Callable[[str, str, str], None]
) -> None:
    root = master.verify_content()
    title = "with form A of every cell it is the registered model"
    if recovery.claim is None:
        note(title, "not checked", "the recovery file holds no claim")
        return
    if root != recovery.claim.artifact_root:
        raise ClaimMismatch(
            f"the sealed file's content is {root}, the claim's {recovery.claim.artifact_root}",
            hint="this sealing was not made of the registered model",
        )
    note(title, "pass", f"content root {root.short}")


def read_candidates(data: bytes, *, what: str) -> list[Candidate]:
    """Read a list of candidates: JSON rows of license, holder and tenure.

    Raises:
        ManifestError: not such a list.
    """
    rows = parse_json(data, what=what, limit=_MAX_BYTES)
    if not isinstance(rows, list) or not 1 <= len(rows) <= _MAX_CANDIDATES:
        raise ManifestError(f"{what} is not a list of candidates", hint=_ROWS)
    found = []
    for row in rows:
        doc = Document(row, what, ("license", "holder", "tenure"))
        try:
            license_id = LicenseId.parse(str(doc.value.get("license")))
            holder = Address.parse(str(doc.value.get("holder")))
        except LedgerError as error:
            raise ManifestError(f"{what}: {error.message}", hint=_ROWS) from None
        found.append(Candidate(license_id, holder, doc.integer("tenure", 0, (1 << 63) - 1)))
    return found
