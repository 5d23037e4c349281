"""A broker's keys.json: its private keys under a KEK, and where that KEK is.

The format is docs/spec/broker-home.md.

Everything that must change together is in this one file, so that each change of it, a new KEK or
new keys, is one atomic rename.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from ledger.broker import custodians
from ledger.broker.custody import KeyStore, read_private, write_private, zero
from ledger.broker.signing import BrokerPublicKeys, BrokerSigningKeys
from ledger.canonical import parse_json
from ledger.licensing.document import Document, base64_text
from ledger.sealed.memory import burn
from ledger.sealed.recipients import KemPrivateKey

TYPE: Final = "modeldeed/broker-keys"
MAX_FORMER: Final = 1000
_MAX_BYTES = 8 << 20
_PARTS = ("ed25519", "mldsa65", "kem")
_MEMBERS = ("type", "version", "custodian", "kek_id", "settings", *_PARTS, "former")


@dataclass(frozen=True, slots=True)
class KeyFile:
    """One keys.json.

    Attributes:
        custodian: name of the kind of place where the KEK is.
        kek_id: public name of the KEK.
        settings: how the custodian finds it.
        parts: the private keys, encrypted under it.
        former: public signing keys that this broker had before, oldest first: its old receipts
            are signed with them.
    """

    custodian: str
    kek_id: str
    settings: Mapping[str, Any] = field(repr=False)
    parts: Mapping[str, bytes] = field(repr=False)
    former: tuple[BrokerPublicKeys, ...] = ()

    @classmethod
    def seal(
        cls,
        keystore: KeyStore,
        signing: BrokerSigningKeys,
        kem: KemPrivateKey,
        *,
        custodian: str,
        settings: Mapping[str, Any],
        former: tuple[BrokerPublicKeys, ...] = (),
    ) -> Self:
        """The file for these keys under this KEK."""
        kem_bytes = kem.to_bytes()
        secrets_: tuple[bytes | bytearray, ...] = (
            signing.ed25519_seed,
            signing.mldsa65_seed,
            kem_bytes,
        )
        try:
            parts = {
                part: keystore.encrypt(secret, context=f"broker/{part}")
                for part, secret in zip(_PARTS, secrets_, strict=True)
            }
        finally:
            zero(kem_bytes)
        return cls(custodian, keystore.kek_id, settings, parts, former)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file.

        Raises:
            ConfigurationError: it is missing, or others can read it.
            ManifestError: it is something else.
        """
        raw = parse_json(
            read_private(path, limit=_MAX_BYTES), what="the broker's keys", limit=_MAX_BYTES
        )
        doc = Document(raw, "the broker's keys", _MEMBERS)
        doc.kind(TYPE)
        return cls(
            doc.text("custodian", limit=64),
            doc.text("kek_id", limit=64),
            doc.object("settings"),
            {part: doc.blob(part) for part in _PARTS},
            tuple(BrokerPublicKeys.from_json(one) for one in doc.items("former", limit=MAX_FORMER)),
        )

    def write(self, path: Path, *, replace: bool = False) -> None:
        """Write the file with mode 0600, whole or not at all.

        Raises:
            ConfigurationError: it is there and `replace` is false, or cannot be written.
        """
        document = {
            "type": TYPE,
            "version": 1,
            "custodian": self.custodian,
            "kek_id": self.kek_id,
            "settings": dict(self.settings),
            **{part: base64_text(sealed) for part, sealed in self.parts.items()},
            "former": [keys.to_json() for keys in self.former],
        }
        write_private(path, json.dumps(document, indent=2).encode() + b"\n", replace=replace)

    @property
    def asks(self) -> str:
        """What opens it, as a prompt calls it; empty when nothing does."""
        return custodians.custodian(self.custodian).asks

    def open_keystore(self, secret: str) -> KeyStore:
        """Open the KEK.

        Raises:
            ConfigurationError, WrongPassphrase, KeyAccessError: see ``Custodian.open``.
        """
        return custodians.custodian(self.custodian).open(self.kek_id, self.settings, secret)

    def open_keys(self, keystore: KeyStore) -> tuple[BrokerSigningKeys, KemPrivateKey]:
        """Decrypt the private keys.

        Raises:
            KeyAccessError: they are not under this KEK.
        """
        plain = {
            part: keystore.decrypt(sealed, context=f"broker/{part}")
            for part, sealed in self.parts.items()
        }
        try:
            signing = BrokerSigningKeys(bytes(plain["ed25519"]), bytes(plain["mldsa65"]))
            return signing, KemPrivateKey.from_bytes(plain["kem"])
        finally:
            for secret in plain.values():
                zero(secret)


def forget(signing: BrokerSigningKeys, kem: KemPrivateKey) -> None:
    """Overwrite keys that are not used again; nothing else may refer to them."""
    burn(signing.ed25519_seed)
    burn(signing.mldsa65_seed)
    kem.wipe()
