"""Verification step 15: receipts of keys that a broker released, or refused.

A receipt is one entry of a broker's log with its path to a root that the broker's operator put on
chain (docs/spec/key-release.md). Its Ed25519 signature is judged here; the ML-DSA-65 one beside it
is not: the anchored root shows that the reply and its signatures existed at that block, so what can
be forged with later machines does not matter. Defined in ``docs/spec/evidence-bundle.md``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ledger.canonical import canonical_json, hash_bytes, hash_json
from ledger.errors import ClaimMismatch, ManifestError, SignatureInvalid, StateProofInvalid
from ledger.evidence.case import Case, NotChecked
from ledger.evidence.events import Event
from ledger.evidence.layout import BrokerWord, broker_slot
from ledger.evidence.wording import utc
from ledger.ids import Digest, LicenseId
from ledger.licensing.chain import ChainContracts
from ledger.licensing.document import Document, base64_text
from ledger.merkle import T1

PROOF_TYPE: Final = "modeldeed/receipt-proof"
MAX_RELEASES: Final = 1000
_KEYS_TAG: Final = "modeldeed/broker-signing-keys/1"
_REPLY_TAG: Final = "modeldeed/broker-reply/1"
_REQUEST_TAG: Final = "modeldeed/broker-request/1"
_RECEIPT_TAG: Final = "modeldeed/receipt/1"
_MLDSA65_PUBLIC_BYTES: Final = 1952
_MAX_PATH: Final = 64
_FIELD: Final = (1 << 255) - 19
_NAME = re.compile(r"releases/([1-9][0-9]{0,8})\.json")
CONTRACT: Final = "BrokerRegistry"


@dataclass(frozen=True, slots=True)
class Receipt:
    """A broker's answer as its receipt proof shows it; nothing of it is verified yet.

    Attributes:
        digest: hash of the entry: what the broker's log and the tree are made of.
        key_hash: what the chain must hold as the broker's ``signingKeyHash``.
        anchoring, root, count: the anchoring it claims to stand under.
        transaction: that anchored it, None where the broker does not know.
    """

    broker: int
    sequence: int
    license_id: LicenseId
    granted: bool
    claimed_at: int
    digest: Digest
    key_hash: Digest
    anchoring: int
    root: Digest
    count: int
    transaction: Digest | None

    def slots(self) -> tuple[int, ...]:
        """BrokerRegistry: the words that must be proved beside it."""
        return tuple(broker_slot(self.broker, word) for word in (0, 1, 4))


@dataclass(frozen=True, slots=True)
class Release:
    """A proven one: the receipt, the anchoring of its root, the epoch of the broker's key."""

    receipt: Receipt
    anchored: Event
    epoch: int

    def to_json(self) -> dict[str, Any]:
        """As ``report.json`` tells it."""
        of, event = self.receipt, self.anchored
        return {
            "broker": of.broker,
            "sequence": of.sequence,
            "receipt": str(of.digest),
            "license": str(of.license_id),
            "granted": of.granted,
            "claimed_at": of.claimed_at,
            "key_epoch": self.epoch,
            "block": event.position.block,
            "not_later_than": event.time,
            "transaction": None if event.transaction is None else str(event.transaction),
        }


def check_releases(case: Case, step: int) -> str:
    """Each receipt is the broker's, under a root that stands on chain, and about these licenses."""
    subject = case.bundle.subject
    wanted = subject.kind == "release"
    listed = sorted(
        int(named[1]) for name in case.bundle.listed if (named := _NAME.fullmatch(name))
    )
    there = any(contract.name == CONTRACT for contract in subject.contracts)
    if there != bool(listed):
        raise ManifestError(f"the bundle names {CONTRACT} without receipts, or the reverse")
    if not listed:
        raise NotChecked("the bundle carries no receipt of a release", needed=wanted)
    if listed != list(range(1, len(listed) + 1)) or len(listed) > MAX_RELEASES:
        raise ManifestError(f"receipts are numbered from 1 without a gap, up to {MAX_RELEASES}")
    if wanted and len(listed) != 1:
        raise ManifestError("evidence of one receipt carries one")
    shown = [number for number in listed if case.has(f"releases/{number}.json")]
    if not shown:
        raise NotChecked("withheld: put the members back to check them", needed=wanted)
    receipts = [
        read_receipt(case, case.bundle.json(f"releases/{number}.json"), step) for number in shown
    ]
    places = [(receipt.broker, receipt.sequence) for receipt in receipts]
    if places != sorted(set(places)):
        raise ManifestError("receipts stand in the order of brokers and numbers, each once")
    for receipt in receipts:
        about = {"license": str(receipt.license_id), "receipt": str(receipt.digest)}
        if wanted and about != subject.about:
            raise ClaimMismatch("the receipt is not the one this bundle is about", step=step)
    found = tuple(_prove(case, receipt, step) for receipt in receipts)
    case.releases = [release.to_json() for release in found]
    blocks = sorted({release.anchored.position.block for release in found})
    numbers = ", ".join(str(block) for block in blocks)
    return f"{len(found)} release receipts of brokers, anchored in block {numbers}"


