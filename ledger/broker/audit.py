"""Auditing a broker: its whole log, against its own tables and against the chain.

``audit`` runs the numbered steps of docs/spec/key-release.md, "Audit", and reports each; nothing in
it trusts the broker's tables, which are what is audited. It opens the database read-only.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ledger.broker.audit_holds import HoldBook
from ledger.broker.grants import RuntimeKey
from ledger.broker.leases import Heartbeat, Lease
from ledger.broker.policy import Check
from ledger.broker.protocol import KeyRequest, receipt_hash, request_hash
from ledger.broker.receipts import log_root
from ledger.broker.signing import BrokerPublicKeys, signed_with
from ledger.chain.abi_codec import contract
from ledger.chain.brokers import BrokerRegistry
from ledger.chain.logs import find_events
from ledger.chain.rpc import Rpc
from ledger.eip712 import Domain
from ledger.errors import (
    ChainError,
    ClaimMismatch,
    ConfigurationError,
    LedgerError,
    SignatureInvalid,
    UnavailableError,
)
from ledger.ids import ZERO_DIGEST, Address, Digest, LicenseId
from ledger.licensing.document import Document

STEPS: Final[dict[int, str]] = {
    1: "numbers and hashes",
    2: "broker's signatures",
    3: "askers' signatures",
    4: "leases and heartbeats",
    5: "seats",
    6: "quota",
    7: "tables",
    8: "roots on chain",
}

PASS, FAIL, OPEN = "pass", "fail", "not checked"
SLOW_SECONDS: Final = 60
"""How long before its entry a lease may have been issued: deciding takes time."""


@dataclass(slots=True)
class AuditReport:
    """Every step of one audit."""

    findings: list[Check] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether no step failed and every one was checked."""
        return all(finding.result == PASS for finding in self.findings)

    def step(self, number: int, check: Callable[[], str]) -> None:
        """Run one step; a failed one does not keep the next from running."""
        try:
            result, detail = PASS, check()
        except (UnavailableError, ChainError) as error:
            result, detail = OPEN, error.message
        except LedgerError as error:
            result, detail = FAIL, error.message
        self.findings.append(Check(number, STEPS[number], result, detail))

    def text(self) -> str:
        """The report for people."""
        return "\n".join(
            f"({each.number}) {each.title}: {each.result}. {each.detail}" for each in self.findings
        )


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """What a plan allows; 0: without limit."""

    seats: int
    quota: int
    floating: bool


class ChainSource:
    """What an audit asks the chain: plans of licenses, and anchored roots.

    Args:
        rpc: the chain.
        ledger: LicenseLedger.
        registry: BrokerRegistry.
        from_block: the deployment's first block.
    """

    def __init__(self, rpc: Rpc, ledger: Address, registry: Address, *, from_block: int) -> None:
        self._rpc = rpc
        self._ledger = ledger
        self._registry = BrokerRegistry(rpc, registry)
        self._from = from_block

    def limits(self, license_id: LicenseId) -> PlanLimits:
        """The plan of a license; plans never change."""
        abi = contract("LicenseLedger")
        answer = self._rpc.eth_call(self._ledger, abi.encode("planOf", license_id.plan))
        terms, _ = abi.decode("planOf", answer)
        return PlanLimits(int(terms["seats"]), int(terms["quota"]), bool(terms["floating"]))

    def anchored(self, broker_id: int) -> tuple[list[dict[str, Any]], tuple[int, Digest]]:
        """Events in order, and what the contract holds now."""
        topic = Digest(broker_id.to_bytes(32, "big"))
        events = find_events(
            self._rpc,
            contract("BrokerRegistry"),
            self._registry.address,
            "ReceiptsAnchored",
            [topic],
            from_block=self._from,
        )
        return [event.arguments for event in events], self._registry.receipts_of(broker_id)


@dataclass(frozen=True, slots=True)
class Tables:
    """What the broker's tables say, for step 7: by lease and by license."""

    stored_hashes: tuple[Digest, ...]
    leases: dict[str, tuple[int, int]]
    used: dict[str, int]


