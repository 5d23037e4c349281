"""``deed broker anchor|audit|receipt|holds|release-hold`` on a live stack."""

import json
import sqlite3

import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.broker.protocol import receipt_hash

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def home(live):
    """The folder of the running stack's broker, with a deposit in its log."""
    folder = live.cwd / ".deed" / "broker"
    live.env["DEED_BROKER_PASSPHRASE_FILE"] = str(folder / "passphrase")
    values = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    save_file({"layer": values}, live.cwd / "a.safetensors")
    assert live("terms", "new", "a.toml").code == 0
    ran = live("publish", "a.safetensors", "--terms", "a.toml", "--json")
    assert ran.code == 0, ran.err
    return folder


def test_a_brokers_log_is_audited_anchored_and_shown_receipt_by_receipt(live, home):
    audit = live("broker", "audit", home)
    assert audit.code == 0, audit.err + audit.out
    assert "(8) roots on chain: pass" in audit.out
    anchored = live("broker", "anchor", "--home", home, "--json")
    assert anchored.code == 0, anchored.err
    last = anchored.json["anchored"]["last"]
    again = live("broker", "anchor", "--home", home, "--json")
    assert again.json["anchored"] is None
    assert live("broker", "audit", home, "--json").json["holds"] is True
    assert live("broker", "receipt", last, "--home", home, "--out", "r.json").code == 0
    checked = live("broker", "receipt", "r.json", "--json")
    assert (checked.code, checked.json["holds"]) == (0, True)
    assert checked.json["root"] == anchored.json["anchored"]["root"]
    document = json.loads((live.cwd / "r.json").read_text())
    document["entry"]["reply"]["time"] += 1
    (live.cwd / "bad.json").write_text(json.dumps(document))
    assert live("broker", "receipt", "bad.json").code == 1
    assert live("broker", "receipt", last + 1000, "--home", home).code == 2
    assert live("broker", "receipt", "none.json").code == 2


def test_a_broker_is_audited_from_outside_by_its_url(live, home):
    assert live("broker", "anchor", "--home", home).code == 0
    url = live("network", "show", "--json").json["broker"]
    words = ("broker", "audit", url, "--seen", "seen.json")
    ran = live(*words)
    assert ran.code == 0, ran.err + ran.out
    assert "(8) roots on chain: pass" in ran.out
    assert "(5) seats: not checked" in ran.out
    number = json.loads((live.cwd / "seen.json").read_text())["head"]["head"]["sequence"]
    assert live("broker", "receipt", number, "--home", home, "--out", "mine.json").code == 0
    again = live(*words, "--receipt", "mine.json", "--json")
    assert (again.code, again.json["holds"], again.json["from"]) == (0, True, "outside")
    assert "among them; 1 receipts at hand" in again.json["steps"][0]["detail"]
    # Someone who kept another head of this number has been shown another history.
    with sqlite3.connect(home / "broker.sqlite3") as database:
        database.execute("UPDATE receipts SET hash = zeroblob(32) WHERE sequence = ?", (number,))
        database.commit()
    try:
        ran = live(*words)
        assert ran.code == 1
        assert "does NOT all hold" in ran.out
    finally:
        entry = json.loads((live.cwd / "mine.json").read_text())["entry"]
        with sqlite3.connect(home / "broker.sqlite3") as database:
            database.execute(
                "UPDATE receipts SET hash = ? WHERE sequence = ?",
                (receipt_hash(entry).raw, number),
            )
            database.commit()
    assert live("broker", "audit", home, "--seen", "x.json").code == 2
    assert live(*words, "--receipt", "none.json").code == 2


def test_status_tells_how_the_anchoring_stands(live, home):
    assert live("broker", "anchor", "--home", home).code == 0
    ran = live("broker", "status", "--json")
    assert ran.code == 0, ran.err
    told = ran.json["anchoring"]
    assert (told["state"], told["anchored"]) == ("off", told["receipts"])
    assert "0 not anchored yet; deed broker anchor" in live("broker", "status").out


def test_an_audit_that_finds_something_ends_with_1(live, home, tmp_path):
    assert live("broker", "anchor", "--home", home).code == 0
    copy = tmp_path / "broker"
    copy.mkdir(mode=0o700)
    for name in ("keys.json", "broker.json"):
        (copy / name).write_bytes((home / name).read_bytes())
        (copy / name).chmod(0o600)
    with (
        sqlite3.connect(home / "broker.sqlite3") as real,
        sqlite3.connect(copy / "broker.sqlite3") as other,
    ):
        real.backup(other)
        other.execute("DELETE FROM receipts WHERE sequence = 1")
        other.commit()
    ran = live("broker", "audit", copy)
    assert ran.code == 1
    assert "(8) roots on chain: fail" in ran.out
    assert "the log does NOT hold" in ran.out


def test_a_license_that_is_not_held_cannot_be_released(live, home):
    assert live("broker", "holds", "--home", home, "--json").json == {"holds": []}
    ran = live("broker", "release-hold", "1.1", "--home", home)
    assert ran.code == 2
    assert "is not held here" in ran.err
