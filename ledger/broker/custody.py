"""Content keys at rest: encryption under a passphrase, and the key store that holds the KEK.

The passphrase form is one JSON object, used for a broker's key store and for a licensor's recovery
file (docs/spec/recovery-file.md). A ``KeyStore`` never gives its key-encryption key away; other
custodians (PKCS#11, a cloud KMS) implement the same two calls.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any, Final, Protocol, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ledger.canonical import canonical_json, parse_json
from ledger.errors import (
    ConfigurationError,
    KeyAccessError,
    LimitExceeded,
    UsageError,
    WrongPassphrase,
)
from ledger.licensing.document import Document, base64_text, hex_text
from ledger.paths import require_file_name

HEADER_TAG: Final = "modeldeed/passphrase/1"
AT_REST_TAG: Final = "modeldeed/at-rest/1"
KEYSTORE_PURPOSE: Final = "broker-keystore"
COST: Final = 17
"""log2 of scrypt's N: 128 MiB and about half a second with r = 8 (RFC 7914; OWASP's minimum)."""
_COSTS = range(14, 21)
_NONCE = 12
_MAX_BYTES = 64 << 20


def encrypt_with_passphrase(
    data: bytes | bytearray, passphrase: str, *, purpose: str, cost: int = COST
) -> dict[str, Any]:
    """Encrypt (scrypt, AES-256-GCM) into a JSON object.

    Args:
        data: the secret.
        passphrase: any text; its UTF-8 form is used.
        purpose: what it is for; part of the authenticated data, asked for again at decryption.
        cost: log2 of scrypt's N, 14 to 20.

    Raises:
        UsageError: the passphrase is empty or the cost out of range.
    """
    if not passphrase:
        raise UsageError("an empty passphrase protects nothing", hint="give a passphrase")
    if cost not in _COSTS:
        raise UsageError("the cost of scrypt is from 14 to 20 (log2 of N)")
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(_NONCE)
    header = {
        "version": 1,
        "purpose": purpose,
        "kdf": {"name": "scrypt", "log2_n": cost, "r": 8, "p": 1, "salt": hex_text(salt)},
        "cipher": {"name": "aes-256-gcm", "nonce": hex_text(nonce)},
    }
    key = _stretch(passphrase, salt, cost)
    sealed = AESGCM(key).encrypt(nonce, data, _header_bytes(header))
    return {**header, "ciphertext": base64_text(sealed)}


def decrypt_with_passphrase(document: Any, passphrase: str, *, purpose: str) -> bytearray:
    """Undo ``encrypt_with_passphrase``; the caller zeroes the result.

    Raises:
        ManifestError: not such an object, or one for another purpose.
        LimitExceeded: parameters beyond what is computed on request of a file.
        WrongPassphrase: the passphrase is wrong, or the file was altered.
    """
    doc = Document(
        document,
        "the encrypted file",
        ("version", "purpose", "kdf", "cipher", "ciphertext"),
    )
    doc.integer("version", 1, 1)
    doc.choice("purpose", (purpose,))
    kdf = Document(doc.object("kdf"), "its kdf", ("name", "log2_n", "r", "p", "salt"))
    cipher = Document(doc.object("cipher"), "its cipher", ("name", "nonce"))
    kdf.choice("name", ("scrypt",))
    cipher.choice("name", ("aes-256-gcm",))
    kdf.integer("r", 8, 8)
    kdf.integer("p", 1, 1)
    cost = kdf.integer("log2_n")
    if cost not in _COSTS:
        raise LimitExceeded(f"scrypt with N = 2^{cost} is not computed; 2^14 to 2^20 are")
    header = {name: document[name] for name in ("version", "purpose", "kdf", "cipher")}
    key = _stretch(passphrase, kdf.raw("salt", 16), cost)
    sealed = doc.blob("ciphertext", limit=_MAX_BYTES)
    try:
        plain = AESGCM(key).decrypt(cipher.raw("nonce", _NONCE), sealed, _header_bytes(header))
    except InvalidTag:
        raise WrongPassphrase(f"the passphrase does not open this {purpose} file") from None
    return bytearray(plain)


def _header_bytes(header: dict[str, Any]) -> bytes:
    return HEADER_TAG.encode() + b"\0" + canonical_json(header)


def _stretch(passphrase: str, salt: bytes, cost: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=1 << cost, r=8, p=1).derive(passphrase.encode())


class KeyStore(Protocol):
    """Encrypts small secrets under a key that stays inside."""

    @property
    def kek_id(self) -> str:
        """Public name of the key-encryption key in use."""
        ...

    def encrypt(self, secret: bytes | bytearray, *, context: str) -> bytes:
        """Encrypt; `context` says what it is and is authenticated."""
        ...

    def decrypt(self, blob: bytes, *, context: str) -> bytearray:
        """Undo ``encrypt``; the caller zeroes the result.

        Raises:
            KeyAccessError: another key, another context, or altered bytes.
        """
        ...


class FileKeyStore:
    """The default custodian: a random KEK in a file, encrypted under a passphrase."""

    def __init__(self, kek: bytearray, kek_id: str) -> None:
        self._kek = kek
        self._kek_id = kek_id

    def __repr__(self) -> str:
        return f"FileKeyStore(kek_id={self._kek_id!r})"

    @property
    def kek_id(self) -> str:
        """Public name of the KEK."""
        return self._kek_id

    @classmethod
    def create(cls, path: Path, passphrase: str, *, cost: int = COST) -> Self:
        """Make a KEK and write its file with mode 0600.

        Raises:
            ConfigurationError: the file is already there.
        """
        kek = bytearray(secrets.token_bytes(32))
        kek_id = secrets.token_hex(8)
        document = {
            "type": "modeldeed/keystore",
            "version": 1,
            "kek_id": kek_id,
            "sealed": encrypt_with_passphrase(kek, passphrase, purpose=KEYSTORE_PURPOSE, cost=cost),
        }
        write_private(path, json.dumps(document, indent=2).encode() + b"\n")
        return cls(kek, kek_id)

    @classmethod
    def open(cls, path: Path, passphrase: str) -> Self:
        """Read the file that ``create`` wrote.

        Raises:
            ConfigurationError: no such file.
            ManifestError: not a key store.
            WrongPassphrase: the passphrase does not open it.
        """
        document = parse_json(read_private(path), what="the key store", limit=1 << 16)
        doc = Document(document, "the key store", ("type", "version", "kek_id", "sealed"))
        doc.kind("modeldeed/keystore")
        kek = decrypt_with_passphrase(doc.object("sealed"), passphrase, purpose=KEYSTORE_PURPOSE)
        return cls(kek, doc.text("kek_id", limit=64))

    def encrypt(self, secret: bytes | bytearray, *, context: str) -> bytes:
        """Nonce ‖ AES-256-GCM ciphertext ‖ tag."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + AESGCM(self._kek).encrypt(nonce, secret, _context_bytes(context))

    def decrypt(self, blob: bytes, *, context: str) -> bytearray:
        """Undo ``encrypt``.

        Raises:
            KeyAccessError: another key, another context, or altered bytes.
        """
        try:
            plain = AESGCM(self._kek).decrypt(blob[:_NONCE], blob[_NONCE:], _context_bytes(context))
        except (InvalidTag, ValueError):
            raise KeyAccessError(
                f"the stored secret does not open under key {self._kek_id}",
                hint="the broker's database and key store do not belong together; restore both",
            ) from None
        return bytearray(plain)

    def close(self) -> None:
        """Zero the KEK."""
        zero(self._kek)


def _context_bytes(context: str) -> bytes:
    return AT_REST_TAG.encode() + b"\0" + context.encode()


def zero(secret: bytearray) -> None:
    """Overwrite a secret in place."""
    secret[:] = bytes(len(secret))


def write_private(path: Path, data: bytes, *, replace: bool = False) -> None:
    """Write a file that only its owner can read, whole or not at all, synced to disk.

    Raises:
        ConfigurationError: it exists and `replace` is false, is a folder, or cannot be written.
    """
    temporary = require_file_name(path).with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                temporary.replace(path)
            else:
                os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        raise ConfigurationError(
            f"{path} is already there", hint="choose another name; keys are never overwritten"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None


def read_private(path: Path, *, limit: int = 1 << 20) -> bytes:
    """Read a file that must not be readable by others.

    Raises:
        ConfigurationError: it is missing, unreadable, too open, or too large.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & 0o077:
                raise ConfigurationError(
                    f"{path} can be read by others", hint=f"run chmod 600 {path}"
                )
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise ConfigurationError(f"there is no {path}") from None
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > limit:
        raise LimitExceeded(f"{path} has over {limit} bytes")
    return data