@dataclass(frozen=True, slots=True)
class Book:
    """A broker's log as it lies in its database, with the tables that must agree with it."""

    entries: tuple[tuple[int, dict[str, Any]], ...]
    tables: Tables

    @classmethod
    def read(cls, path: Path) -> Book:
        """Read a broker's database without changing it.

        Raises:
            ConfigurationError: it cannot be read as one.
        """
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
                db.execute("BEGIN")
                rows = db.execute("SELECT sequence, hash, entry FROM receipts ORDER BY sequence")
                kept = [(int(a), Digest(b), json.loads(c)) for a, b, c in rows]
                leases = db.execute("SELECT id, sequence, grace_until FROM leases").fetchall()
                used = db.execute("SELECT license, used FROM usage").fetchall()
        except (sqlite3.Error, ValueError, LedgerError) as error:
            raise ConfigurationError(
                f"{path} cannot be read as a broker's database: {error}",
                hint="name the broker's folder, the one of deed broker init",
            ) from None
        return cls(
            tuple((number, entry) for number, _, entry in kept),
            Tables(
                tuple(hash_ for _, hash_, _ in kept),
                {"0x" + bytes(a).hex(): (int(b), int(c)) for a, b, c in leases},
                {str(a): int(b) for a, b in used},
            ),
        )

    def of_kind(self, kind: str) -> Iterator[tuple[int, dict[str, Any], dict[str, Any]]]:
        """Number, request and reply of each entry of a kind."""
        for number, entry in self.entries:
            if entry["reply"].get("type") == kind:
                yield number, entry["request"], entry["reply"]


def audit(
    book: Book,
    keys: Sequence[BrokerPublicKeys],
    domain: Domain,
    *,
    broker_id: int,
    chain: ChainSource,
) -> AuditReport:
    """Run every step.

    Args:
        book: the log and the tables.
        keys: every pair of keys the broker has had.
        domain: EIP-712 domain of its license ledger.
        broker_id: the broker.
        chain: for plans and roots.
    """
    report = AuditReport()
    report.step(1, lambda: _numbers(book))
    report.step(2, lambda: _broker_signatures(book, keys))
    report.step(3, lambda: _asker_signatures(book, domain))
    report.step(4, lambda: _leases(book))
    report.step(5, lambda: _seats(book, chain))
    report.step(6, lambda: _quota(book, chain))
    report.step(7, lambda: _tables(book))
    hashes = [receipt_hash(entry) for _, entry in book.entries]
    report.step(8, lambda: check_roots(hashes, broker_id, chain))
    return report


def _numbers(book: Book) -> str:
    previous = ZERO_DIGEST
    for expected, (number, entry) in enumerate(book.entries, start=1):
        reply = Document(entry, f"receipt {number}", ("request", "reply")).object("reply")
        place = Document(reply.get("receipt"), "its place", ("sequence", "previous"))
        told = (place.integer("sequence", 1), place.digest("previous"))
        if number != expected or told != (expected, previous):
            raise ClaimMismatch(f"receipt {expected} is missing, moved, or follows another one")
        previous = receipt_hash(entry)
    return f"{len(book.entries)} receipts, each naming the one before"


def _broker_signatures(book: Book, keys: Sequence[BrokerPublicKeys]) -> str:
    for number, entry in book.entries:
        try:
            signed_with(entry["reply"], keys)
        except SignatureInvalid:
            raise SignatureInvalid(
                f"receipt {number} is not signed by the broker's two keys"
            ) from None
    return f"Ed25519 and ML-DSA-65 under each of {len(book.entries)} replies"


def _asker_signatures(book: Book, domain: Domain) -> str:
    checked = 0
    runtimes: dict[str, RuntimeKey] = {}
    holds = HoldBook(domain)
    for number, entry in book.entries:
        request, reply = entry["request"], entry["reply"]
        kind = reply.get("type")
        holds.take(number, entry)
        if kind not in {"release", "heartbeat"}:
            continue
        # A deposit's ciphertexts are not kept, so its hash and signature cannot be recomputed.
        if str(request_hash(request)) != reply["request"]:
            raise ClaimMismatch(f"receipt {number} answers another request than it holds")
        try:
            if kind == "release":
                asked = KeyRequest.from_json(request)
                asked.runtime.verify(asked.signature, asked.digest(domain))
                if reply.get("lease"):
                    runtimes[reply["lease"]["id"]] = asked.runtime
            else:
                beat = Heartbeat.from_json(request)
                runtime = runtimes.get(str(beat.lease))
                if runtime is None:
                    raise ClaimMismatch(f"receipt {number} extends a lease that was never given")
                runtime.verify(beat.signature, beat.digest(domain))
        except SignatureInvalid:
            raise SignatureInvalid(f"receipt {number} holds a request nobody signed") from None
        checked += 1
    return f"the runtime's signature under each of {checked} requests and heartbeats{holds.text()}"


def _granted(book: Book) -> Iterator[tuple[int, Lease, dict[str, Any]]]:
    """Number, lease and reply of each release or heartbeat that granted one, in order."""
    for number, entry in book.entries:
        reply = entry["reply"]
        if reply.get("type") in {"release", "heartbeat"} and reply.get("granted"):
            yield number, Lease.from_json(reply.get("lease")), reply


