"""A runtime's own key and the grants given to it (docs/spec/key-release.md, "Enrolment").

The key file is made on the host that will load models and never leaves it; what leaves is an
enrolment request, and what comes back from the holder is a grant file. No wallet key, coins or RPC
endpoint are needed on the host.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import platformdirs
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ledger.broker.custody import read_private, write_private
from ledger.broker.grants import (
    ALG_ED25519,
    Acceptance,
    RuntimeGrant,
    RuntimeKey,
    runtime_message,
    sign_acceptance,
    sign_grant,
)
from ledger.broker.pins import RuntimePin, sign_pin
from ledger.canonical import hash_json, parse_json
from ledger.eip712 import TypedSigner
from ledger.errors import ConfigurationError, SignatureInvalid, UsageError
from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.licensing.card import ledger_domain
from ledger.licensing.document import Document, hex_text
from ledger.licensing.entitlement import PERPETUAL
from ledger.licensing.terms import Use

IDENTITY_TYPE: Final = "modeldeed/runtime-identity"
REQUEST_TYPE: Final = "modeldeed/runtime-request"
GRANT_TYPE: Final = "modeldeed/runtime-grant"
REQUEST_TAG: Final = "modeldeed/runtime-request/1"
KEY_VARIABLE: Final = "DEED_RUNTIME_KEY"
FOLDER_VARIABLE: Final = "DEED_CONFIG_DIR"


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
    """

    path: Path
    name: str
    use: Use
    seed: bytes = field(repr=False)

    @classmethod
    def create(cls, path: Path, *, name: str = "", use: Use | None = None) -> Self:
        """Make a key and write its file with mode 0600.

        Raises:
            ConfigurationError: the file is already there or cannot be written.
        """
        identity = cls(path, name, use or Use(), Ed25519PrivateKey.generate().private_bytes_raw())
        document = {
            "type": IDENTITY_TYPE,
            "version": 1,
            "alg": ALG_ED25519,
            "seed": hex_text(identity.seed),
            "name": name,
            "use": identity.use.to_json(),
        }
        write_private(path, json.dumps(document, indent=2).encode() + b"\n")
        return identity

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
            ("type", "version", "alg", "seed", "name", "use"),
        )
        doc.kind(IDENTITY_TYPE)
        doc.integer("alg", ALG_ED25519, ALG_ED25519)
        return cls(
            chosen, doc.text("name", limit=200), Use.from_json(doc.object("use")),
            doc.raw("seed", 32),
        )  # fmt: skip

    @property
    def key(self) -> RuntimeKey:
        """The public key."""
        private = Ed25519PrivateKey.from_private_bytes(self.seed)
        return RuntimeKey(ALG_ED25519, private.public_key().public_bytes_raw())

    @property
    def key_hash(self) -> Digest:
        """``runtimeKey`` on chain and in grants."""
        return self.key.hash()

    def sign(self, digest: Digest) -> bytes:
        """64 bytes of Ed25519 over the tagged digest."""
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(runtime_message(digest))

    def derived_key(self, purpose: bytes, *, salt: bytes | None = None) -> bytes:
        """32 bytes for one purpose, which only the holder of this key can derive (HKDF-SHA-256)."""
        return HKDF(hashes.SHA256(), 32, salt, purpose).derive(self.seed)

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

    def accept(self, document: Any) -> GrantFile:
        """Check a grant file and keep it for its license.

        Raises:
            ManifestError: not a grant file.
            SignatureInvalid: not signed as it says.
            UsageError: for another runtime.
        """
        grant_file = GrantFile.from_json(document)
        if grant_file.grant.runtime_key_hash != self.key_hash:
            raise UsageError(
                "this grant is for another runtime",
                hint=f"the holder must grant {self.key_hash}: send this host's request file",
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

    def _grant_path(self, key: tuple[int, Address, LicenseId]) -> Path:
        chain_id, ledger, license_id = key
        return self.grants_folder / f"{chain_id}-{ledger.raw.hex()}-{license_id}.json"


@dataclass(frozen=True, slots=True)
class EnrolmentRequest:
    """A checked enrolment request: this key asked for itself."""

    runtime: RuntimeKey
    name: str
    use: Use
    created: int

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read and verify a request file.

        Raises:
            ManifestError: not a request file.
            SignatureInvalid: not signed by the key it names.
        """
        doc = Document(
            value,
            "the enrolment request",
            ("type", "version", "runtime", "name", "use", "created", "signature"),
        )
        doc.kind(REQUEST_TYPE)
        request = cls(
            RuntimeKey.from_json(doc.object("runtime")),
            doc.text("name", limit=200),
            Use.from_json(doc.object("use")),
            doc.integer("created"),
        )
        body = {name: member for name, member in doc.value.items() if name != "signature"}
        request.runtime.verify(doc.raw("signature", 64), hash_json(REQUEST_TAG, body))
        return request


@dataclass(frozen=True, slots=True)
class GrantFile:
    """What the holder sends back: grant, acceptance of terms and pin, for one ledger."""

    chain_id: int
    ledger: Address
    holder: Address
    grant: RuntimeGrant
    acceptance: Acceptance
    pin: RuntimePin

    @property
    def domain_key(self) -> tuple[int, Address, LicenseId]:
        """Which license of which ledger it is for."""
        return self.chain_id, self.ledger, self.grant.license

    def to_json(self) -> dict[str, Any]:
        """The grant file."""
        return {
            "type": GRANT_TYPE,
            "version": 1,
            "chain": {"id": self.chain_id, "ledger": str(self.ledger)},
            "holder": str(self.holder),
            "grant": self.grant.to_json(),
            "acceptance": self.acceptance.to_json(),
            "pin": self.pin.to_json(),
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read and verify a grant file.

        Raises:
            ManifestError: not a grant file.
            SignatureInvalid: grant, acceptance or pin is not signed by the stated holder.
        """
        doc = Document(
            value,
            "the grant file",
            ("type", "version", "chain", "holder", "grant", "acceptance", "pin"),
        )
        doc.kind(GRANT_TYPE)
        chain = Document(doc.object("chain"), "the grant file's chain", ("id", "ledger"))
        made = cls(
            chain.integer("id", 1),
            chain.address("ledger"),
            doc.address("holder"),
            RuntimeGrant.from_json(doc.object("grant")),
            Acceptance.from_json(doc.object("acceptance")),
            RuntimePin.from_json(doc.object("pin")),
        )
        domain = ledger_domain(made.chain_id, made.ledger)
        for what, signer in (
            ("grant", made.grant.signer(domain)),
            ("acceptance", made.acceptance.signer(domain)),
            ("pin", made.pin.signer(domain)),
        ):
            if signer != made.holder:
                raise SignatureInvalid(
                    f"the {what} is signed by {signer}, not by the stated holder {made.holder}"
                )
        if made.acceptance.license != made.grant.license:
            raise doc.fail("acceptance", "for the license of the grant")
        if (made.pin.license, made.pin.runtime_key_hash) != (
            made.grant.license,
            made.grant.runtime_key_hash,
        ):
            raise doc.fail("pin", "for the license and the runtime of the grant")
        return made


def grant_runtime(
    request: EnrolmentRequest | Mapping[str, Any],
    signer: TypedSigner,
    *,
    chain_id: int,
    ledger: Address,
    license_id: LicenseId,
    terms_hash: Digest,
    grant_nonce: int,
    model: ModelId,
    licensor: Address,
    brokers_hash: Digest,
    not_after: int = PERPETUAL,
    features: int = 0,
) -> dict[str, Any]:
    """Sign grant, acceptance of terms and pin as the holder; the result is the grant file.

    Args:
        request: the runtime's enrolment request, checked here.
        signer: the holder's wallet. It agrees to the terms by signing: show them first.
        chain_id: EIP-155 id.
        ledger: the license ledger.
        license_id: the license the runtime may use.
        terms_hash: of its plan.
        grant_nonce: ``grantNonceOf(license)`` as the chain shows it now.
        model: of the license's plan on chain. What a card says does not count here.
        licensor: who holds that model's title on chain.
        brokers_hash: ``BrokerSet.hash()`` of the plan's set, with the keys in BrokerRegistry.
        not_after: Unix seconds; the license's own end counts anyway.
        features: bits of the plan's features.

    Raises:
        ManifestError, SignatureInvalid: the request does not verify.
    """
    checked = (
        request if isinstance(request, EnrolmentRequest) else EnrolmentRequest.from_json(request)
    )
    domain = ledger_domain(chain_id, ledger)
    grant = sign_grant(
        signer,
        domain,
        license_id=license_id,
        runtime_key_hash=checked.runtime.hash(),
        terms_hash=terms_hash,
        grant_nonce=grant_nonce,
        not_after=not_after,
        features=features,
    )
    acceptance = sign_acceptance(signer, domain, license_id=license_id, terms_hash=terms_hash)
    pin = sign_pin(
        signer,
        domain,
        license_id=license_id,
        runtime_key_hash=checked.runtime.hash(),
        model=model,
        licensor=licensor,
        brokers_hash=brokers_hash,
    )
    return GrantFile(chain_id, ledger, signer.address, grant, acceptance, pin).to_json()
