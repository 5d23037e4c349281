"""New keys for a broker, in steps of which any may be the last (docs/spec/broker-home.md).

Both rotations write ``keys.next.json`` beside ``keys.json`` and switch by one rename. Before the
switch the broker is the old one, after it the new one; at every moment its folder opens, and the
same command goes on where a killed run stopped. The folder is locked: no broker may run meanwhile.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.broker.custodians import custodian
from ledger.broker.custody import KeyStore, destroy_file, zero
from ledger.broker.home import DATABASE_FILE, KEYS_FILE, BrokerHome
from ledger.broker.inuse import FolderLock
from ledger.broker.keyfile import KeyFile, forget
from ledger.broker.signing import BrokerSigningKeys
from ledger.broker.store import BrokerStore
from ledger.broker.vault import secret_context
from ledger.chain.brokers import BrokerRegistry
from ledger.chain.deployment import Deployment
from ledger.chain.transactions import Sender
from ledger.errors import ConfigurationError, KeyAccessError, UsageError
from ledger.files import sync_folder
from ledger.ids import Digest
from ledger.sealed.recipients import DEFAULT_SUITE, KemPrivateKey

NEXT_FILE: Final = "keys.next.json"
FORMER_FILE: Final = "keys.former.json"
GONE_FILE: Final = "keys.gone"


@dataclass(frozen=True, slots=True)
class RotatedKek:
    """What a rotation of the KEK did.

    Attributes:
        former: name of the KEK before; empty when a killed run had only its file to remove.
        present: name of the KEK now.
        custodian: who has it.
        secrets: how many stored secrets are under it.
        destroyed: whether the former KEK is gone; False when only its owner can destroy it.
    """

    former: str
    present: str
    custodian: str
    secrets: int
    destroyed: bool


@dataclass(frozen=True, slots=True)
class RotatedKeys:
    """What a rotation of the broker's own keys did."""

    broker: int
    epoch: int
    signing_key_hash: Digest
    kem_key_hash: Digest


def rotation_under_way(folder: Path) -> str:
    """What a killed run left to finish: ``"kek"`` or ``"keys"``; empty when nothing.

    Raises:
        ConfigurationError, ManifestError: there is no broker.
    """
    present = BrokerHome.key_file(folder)
    for name in (NEXT_FILE, FORMER_FILE):
        if (folder / name).exists():
            other = KeyFile.load(folder / name)
            return "keys" if other.kek_id == present.kek_id else "kek"
    return ""


def is_switched(folder: Path) -> bool:
    """Whether the rotation under way has only the old keys left to destroy."""
    return (folder / FORMER_FILE).exists() and not (folder / NEXT_FILE).exists()


def other_custodian(folder: Path, wanted: str | None) -> tuple[str, bool, bool]:
    """Who has the other KEK of a rotation, begun or about to begin.

    Args:
        folder: the broker's.
        wanted: the custodian that is asked for; the present one by default.

    Returns:
        What opens it (as a prompt calls it), whether its custodian differs from the present one,
        and whether it is the new KEK.

    Raises:
        ConfigurationError, ManifestError: there is no broker, or no such custodian.
    """
    present = BrokerHome.key_file(folder)
    if is_switched(folder):
        name = KeyFile.load(folder / FORMER_FILE).custodian
        # A former KEK in a file is destroyed without being opened.
        return "" if name == "file" else custodian(name).asks, name != present.custodian, False
    if (folder / NEXT_FILE).exists():
        name = KeyFile.load(folder / NEXT_FILE).custodian
    else:
        name = wanted or present.custodian
    return custodian(name).asks, name != present.custodian, True


