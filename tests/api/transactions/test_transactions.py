"""Transactions at the real service over a real chain: prepared, signed elsewhere, passed on."""

from __future__ import annotations

import importlib
import secrets
from dataclasses import replace
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from api.transactions import AGREED, KINDS
from ledger.chain.wallet import dev_wallet
from ledger.ids import Address, Digest
from ledger.licensing import batch as batches
from ledger.licensing import voucher as vouchers
from ledger.licensing.voucher import Voucher

pytestmark = pytest.mark.chain

world: Any = importlib.import_module("access_world")
writing: Any = importlib.import_module("writing_world")
code, sign, numbered = writing.code, writing.sign, writing.numbered
LICENSOR, HOLDER = world.Wallet.named("licensor"), world.Wallet.named("holder")
RIVAL, STRANGER = world.Wallet.named("rival"), world.Wallet.named("stranger")
HASH = "0x" + "ab" * 32


@pytest.fixture
def prepare(desk):
    """A prepared transaction."""

    def made(kind, who="licensor", **asked):
        return desk.prepare(kind, who, **asked)

    return made


# -- the whole way -------------------------------------------------------------------------------


def test_a_license_is_prepared_signed_by_eth_account_passed_on_and_seen(
    service, prepare, published, relay, mined
):
    made = prepare("issue", plan=published.plan, to=RIVAL.address)
    assert made["account"] == LICENSOR.address
    assert made["what"] == f"issue a license of plan {published.plan} to {RIVAL.address}"
    assert made["call"] == {
        "contract": "LicenseLedger",
        "function": "issue",
        "arguments": {
            "planId": published.plan, "to": RIVAL.address, "notBefore": 0, "notAfter": 0,
        },
    }  # fmt: skip
    assert set(made["transaction"]) == {
        "type", "chainId", "nonce", "to", "value", "data", "gas", "maxFeePerGas",
        "maxPriorityFeePerGas",
    }  # fmt: skip
    promised = int(made["simulation"]["returns"]["licenseId"])
    reply = relay(sign(LICENSOR, made))
    assert reply.status_code == 202, reply.text
    assert reply.headers["location"] == reply.json()["status_url"]
    told = mined(reply.json()["status_url"])
    assert (told["state"], told["error"]) == ("mined", None)
    issued = next(each for each in told["events"] if each["event"] == "LicenseIssued")
    assert int(issued["arguments"]["licenseId"]) == promised
    license_ = f"{promised >> 32}.{promised & 0xFFFFFFFF}"
    assert service.get(f"/v1/licenses/{license_}")["license"]["holder"] == RIVAL.address
    listed = service.get("/v1/events", event="LicenseIssued", from_block=told["block"])["events"][0]
    assert {name: listed[name] for name in issued} == issued
    assert listed["tx_hash"] == reply.json()["hash"]


def test_the_same_bytes_again_are_no_failure_and_no_second_license(
    prepare, published, deployed, relay, mined
):
    raw = sign(LICENSOR, prepare("issue", plan=published.plan, to=RIVAL.address))
    first = relay(raw)
    mined(first.json()["status_url"])
    before = deployed.licenses.plan_of(published.plan)[1].issued
    again = relay(raw)
    assert (again.status_code, again.json()) == (202, first.json())
    assert deployed.licenses.plan_of(published.plan)[1].issued == before


def test_a_life_of_a_license_goes_through_the_service_alone(
    service, ask, prepare, published, relay, mined
):
    def do(kind, wallet=LICENSOR, who="licensor", **asked):
        reply = relay(sign(wallet, prepare(kind, who, **asked)), who)
        assert reply.status_code == 202, reply.text
        told = mined(reply.json()["status_url"])
        assert told["state"] == "mined", told
        return told

    model = str(published.model)
    made = do("plan-create", model=model, terms_hash=HASH, transferable=True, broker_set=0)
    plan = next(e for e in made["events"] if e["event"] == "PlanCreated")["arguments"]["planId"]
    do("issue-batch", plan=plan, to=[HOLDER.address, RIVAL.address, HOLDER.address])
    one, two = f"{plan}.1", f"{plan}.3"
    do("renew", license=one)
    do("suspend", license=one, reason="an unpaid invoice")
    do("reinstate", license=one)
    do("transfer", HOLDER, "holder", license=two, to=RIVAL.address)
    do("revoke", license=one, reason="for good")
    do("plan-pause", plan=plan)
    refused = ask("POST", "/v1/transactions/issue", json={"plan": plan, "to": RIVAL.address})
    assert code(refused) == (409, "PLAN_IS_PAUSED")
    do("plan-resume", plan=plan)
    do("plan-roles", plan=plan, account=RIVAL.address, roles=["issuer"])
    do("anchor", root="0x" + secrets.token_hex(32))
    do("commit", commitment="0x" + secrets.token_hex(32))
    do("lodge", HOLDER, "holder", model=model, record="dispute", hash=HASH)
    shown = service.get(f"/v1/licenses/{one}")["license"]
    assert shown["status"] == "revoked"
    assert service.get(f"/v1/licenses/{two}")["license"]["holder"] == RIVAL.address


