"""A key carried by hand, at the command line: host, courier, broker, host."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from safetensors.numpy import save_file

import ledger
from ledger.broker.identity import RuntimeIdentity

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def card(live):
    """A granted license on a published model."""
    save_file({"w": np.arange(64, dtype=np.float32)}, live.cwd / "m.safetensors")
    assert live("terms", "new", "t.toml").code == 0
    published = live("publish", "m.safetensors", "--terms", "t.toml", "--json").json
    assert live("runtime", "init").code == 0
    words = ("license", "issue", published["plan"], "--to", "holder", "--card", "c.license.json")
    number = live(*words, "--json").json["license"]
    granted = live("runtime", "grant", "runtime.request.json", "--license", number)
    assert granted.code == 0, granted.err
    assert live("runtime", "accept", "runtime.grant.json").code == 0
    return "c.license.json"


@pytest.fixture(scope="module")
def broker(live):
    """The folder of the stack's own broker, which goes on running, and its passphrase."""
    (home,) = (path.parent for path in live.cwd.rglob("broker.json"))
    (secret,) = (path for path in live.cwd.rglob("*passphrase*") if path.is_file())
    live.env["DEED_BROKER_PASSPHRASE_FILE"] = str(secret)
    return home


def test_a_key_goes_by_file_and_opens_the_model(live, card, broker):
    ran = live("runtime", "request", card)
    assert ran.code == 0, ran.err
    assert "deed broker answer" in ran.err
    (live.cwd / "request.json").write_text(ran.out)
    ran = live("broker", "answer", "request.json", "--home", broker)
    assert ran.code == 0, ran.err
    (live.cwd / "response.json").write_text(ran.out)
    ran = live("runtime", "accept-release", "response.json", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["grace_until"] >= ran.json["not_after"]
    identity = RuntimeIdentity.load(live.cwd.parent / live.env["DEED_CONFIG_DIR"] / "runtime.json")
    nowhere = "http://127.0.0.1:9"
    with ledger.load(
        live.cwd / card, runtime=identity, broker=nowhere, offline=True, timeout=1
    ) as model:
        assert model.get_tensor("w").tolist() == list(range(64))


def test_each_request_is_answered_once_and_a_refusal_is_an_answer(live, card, broker):
    assert live("runtime", "request", card, "--out", "once.json").code == 0
    first = live("broker", "answer", "once.json", "--home", broker, "--out", "first.json")
    assert first.code == 0, first.err
    again = live("broker", "answer", "once.json", "--home", broker, "--out", "again.json")
    assert again.code == 0, again.err
    assert (live.cwd / "again.json").read_text() == (live.cwd / "first.json").read_text()
    assert live("runtime", "accept-release", "first.json").code == 0
    refused = live("runtime", "accept-release", "again.json", "--json")
    assert refused.code != 0
    assert refused.error["code"] == "KEY_REQUEST_REJECTED"
    over = live("broker", "answer", "once.json", "--home", broker, "--out", "first.json")
    assert over.code == 2
    assert "exists" in over.err


def test_the_operator_chooses_what_evidence_counts(live, broker, tmp_path):
    shown = live("broker", "evidence", "--home", broker, "--json").json
    assert (shown["software"], shown["attesters"]) == (True, [])
    public = Ed25519PrivateKey.generate().public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "as.pem").write_bytes(pem)
    words = ("broker", "trust-attester", tmp_path / "as.pem", "--issuer", "https://as.example")
    ran = live(*words, "--home", broker, "--measured", "cpu0/x", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["attesters"][0]["alg"] == "EdDSA"
    assert live("broker", "evidence", "--home", broker, "--no-software").code == 0
    assert json.loads((broker / "evidence.json").read_text())["software"] is False
    assert live("broker", "evidence", "--home", tmp_path).code == 2
    (broker / "evidence.json").unlink()


def test_a_grant_names_an_image_and_features_of_the_plan_only(live, card):
    number = json.loads((live.cwd / card).read_text())["license"]
    words = ("runtime", "grant", "runtime.request.json", "--license", number, "--out")
    ran = live(*words, "m.grant.json", "--measurement", "0x" + "5f" * 20)
    assert ran.code == 0, ran.err
    grant = json.loads((live.cwd / "m.grant.json").read_text())["grant"]
    assert grant["measurement"] == "0x" + "5f" * 20
    assert live("runtime", "accept", "m.grant.json").code == 0
    assert "0x" + "5f" * 20 in live("runtime", "show").out
    shown = live("runtime", "show", "--json").json
    assert shown["evidence"]["class"] == "software"
    assert "0x" + "5f" * 20 in {each["measurement"] for each in shown["grants"]}
    assert live(*words, "n.grant.json", "--measurement", "0x5f").code == 2
    refused = live(*words, "n.grant.json", "--features", "0x2")
    assert refused.code == 2
    assert "has no features 0x2" in refused.err
    assert not (live.cwd / "n.grant.json").exists()
    missing = live("runtime", "request", card, "--attester", "no-such-attester")
    assert missing.code == 2
    assert "no-such-attester" in missing.err


def test_nothing_secret_was_said(live, card, broker):
    said = "\n".join(live.said)
    folder = live.cwd.parent / live.env["DEED_CONFIG_DIR"]
    seed = json.loads((folder / "runtime.json").read_text())["seed"]
    assert seed not in said
    for path in (folder / "runtime.requests").glob("*.json"):
        assert json.loads(path.read_text())["kem"] not in said