@contextlib.contextmanager
def _locked(folder: Path, wanted: str) -> Iterator[bool]:
    """Lock the folder; gives whether sweeping up was all that a killed run had left to do."""
    with FolderLock(folder, exclusive=True):
        # What a killed run was overwriting, or had not yet given its name.
        swept = (folder / GONE_FILE).exists()
        for leftover in (folder / GONE_FILE, *folder.glob(".keys*.json.*.tmp")):
            destroy_file(leftover)
        found = rotation_under_way(folder)
        if found not in {"", wanted}:
            raise ConfigurationError(
                f"another rotation of this broker ({found}) was not finished",
                hint=f"finish it first: deed broker rotate --{found}",
            )
        yield swept and not found


def rotate_kek(
    folder: Path,
    secret: str,
    *,
    other: str | None = None,
    keystore: str | None = None,
    options: Mapping[str, str] | None = None,
) -> RotatedKek:
    """Put everything a broker has encrypted under a new KEK, and destroy the old one.

    Args:
        folder: the broker's.
        secret: what opens it now.
        other: what opens the other KEK of the rotation, where it differs: the new one's before
            the switch, the former one's when a run was killed after it.
        keystore: the new KEK's custodian; the present one by default.
        options: of that custodian; the present settings by default.

    Raises:
        ConfigurationError: the broker is running, or its own keys are being rotated.
        WrongPassphrase: a secret does not open what it should.
        KeyAccessError: a stored secret does not open; nothing was switched.
    """
    others = secret if other is None else other
    with _locked(folder, "kek") as done:
        present = BrokerHome.key_file(folder)
        with (
            contextlib.closing(present.open_keystore(secret)) as old,
            contextlib.closing(BrokerStore(folder / DATABASE_FILE)) as store,
        ):
            if done:
                count = len(store.secrets_under(present.kek_id))
                return RotatedKek("", present.kek_id, present.custodian, count, destroyed=True)
            if is_switched(folder):
                return _finish(folder, store, present, others)
            # (1) The new KEK, and the broker's own keys under it.
            if not (folder / NEXT_FILE).exists():
                name = keystore or present.custodian
                _prepare(folder, present, old, others, name, dict(options or {}))
            following = KeyFile.load(folder / NEXT_FILE)
            # (2) Every stored secret under it, beside the old encryption.
            with contextlib.closing(following.open_keystore(others)) as new:
                _reencrypt(store, old, new)
                forget(*following.open_keys(new))
            # (3) The switch.
            _switch(folder)
            # (4) What was under the old KEK goes, then the old KEK.
            return _finish(folder, store, following, secret)


def _prepare(  # noqa: PLR0917 - one call
    folder: Path,
    present: KeyFile,
    old: KeyStore,
    secret: str,
    name: str,
    options: dict[str, str],
) -> None:
    if name == present.custodian and not options:
        options = _same_place(present)
    new, settings = custodian(name).create(options, secret)
    with contextlib.closing(new):
        if new.kek_id == present.kek_id:
            raise UsageError(
                "the new KEK is the old one", hint="put a new key at another place and name that"
            )
        keys = present.open_keys(old)
        made = KeyFile.seal(new, *keys, custodian=name, settings=settings, former=present.former)
        forget(*keys)
        made.write(folder / NEXT_FILE)


def _same_place(present: KeyFile) -> dict[str, str]:
    """The options under which the present custodian makes a new KEK as it made the old one."""
    if present.custodian == "file":
        kdf = present.settings.get("kdf")
        return {"log2_n": str(kdf["log2_n"])} if isinstance(kdf, dict) else {}
    return {name: value for name, value in present.settings.items() if isinstance(value, str)}


def _reencrypt(store: BrokerStore, old: KeyStore, new: KeyStore) -> None:
    for sealing, label, sealed in store.secrets_under(old.kek_id):
        context = secret_context(sealing, label)
        plain = old.decrypt(sealed, context=context)
        try:
            again = new.encrypt(plain, context=context)
            check = new.decrypt(again, context=context)
            same = check == plain
            zero(check)
            if not same:
                raise KeyAccessError(f"the new KEK does not give {label} of {sealing.short} back")
        finally:
            zero(plain)
        store.put_secret(sealing, label, new.kek_id, again)


