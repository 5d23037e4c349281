"""``deed model register|register-signed`` on a live stack."""

import json
import secrets

import pytest

from ledger.chain.deployment import Deployment
from ledger.chain.rpc import Rpc
from ledger.chain.wallet import dev_wallet
from ledger.claim import Claim
from ledger.ids import ZERO_DIGEST, Digest

pytestmark = pytest.mark.chain


@pytest.fixture
def claim_file(live):
    """Writes a claim that nobody has registered."""
    deployment = Deployment.load(live.cwd / ".deed" / "deployment.json")
    address = deployment.addresses["ModelRegistry"]

    def write(name, *, who="licensor", chain_id=31337):
        claim = Claim(
            chain_id,
            address,
            dev_wallet(who).address,
            *(Digest(secrets.token_bytes(32)) for _ in range(2)),
            ZERO_DIGEST,
            Digest(secrets.token_bytes(32)),
            (),
            Digest(secrets.token_bytes(32)),
        )
        (live.cwd / name).write_text(json.dumps(claim.to_json()))
        return claim

    return write


def nonce(live, who):
    with Rpc(live("network", "show", "--json").json["rpc"]) as rpc:
        account = str(dev_wallet(who).address)
        return int(rpc.call("eth_getTransactionCount", [account, "latest"]), 16)


def test_many_claims_are_one_commitment_and_one_transaction(live, claim_file):
    names = [f"c{number}.json" for number in range(5)]
    claims = [claim_file(name) for name in names]
    before = nonce(live, "licensor")
    ran = live("model", "register", *names, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["registered"] == 5
    assert nonce(live, "licensor") == before + 2
    assert [each["model_id"] for each in ran.json["models"]] == [
        str(claim.model_id()) for claim in claims
    ]
    assert all(each["committed"] for each in ran.json["models"])
    again = live("model", "register", *names, "--json")
    assert (again.code, again.json["registered"]) == (0, 0)
    assert nonce(live, "licensor") == before + 2


def test_one_claim_is_registered_and_an_interrupted_batch_goes_on(live, claim_file):
    names = ["d0.json", "d1.json"]
    for name in names:
        claim_file(name)
    assert live("model", "register", names[0], "--json").json["registered"] == 1
    ran = live("model", "register", *names, "--json")
    assert ran.json["registered"] == 1
    assert all(each["committed"] for each in ran.json["models"])


def test_a_licensor_without_coins_signs_and_another_sends(live, claim_file):
    claim = claim_file("s.json")
    before = nonce(live, "licensor")
    ran = live("model", "register", "s.json", "--sign", "signed.json", "--json")
    assert ran.code == 0, ran.err
    assert live("claim", "show", "s.json").code == 1
    sent = live("model", "register-signed", "signed.json", "--json")
    assert sent.code == 0, sent.err
    assert sent.json["models"][0]["licensor"] == str(dev_wallet("licensor").address)
    assert sent.json["models"][0]["committed"] is True
    assert nonce(live, "licensor") == before
    assert live("claim", "show", str(claim.model_id())).code == 0
    assert live("model", "register-signed", "signed.json", "--json").json["registered"] == 0
    document = json.loads((live.cwd / "signed.json").read_text())
    other = claim_file("t.json")
    document["claim"] = other.to_json()
    (live.cwd / "forged.json").write_text(json.dumps(document))
    refused = live("model", "register-signed", "forged.json")
    assert refused.code in {1, 2}
    assert "is signed by" in refused.err


def test_what_cannot_be_registered_is_said(live, claim_file):
    claim_file("theirs.json", who="rival")
    ran = live("model", "register", "theirs.json")
    assert (ran.code, "as licensor" in ran.err) == (2, True)
    claim_file("far.json", chain_id=1)
    assert "on chain 1" in live("model", "register", "far.json").err
    claim_file("x.json")
    claim_file("y.json")
    assert live("model", "register", "x.json", "x.json").code == 2
    assert live("model", "register", "x.json", "y.json", "--sign", "o.json").code == 2
    assert live("model", "register", "x.json", "--sign", "x.json").code == 2
    assert live("model", "register", "x.json", "--sign", "o.json", "--deadline", "-1d").code == 2
    assert live("model", "register", "none.json").code == 2
    assert live("model", "register-signed", "x.json").code == 2
