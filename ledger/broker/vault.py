"""Content keys in a broker's custody: kept encrypted, read back, checked against the commitment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ledger.broker.custody import KeyStore, zero
from ledger.broker.store import BrokerStore
from ledger.errors import KeyAccessError
from ledger.ids import Digest
from ledger.sealed.keys import key_commitment
from ledger.sealed.record import SealingRecord


class Vault:
    """The secrets of deposited sealings.

    Args:
        store: holds them encrypted.
        keystore: encrypts and decrypts.
    """

    def __init__(self, store: BrokerStore, keystore: KeyStore) -> None:
        self._store = store
        self._keystore = keystore

    def keep(self, record: SealingRecord, label: str, key: bytearray) -> None:
        """Store a content key and read it back.

        Raises:
            KeyAccessError: it is not the key the sealing commits to, before or after storing.
        """
        check_commitment(key, record)
        sealing = record.hash()
        self.put(sealing, label, key)
        with self.secret(sealing, label) as again:
            check_commitment(again, record)

    def put(self, sealing: Digest, label: str, secret: bytearray) -> None:
        """Store a secret that the caller has checked, and reads back."""
        sealed = self._keystore.encrypt(secret, context=secret_context(sealing, label))
        self._store.put_secret(sealing, label, self._keystore.kek_id, sealed)

    def holds(self, sealing: Digest, label: str) -> bool:
        """Whether a secret is stored."""
        return self._store.secret(sealing, label, self._keystore.kek_id) is not None

    @contextmanager
    def secret(self, sealing: Digest, label: str) -> Iterator[bytearray]:
        """A stored secret, zeroed at the end of the ``with`` block.

        Raises:
            KeyAccessError: it is not there, or does not open.
        """
        sealed = self._store.secret(sealing, label, self._keystore.kek_id)
        if sealed is None:
            raise KeyAccessError(f"no {label} is stored for sealing {sealing.short}")
        secret = self._keystore.decrypt(sealed, context=secret_context(sealing, label))
        try:
            yield secret
        finally:
            zero(secret)


def check_commitment(key: bytearray, record: SealingRecord) -> None:
    """Check a content key against its sealing record.

    Raises:
        KeyAccessError: it is another key.
    """
    if len(key) != 32 or key_commitment(key) != record.commit:
        raise KeyAccessError(
            f"the key is not the one that sealing {record.hash().short} commits to",
            hint="deposit the content key of this very sealing",
        )


def secret_context(sealing: Digest, label: str) -> str:
    """What a stored secret is, as its encryption authenticates it."""
    return f"secret/{sealing}/{label}"
