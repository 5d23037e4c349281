"""The file of a broker's database: its tables, and transactions that end on disk (SQLite).

No index rebuild touches it. Which statements run on a table is said by the module that the table
is about: `ledger.broker.store`, and defence, notices, words, shares, holds and anchoring.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ledger.broker.durability import GroupSync
from ledger.broker.turns import TURNS
from ledger.errors import BrokerUnavailable, ConfigurationError, UnsupportedVersion

SCHEMA_VERSION: Final = 2
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


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _refused(error) from None


def _refused(error: sqlite3.Error) -> BrokerUnavailable:
    return BrokerUnavailable(f"the broker's database refuses: {error}")


class Database:
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

    def row(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        """One row of a query.

        Raises:
            BrokerUnavailable: as `transaction`.
        """
        try:
            with self._lock:
                found: tuple[Any, ...] | None = self._db.execute(sql, values).fetchone()
                return found
        except sqlite3.Error as error:
            raise _refused(error) from None

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """All rows of a query.

        Raises:
            BrokerUnavailable: as `transaction`.
        """
        with self._lock, _translated():
            return list(self._db.execute(sql, values).fetchall())

    def write(self, sql: str, *values: Any) -> int:
        """One statement, on disk when it ends if it is in no transaction; how many rows it changed.

        Raises:
            BrokerUnavailable: as `transaction`.
        """
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

    @contextlib.contextmanager
    def unsettled(self) -> Iterator[sqlite3.Connection]:
        """Statements that end before they are on disk: what they wrote, a power cut may take.

        Raises:
            BrokerUnavailable: the database is locked or broken.
        """
        with self._lock, _translated():
            yield self._db
