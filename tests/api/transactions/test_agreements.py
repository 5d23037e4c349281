"""What somebody signs first, and another sends: orders, bindings, registrations."""

from __future__ import annotations

import importlib
import secrets
from dataclasses import replace
from typing import Any

import pytest

from ledger.chain.wallet import dev_wallet
from ledger.ids import Address, Digest
from ledger.licensing import voucher as vouchers
from ledger.licensing.reference import reference_hash, reference_nonce
from ledger.licensing.voucher import Voucher

pytestmark = pytest.mark.chain

world: Any = importlib.import_module("access_world")
writing: Any = importlib.import_module("writing_world")
code, sign, agreed = writing.code, writing.sign, writing.agreed
LICENSOR, HOLDER = world.Wallet.named("licensor"), world.Wallet.named("holder")
RIVAL, STRANGER = world.Wallet.named("rival"), world.Wallet.named("stranger")
HASH = "0x" + "ab" * 32


# -- by reference --------------------------------------------------------------------------------


def ordered(ask, asked, who="licensor", **more):
    reply = ask("POST", "/v1/transactions/issue-by-reference", who, json=asked | more)
    assert reply.status_code == 200, reply.text
    return reply.json()


def again(step, wallet=LICENSOR):
    """What the same request is sent again with."""
    return {"deadline": step["deadline"], "signature": agreed(wallet, step["sign"])}


def test_an_order_becomes_one_license_however_often_it_is_sent(
    service, ask, published, deployed, relay, mined
):
    reference = f"order {secrets.token_hex(8)} é"
    asked = {"plan": published.plan, "to": RIVAL.address, "external_ref": reference}
    before = deployed.licenses.plan_of(published.plan)[1].issued
    first = ordered(ask, asked)
    assert [name for name in ("license", "sign", "prepared") if first[name]] == ["sign"]
    # Two servers of the shop at once, for two buyers by mistake: both get as far as signing.
    other = ordered(ask, asked | {"to": STRANGER.address})
    one = ordered(ask, asked, **again(first))
    two = ordered(ask, asked | {"to": STRANGER.address}, **again(other))
    assert one["prepared"]["call"]["function"] == "redeem"
    url = relay(sign(LICENSOR, one["prepared"])).json()["status_url"]
    assert mined(url)["state"] == "mined"
    nonce = hex(int(two["prepared"]["transaction"]["nonce"], 16) + 1)
    late = relay(sign(LICENSOR, two["prepared"], nonce=nonce)).json()["status_url"]
    told = mined(late)
    assert (told["state"], told["error"]["error_name"]) == ("failed", "NonceSpent")
    assert deployed.licenses.plan_of(published.plan)[1].issued == before + 1
    done = ordered(ask, asked)
    assert done["holder"] == RIVAL.address
    assert ordered(ask, asked | {"to": STRANGER.address}) == done
    found = service.get("/v1/licenses", external_ref=reference)["licenses"]
    assert [each["license"] for each in found] == [done["license"]]
    assert service.get("/v1/licenses", external_ref=reference + " ")["licenses"] == []
    early = service.get("/v1/licenses", external_ref=reference, as_of=told["block"] - 20)
    assert early["licenses"] == []


def test_a_reference_that_was_voided_is_said_to_be_used(ask, published, deployed):
    reference = secrets.token_hex(8)
    nonce = reference_nonce(published.plan, reference_hash(reference))
    licensor = deployed.sender("licensor")
    deployed.licenses.cancel_vouchers(licensor, nonce >> 8, 1 << (nonce & 255))
    asked = {"plan": published.plan, "to": RIVAL.address, "external_ref": reference}
    reply = ask("POST", "/v1/transactions/issue-by-reference", json=asked)
    assert code(reply) == (409, "PENDING_FINALITY")
    assert "cancel-voucher" in reply.json()["hint"]


def test_a_signature_of_somebody_else_issues_nothing(ask, published):
    asked = {"plan": published.plan, "to": RIVAL.address, "external_ref": secrets.token_hex(8)}
    step = ordered(ask, asked)
    forged = again(step, HOLDER)
    reply = ask("POST", "/v1/transactions/issue-by-reference", json=asked | forged)
    assert code(reply) == (409, "VOUCHER_NOT_SIGNED")


