"""Three brokers, each a process of its own, of which two must release; all by commands.

No broker here is a test's: each is what ``deed serve`` runs. The one that lies had its share
changed in its database while it was stopped, so it signs and serves another value.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.broker import threshold
from ledger.broker.home import BrokerHome
from ledger.broker.store import BrokerStore
from ledger.broker.vault import Vault
from ledger.sealed.record import SealingRecord

pytestmark = pytest.mark.chain
WORDS = "correct horse battery staple"
PROGRAM = Path(sys.executable).with_name("deed")


def good(ran):
    assert ran.code == 0, ran.out + ran.err
    return ran


@dataclass
class Served:
    """One broker as its operator runs it."""

    live: object
    number: int
    port: int
    broker: int = 0
    process: subprocess.Popen | None = field(default=None, repr=False)

    @property
    def home(self):
        return self.live.cwd / f"broker-{self.number}"

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        words = [
            PROGRAM, "serve", "--port", self.port, "--no-follow", "--broker-home", self.home,
            "--database", f"sqlite:///{self.live.cwd}/index-{self.number}.sqlite3",
        ]  # fmt: skip
        said = self.live.cwd / f"serve-{self.number}.log"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process is None:
                with said.open("wb") as log:
                    self.process = subprocess.Popen(
                        list(map(str, words)), cwd=self.live.cwd, env=self.live.env,
                        stdout=log, stderr=log,
                    )  # fmt: skip
            if self.process.poll() is not None:
                # Between two starts, a test beside this one may have been given the port.
                assert "another program listens" in said.read_text(), said.read_text()
                self.process = None
            with contextlib.suppress(httpx.HTTPError):
                answer = httpx.get(f"{self.url}/v1/broker", trust_env=False, verify=False)
                if answer.status_code == 200:
                    return
            time.sleep(0.1)
        raise AssertionError("the broker does not answer")

    def stop(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)
            self.process = None

    def change_share(self, record, broker_set):
        """Store another value in place of the share, as whoever has the broker could."""
        home = BrokerHome.open(self.home, WORDS)
        store = BrokerStore(home.database)
        try:
            label = f"share/{broker_set}"
            assert Vault(store, home.keystore).holds(record.hash(), label)
            wrong = bytearray(secrets.token_bytes(32))
            Vault(store, home.keystore).put(record.hash(), label, wrong)
        finally:
            store.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def brokers(live):
    """Three registered brokers, each a process."""
    live.env["DEED_BROKER_PASSPHRASE_FILE"] = live.env["DEED_WALLET_PASSWORD_FILE"]
    made = [Served(live, number, free_port()) for number in range(3)]
    try:
        for each in made:
            ran = good(live("broker", "init", "--home", each.home, "--url", each.url, "--json"))
            each.broker = ran.json["broker"]
            each.start()
        yield made
    finally:
        for each in made:
            each.stop()


def test_three_processes_of_which_one_is_down_and_one_lies(live, brokers, monkeypatch):
    numbers = [each.broker for each in brokers]
    made = good(live("broker", "set", "create", *numbers, "--threshold", 2, "--json")).json
    again = good(live("broker", "set", "create", *numbers[::-1], "--threshold", 2, "--json")).json
    assert (again["set"], again["created"]) == (made["set"], False)
    shown = good(live("broker", "set", "show", made["set"])).out
    assert all(each.url in shown for each in brokers)

    weights = np.random.default_rng(9).standard_normal((64, 64)).astype(np.float32)
    save_file({"layer": weights}, live.cwd / "m.safetensors")
    good(live("terms", "new", "m.toml"))
    words = ("publish", "m.safetensors", "--terms", "m.toml", "--broker-set", made["set"])
    floating = live(*words)
    assert (floating.code, "--bound" in floating.err) == (2, True)
    published = good(live(*words, "--bound", "--json")).json

    card = "m.license.json"
    plan = published["plan"]
    ran = good(live("license", "issue", plan, "--to", "holder", "--card", card, "--wait", "--json"))
    license_id = ran.json["license"]
    good(live("runtime", "init"))
    good(live("license", "bind", license_id, "runtime.request.json", "--wait"))
    good(live("runtime", "grant", "runtime.request.json", "--license", license_id))
    good(live("runtime", "accept", "runtime.grant.json"))
    good(live("check", card))

    def opened():
        return live("open", card, "--json")

    def told(ran):
        return json.dumps(ran.error) + ran.err

    assert good(opened()).json
    first, second, third = brokers
    assert "3 of 3 answer, 2 must release" in good(live("check", card)).out
    assert "set    ok" in live("doctor", card).out
    # One down: enough, and none to spare.
    third.stop()
    good(opened())
    ran = good(live("check", card))
    assert "warning: broker set" in ran.out
    assert "2 of 3 answer, 2 must release: when one more fails" in ran.out
    assert f"broker {third.broker}: " in ran.out
    seen = good(live("check", card, "--json")).json["brokers"]
    assert (seen["answering"], seen["reached"]) == (2, True)
    assert [m["broker"] for m in seen["members"] if m["trouble"]] == [third.broker]
    assert "set    warn" in good(live("doctor", card)).out
    # One down and one lying: one honest share is left, and no key.
    folder = live.cwd / published["folder"]
    journal = json.loads((folder / "journal.json").read_text())
    record = SealingRecord.from_json(journal["steps"]["seal"]["record"])
    second.stop()
    second.change_share(record, made["set"])
    second.start()
    ran = opened()
    assert ran.code == 3
    assert f"broker {second.broker}: share 2 of set" in told(ran)
    assert f"broker {third.broker}: the broker 127.0.0.1" in told(ran)
    assert "1 of the 2 brokers needed" in told(ran)
    # One lying: the two others are enough, and it is named.
    third.start()
    with monkeypatch.context() as patient:
        patient.setattr(threshold, "SETTLE_SECONDS", 30)  # a slower liar is never heard
        with pytest.warns(UserWarning, match=f"broker {second.broker} was left out: share 2"):
            good(opened())
    # Two down: nothing, whatever the third says.
    first.stop()
    third.stop()
    assert opened().code == 3
    ran = live("doctor", card)
    assert (ran.code, "1 of 3 answer, 2 must release: too few" in ran.out) == (1, True)
    # The third is lost for good. Restored, it gets no whole key: the key is shared anew.
    recovery = published["recovery"]
    shutil.rmtree(third.home)
    words = ("--home", third.home, "--broker", third.broker, "--url", third.url)
    restored = good(live("broker", "restore", recovery, *words, "--json"))
    assert restored.json["receipt"] is None
    assert "deed broker set deposit" in restored.err
    third.start()
    first.start()
    good(live("broker", "set", "deposit", made["set"], recovery))
    refused = live("broker", "set", "deposit", 1, recovery)
    assert (refused.code, "one broker of set 1 suffices" in refused.err) == (2, True)
    # Cards pin keys, so the other two are whom this card still believes; the liar was mended too.
    third.stop()
    good(opened())


def test_a_broker_of_ones_own_is_published_to_by_the_url_it_told_the_chain(live, brokers):
    own = brokers[0]
    if own.process is None:
        own.start()
    alone = good(live("broker", "set", "create", own.broker, "--json")).json["set"]
    save_file({"w": np.arange(640, dtype=np.float32)}, live.cwd / "own.safetensors")
    good(live("terms", "new", "own.toml"))
    words = ("publish", "own.safetensors", "--terms", "own.toml", "--broker-set", alone, "--json")
    plan = good(live(*words)).json["plan"]
    card = "own.license.json"
    issued = live("license", "issue", plan, "--to", "holder", "--card", card, "--wait", "--json")
    number = good(issued).json["license"]
    if not (live.cwd / "runtime.request.json").exists():
        good(live("runtime", "init"))
    grant = ("runtime", "grant", "runtime.request.json", "--license", number, "--out", "own.json")
    good(live(*grant))
    good(live("runtime", "accept", "own.json"))
    assert good(live("open", card, "--json")).json
    named = json.loads((live.cwd / card).read_text())["brokers"]
    assert own.url in json.dumps(named)


def test_a_model_is_sealed_anew_for_two_of_three(live, brokers):
    for each in brokers:
        if each.process is None:
            each.start()
    numbers = [each.broker for each in brokers]
    number = good(live("broker", "set", "create", *numbers, "--threshold", 2, "--json")).json["set"]
    save_file({"w": np.arange(6400, dtype=np.float32)}, live.cwd / "anew.safetensors")
    good(live("terms", "new", "anew.toml"))
    words = ("publish", "anew.safetensors", "--terms", "anew.toml", "--broker-set", number)
    published = good(live(*words, "--bound", "--json")).json
    ran = live("license", "issue", published["plan"], "--to", "holder", "--wait", "--json")
    license_id = good(ran).json["license"]
    if not (live.cwd / "runtime.request.json").exists():
        good(live("runtime", "init"))
    request = "runtime.request.json"
    good(live("license", "bind", license_id, request, "--wait"))
    good(live("runtime", "grant", request, "--license", license_id, "--out", "anew.grant.json"))
    good(live("runtime", "accept", "anew.grant.json"))

    words = ("reseal", "anew.safetensors", "--from", published["folder"])
    made = good(live(*words, "--wait", "--json")).json

    receipts = json.loads((live.cwd / made["folder"] / "deposit-receipt.json").read_text())
    assert len(receipts["receipts"]) == 3
    assert receipts["shares"]["threshold"] == 2
    assert receipts["shares"]["epoch"] == 2
    card = "anew.license.json"
    good(live("license", "card", license_id, "--out", card))
    brokers[2].stop()
    opened = good(live("open", card, "--json")).json
    assert opened["epoch"] == 2
    elsewhere = live(*words, "--broker-set", 1, "--out", "anew.one", "--json")
    assert (elsewhere.code, "--bound" in elsewhere.err) == (0, False), elsewhere.err
    assert f"names broker set {number}" in elsewhere.err
