"""The content of a trigger record file: section 2 of docs/spec/triggers.md.

Encryption and the file itself are where it is written (``ledger.disclosing``).
"""

from __future__ import annotations

from typing import Any, Final

from ledger.canonical import canonical_json, parse_json
from ledger.errors import ManifestError, UsageError
from ledger.licensing.document import Document, hex_text
from ledger.watermark.answers import MAX_QUESTIONS
from ledger.watermark.disclosure import MAX_CHALLENGE, check_challenge
from ledger.watermark.triggers import MAX_DEPTH, Commitment, Disclosed, TriggerSet

TYPE: Final = "modeldeed/triggers-record"
VERSION: Final = 1
MAX_BYTES: Final = 16 << 20
_MAX_DISCLOSURES = 2048
_MEMBERS = ("type", "version", "key", "questions", "commitment", "beacon", "disclosures")


def contents(made: TriggerSet) -> bytearray:
    """The content of the record file; the caller zeroes it."""
    document: dict[str, Any] = {
        "type": TYPE,
        "version": VERSION,
        "key": hex_text(made.secret),
        "questions": made.questions,
        "commitment": made.commitment.to_json(),
        "disclosures": [
            {
                "challenge": each.challenge,
                "questions": each.questions,
                "digest": str(each.digest),
            }
            for each in made.disclosures
        ],
    }
    if made.beacon is not None:
        document["beacon"] = str(made.beacon)
    return bytearray(canonical_json(document))


def from_contents(plain: bytes | bytearray, *, what: str) -> TriggerSet:
    """Read what ``contents`` gave.

    Raises:
        ManifestError: not a trigger record; the message quotes nothing of it.
    """
    try:
        parsed = parse_json(bytes(plain), what="the trigger record", limit=MAX_BYTES)
    except ManifestError:
        raise ManifestError(f"{what} is not a trigger record") from None
    doc = Document(parsed, "the trigger record", _MEMBERS)
    doc.kind(TYPE, VERSION)
    return TriggerSet(
        secret=doc.raw("key", 32),
        questions=doc.integer("questions", 1, 1 << MAX_DEPTH),
        commitment=Commitment.from_json(doc.object("commitment")),
        beacon=doc.digest("beacon") if doc.has("beacon") else None,
        disclosures=tuple(
            _disclosed(each) for each in doc.items("disclosures", limit=_MAX_DISCLOSURES)
        ),
    )


def _disclosed(value: Any) -> Disclosed:
    doc = Document(value, "a disclosure of the record", ("challenge", "questions", "digest"))
    challenge = doc.text("challenge", limit=MAX_CHALLENGE)
    try:
        check_challenge(challenge)
    except UsageError:
        raise doc.fail("challenge", "a challenge") from None
    return Disclosed(challenge, doc.integer("questions", 1, MAX_QUESTIONS), doc.digest("digest"))
