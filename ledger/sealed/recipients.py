"""Wraps a secret for the holder of a KEM key, apart from any file it opens.

HPKE base mode (RFC 9180) with HKDF-SHA-256 and AES-256-GCM; the KEM is X25519, or by default the
hybrid X-Wing (ML-KEM-768 with X25519, draft-connolly-cfrg-xwing-kem; HPKE id 0x647a). What a wrap
is for goes into `info`: a wrap does not open under another one. ``docs/spec/wrap.md``.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import Self, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from ledger.canonical import hash_bytes
from ledger.errors import LimitExceeded, NoIdentityMatch, UnsupportedVersion, UsageError
from ledger.ids import Digest
from ledger.sealed.memory import burn

X25519 = 1
MLKEM768_X25519 = 2
DEFAULT_SUITE = MLKEM768_X25519
VERSION = 1
MAX_SECRET_BYTES = 1 << 19
TAG_KEY = "modeldeed/kem-key/1"
TAG_WRAP = b"modeldeed/wrap/1"

_TAG_BYTES = 16
_ML_SEED, _ML_PUBLIC, _ML_CIPHERTEXT = 64, 1184, 1088
_EC_BYTES = 32
_PUBLIC_BYTES = {X25519: _EC_BYTES, MLKEM768_X25519: _ML_PUBLIC + _EC_BYTES}
_PRIVATE_BYTES = {X25519: _EC_BYTES, MLKEM768_X25519: _ML_SEED + _EC_BYTES}
_ENC_BYTES = {X25519: _EC_BYTES, MLKEM768_X25519: _ML_CIPHERTEXT + _EC_BYTES}
MAX_WRAP_BYTES = MAX_SECRET_BYTES + 2 + _ML_CIPHERTEXT + _EC_BYTES + _TAG_BYTES
_HPKE = {
    X25519: Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
    MLKEM768_X25519: Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
}
_Private: TypeAlias = X25519PrivateKey | MLKEM768X25519PrivateKey
_Public: TypeAlias = X25519PublicKey | MLKEM768X25519PublicKey


def _check_suite(suite: int) -> None:
    if suite not in _HPKE:
        raise UnsupportedVersion(f"KEM suite {suite} is not known")


@dataclass(frozen=True, slots=True)
class KemPublicKey:
    """Whom a secret can be wrapped to.

    Attributes:
        suite: 1 X25519, 2 MLKEM768_X25519.
        raw: 32 or 1216 bytes; of the hybrid, the ML-KEM key and then the X25519 key.
    """

    suite: int
    raw: bytes

    def __post_init__(self) -> None:
        _check_suite(self.suite)
        if len(self.raw) != _PUBLIC_BYTES[self.suite]:
            raise LimitExceeded(
                f"a public key of KEM suite {self.suite} has {_PUBLIC_BYTES[self.suite]} bytes"
            )

    def to_bytes(self) -> bytes:
        """Version, suite, key."""
        return bytes([VERSION, self.suite]) + self.raw

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            UnsupportedVersion: another version or suite.
            LimitExceeded: another length.
        """
        if len(data) < 2 or data[0] != VERSION:
            raise UnsupportedVersion("the KEM key has another version")
        return cls(data[1], bytes(data[2:]))

    def hash(self) -> Digest:
        """What BrokerRegistry and key requests name the key by."""
        return hash_bytes(TAG_KEY, bytes([self.suite]) + self.raw)


