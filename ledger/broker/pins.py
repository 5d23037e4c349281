"""What a holder pins for a runtime: whose model a card may speak of (docs/spec/key-release.md).

A license card names its own licensor and its own brokers, so its signature alone proves nothing to
a machine that sees no chain. The holder, who does see one, signs what the chain says beside the
grant; a card that says otherwise opens nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ledger.broker.wallet_signatures import read_signature
from ledger.eip712 import Domain, StructType, TypedSigner, recover
from ledger.errors import ClaimMismatch, SignatureInvalid
from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.licensing.card import LicenseCard
from ledger.licensing.document import Document, hex_text

PIN_TYPE: Final = StructType.parse(
    "RuntimePin(uint256 licenseId,bytes32 runtimeKeyHash,bytes32 modelId,address licensor,"
    "bytes32 brokersHash)"
)
_MEMBERS = ("license", "runtime_key_hash", "model", "licensor", "brokers_hash", "signature")
_WAY_OUT: Final = (
    "ask the licensor for a card; if the model's title or the brokers' keys changed, "
    "ask the holder for a fresh grant: deed runtime grant"
)


@dataclass(frozen=True, slots=True)
class RuntimePin:
    """The chain's facts about one license, signed by its holder for one runtime.

    Attributes:
        model: which the license's plan is about.
        licensor: who holds the model's title.
        brokers_hash: ``BrokerSet.hash()`` of the plan's brokers and their keys.
    """

    license: LicenseId
    runtime_key_hash: Digest
    model: ModelId
    licensor: Address
    brokers_hash: Digest
    signature: bytes = b""

    def values(self) -> dict[str, Any]:
        """The EIP-712 field values."""
        return {
            "licenseId": int(self.license),
            "runtimeKeyHash": self.runtime_key_hash,
            "modelId": self.model,
            "licensor": self.licensor,
            "brokersHash": self.brokers_hash,
        }

    def digest(self, domain: Domain) -> Digest:
        """The EIP-712 digest that the holder's wallet signs."""
        return domain.digest(PIN_TYPE, self.values())

    def signer(self, domain: Domain, *, step: int = 0) -> Address:
        """The account that signed it.

        Raises:
            SignatureInvalid: no account did.
        """
        return recover(self.digest(domain), self.signature, step=step)

    def hold(self, card: LicenseCard) -> None:
        """Hold a card against the pin (docs/spec/license-card.md, step 4).

        Raises:
            SignatureInvalid: the card is signed by someone other than the pinned licensor.
            ClaimMismatch: the card names another license, model or brokers.
        """
        if card.licensor != self.licensor:
            raise SignatureInvalid(
                f"the card is signed by {card.licensor}; the holder's grant for license "
                f"{self.license} names the licensor {self.licensor}",
                step=4,
                hint=_WAY_OUT,
            )
        for what, here, pinned in (
            ("license", card.license, self.license),
            ("model", card.model, self.model),
            ("brokers", card.brokers.hash(), self.brokers_hash),
        ):
            if here != pinned:
                raise ClaimMismatch(
                    f"the card's {what} {here} is not that of the holder's grant for license "
                    f"{self.license}, {pinned}",
                    step=4,
                    hint=_WAY_OUT,
                )

    def to_json(self) -> dict[str, Any]:
        """The pin as grant files carry it."""
        return {
            "license": str(self.license),
            "runtime_key_hash": str(self.runtime_key_hash),
            "model": str(self.model),
            "licensor": str(self.licensor),
            "brokers_hash": str(self.brokers_hash),
            "signature": hex_text(self.signature),
        }

    @classmethod
    def from_json(cls, value: Any) -> RuntimePin:
        """Read a pin; the signature is not yet checked.

        Raises:
            ManifestError: not a pin.
        """
        doc = Document(value, "the runtime pin", _MEMBERS)
        return cls(
            license=doc.license(),
            runtime_key_hash=doc.digest("runtime_key_hash"),
            model=doc.model(),
            licensor=doc.address("licensor"),
            brokers_hash=doc.digest("brokers_hash"),
            signature=read_signature(doc),
        )


def sign_pin(
    signer: TypedSigner,
    domain: Domain,
    *,
    license_id: LicenseId,
    runtime_key_hash: Digest,
    model: ModelId,
    licensor: Address,
    brokers_hash: Digest,
) -> RuntimePin:
    """Sign a pin as the holder; model, licensor and brokers are read from the chain."""
    unsigned = RuntimePin(license_id, runtime_key_hash, model, licensor, brokers_hash)
    signature = signer.sign_typed(domain, PIN_TYPE, unsigned.values())
    return RuntimePin(license_id, runtime_key_hash, model, licensor, brokers_hash, signature)
