"""What a broker keeps: challenges, deposits, leases, receipts.

What must hold under concurrency is one SQL statement each: a challenge is consumed by one DELETE, a
seat taken by one INSERT that counts, a heartbeat applied by one UPDATE. A decision, its seat and
its receipt are one transaction, so a kill at any point loses none of them alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ledger.broker.database import Database
from ledger.broker.facts import IssuedChallenge
from ledger.broker.fleet import WorkerCertificate
from ledger.broker.grants import Acceptance, RuntimeGrant, RuntimeKey
from ledger.broker.leases import Heartbeat, Lease
from ledger.broker.protocol import RECEIPT_TAG
from ledger.canonical import hash_bytes
from ledger.ids import ZERO_DIGEST, Address, Digest, LicenseId, ModelId
from ledger.sealed.record import SealingRecord

MAX_CHALLENGES: Final = 100_000


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease as stored, with what a heartbeat is checked against."""

    lease: Lease
    runtime: RuntimeKey
    grant: RuntimeGrant | None
    ended: bool
    certificate: WorkerCertificate | None = None


class BrokerStore(Database):
    """One broker's database with the tables that a decision reads and writes; as `Database`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._swept = -1

    # -- challenges --------------------------------------------------------------------------------

    def add_challenge(
        self, challenge: bytes, license_id: LicenseId, model: ModelId, *, now: int, expires_at: int
    ) -> None:
        """Remember a challenge; expired ones are dropped on the way.

        So are the oldest beyond `MAX_CHALLENGES`: whoever asks for that many, from many networks,
        does not keep others from asking, and theirs are used long before.
        """
        # Ends before it is on disk, as nothing else does: a challenge that a power cut loses is
        # asked for again. One that was consumed is on disk before anything is released for it,
        # because that commits later to the same log.
        with self.unsettled() as db:
            if now != self._swept:
                db.execute("DELETE FROM challenges WHERE expires_at <= ?", (now,))
                self._swept = now
            (count,) = db.execute("SELECT count(*) FROM challenges").fetchone()
            if count >= MAX_CHALLENGES:
                db.execute(
                    "DELETE FROM challenges WHERE challenge IN "
                    "(SELECT challenge FROM challenges ORDER BY expires_at LIMIT ?)",
                    (count - MAX_CHALLENGES + 1,),
                )
            db.execute(
                "INSERT INTO challenges VALUES (?, ?, ?, ?)",
                (challenge, str(license_id), model.raw, expires_at),
            )

    def consume_challenge(self, challenge: bytes) -> IssuedChallenge | None:
        """Use up a challenge: at most one caller ever gets it."""
        row = self.row(
            "DELETE FROM challenges WHERE challenge = ? RETURNING license, model, expires_at",
            challenge,
        )
        if row is None:
            return None
        return IssuedChallenge(LicenseId.parse(row[0]), ModelId(row[1]), row[2])

    def spend_nonce(self, nonce: bytes, *, now: int, forget_at: int) -> bool:
        """Use up a challenge that its runtime made itself: at most one caller ever gets True."""
        with self.transaction():
            self.write("DELETE FROM spent_nonces WHERE forget_at <= ?", now)
            spent = self.write(
                "INSERT INTO spent_nonces VALUES (?, ?) ON CONFLICT DO NOTHING", nonce, forget_at
            )
            return spent == 1

    def return_nonce(self, nonce: bytes) -> None:
        """Hand back a nonce that the caller has spent, and nothing was given for."""
        self.write("DELETE FROM spent_nonces WHERE nonce = ?", nonce)

    def keep_answer(self, request: Digest, document: str, *, now: int, forget_at: int) -> None:
        """Keep what was released for a carried request, to give it again to whoever lost it."""
        self.write("DELETE FROM carried_answers WHERE forget_at <= ?", now)
        self.write(
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
        self.write(
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
        self.write(
            "INSERT INTO secrets VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "sealed = excluded.sealed",
            sealing.raw,
            label,
            kek_id,
            sealed,
        )

    def secret(self, sealing: Digest, label: str, kek_id: str) -> bytes | None:
        """One secret as encrypted under one KEK; there are two while the KEK is rotated."""
        row = self.row(
            "SELECT sealed FROM secrets WHERE sealing = ? AND label = ? AND kek_id = ?",
            sealing.raw,
            label,
            kek_id,
        )
        return None if row is None else bytes(row[0])

    def secrets_under(self, kek_id: str) -> list[tuple[Digest, str, bytes]]:
        """Sealing, label and ciphertext of every secret under one KEK."""
        rows = self.rows(
            "SELECT sealing, label, sealed FROM secrets WHERE kek_id = ? ORDER BY sealing, label",
            kek_id,
        )
        return [(Digest(row[0]), str(row[1]), bytes(row[2])) for row in rows]

    def drop_secrets(self, kek_id: str) -> int:
        """Delete every secret under one KEK, from the file and its write-ahead log too."""
        self.row("PRAGMA secure_delete=ON")
        count = self.write("DELETE FROM secrets WHERE kek_id = ?", kek_id)
        self.row("PRAGMA wal_checkpoint(TRUNCATE)")
        return count

    def sealing(self, sealing: Digest) -> SealingRecord | None:
        """The record of a deposited sealing."""
        row = self.row("SELECT record FROM sealings WHERE sealing = ?", sealing.raw)
        return None if row is None else SealingRecord.from_json(json.loads(row[0]))

    def add_terms(self, hash_: Digest, document: dict[str, Any]) -> None:
        """Keep a terms document by its hash."""
        self.write(
            "INSERT INTO terms VALUES (?, ?) ON CONFLICT DO NOTHING",
            hash_.raw,
            json.dumps(document),
        )

    def terms(self, hash_: Digest) -> dict[str, Any] | None:
        """A kept terms document."""
        row = self.row("SELECT document FROM terms WHERE hash = ?", hash_.raw)
        return None if row is None else dict(json.loads(row[0]))

    def add_acceptance(self, holder: Address, acceptance: Acceptance) -> None:
        """Keep a holder's acceptance of terms."""
        self.write(
            "INSERT INTO acceptances VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            str(acceptance.license),
            holder.raw,
            acceptance.terms_hash.raw,
            json.dumps(acceptance.to_json()),
        )

    def accepted(self, license_id: LicenseId, holder: Address, terms_hash: Digest) -> bool:
        """Whether this holder's acceptance is kept."""
        row = self.row(
            "SELECT 1 FROM acceptances WHERE license = ? AND holder = ? AND terms_hash = ?",
            str(license_id),
            holder.raw,
            terms_hash.raw,
        )
        return row is not None

    # -- leases ------------------------------------------------------------------------------------

    def seats_taken(self, license_id: LicenseId, runtime_key_hash: Digest, *, now: int) -> int:
        """Seats that other runtimes hold at `now`."""
        row = self.row(
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
        taken = self.write(
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
        row = self.row(
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
        self.write(
            "INSERT INTO lease_certificates VALUES (?, ?) ON CONFLICT DO UPDATE SET "
            "document = excluded.document",
            lease_id.raw,
            json.dumps(certificate.to_json()),
        )

    def advance(self, heartbeat: Heartbeat) -> bool:
        """Use up a heartbeat's sequence number: each counts once, and only upwards."""
        return (
            self.write(
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
        extended = self.write(
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
        self.write("DELETE FROM leases WHERE id = ?", lease_id.raw)
        self.write("DELETE FROM lease_certificates WHERE lease = ?", lease_id.raw)

    def end(self, lease_id: Digest) -> None:
        """Mark a lease as ended; its seat stays held until the promised time."""
        self.write("UPDATE leases SET ended = 1 WHERE id = ?", lease_id.raw)

    def supersede(self, lease: Lease) -> None:
        """End the other leases of the same license and runtime key."""
        self.write(
            "UPDATE leases SET ended = 1 "
            "WHERE license = ? AND runtime_key_hash = ? AND id <> ? AND ended = 0",
            str(lease.license),
            lease.runtime_key_hash.raw,
            lease.id.raw,
        )

    def used(self, license_id: LicenseId) -> int:
        """Leases counted against the quota so far."""
        row = self.row("SELECT used FROM usage WHERE license = ?", str(license_id))
        return 0 if row is None else int(row[0])

    def use(self, license_id: LicenseId, *, quota: int) -> bool:
        """Count one lease; False when the quota (0: unlimited) is used up."""
        counted = self.write(
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
        row = self.row("SELECT sequence, hash FROM receipts ORDER BY sequence DESC LIMIT 1")
        return (0, ZERO_DIGEST) if row is None else (int(row[0]), Digest(row[1]))

    def append_receipt(
        self, sequence: int, kind: str, license_id: LicenseId | None, entry: bytes
    ) -> Digest:
        """Add one entry, in canonical form, to the log; a number can be used once."""
        hash_ = hash_bytes(RECEIPT_TAG, entry)
        self.write(
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
        for sequence, entry in self.rows(
            "SELECT sequence, entry FROM receipts WHERE sequence > ? ORDER BY sequence LIMIT ?",
            after,
            limit,
        ):
            yield int(sequence), dict(json.loads(entry))
