"""Escrow: shares of a content key with agents, and the rule by which they give them out. Pure.

What if the licensor vanishes, and its brokers with it? A licensor splits a sealing's key among n
agents; each share is wrapped to its agent in one public, signed document that also states when t of
them may put the key together for a license holder (docs/spec/escrow.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ledger.broker.grants import RuntimeGrant, RuntimeKey
from ledger.broker.protocol import kem_from_json, kem_json
from ledger.broker.shamir import Share, set_id
from ledger.canonical import canonical_json, hash_json
from ledger.eip712 import Domain, StructType, TypedSigner, recover
from ledger.errors import ManifestError, SignatureInvalid, UsageError
from ledger.ids import Address, Digest, LicenseId
from ledger.licensing.card import ledger_domain
from ledger.licensing.chain import ChainContracts
from ledger.licensing.document import Document, base64_text, hex_text
from ledger.sealed.recipients import KemPublicKey
from ledger.sealed.record import SealingRecord

TYPE: Final = "modeldeed/escrow"
AGENT_TYPE: Final = "modeldeed/escrow-agent"
REQUEST_TYPE: Final = "modeldeed/escrow-request"
ANSWER_TYPE: Final = "modeldeed/escrow-answer"
RELEASE_TYPE: Final = "modeldeed/escrow-release"
DOCUMENT_TAG: Final = "modeldeed/escrow/1"
REQUEST_TAG: Final = "modeldeed/escrow-request/1"
SHARE_TAG: Final = "modeldeed/escrow-share/1"
ANSWER_TAG: Final = "modeldeed/escrow-answer/1"
MAX_AGENTS: Final = 32
MAX_DAYS: Final = 3650
REQUEST_SECONDS: Final = 7 * 86400
SILENCE, LICENSOR, DATE = "silence", "licensor", "date"

ESCROW_TYPE: Final = StructType.parse(
    "Escrow(bytes32 modelId,uint64 epoch,bytes32 sealingRecordHash,bytes32 documentHash,"
    "uint64 issuedAt)"
)
GO_TYPE: Final = StructType.parse("EscrowRelease(bytes32 escrow,uint64 issuedAt)")


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a rule; any one of a rule's suffices.

    Attributes:
        when: ``silence``, ``licensor`` or ``date``.
        value: days of silence, Unix seconds of the date, or 0.
    """

    when: str
    value: int = 0

    def __str__(self) -> str:
        if self.when == SILENCE:
            return f"silence of {self.value} days"
        return f"date {self.value}" if self.when == DATE else "the licensor's word"

    def to_json(self) -> dict[str, Any]:
        """The member of ``rule``."""
        named = {SILENCE: {"days": self.value}, DATE: {"at": self.value}}
        return {"when": self.when, **named.get(self.when, {})}

    @classmethod
    def from_json(cls, value: Any) -> Condition:
        """Read one.

        Raises:
            ManifestError: not a condition that this release can check.
        """
        when = Document(value, "a condition").choice("when", (SILENCE, LICENSOR, DATE))
        if when == SILENCE:
            doc = Document(value, "a condition", ("when", "days"))
            return cls(when, doc.integer("days", 1, MAX_DAYS))
        if when == DATE:
            return cls(when, Document(value, "a condition", ("when", "at")).integer("at", 1))
        Document(value, "a condition", ("when",))
        return cls(when)


@dataclass(frozen=True, slots=True)
class Agent:
    """An escrow agent as it introduces itself: a name for people, and whom to wrap to."""

    name: str
    kem: KemPublicKey

    def to_json(self) -> dict[str, Any]:
        """The agent's public file."""
        return {"type": AGENT_TYPE, "version": 1, "name": self.name, "kem": kem_json(self.kem)}

    @classmethod
    def from_json(cls, value: Any) -> Agent:
        """Read one.

        Raises:
            ManifestError, UnsupportedVersion: not one.
        """
        doc = Document(value, "the escrow agent", ("type", "version", "name", "kem"))
        doc.kind(AGENT_TYPE)
        return cls(doc.text("name", limit=100), kem_from_json(doc.object("kem")))