def read_receipt(case: Case, document: Any, step: int = 0) -> Receipt:
    """A receipt proof held against itself and against the bundle's subject and licenses.

    Raises:
        ManifestError: not a receipt proof of a key request's answer.
        ClaimMismatch: of another chain, model or license.
        SignatureInvalid: not signed by the keys it names.
        InclusionProofInvalid: not under the root it names.
    """
    subject = case.bundle.subject
    receipt, chain, model = parse_receipt(document, step=step)
    names = {"ledger": "LicenseLedger", "registry": "ModelRegistry", "brokers": CONTRACT}
    ours = {key: str(subject.contract(name).address) for key, name in names.items()}
    if chain != ours | {"id": subject.chain_id} or model != str(subject.model_id):
        raise ClaimMismatch("a receipt is for another chain or model", step=step)
    if receipt.license_id not in {one.license_id for one in case.licenses}:
        raise ClaimMismatch(
            f"a receipt is for license {receipt.license_id}, which is not shown here", step=step
        )
    return receipt


def parse_receipt(document: Any, *, step: int = 0) -> tuple[Receipt, dict[str, Any], str]:
    """Read a receipt proof and verify what it proves by itself, without the chain.

    Returns:
        The receipt, the chain and contracts it names, and the model.

    Raises:
        ManifestError, ClaimMismatch, SignatureInvalid, InclusionProofInvalid: as `read_receipt`.
    """
    members = ("type", "version", "chain", "broker", "signing", "sequence", "entry", "anchor")
    doc = Document(document, "the receipt proof", members)
    doc.kind(PROOF_TYPE)
    named = ChainContracts.from_json(doc.object("chain"), "its chain").to_json()
    broker, sequence = doc.integer("broker", 1), doc.integer("sequence", 1)
    entry = Document(doc.object("entry"), "the receipt", ("request", "reply"))
    request = Document(entry.object("request"), "the request")
    reply = Document(entry.object("reply"), "the reply")
    audience = f"modeldeed-broker:{named['id']}:{str(named['brokers']).lower()}:{broker}"
    if (reply.value.get("type"), reply.value.get("audience")) != ("release", audience):
        raise ManifestError("the receipt is not of this broker's answer to a key request")
    reply.integer("version", 1, 1)
    place = Document(reply.object("receipt"), "its place", ("sequence", "previous"))
    place.digest("previous")
    if place.integer("sequence", 1) != sequence:
        raise ClaimMismatch("the receipt has another number than its proof says", step=step)
    for wrap in reply.items("wraps") if "wraps" in reply.value else ():
        if not isinstance(wrap, dict) or "wrap" in wrap:
            raise ManifestError("a logged reply names ciphertexts by their hashes alone")
    if hash_bytes(_REQUEST_TAG, canonical_json(request.value)) != reply.digest("request"):
        raise ClaimMismatch("the reply is to another request", step=step)
    key_hash = _check_signature(doc, reply, step)
    digest = hash_json(_RECEIPT_TAG, entry.value)
    under = Document(
        doc.object("anchor"),
        "its anchor",
        ("sequence", "root", "count", "index", "path", "transaction"),
    )
    path = [
        Document({"node": node}, "its path").raw("node", 32)
        for node in under.items("path", limit=_MAX_PATH)
    ]
    if not {"path", "transaction"} <= set(under.value):
        raise ManifestError("the receipt's anchor lacks a member")
    root, count = under.digest("root"), under.integer("count", 1)
    T1.verify(T1.leaf(digest.raw), under.integer("index"), count, path, root.raw, step=step)
    return (
        Receipt(
            broker=broker,
            sequence=sequence,
            license_id=request.license(),
            granted=reply.boolean("granted"),
            claimed_at=reply.integer("time"),
            digest=digest,
            key_hash=key_hash,
            anchoring=under.integer("sequence", 1),
            root=root,
            count=count,
            transaction=under.digest("transaction") if under.has("transaction") else None,
        ),
        named,
        str(request.model()),
    )


