"""Wallets: who signs transactions and typed data. Keys live in Ethereum v3 keystore files.

A private key is never an argument of a command, never printed, and never leaves a wallet object.
"""

from __future__ import annotations

import importlib.util
import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from ledger.canonical import parse_json
from ledger.eip712 import Domain, StructType, TypedSigner
from ledger.errors import (
    FormatError,
    LimitExceeded,
    UsageError,
    WalletError,
    WalletNotFound,
    WrongPassphrase,
)
from ledger.files import write_whole
from ledger.ids import Address, Digest, quoted

if TYPE_CHECKING:
    from eth_account import Account

# Loaded late (`_accounts`), and missed at once: before anyone is asked for a passphrase.
if importlib.util.find_spec("eth_account") is None:
    raise ModuleNotFoundError("No module named 'eth_account'", name="eth_account")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_KEYSTORE = 64 << 10
# scrypt takes 128·n·r bytes and n·r·p steps; the usual keystore has n = 2^18, r = 8, p = 1.
_MAX_SCRYPT_BYTES = 1 << 30
_MAX_ROUNDS = 1 << 24
# Anvil's well-known test keys: mnemonic "test test test test test test test test test test test
# junk", path m/44'/60'/0'/0/i. Everyone has them; they must never hold anything of value.
_TEST_KEYS = {
    "deployer": "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "licensor": "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "holder": "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "broker": "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    "rival": "47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
    "buyer": "8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
    "stranger": "92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e",
    "operator": "4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356",
    "auditor": "dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97",
    "spare": "2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6",
}
DEV_WALLET_NAMES = tuple(_TEST_KEYS)


class Signer(TypedSigner, Protocol):
    """Whoever can sign for an account: a local wallet, an external signer."""

    @property
    def is_test_key(self) -> bool:
        """Whether the key is publicly known, so that only test networks may see it."""
        ...

    def sign_transaction(self, transaction: dict[str, Any]) -> bytes:
        """The raw signed bytes of an EIP-1559 transaction."""
        ...

    def sign_digest(self, digest: Digest) -> bytes:
        """65 bytes ``r ‖ s ‖ v`` over a digest made by the caller (EIP-712 or EIP-191)."""
        ...


class LocalWallet:
    """An account whose private key is in this process."""

    __slots__ = ("_account", "_address", "_test")

    def __init__(self, key: bytes, *, test_key: bool = False) -> None:
        accounts = _accounts()
        try:
            self._account = accounts.from_key(key)
        except Exception:  # noqa: BLE001  eth-keys raises several kinds, some of which show the key
            raise WalletError(
                "that is not a private key", hint="a key has 64 hex digits, below the curve's order"
            ) from None
        self._address = Address.parse(self._account.address)
        self._test = test_key

    def __repr__(self) -> str:
        return f"LocalWallet({self._address})"

    def __reduce__(self) -> Any:
        raise TypeError("a wallet is never pickled")

    @property
    def address(self) -> Address:
        """The account."""
        return self._address

    @property
    def is_test_key(self) -> bool:
        """Whether this is one of Anvil's well-known keys."""
        return self._test

    def sign_typed(self, domain: Domain, kind: StructType, values: dict[str, Any]) -> bytes:
        """65 bytes ``r ‖ s ‖ v`` over the EIP-712 digest, v of 27 or 28."""
        return self.sign_digest(domain.digest(kind, values))

    def sign_digest(self, digest: Digest) -> bytes:
        """65 bytes ``r ‖ s ‖ v`` over a digest made by the caller (EIP-712 or EIP-191)."""
        return bytes(self._account.unsafe_sign_hash(digest.raw).signature)

    def sign_transaction(self, transaction: dict[str, Any]) -> bytes:
        """The raw signed bytes of a transaction in eth-account's field names."""
        return bytes(self._account.sign_transaction(transaction).raw_transaction)

    def to_keystore(self, passphrase: str, *, rounds: int | None = None) -> dict[str, Any]:
        """An Ethereum v3 keystore document (scrypt), with the address in it.

        Args:
            passphrase: opens it again; at least one character.
            rounds: scrypt's n, a power of two; None takes the library's 2^18.
        """
        if not passphrase:
            raise WalletError("a keystore needs a passphrase", hint="choose one and keep it")
        document = _accounts().encrypt(bytes(self._account.key), passphrase, "scrypt", rounds)
        return dict(document)

    @classmethod
    def create(cls) -> Self:
        """A new random account."""
        return cls(secrets.token_bytes(32))

    @classmethod
    def from_keystore(cls, path: Path | str, passphrase: str) -> Self:
        """Open a v3 keystore file.

        Raises:
            WalletNotFound: no such file.
            WrongPassphrase: it does not open with this passphrase.
            WalletError: it is not a v3 keystore, or asks for unreasonable work.
        """
        document, accounts = _read_keystore(Path(path)), _accounts()
        try:
            key = accounts.decrypt(document, passphrase)
        except ValueError:
            raise WrongPassphrase(f"the passphrase does not open {Path(path).name}") from None
        except (KeyError, TypeError, NotImplementedError, MemoryError):
            raise _not_keystore(Path(path)) from None
        return cls(bytes(key))


