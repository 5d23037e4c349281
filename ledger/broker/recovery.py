"""The licensor's recovery file: what would be lost with the broker and the publication's folder.

It holds the content key and the claim's salt, and, once they exist, the claim and the sealing
record, encrypted under a passphrase (docs/spec/recovery-file.md). Publishing writes it before
anything else.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from ledger.broker.celldeposits import CellSecrets
from ledger.broker.custody import decrypt_with_passphrase, encrypt_with_passphrase, zero
from ledger.canonical import canonical_json, parse_json
from ledger.claim import Claim
from ledger.errors import FormatError, ManifestError
from ledger.ids import Digest
from ledger.licensing.document import Document, hex_text
from ledger.sealed.record import SealingRecord

PURPOSE: Final = "modeldeed-recovery"
TYPE: Final = "modeldeed/recovery"
VERSION: Final = 1
_MEMBERS = ("type", "version", "content_key", "salt", "claim", "record", "cells")
_MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Recovery:
    """The secrets of one publication.

    Attributes:
        content_key: 32 bytes; opens the sealed file.
        salt: 32 bytes of the claim; without it the model id cannot be explained.
        claim: once made.
        record: of the latest sealing, once made.
        cells: keys of its cells, where it has any.
    """

    content_key: bytes = field(repr=False)
    salt: Digest = field(repr=False)
    claim: Claim | None = None
    record: SealingRecord | None = None
    cells: CellSecrets | None = field(default=None, repr=False)

    @classmethod
    def create(cls) -> Self:
        """Fresh secrets from the operating system."""
        return cls(secrets.token_bytes(32), Digest(secrets.token_bytes(32)))

    def with_sealing(self, claim: Claim, record: SealingRecord) -> Recovery:
        """The same secrets with what they belong to."""
        return replace(self, claim=claim, record=record)

    def contents(self) -> bytearray:
        """The content of docs/spec/recovery-file.md; the caller zeroes it."""
        document: dict[str, Any] = {
            "type": TYPE,
            "version": VERSION,
            "content_key": hex_text(self.content_key),
            "salt": str(self.salt),
        }
        if self.claim is not None:
            document["claim"] = self.claim.to_json()
        if self.record is not None:
            document["record"] = self.record.to_json()
        if self.cells is not None:
            document["cells"] = self.cells.to_json()
        return bytearray(canonical_json(document))

    def encrypt(self, passphrase: str) -> dict[str, Any]:
        """The file's JSON object."""
        plain = self.contents()
        try:
            return encrypt_with_passphrase(plain, passphrase, purpose=PURPOSE)
        finally:
            zero(plain)

    @classmethod
    def load(cls, path: Path, passphrase: str) -> Self:
        """Read and decrypt a recovery file.

        Raises:
            ManifestError: not a recovery file.
            WrongPassphrase: it does not open.
        """
        with path.open("rb") as file:
            outer = parse_json(file.read(_MAX_BYTES + 1), what=path.name, limit=_MAX_BYTES)
        plain = decrypt_with_passphrase(outer, passphrase, purpose=PURPOSE)
        return cls.from_contents(plain, what=path.name)

    @classmethod
    def from_contents(cls, plain: bytearray, *, what: str) -> Self:
        """Read what ``contents`` gave; `plain` is zeroed.

        Raises:
            ManifestError: not a recovery file's content.
        """
        try:
            doc = Document(
                parse_json(bytes(plain), what="the recovery file"), "the recovery file", _MEMBERS
            )
        except ManifestError:
            # Its parts are secrets; no message may quote them.
            raise ManifestError(f"{what} decrypts, but is not a recovery file") from None
        finally:
            zero(plain)
        doc.kind(TYPE, VERSION)
        try:
            cells = CellSecrets.from_json(doc.object("cells")) if doc.has("cells") else None
        except FormatError:
            raise ManifestError(f"{what} holds cells that are not whole") from None
        return cls(
            content_key=doc.raw("content_key", 32),
            salt=doc.digest("salt"),
            claim=Claim.from_json(doc.object("claim")) if doc.has("claim") else None,
            record=SealingRecord.from_json(doc.object("record")) if doc.has("record") else None,
            cells=cells,
        )
