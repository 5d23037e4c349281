"""Evidence jobs that fail: what is kept of them has an end."""

from __future__ import annotations

import threading

import pytest

from api import evidence_jobs
from api.evidence_jobs import EvidenceJobs
from ledger.errors import RateLimited, UnknownRecord


def refused(request, dest, progress):
    raise UnknownRecord("the claim was not deposited here")


@pytest.fixture
def jobs(tmp_path):
    made = EvidenceJobs(tmp_path / "jobs", refused, keep=3600, disk=1 << 20)
    stop = threading.Event()
    worker = threading.Thread(target=made.run, args=(stop,))
    worker.start()
    yield made
    stop.set()
    worker.join()
    made.close()


def test_failures_make_room_for_each_other_and_the_newest_stay(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(evidence_jobs, "MAX_FAILED", 3)
    numbers = []
    for n in range(6):
        number, _ = jobs.ask({"model": "0x00", "note": str(n)}, {"kind": "model", "model": "0x00"})
        assert jobs.look(number, wait=20).state == "failed"
        numbers.append(number)
    for number in numbers[:3]:
        with pytest.raises(UnknownRecord, match="its time is over"):
            jobs.look(number)
    assert [jobs.look(number).state for number in numbers[3:]] == ["failed"] * 3
    assert len(list((tmp_path / "jobs").glob("*.json"))) == 3


SUBJECT = {"kind": "model", "model": "0x00"}


@pytest.fixture
def idle(tmp_path):
    """Jobs that nobody works on."""
    made = EvidenceJobs(tmp_path / "jobs", refused, keep=3600, disk=1 << 20)
    yield made
    made.close()


def test_one_network_queues_only_so_many_jobs_and_others_still_do(idle):
    numbers = [idle.ask({"note": str(n)}, SUBJECT, "10.0.0.0/24")[0] for n in range(4)]
    with pytest.raises(RateLimited, match="of one network"):
        idle.ask({"note": "junk"}, SUBJECT, "10.0.0.0/24")
    idle.ask({"note": "other"}, SUBJECT, "10.9.0.0/24")
    idle.leave(numbers[0])
    idle.ask({"note": "junk"}, SUBJECT, "10.0.0.0/24")


def test_one_network_asks_for_the_same_only_so_often_and_its_asker_still_can(idle):
    numbers = [idle.ask({"note": "same"}, SUBJECT, "10.0.0.0/24")[0] for _ in range(8)]
    with pytest.raises(RateLimited):
        idle.ask({"note": "same"}, SUBJECT, "10.0.0.0/24")
    mine, work = idle.ask({"note": "same"}, SUBJECT, "account:0x1")
    assert len(work.askers) == 9
    for number in numbers:
        idle.leave(number)
    assert idle.look(mine).state == "queued"
    assert idle._party == {mine: "account:0x1"}
