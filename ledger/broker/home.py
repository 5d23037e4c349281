"""A broker's folder: its keys at rest, its database, and which broker of which chain it is.

::

    broker/
      keystore.json    the KEK, encrypted under the passphrase
      keys.json        signing seeds and KEM key, encrypted under the KEK
      broker.json      public: broker id, chain and contract addresses (written once registered)
      broker.sqlite3   deposits (encrypted), leases, receipts
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from ledger.broker.custody import (
    COST,
    FileKeyStore,
    KeyStore,
    read_private,
    write_private,
    zero,
)
from ledger.broker.protocol import audience
from ledger.broker.signing import BrokerSigningKeys
from ledger.canonical import parse_json
from ledger.eip712 import Domain
from ledger.errors import ConfigurationError, ManifestError
from ledger.ids import Address, Digest
from ledger.licensing.card import ledger_domain
from ledger.licensing.document import Document, base64_text
from ledger.sealed.recipients import DEFAULT_SUITE, KemPrivateKey

KEYSTORE_FILE: Final = "keystore.json"
KEYS_FILE: Final = "keys.json"
IDENTITY_FILE: Final = "broker.json"
DATABASE_FILE: Final = "broker.sqlite3"
_KEYS_TYPE: Final = "modeldeed/broker-keys"
_IDENTITY_TYPE: Final = "modeldeed/broker"


@dataclass(frozen=True, slots=True)
class BrokerIdentity:
    """Which broker this is: id in one BrokerRegistry, and the contracts it decides by."""

    id: int
    chain_id: int
    ledger: Address
    registry: Address
    broker_registry: Address

    @property
    def audience(self) -> str:
        """The broker's name in messages."""
        return audience(self.chain_id, self.broker_registry, self.id)

    @property
    def domain(self) -> Domain:
        """The EIP-712 domain of its license ledger."""
        return ledger_domain(self.chain_id, self.ledger)

    def chain_json(self) -> dict[str, Any]:
        """Chain and contracts, as cards write them."""
        return {
            "id": self.chain_id,
            "ledger": str(self.ledger),
            "registry": str(self.registry),
            "brokers": str(self.broker_registry),
        }

    @classmethod
    def from_json(cls, broker_id: int, value: Any) -> Self:
        """Read chain and contracts.

        Raises:
            ManifestError: not such an object.
        """
        doc = Document(value, "the broker's chain", ("id", "ledger", "registry", "brokers"))
        return cls(
            broker_id,
            doc.integer("id", 1),
            doc.address("ledger"),
            doc.address("registry"),
            doc.address("brokers"),
        )


