"""Where a runtime's private key lives: in its key file, or behind a plug-in (TPM, PKCS#11).

A plug-in is a Python package with an entry point in the group ``modeldeed.runtime_signers``: a
callable ``open(options)`` that gives a `RuntimeSigner`. The key file then names the plug-in, its
options and the public key it must answer with, and holds no secret.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Final, Protocol

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ledger.broker.grants import ALG_ED25519, ALG_P256, RuntimeKey, runtime_message
from ledger.errors import ConfigurationError, KeyAccessError, LedgerError, ManifestError
from ledger.ids import Digest
from ledger.licensing.document import Document, hex_text

GROUP: Final = "modeldeed.runtime_signers"
ALGS: Final = {"ed25519": ALG_ED25519, "p256": ALG_P256}
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class RuntimeSigner(Protocol):
    """Signs with a private key that may not be in this process."""

    @property
    def key(self) -> RuntimeKey:
        """The public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """64 bytes: Ed25519 over the message, or ``r ‖ s`` of P-256 over its SHA-256."""
        ...


@dataclass(frozen=True, slots=True)
class FileSigner:
    """A key of 32 secret bytes: Ed25519's seed, or P-256's scalar, big-endian."""

    alg: int
    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls, alg: int) -> FileSigner:
        """A new key.

        Raises:
            ManifestError: no such algorithm.
        """
        if alg == ALG_ED25519:
            return cls(alg, secrets.token_bytes(32))
        if alg == ALG_P256:
            return cls(alg, (1 + secrets.randbelow(_ORDER - 1)).to_bytes(32, "big"))
        raise ManifestError("a runtime key is of Ed25519 (1) or P-256 (2)")

    @property
    def key(self) -> RuntimeKey:
        """The public key."""
        if self.alg == ALG_ED25519:
            public = Ed25519PrivateKey.from_private_bytes(self.seed).public_key()
            return RuntimeKey(ALG_ED25519, public.public_bytes_raw())
        point = self._scalar().public_key()
        raw = point.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        return RuntimeKey(ALG_P256, raw)

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        if self.alg == ALG_ED25519:
            return Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)
        r, s = decode_dss_signature(self._scalar().sign(message, ec.ECDSA(SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def _scalar(self) -> ec.EllipticCurvePrivateKey:
        value = int.from_bytes(self.seed, "big")
        if not 0 < value < _ORDER:
            raise ManifestError("the key file's seed is no P-256 key")
        return ec.derive_private_key(value, ec.SECP256R1())


def key_members(
    alg: int, plugin: str | None = None, options: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Make a key; the members of a key file that hold it, or say where it is.

    Args:
        alg: 1 Ed25519, 2 P-256.
        plugin: name of the entry point; None keeps the key in the file.
        options: what the plug-in is opened with. No secret: the file says them in plain text.

    Raises:
        ConfigurationError: no such plug-in, or its key is of another algorithm.
        KeyAccessError: the plug-in fails.
    """
    if plugin is None:
        return {"alg": alg, "seed": hex_text(FileSigner.generate(alg).seed)}
    chosen = dict(options or {})
    key = _open(plugin, chosen).key
    if key.alg != alg:
        raise ConfigurationError(
            f"the signer {plugin} has a key of algorithm {key.alg}, not {alg}",
            hint="choose the algorithm of the key with --alg",
        )
    return {"alg": alg, "signer": {"plugin": plugin, "options": chosen, "key": key.to_json()}}


def open_key(doc: Document) -> RuntimeSigner:
    """The signer of a key file.

    Raises:
        ManifestError: not such members.
        ConfigurationError: the plug-in is not installed, or answers with another key.
        KeyAccessError: the plug-in fails.
    """
    alg = doc.integer("alg", ALG_ED25519, ALG_P256)
    if not doc.has("signer"):
        signer = FileSigner(alg, doc.raw("seed", 32))
        if alg == ALG_P256:
            _ = signer.key  # a scalar out of range is a broken file, told now
        return signer
    if doc.has("seed"):
        raise doc.fail("seed", "absent beside a signer")
    told = Document(doc.object("signer"), "the key file's signer", ("plugin", "options", "key"))
    options = told.object("options")
    if not all(isinstance(value, str) for value in options.values()):
        raise told.fail("options", "an object of texts")
    expected, plugin = RuntimeKey.from_json(told.object("key")), told.text("plugin", limit=100)
    opened = _open(plugin, options)
    if opened.key != expected or expected.alg != alg:
        raise ConfigurationError(
            f"the signer {plugin} answers with another key than the key file names",
            hint="plug in the right token, or make a new key: deed runtime init",
        )
    return opened


def sign_digest(signer: RuntimeSigner, digest: Digest) -> bytes:
    """A runtime's signature of a digest, checked before it is used.

    Raises:
        KeyAccessError: a plug-in failed.
        SignatureInvalid: it signed wrongly.
    """
    try:
        signature = bytes(signer.sign(runtime_message(digest)))
    except LedgerError:
        raise
    except Exception as error:  # noqa: BLE001  a stranger's code
        # A stranger's code: its message may show what it was given.
        raise KeyAccessError(
            f"the runtime's signer failed ({type(error).__name__})",
            hint="check that the token is there and unlocked",
        ) from None
    if not isinstance(signer, FileSigner):
        signer.key.verify(signature, digest)
    return signature


def _open(plugin: str, options: Mapping[str, str]) -> RuntimeSigner:
    found = [entry for entry in metadata.entry_points(group=GROUP) if entry.name == plugin]
    if not found:
        raise ConfigurationError(
            f"there is no signer {plugin!r} on this host",
            hint=f"install the package that provides it (entry point group {GROUP})",
        )
    try:
        opening: Callable[[Mapping[str, str]], RuntimeSigner] = found[0].load()
        signer = opening(dict(options))
        key = signer.key
    except LedgerError:
        raise
    except Exception as error:  # noqa: BLE001  a stranger's code
        raise KeyAccessError(
            f"the signer {plugin} cannot be opened ({type(error).__name__})",
            hint="check its options, and that the token is there and unlocked",
        ) from None
    if not isinstance(key, RuntimeKey):
        raise ConfigurationError(
            f"the signer {plugin} gives no runtime key", hint="update the package it comes from"
        )
    return signer
