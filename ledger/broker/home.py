"""A broker's folder: its keys at rest, its database, and which broker of which chain it is.

::

    broker/
      keys.json        signing seeds and KEM key, encrypted under the KEK, and where the KEK is
      broker.json      public: broker id, chain and contract addresses (written once registered)
      broker.sqlite3   deposits (encrypted), leases, receipts
      broker.lock      locked while the broker runs or its keys are rotated

Format and what is there during a rotation: docs/spec/broker-home.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from ledger.broker.custodians import custodian
from ledger.broker.custody import COST, KeyStore, read_private, write_private
from ledger.broker.inuse import FolderLock
from ledger.broker.keyfile import KeyFile
from ledger.broker.protocol import audience
from ledger.broker.signing import BrokerPublicKeys, BrokerSigningKeys
from ledger.canonical import parse_json
from ledger.eip712 import Domain
from ledger.errors import ConfigurationError, ManifestError
from ledger.ids import Address, Digest
from ledger.licensing.card import ledger_domain
from ledger.licensing.chain import ChainContracts
from ledger.licensing.document import Document
from ledger.sealed.recipients import DEFAULT_SUITE, KemPrivateKey

KEYS_FILE: Final = "keys.json"
IDENTITY_FILE: Final = "broker.json"
DATABASE_FILE: Final = "broker.sqlite3"
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
        return ChainContracts(
            self.chain_id, self.ledger, self.registry, self.broker_registry
        ).to_json()

    @classmethod
    def from_json(cls, broker_id: int, value: Any) -> Self:
        """Read chain and contracts.

        Raises:
            ManifestError: not such an object.
        """
        chain = ChainContracts.from_json(value, "the broker's chain")
        return cls(broker_id, chain.chain_id, chain.ledger, chain.registry, chain.brokers)


class BrokerHome:
    """An open broker folder. Its repr shows no key.

    Attributes:
        path: the folder.
        keystore: custodian of the content keys.
        signing: the broker's signing keys.
        kem: the key that deposits are wrapped to.
        former: public signing keys it had before; old receipts are signed with them.
    """

    def __init__(
        self,
        path: Path,
        keystore: KeyStore,
        signing: BrokerSigningKeys,
        kem: KemPrivateKey,
        former: tuple[BrokerPublicKeys, ...] = (),
    ) -> None:
        self.path = path
        self.keystore = keystore
        self.signing = signing
        self.kem = kem
        self.former = former

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
    def create(
        cls,
        path: Path,
        passphrase: str,
        *,
        cost: int = COST,
        keystore: str = "file",
        options: Mapping[str, str] | None = None,
    ) -> Self:
        """Make keys and the folder that holds them.

        Args:
            path: the folder.
            passphrase: what the custodian asks for; a token's PIN, or nothing.
            cost: of scrypt, where the custodian is a file.
            keystore: name of the custodian that holds the KEK.
            options: of the custodian.

        Raises:
            ConfigurationError: there is a broker already, or what is left of one: its database
                or registration without its keys.
            UsageError, WrongPassphrase: the custodian does not take this.
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
        chosen = dict(options or {})
        if keystore == "file":
            chosen.setdefault("log2_n", str(cost))
        opened, settings = custodian(keystore).create(chosen, passphrase)
        signing, kem = BrokerSigningKeys.generate(), KemPrivateKey.generate(DEFAULT_SUITE)
        file = KeyFile.seal(opened, signing, kem, custodian=keystore, settings=settings)
        file.write(path / KEYS_FILE)
        return cls(path, opened, signing, kem)

    @classmethod
    def open(cls, path: Path, passphrase: str = "") -> Self:
        """Open the folder that ``create`` made; the folder says which custodian has the KEK.

        Raises:
            ConfigurationError: there is no broker, or its custodian cannot be reached.
            WrongPassphrase: the passphrase does not open it.
            ManifestError, KeyAccessError: its files do not belong together.
        """
        file = cls.key_file(path)
        keystore = file.open_keystore(passphrase)
        signing, kem = file.open_keys(keystore)
        return cls(path, keystore, signing, kem, file.former)

    @staticmethod
    def key_file(path: Path) -> KeyFile:
        """A folder's keys.json, closed: it says what opens it.

        Raises:
            ConfigurationError: there is no broker.
            ManifestError: the file is not one.
        """
        if not (path / KEYS_FILE).exists():
            raise ConfigurationError(f"{path} holds no broker", hint="make one: deed broker init")
        return KeyFile.load(path / KEYS_FILE)

    def in_use(self) -> FolderLock:
        """Lock the folder, so that nobody changes its keys while a broker uses them.

        Raises:
            ConfigurationError: they are being changed, or were since they were read here.
        """
        lock = FolderLock(self.path, exclusive=False)
        file = self.key_file(self.path)
        if file.kek_id != self.keystore.kek_id or len(file.former) != len(self.former):
            lock.close()
            raise ConfigurationError(
                f"the keys of the broker in {self.path} were changed meanwhile",
                hint="start it again",
            )
        return lock

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
