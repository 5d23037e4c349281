"""Disclosures: the questions that somebody else's challenge opens, and what of them counts.

Section 3 of docs/spec/triggers.md, and steps 5 to 7 of section 6.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from ledger.canonical import hash_bytes, hash_json
from ledger.errors import ClaimMismatch, ManifestError, UsageError
from ledger.ids import Digest
from ledger.licensing.document import Document, hex_text
from ledger.merkle import T1
from ledger.watermark.answers import MAX_QUESTIONS
from ledger.watermark.draws import shuffled
from ledger.watermark.triggers import (
    FILLER,
    MAX_DEPTH,
    QUESTION,
    Commitment,
    Disclosed,
    Keys,
    Trigger,
    TriggerSet,
    leaf,
)

TYPE: Final = "modeldeed/triggers-disclosure"
VERSION: Final = 1
DIGEST_TAG: Final = "modeldeed/triggers-disclosure/1"
CHALLENGE_TAG: Final = "modeldeed/trigger-challenge/1"
MAX_BYTES: Final = 64 << 20
MAX_CHALLENGE: Final = 4096
RESERVE: Final = 10
"""Of the questions that are not burned, at most one in so many is opened at once."""

_MAX_EARLIER = 4096
_NAMES: Final = {"question": QUESTION, "filler": FILLER}
_MEMBERS = (
    "type", "version", "commitment", "beacon", "challenge", "questions", "earlier", "positions",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Opened:
    """What a disclosure says of one position: a key with its path, or that it is burned.

    Attributes:
        kind: ``question``, ``filler`` or ``burned``; the last has neither key nor path.
    """

    position: int
    kind: str
    key: bytes = b""
    path: tuple[bytes, ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, Any]:
        """As the disclosure lists it."""
        document: dict[str, Any] = {"position": self.position, "kind": self.kind}
        if self.kind in _NAMES:
            document["key"] = hex_text(self.key)
            document["path"] = [hex_text(node) for node in self.path]
        return document

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read an entry."""
        doc = Document(value, "a position of the disclosure", ("position", "kind", "key", "path"))
        position = doc.integer("position", 0, (1 << MAX_DEPTH) - 1)
        kind = doc.choice("kind", (*_NAMES, "burned"))
        if kind == "burned":
            Document(value, "a burned position of the disclosure", ("position", "kind"))
            return cls(position, kind)
        nodes = doc.texts("path", limit=MAX_DEPTH)
        path = tuple(Document({"n": n}, "a path of the disclosure").raw("n", 32) for n in nodes)
        return cls(position, kind, doc.raw("key", 32), path)


