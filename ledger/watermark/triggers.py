"""Triggers: committed keys, and the questions and answers that they give once the beacon is known.

Sections 1 and 2 of docs/spec/triggers.md. What is opened of them is in ``disclosure``.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ledger.canonical import hash_json
from ledger.errors import ClaimMismatch, UsageError
from ledger.ids import Address, Digest
from ledger.licensing.document import Document
from ledger.merkle import T1
from ledger.watermark.answers import LOG2_ATTEMPTS, LOG2_P, MAX_ANSWERS
from ledger.watermark.draws import Draws, shuffled
from ledger.watermark.generators import Generator, Question, read_generator

COMMITMENT_TYPE: Final = "modeldeed/triggers-commitment"
VERSION: Final = 1
COMMIT_TAG: Final = "modeldeed/triggers/1"
MAX_DEPTH: Final = 16
QUESTION: Final = b"\x40"
FILLER: Final = b"\x41"
_TRIGGER = b"modeldeed/trigger/1\0"
_ANSWER = b"modeldeed/trigger-answer/1\0"
_KEYS = b"modeldeed/trigger-keys/1\0"
_PLACES = b"modeldeed/trigger-places/1\0"

_COMMITMENT = (
    "type", "version", "chain_id", "registry", "owner", "content_id", "generator", "answers",
    "depth", "root", "log2_p", "log2_attempts", "nonce",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers that are drawn from: `count` ids from `first` on."""

    first: int
    count: int

    def __post_init__(self) -> None:
        if not 2 <= self.count <= MAX_ANSWERS or not 0 <= self.first <= MAX_ANSWERS:
            raise UsageError("there are 2 to 2^31 answers, with ids from 0 to 2^31 on")


@dataclass(frozen=True, slots=True)
class Trigger:
    """A question with the answer that was drawn for it.

    Attributes:
        position: of its key in the tree.
        answer: an id, of those that the commitment draws from.
    """

    position: int
    answer: int
    _seed: bytes = field(repr=False)
    _generator: Generator = field(repr=False)

    @property
    def question(self) -> Question:
        """What the model is asked; made anew each time, because thousands can be large."""
        return self._generator.make(self._seed)


