"""The audit log: entries chained by their hashes (docs/spec/access.md, "Audit log").

An entry is kept as the very text that is hashed, so that whoever reads the table can verify it with
SHA-256 and nothing else. Who can write the database can still rewrite all of it: what holds them is
a head that somebody else keeps, or that was anchored on chain.
"""

from __future__ import annotations

import json
import socket
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
FORGOTTEN: Final = "audit.pruned"
LEAST_DAYS: Final = 90
"""Whatever an operator sets, younger entries are not forgotten; an entry that says they were is a
fault, so that nobody hides what is recent by it."""
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


def service_name() -> str:
    """How entries name the service itself, for what nobody asked of it."""
    return f"local:service@{socket.gethostname()[:40]}"


# -- writing -------------------------------------------------------------------------------------


def append(connection: Connection, act: Act, *, now_ms: int) -> Head:
    """Add an entry, in the transaction of what it tells.

    Args:
        connection: of `ledger.index.database.writing`.
        act: what happened.
        now_ms: Unix milliseconds; an entry is never earlier than the one before it.
    """
    lock(connection)
    last = connection.execute(
        select(access_audit).order_by(access_audit.c.sequence.desc()).limit(1)
    ).one_or_none()
    sequence, previous = 1, ZERO_DIGEST
    if last is not None:
        sequence, previous = last.sequence + 1, Digest(bytes(last.hash))
        now_ms = max(now_ms, time_of(last.entry) or 0)
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


def lock(connection: Connection) -> None:
    """Keep others from appending until this transaction ends; it sees all that they appended."""
    if connection.dialect.name == "postgresql":
        # SQLite has one writer at a time anyway. Behind PgBouncer this lock ends with the
        # transaction, as one of the session would not.
        connection.execute(select(func.pg_advisory_xact_lock(_APPENDING)))


