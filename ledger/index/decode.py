"""Logs of the five contracts that have any, decoded by cutting fixed 32-byte words.

Each event is declared once, as its Solidity text without the types' user-defined names, and
compiled to one pattern and one mask. That is far faster than a generic ABI decoder or web3's event
objects (docs/spec/index.md), and it checks what an endpoint says: counts, widths and ranges.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ledger.errors import LogFormatError
from ledger.ids import Address, Digest, keccak256

Payee = tuple[Address, int]
"""Who shares in a plan's sales, and how many of ten thousand."""

Value = int | bool | str | bytes | Address | Digest | tuple[int, ...] | tuple[Payee, ...]

_FIELD = re.compile(r"^(\w+(?:\[\])?)( indexed)? (\w+)$")
# Types that the declarations below name by a word, as a signature spells them.
SPELLED = {"payee[]": "(address,uint16)[]"}

_DECLARED: dict[str, tuple[str, ...]] = {
    "Anchors": (
        "RootAnchored(bytes32 indexed root,address indexed sender)",
        "PhaseACommitted(address indexed sender,uint64 indexed number,bytes32 indexed commitment)",
    ),
    "ModelRegistry": (
        (
            "ModelRegistered(bytes32 indexed modelId,address indexed licensor,"
            "bytes32 indexed artifactRoot,bytes32 fingerprintDigest,bytes32 watermarkCommitment,"
            "bytes32 manifestHash,uint40 registeredAt,uint40 committedAt)"
        ),
        "ParentDeclared(bytes32 indexed modelId,bytes32 indexed parent)",
        "ParentConfirmed(bytes32 indexed modelId,bytes32 indexed parent,address indexed by)",
        "CommitmentProven(bytes32 indexed modelId,uint40 committedAt)",
        "TitleTransferProposed(bytes32 indexed modelId,address indexed from,address indexed to)",
        (
            "TitleTransferred(bytes32 indexed modelId,address indexed from,address indexed to,"
            "uint64 sequence)"
        ),
        "GuardianSet(bytes32 indexed modelId,address indexed guardian,uint40 delay)",
        (
            "RecoveryStarted(bytes32 indexed modelId,address indexed guardian,address indexed to,"
            "uint40 readyAt)"
        ),
        "RecoveryVetoed(bytes32 indexed modelId,address indexed by)",
        "ModelStatusSet(bytes32 indexed modelId,uint8 status)",
        (
            "RecordLodged(bytes32 indexed modelId,uint16 indexed kind,address indexed sender,"
            "uint64 epoch,bytes32 recordHash)"
        ),
        "EIP712DomainChanged()",
    ),
    "LicenseLedger": (
        (
            "PlanCreated(uint32 indexed planId,address indexed licensor,bytes32 indexed modelId,"
            "bytes32 termsHash,bytes32 planDigest)"
        ),
        "PlanPaused(uint32 indexed planId,bool paused)",
        (
            "PlanLicensorSynced(uint32 indexed planId,address indexed from,address indexed to,"
            "uint32 roleEpoch)"
        ),
        "RoleSet(uint32 indexed planId,address indexed account,uint8 roles,uint32 roleEpoch)",
        (
            "LicenseIssued(uint256 indexed licenseId,uint32 indexed planId,address indexed to,"
            "uint40 notBefore,uint40 notAfter)"
        ),
        "LicenseRenewed(uint256 indexed licenseId,uint40 notAfter)",
        "LicenseSuspended(uint256 indexed licenseId,bytes32 reason)",
        "LicenseReinstated(uint256 indexed licenseId,bytes32 reason)",
        (
            "LicenseRevoked(uint256 indexed licenseId,address indexed by,uint40 effectiveAt,"
            "bytes32 reason)"
        ),
        (
            "RuntimeBound(uint256 indexed licenseId,bytes32 indexed runtimeKey,uint40 until,"
            "bytes20 measurement)"
        ),
        "RuntimeReleased(uint256 indexed licenseId,bytes32 indexed runtimeKey)",
        "RuntimeEvicted(uint256 indexed licenseId,bytes32 indexed runtimeKey,address indexed by)",
        "GrantsCancelled(uint256 indexed licenseId,uint64 grantNonce)",
        "Transfer(address indexed from,address indexed to,uint256 indexed tokenId)",
        "Approval(address indexed owner,address indexed account,uint256 indexed tokenId)",
        "ApprovalForAll(address indexed owner,address indexed operator,bool approved)",
        "Locked(uint256 tokenId)",
        "Unlocked(uint256 tokenId)",
        "MetadataUpdate(uint256 tokenId)",
        "BatchMetadataUpdate(uint256 fromTokenId,uint256 toTokenId)",
        "EIP712DomainChanged()",
        "PlanResaleRoyaltySet(uint32 indexed planId,uint16 bps)",
        (
            "BatchAnchored(uint32 indexed planId,bytes32 indexed root,address indexed by,"
            "uint32 firstSerial,uint32 count,bytes32 uriHash)"
        ),
        (
            "BatchClaimed(uint256 indexed licenseId,bytes32 indexed root,uint32 index,"
            "bytes32 extHash)"
        ),
        (
            "BatchRevoked(uint32 indexed planId,bytes32 indexed root,address indexed by,"
            "uint256 word,uint256 mask,bytes32 reason)"
        ),
        (
            "BatchClosed(uint32 indexed planId,bytes32 indexed root,address indexed by,"
            "uint40 closesAt,bytes32 reason)"
        ),
        (
            "VoucherRedeemed(uint256 indexed licenseId,address indexed signer,uint256 nonce,"
            "bytes32 extHash)"
        ),
        "NoncesCancelled(address indexed signer,uint256 indexed word,uint256 mask)",
        (
            "LicenseSublicensed(uint256 indexed parentId,uint256 indexed licenseId,"
            "address indexed to,uint16 seats,uint8 depth)"
        ),
        "SeatsReclaimed(uint256 indexed parentId,uint256 indexed licenseId,uint16 seats)",
        (
            "ReissueStarted(uint256 indexed licenseId,address indexed from,address indexed to,"
            "uint40 readyAt)"
        ),
        "ReissueVetoed(uint256 indexed licenseId,address indexed by)",
        ("LicenseReissued(uint256 indexed licenseId,address indexed from,address indexed to)"),
        (
            "UsageAnchored(uint256 indexed licenseId,address indexed by,uint64 cumulative,"
            "bytes32 receiptsRoot)"
        ),
    ),
    "BrokerRegistry": (
        "BrokerRegistered(uint64 indexed brokerId,address indexed operator)",
        (
            "BrokerKeysSet(uint64 indexed brokerId,uint32 indexed epoch,bytes32 signingKeyHash,"
            "bytes32 kemKeyHash,bytes32 urlHash,string url)"
        ),
        "BrokerOperatorProposed(uint64 indexed brokerId,address indexed from,address indexed to)",
        "BrokerOperatorChanged(uint64 indexed brokerId,address indexed from,address indexed to)",
        (
            "BrokerSetCreated(uint64 indexed setId,address indexed owner,uint8 threshold,"
            "uint64[] brokerIds)"
        ),
        (
            "ReceiptsAnchored(uint64 indexed brokerId,uint64 indexed seq,bytes32 prevRoot,"
            "bytes32 root,uint64 count)"
        ),
    ),
    "LicenseMarket": (
        "RoyaltyPinned(uint32 indexed planId,bytes32 indexed modelId,uint16 bps)",
        "PayeesSet(uint32 indexed planId,address indexed licensor,payee[] payees)",
        (
            "LicenseSold(uint256 indexed licenseId,address indexed payer,address indexed licensor,"
            "address payToken,uint256 amount,uint40 refundableUntil)"
        ),
        (
            "LicenseRenewalSold(uint256 indexed licenseId,address indexed payer,"
            "address indexed licensor,address payToken,uint256 amount)"
        ),
        "SaleSettled(uint256 indexed licenseId,uint256 amount)",
        (
            "SaleRefunded(uint256 indexed licenseId,address indexed to,address payToken,"
            "uint256 amount)"
        ),
        "Accrued(address indexed account,address indexed payToken,uint256 amount)",
        "RoyaltyAccrued(bytes32 indexed modelId,address indexed payToken,uint256 amount)",
        (
            "Withdrawn(address indexed account,address indexed payToken,address indexed to,"
            "uint256 amount)"
        ),
        (
            "RoyaltiesCollected(bytes32 indexed modelId,address indexed payToken,"
            "address indexed to,uint256 amount)"
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Event:
    """One decoded log: the contract's and event's name, and its arguments by name."""

    contract: str
    name: str
    values: dict[str, Value]


_DYNAMIC = {"string", "uint64[]", "payee[]"}

Stored = int | bool | str | bytes | tuple[int, ...] | tuple[tuple[bytes, int], ...]
"""An argument as the tables hold it: hashes and accounts are bare bytes."""

_Late = Callable[[bytes, bytes], Stored]


# Compared and hashed by identity: there is one object an event, in `EVENTS`.
@dataclass(frozen=True, slots=True, eq=False)
class EventType:
    """How one event of one contract is read.

    All head words are cut out by one `struct` pattern, and one mask says which of their bits the
    contract never sets, so the price of checking does not grow with the number of arguments.

    Attributes:
        signature: the text whose Keccak-256 is topic 0.
        indexed: (name, ABI type) of each topic after the first.
        words: (name, ABI type) of each head word of the data.
        dynamic: whether the data has a tail.
        names: of all arguments, in the order in which `read` gives them.
    """

    contract: str
    name: str
    signature: str
    topic0: bytes
    indexed: tuple[tuple[str, str], ...]
    words: tuple[tuple[str, str], ...]
    dynamic: bool
    names: tuple[str, ...]
    _cut: struct.Struct
    _clear: int
    _late: tuple[tuple[int, _Late], ...]
    _topics: int
    _head: int

    @classmethod
    def parse(cls, contract: str, text: str) -> EventType:
        """Read a declaration such as ``Transfer(address indexed from,uint256 value)``."""
        name, _, inner = text.removesuffix(")").partition("(")
        fields = [_FIELD.match(part) for part in inner.split(",") if part]
        found = [(m[1], bool(m[2]), m[3]) for m in fields if m is not None]
        signature = f"{name}({','.join(SPELLED.get(kind, kind) for kind, _, _ in found)})"
        # Of an indexed argument of dynamic size the topic holds the hash alone.
        indexed = tuple(
            (field, "bytes32" if kind in _DYNAMIC else kind)
            for kind, indexed, field in found
            if indexed
        )
        words = tuple((field, kind) for kind, indexed, field in found if not indexed)
        pattern, clear = ">32x", 0
        for _, kind in (*indexed, *words):
            cut, unused = _word(kind)
            pattern, clear = pattern + cut, clear << 256 | unused
        kinds = enumerate(kind for _, kind in (*indexed, *words))
        late = [(at, _LATE[kind]) for at, kind in kinds if kind in _LATE]
        return cls(
            contract,
            name,
            signature,
            keccak256(signature.encode()),
            indexed,
            words,
            any(kind in _DYNAMIC for _, kind in words),
            tuple(field for field, _ in (*indexed, *words)),
            struct.Struct(pattern),
            clear,
            tuple(late),
            32 + 32 * len(indexed),
            32 * len(words),
        )

    def read(self, topics: bytes, data: bytes) -> dict[str, Stored]:
        """The arguments by name, out of topics (one after the other, as stored) and data.

        Raises:
            LogFormatError: not the shape that this event always has.
        """
        return dict(zip(self.names, self.arguments(topics, data), strict=True))

    def arguments(self, topics: bytes, data: bytes) -> tuple[Stored, ...]:
        """As `read`, in the order of `names`.

        Raises:
            LogFormatError: as `read`.
        """
        head = self._head
        if len(topics) != self._topics:
            raise LogFormatError(f"{self.name} has {1 + len(self.indexed)} topics of 32 bytes")
        if len(data) != head and (len(data) < head or not self.dynamic):
            raise LogFormatError(f"{self.name} has {head} bytes of data, not {len(data)}")
        words = topics + data[:head] if self.dynamic else topics + data
        if self._clear and int.from_bytes(words, "big") & self._clear:
            raise self._misfit(words)
        found = list(self._cut.unpack(words))
        for at, read in self._late:
            found[at] = read(found[at], data)
        return tuple(found)

    def arguments_of(self, logs: Sequence[tuple[bytes, bytes]]) -> list[tuple[Stored, ...]]:
        """As `arguments`, of many logs (topics, data) at once.

        Raises:
            LogFormatError: as `read`, of the first such log.
        """
        words = b"".join([part for log in logs for part in log])
        if self.dynamic or not self._fit(logs, words):
            return [self.arguments(topics, data) for topics, data in logs]
        rows = self._cut.iter_unpack(words)
        if not self._late:
            return list(rows)
        columns: list[Iterable[Any]] = list(zip(*rows, strict=True))
        for at, read in self._late:
            columns[at] = [read(word, b"") for word in columns[at]]
        return list(zip(*columns, strict=True))

    def _fit(self, logs: Sequence[tuple[bytes, bytes]], words: bytes) -> bool:
        """Whether all these logs have the event's shape, which has no tail."""
        if {len(topics) for topics, _ in logs} != {self._topics}:
            return False
        if {len(data) for _, data in logs} != {self._head}:
            return False
        clear = np.frombuffer(self._clear.to_bytes(self._topics + self._head, "big"), "u8")
        found = np.frombuffer(words, "u8").reshape(-1, len(clear))
        return not (found & clear).any()

    def _misfit(self, words: bytes) -> LogFormatError:
        fields = enumerate((*self.indexed, *self.words), 1)
        at, field, kind = next(
            (32 * index, field, kind)
            for index, (field, kind) in fields
            if int.from_bytes(words[32 * index : 32 * index + 32], "big") & _word(kind)[1]
        )
        return LogFormatError(f"{field} of {self.name} is no {kind}: {words[at : at + 32].hex()}")

    def decode(self, topics: Sequence[bytes], data: bytes) -> Event:
        """Read one log, with its hashes and accounts as objects.

        Raises:
            LogFormatError: not the shape that this event always has.
        """
        if any(len(topic) != 32 for topic in topics):
            raise LogFormatError(f"a topic of {self.name} has not 32 bytes")
        values: dict[str, Any] = self.read(b"".join(topics), data)
        for field, kind in (*self.indexed, *self.words):
            if kind in _OBJECTS:
                values[field] = _OBJECTS[kind](values[field])
        return Event(self.contract, self.name, values)


def _named(payees: tuple[tuple[bytes, int], ...]) -> Value:
    return tuple((Address(account), bps) for account, bps in payees)


_OBJECTS: dict[str, Callable[[Any], Value]] = {
    "address": Address,
    "bytes32": Digest,
    "payee[]": _named,
}
_ALL = (1 << 256) - 1
_CODES = {8: "B", 16: "H", 32: "I", 64: "Q"}


def _word(kind: str) -> tuple[str, int]:
    """The `struct` pattern of one head word, and its bits that are never set."""
    match kind:
        case "address":
            return "12x20s", _ALL ^ (1 << 160) - 1
        case "bool":
            return "31x?", _ALL ^ 1
        case "bytes20":
            return "20s12x", 0
        case "bytes32" | "string" | "uint64[]" | "payee[]":
            return "32s", 0
    bits = int(kind.removeprefix("uint"))
    if bits == 256:
        return "32s", 0
    held = next(size for size in _CODES if size >= bits)
    return f"{32 - held // 8}x{_CODES[held]}", _ALL ^ (1 << bits) - 1


def _tail(word: bytes, data: bytes, unit: int) -> bytes:
    """The tail that `word` points at, of elements of `unit` bytes."""
    start = int.from_bytes(word, "big")
    if start + 32 > len(data):
        raise LogFormatError("a dynamic value begins outside the data")
    count = int.from_bytes(data[start : start + 32], "big")
    if start + 32 + count * unit > len(data):
        raise LogFormatError("a dynamic value ends outside the data")
    return data[start + 32 : start + 32 + count * unit]


def _uint256(word: bytes, _: bytes) -> Stored:
    return int.from_bytes(word, "big")


def _string(word: bytes, data: bytes) -> Stored:
    # Anyone can emit bytes that are no UTF-8: shown as they can be, kept exactly in the journal.
    return _tail(word, data, 1).decode("utf-8", "replace")


def _uint64s(word: bytes, data: bytes) -> Stored:
    words = _tail(word, data, 32)
    return tuple(int.from_bytes(words[i + 24 : i + 32], "big") for i in range(0, len(words), 32))


def _payees(word: bytes, data: bytes) -> Stored:
    pairs = _tail(word, data, 64)
    found = []
    for i in range(0, len(pairs), 64):
        bps = int.from_bytes(pairs[i + 32 : i + 64], "big")
        if any(pairs[i : i + 12]) or bps >> 16:
            raise LogFormatError(f"payee {i // 64} is no account with a share")
        found.append((pairs[i + 12 : i + 32], bps))
    return tuple(found)


_LATE: dict[str, _Late] = {
    "uint256": _uint256,
    "string": _string,
    "uint64[]": _uint64s,
    "payee[]": _payees,
}

EVENTS: dict[str, dict[bytes, EventType]] = {
    contract: {kind.topic0: kind for kind in (EventType.parse(contract, text) for text in declared)}
    for contract, declared in _DECLARED.items()
}


def decode(contract: str, topics: Sequence[bytes], data: bytes) -> Event | None:
    """Decode a log of `contract`; None when its first topic is no event known here.

    Raises:
        LogFormatError: a known event in a shape that the contract never emits.
    """
    kind = EVENTS[contract].get(topics[0]) if topics else None
    return None if kind is None else kind.decode(topics, data)


def json_values(event: Event) -> dict[str, Any]:
    """The arguments as JSON carries them: hashes and accounts as 0x text, big integers as text."""
    return {name: _json(value) for name, value in event.values.items()}


def _json(value: Value | Payee) -> Any:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if value < 1 << 53 else str(value)
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)
