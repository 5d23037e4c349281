"""The watermark record: what its owner keeps secret, and the commitment that it opens.

Sections 1 and 2 of docs/spec/watermark.md. The bytes on disk, under a passphrase, are made where
the file is written (``ledger.broker.watermark_file``).
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self

from ledger.canonical import canonical_json, hash_bytes, hash_json, parse_json
from ledger.errors import ClaimMismatch, ManifestError, UnsupportedVersion, UsageError
from ledger.fingerprint.exact import MAX_PARAMS, Fingerprint, fingerprint
from ledger.ids import ZERO_DIGEST, Address, Digest
from ledger.licensing.document import Document, hex_text
from ledger.sealed.marking import MARKED_DTYPES
from ledger.tensors.model import ModelSource
from ledger.tensors.safetensors import MAX_DIM, MAX_TENSORS
from ledger.watermark import statistics
from ledger.watermark.keys import effective_key

TYPE: Final = "modeldeed/watermark-record"
COMMITMENT_TYPE: Final = "modeldeed/watermark-commitment"
VERSION: Final = 1
SCHEME: Final = "signmark/1"
COMMIT_TAG: Final = "modeldeed/watermark/1"
KEY_TAG: Final = "modeldeed/watermark-key/1"
TARGETS_TAG: Final = "modeldeed/watermark-targets/1"
MAX_BYTES: Final = 48 << 20
STRENGTH: Final = 10_000
"""Millionths of a row's standard deviation: 0.01, or −40 dB."""
_MAX_STRENGTH = 100_000
_MAX_HEADERS = 64
_MAX_HEADER = 8 << 10