def time_of(text: str) -> int | None:
    """An entry's Unix milliseconds; None of an altered one, which verifying names."""
    try:
        return int(json.loads(text)["time_ms"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


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
    before = 0
    for number, line in enumerate(lines, 1):
        what = f"line {number} of the export"
        told = parse_json(line, what=what, limit=2 * MAX_ENTRY)
        if (
            not isinstance(told, dict)
            or set(told) != {"entry", "hash"}
            or not all(isinstance(each, str) for each in told.values())
        ):
            raise ManifestError(f"{what} is not an entry with its hash")
        if number == 1:
            before = _first(told["entry"]) - 1
        try:
            yield Row(before + number, told["entry"], Digest.parse(told["hash"]).raw)
        except LedgerError:
            raise ManifestError(f"{what} has no hash of 32 bytes") from None


def _first(text: str) -> int:
    """The number of an export's first entry; 1 where it tells none."""
    try:
        told = parse_json(text.encode(), what="an entry", limit=MAX_ENTRY)
    except (LedgerError, UnicodeEncodeError):
        return 1
    found = told.get("sequence") if isinstance(told, dict) else None
    return found if isinstance(found, int) and found > 1 else 1


# -- verifying -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Forgotten:
    """What an entry says is gone: all up to one number, whose entry had this hash."""

    said_by: int
    said_ms: int
    sequence: int
    hash: Digest
    before_ms: int


def verify(
    given: Iterable[Row],
    *,
    kept: Sequence[Head] = (),
    anchored_at: Callable[[Digest], tuple[int, int] | None] | None = None,
    anchored: Sequence[Digest] | None = None,
) -> TrailReport:
    """Check a log, in the steps of docs/spec/access.md.

    Args:
        given: its rows, from the first that is kept.
        kept: heads that were seen earlier, which the log must still have.
        anchored_at: when a root was anchored (time, block), asked of the chain; None asks nothing.
        anchored: roots that the chain says were anchored for this log; None where nobody asked.
    """
    numbers, entries, hashes, links, times = (Faults() for _ in range(5))
    hash_at: dict[int, bytes] = {}
    roots: list[tuple[int, Digest, int]] = []
    forgotten: _Forgotten | None = None
    begins, named = 0, ZERO_DIGEST.raw  # before the first row: its number, and what that row names
    last, previous, clock = 0, ZERO_DIGEST.raw, 0
    for row in given:
        entry = _entry(row)
        if not hash_at and row.sequence > 1:
            # Whether this may be the beginning is said by an entry that is still to come.
            begins = last = row.sequence - 1
            if entry is not None:
                named = previous = _raw(entry["previous"])
        # (1) Numbers run from the first that is kept without a gap.
        if row.sequence != last + 1:
            gone = (
                str(last + 1) if row.sequence == last + 2 else f"{last + 1} to {row.sequence - 1}"
            )
            numbers.add(f"entry {gone} is missing")
        last = row.sequence
        # (2) Each entry is what it must be, in its canonical form.
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
            forgotten = _forgotten(row.sequence, entry) or forgotten
        previous = row.hash
        hash_at[row.sequence] = row.hash
    count = f"{last - begins} entries"
    if begins:
        # (1) The last number that is gone, and its hash, are what the log itself says.
        _judge_beginning(begins, named, forgotten, numbers, links)
        count += f" from {begins + 1}"
        hash_at[begins] = named
    gone_ms = forgotten.before_ms if begins and forgotten is not None else 0
    checks = [
        Check(1, "numbers", *numbers.said(f"{count} without a gap")),
        Check(2, "entries", *entries.said(f"{count} in canonical form")),
        Check(3, "hashes", *hashes.said(f"{count} have the hash beside them")),
        Check(4, "chain", *links.said("each names the one before it")),
        Check(5, "times", *times.said("never backwards")),
        _kept_heads(kept, hash_at, begins),
        _roots(roots, hash_at, anchored_at, begins),
        _lost_roots(anchored, hash_at, _older(roots, begins, anchored_at, gone_ms)),
    ]
    return TrailReport(Head(last, Digest(previous)), tuple(checks))


def _judge_beginning(
    begins: int, named: bytes, said: _Forgotten | None, numbers: Faults, links: Faults
) -> None:
    """Whether all up to `begins` was forgotten as the log says, or was taken away."""
    gone = "entry 1 is" if begins == 1 else f"entries 1 to {begins} are"
    if said is None:
        numbers.add(f"{gone} missing, and no entry says that they were forgotten")
    elif said.sequence != begins:
        numbers.add(f"{gone} missing; entry {said.said_by} says that {said.sequence} was the last")
    elif said.hash.raw != named:
        links.add(f"entry {begins + 1} does not follow what entry {said.said_by} says was the last")
    elif said.said_ms - said.before_ms < LEAST_DAYS * 86_400_000:
        numbers.add(f"entry {said.said_by} forgot what was younger than {LEAST_DAYS} days")


def _forgotten(sequence: int, entry: dict[str, Any]) -> _Forgotten | None:
    """What an entry says was forgotten; a number that fits nothing where it is not readable."""
    if entry["act"] != FORGOTTEN:
        return None
    told = entry["detail"]
    try:
        gone, before = int(told["sequence"]), int(told["before_ms"])
        return _Forgotten(sequence, entry["time_ms"], gone, Digest.parse(entry["subject"]), before)
    except (LedgerError, KeyError, TypeError, ValueError):
        return _Forgotten(sequence, entry["time_ms"], 0, ZERO_DIGEST, 0)


def _raw(text: str) -> bytes:
    try:
        return Digest.parse(text).raw
    except LedgerError:
        return ZERO_DIGEST.raw


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


def _kept_heads(kept: Sequence[Head], hash_at: dict[int, bytes], begins: int) -> Check:
    # (6) What was seen earlier is still there, under the same hash, unless it was forgotten.
    if not kept:
        return Check(6, "kept head", "not checked", "no earlier export or head is at hand")
    faults, there = Faults(), [h for h in kept if h.sequence >= begins or not h.sequence]
    for each in there:
        found = hash_at.get(each.sequence)
        if each.sequence and found is None:
            faults.add(f"entry {each.sequence}, which was seen earlier, is gone")
        elif each.sequence and found != each.hash.raw:
            faults.add(f"entry {each.sequence} is not the one that was seen earlier")
    newest = max(each.sequence for each in kept)
    if not there:
        why = f"entry {newest}, seen earlier, was forgotten: the log begins with {begins + 1}"
        return Check(6, "kept head", "not checked", why)
    return Check(6, "kept head", *faults.said(f"goes on from entry {newest}, seen earlier"))


def _roots(
    roots: Sequence[tuple[int, Digest, int]],
    hash_at: dict[int, bytes],
    anchored_at: Callable[[Digest], tuple[int, int] | None] | None,
    begins: int,
) -> Check:
    # (7) Each root that the log says is on chain is the hash of its entry, and is there. Of an
    # entry that was forgotten the hash is not known any more.
    faults = Faults()
    for sequence, root, of in roots:
        if hash_at.get(of) != root.raw and not 0 < of < begins:
            faults.add(f"entry {sequence} anchors another hash than that of entry {of}")
        elif anchored_at is not None and anchored_at(root) is None:
            faults.add(f"entry {sequence} names a root that is not on chain")
    if faults.count:
        return Check(7, "roots on chain", *faults.said(""))
    if not roots or anchored_at is None:
        why = "the chain was not asked" if roots else "nothing was anchored"
        return Check(7, "roots on chain", "not checked", why)
    return Check(7, "roots on chain", "pass", f"{len(roots)} roots, to entry {roots[-1][2]}")


def _older(
    roots: Sequence[tuple[int, Digest, int]],
    begins: int,
    anchored_at: Callable[[Digest], tuple[int, int] | None] | None,
    gone_ms: int,
) -> Callable[[Digest], bool]:
    """Whether a root may be of an entry that was forgotten.

    Either an entry that is kept says so, or it was on chain before the time of what is gone: one
    that was anchored later has its own entry here.
    """
    said = {root.raw for _, root, of in roots if 0 < of < begins}

    def older(root: Digest) -> bool:
        found = anchored_at(root) if gone_ms and anchored_at is not None else None
        return root.raw in said or (found is not None and found[0] * 1000 < gone_ms)

    return older


def _lost_roots(
    anchored: Sequence[Digest] | None, hash_at: dict[int, bytes], older: Callable[[Digest], bool]
) -> Check:
    # (8) Nothing that the chain knows of is missing: a log that was cut off before its last
    # anchored entry, or written anew, names no root that could be looked up by (7).
    if anchored is None:
        return Check(8, "roots of the chain", "not checked", "it was not said who anchors this log")
    faults, here, gone = Faults(), set(hash_at.values()), 0
    for root in anchored:
        if root.raw in here:
            continue
        if older(root):
            gone += 1
        else:
            faults.add(f"the root {root} is on chain, and is the hash of no entry")
    told = f"{len(anchored) - gone} roots, each of an entry"
    told += f"; {gone} of entries that were forgotten" if gone else ""
    return Check(8, "roots of the chain", *faults.said(told))
