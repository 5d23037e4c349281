"""Group commit: nothing is answered before it is on disk, and many share one write."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ledger.broker import durability
from ledger.broker.durability import GroupSync
from ledger.broker.store import BrokerStore
from ledger.errors import BrokerUnavailable
from ledger.ids import LicenseId, ModelId


class Disk:
    """The real disk, slowed down and counted."""

    def __init__(self, seconds=0.02):
        self.begun, self.seconds, self.broken = [], seconds, False

    def __call__(self, descriptor):
        self.begun.append(time.perf_counter())
        time.sleep(self.seconds)
        if self.broken:
            raise OSError(5, "Input/output error")
        os.fdatasync(descriptor)


@pytest.fixture
def disk(monkeypatch):
    made = Disk()
    monkeypatch.setattr(durability, "_to_disk", made)
    return made


def test_every_answer_waits_for_a_write_that_began_after_its_own(tmp_path, disk):
    store = BrokerStore(tmp_path / "b.sqlite3")
    store.write("CREATE TABLE t (n INTEGER)")
    settled = []

    def work(number):
        with store.transaction():
            store.write("INSERT INTO t VALUES (?)", number)
            written = time.perf_counter()
        settled.append((written, time.perf_counter()))

    before = len(disk.begun)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(64)))
    for written, done in settled:
        assert any(written < begun and begun + disk.seconds <= done for begun in disk.begun)
    assert len(disk.begun) - before < 40
    store.close()


def test_a_challenge_waits_for_no_disk_and_a_release_for_the_challenge_it_consumed(tmp_path, disk):
    store = BrokerStore(tmp_path / "b.sqlite3")
    before = len(disk.begun)
    assert store.consume_challenge(bytes(32)) is None
    store.add_challenge(bytes(32), LicenseId.of(1, 1), ModelId(bytes(32)), now=1, expires_at=61)
    assert len(disk.begun) == before
    store.write("DELETE FROM usage")
    assert len(disk.begun) == before + 1
    store.close()


def test_a_disk_that_failed_once_is_never_believed_again(tmp_path, disk):
    path = tmp_path / "file"
    path.write_bytes(b"x")
    group = GroupSync(path)
    group.settle()
    disk.broken = True
    with pytest.raises(BrokerUnavailable, match="Input/output error"):
        group.settle()
    disk.broken = False
    with pytest.raises(BrokerUnavailable):
        group.settle()
    group.close()


def test_nobody_waits_for_ever_when_the_disk_fails(tmp_path, disk):
    path = tmp_path / "file"
    path.write_bytes(b"x")
    group, failed = GroupSync(path), []
    disk.broken = True

    def work():
        try:
            group.settle()
        except BrokerUnavailable:
            failed.append(True)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(failed) == 8
    group.close()