_COMMITMENT = (
    "type", "version", "scheme", "chain_id", "registry", "owner", "content_id", "key_hash",
    "targets_hash", "strength", "log2_p", "log2_attempts", "detector", "sketch_root", "terms_hash",
    "generator", "nonce",
)  # fmt: skip
_ROOTS = ("content_root", "vmd_root", "named_root", "n_params")
_PHASE_A = ("block", "number", "time", "transaction")
_RECORD = (
    "type", "version", "key", "key_salt", "commitment", "roots", "targets", "phase_a", "beacon",
    "marked",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """A tensor that carries the mark; `cid` is its content id without it."""

    name: str
    dtype: str
    shape: tuple[int, int]
    cid: Digest

    @property
    def weights(self) -> int:
        """How many weights it has."""
        return self.shape[0] * self.shape[1]

    def to_json(self) -> dict[str, Any]:
        """As the record lists it."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "cid": str(self.cid),
        }


@dataclass(frozen=True, slots=True)
class Roots:
    """The roots of the unmarked model's deep fingerprint."""

    content_root: Digest
    vmd_root: Digest
    named_root: Digest
    n_params: int

    @classmethod
    def of(cls, made: Fingerprint) -> Self:
        """The roots of a deep fingerprint.

        Raises:
            UsageError: it is only core.
        """
        if made.vmd_root is None:
            raise UsageError("a watermark is bound to the deep fingerprint")
        return cls(made.content_root, made.vmd_root, made.named_root, made.n_params)

    def content_id(self) -> Digest:
        """H(2f ‖ content_root ‖ vmd_root ‖ named_root ‖ u64 n_params)."""
        joined = self.content_root.raw + self.vmd_root.raw + self.named_root.raw
        packed = struct.pack("<Q", self.n_params)
        return Digest(hashlib.sha256(b"\x2f" + joined + packed).digest())

    def to_json(self) -> dict[str, Any]:
        """As the record keeps them."""
        return {
            "content_root": str(self.content_root),
            "vmd_root": str(self.vmd_root),
            "named_root": str(self.named_root),
            "n_params": self.n_params,
        }


@dataclass(frozen=True, slots=True)
class Commitment:
    """What phase A commits to; see the table of section 2 for each member."""

    chain_id: int
    registry: Address
    owner: Address
    content_id: Digest
    key_hash: Digest
    targets_hash: Digest
    strength: int
    detector: Digest
    sketch_root: Digest
    terms_hash: Digest
    generator: str
    nonce: Digest

    def to_json(self) -> dict[str, Any]:
        """The object whose canonical form is hashed."""
        return {
            "type": COMMITMENT_TYPE,
            "version": VERSION,
            "scheme": SCHEME,
            "chain_id": self.chain_id,
            "registry": str(self.registry),
            "owner": str(self.owner),
            "content_id": str(self.content_id),
            "key_hash": str(self.key_hash),
            "targets_hash": str(self.targets_hash),
            "strength": self.strength,
            "log2_p": statistics.LOG2_P,
            "log2_attempts": statistics.LOG2_ATTEMPTS,
            "detector": str(self.detector),
            "sketch_root": str(self.sketch_root),
            "terms_hash": str(self.terms_hash),
            "generator": self.generator,
            "nonce": str(self.nonce),
        }

    def hash(self) -> Digest:
        """A: what goes on chain."""
        return hash_json(COMMIT_TAG, self.to_json())

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read an opened commitment.

        Raises:
            ManifestError: not one.
            UnsupportedVersion: of another scheme.
        """
        doc = Document(value, "the watermark commitment", _COMMITMENT)
        doc.kind(COMMITMENT_TYPE, VERSION)
        if doc.text("scheme", limit=64) != SCHEME:
            raise UnsupportedVersion("the watermark is of another scheme than signmark/1")
        doc.integer("log2_p", statistics.LOG2_P, statistics.LOG2_P)
        doc.integer("log2_attempts", statistics.LOG2_ATTEMPTS, statistics.LOG2_ATTEMPTS)
        return cls(
            chain_id=doc.integer("chain_id", 1),
            registry=doc.address("registry"),
            owner=doc.address("owner"),
            content_id=doc.digest("content_id"),
            key_hash=doc.digest("key_hash"),
            targets_hash=doc.digest("targets_hash"),
            strength=doc.integer("strength", 1, _MAX_STRENGTH),
            detector=doc.digest("detector"),
            sketch_root=doc.digest("sketch_root"),
            terms_hash=doc.digest("terms_hash"),
            generator=doc.text("generator", limit=64),
            nonce=doc.digest("nonce"),
        )


@dataclass(frozen=True, slots=True)
class PhaseAPlace:
    """Where the commitment stands, as the record's owner noted it."""

    block: int
    number: int
    time: int
    transaction: Digest


@dataclass(frozen=True, slots=True)
class Record:
    """Everything about one watermark. It is a secret: `key` makes and removes the mark."""

    key: bytes = field(repr=False)
    key_salt: bytes = field(repr=False)
    commitment: Commitment
    roots: Roots
    targets: tuple[Target, ...]
    phase_a: PhaseAPlace | None = None
    beacon_kind: str = ""
    headers: tuple[bytes, ...] = field(default=(), repr=False)
    marked: Digest | None = None

    @classmethod
    def create(
        cls,
        made: Fingerprint,
        targets: tuple[Target, ...],
        *,
        chain_id: int,
        registry: Address,
        owner: Address,
        strength: int = STRENGTH,
        terms_hash: Digest = ZERO_DIGEST,
        sketch_root: Digest = ZERO_DIGEST,
    ) -> Self:
        """A fresh key and the commitment to it, for a model with this deep fingerprint.

        Raises:
            UsageError: the fingerprint is only core, or a strength beyond the scheme's.
        """
        if not 0 < strength <= _MAX_STRENGTH:
            raise UsageError("a watermark's strength lies between 0.000001 and 0.1")
        key, salt, roots = secrets.token_bytes(32), secrets.token_bytes(32), Roots.of(made)
        commitment = Commitment(
            chain_id=chain_id,
            registry=registry,
            owner=owner,
            content_id=roots.content_id(),
            key_hash=hash_bytes(KEY_TAG, key + salt),
            targets_hash=targets_hash(targets),
            strength=strength,
            detector=detector_hash(),
            sketch_root=sketch_root,
            terms_hash=terms_hash,
            generator="",
            nonce=Digest(secrets.token_bytes(32)),
        )
        return cls(key, salt, commitment, roots, targets)

    @property
    def epsilon(self) -> float:
        """The mark's size in standard deviations of a row."""
        return self.commitment.strength / 1e6

    def check(self) -> None:
        """Step 1: the record is what its commitment commits to.

        Raises:
            ClaimMismatch: a part of it is not.
        """
        made = self.commitment
        for same, what in (
            (hash_bytes(KEY_TAG, self.key + self.key_salt) == made.key_hash, "key"),
            (targets_hash(self.targets) == made.targets_hash, "list of marked tensors"),
            (self.roots.content_id() == made.content_id, "model"),
        ):
            if not same:
                raise ClaimMismatch(
                    f"the record's {what} is not what its commitment {made.hash().short} binds",
                    step=1,
                    hint="whoever chose it afterwards could have made it fit; ask for the record "
                    "that was committed",
                )

    def effective_key(self, beacon: Digest) -> bytes:
        """The key of the marks, once the beacon is known."""
        made = self.commitment
        return effective_key(self.key, beacon, made.content_id, made.owner)

    def with_phase_a(self, place: PhaseAPlace) -> Record:
        """The record once its commitment was sent."""
        return replace(self, phase_a=place)

    def with_beacon(self, kind: str, headers: tuple[bytes, ...]) -> Record:
        """The record once its beacon is known."""
        return replace(self, beacon_kind=kind, headers=headers)

    def contents(self) -> bytearray:
        """The content of the record file; the caller zeroes it."""
        document: dict[str, Any] = {
            "type": TYPE,
            "version": VERSION,
            "key": hex_text(self.key),
            "key_salt": hex_text(self.key_salt),
            "commitment": self.commitment.to_json(),
            "roots": self.roots.to_json(),
            "targets": [target.to_json() for target in self.targets],
        }
        if self.phase_a is not None:
            document["phase_a"] = {
                "block": self.phase_a.block,
                "number": self.phase_a.number,
                "time": self.phase_a.time,
                "transaction": str(self.phase_a.transaction),
            }
        if self.headers:
            headers = [hex_text(raw) for raw in self.headers]
            document["beacon"] = {"kind": self.beacon_kind, "headers": headers}
        if self.marked is not None:
            document["marked"] = str(self.marked)
        return bytearray(canonical_json(document))

    @classmethod
    def from_contents(cls, plain: bytes | bytearray, *, what: str) -> Self:
        """Read what ``contents`` gave.

        Raises:
            ManifestError: not a watermark record; the message quotes nothing of it.
        """
        try:
            parsed = parse_json(bytes(plain), what="the watermark record", limit=MAX_BYTES)
        except ManifestError:
            raise ManifestError(f"{what} is not a watermark record") from None
        doc = Document(parsed, "the watermark record", _RECORD)
        doc.kind(TYPE, VERSION)
        roots = Document(doc.object("roots"), "the record's roots", _ROOTS)
        place, kind = None, ""
        headers: tuple[bytes, ...] = ()
        if doc.has("phase_a"):
            at = Document(doc.object("phase_a"), "the record's phase A", _PHASE_A)
            place = PhaseAPlace(
                at.integer("block"), at.integer("number", 1), at.integer("time"),
                at.digest("transaction"),
            )  # fmt: skip
        if doc.has("beacon"):
            late = Document(doc.object("beacon"), "the record's beacon", ("kind", "headers"))
            kind = late.text("kind", limit=32)
            headers = tuple(_header(text) for text in late.items("headers", limit=_MAX_HEADERS))
        targets = tuple(_target(entry) for entry in doc.items("targets", limit=MAX_TENSORS))
        if not targets or any(a.name >= b.name for a, b in pairwise(targets)):
            raise ManifestError("the record's targets are none, repeated or out of order")
        if len({target.cid for target in targets}) != len(targets):
            # One tensor's signs counted as several independent ones would break the bound.
            raise ManifestError("two of the record's targets have the same content")
        return cls(
            key=doc.raw("key", 32),
            key_salt=doc.raw("key_salt", 32),
            commitment=Commitment.from_json(doc.object("commitment")),
            roots=Roots(
                roots.digest("content_root"),
                roots.digest("vmd_root"),
                roots.digest("named_root"),
                roots.integer("n_params", 0, MAX_PARAMS),
            ),
            targets=targets,
            phase_a=place,
            beacon_kind=kind,
            headers=headers,
            marked=doc.digest("marked") if doc.has("marked") else None,
        )


def require_original(record: Record, model: ModelSource) -> None:
    """See that a model is the unmarked one of the record.

    The record's roots give the committed content id, and a set of tensors has one multiset root:
    so the core pass alone decides.

    Raises:
        ClaimMismatch: it is another.
    """
    made, roots = fingerprint(model), record.roots
    wanted = (roots.content_root, roots.named_root, roots.n_params)
    held = {(one.name, one.dtype, one.shape, one.cid) for one in made.tensors}
    marks = {(one.name, one.dtype, one.shape, one.cid) for one in record.targets}
    if (made.content_root, made.named_root, made.n_params) != wanted or not marks <= held:
        raise ClaimMismatch(
            f"{model.title} is not the model that the record committed to",
            step=5,
            hint="give the unmarked original as it was committed; an original chosen afterwards "
            "can be made to fit any suspect",
        )


def targets_hash(targets: tuple[Target, ...]) -> Digest:
    """What a commitment says of the tensors that carry the mark."""
    return hash_json(TARGETS_TAG, [target.to_json() for target in targets])


def detector_hash() -> Digest:
    """SHA-256 of the code that computes the statistic, as it runs here."""
    return Digest(hashlib.sha256(Path(statistics.__file__).read_bytes()).digest())


def _target(entry: Any) -> Target:
    doc = Document(entry, "a target of the record", ("name", "dtype", "shape", "cid"))
    shape = doc.items("shape", limit=2)
    if len(shape) != 2 or not all(type(n) is int and 0 < n <= MAX_DIM for n in shape):
        raise doc.fail("shape", "two dimensions")
    return Target(
        doc.text("name"),
        doc.choice("dtype", MARKED_DTYPES),
        (shape[0], shape[1]),
        doc.digest("cid"),
    )


def _header(text: Any) -> bytes:
    try:
        raw = bytes.fromhex(text.removeprefix("0x")) if isinstance(text, str) else b""
    except ValueError:
        raw = b""
    if not 0 < len(raw) <= _MAX_HEADER or hex_text(raw) != text:
        raise ManifestError("the record's beacon holds something that is no header")
    return raw
