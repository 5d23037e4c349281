"""A recovery file split into share files (docs/spec/shares.md); the sharing is in ``shamir``."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.broker import shamir
from ledger.broker.custody import zero
from ledger.broker.recovery import Recovery
from ledger.broker.shamir import Share
from ledger.canonical import canonical_json, hash_json, parse_json
from ledger.errors import LimitExceeded, SharesRejected
from ledger.ids import Digest
from ledger.licensing.document import Document, base64_text, hex_text

TYPE: Final = "modeldeed/recovery-share"
VERSION: Final = 1
FILE_TAG: Final = "modeldeed/share-file/1"
CONTENTS_TAG: Final = "modeldeed/share-contents/1"
KEY_BYTES: Final = 32
_NONCE = 12
_MAX_CONTENTS = 4 << 20
_MAX_BYTES = 8 << 20
_MEMBERS = (
    "type", "version", "set", "threshold", "count", "index", "commitments", "share", "model",
    "sealing", "nonce", "contents", "checksum",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ShareFile:
    """One share with what it helps to open.

    Attributes:
        share: of the key that opens `contents`.
        model: whose secrets they are; for people.
        sealing: of which sealing; for people.
        nonce: of the encryption.
        contents: the encrypted secrets, the same in every file of the set.
        name: how messages call the file.
    """

    share: Share
    model: str | None
    sealing: str | None
    nonce: bytes
    contents: bytes
    name: str = ""

    def to_json(self) -> dict[str, Any]:
        """The file's JSON object."""
        body: dict[str, Any] = {
            "type": TYPE,
            "version": VERSION,
            "set": str(self.share.set_id),
            "threshold": self.share.threshold,
            "count": self.share.count,
            "index": self.share.index,
            "commitments": [str(one) for one in self.share.commitments],
            "share": hex_text(bytes(self.share.value)),
            "nonce": hex_text(self.nonce),
            "contents": base64_text(self.contents),
        }
        about = {"model": self.model, "sealing": self.sealing}
        body |= {name: value for name, value in about.items() if value is not None}
        return {**body, "checksum": str(hash_json(FILE_TAG, body))}

    @classmethod
    def from_json(cls, value: Any, *, name: str = "the share file") -> Self:
        """Read one: steps 1 to 3 of docs/spec/shares.md, "Reading".

        Raises:
            ManifestError, UnsupportedVersion: not a share file.
            SharesRejected: it was damaged or altered.
        """
        # (1) These members, this type and version.
        doc = Document(value, name, _MEMBERS)
        doc.kind(TYPE, VERSION)
        threshold = doc.integer("threshold", 1, shamir.MAX_SHARES)
        count = doc.integer("count", threshold, shamir.MAX_SHARES)
        index = doc.integer("index", 1, count)
        listed = [
            Document({"commitment": one}, name).digest("commitment")
            for one in doc.items("commitments", limit=shamir.MAX_SHARES)
        ]
        file = cls(
            Share(threshold, count, index, bytearray(doc.raw("share", KEY_BYTES)), tuple(listed)),
            str(doc.digest("model")) if doc.has("model") else None,
            str(doc.digest("sealing")) if doc.has("sealing") else None,
            doc.raw("nonce", _NONCE),
            doc.blob("contents", limit=_MAX_CONTENTS),
            name,
        )
        # (2) Nothing happened to it on its way.
        body = {key: member for key, member in doc.value.items() if key != "checksum"}
        if doc.digest("checksum") != hash_json(FILE_TAG, body):
            raise SharesRejected(
                f"{name} was damaged: its checksum is another", hint="use another copy of it"
            )
        # (3) It is the share it says, of the set it says.
        if len(listed) != count or doc.digest("set") != file.share.set_id:
            raise SharesRejected(f"{name} was altered: it names a set that it does not belong to")
        file.share.check()
        return file

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a share file.

        Raises:
            ManifestError, UnsupportedVersion: not a share file.
            LimitExceeded: too large for one.
            SharesRejected: it was damaged or altered.
        """
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise LimitExceeded(f"{path.name} has over {_MAX_BYTES} bytes")
        return cls.from_json(parse_json(data, what=path.name, limit=_MAX_BYTES), name=path.name)


def is_share(document: Any) -> bool:
    """Whether a JSON value says that it is a share file."""
    return isinstance(document, dict) and document.get("type") == TYPE


def split_recovery(
    recovery: Recovery,
    threshold: int,
    count: int,
    *,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> list[ShareFile]:
    """Split a recovery file's content; the caller wipes the shares.

    Args:
        recovery: what is split.
        threshold: how many shares give it back.
        count: how many are made.
        random: source of random bytes; what it returns is overwritten after use.

    Raises:
        UsageError: numbers that cannot be meant.
    """
    key = bytearray(random(KEY_BYTES))
    plain = recovery.contents()
    try:
        shares = shamir.split(key, threshold, count, random=random)
        model = None if recovery.claim is None else str(recovery.claim.model_id())
        sealing = None if recovery.record is None else str(recovery.record.hash())
        nonce = bytes(random(_NONCE))
        about = _associated(shares[0].set_id, model, sealing)
        contents = AESGCM(key).encrypt(nonce, plain, about)
    finally:
        zero(key)
        zero(plain)
    return [ShareFile(share, model, sealing, nonce, contents) for share in shares]


def join_recovery(files: Sequence[ShareFile]) -> Recovery:
    """The recovery file's content from enough share files: steps 4 to 6 of the specification.

    Raises:
        SharesRejected: too few, mixed or altered shares.
        ManifestError: they open something else.
    """
    # (4) The shares join.
    key = shamir.join([file.share for file in files])
    try:
        # (5) They are for the same contents.
        first = files[0]
        for file in files[1:]:
            if (file.model, file.sealing, file.nonce, file.contents) != (
                first.model,
                first.sealing,
                first.nonce,
                first.contents,
            ):
                raise SharesRejected(
                    f"{file.name} and {first.name} are shares of one set for different contents: "
                    "one of them was altered"
                )
        # (6) The key opens them.
        about = _associated(first.share.set_id, first.model, first.sealing)
        try:
            plain = bytearray(AESGCM(key).decrypt(first.nonce, first.contents, about))
        except InvalidTag:
            raise SharesRejected(
                "the shares join, and their key does not open the contents: they were altered, or "
                "their set was made wrongly"
            ) from None
    finally:
        zero(key)
    return Recovery.from_contents(plain, what="what the shares hold")


def _associated(set_id: Digest, model: str | None, sealing: str | None) -> bytes:
    context = {"set": str(set_id), "model": model, "sealing": sealing}
    return CONTENTS_TAG.encode() + b"\0" + canonical_json(context)
