"""The audit log: entries chained by their hashes (docs/spec/access.md, "Audit log").

An entry is kept as the very text that is hashed, so that whoever reads the table can verify it with
SHA-256 and nothing else. Who can write the database can still rewrite all of it: what holds them is
a head that somebody else keeps, or that was anchored on chain.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select

from ledger.canonical import canonical_json, hash_bytes, parse_json
from ledger.errors import LedgerError, ManifestError
from ledger.ids import ZERO_DIGEST, Digest
from ledger.index.access_tables import access_audit
from ledger.index.audit_report import Check, Faults

TAG: Final = "modeldeed/audit-entry/1"
_TEXTS: Final = frozenset({"act", "actor", "outcome", "previous", "request", "subject", "via"})
MEMBERS: Final = _TEXTS | {"detail", "sequence", "time_ms"}
ANCHORED: Final = "audit.anchored"
MAX_ENTRY: Final = 16_384
# The lock under which one transaction at a time appends, on PostgreSQL: "audt" in ASCII.
_APPENDING: Final = 0x61756474


@dataclass(frozen=True, slots=True)
class Act:
    """What is to be recorded; never a secret.

    Attributes:
        actor: ``account:0x…``, ``key:ID`` or ``local:USER@HOST``.
        act: what was done, such as ``key.created`` or ``POST /v1/models/{id}/leaves``.
        subject: what it was done to.
        via: ``session:ID``, ``key:ID`` or ``local``.
        outcome: ``done``, or the HTTP status that a request was answered with.
        request: the request's id, empty for local acts.
        detail: further facts, JSON.
    """

    actor: str
    act: str
    subject: str = ""
    via: str = "local"
    outcome: str = "done"
    request: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Head:
    """The newest entry's number and hash; 0 and zeros of an empty log."""

    sequence: int
    hash: Digest


@dataclass(frozen=True, slots=True)
class Row:
    """An entry as it is kept: its number, the canonical text, and the hash beside it."""

    sequence: int
    text: str
    hash: bytes


@dataclass(frozen=True, slots=True)
class TrailReport:
    """All checks of one verification, and the head that the log had."""

    head: Head
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Whether no check failed."""
        return all(check.result != "fail" for check in self.checks)


# -- writing -------------------------------------------------------------------------------------


def append(connection: Connection, act: Act, *, now_ms: int) -> Head:
    """Add an entry, in the transaction of what it tells.

    Args:
        connection: of `ledger.index.database.writing`.
        act: what happened.
        now_ms: Unix milliseconds; an entry is never earlier than the one before it.
    """
    if connection.dialect.name == "postgresql":
        # SQLite has one writer at a time anyway. Behind PgBouncer this lock ends with the
        # transaction, as one of the session would not.
        connection.execute(select(func.pg_advisory_xact_lock(_APPENDING)))
    last = connection.execute(
        select(access_audit).order_by(access_audit.c.sequence.desc()).limit(1)
    ).one_or_none()
    sequence, previous = 1, ZERO_DIGEST
    if last is not None:
        sequence, previous = last.sequence + 1, Digest(bytes(last.hash))
        now_ms = max(now_ms, _time_of(last.entry))
    entry = {
        "sequence": sequence,
        "previous": str(previous),
        "time_ms": now_ms,
        "actor": act.actor,
        "via": act.via,
        "act": act.act,
        "subject": act.subject,
        "outcome": act.outcome,
        "request": act.request,
        "detail": act.detail,
    }
    text = canonical_json(entry)
    made = hash_bytes(TAG, text)
    connection.execute(
        insert(access_audit).values(sequence=sequence, entry=text.decode(), hash=made.raw)
    )
    return Head(sequence, made)


def _time_of(text: str) -> int:
    try:
        return int(json.loads(text)["time_ms"])
    except (ValueError, KeyError, TypeError):
        return 0  # an altered entry; verifying names it


# -- reading -------------------------------------------------------------------------------------


def head(connection: Connection) -> Head:
    """The newest entry's number and hash: what an auditor keeps, and what is anchored."""
    last = connection.execute(
        select(access_audit.c.sequence, access_audit.c.hash)
        .order_by(access_audit.c.sequence.desc())
        .limit(1)
    ).one_or_none()
    return Head(0, ZERO_DIGEST) if last is None else Head(last.sequence, Digest(bytes(last.hash)))


