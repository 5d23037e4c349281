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

from ledger.broker.durability import GroupSync
from ledger.broker.facts import IssuedChallenge
from ledger.broker.fleet import WorkerCertificate
from ledger.broker.grants import Acceptance, RuntimeGrant, RuntimeKey
from ledger.broker.leases import Heartbeat, Lease
from ledger.broker.protocol import RECEIPT_TAG
from ledger.broker.turns import TURNS
from ledger.canonical import hash_bytes
from ledger.errors import BrokerUnavailable, ConfigurationError, UnsupportedVersion
from ledger.ids import ZERO_DIGEST, Address, Digest, LicenseId, ModelId
from ledger.sealed.record import SealingRecord

SCHEMA_VERSION: Final = 2
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
    sealed BLOB NOT NULL, PRIMARY KEY (sealing, label, kek_id)
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
CREATE INDEX leases_by_license ON leases (license, grace_until, runtime_key_hash);
CREATE INDEX leases_alive ON leases (license, runtime_key_hash) WHERE ended = 0;
CREATE TABLE usage (license TEXT PRIMARY KEY, used INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE receipts (
    sequence INTEGER PRIMARY KEY, hash BLOB NOT NULL, kind TEXT NOT NULL, license TEXT,
    entry TEXT NOT NULL
);
CREATE TABLE conduct (
    license TEXT PRIMARY KEY, level TEXT NOT NULL, conduct TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE sighted (license TEXT PRIMARY KEY, began INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE sighted_networks (
    license TEXT NOT NULL, network TEXT NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (license, network)
) WITHOUT ROWID;
CREATE TABLE sighted_hosts (
    license TEXT NOT NULL, runtime TEXT NOT NULL, first INTEGER NOT NULL, network TEXT NOT NULL,
    last INTEGER NOT NULL, began INTEGER NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (license, runtime)
) WITHOUT ROWID;
CREATE INDEX sighted_hosts_by_first ON sighted_hosts (license, first);
CREATE INDEX sighted_hosts_by_last ON sighted_hosts (license, last);
CREATE TABLE notices (
    id TEXT PRIMARY KEY, target TEXT NOT NULL, body TEXT NOT NULL, next_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL DEFAULT 'waiting',
    trouble TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX notices_by_time ON notices (state, next_at);
CREATE TABLE anchors (
    sequence INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL,
    previous BLOB NOT NULL, root BLOB NOT NULL, anchored INTEGER NOT NULL DEFAULT 0,
    transaction_hash BLOB
);
CREATE TABLE lease_certificates (
    lease BLOB PRIMARY KEY, document TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE share_sets (
    sealing BLOB NOT NULL REFERENCES sealings, broker_set INTEGER NOT NULL,
    number INTEGER NOT NULL, document TEXT NOT NULL, PRIMARY KEY (sealing, broker_set)
) WITHOUT ROWID;
CREATE TABLE carried_answers (
    request BLOB PRIMARY KEY, document TEXT NOT NULL, forget_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE spent_nonces (
    nonce BLOB PRIMARY KEY, forget_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE cell_codes (
    sealing BLOB PRIMARY KEY REFERENCES sealings, count INTEGER NOT NULL,
    colluders INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE anchor_sends (
    sequence INTEGER PRIMARY KEY, account BLOB NOT NULL, nonce INTEGER NOT NULL, raw BLOB NOT NULL
);
CREATE INDEX receipts_holds ON receipts (license, sequence) WHERE kind = 'hold';
CREATE TABLE code_words (
    sealing BLOB NOT NULL, license TEXT NOT NULL, holder BLOB NOT NULL, tenure INTEGER NOT NULL,
    given INTEGER NOT NULL, excused INTEGER NOT NULL,
    PRIMARY KEY (license, sealing, holder, tenure)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease as stored, with what a heartbeat is checked against."""

    lease: Lease
    runtime: RuntimeKey
    grant: RuntimeGrant | None
    ended: bool
    certificate: WorkerCertificate | None = None


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _refused(error) from None


def _refused(error: sqlite3.Error) -> BrokerUnavailable:
    return BrokerUnavailable(f"the broker's database refuses: {error}")


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
        self._swept = -1
        try:
            self._db = sqlite3.connect(
                path, timeout=10.0, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            # A receipt that was answered for must survive a power cut: `transaction` waits for the
            # disk itself, once for all that wait at a time.
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("PRAGMA foreign_keys=ON")
            self._disk: GroupSync | None = None
            self._open_schema()
            path.chmod(0o600)
            self._disk = GroupSync(path.with_name(f"{path.name}-wal"))
            self._disk.settle()
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
            if self._disk is not None:
                self._disk.close()
                self._disk = None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and on disk when it ends; nested use joins the outer transaction.

        Raises:
            BrokerUnavailable: the database is locked or broken, or the disk is.
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
        if self._disk is not None:
            with TURNS.aside():
                self._disk.settle()

    def _one(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        try:
            with self._lock:
                row: tuple[Any, ...] | None = self._db.execute(sql, values).fetchone()
                return row
        except sqlite3.Error as error:
            raise _refused(error) from None

    def _run(self, sql: str, *values: Any) -> int:
        try:
            with self._lock:
                # Outside a transaction one statement is one.
                inner = self._db.in_transaction
                count = self._db.execute(sql, values).rowcount
        except sqlite3.Error as error:
            raise _refused(error) from None
        if not inner and self._disk is not None:
            with TURNS.aside():
                self._disk.settle()
        return count

    # For the modules that keep tables of their own here: defence, notices, anchoring.

    def row(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        """One row of a query."""
        return self._one(sql, *values)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self._lock, _translated():
            return list(self._db.execute(sql, values).fetchall())

    def write(self, sql: str, *values: Any) -> int:
        """One statement; how many rows it changed."""
        return self._run(sql, *values)

    # -- challenges --------------------------------------------------------------------------------

    def add_challenge(
        self, challenge: bytes, license_id: LicenseId, model: ModelId, *, now: int, expires_at: int
    ) -> None:
        """Remember a challenge; expired ones are dropped on the way.

        So are the oldest beyond `MAX_CHALLENGES`: whoever asks for that many, from many networks,
        does not keep others from asking, and theirs are used long before.
        """
        try:
            with self._lock:
                if now != self._swept:
                    self._db.execute("DELETE FROM challenges WHERE expires_at <= ?", (now,))
                    self._swept = now
                (count,) = self._db.execute("SELECT count(*) FROM challenges").fetchone()
                if count >= MAX_CHALLENGES:
                    self._db.execute(
                        "DELETE FROM challenges WHERE challenge IN "
                        "(SELECT challenge FROM challenges ORDER BY expires_at LIMIT ?)",
                        (count - MAX_CHALLENGES + 1,),
                    )
                # Ends before it is on disk, as nothing else does: a challenge that a power cut
                # loses is asked for again. One that was consumed is on disk before anything is
                # released for it, because that commits later to the same log.
                self._db.execute(
                    "INSERT INTO challenges VALUES (?, ?, ?, ?)",
                    (challenge, str(license_id), model.raw, expires_at),
                )
        except sqlite3.Error as error:
            raise _refused(error) from None

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

    def keep_answer(self, request: Digest, document: str, *, now: int, forget_at: int) -> None:
        """Keep what was released for a carried request, to give it again to whoever lost it."""
        self._run("DELETE FROM carried_answers WHERE forget_at <= ?", now)
        self._run(
            "INSERT INTO carried_answers VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            request.raw,
            document,
            forget_at,
        )

    def kept_answer(self, request: Digest) -> str | None:
        """What `keep_answer` kept."""
        row = self.row("SELECT document FROM carried_answers WHERE request = ?", request.raw)
        return None if row is None else str(row[0])

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
        """Store one encrypted secret, over an older encryption of the same under the same KEK."""
        self._run(
            "INSERT INTO secrets VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "sealed = excluded.sealed",
            sealing.raw,
            label,
            kek_id,
            sealed,
        )

    def secret(self, sealing: Digest, label: str, kek_id: str) -> bytes | None:
        """One secret as encrypted under one KEK; there are two while the KEK is rotated."""
        row = self._one(
            "SELECT sealed FROM secrets WHERE sealing = ? AND label = ? AND kek_id = ?",
            sealing.raw,
            label,
            kek_id,
        )
        return None if row is None else bytes(row[0])

    def secrets_under(self, kek_id: str) -> list[tuple[Digest, str, bytes]]:
        """Sealing, label and ciphertext of every secret under one KEK."""
        with self._lock, _translated():
            rows = self._db.execute(
                "SELECT sealing, label, sealed FROM secrets WHERE kek_id = ? "
                "ORDER BY sealing, label",
                (kek_id,),
            ).fetchall()
        return [(Digest(row[0]), str(row[1]), bytes(row[2])) for row in rows]

    def drop_secrets(self, kek_id: str) -> int:
        """Delete every secret under one KEK, from the file and its write-ahead log too."""
        self._one("PRAGMA secure_delete=ON")
        count = self._run("DELETE FROM secrets WHERE kek_id = ?", kek_id)
        self._one("PRAGMA wal_checkpoint(TRUNCATE)")
        return count

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
            "SELECT leases.lease, runtime, grant_document, ended, document FROM leases "
            "LEFT JOIN lease_certificates ON lease_certificates.lease = id WHERE id = ?",
            lease_id.raw,
        )
        if row is None:
            return None
        return HeldLease(
            Lease.from_json(json.loads(row[0])),
            RuntimeKey.from_json(json.loads(row[1])),
            None if row[2] is None else RuntimeGrant.from_json(json.loads(row[2])),
            bool(row[3]),
            None if row[4] is None else WorkerCertificate.from_json(json.loads(row[4])),
        )

    def keep_certificate(self, lease_id: Digest, certificate: WorkerCertificate) -> None:
        """Remember the certificate that a worker's lease rests on, over an older one."""
        self._run(
            "INSERT INTO lease_certificates VALUES (?, ?) ON CONFLICT DO UPDATE SET "
            "document = excluded.document",
            lease_id.raw,
            json.dumps(certificate.to_json()),
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
        self._run("DELETE FROM lease_certificates WHERE lease = ?", lease_id.raw)

    def end(self, lease_id: Digest) -> None:
        """Mark a lease as ended; its seat stays held until the promised time."""
        self._run("UPDATE leases SET ended = 1 WHERE id = ?", lease_id.raw)

    def supersede(self, lease: Lease) -> None:
        """End the other leases of the same license and runtime key."""
        self._run(
            "UPDATE leases SET ended = 1 "
            "WHERE license = ? AND runtime_key_hash = ? AND id <> ? AND ended = 0",
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
        self, sequence: int, kind: str, license_id: LicenseId | None, entry: bytes
    ) -> Digest:
        """Add one entry, in canonical form, to the log; a number can be used once."""
        hash_ = hash_bytes(RECEIPT_TAG, entry)
        self._run(
            "INSERT INTO receipts VALUES (?, ?, ?, ?, ?)",
            sequence,
            hash_.raw,
            kind,
            None if license_id is None else str(license_id),
            entry.decode(),
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
