"""Custodians: where a broker's key-encryption key is kept; they make, open and destroy it.

A broker's folder names its custodian and the custodian's settings, which are public
(docs/spec/broker-home.md). Two custodians are here, PKCS#11 tokens are in ``pkcs11``, and others
are found through the entry-point group ``modeldeed.keystores`` (docs/guides/keystores.md).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import secrets
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, Protocol

from ledger.broker.custody import (
    COST,
    KeyStore,
    LocalKeyStore,
    decrypt_with_passphrase,
    encrypt_with_passphrase,
    read_private,
    zero,
)
from ledger.errors import ConfigurationError, KeyAccessError, UsageError
from ledger.ids import quoted
from ledger.licensing.document import Document
from ledger.sealed.memory import burn

GROUP: Final = "modeldeed.keystores"
PURPOSE: Final = "broker-keystore"
KEK_ID_TAG: Final = "modeldeed/kek-id/1"
KEK_BYTES: Final = 32
_MAX_MATERIAL = 256


class Custodian(Protocol):
    """One kind of place for a KEK. Stateless: everything it needs is in the settings.

    Attributes:
        asks: what opens it, as a prompt calls it ("Passphrase", "PIN"); empty when nothing does.
    """

    asks: str

    def create(self, options: Mapping[str, str], secret: str, /) -> tuple[KeyStore, dict[str, Any]]:
        """Make a KEK (or find the one that `options` name), and open it.

        Args:
            options: from ``--option NAME=VALUE``; never secrets.
            secret: what was asked for.

        Returns:
            The open key store, and the settings that find the KEK again: public JSON.

        Raises:
            UsageError: options that cannot be meant.
            ConfigurationError, WrongPassphrase: the place does not open.
        """
        ...

    def open(self, kek_id: str, settings: Mapping[str, Any], secret: str, /) -> KeyStore:
        """Open what ``create`` made.

        Raises:
            ManifestError: these are not its settings.
            ConfigurationError, WrongPassphrase: the place does not open.
            KeyAccessError: another KEK is there.
        """
        ...

    def destroy(self, kek_id: str, settings: Mapping[str, Any], secret: str, /) -> bool:
        """Destroy a KEK that nothing is encrypted under any more; doing it twice is no error.

        Returns:
            False when it lies where only its owner can destroy it.

        Raises:
            ConfigurationError, WrongPassphrase: the place does not open.
        """
        ...


class FileCustodian:
    """A random KEK, encrypted under a passphrase in the broker's own keys.json. The default."""

    asks = "Passphrase"

    def create(self, options: Mapping[str, str], secret: str, /) -> tuple[KeyStore, dict[str, Any]]:
        """Make a KEK. Option ``log2_n``: the cost of scrypt."""
        only(options, "log2_n")
        cost = options.get("log2_n", str(COST))
        if not (cost.isascii() and cost.isdigit()) or len(cost) > 2:
            raise UsageError("log2_n must be a number", hint="leave it away for the usual cost")
        kek = bytearray(secrets.token_bytes(KEK_BYTES))
        sealed = encrypt_with_passphrase(kek, secret, purpose=PURPOSE, cost=int(cost))
        return LocalKeyStore(kek, secrets.token_hex(8)), sealed

    def open(self, kek_id: str, settings: Mapping[str, Any], secret: str, /) -> KeyStore:
        """Decrypt the KEK."""
        kek = decrypt_with_passphrase(dict(settings), secret, purpose=PURPOSE)
        return LocalKeyStore(kek, kek_id)

    def destroy(self, _kek_id: str, _settings: Mapping[str, Any], _secret: str, /) -> bool:
        """Nothing is left to do: it goes with the file that held it, which is overwritten."""
        return True


