"""A runtime's own key, and the grants that it has accepted (docs/spec/key-release.md, "Enrolment").

The key file is made on the host that will load models and never leaves it; what leaves is an
enrolment request, and what comes back from the holder is a grant file. No wallet key, coins or RPC
endpoint are needed on the host.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import platformdirs
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ledger.broker.custody import read_private, write_private
from ledger.broker.enrolment import REQUEST_TAG, REQUEST_TYPE, GrantFile
from ledger.broker.fleet import (
    WorkerCertificate,
)
from ledger.broker.grants import (
    ALG_ED25519,
    RuntimeKey,
)
from ledger.broker.runtime_signers import (
    FileSigner,
    RuntimeSigner,
    key_members,
    open_key,
    sign_digest,
)
from ledger.canonical import hash_json, parse_json
from ledger.errors import ConfigurationError, LedgerError, UsageError
from ledger.ids import Address, Digest, LicenseId
from ledger.licensing.document import Document, hex_text
from ledger.licensing.terms import Use

IDENTITY_TYPE: Final = "modeldeed/runtime-identity"
KEY_VARIABLE: Final = "DEED_RUNTIME_KEY"
FOLDER_VARIABLE: Final = "DEED_CONFIG_DIR"
_SECRET: Final = 32


def default_path() -> Path:
    """``DEED_RUNTIME_KEY``, else ``runtime.json`` in the user's configuration folder."""
    if named := os.environ.get(KEY_VARIABLE):
        return Path(named)
    folder = os.environ.get(FOLDER_VARIABLE)
    return (Path(folder) if folder else platformdirs.user_config_path("modeldeed")) / "runtime.json"


