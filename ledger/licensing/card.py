"""License cards: the public file that a runtime starts from (docs/spec/license-card.md).

What the licensor signs is which license opens which sealing under which terms through which
brokers. Addresses of files and brokers are hints: they may be refreshed without a new signature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ledger.canonical import hash_json, parse_json
from ledger.eip712 import Domain, StructType, TypedSigner, recover
from ledger.errors import ClaimMismatch, ManifestError, SignatureInvalid
from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.licensing import terms as terms_module
from ledger.licensing.chain import ChainContracts
from ledger.licensing.document import Document, hex_text

TYPE: Final = "modeldeed/license-card"
BROKERS_TAG: Final = "modeldeed/card-brokers/1"
SUFFIX: Final = ".license.json"
MAX_BYTES: Final = 1 << 20
LEDGER_NAME: Final = "modeldeed LicenseLedger"

CARD_TYPE: Final = StructType.parse(
    "LicenseCard(uint256 licenseId,bytes32 modelId,bytes32 sealingRecordHash,"
    "bytes32 termsHash,bytes32 brokersHash)"
)
_MEMBERS = (
    "type", "version", "chain", "license", "model", "licensor", "sealing", "terms", "brokers",
    "files", "signature",
)  # fmt: skip


def ledger_domain(chain_id: int, ledger: Address) -> Domain:
    """The EIP-712 domain of one LicenseLedger, under which every message here is signed."""
    return Domain(LEDGER_NAME, "1", chain_id, ledger)


@dataclass(frozen=True, slots=True)
class CardBroker:
    """A broker that may release the key: its id and keys are signed, its URLs are not."""

    id: int
    signing_key_hash: Digest
    kem_key_hash: Digest
    urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BrokerSet:
    """The plan's broker set as the licensor saw it on chain."""

    id: int
    threshold: int
    members: tuple[CardBroker, ...]

    def hash(self) -> Digest:
        """``brokersHash``: set, threshold and key hashes, without URLs."""
        return hash_json(
            BROKERS_TAG,
            {
                "set": self.id,
                "threshold": self.threshold,
                "members": [
                    {
                        "id": member.id,
                        "signing_key_hash": str(member.signing_key_hash),
                        "kem_key_hash": str(member.kem_key_hash),
                    }
                    for member in self.members
                ],
            },
        )


@dataclass(frozen=True, slots=True)
class CardFile:
    """Where the sealed file lies: URL or path relative to the card, its size and leaf root."""

    url: str
    size: int
    root: Digest


@dataclass(frozen=True, slots=True)
class LicenseCard:
    """A parsed card. ``verify`` must pass before anything in it is believed.

    Attributes:
        sealing: the sealing record's JSON, as ``SealingRecord.from_json`` reads it.
        sealing_hash: its hash, which is signed; the opener recomputes it from ``sealing``.
        terms: the terms document, or None when only its hash travels.
    """

    chain_id: int
    ledger: Address
    registry: Address
    broker_registry: Address
    license: LicenseId
    model: ModelId
    licensor: Address
    sealing: Mapping[str, Any]
    sealing_hash: Digest
    terms_hash: Digest
    terms: Mapping[str, Any] | None
    brokers: BrokerSet
    files: tuple[CardFile, ...]
    signature: bytes = b""

    @property
    def domain(self) -> Domain:
        """The EIP-712 domain of the card's ledger."""
        return ledger_domain(self.chain_id, self.ledger)

    def message(self) -> dict[str, Any]:
        """The values of the EIP-712 struct ``LicenseCard``."""
        return {
            "licenseId": int(self.license),
            "modelId": self.model,
            "sealingRecordHash": self.sealing_hash,
            "termsHash": self.terms_hash,
            "brokersHash": self.brokers.hash(),
        }

    def verify(self) -> None:
        """Run the numbered steps of docs/spec/license-card.md.

        Raises:
            ClaimMismatch: (2) the terms inside are not those of the signed hash.
            SignatureInvalid: (3) the signature is not the stated licensor's.
        """
        # (1) The format: done by `parse`.
        # (2) The terms document, when it travels, has the signed hash.
        if self.terms is not None and (
            terms_module.validate(dict(self.terms)).hash() != self.terms_hash
        ):
            raise ClaimMismatch("the card's terms are not those it is signed for", step=2)
        # (3) The licensor signed license, model, sealing, terms and brokers, for this ledger.
        signer = recover(self.domain.digest(CARD_TYPE, self.message()), self.signature, step=3)
        if signer != self.licensor:
            raise SignatureInvalid(
                f"the card is signed by {signer}, not by the licensor {self.licensor}",
                step=3,
                hint="get the card again from the licensor",
            )

    def to_json(self) -> dict[str, Any]:
        """The card as its file holds it."""
        return {
            "type": TYPE,
            "version": 1,
            "chain": ChainContracts(
                self.chain_id, self.ledger, self.registry, self.broker_registry
            ).to_json(),
            "license": str(self.license),
            "model": str(self.model),
            "licensor": str(self.licensor),
            "sealing": {"hash": str(self.sealing_hash), "record": dict(self.sealing)},
            "terms": {
                "hash": str(self.terms_hash),
                "document": None if self.terms is None else dict(self.terms),
            },
            "brokers": {
                "set": self.brokers.id,
                "threshold": self.brokers.threshold,
                "members": [
                    {
                        "id": member.id,
                        "signing_key_hash": str(member.signing_key_hash),
                        "kem_key_hash": str(member.kem_key_hash),
                        "urls": list(member.urls),
                    }
                    for member in self.brokers.members
                ],
            },
            "files": [
                {"url": file.url, "size": file.size, "root": str(file.root)} for file in self.files
            ],
            "signature": hex_text(self.signature),
        }


