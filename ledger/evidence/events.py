"""Our contracts' events, decoded from proven receipts.

Every argument is one 32-byte word (or a topic), so decoding is slicing; a text at the end is not
read (its hash stands before it). The signatures below are the contracts' own
(``contracts/src/interfaces``) and the tests hold them against the built ABI.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ledger.errors import StateProofInvalid
from ledger.evidence.receipts import Log
from ledger.ids import Address, Digest, keccak256

_DECLARED: dict[str, str] = {
    "Anchors": """
        RootAnchored(bytes32 indexed root, address indexed sender);
    """,
    "ModelRegistry": """
        ModelRegistered(bytes32 indexed modelId, address indexed licensor,
            bytes32 indexed artifactRoot, bytes32 fingerprintDigest, bytes32 watermarkCommitment,
            bytes32 manifestHash, uint40 registeredAt, uint40 committedAt);
        CommitmentProven(bytes32 indexed modelId, uint40 committedAt);
        ParentDeclared(bytes32 indexed modelId, bytes32 indexed parent);
        ParentConfirmed(bytes32 indexed modelId, bytes32 indexed parent, address indexed by);
        TitleTransferred(bytes32 indexed modelId, address indexed from, address indexed to,
            uint64 sequence);
        ModelStatusSet(bytes32 indexed modelId, uint8 status);
        RecordLodged(bytes32 indexed modelId, uint16 indexed kind, address indexed sender,
            uint64 epoch, bytes32 recordHash);
    """,
    "LicenseLedger": """
        PlanCreated(uint32 indexed planId, address indexed licensor, bytes32 indexed modelId,
            bytes32 termsHash, bytes32 planDigest);
        PlanLicensorSynced(uint32 indexed planId, address indexed from, address indexed to,
            uint32 roleEpoch);
        LicenseIssued(uint256 indexed licenseId, uint32 indexed planId, address indexed to,
            uint40 notBefore, uint40 notAfter);
        LicenseRenewed(uint256 indexed licenseId, uint40 notAfter);
        LicenseSuspended(uint256 indexed licenseId, bytes32 reason);
        LicenseReinstated(uint256 indexed licenseId, bytes32 reason);
        LicenseRevoked(uint256 indexed licenseId, address indexed by, uint40 effectiveAt,
            bytes32 reason);
        Transfer(address indexed from, address indexed to, uint256 indexed id);
    """,
    "BrokerRegistry": """
        BrokerKeysSet(uint64 indexed brokerId, uint32 indexed epoch, bytes32 signingKeyHash,
            bytes32 kemKeyHash, bytes32 urlHash, string url);
        ReceiptsAnchored(uint64 indexed brokerId, uint64 indexed seq, bytes32 prevRoot,
            bytes32 root, uint64 count);
    """,
}


@dataclass(frozen=True, slots=True)
class EventKind:
    """One event's declaration.

    Attributes:
        inputs: (type, name, indexed) in order.
        topic: Keccak-256 of the signature, the first topic of each such log.
    """

    contract: str
    name: str
    inputs: tuple[tuple[str, str, bool], ...]
    topic: bytes

    @classmethod
    def parse(cls, contract: str, text: str) -> EventKind:
        """Read a declaration as Solidity writes it."""
        name, _, arguments = text.strip().rstrip(")").partition("(")
        inputs = []
        for argument in arguments.split(","):
            words = argument.split()
            inputs.append((words[0], words[-1], "indexed" in words[1:-1]))
        signature = f"{name}({','.join(kind for kind, _, _ in inputs)})"
        return cls(contract, name, tuple(inputs), keccak256(signature.encode()))


KINDS: tuple[EventKind, ...] = tuple(
    EventKind.parse(contract, text)
    for contract, declarations in _DECLARED.items()
    for text in declarations.split(";")
    if text.strip()
)
_BY_TOPIC = {(kind.contract, kind.topic): kind for kind in KINDS}


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where an event stands in its chain; comparing positions is comparing time."""

    block: int
    transaction: int
    log: int


@dataclass(frozen=True, slots=True)
class Event:
    """One proven event of ours.

    Attributes:
        args: ``Digest`` for bytes32, ``Address``, or ``int``.
        time: Unix seconds of its block.
        sender: account that signed the transaction, None when the bundle does not carry it.
    """

    contract: str
    name: str
    args: Mapping[str, Any]
    position: Position
    time: int
    transaction: Digest | None = None
    sender: Address | None = None

    def digest(self, name: str) -> Digest:
        """A bytes32 argument."""
        value = self.args[name]
        assert isinstance(value, Digest)
        return value

    def address(self, name: str) -> Address:
        """An address argument."""
        value = self.args[name]
        assert isinstance(value, Address)
        return value

    def number(self, name: str) -> int:
        """An integer argument."""
        value = self.args[name]
        assert isinstance(value, int)
        return value


def topic_of(contract: str, name: str) -> Digest:
    """First topic of an event, to ask a node for it."""
    return next(
        Digest(kind.topic) for kind in KINDS if (kind.contract, kind.name) == (contract, name)
    )


def decode(log: Log, contract: str, *, step: int = 0) -> tuple[str, dict[str, Any]] | None:
    """Name and arguments of `log`, emitted by our `contract`; None for an event we do not read.

    Raises:
        StateProofInvalid: the log has our topic and another shape.
    """
    kind = _BY_TOPIC.get((contract, log.topics[0])) if log.topics else None
    if kind is None:
        return None
    indexed = sum(flag for _, _, flag in kind.inputs)
    inputs = [of for of in kind.inputs if of[0] != "string"]
    size = 32 * (len(inputs) - indexed)
    # A text takes a word for its place, one for its length, and what it has.
    fits = len(log.data) == size if inputs == list(kind.inputs) else len(log.data) >= size + 64
    if len(log.topics) != indexed + 1 or not fits:
        raise StateProofInvalid(f"a {kind.name} event has the wrong shape", step=step)
    topics = iter(log.topics[1:])
    words = iter(log.data[at : at + 32] for at in range(0, len(log.data), 32))
    args = {}
    for type_name, name, flag in inputs:
        word = next(topics) if flag else next(words)
        args[name] = _value(type_name, word, kind.name, step)
    return kind.name, args


def _value(type_name: str, word: bytes, event: str, step: int) -> Digest | Address | int:
    if type_name == "bytes32":
        return Digest(word)
    number = int.from_bytes(word, "big")
    bits = 160 if type_name == "address" else int(re.sub(r"\D", "", type_name))
    if number >> bits:
        raise StateProofInvalid(f"a {event} event has a value out of range", step=step)
    return Address(word[12:]) if type_name == "address" else number