def _switch(folder: Path) -> None:
    """``keys.next.json`` becomes ``keys.json``, whose old form stays as ``keys.former.json``."""
    keys, former = folder / KEYS_FILE, folder / FORMER_FILE
    try:
        # One left by a run that was killed before its rename is the same file still.
        former.unlink(missing_ok=True)
        os.link(keys, former)
        sync_folder(folder)
        (folder / NEXT_FILE).replace(keys)
        sync_folder(folder)
    except OSError as error:
        raise ConfigurationError(f"cannot switch the keys in {folder}: {error.strerror}") from None


def _finish(folder: Path, store: BrokerStore, present: KeyFile, secret: str) -> RotatedKek:
    former = KeyFile.load(folder / FORMER_FILE)
    store.drop_secrets(former.kek_id)
    destroyed = custodian(former.custodian).destroy(former.kek_id, former.settings, secret)
    _destroy_former(folder)
    count = len(store.secrets_under(present.kek_id))
    return RotatedKek(former.kek_id, present.kek_id, present.custodian, count, destroyed)


def _destroy_former(folder: Path) -> None:
    # Under another name first: killed while overwriting, no run takes the rest for a key file.
    (folder / FORMER_FILE).replace(folder / GONE_FILE)
    destroy_file(folder / GONE_FILE)


def rotate_keys(
    folder: Path, secret: str, sender: Sender, deployment: Deployment, *, url: str | None = None
) -> RotatedKeys:
    """New signing and KEM keys for a broker, registered on chain; its epoch rises.

    Deposits stay readable: they are under the KEK, which stays. The private halves of the old keys
    are destroyed, their public halves kept, because old receipts are signed with them.

    Args:
        folder: the broker's.
        secret: what opens it.
        sender: its operator.
        deployment: where it is registered.
        url: how runtimes reach it; as registered by default.

    Raises:
        ConfigurationError: the broker is running, or its KEK is being rotated.
        WrongPassphrase: the secret does not open it.
        ContractReverted, InsufficientFunds, ChainUnavailable: as ``Sender.send``.
    """
    with _locked(folder, "keys") as done:
        home = BrokerHome.open(folder, secret)
        registry = BrokerRegistry(sender.rpc, deployment.addresses["BrokerRegistry"])
        broker_id = home.identity.id
        with contextlib.closing(home.keystore):
            if not done and not is_switched(folder):
                # (1) The new keys, under the KEK as it is.
                if not (folder / NEXT_FILE).exists():
                    _prepare_keys(folder, home)
                signing, kem = KeyFile.load(folder / NEXT_FILE).open_keys(home.keystore)
                # (2) On chain; a killed run may have done it.
                hashes = (signing.public.hash(), kem.public.hash())
                record = registry.broker_of(broker_id)
                if (record.signing_key_hash, record.kem_key_hash) != hashes:
                    where = url or registry.url_of(broker_id, from_block=deployment.block)
                    if where is None:
                        raise UsageError(
                            f"no event tells the URL of broker {broker_id}", hint="pass --url"
                        )
                    registry.set_keys(sender, broker_id, *hashes, where)
                # (3) The switch.
                _switch(folder)
            # (4) The old keys go.
            if not done:
                _destroy_former(folder)
        record = registry.broker_of(broker_id)
        return RotatedKeys(broker_id, record.epoch, record.signing_key_hash, record.kem_key_hash)


def _prepare_keys(folder: Path, home: BrokerHome) -> None:
    signing, kem = BrokerSigningKeys.generate(), KemPrivateKey.generate(DEFAULT_SUITE)
    present = BrokerHome.key_file(folder)
    made = KeyFile.seal(
        home.keystore,
        signing,
        kem,
        custodian=present.custodian,
        settings=present.settings,
        former=(*home.former, home.signing.public),
    )
    made.write(folder / NEXT_FILE)
    forget(signing, kem)