def build(
    signer: TypedSigner,
    *,
    chain_id: int,
    ledger: Address,
    registry: Address,
    broker_registry: Address,
    license_id: LicenseId,
    model: ModelId,
    sealing: Mapping[str, Any],
    sealing_hash: Digest,
    terms: Mapping[str, Any],
    brokers: BrokerSet,
    files: Sequence[CardFile] = (),
) -> dict[str, Any]:
    """Sign a card as the licensor; the result is what goes into ``NAME.license.json``."""
    unsigned = LicenseCard(
        chain_id=chain_id,
        ledger=ledger,
        registry=registry,
        broker_registry=broker_registry,
        license=license_id,
        model=model,
        licensor=signer.address,
        sealing=sealing,
        sealing_hash=sealing_hash,
        terms_hash=terms_module.validate(dict(terms)).hash(),
        terms=terms,
        brokers=brokers,
        files=tuple(files),
    )
    card = unsigned.to_json()
    card["signature"] = hex_text(signer.sign_typed(unsigned.domain, CARD_TYPE, unsigned.message()))
    return card


def parse(value: Any) -> LicenseCard:
    """Read a card from JSON bytes or the parsed object; the signature is not yet checked.

    Raises:
        ManifestError: not a card.
        UnsupportedVersion: a card of another version.
        LimitExceeded: over 1 MiB.
    """
    if isinstance(value, (bytes, bytearray)):
        value = parse_json(bytes(value), what="the license card", limit=MAX_BYTES)
    doc = Document(value, "the license card")
    doc.kind(TYPE)
    doc = Document(value, "the license card", _MEMBERS)
    chain = ChainContracts.from_json(doc.object("chain"), "the card's chain")
    sealing = Document(doc.object("sealing"), "the card's sealing", ("hash", "record"))
    terms = Document(doc.object("terms"), "the card's terms", ("hash", "document"))
    return LicenseCard(
        chain_id=chain.chain_id,
        ledger=chain.ledger,
        registry=chain.registry,
        broker_registry=chain.brokers,
        license=doc.license(),
        model=doc.model(),
        licensor=doc.address("licensor"),
        sealing=sealing.object("record"),
        sealing_hash=sealing.digest("hash"),
        terms_hash=terms.digest("hash"),
        terms=terms.object("document") if terms.has("document") else None,
        brokers=_brokers(doc.object("brokers")),
        files=tuple(_file(item) for item in doc.items("files", limit=64)),
        signature=doc.raw("signature", 65),
    )


def _brokers(value: dict[str, Any]) -> BrokerSet:
    doc = Document(value, "the card's brokers", ("set", "threshold", "members"))
    members: list[CardBroker] = []
    for item in doc.items("members", limit=64):
        member = Document(
            item, "a broker of the card", ("id", "signing_key_hash", "kem_key_hash", "urls")
        )
        members.append(
            CardBroker(
                id=member.integer("id", 1),
                signing_key_hash=member.digest("signing_key_hash"),
                kem_key_hash=member.digest("kem_key_hash"),
                urls=member.texts("urls", limit=16),
            )
        )
    ids = [member.id for member in members]
    if not members or ids != sorted(set(ids)):
        raise ManifestError("the card's brokers must be listed once each, by rising id")
    threshold = doc.integer("threshold", 1, len(members))
    return BrokerSet(doc.integer("set", 1), threshold, tuple(members))


def _file(value: Any) -> CardFile:
    doc = Document(value, "a file of the card", ("url", "size", "root"))
    return CardFile(doc.text("url"), doc.integer("size", 96), doc.digest("root"))