@dataclass(frozen=True, slots=True)
class RuntimeIdentity:
    """A runtime's key pair with what it declares about its use. Its repr shows no key.

    Attributes:
        path: the key file.
        name: for people.
        use: what every request of this runtime declares.
        signer: of the private key, which is in the key file or behind a plug-in.
    """

    path: Path
    name: str
    use: Use
    signer: RuntimeSigner = field(repr=False)

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        name: str = "",
        use: Use | None = None,
        alg: int = ALG_ED25519,
        plugin: str | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Self:
        """Make a key and write its file with mode 0600.

        Args:
            path: of the key file.
            name: for people.
            use: what every request declares.
            alg: 1 Ed25519, 2 P-256.
            plugin: a signer that holds the key in place of the file.
            options: what it is opened with.

        Raises:
            ConfigurationError: the file is already there or cannot be written; no such plug-in.
            KeyAccessError: the plug-in fails.
        """
        declared = use or Use()
        document = {
            "type": IDENTITY_TYPE,
            "version": 1,
            **key_members(alg, plugin, options),
            "name": name,
            "use": declared.to_json(),
        }
        write_private(path, json.dumps(document, indent=2).encode() + b"\n")
        return cls(path, name, declared, open_key(Document(document, "the runtime's key file")))

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Read a key file; without a path, the default one.

        Raises:
            ConfigurationError: missing, or readable by others.
            ManifestError: not a runtime's key file.
        """
        chosen = default_path() if path is None else path
        if not chosen.exists():
            raise ConfigurationError(
                f"there is no {chosen}", hint="make this host's key first: deed runtime init"
            )
        data = read_private(chosen)
        doc = Document(
            parse_json(data, what="the runtime's key file"),
            "the runtime's key file",
            ("type", "version", "alg", "seed", "signer", "name", "use"),
        )
        doc.kind(IDENTITY_TYPE)
        return cls(
            chosen, doc.text("name", limit=200), Use.from_json(doc.object("use")), open_key(doc)
        )

    @property
    def key(self) -> RuntimeKey:
        """The public key."""
        return self.signer.key

    @property
    def key_hash(self) -> Digest:
        """``runtimeKey`` on chain and in grants."""
        return self.key.hash()

    def sign(self, digest: Digest) -> bytes:
        """64 bytes over the tagged digest.

        Raises:
            KeyAccessError: a plug-in failed.
        """
        return sign_digest(self.signer, digest)

    def derived_key(self, purpose: bytes, *, salt: bytes | None = None) -> bytes:
        """32 bytes for one purpose, which only the holder of this key can derive (HKDF-SHA-256).

        A plug-in signs and gives no secret to derive from. There the secret is a file of its own
        beside the key file, made when it is first needed: whoever reads the host's files has it.

        Raises:
            ConfigurationError: that file cannot be read or written.
        """
        secret = self.signer.seed if isinstance(self.signer, FileSigner) else self._rest_secret()
        return HKDF(hashes.SHA256(), 32, salt, purpose).derive(secret)

    def _rest_secret(self) -> bytes:
        path = self.path.with_name(self.path.stem + ".rest")
        if not path.exists():
            # Two processes may come here at once; whoever is second takes what the first wrote.
            with contextlib.suppress(ConfigurationError):
                write_private(path, secrets.token_bytes(_SECRET))
        secret = read_private(path)
        if len(secret) != _SECRET:
            raise ConfigurationError(
                f"{path} is not {_SECRET} bytes",
                hint="move it away; what was kept under it must be asked for again",
            )
        return secret

    def enrolment_request(self, *, now: int | None = None) -> dict[str, Any]:
        """The request file for the holder; self-signed, so that nobody enrols another's key."""
        body: dict[str, Any] = {
            "type": REQUEST_TYPE,
            "version": 1,
            "runtime": self.key.to_json(),
            "name": self.name,
            "use": self.use.to_json(),
            "created": int(time.time()) if now is None else now,
        }
        return {**body, "signature": hex_text(self.sign(hash_json(REQUEST_TAG, body)))}

    # -- grants --------------------------------------------------------------------------------

    @property
    def grants_folder(self) -> Path:
        """Where accepted grants lie: beside the key file."""
        return self.path.with_name(self.path.stem + ".grants")

    def accept(self, document: Any, *, contract_wallet: bool = False) -> GrantFile:
        """Check a grant file and keep it for its license.

        Args:
            document: the grant file, of this runtime or, with a certificate, of its fleet.
            contract_wallet: take one that a contract wallet signed. Its signatures, the pin's too,
                cannot be checked without a chain: it counts for as much as whoever handed it over.

        Raises:
            ManifestError: not a grant file.
            SignatureInvalid: not signed as it says.
            UsageError: for another runtime, or of a contract wallet and that was not said.
        """
        grant_file = GrantFile.from_json(document)
        if grant_file.runtime_key_hash != self.key_hash:
            raise UsageError(
                "this grant is for another runtime",
                hint=f"the holder must grant {self.key_hash}: send this host's request file",
            )
        if grant_file.contract_wallet and not contract_wallet:
            raise UsageError(
                f"the holder {grant_file.holder} is a contract wallet, whose signatures this "
                "machine cannot check",
                hint="make sure who gave you this file, then repeat with --contract-wallet; the "
                "broker checks the grant, nobody the pin",
            )
        data = json.dumps(grant_file.to_json(), indent=2).encode() + b"\n"
        write_private(self._grant_path(grant_file.domain_key), data, replace=True)
        return grant_file

    def grant_for(self, chain_id: int, ledger: Address, license_id: LicenseId) -> GrantFile | None:
        """The accepted grant for a license, None when there is none.

        Raises:
            ManifestError, SignatureInvalid: the stored file was altered.
        """
        path = self._grant_path((chain_id, ledger, license_id))
        if not path.exists():
            return None
        return GrantFile.from_json(parse_json(read_private(path), what="the grant file"))

    def grants(self) -> tuple[GrantFile, ...]:
        """Every accepted grant.

        Raises:
            ManifestError, SignatureInvalid: a stored file was altered.
        """
        paths = sorted(self.grants_folder.glob("*.json"))
        return tuple(
            GrantFile.from_json(parse_json(read_private(path), what="the grant file"))
            for path in paths
        )

    def certificate_for(
        self, chain_id: int, ledger: Address, license_id: LicenseId
    ) -> WorkerCertificate | None:
        """The present certificate for a license; None where there is none that can be read."""
        with contextlib.suppress(LedgerError):
            granted = self.grant_for(chain_id, ledger, license_id)
            return None if granted is None else granted.certificate
        return None

    def _grant_path(self, key: tuple[int, Address, LicenseId]) -> Path:
        chain_id, ledger, license_id = key
        return self.grants_folder / f"{chain_id}-{ledger.raw.hex()}-{license_id}.json"
