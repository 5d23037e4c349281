"""Auditing a broker from outside, by the hashes of its log (docs/spec/broker-log.md).

The steps have the numbers of ``audit``; those that need the receipts themselves stay open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ledger.broker.audit import (
    OPEN,
    PASS,
    STEPS,
    AuditReport,
    ChainSource,
    check_roots,
)
from ledger.broker.client import BrokerClient
from ledger.broker.log_pages import MAX_HASHES, PAGE
from ledger.broker.policy import Check
from ledger.broker.signing import BrokerPublicKeys
from ledger.errors import (
    ClaimMismatch,
    FormatError,
    LedgerError,
    LimitExceeded,
    SignatureInvalid,
    VerificationError,
)
from ledger.ids import ZERO_DIGEST, Digest
from ledger.licensing.document import Document
from ledger.licensing.entitlement import moment

CHECKED: Final = (1, 2, 8)
"""What can be checked from outside."""
SEEN_TYPE: Final = "modeldeed/broker-head"
MAX_RECEIPTS: Final = 1 << 26
"""Of one audit from outside; what comes from a stranger has an end."""
_STAYS: Final = "the receipts themselves stay with the broker"


@dataclass(frozen=True, slots=True)
class Head:
    """Number and hash of the last receipt, as a broker signed it at a time."""

    sequence: int
    hash: Digest
    time: int

    @classmethod
    def of(cls, page: Document) -> Head:
        """The head of a page.

        Raises:
            ManifestError: it has none.
        """
        head = Document(page.object("head"), "the head", ("sequence", "hash"))
        return cls(head.integer("sequence"), head.digest("hash"), page.integer("time"))


@dataclass(slots=True)
class RemoteLog:
    """The hashes of a broker's log, page by page.

    Attributes:
        hashes: of receipt 1 and following.
        pages: how many replies they came in.
        head: as the first page signed it.
    """

    hashes: list[Digest] = field(default_factory=list)
    pages: int = 0
    head: Head = Head(0, ZERO_DIGEST, 0)

    def read(self, client: BrokerClient) -> None:
        """Read the log up to the head of the first page.

        Raises:
            ClaimMismatch: pages contradict each other, or lack what the head promises.
            BrokerUnavailable, SignatureInvalid, ManifestError: no page of this broker.
        """
        while not self.pages or len(self.hashes) < self.head.sequence:
            page = _page(client, len(self.hashes), MAX_HASHES)
            head = Head.of(page)
            if not self.pages:
                self.head = head
                if head.sequence > MAX_RECEIPTS:
                    raise LimitExceeded(f"the log has {head.sequence} receipts, too many to read")
            elif head.sequence < self.head.sequence:
                raise ClaimMismatch(
                    f"the broker's log went back from {self.head.sequence} to {head.sequence}"
                )
            self.pages += 1
            found = [
                Document({"hash": value}, "the page").digest("hash")
                for value in page.items("hashes", limit=MAX_HASHES)
            ]
            if not found and len(self.hashes) < self.head.sequence:
                raise ClaimMismatch(
                    f"the broker signed {self.head.sequence} receipts, and shows {len(self.hashes)}"
                )
            self.hashes += found[: self.head.sequence - len(self.hashes)]

    def check(self, seen: Head | None, receipts: Mapping[int, Digest]) -> str:
        """Step 1, after reading.

        Args:
            seen: an earlier signed head.
            receipts: hashes of receipts at hand, by their numbers.

        Raises:
            ClaimMismatch: the log is not the one that was shown or answered from before.
        """
        if self.head.sequence and self.hashes[-1] != self.head.hash:
            raise ClaimMismatch("the last hash is not the one that the broker signed as its head")
        if seen is not None and seen.sequence and self._at(seen.sequence) != seen.hash:
            raise ClaimMismatch(
                f"the broker shows another receipt {seen.sequence} than the one it signed at "
                f"{moment(seen.time)}",
                hint="keep the file with the earlier signed head: it proves this",
            )
        for number, hash_ in receipts.items():
            if self._at(number) != hash_:
                raise ClaimMismatch(f"receipt {number} at hand is not the one in the log")
        said = f"{len(self.hashes)} hashes without a gap up to the head that the broker signed"
        if seen is not None:
            said += f", the one of {moment(seen.time)} among them"
        if receipts:
            said += f"; {len(receipts)} receipts at hand are in their places"
        return said

    def _at(self, number: int) -> Digest | None:
        return self.hashes[number - 1] if number <= len(self.hashes) else None


def _page(client: BrokerClient, after: int, limit: int) -> Document:
    page = client.signed(
        "GET",
        f"/v1/broker/log?after={after}&limit={limit}",
        PAGE,
        {"after": after, "limit": limit},
    )
    if page.integer("after") != after:
        raise ClaimMismatch("the broker sent another page than was asked for")
    return page


@dataclass(frozen=True, slots=True)
class SeenHead:
    """A head with the broker's signatures and keys: what proves that it was shown."""

    broker_id: int
    signing: BrokerPublicKeys
    reply: dict[str, Any]

    @property
    def head(self) -> Head:
        """Number and hash."""
        return Head.of(Document(self.reply, "the signed head"))

    def to_json(self) -> dict[str, Any]:
        """The file that ``--seen`` writes."""
        return {
            "type": SEEN_TYPE,
            "version": 1,
            "broker": self.broker_id,
            "signing": self.signing.to_json(),
            "head": self.reply,
        }

    @classmethod
    def from_json(cls, value: Any) -> SeenHead:
        """Read such a file; both signatures must hold.

        Raises:
            ManifestError: not one.
            SignatureInvalid: the keys in it did not sign it.
        """
        doc = Document(value, "the signed head", ("type", "version", "broker", "signing", "head"))
        doc.kind(SEEN_TYPE)
        keys = BrokerPublicKeys.from_json(doc.object("signing"))
        keys.verify(doc.object("head"))
        made = cls(doc.integer("broker", 1), keys, doc.object("head"))
        Document(made.reply, "the signed head").choice("type", (PAGE,))
        if not str(made.reply.get("audience", "")).endswith(f":{made.broker_id}"):
            raise doc.fail("head", "of the broker it names")
        _ = made.head
        return made


