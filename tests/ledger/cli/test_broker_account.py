"""``deed broker anchor|audit|receipt|holds|release-hold`` on a live stack."""

import json
import sqlite3

import numpy as np
import pytest
from safetensors.numpy import save_file

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
