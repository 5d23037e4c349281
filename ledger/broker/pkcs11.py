"""A KEK that never leaves a PKCS#11 token: a hardware security module, a smart card, SoftHSM.

Needs the extra ``modeldeed[hsm]`` (docs/adr/0020). The key is generated inside the token as
sensitive and not extractable; encryption is CKM_AES_GCM in the token with our nonce and context.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ledger.broker.custodians import only
from ledger.broker.custody import (
    NONCE_BYTES,
    TAG_BYTES,
    KeyStore,
    context_bytes,
    stored_secret_rejected,
)
from ledger.errors import (
    BrokerUnavailable,
    ConfigurationError,
    KeyAccessError,
    ToolMissing,
    UsageError,
    WrongPassphrase,
)
from ledger.ids import quoted
from ledger.licensing.document import Document
from ledger.sealed.memory import burn

if TYPE_CHECKING:
    from types import ModuleType

    import pkcs11

LABEL_PREFIX: Final = "modeldeed-kek-"
_RETRY_SECONDS: Final = 5.0

# python-pkcs11 initialises libraries for one thread at a time, and a token has one login per
# process: one lock for all calls, and one session per token, which its key stores share.
_lock = threading.RLock()
_sessions: dict[tuple[str, str], _Session] = {}


class _Session:
    """The process's session with one token."""

    def __init__(self, library: str, token: str) -> None:
        self.place = (library, token)
        self.users = 0
        self.pid = os.getpid()
        self.open: pkcs11.Session | None = None


class Pkcs11Custodian:
    """A KEK in a token. Options: ``library=PATH`` of the PKCS#11 module, ``token=LABEL``."""

    asks = "PIN"

    def create(self, options: Mapping[str, str], secret: str) -> tuple[KeyStore, dict[str, Any]]:
        """Generate a KEK inside the token."""
        only(options, "library", "token")
        if set(options) != {"library", "token"}:
            raise UsageError(
                "a PKCS#11 key store needs its library and its token",
                hint="such as --option library=/usr/lib/softhsm/libsofthsm2.so --option token=NAME",
            )
        settings = {**options, "library": str(Path(options["library"]).absolute())}
        kek_id = secrets.token_hex(8)
        p11 = _module()
        with _session(settings, secret) as session, _open_errors(settings["token"]):
            attribute = p11.Attribute
            session.generate_key(
                p11.KeyType.AES,
                256,
                label=LABEL_PREFIX + kek_id,
                id=bytes.fromhex(kek_id),
                store=True,
                capabilities=p11.MechanismFlag.ENCRYPT | p11.MechanismFlag.DECRYPT,
                template={
                    attribute.SENSITIVE: True,
                    attribute.EXTRACTABLE: False,
                    attribute.PRIVATE: True,
                },
            )
        return self.open(kek_id, settings, secret), settings

    def open(self, kek_id: str, settings: Mapping[str, Any], secret: str) -> KeyStore:
        """Log in and find the KEK.

        In a process that is already logged in to the token the PIN is not tried again.
        """
        return Pkcs11KeyStore(kek_id, _settings(settings), secret)

    def destroy(self, kek_id: str, settings: Mapping[str, Any], secret: str) -> bool:
        """Delete the KEK from the token."""
        found = _settings(settings)
        p11 = _module()
        with (
            _session(found, secret) as session,
            _open_errors(found["token"]),
            contextlib.suppress(p11.NoSuchKey),
        ):
            _find(session, kek_id).destroy()
        return True


class Pkcs11KeyStore:
    """An open KEK in a token. Thread-safe; one operation at a time."""

    def __init__(self, kek_id: str, settings: Mapping[str, str], pin: str) -> None:
        p11 = _module()
        self._kek_id, self._token = kek_id, settings["token"]
        self._use = contextlib.ExitStack()
        self._closed = False
        try:
            session = self._use.enter_context(_session(settings, pin))
            with _open_errors(self._token):
                try:
                    self._key = _find(session, kek_id)
                except p11.NoSuchKey:
                    raise KeyAccessError(
                        f"the token {quoted(self._token)} does not hold the key {kek_id}",
                        hint="plug in the token that this broker's key was made in",
                    ) from None
                _check_custody(self._key, self._token)
        except BaseException:
            self._use.close()
            raise

    def __repr__(self) -> str:
        return f"Pkcs11KeyStore(kek_id={self._kek_id!r}, token={self._token!r})"

    @property
    def kek_id(self) -> str:
        """Public name of the KEK; the token knows it under this label."""
        return self._kek_id

    def encrypt(self, secret: bytes | bytearray, *, context: str) -> bytes:
        """Nonce ‖ AES-256-GCM ciphertext ‖ tag.

        Raises:
            BrokerUnavailable: the token does not answer.
        """
        nonce = secrets.token_bytes(NONCE_BYTES)
        plain = bytes(secret)  # the library takes bytes alone; ours is overwritten below
        try:
            with self._operation():
                sealed: bytes = self._key.encrypt(plain, **_gcm(nonce, context))
        finally:
            if isinstance(secret, bytearray):
                burn(plain)
        return nonce + sealed

    def decrypt(self, blob: bytes, *, context: str) -> bytearray:
        """Undo ``encrypt``.

        Raises:
            KeyAccessError: another key, another context, or altered bytes.
            BrokerUnavailable: the token does not answer.
        """
        p11 = _module()
        nonce, sealed = blob[:NONCE_BYTES], blob[NONCE_BYTES:]
        if len(sealed) < TAG_BYTES:
            raise stored_secret_rejected(self._kek_id)
        # A wrong tag is one of these, depending on the maker; SoftHSM says the third.
        wrong = (p11.EncryptedDataInvalid, p11.EncryptedDataLenRange, p11.GeneralError)
        try:
            with self._operation():
                plain: bytes = self._key.decrypt(sealed, **_gcm(nonce, context))
        except wrong:
            raise stored_secret_rejected(self._kek_id) from None
        secret = bytearray(plain)
        burn(plain)
        return secret

    def close(self) -> None:
        """Leave the token; the last one to leave logs out."""
        self._closed = True
        self._use.close()

    @contextlib.contextmanager
    def _operation(self) -> Iterator[None]:
        p11 = _module()
        if self._closed:
            raise UsageError("the key store is closed")
        with _lock:
            try:
                yield
            except (p11.EncryptedDataInvalid, p11.EncryptedDataLenRange, p11.GeneralError):
                raise
            except p11.PKCS11Error as error:
                raise BrokerUnavailable(
                    f"the token {quoted(self._token)} does not serve the broker's key: "
                    f"{type(error).__name__}",
                    retry_after=_RETRY_SECONDS,
                    hint="see whether it is plugged in; then restart the broker",
                ) from None