@dataclass(frozen=True, slots=True)
class Commitment:
    """What phase A commits to; see the table of section 2 for each member."""

    chain_id: int
    registry: Address
    owner: Address
    content_id: Digest
    generator: Generator
    answers: Answers
    depth: int
    root: Digest
    nonce: Digest

    @property
    def size(self) -> int:
        """How many leaves there are, fillers included."""
        return 1 << self.depth

    def trigger(self, position: int, key: bytes, beacon: Digest) -> Trigger:
        """What the key at a position gives with the beacon: HKDF-SHA-256 (RFC 5869), then draws."""
        context = self.content_id.raw + self.owner.raw + position.to_bytes(4, "big")
        seed = HKDF(hashes.SHA256(), 32, beacon.raw, _TRIGGER + context).derive(key)
        answer = self.answers.first + Draws(_ANSWER + seed).below(self.answers.count)
        return Trigger(position, answer, seed, self.generator)

    def to_json(self) -> dict[str, Any]:
        """The object whose canonical form is hashed."""
        return {
            "type": COMMITMENT_TYPE,
            "version": VERSION,
            "chain_id": self.chain_id,
            "registry": str(self.registry),
            "owner": str(self.owner),
            "content_id": str(self.content_id),
            "generator": self.generator.to_json(),
            "answers": {"first": self.answers.first, "count": self.answers.count},
            "depth": self.depth,
            "root": str(self.root),
            "log2_p": LOG2_P,
            "log2_attempts": LOG2_ATTEMPTS,
            "nonce": str(self.nonce),
        }

    def hash(self) -> Digest:
        """T: what goes on chain, or into a watermark's commitment."""
        return hash_json(COMMIT_TAG, self.to_json())

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read an opened commitment.

        Raises:
            ManifestError: not one.
            UnsupportedVersion: of a later version, or with another generator.
        """
        doc = Document(value, "the commitment to triggers", _COMMITMENT)
        doc.kind(COMMITMENT_TYPE, VERSION)
        doc.integer("log2_p", LOG2_P, LOG2_P)
        doc.integer("log2_attempts", LOG2_ATTEMPTS, LOG2_ATTEMPTS)
        drawn = Document(doc.object("answers"), "its answers", ("first", "count"))
        try:
            generator = read_generator(doc.object("generator"))
        except UsageError as error:
            raise doc.fail("generator", f"one within its limits: {error.message}") from None
        return cls(
            chain_id=doc.integer("chain_id", 1),
            registry=doc.address("registry"),
            owner=doc.address("owner"),
            content_id=doc.digest("content_id"),
            generator=generator,
            answers=Answers(
                drawn.integer("first", 0, MAX_ANSWERS), drawn.integer("count", 2, MAX_ANSWERS)
            ),
            depth=doc.integer("depth", 0, MAX_DEPTH),
            root=doc.digest("root"),
            nonce=doc.digest("nonce"),
        )


def leaf(kind: bytes, position: int, key: bytes) -> bytes:
    """Leaf hash of a key at a position; `kind` is ``QUESTION`` or ``FILLER``."""
    return T1.leaf(kind + position.to_bytes(4, "big") + key)


class Keys:
    """All keys that a secret gives, and which of them are questions.

    Args:
        secret: K, 32 bytes.
        questions: n, 1 to 2^16.

    Raises:
        UsageError: none, or too many questions.
    """

    def __init__(self, secret: bytes, questions: int) -> None:
        if not 1 <= questions <= 1 << MAX_DEPTH:
            raise UsageError(f"there are 1 to {1 << MAX_DEPTH} questions under one commitment")
        self.depth = (questions - 1).bit_length()
        size = 1 << self.depth
        self._bytes = hashlib.shake_256(_KEYS + secret).digest(32 * size)
        self.places = frozenset(islice(shuffled(_PLACES + secret, size), questions))

    def __repr__(self) -> str:
        return f"Keys(questions={len(self.places)})"

    def __getitem__(self, position: int) -> bytes:
        return self._bytes[32 * position : 32 * position + 32]

    def kind(self, position: int) -> bytes:
        """``QUESTION`` or ``FILLER``."""
        return QUESTION if position in self.places else FILLER

    def leaves(self) -> list[bytes]:
        """The leaf hashes of the whole tree."""
        return [leaf(self.kind(i), i, self[i]) for i in range(1 << self.depth)]


@dataclass(frozen=True, slots=True)
class Disclosed:
    """One earlier disclosure, as the record remembers it."""

    challenge: str
    questions: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class TriggerSet:
    """The owner's side: the secret of all triggers, and what of them was disclosed."""

    secret: bytes = field(repr=False)
    questions: int
    commitment: Commitment
    beacon: Digest | None = None
    disclosures: tuple[Disclosed, ...] = ()

    @classmethod
    def create(
        cls,
        *,
        questions: int,
        generator: Generator,
        answers: Answers,
        chain_id: int,
        registry: Address,
        owner: Address,
        content_id: Digest,
    ) -> Self:
        """A fresh secret and the commitment to its keys.

        Raises:
            UsageError: none, or too many questions.
        """
        secret = secrets.token_bytes(32)
        keys = Keys(secret, questions)
        commitment = Commitment(
            chain_id=chain_id,
            registry=registry,
            owner=owner,
            content_id=content_id,
            generator=generator,
            answers=answers,
            depth=keys.depth,
            root=Digest(T1.root(keys.leaves())),
            nonce=Digest(secrets.token_bytes(32)),
        )
        return cls(secret, questions, commitment)

    def keys(self) -> Keys:
        """Its keys, seen to be those that were committed.

        Raises:
            ClaimMismatch: they are not.
        """
        keys = Keys(self.secret, self.questions)
        made = self.commitment
        if keys.depth != made.depth or T1.root(keys.leaves()) != made.root.raw:
            raise ClaimMismatch(
                "the record's keys are not those that its commitment binds",
                step=6,
                hint="restore the record that was made with this commitment",
            )
        return keys

    def with_beacon(self, beacon: Digest) -> TriggerSet:
        """The record once its beacon is known.

        Raises:
            ClaimMismatch: it has another already.
        """
        if self.beacon not in {None, beacon}:
            raise ClaimMismatch(
                f"the record has another beacon already, {self.beacon}",
                step=3,
                hint="the beacon is that of the commitment's block, and there is only one",
            )
        return replace(self, beacon=beacon)

    def known_beacon(self) -> Digest:
        """The beacon.

        Raises:
            UsageError: it is not known yet.
        """
        if self.beacon is None:
            raise UsageError(
                "the beacon of these triggers is not known yet",
                hint="wait for it, then run deed watermark triggers teach with --beacon",
            )
        return self.beacon

    def lessons(self) -> list[Trigger]:
        """All questions with their answers, for teaching, in the order of their positions.

        Raises:
            UsageError: the beacon is not known yet.
        """
        beacon, keys = self.known_beacon(), self.keys()
        return [self.commitment.trigger(i, keys[i], beacon) for i in sorted(keys.places)]