class EnvironmentCustodian:
    """A KEK that a container gets from outside: a mounted secret file, or a variable.

    The material is 32 random bytes as 64 hex digits or base64. Prefer the file: the variables of
    a process can be read in ``/proc`` and are inherited.
    """

    asks = ""

    def create(
        self, options: Mapping[str, str], _secret: str, /
    ) -> tuple[KeyStore, dict[str, Any]]:
        """Take the KEK from option ``file=PATH`` or ``variable=NAME``."""
        only(options, "file", "variable")
        if len(options) != 1:
            raise UsageError(
                "say where the key is: one of file=PATH and variable=NAME",
                hint="such as --option file=/run/secrets/broker-kek",
            )
        settings = dict(options)
        if "file" in settings:
            settings["file"] = str(Path(settings["file"]).absolute())
        kek = _material(settings)
        return LocalKeyStore(kek, _name(kek)), settings

    def open(self, kek_id: str, settings: Mapping[str, Any], _secret: str, /) -> KeyStore:
        """Take the KEK from where it was.

        Raises:
            KeyAccessError: another key is there now.
        """
        doc = Document(dict(settings), "the environment key store", ("file", "variable"))
        kek = _material({name: doc.text(name) for name in settings})
        if _name(kek) != kek_id:
            zero(kek)
            raise KeyAccessError(
                f"another key than {kek_id} is at the place of this broker's KEK",
                hint="mount the key that the broker was made with; to change it, run deed broker "
                "rotate --kek --keystore environment --option file=… with both mounted",
            )
        return LocalKeyStore(kek, kek_id)

    def destroy(self, _kek_id: str, _settings: Mapping[str, Any], _secret: str, /) -> bool:
        """It is not ours to destroy."""
        return False


def _material(settings: Mapping[str, str]) -> bytearray:
    """The KEK from its place.

    Raises:
        ConfigurationError: nothing is there, or something else.
    """
    if "file" in settings:
        where = settings["file"]
        text = read_private(Path(where), limit=_MAX_MATERIAL)
    elif "variable" in settings:
        where = f"the variable {quoted(settings['variable'])}"
        if settings["variable"] not in os.environ:
            raise ConfigurationError(f"{where} is not set")
        text = os.environ[settings["variable"]].encode("utf-8", "surrogateescape")
    else:
        raise ConfigurationError("the environment key store does not say where its key is")
    word = text.strip()
    raw = b""
    with contextlib.suppress(binascii.Error, ValueError):
        hexadecimal = len(word) == 2 * KEK_BYTES
        raw = binascii.unhexlify(word) if hexadecimal else base64.b64decode(word, validate=True)
    kek = bytearray(raw)
    for copy in (text, word, raw):
        burn(copy)
    if len(kek) != KEK_BYTES:
        zero(kek)
        raise ConfigurationError(
            f"what {where} holds is no key of {KEK_BYTES} bytes",
            hint="make one: openssl rand -hex 32",
        )
    return kek


def _name(kek: bytearray) -> str:
    # A hash of a random key tells nothing of it, and a key mounted by mistake is noticed.
    hasher = hashlib.sha256(KEK_ID_TAG.encode() + b"\0")
    hasher.update(kek)
    return hasher.hexdigest()[:16]


def only(options: Mapping[str, str], *known: str) -> None:
    """Refuse options that a custodian does not have.

    Raises:
        UsageError: there is one.
    """
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UsageError(
            f"this key store has no option {quoted(unknown[0])}",
            hint=f"it has: {', '.join(known) or 'none'}",
        )


def custodian(name: str) -> Custodian:
    """The custodian of a name: ours, or one that an installed package brings.

    Raises:
        ConfigurationError: there is none, or it cannot be loaded.
    """
    if name == "file":
        return FileCustodian()
    if name == "environment":
        return EnvironmentCustodian()
    if name == "pkcs11":
        from ledger.broker.pkcs11 import Pkcs11Custodian

        return Pkcs11Custodian()
    found = entry_points(group=GROUP, name=name)
    if not found:
        others = sorted(point.name for point in entry_points(group=GROUP))
        raise ConfigurationError(
            f"there is no key store {quoted(name)}",
            hint=f"there are: {', '.join(['file', 'pkcs11', 'environment', *others])}",
        )
    try:
        made: Custodian = next(iter(found)).load()()
    except Exception as error:  # noqa: BLE001 - code of others may raise anything
        raise ConfigurationError(
            f"the key store {quoted(name)} cannot be loaded: {type(error).__name__}",
            hint="see whether the package that brings it is installed whole",
        ) from None
    return made