def rows(connection: Connection, *, after: int = 0, limit: int | None = None) -> Iterator[Row]:
    """Entries in order, as they are kept."""
    query = select(access_audit).where(access_audit.c.sequence > after)
    query = query.order_by(access_audit.c.sequence)
    if limit is not None:
        query = query.limit(limit)
    for row in connection.execution_options(yield_per=1000).execute(query):
        yield Row(row.sequence, row.entry, bytes(row.hash))


def line_of(row: Row) -> str:
    """A row as one line of an export."""
    return json.dumps({"hash": "0x" + row.hash.hex(), "entry": row.text}, sort_keys=True)


def rows_of(lines: Iterable[bytes]) -> Iterator[Row]:
    """The rows of an export.

    Raises:
        ManifestError: not an export.
    """
    for number, line in enumerate(lines, 1):
        what = f"line {number} of the export"
        told = parse_json(line, what=what, limit=2 * MAX_ENTRY)
        if (
            not isinstance(told, dict)
            or set(told) != {"entry", "hash"}
            or not all(isinstance(each, str) for each in told.values())
        ):
            raise ManifestError(f"{what} is not an entry with its hash")
        try:
            yield Row(number, told["entry"], Digest.parse(told["hash"]).raw)
        except LedgerError:
            raise ManifestError(f"{what} has no hash of 32 bytes") from None


# -- verifying -----------------------------------------------------------------------------------


def verify(
    given: Iterable[Row],
    *,
    kept: Sequence[Head] = (),
    anchored_at: Callable[[Digest], tuple[int, int] | None] | None = None,
    anchored: Sequence[Digest] | None = None,
) -> TrailReport:
    """Check a log, in the steps of docs/spec/access.md.

    Args:
        given: its rows, from the first on.
        kept: heads that were seen earlier, which the log must still have.
        anchored_at: when a root was anchored (time, block), asked of the chain; None asks nothing.
        anchored: roots that the chain says were anchored for this log; None where nobody asked.
    """
    numbers, entries, hashes, links, times = (Faults() for _ in range(5))
    hash_at: dict[int, bytes] = {}
    roots: list[tuple[int, Digest, int]] = []
    last, previous, clock = 0, ZERO_DIGEST.raw, 0
    for row in given:
        # (1) Numbers run from 1 without a gap.
        if row.sequence != last + 1:
            gone = (
                str(last + 1) if row.sequence == last + 2 else f"{last + 1} to {row.sequence - 1}"
            )
            numbers.add(f"entry {gone} is missing")
        last = row.sequence
        # (2) Each entry is what it must be, in its canonical form.
        entry = _entry(row)
        if entry is None:
            entries.add(f"entry {row.sequence} is not an entry of this number in canonical form")
        # (3) Its hash is that of its text.
        if hash_bytes(TAG, row.text.encode("utf-8", "surrogatepass")).raw != row.hash:
            hashes.add(f"entry {row.sequence} was altered: its hash is another")
        if entry is not None:
            # (4) It names the hash of the entry before it.
            if entry["previous"] != "0x" + previous.hex():
                links.add(f"entry {row.sequence} does not follow the entry before it")
            # (5) Time does not run backwards.
            if entry["time_ms"] < clock:
                times.add(f"entry {row.sequence} is earlier than the one before it")
            clock = max(clock, entry["time_ms"])
            roots += _anchored(row.sequence, entry)
        previous = row.hash
        hash_at[row.sequence] = row.hash
    count = f"{last} entries"
    checks = [
        Check(1, "numbers", *numbers.said(f"{count} without a gap")),
        Check(2, "entries", *entries.said(f"{count} in canonical form")),
        Check(3, "hashes", *hashes.said(f"{count} have the hash beside them")),
        Check(4, "chain", *links.said("each names the one before it")),
        Check(5, "times", *times.said("never backwards")),
        _kept_heads(kept, hash_at),
        _roots(roots, hash_at, anchored_at),
        _lost_roots(anchored, hash_at),
    ]
    return TrailReport(Head(last, Digest(previous)), tuple(checks))