# -- what becomes of one -------------------------------------------------------------------------


@pytest.fixture
def held(deployed):
    """The chain takes transactions and makes no block of them, until `mine` is called."""

    class Held:
        def mine(self):
            deployed.rpc.call("evm_setAutomine", [True])
            deployed.rpc.call("evm_mine")

    deployed.rpc.call("evm_setAutomine", [False])
    yield Held()
    deployed.rpc.call("evm_setAutomine", [True])


def state(ask, url):
    return ask("GET", url).json()["state"]


def test_one_that_waits_is_pending_and_one_whose_nonce_another_took_is_replaced(
    ask, prepare, published, deployed, held, relay, mined
):
    made = prepare("issue", plan=published.plan, to=RIVAL.address)
    url = relay(sign(LICENSOR, made)).json()["status_url"]
    told = ask("GET", url).json()
    assert (told["state"], told["block"], told["indexed"]) == ("pending", None, False)
    fee = {name: hex(3 * int(made["transaction"][name], 16)) for name in
           ("maxFeePerGas", "maxPriorityFeePerGas")}  # fmt: skip
    other = relay(sign(LICENSOR, made, **fee))
    assert other.status_code == 202, other.text
    held.mine()
    assert mined(other.json()["status_url"])["state"] == "mined"
    assert state(ask, url) == "replaced"
    # The same bytes again: what was passed on once is answered as it was, and the status tells.
    assert relay(sign(LICENSOR, made)).status_code == 202
    late = relay(sign(LICENSOR, made, gas=hex(int(made["transaction"]["gas"], 16) + 1)))
    assert code(late) == (409, "TRANSACTION_NOT_TAKEN")


def test_one_that_the_node_forgot_is_dropped_and_comes_back_with_the_same_bytes(
    ask, prepare, published, deployed, held, relay, mined
):
    raw = sign(LICENSOR, prepare("issue", plan=published.plan, to=RIVAL.address))
    url = relay(raw).json()["status_url"]
    deployed.rpc.call("anvil_dropTransaction", [url.rpartition("/")[2]])
    assert state(ask, url) == "dropped"
    assert relay(raw).status_code == 202
    assert state(ask, url) == "pending"
    held.mine()
    assert mined(url)["state"] == "mined"


def test_one_that_the_contract_refuses_in_its_block_says_why(prepare, published, relay, mined):
    model = str(published.model)
    made = prepare("plan-create", model=model, terms_hash=HASH, transferable=True, broker_set=0)
    done = relay(sign(LICENSOR, made)).json()["status_url"]
    told = mined(done)
    plan = next(e for e in told["events"] if e["event"] == "PlanCreated")["arguments"]["planId"]
    made = prepare("issue", plan=plan, to=HOLDER.address)
    mined(relay(sign(LICENSOR, made)).json()["status_url"])
    passing = prepare("transfer", "holder", license=f"{plan}.1", to=RIVAL.address)
    made = prepare("revoke", license=f"{plan}.1")
    mined(relay(sign(LICENSOR, made)).json()["status_url"])
    url = relay(sign(HOLDER, passing), "holder").json()["status_url"]
    told = mined(url)
    assert (told["state"], told["events"]) == ("failed", [])
    assert told["error"]["error_name"].startswith("License")
    assert told["error"]["hint"]