def test_a_reference_cannot_be_made_to_stand_in_another_models_story(
    service, deployed, published, make, tmp_path
):
    """Who signs a voucher chooses its hash freely: such as the id of a model that is not theirs."""
    mine = make.publish(deployed, tmp_path)
    state = deployed.licenses.plan_of(mine.plan)[1]
    licensor = deployed.sender("licensor")
    offer = Voucher(
        licensor.address, mine.plan, licensor.address, state.plan_digest, secrets.randbits(256),
        4_000_000_000, ext_hash=published.model,
    )  # fmt: skip
    ledger = deployed.licenses.address
    signed = vouchers.sign(dev_wallet("licensor"), offer, chain_id=31337, ledger=ledger)
    license_, _ = deployed.licenses.redeem(licensor, signed)
    service.caught_up(deployed.rpc)
    story = service.get(f"/v1/models/{published.model}/timeline")["entries"]
    assert str(license_) not in {each["license"] for each in story}

    def redeemed(model):
        told = service.get("/v1/events", subject=str(model), event="VoucherRedeemed")["events"]
        return {each["arguments"]["licenseId"] for each in told}

    assert redeemed(mine.model) == {int(license_)}
    assert int(license_) not in redeemed(published.model)


# -- signed by another ---------------------------------------------------------------------------


def test_a_runtime_is_bound_by_the_holders_signature_and_at_anothers_cost(
    desk, published, service, who
):
    license_, runtime = str(published.license), "0x" + secrets.token_hex(32)
    asked = {"license": license_, "runtime": runtime}
    first = desk.prepare("bind-by-signature", "buyer", **asked)
    assert (first["signer"], first["prepared"]) == (who["holder"], None)
    asked |= first["again"]
    forged = agreed(desk.wallets["buyer"], first["sign"])
    assert desk.refused("bind-by-signature", "buyer", **asked, signature=forged) == (
        409, "BINDING_NOT_SIGNED",
    )  # fmt: skip
    signature = agreed(desk.wallets["holder"], first["sign"])
    longer = asked | {"until": 4_000_000_000}
    assert desk.refused("bind-by-signature", "buyer", **longer, signature=signature)[0] == 409
    made = desk.prepare("bind-by-signature", "buyer", **asked, signature=signature)
    assert made["prepared"]["account"] == who["buyer"]
    desk.sent("buyer", made["prepared"])
    seats = service.get(f"/v1/licenses/{license_}")["seats"]
    assert runtime in {each["runtime_key"] for each in seats}
    assert desk.refused("bind-by-signature", "buyer", **asked, signature=signature)[0] == 409
    # A binding that cannot be had is signed by nobody.
    nobody = {"license": "4000000000.1", "runtime": runtime}
    assert desk.refused("bind-by-signature", "buyer", **nobody) == (409, "LICENSE_NOT_FOUND")
    other = desk.prepare("bind-by-signature", "buyer", license=license_, runtime=HASH)
    desk.do("nonce-cancel", "holder", nonce=other["again"]["nonce"])
    signature = agreed(desk.wallets["holder"], other["sign"])
    spent = {"license": license_, "runtime": HASH, "signature": signature} | other["again"]
    assert desk.refused("bind-by-signature", "buyer", **spent) == (409, "NONCE_SPENT")


def test_a_model_is_registered_by_its_licensors_signature(desk, published, service, who, deployed):
    own = Address.parse(who["spare"])
    salt = Digest(secrets.token_bytes(32))
    claim = replace(published.claim, licensor=own, salt=salt, parents=(published.model,))
    asked = {"claim": claim.to_json()}
    first = desk.prepare("register-by-signature", "buyer", **asked)
    assert first["signer"] == who["spare"]
    asked |= first["again"]
    forged = agreed(desk.wallets["buyer"], first["sign"])
    assert desk.refused("register-by-signature", "buyer", **asked, signature=forged)[0] == 409
    signature = agreed(desk.wallets["spare"], first["sign"])
    made = desk.prepare("register-by-signature", "buyer", **asked, signature=signature)
    desk.sent("buyer", made["prepared"])
    model = str(claim.model_id())
    assert service.get(f"/v1/models/{model}")["model"]["licensor"] == who["spare"]
    assert desk.refused("register-by-signature", "buyer", claim=claim.to_json())[0] == 409
    confirm = {"claim": claim.to_json(), "parent": str(published.model)}
    assert desk.refused("parent-confirm", "rival", **confirm)[0] == 409
    desk.do("parent-confirm", "licensor", **confirm)
    edge = service.get(f"/v1/models/{model}/lineage")["edges"][0]
    assert edge["confirmed_by"] == who["licensor"]
    # A guardian moves the title of a lost wallet; the licensor stops him.
    desk.do("guardian-set", "spare", model=model, guardian=who["rival"])
    desk.do("recovery-start", "rival", model=model, to=who["buyer"])
    assert desk.refused("recovery-finish", "rival", model=model)[0] == 409
    desk.do("recovery-veto", "spare", model=model)