def _entry(row: Row) -> dict[str, Any] | None:
    try:
        told = parse_json(row.text.encode(), what="an entry", limit=MAX_ENTRY)
        if canonical_json(told) != row.text.encode():
            return None
    except (LedgerError, UnicodeEncodeError):
        return None
    if not isinstance(told, dict) or set(told) != MEMBERS or told["sequence"] != row.sequence:
        return None
    right = (
        all(isinstance(told[name], str) for name in _TEXTS)
        and isinstance(told["time_ms"], int)
        and isinstance(told["detail"], dict)
    )
    return told if right else None


def _anchored(sequence: int, entry: dict[str, Any]) -> list[tuple[int, Digest, int]]:
    """The root that an entry says was anchored, and the entry whose hash it is."""
    if entry["act"] != ANCHORED:
        return []
    try:
        return [(sequence, Digest.parse(entry["subject"]), int(entry["detail"]["sequence"]))]
    except (LedgerError, KeyError, TypeError, ValueError):
        return [(sequence, ZERO_DIGEST, 0)]


def _kept_heads(kept: Sequence[Head], hash_at: dict[int, bytes]) -> Check:
    # (6) What was seen earlier is still there, under the same hash.
    if not kept:
        return Check(6, "kept head", "not checked", "no earlier export or head is at hand")
    faults = Faults()
    for each in kept:
        found = hash_at.get(each.sequence)
        if each.sequence and found is None:
            faults.add(f"entry {each.sequence}, which was seen earlier, is gone")
        elif each.sequence and found != each.hash.raw:
            faults.add(f"entry {each.sequence} is not the one that was seen earlier")
    newest = max(each.sequence for each in kept)
    return Check(6, "kept head", *faults.said(f"goes on from entry {newest}, seen earlier"))


def _roots(
    roots: Sequence[tuple[int, Digest, int]],
    hash_at: dict[int, bytes],
    anchored_at: Callable[[Digest], tuple[int, int] | None] | None,
) -> Check:
    # (7) Each root that the log says is on chain is the hash of its entry, and is there.
    faults = Faults()
    for sequence, root, of in roots:
        if hash_at.get(of) != root.raw:
            faults.add(f"entry {sequence} anchors another hash than that of entry {of}")
        elif anchored_at is not None and anchored_at(root) is None:
            faults.add(f"entry {sequence} names a root that is not on chain")
    if faults.count:
        return Check(7, "roots on chain", *faults.said(""))
    if not roots or anchored_at is None:
        why = "the chain was not asked" if roots else "nothing was anchored"
        return Check(7, "roots on chain", "not checked", why)
    return Check(7, "roots on chain", "pass", f"{len(roots)} roots, to entry {roots[-1][2]}")


def _lost_roots(anchored: Sequence[Digest] | None, hash_at: dict[int, bytes]) -> Check:
    # (8) Nothing that the chain knows of is missing: a log that was cut off before its last
    # anchored entry, or written anew, names no root that could be looked up by (7).
    if anchored is None:
        return Check(8, "roots of the chain", "not checked", "it was not said who anchors this log")
    faults, here = Faults(), set(hash_at.values())
    for root in anchored:
        if root.raw not in here:
            faults.add(f"the root {root} is on chain, and is the hash of no entry")
    return Check(8, "roots of the chain", *faults.said(f"{len(anchored)} roots, each of an entry"))
