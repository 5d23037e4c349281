"""What a runtime and its license's holder send each other (docs/spec/key-release.md, "Enrolment").

A request says which key asks; a grant file answers it, with all that the holder's wallet signs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from ledger.broker.fleet import (
    WorkerCertificate,
    check_certificate,
    fleet_key_hash,
    shown_certificate,
)
from ledger.broker.grants import (
    NO_MEASUREMENT,
    Acceptance,
    RuntimeGrant,
    RuntimeKey,
    sign_acceptance,
    sign_grant,
)
from ledger.broker.pins import RuntimePin, sign_pin
from ledger.canonical import hash_json
from ledger.eip712 import Domain, TypedSigner
from ledger.errors import SignatureInvalid
from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.licensing.card import ledger_domain
from ledger.licensing.chain import ledger_json, read_ledger
from ledger.licensing.document import Document
from ledger.licensing.entitlement import PERPETUAL
from ledger.licensing.terms import Use

REQUEST_TYPE: Final = "modeldeed/runtime-request"
FLEET_REQUEST_TYPE: Final = "modeldeed/fleet-request"
GRANT_TYPE: Final = "modeldeed/runtime-grant"
REQUEST_TAG: Final = "modeldeed/runtime-request/1"
FLEET_REQUEST_TAG: Final = "modeldeed/fleet-request/1"
CONTRACT: Final = "contract"


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
            "chain": ledger_json(self.chain_id, self.ledger),
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
        chain_id, ledger = read_ledger(doc.object("chain"), "the grant file's chain")
        return cls(
            chain_id,
            ledger,
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
