"""The sealing record: what the licensor lodges on chain about one sealing.

``docs/spec/sealing-record.md`` is the format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from ledger.canonical import hash_json
from ledger.errors import ManifestError, UnsupportedVersion, UsageError
from ledger.ids import ZERO_DIGEST, Digest, ModelId

TAG = "modeldeed/sealing/1"
_MAX_INTEGER = (1 << 53) - 1
_DIGESTS = ("model_id", "root", "content_tree_root", "commit", "variant_root", "code_commit")
_INTEGERS = ("epoch", "broker_set", "suite")


@dataclass(frozen=True, slots=True)
class SealingRecord:
    """One sealing of one model.

    Attributes:
        model_id: the registered model.
        epoch: 1, 2, …; readers accept the highest finalized one.
        root: of the package's prelude, in the suite's leaf hash.
        content_tree_root: a second root over the same content, in SHA-256 alone.
        commit: key commitment.
        variant_root: over the per-license cells; zero when there are none.
        code_commit: of the key behind the cells' code words; zero when there are none.
        broker_set: id in BrokerRegistry; 0 when none is named.
        suite: of the package.
    """

    model_id: ModelId
    epoch: int
    root: Digest
    content_tree_root: Digest
    commit: Digest
    variant_root: Digest = ZERO_DIGEST
    code_commit: Digest = ZERO_DIGEST
    broker_set: int = 0
    suite: int = 2

    def __post_init__(self) -> None:
        numbers = (self.epoch, self.broker_set, self.suite)
        if self.epoch < 1 or not all(0 <= number <= _MAX_INTEGER for number in numbers):
            raise UsageError("a sealing record's epoch is at least 1, its numbers below 2^53")

    def to_json(self) -> dict[str, Any]:
        """The document that is hashed; digests are 0x text."""
        document: dict[str, Any] = {"format": TAG}
        document |= {name: str(getattr(self, name)) for name in _DIGESTS}
        document |= {name: getattr(self, name) for name in _INTEGERS}
        return document

    @classmethod
    def from_json(cls, document: Any) -> Self:
        """Read an untrusted document.

        Raises:
            UnsupportedVersion: another version.
            ManifestError: not exactly these fields, or values out of range.
        """
        if not isinstance(document, dict) or not isinstance(document.get("format"), str):
            raise ManifestError("a sealing record is a JSON object with a format")
        if document["format"] != TAG:
            raise UnsupportedVersion(f"sealing record {document['format'][:40]!r} is not read")
        if set(document) != {"format", *_DIGESTS, *_INTEGERS}:
            raise ManifestError("a sealing record has other fields")
        values: dict[str, Any] = {}
        for name in _DIGESTS:
            kind = ModelId if name == "model_id" else Digest
            text = document[name]
            if not isinstance(text, str) or not text.startswith("0x") or text != text.lower():
                raise ManifestError(f"{name} of a sealing record is not 0x and 64 hex digits")
            try:
                values[name] = kind.parse(text)
            except UsageError as error:
                raise ManifestError(f"{name} of a sealing record: {error}") from None
        for name in _INTEGERS:
            number = document[name]
            if type(number) is not int or not 0 <= number <= _MAX_INTEGER:
                raise ManifestError(f"{name} of a sealing record is not a number")
            values[name] = number
        try:
            return cls(**values)
        except UsageError as error:
            raise ManifestError(str(error)) from None

    def hash(self) -> Digest:
        """What ModelRegistry.lodge(kind SEALING) stores: SHA-256 of tag, 00 and canonical JSON."""
        return hash_json(TAG, self.to_json())
