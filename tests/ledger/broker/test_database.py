"""The file of a broker's database: what is opened, and what is refused."""

import pytest

from ledger.broker.database import SCHEMA_VERSION, Database
from ledger.errors import BrokerUnavailable, ConfigurationError, UnsupportedVersion


def test_what_is_no_database_is_refused(tmp_path):
    path = tmp_path / "broker.sqlite3"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigurationError):
        Database(path)


def test_a_database_of_a_later_release_is_refused(tmp_path):
    path = tmp_path / "broker.sqlite3"
    store = Database(path)
    store._db.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    store.close()
    with pytest.raises(UnsupportedVersion):
        Database(path)


def test_what_ends_before_it_is_on_disk_is_read_at_once_and_fails_as_all_else(tmp_path):
    database = Database(tmp_path / "broker.sqlite3")
    with database.unsettled() as statements:
        statements.execute("INSERT INTO usage VALUES ('1.1', 3)")
    assert database.row("SELECT used FROM usage WHERE license = ?", "1.1") == (3,)
    with pytest.raises(BrokerUnavailable), database.unsettled() as statements:
        statements.execute("INSERT INTO usage VALUES ('1.1', 4)")
    database.close()