def _leases(book: Book) -> str:
    last: dict[Digest, Lease] = {}
    for number, lease, reply in _granted(book):
        former = last.get(lease.id)
        if reply["type"] == "release":
            if former is not None or lease.sequence:
                raise ClaimMismatch(f"receipt {number} gives lease {lease.id.short} again")
        elif former is None or lease.sequence <= former.sequence:
            raise ClaimMismatch(f"receipt {number} extends lease {lease.id.short} out of order")
        elif (former.license, former.runtime_key_hash, former.kem_key_hash) != (
            lease.license,
            lease.runtime_key_hash,
            lease.kem_key_hash,
        ):
            raise ClaimMismatch(f"receipt {number} turns lease {lease.id.short} into another's")
        if not lease.issued_at <= lease.not_after <= lease.grace_until:
            raise ClaimMismatch(f"receipt {number} gives a lease whose times contradict")
        last[lease.id] = lease
    return f"{len(last)} leases, each given once and extended in order"


def _seats(book: Book, chain: ChainSource) -> str:
    """At each grant, the runtimes within grace of that license are at most the plan's seats."""
    plans: dict[LicenseId, PlanLimits] = {}
    held: dict[LicenseId, dict[Digest, int]] = defaultdict(dict)
    latest: dict[LicenseId, int] = defaultdict(int)
    most = 0
    for number, lease, _ in _granted(book):
        limits = plans.get(lease.license)
        if limits is None:
            limits = plans[lease.license] = chain.limits(lease.license)
        own = held[lease.license]
        key = lease.runtime_key_hash
        own[key] = max(own.get(key, 0), lease.grace_until)
        if not (limits.floating and limits.seats):
            continue
        # Entries follow in the order in which seats were taken, which is not that of `issued_at`.
        latest[lease.license] = max(latest[lease.license], lease.issued_at)
        at = min(latest[lease.license], lease.issued_at + SLOW_SECONDS)
        taken = sum(until > at for until in own.values())
        most = max(most, taken)
        if taken > limits.seats:
            raise ClaimMismatch(
                f"receipt {number} makes {taken} runtimes hold the {limits.seats} seats of "
                f"license {lease.license}"
            )
    return f"{len(plans)} licenses, at most {most} floating seats of one held at a time"


def _counted(book: Book) -> dict[LicenseId, int]:
    counts: dict[LicenseId, int] = defaultdict(int)
    for _, lease, reply in _granted(book):
        counts[lease.license] += reply["type"] == "release"
    return counts


def _quota(book: Book, chain: ChainSource) -> str:
    counts = _counted(book)
    for license_id, count in counts.items():
        quota = chain.limits(license_id).quota
        if quota and count > quota:
            raise ClaimMismatch(
                f"{count} leases of license {license_id} were given, whose quota is {quota}"
            )
    return f"{sum(counts.values())} leases counted, each within its plan's quota"


def _tables(book: Book) -> str:
    """The tables the broker decides by hold what the log says, and no more."""
    for (number, entry), stored in zip(book.entries, book.tables.stored_hashes, strict=True):
        if receipt_hash(entry) != stored:
            raise ClaimMismatch(f"receipt {number} is stored under another hash")
    said: dict[str, tuple[int, int]] = {}
    for _, lease, _ in _granted(book):
        grace = max(lease.grace_until, said.get(str(lease.id), (0, 0))[1])
        said[str(lease.id)] = (lease.sequence, grace)
    for name, (sequence, grace) in said.items():
        kept = book.tables.leases.get(name)
        # A heartbeat that was refused uses its number up and leaves no lease behind.
        if kept is None or kept[0] < sequence or kept[1] != grace:
            raise ClaimMismatch(f"lease {name[:10]}… is not stored as it was given")
    extra = set(book.tables.leases) - set(said)
    if extra:
        raise ClaimMismatch(f"{len(extra)} stored leases have no receipt")
    counts = {str(license_id): count for license_id, count in _counted(book).items()}
    if {name: used for name, used in book.tables.used.items() if used} != counts:
        raise ClaimMismatch("the stored usage differs from the leases given")
    return "leases and usage are those of the log"


def check_roots(hashes: Sequence[Digest], broker_id: int, chain: ChainSource) -> str:
    """Step 8, over the hashes of receipt 1 and following.

    Raises:
        ClaimMismatch: the chain holds something else.
        ChainError, UnavailableError: it cannot be read.
    """
    events, (sequence, root) = chain.anchored(broker_id)
    done, previous = 0, ZERO_DIGEST
    for expected, event in enumerate(events, start=1):
        count = int(event["count"])
        run = hashes[done : done + count]
        if int(event["seq"]) != expected or event["prevRoot"] != previous:
            raise ClaimMismatch(f"anchoring {expected} does not follow the one before it")
        if len(run) != count or log_root(run) != event["root"]:
            raise ClaimMismatch(
                f"anchoring {expected} has another root than receipts {done + 1} to {done + count}"
            )
        done, previous = done + count, event["root"]
    if (sequence, root) != (len(events), previous):
        raise ClaimMismatch("the contract holds another last root than its events")
    return f"{len(events)} roots over {done} receipts; {len(hashes) - done} are not anchored yet"
