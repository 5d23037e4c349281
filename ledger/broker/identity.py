"""A runtime's own key and the grants given to it (docs/spec/key-release.md, "Enrolment").

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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

import platformdirs
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ledger.broker.custody import read_private, write_private
from ledger.broker.fleet import (
    WorkerCertificate,
    check_certificate,
    fleet_key_hash,
    shown_certificate,
)
from ledger.broker.grants import (
    ALG_ED25519,
    NO_MEASUREMENT,
    Acceptance,
    RuntimeGrant,
    RuntimeKey,
    sign_acceptance,
    sign_grant,
)
from ledger.broker.pins import RuntimePin, sign_pin
from ledger.broker.runtime_signers import (
    FileSigner,
    RuntimeSigner,
    key_members,
    open_key,
    sign_digest,
)
from ledger.canonical import hash_json, parse_json
from ledger.eip712 import Domain, TypedSigner
from ledger.errors import ConfigurationError, LedgerError, SignatureInvalid, UsageError
from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.licensing.card import ledger_domain
from ledger.licensing.document import Document, hex_text
from ledger.licensing.entitlement import PERPETUAL
from ledger.licensing.terms import Use

IDENTITY_TYPE: Final = "modeldeed/runtime-identity"
REQUEST_TYPE: Final = "modeldeed/runtime-request"
FLEET_TYPE: Final = "modeldeed/fleet-identity"
FLEET_REQUEST_TYPE: Final = "modeldeed/fleet-request"
GRANT_TYPE: Final = "modeldeed/runtime-grant"
REQUEST_TAG: Final = "modeldeed/runtime-request/1"
FLEET_REQUEST_TAG: Final = "modeldeed/fleet-request/1"
CONTRACT: Final = "contract"
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


@dataclass(frozen=True, slots=True)
class EnrolmentRequest:
    """A checked enrolment request: this key asked for itself, as a runtime or as a fleet key."""

    runtime: RuntimeKey
    name: str
    use: Use
    created: int
    fleet: bool = False

    @property
    def key_hash(self) -> Digest:
        """What a grant for it names."""
        return fleet_key_hash(self.runtime) if self.fleet else self.runtime.hash()

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
        fleet = doc.value.get("type") == FLEET_REQUEST_TYPE
        doc.kind(FLEET_REQUEST_TYPE if fleet else REQUEST_TYPE)
        request = cls(
            RuntimeKey.from_json(doc.object("runtime")),
            doc.text("name", limit=200),
            Use.from_json(doc.object("use")),
            doc.integer("created"),
            fleet,
        )
        body = {name: member for name, member in doc.value.items() if name != "signature"}
        tag = FLEET_REQUEST_TAG if fleet else REQUEST_TAG
        request.runtime.verify(doc.raw("signature", 64), hash_json(tag, body))
        return request


@dataclass(frozen=True, slots=True)
class GrantFile:
    """What the holder sends back: grant, acceptance of terms and pin, for one ledger.

    Attributes:
        contract_wallet: the holder is a contract, so no signature in it was checked here.
        certificate: of a worker; the grant is then its fleet's.
    """

    chain_id: int
    ledger: Address
    holder: Address
    grant: RuntimeGrant
    acceptance: Acceptance
    pin: RuntimePin
    contract_wallet: bool = False
    certificate: WorkerCertificate | None = None

    @property
    def domain(self) -> Domain:
        """Of the license ledger."""
        return ledger_domain(self.chain_id, self.ledger)

    @property
    def runtime_key_hash(self) -> Digest:
        """The runtime that may use it: the certified worker, else the one granted."""
        if self.certificate is not None:
            return self.certificate.worker.hash()
        return self.grant.runtime_key_hash

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
            **({"wallet": CONTRACT} if self.contract_wallet else {}),
            **({} if self.certificate is None else {"certificate": self.certificate.to_json()}),
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read and verify a grant file.

        Raises:
            ManifestError: not a grant file.
            SignatureInvalid: grant, acceptance or pin is not signed by the stated holder, unless
                that is a contract wallet; or the certificate not by the fleet.
            RuntimeNotBound: the certificate does not belong to the grant.
        """
        doc = Document(
            value,
            "the grant file",
            (
                "type", "version", "chain", "holder", "grant", "acceptance", "pin", "wallet",
                "certificate",
            ),
        )  # fmt: skip
        doc.kind(GRANT_TYPE)
        made = replace(
            cls._of(doc),
            contract_wallet="wallet" in doc.value and bool(doc.choice("wallet", (CONTRACT,))),
            certificate=shown_certificate(doc),
        )
        made.check_signers()
        if made.acceptance.license != made.grant.license:
            raise doc.fail("acceptance", "for the license of the grant")
        if (made.pin.license, made.pin.runtime_key_hash) != (
            made.grant.license,
            made.grant.runtime_key_hash,
        ):
            raise doc.fail("pin", "for the license and the runtime of the grant")
        if made.certificate is not None:
            # Its time is the broker's to judge: a file on disk may be of yesterday.
            shown = made.certificate
            check_certificate(
                shown, made.grant, shown.worker, domain=made.domain, at=shown.not_before
            )
        return made

    @classmethod
    def unsigned(cls, value: Any) -> Self:
        """Read a grant file whose signatures are elsewhere; none is checked.

        Raises:
            ManifestError: not an unsigned grant file.
        """
        doc = Document(
            value,
            "the unsigned grant file",
            ("type", "version", "chain", "holder", "grant", "acceptance", "pin"),
        )
        doc.kind(GRANT_TYPE)
        return cls._of(doc)

    @classmethod
    def _of(cls, doc: Document) -> Self:
        chain = Document(doc.object("chain"), "the grant file's chain", ("id", "ledger"))
        return cls(
            chain.integer("id", 1),
            chain.address("ledger"),
            doc.address("holder"),
            RuntimeGrant.from_json(doc.object("grant")),
            Acceptance.from_json(doc.object("acceptance")),
            RuntimePin.from_json(doc.object("pin")),
        )

    def check_signers(self) -> None:
        """Hold the signatures of an account against the stated holder; a contract's are not.

        Raises:
            SignatureInvalid: another account signed, or none.
        """
        if self.contract_wallet:
            return
        for what, signed in (
            ("grant", self.grant),
            ("acceptance", self.acceptance),
            ("pin", self.pin),
        ):
            signer = signed.signer(self.domain)
            if signer != self.holder:
                raise SignatureInvalid(
                    f"the {what} is signed by {signer}, not by the stated holder {self.holder}"
                )


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
    measurement: bytes = NO_MEASUREMENT,
    contract_wallet: bool = False,
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
        measurement: 20 bytes that its attested evidence must show; zeros ask for none.
        contract_wallet: whether the signer is a contract, whose signatures a host cannot check.

    Raises:
        ManifestError, SignatureInvalid: the request does not verify.
    """
    checked = (
        request if isinstance(request, EnrolmentRequest) else EnrolmentRequest.from_json(request)
    )
    domain, key_hash = ledger_domain(chain_id, ledger), checked.key_hash
    grant = sign_grant(
        signer,
        domain,
        license_id=license_id,
        runtime_key_hash=key_hash,
        terms_hash=terms_hash,
        grant_nonce=grant_nonce,
        not_after=not_after,
        features=features,
        measurement=measurement,
    )
    acceptance = sign_acceptance(signer, domain, license_id=license_id, terms_hash=terms_hash)
    pin = sign_pin(
        signer,
        domain,
        license_id=license_id,
        runtime_key_hash=key_hash,
        model=model,
        licensor=licensor,
        brokers_hash=brokers_hash,
    )
    return GrantFile(
        chain_id, ledger, signer.address, grant, acceptance, pin, contract_wallet
    ).to_json()