def _check_signature(doc: Document, reply: Document, step: int) -> Digest:
    """The hash of the keys that the proof names, whose Ed25519 half signed the reply."""
    keys = Document(doc.object("signing"), "the broker's keys", ("ed25519", "mldsa65"))
    classical, lattice = keys.raw("ed25519", 32), keys.blob("mldsa65", limit=_MLDSA65_PUBLIC_BYTES)
    if len(lattice) != _MLDSA65_PUBLIC_BYTES or base64_text(lattice) != keys.value["mldsa65"]:
        raise ManifestError("the broker's keys are malformed")
    signature = Document(reply.object("signature"), "its signature", ("ed25519", "mldsa65"))
    signature.text("mldsa65", limit=1 << 16)
    body = {key: value for key, value in reply.value.items() if key != "signature"}
    message = _REPLY_TAG.encode() + b"\0" + canonical_json(body)
    if not signed_by(classical, signature.raw("ed25519", 64), message):
        raise SignatureInvalid("a receipt is not signed by the keys it names", step=step)
    return hash_bytes(_KEYS_TAG, classical + lattice)


def signed_by(public: bytes, signature: bytes, message: bytes) -> bool:
    """Ed25519 (RFC 8032, 5.1.7) by a key in its one encoding.

    OpenSSL reads a y of p or more as its remainder, and takes the sign of an x of zero for what it
    says; RFC 8032, 5.1.3 refuses both, and so does every verifier of bundles.
    """
    y = int.from_bytes(public, "little") & ((1 << 255) - 1)
    if y >= _FIELD or (public[31] >> 7 and y in {1, _FIELD - 1}):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _prove(case: Case, receipt: Receipt, step: int) -> Release:
    """The anchoring of a receipt's root and the registration of its broker's key, on chain."""

    def word(number: int) -> bytes:
        slot = broker_slot(receipt.broker, number)
        return case.word(CONTRACT, slot, f"broker {receipt.broker}", step=step)

    ours = [
        event
        for event in case.events
        if event.contract == CONTRACT and event.args["brokerId"] == receipt.broker
    ]
    anchored = [
        event
        for event in ours
        if event.name == "ReceiptsAnchored" and event.number("seq") == receipt.anchoring
    ]
    if len(anchored) != 1:
        raise StateProofInvalid("the bundle lacks the anchoring of a receipt", step=step)
    event = anchored[0]
    if (event.digest("root"), event.number("count")) != (receipt.root, receipt.count):
        raise ClaimMismatch("a receipt's root is not the one that was anchored", step=step)
    if None not in {receipt.transaction, event.transaction} and (
        receipt.transaction != event.transaction
    ):
        raise ClaimMismatch("a receipt's root was anchored by another transaction", step=step)
    keys = [
        event_
        for event_ in ours
        if event_.name == "BrokerKeysSet"
        and event_.digest("signingKeyHash") == receipt.key_hash
        and event_.position < event.position
    ]
    if not keys:
        raise StateProofInvalid("the bundle lacks the registration of a broker's key", step=step)
    epoch = keys[-1].number("epoch")
    now = BrokerWord.parse(word(0))
    if now.operator.raw == bytes(20) or not epoch <= now.epoch:
        raise StateProofInvalid("the proved state knows no such broker", step=step)
    if epoch == now.epoch and word(1) != receipt.key_hash.raw:
        raise StateProofInvalid("the proved state names another key of the broker", step=step)
    if now.anchorings < receipt.anchoring or (
        now.anchorings == receipt.anchoring and word(4) != receipt.root.raw
    ):
        raise StateProofInvalid("the proved state has another anchoring of receipts", step=step)
    return Release(receipt, event, epoch)


def told(case: Case) -> Any | None:
    """What goes into the statement under "releases"; None if there is nothing to tell."""
    return case.releases


def lines(found: Any) -> list[str]:
    """The same in plain text, for ``report.txt``."""
    text = ["", "Answers of key brokers, each under a root that the broker's operator anchored:"]
    for one in found:
        outcome = "key released" if one["granted"] else "refused"
        text.append(
            f"  {utc(one['not_later_than'])}  license {one['license']}: {outcome}, receipt "
            f"{one['sequence']} of broker {one['broker']} (block {one['block']})"
        )
        text.append(
            f"    by the broker's clock {utc(one['claimed_at'])}; key of its epoch "
            f"{one['key_epoch']}; receipt {one['receipt']}"
        )
    return text