def _accounts() -> type[Account]:
    """eth-account, loaded by who uses a key: it brings all of BLS along, half a second."""
    from eth_account import Account

    return Account


def _not_keystore(path: Path) -> WalletError:
    return WalletError(
        f"{path.name} is not an Ethereum v3 keystore",
        hint="import the key again with deed wallet import",
    )


def _read_keystore(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_KEYSTORE + 1)
    except OSError as error:
        raise WalletNotFound(f"wallet file {path.name} cannot be read: {error.strerror}") from None
    try:
        document = parse_json(raw, what=path.name, limit=_MAX_KEYSTORE)
    except FormatError:
        raise _not_keystore(path) from None
    crypto = document.get("crypto") if isinstance(document, dict) else None
    if not isinstance(crypto, dict) or document.get("version") != 3:
        raise _not_keystore(path)
    work = crypto.get("kdfparams")
    if not isinstance(work, dict):
        raise _not_keystore(path)
    numbers = [work.get(name, 1) for name in ("n", "r", "p", "c", "dklen")]
    if not all(isinstance(x, int) and x > 0 for x in numbers):
        raise _not_keystore(path)
    n, r, p, c, dklen = numbers
    if 128 * n * r > _MAX_SCRYPT_BYTES or n * r * p > _MAX_ROUNDS or c > _MAX_ROUNDS or dklen > 64:
        raise LimitExceeded(
            f"{path.name} asks for more work than any wallet program sets",
            hint="the file may be hostile; use a keystore you made yourself",
        )
    return dict(document)


@dataclass(frozen=True, slots=True)
class WalletEntry:
    """A wallet in a folder; the address is what the file says, unproven until it is opened."""

    name: str
    address: Address | None
    path: Path


class WalletFolder:
    """Named keystore files in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def list(self) -> tuple[WalletEntry, ...]:
        """Every wallet, by name; files that are no keystore are left out."""
        if not self.folder.is_dir():
            return ()
        entries = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                document = _read_keystore(path)
            except (WalletError, LimitExceeded):
                continue
            entries.append(WalletEntry(path.stem, _stated_address(document), path))
        return tuple(entries)

    def path_of(self, name: str) -> Path:
        """The file of a wallet that exists.

        Raises:
            UsageError: not a possible name.
            WalletNotFound: no wallet of that name.
        """
        path = self._path(name)
        if not path.is_file():
            raise WalletNotFound(f"there is no wallet {name!r}")
        return path

    def open(self, name: str, passphrase: str) -> LocalWallet:
        """Open a wallet.

        Raises:
            WalletNotFound, WrongPassphrase, WalletError: as `LocalWallet.from_keystore`.
        """
        return LocalWallet.from_keystore(self.path_of(name), passphrase)

    def create(self, name: str, passphrase: str, *, rounds: int | None = None) -> WalletEntry:
        """Make a new account under a name.

        Raises:
            WalletError: the name is taken, or the passphrase empty.
        """
        return self.add(name, LocalWallet.create(), passphrase, rounds=rounds)

    def import_key(
        self, name: str, key: str, passphrase: str, *, rounds: int | None = None
    ) -> WalletEntry:
        """Keep an existing private key (64 hex digits) under a name.

        Raises:
            WalletError: not a key, the name is taken, or the passphrase empty.
        """
        try:
            raw = bytes.fromhex(key.strip().removeprefix("0x"))
        except ValueError:
            raw = b""
        return self.add(name, LocalWallet(raw), passphrase, rounds=rounds)

    def add(
        self, name: str, wallet: LocalWallet, passphrase: str, *, rounds: int | None = None
    ) -> WalletEntry:
        """Write a wallet's keystore: mode 0600, whole or not at all, never over another.

        Raises:
            UsageError: not a possible name.
            WalletError: the name is taken, or the passphrase empty.
        """
        path = self._path(name)
        taken = WalletError(f"there is a wallet {name!r} already", hint="choose another name")
        if path.exists():
            raise taken
        document = wallet.to_keystore(passphrase, rounds=rounds)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            write_whole(path, json.dumps(document, indent=1).encode(), mode=0o600, replace=False)
        except FileExistsError:
            raise taken from None
        return WalletEntry(name, wallet.address, path)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{quoted(name)} cannot name a wallet",
                hint="use letters, digits, dot, dash and underscore",
            )
        return self.folder / f"{name}.json"


def _stated_address(document: dict[str, Any]) -> Address | None:
    try:
        return Address.parse(str(document.get("address", "")).lower())
    except UsageError:
        return None


def dev_wallet(name: str) -> LocalWallet:
    """One of Anvil's well-known test accounts, funded on every local chain.

    Raises:
        WalletNotFound: no test account of that name.
    """
    key = _TEST_KEYS.get(name)
    if key is None:
        raise WalletNotFound(
            f"there is no test account {name!r}", hint=f"they are {', '.join(DEV_WALLET_NAMES)}"
        )
    return LocalWallet(bytes.fromhex(key), test_key=True)