def test_a_hash_that_nobody_knows_is_404(ask):
    assert code(ask("GET", f"/v1/transactions/{HASH}")) == (404, "UNKNOWN_RECORD")


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("scope", [None, "statistics:read"])
def test_only_those_with_the_scope_have_anything_prepared_or_told(service, ask, scope):
    who, expected = None, (401, "NOT_AUTHENTICATED")
    if scope is not None:
        database = world.Desk(f"sqlite:///{service.environment['DEED_API_DATABASE_URL']}")
        (who, _), expected = database.key(scope), (403, "SCOPE_MISSING")
        database.close()
    asked = {"plan": 1, "to": RIVAL.address}
    assert code(ask("POST", "/v1/transactions/issue", who, json=asked)) == expected
    assert code(ask("POST", "/v1/transactions", who, json={"raw": "0x02"})) == expected
    assert code(ask("GET", f"/v1/transactions/{HASH}", who)) == expected


def test_an_account_that_holds_nothing_does_what_the_contracts_let_anyone_do(ask, relay):
    root = "0x" + secrets.token_hex(32)
    ready = ask("POST", "/v1/transactions/anchor", "stranger", json={"root": root})
    assert relay(sign(STRANGER, ready.json()), "stranger").status_code == 202
    # A session, and no key: that would outlive whatever it was made for.
    asked = {"name": "x", "scopes": ["transactions:write"]}
    assert code(ask("POST", "/v1/keys", "stranger", json=asked)) == (403, "SCOPE_MISSING")