def _gcm(nonce: bytes, context: str) -> dict[str, Any]:
    p11 = _module()
    return {
        "mechanism": p11.Mechanism.AES_GCM,
        "mechanism_param": p11.GCMParams(nonce, context_bytes(context), TAG_BYTES * 8),
    }


def _module() -> ModuleType:
    try:
        import pkcs11
    except ImportError:
        raise ToolMissing(
            "PKCS#11 tokens need a package that is not installed",
            hint="install modeldeed[hsm]",
        ) from None
    return pkcs11


def _settings(settings: Mapping[str, Any]) -> dict[str, str]:
    doc = Document(dict(settings), "the PKCS#11 key store", ("library", "token"))
    return {name: doc.text(name) for name in ("library", "token")}


def _find(session: pkcs11.Session, kek_id: str) -> Any:
    p11 = _module()
    return session.get_key(object_class=p11.ObjectClass.SECRET_KEY, label=LABEL_PREFIX + kek_id)


def _check_custody(key: Any, token: str) -> None:
    """A key that the token would give away is not in its custody."""
    p11 = _module()
    attribute = p11.Attribute
    if not key[attribute.SENSITIVE] or key[attribute.EXTRACTABLE]:
        raise KeyAccessError(
            f"the token {quoted(token)} would give the broker's key away: it was not made by us",
            hint="make a new one: deed broker rotate --kek",
        )


@contextlib.contextmanager
def _session(settings: Mapping[str, str], pin: str) -> Iterator[pkcs11.Session]:
    """The process's session with a token, opened by the first and closed by the last."""
    place = (settings["library"], settings["token"])
    with _lock:
        shared = _sessions.get(place)
        if shared is not None and shared.pid != os.getpid():
            shared = None  # a forked child has its parent's handle, and no login
        if shared is None or shared.open is None:
            shared = _Session(*place)
            shared.open = _login(*place, pin)
            _sessions[place] = shared
        shared.users += 1
    try:
        yield shared.open
    finally:
        with _lock:
            shared.users -= 1
            if not shared.users and shared.pid == os.getpid():
                _sessions.pop(place, None)
                with contextlib.suppress(_module().PKCS11Error):
                    shared.open.close()
                shared.open = None


def _login(library: str, token: str, pin: str) -> pkcs11.Session:
    p11 = _module()
    if not Path(library).is_file():
        raise ConfigurationError(
            f"there is no PKCS#11 library {library}",
            hint="name the module of the token's maker; SoftHSM's is libsofthsm2.so",
        )
    with _open_errors(token):
        module = p11.lib(library)
        try:
            found = module.get_token(token_label=token)
        except p11.NoSuchToken:
            # Some libraries list the tokens once; look again for one that was plugged in since.
            if any(place[0] == library for place in _sessions):
                raise
            module.reinitialize()
            found = module.get_token(token_label=token)
        opened: pkcs11.Session = found.open(rw=True, user_pin=pin)
    return opened


@contextlib.contextmanager
def _open_errors(token: str) -> Iterator[None]:
    """What a token refuses, in our words: the PIN is in none of them."""
    p11 = _module()
    try:
        yield
    except (p11.PinIncorrect, p11.PinInvalid, p11.PinLenRange):
        raise WrongPassphrase(
            f"the PIN does not open the token {quoted(token)}",
            hint="check DEED_BROKER_PASSPHRASE_FILE or type it again; a few wrong ones lock it",
        ) from None
    except p11.PinLocked:
        raise WrongPassphrase(
            f"the token {quoted(token)} is locked after too many wrong PINs",
            hint="its security officer can set a new PIN",
        ) from None
    except p11.NoSuchToken:
        raise ConfigurationError(
            f"there is no token {quoted(token)}",
            hint="see whether it is plugged in and initialised, and how it is called",
        ) from None
    except p11.MultipleTokensReturned:
        raise ConfigurationError(
            f"several tokens are called {quoted(token)}", hint="give them different labels"
        ) from None
    except p11.NoSuchKey:
        raise
    except p11.PKCS11Error as error:
        raise ConfigurationError(
            f"the token {quoted(token)} refuses: {type(error).__name__}",
            hint="it needs AES-256 keys and CKM_AES_GCM",
        ) from None