class BrokerHome:
    """An open broker folder. Its repr shows no key.

    Attributes:
        path: the folder.
        keystore: custodian of the content keys.
        signing: the broker's signing keys.
        kem: the key that deposits are wrapped to.
    """

    def __init__(
        self, path: Path, keystore: KeyStore, signing: BrokerSigningKeys, kem: KemPrivateKey
    ) -> None:
        self.path = path
        self.keystore = keystore
        self.signing = signing
        self.kem = kem

    def __repr__(self) -> str:
        return f"BrokerHome({str(self.path)!r})"

    @property
    def signing_key_hash(self) -> Digest:
        """What BrokerRegistry holds as ``signingKeyHash``."""
        return self.signing.public.hash()

    @property
    def kem_key_hash(self) -> Digest:
        """What BrokerRegistry holds as ``kemKeyHash``."""
        return self.kem.public.hash()

    @property
    def database(self) -> Path:
        """Path of the broker's database."""
        return self.path / DATABASE_FILE

    @classmethod
    def create(cls, path: Path, passphrase: str, *, cost: int = COST) -> Self:
        """Make keys and the folder that holds them.

        Raises:
            ConfigurationError: there is a broker already, or what is left of one: its database
                or registration without its keys.
        """
        if (path / KEYS_FILE).exists():
            raise ConfigurationError(
                f"{path} already holds a broker", hint="open it, or choose another folder"
            )
        for name in (DATABASE_FILE, IDENTITY_FILE):
            if (path / name).exists():
                raise ConfigurationError(
                    f"{path} holds a broker's {name} without its {KEYS_FILE}; new keys would make "
                    "its deposits unreadable for ever",
                    hint=f"restore {KEYS_FILE} from the backup, or choose another folder",
                )
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A key store without keys, database or registration is a creation that was interrupted:
        # nothing depends on it yet.
        (path / KEYSTORE_FILE).unlink(missing_ok=True)
        keystore = FileKeyStore.create(path / KEYSTORE_FILE, passphrase, cost=cost)
        signing, kem = BrokerSigningKeys.generate(), KemPrivateKey.generate(DEFAULT_SUITE)
        kem_bytes = kem.to_bytes()
        parts = {
            "ed25519": keystore.encrypt(signing.ed25519_seed, context="broker/ed25519"),
            "mldsa65": keystore.encrypt(signing.mldsa65_seed, context="broker/mldsa65"),
            "kem": keystore.encrypt(kem_bytes, context="broker/kem"),
        }
        zero(kem_bytes)
        document = {
            "type": _KEYS_TYPE,
            "version": 1,
            "kek_id": keystore.kek_id,
            **{name: base64_text(sealed) for name, sealed in parts.items()},
        }
        write_private(path / KEYS_FILE, json.dumps(document, indent=2).encode() + b"\n")
        return cls(path, keystore, signing, kem)

    @classmethod
    def open(cls, path: Path, passphrase: str) -> Self:
        """Open the folder that ``create`` made.

        Raises:
            ConfigurationError: there is no broker.
            WrongPassphrase: the passphrase does not open it.
            ManifestError, KeyAccessError: its files do not belong together.
        """
        if not (path / KEYS_FILE).exists():
            raise ConfigurationError(f"{path} holds no broker", hint="make one: deed broker init")
        keystore = FileKeyStore.open(path / KEYSTORE_FILE, passphrase)
        raw = parse_json(read_private(path / KEYS_FILE), what="the broker's keys")
        doc = Document(
            raw, "the broker's keys", ("type", "version", "kek_id", "ed25519", "mldsa65", "kem")
        )
        doc.kind(_KEYS_TYPE)
        kem_bytes = keystore.decrypt(doc.blob("kem"), context="broker/kem")
        try:
            return cls(
                path,
                keystore,
                BrokerSigningKeys(
                    bytes(keystore.decrypt(doc.blob("ed25519"), context="broker/ed25519")),
                    bytes(keystore.decrypt(doc.blob("mldsa65"), context="broker/mldsa65")),
                ),
                KemPrivateKey.from_bytes(kem_bytes),
            )
        finally:
            zero(kem_bytes)

    def register(self, identity: BrokerIdentity) -> None:
        """Write down which broker of which chain this is."""
        document = {
            "type": _IDENTITY_TYPE,
            "version": 1,
            "id": identity.id,
            "chain": identity.chain_json(),
        }
        write_private(
            self.path / IDENTITY_FILE, json.dumps(document, indent=2).encode() + b"\n", replace=True
        )

    @property
    def identity(self) -> BrokerIdentity:
        """Which broker this is.

        Raises:
            ConfigurationError: not registered yet.
            ManifestError: the file is not one.
        """
        try:
            raw = read_private(self.path / IDENTITY_FILE)
        except ConfigurationError:
            raise ConfigurationError(
                "this broker is not registered on a chain yet", hint="run deed broker init"
            ) from None
        doc = Document(
            parse_json(raw, what="broker.json"), "broker.json", ("type", "version", "id", "chain")
        )
        doc.kind(_IDENTITY_TYPE)
        identity = BrokerIdentity.from_json(doc.integer("id", 1), doc.object("chain"))
        if identity.ledger == identity.registry:
            raise ManifestError("broker.json names one address for two contracts")
        return identity
