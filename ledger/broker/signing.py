"""Hybrid signatures of a broker: Ed25519 (RFC 8032) and ML-DSA-65 (FIPS 204), both or nothing.

A reply is a JSON object; its signature covers ``tag ‖ 00 ‖ canonical(signed form)``, where the
signed form leaves out the member ``signature`` and, in each entry of ``wraps``, the member
``wrap``: the entry's ``hash`` stands for the ciphertext, so a receipt log can drop the ciphertext
and still prove what was sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from ledger.canonical import canonical_json, canonical_object, hash_bytes
from ledger.errors import ManifestError, SignatureInvalid
from ledger.ids import Digest
from ledger.licensing.document import Document, base64_text, hex_text
from ledger.sealed.recipients import MAX_WRAP_BYTES

KEYS_TAG: Final = "modeldeed/broker-signing-keys/1"
REPLY_TAG: Final = "modeldeed/broker-reply/1"
WRAP_TAG: Final = "modeldeed/wrap-hash/1"

ED25519_BYTES: Final = 32
MLDSA65_PUBLIC_BYTES: Final = 1952
MLDSA65_SIGNATURE_BYTES: Final = 3309


@dataclass(frozen=True, slots=True)
class BrokerPublicKeys:
    """Both public keys of a broker, raw."""

    ed25519: bytes
    mldsa65: bytes

    def __post_init__(self) -> None:
        if len(self.ed25519) != ED25519_BYTES or len(self.mldsa65) != MLDSA65_PUBLIC_BYTES:
            raise ManifestError("a broker's signing keys have 32 (Ed25519) and 1952 (ML-DSA) bytes")

    def hash(self) -> Digest:
        """``signingKeyHash`` of BrokerRegistry: SHA-256 of tag ‖ 00 ‖ ed25519 ‖ mldsa65."""
        return hash_bytes(KEYS_TAG, self.ed25519 + self.mldsa65)

    def to_json(self) -> dict[str, str]:
        """Both keys as text."""
        return {"ed25519": hex_text(self.ed25519), "mldsa65": base64_text(self.mldsa65)}

    @classmethod
    def from_json(cls, value: Any) -> BrokerPublicKeys:
        """Read both keys.

        Raises:
            ManifestError: not two keys.
        """
        doc = Document(value, "the broker's signing keys", ("ed25519", "mldsa65"))
        return cls(
            doc.raw("ed25519", ED25519_BYTES), doc.blob("mldsa65", limit=MLDSA65_PUBLIC_BYTES)
        )

    def verify(self, reply: Any, *, step: int = 0) -> None:
        """Check both signatures of a reply.

        Raises:
            ManifestError: no signature of the right form, or a wrap without its hash.
            SignatureInvalid: one of the two does not verify, or a wrap is not the signed one.
        """
        if not isinstance(reply, dict):
            raise ManifestError("the broker's reply is not a JSON object")
        doc = Document(reply.get("signature"), "the broker's signature", ("ed25519", "mldsa65"))
        classical = doc.raw("ed25519", 64)
        post_quantum = doc.blob("mldsa65", limit=MLDSA65_SIGNATURE_BYTES)
        message = signed_bytes(reply, step=step)
        try:
            Ed25519PublicKey.from_public_bytes(self.ed25519).verify(classical, message)
            MLDSA65PublicKey.from_public_bytes(self.mldsa65).verify(post_quantum, message)
        except (InvalidSignature, ValueError):
            raise SignatureInvalid(
                "the reply is not signed by this broker's keys",
                step=step,
                hint="someone answers in the broker's place, or its keys were rotated; get a "
                "fresh license card",
            ) from None


@dataclass(frozen=True, slots=True)
class BrokerSigningKeys:
    """Both private keys, as 32-byte seeds, of a broker. Its repr shows neither."""

    ed25519_seed: bytes = field(repr=False)
    mldsa65_seed: bytes = field(repr=False)
    _keys: list[tuple[Ed25519PrivateKey, MLDSA65PrivateKey]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    @classmethod
    def generate(cls) -> BrokerSigningKeys:
        """Two fresh keys."""
        return cls(
            Ed25519PrivateKey.generate().private_bytes_raw(),
            MLDSA65PrivateKey.generate().private_bytes_raw(),
        )

    @property
    def public(self) -> BrokerPublicKeys:
        """The public halves."""
        classical = Ed25519PrivateKey.from_private_bytes(self.ed25519_seed)
        post_quantum = MLDSA65PrivateKey.from_seed_bytes(self.mldsa65_seed)
        return BrokerPublicKeys(
            classical.public_key().public_bytes_raw(), post_quantum.public_key().public_bytes_raw()
        )

    def sign(self, reply: dict[str, Any]) -> dict[str, Any]:
        """The reply with its member ``signature``; the argument is left as it was."""
        return self.sign_whole(reply)[0]

    def sign_whole(self, reply: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """The signed reply, and its canonical bytes without ciphertexts, as the log keeps it."""
        _check_wraps(reply, step=0)
        members = {
            name: canonical_json(value) for name, value in without_ciphertexts(reply).items()
        }
        members.pop("signature", None)
        message = REPLY_TAG.encode() + b"\0" + canonical_object(members)
        classical, post_quantum = self._expanded()
        signature = {
            "ed25519": hex_text(classical.sign(message)),
            "mldsa65": base64_text(post_quantum.sign(message)),
        }
        members["signature"] = canonical_json(signature)
        return {**reply, "signature": signature}, canonical_object(members)

    def _expanded(self) -> tuple[Ed25519PrivateKey, MLDSA65PrivateKey]:
        # Expanding the lattice seed costs a fifth of a signature, so it is done once.
        if not self._keys:
            self._keys.append(
                (
                    Ed25519PrivateKey.from_private_bytes(self.ed25519_seed),
                    MLDSA65PrivateKey.from_seed_bytes(self.mldsa65_seed),
                )
            )
        return self._keys[0]


def signed_with(reply: dict[str, Any], keys: Sequence[BrokerPublicKeys]) -> BrokerPublicKeys:
    """Which of a broker's pairs of keys, present and former, signed a reply.

    Raises:
        SignatureInvalid: none of them.
    """
    for each in keys:
        with suppress(SignatureInvalid):
            each.verify(reply)
            return each
    raise SignatureInvalid("the reply is signed by none of the broker's keys")


def wrap_hash(wrap: bytes) -> Digest:
    """What a reply's signature covers of one ciphertext."""
    return hash_bytes(WRAP_TAG, wrap)