@dataclass(frozen=True, slots=True)
class Seat:
    """An agent of a document, with the share wrapped to it."""

    agent: Agent
    wrap: bytes


@dataclass(frozen=True, slots=True)
class Escrow:
    """The public document.

    Attributes:
        chain_id, ledger, registry, broker_registry: where the rule is read.
        record: the sealing whose content key is shared.
        threshold: how many shares give the key.
        commitments: to share 1, 2, … (docs/spec/shares.md).
        seats: agents in the order of their shares.
        rule: conditions, of which any one suffices.
    """

    chain_id: int
    ledger: Address
    registry: Address
    broker_registry: Address
    record: SealingRecord
    threshold: int
    commitments: tuple[Digest, ...]
    seats: tuple[Seat, ...]
    rule: tuple[Condition, ...]
    licensor: Address
    issued_at: int
    signature: bytes = b""

    @property
    def domain(self) -> Domain:
        """Under which everything about it is signed."""
        return ledger_domain(self.chain_id, self.ledger)

    @property
    def set_id(self) -> Digest:
        """Name of the set of shares."""
        return set_id(self.threshold, self.commitments)

    def id(self) -> Digest:
        """Hash of the document without its signature: its name, and what may be anchored."""
        return hash_json(DOCUMENT_TAG, self._unsigned())

    def share(self, index: int, value: bytearray) -> Share:
        """Share `index` with this value, checked against its commitment.

        Raises:
            SharesRejected: it is another value; its buffer is zeroed.
        """
        return Share.checked(self.threshold, self.commitments, index, value)

    def seat_of(self, kem: KemPublicKey) -> int:
        """Index, from 1, of the share that is wrapped to a key.

        Raises:
            UsageError: none is.
        """
        for index, seat in enumerate(self.seats, 1):
            if seat.agent.kem == kem:
                return index
        raise UsageError(
            "this escrow document names another agent's keys, not these",
            hint="use the folder whose agent.json the licensor was given",
        )

    def signed(self, signer: TypedSigner) -> Escrow:
        """The same document with the licensor's signature."""
        made = signer.sign_typed(self.domain, ESCROW_TYPE, self._values())
        return replace(self, signature=made)

    def verify(self) -> None:
        """Check the licensor's signature.

        Raises:
            SignatureInvalid: it is another's, or the document was altered.
        """
        digest = self.domain.digest(ESCROW_TYPE, self._values())
        if recover(digest, self.signature, step=1) != self.licensor:
            raise SignatureInvalid(
                f"the escrow document is not as {self.licensor} signed it",
                step=1,
                hint="get it again from the licensor or another agent; compare its hash with an "
                "anchored one",
            )

    def _values(self) -> dict[str, Any]:
        return {
            "modelId": self.record.model_id,
            "epoch": self.record.epoch,
            "sealingRecordHash": self.record.hash(),
            "documentHash": self.id(),
            "issuedAt": self.issued_at,
        }

    def _unsigned(self) -> dict[str, Any]:
        return {
            "type": TYPE,
            "version": 1,
            "chain": ChainContracts(
                self.chain_id, self.ledger, self.registry, self.broker_registry
            ).to_json(),
            "record": self.record.to_json(),
            "threshold": self.threshold,
            "commitments": [str(one) for one in self.commitments],
            "agents": [
                {
                    "name": seat.agent.name,
                    "kem": kem_json(seat.agent.kem),
                    "wrap": base64_text(seat.wrap),
                }
                for seat in self.seats
            ],
            "rule": [one.to_json() for one in self.rule],
            "licensor": str(self.licensor),
            "issued_at": self.issued_at,
        }

    def to_json(self) -> dict[str, Any]:
        """The document."""
        return {**self._unsigned(), "signature": hex_text(self.signature)}

    @classmethod
    def from_json(cls, value: Any) -> Escrow:
        """Read a document and check its signature.

        Raises:
            ManifestError, UnsupportedVersion: not one.
            SignatureInvalid: not signed by its licensor.
        """
        doc = Document(
            value,
            "the escrow document",
            (
                "type", "version", "chain", "record", "threshold", "commitments", "agents", "rule",
                "licensor", "issued_at", "signature",
            ),
        )  # fmt: skip
        doc.kind(TYPE)
        chain = ChainContracts.from_json(doc.object("chain"), "its chain")
        seats = tuple(_seat(one) for one in doc.items("agents", limit=MAX_AGENTS))
        commitments = tuple(
            Document({"digest": one}, "a commitment").digest("digest")
            for one in doc.items("commitments", limit=MAX_AGENTS)
        )
        rule = tuple(Condition.from_json(one) for one in doc.items("rule", limit=8))
        if (
            not rule
            or len(commitments) != len(seats)
            or len({s.agent.kem for s in seats}) != len(seats)
        ):
            raise ManifestError(
                "the escrow document has no rule, or not one commitment and key for each agent"
            )
        made = cls(
            chain_id=chain.chain_id,
            ledger=chain.ledger,
            registry=chain.registry,
            broker_registry=chain.brokers,
            record=SealingRecord.from_json(doc.object("record")),
            threshold=doc.integer("threshold", 1, len(seats)),
            commitments=commitments,
            seats=seats,
            rule=rule,
            licensor=doc.address("licensor"),
            issued_at=doc.integer("issued_at"),
            signature=doc.raw("signature", 65),
        )
        made.verify()
        return made