@dataclass(frozen=True, slots=True)
class Disclosure:
    """A file that opens some questions to the world."""

    commitment: Commitment
    beacon: Digest
    challenge: str
    questions: int
    earlier: tuple[Digest, ...]
    positions: tuple[Opened, ...] = field(repr=False)

    @property
    def opened(self) -> frozenset[int]:
        """Positions of the questions that it opens."""
        return frozenset(each.position for each in self.positions if each.kind == "question")

    def digest(self) -> Digest:
        """What later disclosures call it."""
        return hash_json(DIGEST_TAG, self.to_json())

    def check_positions(self) -> None:
        """Step 5: the positions are the first of the shuffle, and as many count as were asked for.

        Raises:
            ClaimMismatch: others, more or fewer.
        """
        walk = order(self.commitment, self.challenge)
        for each in self.positions:
            if each.position != next(walk, None):
                raise self._wrong(f"position {each.position} is not the next that it draws")
        counted = sum(each.kind != "filler" for each in self.positions)
        if counted != self.questions:
            raise self._wrong(f"{counted} questions are given, and {self.questions} asked for")
        if self.positions[-1].kind == "filler":
            raise self._wrong("it goes on after the last question")

    def check_paths(self) -> None:
        """Step 6: each opened key lies at its position under the root, as what it is said to be.

        Raises:
            InclusionProofInvalid: one does not.
        """
        made = self.commitment
        for each in self.positions:
            if each.kind in _NAMES:
                hashed = leaf(_NAMES[each.kind], each.position, each.key)
                T1.verify(hashed, each.position, made.size, each.path, made.root.raw, step=6)

    def triggers(self, burned: frozenset[int] = frozenset()) -> list[Trigger]:
        """The opened questions that still mean something, without those burned before."""
        return [
            self.commitment.trigger(each.position, each.key, self.beacon)
            for each in self.positions
            if each.kind == "question" and each.position not in burned
        ]

    def to_json(self) -> dict[str, Any]:
        """As the file holds it."""
        return {
            "type": TYPE,
            "version": VERSION,
            "commitment": self.commitment.to_json(),
            "beacon": str(self.beacon),
            "challenge": self.challenge,
            "questions": self.questions,
            "earlier": [str(each) for each in self.earlier],
            "positions": [each.to_json() for each in self.positions],
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read a disclosure; nothing in it is checked yet.

        Raises:
            ManifestError: not one.
            UnsupportedVersion: of a later version, or with another generator.
        """
        doc = Document(value, "the disclosure", _MEMBERS)
        doc.kind(TYPE, VERSION)
        challenge = doc.text("challenge", limit=MAX_CHALLENGE)
        try:
            check_challenge(challenge)
        except UsageError as error:
            raise ManifestError(f"the disclosure: {error.message}") from None
        listed = doc.items("positions", limit=1 << MAX_DEPTH)
        earlier = doc.texts("earlier", limit=_MAX_EARLIER)
        return cls(
            commitment=Commitment.from_json(doc.object("commitment")),
            beacon=doc.digest("beacon"),
            challenge=challenge,
            questions=doc.integer("questions", 1, MAX_QUESTIONS),
            earlier=tuple(Document({"d": d}, "an earlier one").digest("d") for d in earlier),
            positions=tuple(Opened.from_json(each) for each in listed),
        )

    def _wrong(self, why: str) -> ClaimMismatch:
        return ClaimMismatch(
            f"the disclosure does not answer its challenge: {why}",
            step=5,
            hint="whoever made it may have chosen what to show; ask for what the challenge draws",
        )


def check_challenge(challenge: str) -> None:
    """See that a text can be a challenge.

    Raises:
        UsageError: empty, too long, or not text.
    """
    try:
        size = len(challenge.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= MAX_CHALLENGE:
        raise UsageError(
            f"a challenge is text of 1 to {MAX_CHALLENGE} bytes",
            hint="let the court or the other side choose it",
        )


def order(commitment: Commitment, challenge: str) -> Iterator[int]:
    """The positions in the order in which a challenge draws them."""
    seed = hash_bytes(CHALLENGE_TAG, commitment.hash().raw + challenge.encode())
    return shuffled(seed.raw, commitment.size)


def disclose(
    made: TriggerSet, challenge: str, questions: int, *, use_up: bool = False
) -> tuple[Disclosure, TriggerSet]:
    """Open questions for a challenge.

    Args:
        made: the record.
        challenge: set by somebody else.
        questions: k, how many count.
        use_up: go below ten times as many unburned questions.

    Returns:
        The disclosure, and the record that remembers it, which must be kept **before** the
        disclosure is shown. The same challenge gives the same again.

    Raises:
        UsageError: the beacon is not known, the challenge was answered with another number, or
            too few questions are left.
        ClaimMismatch: the record's keys are not the committed ones.
    """
    check_challenge(challenge)
    beacon, keys = made.known_beacon(), made.keys()
    before = _before(made, challenge, questions)
    burned = _burned(made.commitment, keys, before)
    fresh = len(keys.places) - len(burned)
    repeated = len(before) < len(made.disclosures)
    if not 1 <= questions <= min(MAX_QUESTIONS, len(keys.places)):
        raise UsageError(f"1 to {min(MAX_QUESTIONS, len(keys.places))} questions can be opened")
    if not repeated and not use_up and fresh < RESERVE * questions:
        raise UsageError(
            f"{fresh} questions are left, and {questions} at once need {RESERVE * questions}",
            hint=f"open at most {fresh // RESERVE}, or pass --use-up when no other case will come",
        )
    paths = T1.paths(keys.leaves())
    found: list[Opened] = []
    for position, kind in _walk(made.commitment, keys, burned, challenge, questions):
        shown = kind in _NAMES
        key, path = (keys[position], paths[position]) if shown else (b"", ())
        found.append(Opened(position, kind, key, path))
    earlier = tuple(each.digest for each in before)
    disclosure = Disclosure(made.commitment, beacon, challenge, questions, earlier, tuple(found))
    if repeated:
        return disclosure, made
    noted = Disclosed(challenge, questions, disclosure.digest())
    return disclosure, replace(made, disclosures=(*made.disclosures, noted))


def _before(made: TriggerSet, challenge: str, questions: int) -> tuple[Disclosed, ...]:
    for i, each in enumerate(made.disclosures):
        if each.challenge != challenge:
            continue
        if each.questions != questions:
            raise UsageError(
                f"this challenge was answered with {each.questions} questions already",
                hint=f"pass --questions {each.questions} for the same disclosure, or ask for "
                "another challenge",
            )
        return made.disclosures[:i]
    return made.disclosures


def _burned(
    commitment: Commitment, keys: Keys, disclosures: tuple[Disclosed, ...]
) -> frozenset[int]:
    burned: frozenset[int] = frozenset()
    for each in disclosures:
        walk = _walk(commitment, keys, burned, each.challenge, each.questions)
        burned |= {position for position, kind in walk if kind == "question"}
    return burned


def _walk(
    commitment: Commitment, keys: Keys, burned: frozenset[int], challenge: str, questions: int
) -> Iterator[tuple[int, str]]:
    """Each position until as many questions are counted, with what the disclosure shows of it."""
    counted = 0
    for position in order(commitment, challenge):
        if counted == questions:
            return
        if position not in keys.places:
            yield position, "filler"
            continue
        counted += 1
        yield position, "burned" if position in burned else "question"
