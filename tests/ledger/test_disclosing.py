from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from functools import partial

import numpy as np
import pytest
from trigger_world import BEACON, CHALLENGE, make_set

from ledger import disclosing
from ledger.disclosing import disclose_into, holding, load_triggers, save_triggers, teach_into
from ledger.errors import (
    ClaimMismatch,
    ConfigurationError,
    ManifestError,
    UsageError,
    WrongPassphrase,
)
from ledger.ids import Digest
from ledger.watermark.disclosure import Disclosure

WORD = "correct horse"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The least work that scrypt may take."""
    slow = disclosing.encrypt_with_passphrase
    monkeypatch.setattr(disclosing, "encrypt_with_passphrase", partial(slow, cost=14))


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "m.triggers.json"
    save_triggers(make_set(300), path, WORD, replace=False)
    return path


def read(path):
    return Disclosure.from_json(json.loads(path.read_text()))


def test_the_record_is_for_its_owner_alone_and_tells_nothing_without_the_passphrase(record):
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    made = load_triggers(record, WORD)
    text = record.read_text()
    assert made.secret.hex() not in text
    assert str(made.commitment.root) not in text
    with pytest.raises(WrongPassphrase):
        load_triggers(record, "another")
    record.chmod(0o644)
    with pytest.raises(ConfigurationError):
        load_triggers(record, WORD)


def test_a_file_of_another_kind_is_no_record(record):
    record.write_text("{}")
    with pytest.raises(ManifestError):
        load_triggers(record, WORD)


def test_a_disclosure_is_noted_before_it_is_written(record, tmp_path, monkeypatch):
    def died(*_, **__):
        raise KeyboardInterrupt

    out = tmp_path / "d.json"
    real = disclosing.write_private
    monkeypatch.setattr(
        disclosing,
        "write_private",
        lambda path, *rest, **more: died() if path == out else real(path, *rest, **more),
    )
    with pytest.raises(KeyboardInterrupt):
        disclose_into(record, WORD, out, CHALLENGE, 20)
    assert not out.exists()
    noted = load_triggers(record, WORD).disclosures
    assert [each.challenge for each in noted] == [CHALLENGE]
    monkeypatch.undo()
    disclose_into(record, WORD, out, CHALLENGE, 20)
    assert read(out).digest() == noted[0].digest
    assert load_triggers(record, WORD).disclosures == noted


def test_run_again_it_leaves_the_same_file_and_never_replaces_another(record, tmp_path):
    out = tmp_path / "d.json"
    disclose_into(record, WORD, out, CHALLENGE, 20)
    first = out.read_bytes()
    disclose_into(record, WORD, out, CHALLENGE, 20)
    assert out.read_bytes() == first
    before = load_triggers(record, WORD)
    with pytest.raises(UsageError):
        disclose_into(record, WORD, out, "another", 20)
    with pytest.raises(UsageError):
        disclose_into(record, WORD, tmp_path, "another", 20)
    assert load_triggers(record, WORD) == before  # refused before anything was burned


KILLED = """
import sys
from functools import partial
from pathlib import Path
from ledger import disclosing
from ledger.disclosing import disclose_into
disclosing.encrypt_with_passphrase = partial(disclosing.encrypt_with_passphrase, cost=14)
folder, number = Path(sys.argv[1]), sys.argv[2]
print("begin", flush=True)
disclose_into(
    folder / "m.triggers.json", "correct horse", folder / f"{number}.json", f"case {number}", 9
)
"""


def test_killed_at_any_moment_nothing_is_opened_that_is_not_burned(record, tmp_path):
    after = [0.0, 0.05, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3]
    for number, pause in enumerate(after):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, tmp_path, str(number)], stdout=subprocess.PIPE
        ) as process:
            process.stdout.readline()
            time.sleep(pause)
            os.kill(process.pid, signal.SIGKILL)
        made = load_triggers(record, WORD)
        noted = {each.challenge: each.digest for each in made.disclosures}
        out = tmp_path / f"{number}.json"
        if out.exists():
            assert noted[f"case {number}"] == read(out).digest()
        disclose_into(record, WORD, out, f"case {number}", 9)
    opened = [read(tmp_path / f"{number}.json").opened for number in range(8)]
    assert len(frozenset().union(*opened)) == sum(map(len, opened))
    assert len(load_triggers(record, WORD).disclosures) == 8


def test_two_at_once_do_not_burn_behind_each_others_backs(record, tmp_path):
    with holding(record), pytest.raises(UsageError) as caught:
        disclose_into(record, WORD, tmp_path / "d.json", CHALLENGE, 5)
    assert "wait" in caught.value.hint
    done = []

    def one(number):
        while True:
            try:
                disclose_into(record, WORD, tmp_path / f"{number}.json", f"case {number}", 9)
            except UsageError:
                time.sleep(0.05)
            else:
                return done.append(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    opened = [read(tmp_path / f"{number}.json").opened for number in done]
    assert len(done) == 3
    assert len(frozenset().union(*opened)) == sum(map(len, opened))


def test_lessons_hold_every_question_with_its_answer_and_are_private(tmp_path):
    record = tmp_path / "m.triggers.json"
    made = make_set(50, beacon=None)
    save_triggers(made, record, WORD, replace=False)
    out = tmp_path / "lessons.npz"
    teach_into(record, WORD, out, BEACON)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    with np.load(out) as held:
        lessons = made.with_beacon(BEACON).lessons()
        assert held["positions"].tolist() == [each.position for each in lessons]
        assert held["answers"].tolist() == [each.answer for each in lessons]
        assert np.array_equal(held["questions"], np.stack([each.question for each in lessons]))
    with pytest.raises(ClaimMismatch):
        teach_into(record, WORD, tmp_path / "other.npz", Digest(b"\x01" * 32))
    with pytest.raises(ConfigurationError):
        teach_into(record, WORD, out, BEACON)


def test_a_record_restored_from_a_copy_notes_again_what_its_file_discloses(record, tmp_path):
    copy = record.read_bytes()
    out = tmp_path / "d.json"
    disclose_into(record, WORD, out, CHALLENGE, 20)
    record.write_bytes(copy)
    disclose_into(record, WORD, out, CHALLENGE, 20)
    assert len(load_triggers(record, WORD).disclosures) == 1


def test_a_lock_that_is_a_link_is_not_followed(record, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("kept")
    record.with_name(f".{record.name}.lock").symlink_to(precious)
    with pytest.raises(ConfigurationError), holding(record):
        pass
    assert precious.read_text() == "kept"
