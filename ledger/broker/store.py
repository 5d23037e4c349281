"""The broker's own database: challenges, deposits, leases, receipts (SQLite).

No index rebuild touches it. What must hold under concurrency is one SQL statement each: a
challenge is consumed by one DELETE, a seat taken by one INSERT that counts, a heartbeat applied by
one UPDATE. A decision, its seat and its receipt are one transaction, so a kill at any point loses
none of them alone.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ledger.broker.facts import IssuedChallenge
from ledger.broker.grants import Acceptance, RuntimeGrant, RuntimeKey
from ledger.broker.leases import Heartbeat, Lease
from ledger.broker.protocol import receipt_hash
from ledger.errors import BrokerUnavailable, ConfigurationError, UnsupportedVersion
from ledger.ids import ZERO_DIGEST, Address, Digest, LicenseId, ModelId
from ledger.sealed.record import SealingRecord

SCHEMA_VERSION: Final = 1
MAX_CHALLENGES: Final = 100_000
_SCHEMA: Final = """
CREATE TABLE challenges (
    challenge BLOB PRIMARY KEY, license TEXT NOT NULL, model BLOB NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX challenges_by_end ON challenges (expires_at);
CREATE TABLE sealings (
    sealing BLOB PRIMARY KEY, model BLOB NOT NULL, epoch INTEGER NOT NULL, record TEXT NOT NULL,
    licensor BLOB NOT NULL, deposited_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE secrets (
    sealing BLOB NOT NULL REFERENCES sealings, label TEXT NOT NULL, kek_id TEXT NOT NULL,
    sealed BLOB NOT NULL, PRIMARY KEY (sealing, label)
) WITHOUT ROWID;
CREATE TABLE terms (hash BLOB PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE acceptances (
    license TEXT NOT NULL, holder BLOB NOT NULL, terms_hash BLOB NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (license, holder, terms_hash)
) WITHOUT ROWID;
CREATE TABLE leases (
    id BLOB PRIMARY KEY, license TEXT NOT NULL, runtime_key_hash BLOB NOT NULL,
    runtime TEXT NOT NULL, grant_document TEXT, lease TEXT NOT NULL,
    grace_until INTEGER NOT NULL, sequence INTEGER NOT NULL, ended INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX leases_by_license ON leases (license, grace_until);
CREATE TABLE usage (license TEXT PRIMARY KEY, used INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE receipts (
    sequence INTEGER PRIMARY KEY, hash BLOB NOT NULL, kind TEXT NOT NULL, license TEXT,
    entry TEXT NOT NULL
);
CREATE TABLE spent_nonces (
    nonce BLOB PRIMARY KEY, forget_at INTEGER NOT NULL
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease as stored, with what a heartbeat is checked against."""

    lease: Lease
    runtime: RuntimeKey
    grant: RuntimeGrant | None
    ended: bool


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise BrokerUnavailable(f"the broker's database refuses: {error}") from None


class BrokerStore:
    """One broker's database. Thread-safe; one process at a time writes.

    Args:
        path: of the database file, made when absent.

    Raises:
        ConfigurationError: the file is no database or cannot be opened.
        UnsupportedVersion: it was written by another release.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        try:
            self._db = sqlite3.connect(
                path, timeout=10.0, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            # A receipt that was answered for must survive a power cut.
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA foreign_keys=ON")
            self._open_schema()
            path.chmod(0o600)
        except (sqlite3.Error, OSError) as error:
            raise ConfigurationError(f"cannot open the broker's database {path}: {error}") from None

    def _open_schema(self) -> None:
        with self.transaction():
            found = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            if found == 0:
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            elif found != SCHEMA_VERSION:
                raise UnsupportedVersion(
                    f"the broker's database has schema {found}; this release reads {SCHEMA_VERSION}"
                )

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; nested use joins the outer transaction.

        Raises:
            BrokerUnavailable: the database is locked or broken.
        """
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            with _translated():
                self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            with _translated():
                self._db.execute("COMMIT")

    def _one(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        with self._lock, _translated():
            row: tuple[Any, ...] | None = self._db.execute(sql, values).fetchone()
            return row

    def _run(self, sql: str, *values: Any) -> int:
        with self._lock, _translated():
            return self._db.execute(sql, values).rowcount

    # -- challenges --------------------------------------------------------------------------------

    def add_challenge(
        self, challenge: bytes, license_id: LicenseId, model: ModelId, *, now: int, expires_at: int
    ) -> None:
        """Remember a challenge; expired ones are dropped on the way.

        Raises:
            BrokerUnavailable: too many are outstanding.
        """
        with self.transaction():
            self._run("DELETE FROM challenges WHERE expires_at <= ?", now)
            count = self._one("SELECT count(*) FROM challenges")
            if count is not None and count[0] >= MAX_CHALLENGES:
                raise BrokerUnavailable("too many challenges are outstanding", retry_after=30)
            self._run(
                "INSERT INTO challenges VALUES (?, ?, ?, ?)",
                challenge,
                str(license_id),
                model.raw,
                expires_at,
            )

    def consume_challenge(self, challenge: bytes) -> IssuedChallenge | None:
        """Use up a challenge: at most one caller ever gets it."""
        row = self._one(
            "DELETE FROM challenges WHERE challenge = ? RETURNING license, model, expires_at",
            challenge,
        )
        if row is None:
            return None
        return IssuedChallenge(LicenseId.parse(row[0]), ModelId(row[1]), row[2])

    def spend_nonce(self, nonce: bytes, *, now: int, forget_at: int) -> bool:
        """Use up a challenge that its runtime made itself: at most one caller ever gets True."""
        with self.transaction():
            self._run("DELETE FROM spent_nonces WHERE forget_at <= ?", now)
            spent = self._run(
                "INSERT INTO spent_nonces VALUES (?, ?) ON CONFLICT DO NOTHING", nonce, forget_at
            )
            return spent == 1

    def return_nonce(self, nonce: bytes) -> None:
        """Hand back a nonce that the caller has spent, and nothing was given for."""
        self._run("DELETE FROM spent_nonces WHERE nonce = ?", nonce)

    # -- deposits ----------------------------------------------------------------------------------

    def add_sealing(self, record: SealingRecord, licensor: Address, *, now: int) -> None:
        """Remember whose sealing a deposit is for; repeating it changes nothing."""
        self._run(
            "INSERT INTO sealings VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            record.hash().raw,
            record.model_id.raw,
            record.epoch,
            json.dumps(record.to_json()),
            licensor.raw,
            now,
        )

    def put_secret(self, sealing: Digest, label: str, kek_id: str, sealed: bytes) -> None:
        """Store one encrypted secret, over an older encryption of the same."""
        self._run(
            "INSERT INTO secrets VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "kek_id = excluded.kek_id, sealed = excluded.sealed",
            sealing.raw,
            label,
            kek_id,
            sealed,
        )

    def secret(self, sealing: Digest, label: str) -> bytes | None:
        """One encrypted secret."""
        row = self._one(
            "SELECT sealed FROM secrets WHERE sealing = ? AND label = ?", sealing.raw, label
        )
        return None if row is None else bytes(row[0])

    def sealing(self, sealing: Digest) -> SealingRecord | None:
        """The record of a deposited sealing."""
        row = self._one("SELECT record FROM sealings WHERE sealing = ?", sealing.raw)
        return None if row is None else SealingRecord.from_json(json.loads(row[0]))

    def add_terms(self, hash_: Digest, document: dict[str, Any]) -> None:
        """Keep a terms document by its hash."""
        self._run(
            "INSERT INTO terms VALUES (?, ?) ON CONFLICT DO NOTHING",
            hash_.raw,
            json.dumps(document),
        )

    def terms(self, hash_: Digest) -> dict[str, Any] | None:
        """A kept terms document."""
        row = self._one("SELECT document FROM terms WHERE hash = ?", hash_.raw)
        return None if row is None else dict(json.loads(row[0]))

    def add_acceptance(self, holder: Address, acceptance: Acceptance) -> None:
        """Keep a holder's acceptance of terms."""
        self._run(
            "INSERT INTO acceptances VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            str(acceptance.license),
            holder.raw,
            acceptance.terms_hash.raw,
            json.dumps(acceptance.to_json()),
        )

    def accepted(self, license_id: LicenseId, holder: Address, terms_hash: Digest) -> bool:
        """Whether this holder's acceptance is kept."""
        row = self._one(
            "SELECT 1 FROM acceptances WHERE license = ? AND holder = ? AND terms_hash = ?",
            str(license_id),
            holder.raw,
            terms_hash.raw,
        )
        return row is not None

    # -- leases ------------------------------------------------------------------------------------

    def seats_taken(self, license_id: LicenseId, runtime_key_hash: Digest, *, now: int) -> int:
        """Seats that other runtimes hold at `now`."""
        row = self._one(
            "SELECT count(DISTINCT runtime_key_hash) FROM leases "
            "WHERE license = ? AND grace_until > ? AND runtime_key_hash <> ?",
            str(license_id),
            now,
            runtime_key_hash.raw,
        )
        return 0 if row is None else int(row[0])

    def take_seat(
        self,
        lease: Lease,
        runtime: RuntimeKey,
        grant: RuntimeGrant | None,
        *,
        seats: int,
        now: int,
    ) -> bool:
        """Store a lease if a seat is free: counting and taking are one statement.

        A runtime that holds a seat takes no second one.

        Args:
            lease: the new lease.
            runtime: its runtime.
            grant: the grant it rests on.
            seats: how many there are; 0: unlimited.
            now: Unix seconds.

        Returns:
            False when all seats are taken.
        """
        taken = self._run(
            "INSERT INTO leases SELECT ?, ?, ?, ?, ?, ?, ?, ?, 0 WHERE ? = 0 OR ("
            "SELECT count(DISTINCT runtime_key_hash) FROM leases "
            "WHERE license = ? AND grace_until > ? AND runtime_key_hash <> ?) < ?",
            lease.id.raw,
            str(lease.license),
            lease.runtime_key_hash.raw,
            json.dumps(runtime.to_json()),
            None if grant is None else json.dumps(grant.to_json()),
            json.dumps(lease.to_json()),
            lease.grace_until,
            lease.sequence,
            seats,
            str(lease.license),
            now,
            lease.runtime_key_hash.raw,
            seats,
        )
        return taken == 1

    def lease(self, lease_id: Digest) -> HeldLease | None:
        """A stored lease."""
        row = self._one(
            "SELECT lease, runtime, grant_document, ended FROM leases WHERE id = ?", lease_id.raw
        )
        if row is None:
            return None
        return HeldLease(
            Lease.from_json(json.loads(row[0])),
            RuntimeKey.from_json(json.loads(row[1])),
            None if row[2] is None else RuntimeGrant.from_json(json.loads(row[2])),
            bool(row[3]),
        )

    def advance(self, heartbeat: Heartbeat) -> bool:
        """Use up a heartbeat's sequence number: each counts once, and only upwards."""
        return (
            self._run(
                "UPDATE leases SET sequence = ? WHERE id = ? AND sequence < ? AND ended = 0",
                heartbeat.sequence,
                heartbeat.lease.raw,
                heartbeat.sequence,
            )
            == 1
        )

    def extend(self, lease: Lease) -> bool:
        """Store the extended form of a lease; the seat is held until its `grace_until`.

        Returns:
            False when, since its heartbeat was used up, the lease has ended or a later heartbeat
            came: what was decided for it then is out of date.
        """
        extended = self._run(
            "UPDATE leases SET lease = ?, grace_until = max(grace_until, ?) "
            "WHERE id = ? AND sequence = ? AND ended = 0",
            json.dumps(lease.to_json()),
            lease.grace_until,
            lease.id.raw,
            lease.sequence,
        )
        return extended == 1

    def drop(self, lease_id: Digest) -> None:
        """Forget a lease that the same transaction stored and a later step refused."""
        self._run("DELETE FROM leases WHERE id = ?", lease_id.raw)

    def end(self, lease_id: Digest) -> None:
        """Mark a lease as ended; its seat stays held until the promised time."""
        self._run("UPDATE leases SET ended = 1 WHERE id = ?", lease_id.raw)

    def supersede(self, lease: Lease) -> None:
        """End the other leases of the same license and runtime key."""
        self._run(
            "UPDATE leases SET ended = 1 WHERE license = ? AND runtime_key_hash = ? AND id <> ?",
            str(lease.license),
            lease.runtime_key_hash.raw,
            lease.id.raw,
        )

    def used(self, license_id: LicenseId) -> int:
        """Leases counted against the quota so far."""
        row = self._one("SELECT used FROM usage WHERE license = ?", str(license_id))
        return 0 if row is None else int(row[0])

    def use(self, license_id: LicenseId, *, quota: int) -> bool:
        """Count one lease; False when the quota (0: unlimited) is used up."""
        counted = self._run(
            "INSERT INTO usage VALUES (?, 1) ON CONFLICT DO UPDATE SET used = used + 1 "
            "WHERE ? = 0 OR used < ?",
            str(license_id),
            quota,
            quota,
        )
        return counted == 1

    # -- receipts ----------------------------------------------------------------------------------

    def last_receipt(self) -> tuple[int, Digest]:
        """Sequence and hash of the last receipt; 0 and zeros when there is none."""
        row = self._one("SELECT sequence, hash FROM receipts ORDER BY sequence DESC LIMIT 1")
        return (0, ZERO_DIGEST) if row is None else (int(row[0]), Digest(row[1]))

    def append_receipt(
        self, sequence: int, kind: str, license_id: LicenseId | None, entry: dict[str, Any]
    ) -> Digest:
        """Add one entry to the log; a number can be used once."""
        hash_ = receipt_hash(entry)
        self._run(
            "INSERT INTO receipts VALUES (?, ?, ?, ?, ?)",
            sequence,
            hash_.raw,
            kind,
            None if license_id is None else str(license_id),
            json.dumps(entry),
        )
        return hash_

    def receipts(
        self, *, after: int = 0, limit: int = 1000
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Entries with a number above `after`, in order."""
        with self._lock:
            rows = self._db.execute(
                "SELECT sequence, entry FROM receipts WHERE sequence > ? ORDER BY sequence LIMIT ?",
                (after, limit),
            ).fetchall()
        for sequence, entry in rows:
            yield int(sequence), dict(json.loads(entry))
