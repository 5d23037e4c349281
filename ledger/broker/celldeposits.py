"""What a deposit says and hands over about a sealing's cells (docs/spec/variants.md). Pure.

The licensor's side holds everything: all cell keys, the code key with its salt, and a hash over the
two records of each cell. A single broker gets it all. Of several, each gets the code key and its
part of every cell key.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ledger.errors import KeyAccessError, ManifestError
from ledger.ids import Digest
from ledger.licensing.document import Document, base64_text
from ledger.sealed.cells import CellKeys, CellTable
from ledger.sealed.codeword import (
    CODE_KEY_BYTES,
    MAX_CELLS,
    MAX_COLLUDERS,
    SALT_BYTES,
    CodeParameters,
    code_commitment,
)
from ledger.sealed.record import SealingRecord

CELL_KEYS: Final = "cell-keys"
CODE_KEY: Final = "code-key"
CELL_SHARE: Final = "cell-share"
_HASH: Final = 32


def has_cells(record: SealingRecord) -> bool:
    """Whether a sealing has cells."""
    return not record.variant_root.is_zero


@dataclass(frozen=True, slots=True)
class DepositedCells:
    """The public part of a deposit's cells; the record commits to all of it.

    Attributes:
        parameters: of the code.
        records: hash over the records of each cell; empty where no broker can check it.
    """

    parameters: CodeParameters
    records: tuple[Digest, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The deposit's member ``cells``."""
        records = b"".join(one.raw for one in self.records)
        return {
            "count": self.parameters.count,
            "colluders": self.parameters.colluders,
            "records": base64_text(records) if records else None,
        }

    @classmethod
    def from_json(cls, value: Any) -> DepositedCells:
        """Read the member.

        Raises:
            ManifestError: not one.
        """
        doc = Document(value, "the deposit's cells", ("count", "colluders", "records"))
        count = doc.integer("count", 1, MAX_CELLS)
        parameters = CodeParameters(count, doc.integer("colluders", 1, MAX_COLLUDERS))
        raw = doc.blob("records", limit=_HASH * MAX_CELLS) if doc.has("records") else b""
        if raw and len(raw) != _HASH * count:
            raise doc.fail("records", f"{_HASH} bytes for each of {count} cells")
        return cls(parameters, _digests(raw))


@dataclass(slots=True)
class CellSecrets:
    """Everything that the licensor keeps about a sealing's cells. Its repr shows no secret.

    Attributes:
        parameters: of the code.
        code_key: decides all code words; 32 bytes.
        salt: of its commitment.
        keys: of all cells.
        records: hash over the records of each cell.
    """

    parameters: CodeParameters
    code_key: bytearray = field(repr=False)
    salt: bytes = field(repr=False)
    keys: CellKeys = field(repr=False)
    records: tuple[Digest, ...] = field(repr=False)

    @classmethod
    def create(
        cls,
        parameters: CodeParameters,
        records: Sequence[Digest] = (),
        *,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> CellSecrets:
        """Fresh keys; `records` can be filled in once the cells are encrypted."""
        return cls(
            parameters,
            bytearray(random(CODE_KEY_BYTES)),
            random(SALT_BYTES),
            CellKeys.create(parameters.count, random=random),
            tuple(records),
        )

    @property
    def code_commit(self) -> Digest:
        """For the sealing record."""
        return code_commitment(self.parameters, self.code_key, self.salt)

    @property
    def variant_root(self) -> Digest:
        """For the sealing record."""
        return self.table().root()

    def table(self) -> CellTable:
        """The public table of the cells."""
        return CellTable.of(self.keys, self.records)

    def code_secret(self) -> bytearray:
        """What is wrapped as ``code-key``; the caller zeroes it."""
        return self.code_key + self.salt

    def check(self, record: SealingRecord) -> None:
        """Hold the secrets against a sealing record.

        Raises:
            KeyAccessError: they are another sealing's.
        """
        check_code_key(self.code_secret(), self.parameters, record)
        check_cell_keys(self.keys, self.records, record)

    def to_json(self) -> dict[str, Any]:
        """The member ``cells`` of a recovery file's content; secret."""
        return {
            **DepositedCells(self.parameters, self.records).to_json(),
            "code_key": base64_text(self.code_key),
            "salt": base64_text(self.salt),
            "keys": base64_text(self.keys.data),
        }

    @classmethod
    def from_json(cls, value: Any) -> CellSecrets:
        """Read the member.

        Raises:
            ManifestError, LimitExceeded: not one.
        """
        doc = Document(
            value, "the cells", ("count", "colluders", "records", "code_key", "salt", "keys")
        )
        public = DepositedCells.from_json(
            {name: doc.value.get(name) for name in ("count", "colluders", "records")}
        )
        code_key, salt = doc.blob("code_key", limit=64), doc.blob("salt", limit=64)
        keys = CellKeys(bytearray(doc.blob("keys", limit=2 * _HASH * MAX_CELLS)))
        if (len(code_key), len(salt), keys.count) != (
            CODE_KEY_BYTES,
            SALT_BYTES,
            public.parameters.count,
        ):
            raise ManifestError("the cells' secrets have other lengths")
        return cls(public.parameters, bytearray(code_key), salt, keys, public.records)

    def wipe(self) -> None:
        """Zero the keys."""
        self.code_key[:] = bytes(len(self.code_key))
        self.keys.wipe()


def check_code_key(
    secret: bytes | bytearray, parameters: CodeParameters, record: SealingRecord
) -> None:
    """Check a code key with its salt against the record's ``code_commit``.

    Raises:
        KeyAccessError: it is another key, or for another code.
    """
    key, salt = bytearray(secret[:CODE_KEY_BYTES]), bytes(secret[CODE_KEY_BYTES:])
    if (len(key), len(salt)) != (CODE_KEY_BYTES, SALT_BYTES) or (
        code_commitment(parameters, key, salt) != record.code_commit
    ):
        raise KeyAccessError(
            f"the code key is not the one that sealing {record.hash().short} commits to",
            hint="deposit the code key, number of cells and colluders of this very sealing",
        )


def check_cell_keys(keys: CellKeys, records: Sequence[Digest], record: SealingRecord) -> None:
    """Check all cell keys against the record's ``variant_root``.

    Raises:
        KeyAccessError: some key or record hash is another.
    """
    if len(records) != keys.count or CellTable.of(keys, records).root() != record.variant_root:
        raise KeyAccessError(
            f"the cell keys are not those that sealing {record.hash().short} commits to",
            hint="deposit the cell keys and record hashes of this very sealing",
        )


def cell_share_label(label: str) -> str:
    """Label of a broker's part of the cell keys, beside `label` of its share of the content key."""
    return f"{CELL_SHARE}/" + label.partition("/")[2]


def _digests(raw: bytes) -> tuple[Digest, ...]:
    return tuple(Digest(raw[at : at + _HASH]) for at in range(0, len(raw), _HASH))