@pytest.mark.parametrize(("change", "status"), [
    ({"to": "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293Bc"}, 422),  # a slip in the checksum
    ({"not_afterr": 5}, 422), ({"plan": "1"}, 422), ({"plan": 1 << 32}, 422),
    ({"not_before": -1}, 422), ({"not_after": 1 << 40}, 422), ({"to": None}, 422),
    ({"plan": 4_000_000_000}, 409), ({"to": "0x" + "00" * 20}, 409), ({"not_after": 7}, 409),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused_before_anybody_signs_it(ask, published, change, status):
    asked = {"plan": published.plan, "to": RIVAL.address} | change
    reply = ask("POST", "/v1/transactions/issue", json=asked)
    assert code(reply)[0] == status, reply.text


def test_a_refusal_has_the_contracts_own_name_and_arguments(ask, published):
    asked = {"plan": published.plan, "to": RIVAL.address}
    reply = ask("POST", "/v1/transactions/issue", "holder", json=asked)
    told = reply.json()
    assert code(reply) == (409, "PLAN_NOT_AUTHORIZED")
    assert told["error_name"] == "PlanNotAuthorized"
    assert HOLDER.address in told["arguments"].values()


def test_who_cannot_pay_is_told_so_before_signing(ask):
    poor = world.Wallet.fresh().address
    reply = ask("POST", "/v1/transactions/anchor", json={"root": HASH, "from": poor})
    assert code(reply) == (409, "INSUFFICIENT_FUNDS")
    assert poor in reply.json()["detail"]


def test_a_key_of_no_account_names_who_signs_and_passes_on_for_all(service, ask, deployed, relay):
    desk = world.Desk(f"sqlite:///{service.environment['DEED_API_DATABASE_URL']}")
    key, _ = desk.key("transactions:write")
    desk.close()
    root = "0x" + secrets.token_hex(32)
    nobody = ask("POST", "/v1/transactions/anchor", key, json={"root": root})
    assert code(nobody) == (422, "USAGE_ERROR")
    named = ask("POST", "/v1/transactions/anchor", key, json={"root": root, "from": RIVAL.address})
    raw = sign(RIVAL, named.json())
    # Neither a licensor's session nor a stolen key of theirs passes on what another one signed.
    assert code(relay(raw, "licensor")) == (403, "RELAY_REFUSED")
    assert relay(raw, key).status_code == 202


def test_every_kind_is_answered_in_words_whatever_stands_in_it(service, ask, published):
    """Valid by its shape and without sense on chain: never a failure of the service."""
    of = {
        "license": "4294967295.4294967295", "plan": 4294967295, "to": RIVAL.address, "seats": 1,
        "runtime": HASH, "model": HASH, "terms_hash": HASH, "account": RIVAL.address, "roles": [],
        "root": HASH, "commitment": HASH, "claim": {"format": "x"}, "proof": {"root": HASH},
        "record": "sealing", "hash": HASH, "status": "active", "voucher": {"type": "x"},
        "count": 1, "indexes": [0], "nonce": HASH, "token": RIVAL.address, "amount": "1",
        "royalties": [], "payees": [], "bps": 1, "brokers": [1], "claims": [{}], "parent": HASH,
        "guardian": RIVAL.address, "cumulative": 1, "receipts_root": HASH,
    }  # fmt: skip
    seen = set()
    for kind in (*KINDS, *AGREED):
        asked = {
            field.alias or name: of[field.alias or name]
            for name, field in kind.model_fields.items()
            if field.is_required()
        }
        if kind.kind == "issue-batch":
            asked["to"] = [RIVAL.address]
        reply = ask("POST", f"/v1/transactions/{kind.kind}", json=asked)
        assert reply.status_code in {200, 409, 422}, (kind.kind, reply.text)
        if reply.status_code != 200:
            assert code(reply)[0] in {409, 422}
        seen.add(reply.status_code)
    assert seen == {200, 409, 422}


def test_a_free_voucher_is_redeemed_and_one_of_another_ledger_is_not(
    ask, prepare, published, deployed
):
    state = deployed.licenses.plan_of(published.plan)[1]
    offer = Voucher(
        dev_wallet("licensor").address, published.plan, Address.parse(RIVAL.address),
        state.plan_digest, secrets.randbits(256), 4_000_000_000,
    )  # fmt: skip
    ledger = deployed.licenses.address
    made = vouchers.sign(dev_wallet("licensor"), offer, chain_id=31337, ledger=ledger)
    ready = prepare("redeem", "holder", voucher=made.to_json())
    assert ready["call"]["arguments"]["voucher"]["to"] == RIVAL.address
    far = vouchers.sign(dev_wallet("licensor"), offer, chain_id=1, ledger=ledger).to_json()
    reply = ask("POST", "/v1/transactions/redeem", "holder", json={"voucher": far})
    assert code(reply) == (422, "USAGE_ERROR")


@pytest.mark.parametrize("raw", ["0x02", "0x02f8", "0xf86b", "0x" + "ff" * 2000, "0x02" + "c0" * 9])
def test_bytes_that_are_no_transaction_are_refused_with_their_step(raw, relay):
    reply = relay(raw)
    assert code(reply) == (422, "TRANSACTION_REFUSED")
    assert reply.json()["step"] == 1


def test_huge_and_hostile_bodies_are_refused(ask):
    for body, status in [
        (b'{"raw":"0x' + b"00" * 200_000 + b'"}', 422), (b"[" * 100_000, 400), (b"{}", 422),
        (b'{"raw":"0x02","raw":"0x03"}', 400), (b"\x00", 400), (b'{"raw":"\xd8\x00"}', 400),
    ]:  # fmt: skip
        reply = ask(
            "POST", "/v1/transactions", content=body, headers={"content-type": "application/json"}
        )
        assert reply.status_code in {status, 422, 413}, (body[:40], reply.text)
        code(reply)


@pytest.mark.parametrize(
    "deep", [False, pytest.param(True, marks=[pytest.mark.deep, pytest.mark.timeout(900)])]
)
def test_every_answer_is_one_that_is_described_also_to_those_who_are_let_in(service, desk, deep):
    """Checksums and what the chain refuses are no part of a schema: a valid body may be refused."""
    schema = schemathesis.openapi.from_url(f"{service.url}/v1/openapi.json")
    some = {"issue", "issue-by-reference", "plan-create", "buy-by-permit", "{hash}", "transactions"}
    seen = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        last = operation.path.rpartition("/")[2]
        if not operation.path.startswith("/v1/transactions") or not (deep or last in some):
            continue

        @given(case=operation.as_strategy())
        @settings(
            max_examples=30 if deep else 4,
            deadline=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def check(case):
            case.call_and_validate(
                headers=world.bearer(desk.tokens["licensor"]),
                excluded_checks=[positive_data_acceptance, ignored_auth],
            )

        check()
        seen += 1
    assert seen == (len(KINDS) + len(AGREED) + 4 if deep else len(some))


# -- several at once, and what else there is -----------------------------------------------------


def test_licenses_are_claimed_out_of_a_batch_until_it_is_closed(desk, plan, deployed, who):
    number = plan(sale=False)
    rows = [batches.BatchRow(Address.parse(who[name])) for name in ("spare", "rival", "buyer")]
    salts = [secrets.token_bytes(32) for _ in rows]
    made = batches.build(rows, salts, chain_id=31337, ledger=deployed.licenses.address, plan=number)
    root, claims = str(made.root), [each.to_json() for each in made.claims()]
    assert desk.refused("claim", "spare", claim=claims[0]) == (409, "BATCH_UNKNOWN")
    anchoring = {"plan": number, "root": root, "count": 3}
    assert desk.refused("batch-anchor", "rival", **anchoring)[0] == 409
    desk.do("batch-anchor", "licensor", **anchoring)
    assert desk.refused("batch-anchor", "licensor", **anchoring) == (409, "BATCH_EXISTS")
    forged = claims[1] | {"leaf": claims[1]["leaf"] | {"to": who["stranger"]}}
    assert desk.refused("claim", "stranger", claim=forged) == (422, "INCLUSION_PROOF_INVALID")
    far = claims[0] | {"chain": claims[0]["chain"] | {"id": 1}}
    assert desk.refused("claim", "spare", claim=far) == (422, "USAGE_ERROR")
    got = desk.do("claim", "spare", claim=claims[0])["BatchClaimed"]
    shown = desk.service.get(f"/v1/licenses/{numbered(got['licenseId'])}")["license"]
    assert shown["holder"] == who["spare"]
    assert desk.refused("claim", "spare", claim=claims[0]) == (409, "BATCH_LEAF_CLAIMED")
    revoking = {"plan": number, "root": root}
    assert desk.refused("batch-revoke", "licensor", **revoking, indexes=[1, 256]) == (
        422, "USAGE_ERROR",
    )  # fmt: skip
    desk.do("batch-revoke", "licensor", **revoking, indexes=[1, 1], reason="unpaid")
    assert desk.refused("claim", "rival", claim=claims[1]) == (409, "BATCH_LEAF_REVOKED")
    assert desk.refused("batch-close", "rival", **revoking)[0] == 409
    desk.do("batch-close", "licensor", **revoking)
    assert desk.refused("claim", "buyer", claim=claims[2]) == (409, "BATCH_LEAF_REVOKED")
    assert desk.refused("batch-close", "licensor", **revoking) == (409, "BATCH_IS_CLOSED")


def test_several_models_are_registered_at_once_or_none(desk, published, who):
    own = Address.parse(who["licensor"])
    claims = [
        replace(published.claim, licensor=own, salt=Digest(secrets.token_bytes(32))).to_json()
        for _ in range(2)
    ]
    some = [None]
    assert desk.refused("register-batch", "licensor", claims=claims, proofs=some) == (
        422, "USAGE_ERROR",
    )  # fmt: skip
    desk.do("register-batch", "licensor", claims=claims)
    assert desk.refused("register-batch", "licensor", claims=claims)[0] == 409


def test_what_a_metered_license_used_is_anchored(desk, plan, deployed, who):
    number = plan(quota=100, sale=False)
    made = desk.do("issue", "licensor", plan=number, to=who["spare"])["LicenseIssued"]
    license_ = numbered(made["licenseId"])
    used = {"license": license_, "cumulative": 7, "receipts_root": HASH}
    assert desk.refused("anchor-usage", "rival", **used)[0] == 409
    desk.do("anchor-usage", "licensor", **used)
    assert desk.refused("anchor-usage", "licensor", **used)[0] == 409
    desk.do("plan-royalty", "licensor", plan=number, bps=250)


def test_brokers_are_put_into_a_set_for_a_plan_to_name(desk, deployed):
    keys = Digest(secrets.token_bytes(32)), Digest(secrets.token_bytes(32))
    broker, _ = deployed.brokers.register_broker(deployed.sender("broker"), *keys, "http://x.test")
    assert desk.refused("broker-set", "licensor", brokers=[broker], threshold=2)[0] == 409
    assert desk.refused("broker-set", "licensor", brokers=[broker, 9999])[0] == 409
    made = desk.do("broker-set", "licensor", brokers=[broker])["BrokerSetCreated"]
    assert deployed.brokers.broker_set_of(int(made["setId"])).broker_ids == (broker,)