def signed_head(client: BrokerClient, least: int) -> SeenHead:
    """A head to keep, at or beyond receipt number `least`.

    Raises:
        ClaimMismatch: the log went back.
        BrokerUnavailable, SignatureInvalid, ManifestError: no page of this broker.
    """
    page = _page(client, least, 0)
    if Head.of(page).sequence < least:
        raise ClaimMismatch("the broker's log went back")
    facts = client.facts()
    return SeenHead(facts.identity.id, facts.signing, page.value)


def audit_remote(
    client: BrokerClient,
    *,
    broker_id: int,
    chain: ChainSource,
    seen: Head | None = None,
    receipts: Mapping[int, Digest] | None = None,
) -> AuditReport:
    """Run every step that needs no receipt.

    Args:
        client: of the broker, pinned to its keys on chain: an unpinned one proves nothing.
        broker_id: the broker.
        chain: for roots.
        seen: a head that the broker signed earlier.
        receipts: hashes of receipts at hand, by their numbers.

    Raises:
        BrokerUnavailable: the broker does not answer, so nothing can be said.
    """
    report, log = AuditReport(), RemoteLog()
    trouble: LedgerError | None = None
    try:
        log.read(client)
    except (VerificationError, FormatError) as error:
        trouble = error

    def numbers() -> str:
        if trouble is not None:
            raise trouble
        return log.check(seen, receipts or {})

    def signatures() -> str:
        if isinstance(trouble, SignatureInvalid):
            raise trouble
        return f"Ed25519 and ML-DSA-65 of the keys on chain under each of {log.pages} pages"

    report.step(1, numbers)
    report.step(2, signatures)
    report.findings += [
        Check(number, STEPS[number], OPEN, _STAYS) for number in STEPS if number not in CHECKED
    ]
    if trouble is None:
        report.step(8, lambda: check_roots(log.hashes, broker_id, chain))
    else:
        report.findings.append(Check(8, STEPS[8], OPEN, "not without the whole log"))
    return report


def sound(report: AuditReport) -> bool:
    """Whether everything that can be checked from outside was, and passed."""
    return all(each.result == PASS for each in report.findings if each.number in CHECKED)
