"""Content keys at rest: encryption under a passphrase, and the key store that holds the KEK.

The passphrase form is one JSON object, used for a broker's KEK and for a licensor's recovery file
(docs/spec/recovery-file.md). A ``KeyStore`` never gives its key-encryption key away;
``custodians`` says where the key comes from.
"""

from __future__ import annotations

import os
import resource
import secrets
import stat
from pathlib import Path
from typing import Any, Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ledger.canonical import canonical_json
from ledger.errors import (
    ConfigurationError,
    KeyAccessError,
    LimitExceeded,
    UsageError,
    WrongPassphrase,
)
from ledger.files import sync_folder, write_whole
from ledger.licensing.document import Document, base64_text, hex_text
from ledger.paths import require_file_name
from ledger.sealed.memory import Secret

HEADER_TAG: Final = "modeldeed/passphrase/1"
AT_REST_TAG: Final = "modeldeed/at-rest/1"
COST: Final = 17
"""log2 of scrypt's N: 128 MiB and about half a second with r = 8 (RFC 7914; OWASP's minimum)."""
_COSTS = range(14, 21)
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
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
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(NONCE_BYTES)
    header = {
        "version": 1,
        "purpose": purpose,
        "kdf": {"name": "scrypt", "log2_n": cost, "r": 8, "p": 1, "salt": hex_text(salt)},
        "cipher": {"name": "aes-256-gcm", "nonce": hex_text(nonce)},
    }
    with _stretch(passphrase, salt, cost) as key:
        sealed = AESGCM(key.view).encrypt(nonce, data, _header_bytes(header))
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
    salt, nonce = kdf.raw("salt", 16), cipher.raw("nonce", NONCE_BYTES)
    sealed = doc.blob("ciphertext", limit=_MAX_BYTES)
    plain = bytearray(max(0, len(sealed) - TAG_BYTES))
    with _stretch(passphrase, salt, cost) as key:
        try:
            AESGCM(key.view).decrypt_into(nonce, sealed, _header_bytes(header), plain)
        except (InvalidTag, ValueError):
            zero(plain)
            raise WrongPassphrase(f"the passphrase does not open this {purpose} file") from None
    return plain


def _header_bytes(header: dict[str, Any]) -> bytes:
    return HEADER_TAG.encode() + b"\0" + canonical_json(header)


def _stretch(passphrase: str, salt: bytes, cost: int) -> Secret:
    key = Secret(32)
    Scrypt(salt=salt, length=32, n=1 << cost, r=8, p=1).derive_into(passphrase.encode(), key.view)
    return key


def forbid_core_dumps() -> None:
    """Let this process leave no core, whatever ends it.

    Signing seeds and KEM keys lie in the heap of a broker while it runs, and libraries copy
    what they use where nobody can mark it.
    """
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    # Linux hands a core to a program even at a limit of 0, and to nobody at 1.
    limit = hard if hard == 0 else 1
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


class KeyStore(Protocol):
    """Encrypts small secrets under a key that stays inside. Thread-safe."""

    @property
    def kek_id(self) -> str:
        """Public name of the key-encryption key in use."""
        ...

    def encrypt(self, secret: bytes | bytearray, *, context: str) -> bytes:
        """Encrypt; `context` says what it is and is authenticated.

        Raises:
            BrokerUnavailable: whatever holds the key does not answer.
        """
        ...

    def decrypt(self, blob: bytes, *, context: str) -> bytearray:
        """Undo ``encrypt``; the caller zeroes the result.

        Raises:
            KeyAccessError: another key, another context, or altered bytes.
            BrokerUnavailable: whatever holds the key does not answer.
        """
        ...

    def close(self) -> None:
        """Forget the key, or the way to it."""
        ...


class LocalKeyStore:
    """A KEK in a locked page of this process, which core dumps leave out.

    Args:
        kek: 32 bytes; zeroed here.
        kek_id: its public name.
    """

    def __init__(self, kek: bytearray, kek_id: str) -> None:
        self._kek = Secret.of(kek)
        self._kek_id = kek_id
        self._closed = False
        zero(kek)

    def __repr__(self) -> str:
        return f"LocalKeyStore(kek_id={self._kek_id!r})"

    @property
    def kek_id(self) -> str:
        """Public name of the KEK."""
        return self._kek_id

    def encrypt(self, secret: bytes | bytearray, *, context: str) -> bytes:
        """Nonce ‖ AES-256-GCM ciphertext ‖ tag."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher().encrypt(nonce, secret, context_bytes(context))

    def decrypt(self, blob: bytes, *, context: str) -> bytearray:
        """Undo ``encrypt``.

        Raises:
            KeyAccessError: another key, another context, or altered bytes.
        """
        nonce, sealed = blob[:NONCE_BYTES], blob[NONCE_BYTES:]
        plain = bytearray(max(0, len(sealed) - TAG_BYTES))
        try:
            self._cipher().decrypt_into(nonce, sealed, context_bytes(context), plain)
        except (InvalidTag, ValueError):
            zero(plain)
            raise stored_secret_rejected(self._kek_id) from None
        return plain

    def close(self) -> None:
        """Zero the KEK."""
        self._closed = True
        self._kek.wipe()

    def _cipher(self) -> AESGCM:
        # A cipher object holds the expanded key on the heap, so none outlives its call.
        if self._closed:
            raise UsageError("the key store is closed")
        return AESGCM(self._kek.view)


def stored_secret_rejected(kek_id: str) -> KeyAccessError:
    """The error of every key store for a blob that does not open."""
    return KeyAccessError(
        f"the stored secret does not open under key {kek_id}",
        hint="the broker's database and keys.json do not belong together; restore both",
    )


def context_bytes(context: str) -> bytes:
    """The associated data of a stored secret."""
    return AT_REST_TAG.encode() + b"\0" + context.encode()


def zero(secret: bytearray) -> None:
    """Overwrite a secret in place."""
    secret[:] = bytes(len(secret))


def write_private(path: Path, data: bytes, *, replace: bool = False) -> None:
    """Write a file that only its owner can read, whole or not at all, synced to disk.

    Raises:
        ConfigurationError: it exists and `replace` is false, is a folder, or cannot be written.
    """
    try:
        write_whole(require_file_name(path), data, mode=0o600, replace=replace)
    except FileExistsError:
        raise ConfigurationError(
            f"{path} is already there", hint="choose another name; keys are never overwritten"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None


def destroy_file(path: Path) -> None:
    """Overwrite a file and remove it; one that is not there is no error.

    A file system that copies on write, or a drive that spreads its writes, may keep the old
    blocks: docs/spec/broker-home.md says what that means. A file with other names is not
    overwritten, only removed.

    Raises:
        ConfigurationError: it cannot be removed.
    """
    try:
        with path.open("r+b") as file:
            status = os.fstat(file.fileno())
            if status.st_nlink == 1:
                file.write(bytes(status.st_size))
                file.flush()
                os.fsync(file.fileno())
        path.unlink()
        sync_folder(path.parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(f"cannot remove {path}: {error.strerror}") from None


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
                    f"{path} can be read by others: its mode is {stat.S_IMODE(mode):04o}",
                    hint=f"run chmod 600 {path}",
                )
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise ConfigurationError(f"there is no {path}") from None
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > limit:
        raise LimitExceeded(f"{path} has over {limit} bytes")
    return data
