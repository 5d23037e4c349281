"""``deed license hold|release-hold`` on a live stack."""

import json
import time

import numpy as np
import pytest
from eth_account import Account
from safetensors.numpy import save_file

from ledger.broker.anomaly import Rules
from ledger.broker.defence import Defence
from ledger.broker.home import BrokerHome
from ledger.broker.receipts import ReceiptLog
from ledger.broker.store import BrokerStore
from ledger.errors import LicenseHeld
from ledger.ids import Digest, LicenseId

pytestmark = pytest.mark.chain

# Anvil's second account: the test account "licensor".
LICENSOR_KEY = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"


@pytest.fixture(scope="module")
def plan(live):
    values = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    save_file({"layer": values}, live.cwd / "a.safetensors")
    assert live("terms", "new", "a.toml").code == 0
    ran = live("publish", "a.safetensors", "--terms", "a.toml", "--json")
    assert ran.code == 0, ran.err
    return ran.json["plan"]


@pytest.fixture
def held(live, plan):
    """A license that the running broker's rules hold, beside it in the same database."""
    license_id = live("license", "issue", plan, "--to", "holder", "--json").json["license"]
    folder = live.cwd / ".deed" / "broker"
    home = BrokerHome.open(folder, (folder / "passphrase").read_text().strip())
    store = BrokerStore(home.database)
    try:
        log = ReceiptLog(store, home.signing, home.identity.audience)
        defence = Defence(store, log, rules=Rules(strikes=1))
        for number in range(4):
            try:
                defence.admit(
                    LicenseId.parse(license_id), Digest(b"\x01" * 32), f"203.0.{number}.0/24",
                    now=int(time.time()),
                )  # fmt: skip
            except LicenseHeld:
                return license_id
    finally:
        store.close()
    pytest.fail("never held")


def test_its_licensor_sees_and_ends_a_hold(live, held):
    shown = live("license", "hold", held, "--json")
    assert shown.code == 0, shown.err
    (broker,) = shown.json["brokers"]
    assert broker["hold"]["rule"] == "impossible-cadence"
    refused = live("license", "release-hold", held, "--as", "holder")
    assert refused.code == 1
    assert "the licensor of license" in refused.err
    ran = live("license", "release-hold", held, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["released"][0]["receipt"] > broker["hold"]["sequence"]
    assert live("license", "hold", held).code == 1
    again = live("license", "release-hold", held)
    assert again.code == 2
    assert "no broker that was asked holds" in again.err


def test_a_wallet_elsewhere_signs_a_file(live, held, plan):
    told = live("license", "release-hold", held, "--typed-data", "h.json", "--licensor", "licensor")
    assert told.code == 0, told.err
    document = json.loads((live.cwd / "h.json").read_text())
    early = live("license", "release-hold", held, "--signature-file", "h.json")
    assert early.code == 2
    made = Account.sign_typed_data(LICENSOR_KEY, full_message=document["typed_data"])
    document["signature"] = "0x" + made.signature.hex()
    (live.cwd / "h.json").write_text(json.dumps(document))
    ran = live("license", "release-hold", held, "--signature-file", "h.json", "--json")
    assert ran.code == 0, ran.err
    assert live("license", "hold", held).code == 1
    assert live("broker", "audit", live.cwd / ".deed" / "broker", "--json").code in {0, 2}


def test_what_cannot_be_meant_is_said(live, plan):
    assert live("license", "hold", "99.1").code == 1
    assert live("license", "release-hold", f"{plan}.1", "--licensor", "licensor").code == 2
    both = ("--typed-data", "x.json", "--signature-file", "y.json")
    assert live("license", "release-hold", f"{plan}.1", *both).code == 2
    ran = live("license", "release-hold", f"{plan}.1", "--signature-file", "none.json")
    assert ran.code == 2
    ran = live("license", "hold", f"{plan}.1", "--url", "http://127.0.0.1:9")
    assert ran.code in {1, 3}