def without_ciphertexts(reply: dict[str, Any]) -> dict[str, Any]:
    """The message as the receipt log keeps it: each wrap by its hash alone.

    Of a deposit's cells the record hashes are left out too: the sealing record commits to them.
    """
    if "wraps" not in reply:
        return reply
    if isinstance(reply.get("cells"), dict) and "records" in reply["cells"]:
        reply = {**reply, "cells": {**reply["cells"], "records": None}}
    kept = [
        {key: value for key, value in entry.items() if key != "wrap"} for entry in reply["wraps"]
    ]
    return {**reply, "wraps": kept}


def signed_bytes(reply: dict[str, Any], *, step: int = 0) -> bytes:
    """The bytes both signatures cover.

    Raises:
        ManifestError: the wraps are not a list of objects with a hash.
        SignatureInvalid: a wrap's hash is not its ciphertext's.
    """
    _check_wraps(reply, step=step)
    body = {key: value for key, value in reply.items() if key != "signature"}
    return REPLY_TAG.encode() + b"\0" + canonical_json(without_ciphertexts(body))


def _check_wraps(reply: dict[str, Any], *, step: int) -> None:
    wraps = reply.get("wraps", [])
    if not isinstance(wraps, list):
        raise ManifestError("the broker's reply: wraps must be a list")
    for entry in wraps:
        doc = Document(entry, "a wrap of the reply", ("label", "hash", "wrap"))
        stated = doc.digest("hash")
        if doc.has("wrap") and wrap_hash(doc.blob("wrap", limit=MAX_WRAP_BYTES)) != stated:
            raise SignatureInvalid("a wrapped key is not the one that was signed", step=step)