def _seat(value: Any) -> Seat:
    doc = Document(value, "an agent of the escrow document", ("name", "kem", "wrap"))
    agent = Agent(doc.text("name", limit=100), kem_from_json(doc.object("kem")))
    return Seat(agent, doc.blob("wrap", limit=4096))


@dataclass(frozen=True, slots=True)
class Release:
    """The licensor's word that the shares may be given out."""

    escrow: Digest
    issued_at: int
    signature: bytes

    @classmethod
    def sign(cls, escrow: Escrow, signer: TypedSigner, *, now: int) -> Release:
        """Give it."""
        values = {"escrow": escrow.id(), "issuedAt": now}
        return cls(escrow.id(), now, signer.sign_typed(escrow.domain, GO_TYPE, values))

    def signer(self, domain: Domain) -> Address:
        """Who gave it.

        Raises:
            SignatureInvalid: no account did.
        """
        values = {"escrow": self.escrow, "issuedAt": self.issued_at}
        return recover(domain.digest(GO_TYPE, values), self.signature, step=7)

    def to_json(self) -> dict[str, Any]:
        """The file."""
        return {
            "type": RELEASE_TYPE,
            "version": 1,
            "escrow": str(self.escrow),
            "issued_at": self.issued_at,
            "signature": hex_text(self.signature),
        }

    @classmethod
    def from_json(cls, value: Any) -> Release:
        """Read one; the signature is checked by its use.

        Raises:
            ManifestError, UnsupportedVersion: not one.
        """
        doc = Document(
            value, "the escrow release", ("type", "version", "escrow", "issued_at", "signature")
        )
        doc.kind(RELEASE_TYPE)
        return cls(doc.digest("escrow"), doc.integer("issued_at"), doc.raw("signature", 65))