class KemPrivateKey:
    """A key pair that secrets are unwrapped with.

    Attributes:
        public: its public half.
    """

    __slots__ = ("_key", "_raw", "public")

    def __init__(self, suite: int, raw: bytes | bytearray | memoryview) -> None:
        """Use :meth:`generate` or :meth:`from_bytes`."""
        _check_suite(suite)
        if len(raw) != _PRIVATE_BYTES[suite]:
            raise LimitExceeded(
                f"a private key of KEM suite {suite} has {_PRIVATE_BYTES[suite]} bytes"
            )
        self._raw = bytearray(raw)
        # Views of it: slices would be copies that stay in memory, freed.
        whole = memoryview(self._raw)
        exchange = X25519PrivateKey.from_private_bytes(whole[-_EC_BYTES:])
        public = exchange.public_key().public_bytes_raw()
        self._key: _Private | None = exchange
        if suite == MLKEM768_X25519:
            lattice = MLKEM768PrivateKey.from_seed_bytes(whole[:_ML_SEED])
            public = lattice.public_key().public_bytes_raw() + public
            self._key = MLKEM768X25519PrivateKey(lattice, exchange)
        self.public = KemPublicKey(suite, public)

    @classmethod
    def generate(cls, suite: int = DEFAULT_SUITE) -> Self:
        """A new key from the system's randomness.

        Raises:
            UnsupportedVersion: an unknown suite.
        """
        _check_suite(suite)
        # Both keys are uniform random bytes; what the library generates it copies on the way out.
        raw = os.urandom(_PRIVATE_BYTES[suite])
        try:
            return cls(suite, raw)
        finally:
            burn(raw)

    def to_bytes(self) -> bytearray:
        """Version, suite, key: a secret, which the caller should zero.

        Raises:
            UsageError: the key was wiped.
        """
        if self._key is None:
            raise UsageError("the private key was wiped")
        out = bytearray(2 + len(self._raw))
        out[:2] = (VERSION, self.public.suite)
        out[2:] = self._raw
        return out

    @classmethod
    def from_bytes(cls, data: bytes | bytearray) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            UnsupportedVersion: another version or suite.
            LimitExceeded: another length.
        """
        if len(data) < 2 or data[0] != VERSION:
            raise UnsupportedVersion("the KEM key has another version")
        return cls(data[1], memoryview(data)[2:])

    def wipe(self) -> None:
        """Zero our copy and drop the library's."""
        self._raw[:] = bytes(len(self._raw))
        self._key = None

    def decrypt(self, ciphertext: bytes, info: bytes) -> bytearray:
        """HPKE open with this key; :func:`unwrap` is the face.

        Raises:
            UsageError: the key was wiped.
            NoIdentityMatch: it does not open.
        """
        if self._key is None:
            raise UsageError("the private key was wiped")
        try:
            secret = _HPKE[self.public.suite].decrypt(ciphertext, self._key, info=info)
        except (InvalidTag, ValueError):
            raise NoIdentityMatch(
                "the wrap does not open with this key for this purpose",
                tried=(self.public.hash().short,),
                hint="it was made for another key, license or request; ask the broker again",
            ) from None
        value = bytearray(secret)
        burn(secret)
        return value

    def __repr__(self) -> str:
        return f"<KemPrivateKey suite {self.public.suite} {self.public.hash().short}>"

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, TypeError):
            self.wipe()


def _info(suite: int, info: bytes) -> bytes:
    return TAG_WRAP + b"\0" + bytes([suite]) + info


def wrap(secret: bytes | bytearray | memoryview, to: KemPublicKey, *, info: bytes) -> bytes:
    """Encrypt `secret` so that only the holder of `to` opens it, and only under `info`.

    Returns:
        Version, suite, KEM share, ciphertext: 50 bytes longer than the secret, or 1138.

    Raises:
        LimitExceeded: an empty secret, or one of more than 512 KiB.
        NoIdentityMatch: `to` is not a key that can be wrapped to.
    """
    if not 1 <= len(secret) <= MAX_SECRET_BYTES:
        raise LimitExceeded(f"a secret of {len(secret)} bytes cannot be wrapped")
    try:
        sealed = _HPKE[to.suite].encrypt(secret, _public(to), info=_info(to.suite, info))
    except ValueError:
        # A point of small order, or lattice coefficients out of range.
        raise NoIdentityMatch(
            "the public key is not one that a secret can be wrapped to",
            hint="ask its owner for a new key",
        ) from None
    return bytes([VERSION, to.suite]) + sealed


def unwrap(
    blob: bytes, key: KemPrivateKey, *, info: bytes, allowed: frozenset[int] | None = None
) -> bytearray:
    """Open a wrap.

    Args:
        blob: what :func:`wrap` returned.
        key: of the recipient.
        info: the same as when it was wrapped.
        allowed: KEM suites to accept; None accepts the key's own.

    Returns:
        The secret, which the caller should zero.

    Raises:
        UnsupportedVersion: another version, an unknown suite, or one not allowed.
        LimitExceeded: a length that no wrap has.
        NoIdentityMatch: made for another key, another purpose, or altered.
    """
    if len(blob) < 2 or blob[0] != VERSION:
        raise UnsupportedVersion("the wrap has another version")
    suite = blob[1]
    _check_suite(suite)
    if allowed is not None and suite not in allowed:
        raise UnsupportedVersion(f"KEM suite {suite} is not allowed here")
    least = 2 + _ENC_BYTES[suite] + _TAG_BYTES
    if not least < len(blob) <= least + MAX_SECRET_BYTES:
        raise LimitExceeded(f"a wrap of KEM suite {suite} does not have {len(blob)} bytes")
    if suite != key.public.suite:
        raise NoIdentityMatch(
            f"the wrap is for KEM suite {suite}, the key is of suite {key.public.suite}",
            tried=(key.public.hash().short,),
        )
    return key.decrypt(bytes(blob[2:]), _info(suite, info))


def _public(key: KemPublicKey) -> _Public:
    exchange = X25519PublicKey.from_public_bytes(key.raw[-_EC_BYTES:])
    if key.suite == X25519:
        return exchange
    lattice = MLKEM768PublicKey.from_public_bytes(key.raw[:_ML_PUBLIC])
    return MLKEM768X25519PublicKey(lattice, exchange)