@dataclass(frozen=True, slots=True)
class EscrowRequest:
    """A holder's runtime asks agents for their shares.

    Attributes:
        escrow: name of the document.
        kem: what the shares are wrapped to.
        release: the licensor's word, where there is one.
    """

    escrow: Digest
    license: LicenseId
    runtime: RuntimeKey
    kem: KemPublicKey
    grant: RuntimeGrant | None
    issued_at: int
    release: Release | None = None
    signature: bytes = b""

    def digest(self) -> Digest:
        """What the runtime key signs."""
        return hash_json(REQUEST_TAG, self._unsigned())

    def verify(self) -> None:
        """Check the runtime's signature.

        Raises:
            SignatureInvalid: it is another's.
        """
        self.runtime.verify(self.signature, self.digest(), step=2)

    def _unsigned(self) -> dict[str, Any]:
        return {
            "type": REQUEST_TYPE,
            "version": 1,
            "escrow": str(self.escrow),
            "license": str(self.license),
            "runtime": self.runtime.to_json(),
            "kem": kem_json(self.kem),
            "grant": None if self.grant is None else self.grant.to_json(),
            "issued_at": self.issued_at,
            "release": None if self.release is None else self.release.to_json(),
        }

    def to_json(self) -> dict[str, Any]:
        """The file."""
        return {**self._unsigned(), "signature": hex_text(self.signature)}

    @classmethod
    def from_json(cls, value: Any) -> EscrowRequest:
        """Read one; no signature is checked yet.

        Raises:
            ManifestError, UnsupportedVersion: not one.
        """
        doc = Document(
            value,
            "the escrow request",
            (
                "type", "version", "escrow", "license", "runtime", "kem", "grant", "issued_at",
                "release", "signature",
            ),
        )  # fmt: skip
        doc.kind(REQUEST_TYPE)
        return cls(
            doc.digest("escrow"),
            doc.license(),
            RuntimeKey.from_json(doc.object("runtime")),
            kem_from_json(doc.object("kem")),
            RuntimeGrant.from_json(doc.object("grant")) if doc.has("grant") else None,
            doc.integer("issued_at"),
            Release.from_json(doc.object("release")) if doc.has("release") else None,
            doc.raw("signature", 64),
        )


@dataclass(frozen=True, slots=True)
class EscrowAnswer:
    """An agent's share, wrapped to a request's key. Its commitment says whether it is the one."""

    escrow: Digest
    request: Digest
    index: int
    wrap: bytes

    def to_json(self) -> dict[str, Any]:
        """The file."""
        return {
            "type": ANSWER_TYPE,
            "version": 1,
            "escrow": str(self.escrow),
            "request": str(self.request),
            "index": self.index,
            "wrap": base64_text(self.wrap),
        }

    @classmethod
    def from_json(cls, value: Any) -> EscrowAnswer:
        """Read one.

        Raises:
            ManifestError, UnsupportedVersion: not one.
        """
        doc = Document(
            value, "the escrow answer", ("type", "version", "escrow", "request", "index", "wrap")
        )
        doc.kind(ANSWER_TYPE)
        return cls(
            doc.digest("escrow"),
            doc.digest("request"),
            doc.integer("index", 1, MAX_AGENTS),
            doc.blob("wrap", limit=4096),
        )


def share_info(index: int, set_name: Digest, record: SealingRecord, licensor: Address) -> bytes:
    """HPKE ``info`` of a share at its agent."""
    context = {
        "index": index,
        "set": str(set_name),
        "sealing": str(record.hash()),
        "licensor": str(licensor),
    }
    return SHARE_TAG.encode() + b"\0" + canonical_json(context)


def answer_info(escrow: Digest, request: Digest, index: int) -> bytes:
    """HPKE ``info`` of a share that an agent gives out."""
    context = {"escrow": str(escrow), "request": str(request), "index": index}
    return ANSWER_TAG.encode() + b"\0" + canonical_json(context)


def check_rule(rule: Sequence[Condition]) -> tuple[Condition, ...]:
    """A rule that can be meant.

    Raises:
        UsageError: none at all, one twice, or a silence of no days.
    """
    whens = [one.when for one in rule]
    if not rule or len(set(whens)) != len(whens):
        raise UsageError(
            "an escrow needs a rule: --silence DAYS, --on-release or --date, each once",
            hint="any one of them that holds lets the agents give out their shares",
        )
    for one in rule:
        try:
            Condition.from_json(one.to_json())
        except ManifestError as error:
            raise UsageError(error.message) from None
    return tuple(rule)
