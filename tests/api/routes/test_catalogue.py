"""Plans, titles, lineage, anchors, brokers, batches, figures, and the search for anything."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

import pytest

from ledger.chain.market import LicenseMarket, Price, Royalty
from ledger.chain.plans import PlanTerms, Role
from ledger.ids import ZERO_ADDRESS, Address, Digest

pytestmark = pytest.mark.chain


def fresh():
    return Digest(secrets.token_bytes(32))


@pytest.fixture(scope="module")
def family(deployed, published, make, service, tmp_path_factory):
    """Parent, child and grandchild; the child's licensor confirmed nothing but the first link."""
    folder = tmp_path_factory.mktemp("family")
    child = make.publish(deployed, folder, parents=(published.model,))
    grandchild = make.publish(deployed, folder, parents=(child.model,))
    deployed.registry.confirm_parent(deployed.sender("licensor"), child.claim, published.model)
    service.caught_up(deployed.rpc)
    return published, child, grandchild


def test_plans_are_listed_and_one_names_who_may_act(service, deployed, published):
    helper = deployed.wallet("rival").address
    deployed.licenses.set_roles(
        deployed.sender("licensor"), published.plan, helper, int(Role.ISSUER | Role.GUARDIAN)
    )
    service.caught_up(deployed.rpc)
    answer = service.get(f"/v1/plans/{published.plan}")
    assert answer["plan"]["model_id"] == str(published.model)
    assert answer["roles"] == [{"account": str(helper), "roles": ["issuer", "guardian"]}]
    for query in (
        {"model": str(published.model)},
        {"licensor": str(deployed.wallet("licensor").address), "limit": 1},
    ):
        plans = service.get("/v1/plans", **query)["plans"]
        assert plans[0]["plan_id"] == published.plan
    assert service.get("/v1/plans", licensor="0x" + "11" * 20)["plans"] == []
    deployed.licenses.set_roles(deployed.sender("licensor"), published.plan, helper, 0)
    service.caught_up(deployed.rpc)
    assert service.get(f"/v1/plans/{published.plan}")["roles"] == []
    assert service.client.get("/v1/plans/999").status_code == 404


def test_lists_go_on_where_the_last_page_ended(service, deployed, family):
    for path, members, key in (
        ("/v1/plans", "plans", "plan_id"),
        ("/v1/anchors", "anchors", "root"),
        ("/v1/models", "models", "model_id"),
    ):
        every = [row[key] for row in service.get(path, limit=500)[members]]
        found, cursor = [], None
        for _ in range(len(every) + 1):
            query = {"limit": 1} | ({"cursor": cursor} if cursor else {})
            page = service.get(path, **query)
            found += [row[key] for row in page[members]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert found == every
        assert len(every) >= 3


def test_a_title_that_moved_is_listed_first_to_last(service, deployed, make, tmp_path):
    other = make.publish(deployed, tmp_path)
    to = deployed.sender("rival")
    deployed.registry.propose_transfer(
        deployed.sender("licensor"), other.model, deployed.wallet("rival").address
    )
    deployed.registry.accept_transfer(to, other.model)
    service.caught_up(deployed.rpc)
    path = f"/v1/models/{other.model}/titles"
    titles = service.get(path)["titles"]
    names = [str(deployed.wallet(name).address) for name in ("licensor", "rival")]
    assert [title["holder"] for title in titles] == names
    assert titles[1]["previous"] == names[0]
    first = service.get(path, limit=1)
    second = service.get(path, limit=1, cursor=first["next_cursor"])
    assert [*first["titles"], *second["titles"]] == titles
    assert second["next_cursor"] is None
    assert service.client.get(f"/v1/models/{fresh()}/titles").status_code == 404


def test_lineage_goes_both_ways_and_says_what_was_confirmed(service, deployed, family):
    parent, child, grandchild = (str(each.model) for each in family)
    answer = service.get(f"/v1/models/{child}/lineage")
    assert {model["model_id"] for model in answer["models"]} == {parent, child, grandchild}
    edges = {(e["model_id"], e["parent"]): e["confirmed_by"] for e in answer["edges"]}
    assert edges == {
        (child, parent): str(deployed.wallet("licensor").address),
        (grandchild, child): None,
    }
    assert answer["complete"] is True
    up = service.get(f"/v1/models/{grandchild}/lineage", direction="ancestors")
    assert {model["model_id"] for model in up["models"]} == {parent, child, grandchild}
    near = service.get(f"/v1/models/{grandchild}/lineage", direction="ancestors", depth=1)
    assert {model["model_id"] for model in near["models"]} == {child, grandchild}
    assert near["complete"] is False
    alone = service.get(f"/v1/models/{parent}/lineage", direction="ancestors")
    assert (alone["edges"], alone["complete"]) == ([], True)


def test_an_anchor_is_shown_by_its_root_and_listed_by_sender_and_time(service, deployed):
    root, sender = fresh(), deployed.sender("holder")
    deployed.anchors.anchor(sender, root)
    service.caught_up(deployed.rpc)
    anchor = service.get(f"/v1/anchors/{root}")["anchor"]
    assert anchor["sender"] == str(deployed.wallet("holder").address)
    when = anchor["anchored_at"]
    for query in (
        {"sender": anchor["sender"]},
        {"since": when, "until": when, "sender": anchor["sender"].lower()},
    ):
        assert str(root) in roots_of(service, **query)
    assert str(root) not in roots_of(service, since=when + 1, sender=anchor["sender"])
    assert roots_of(service, sender="0x" + "11" * 20) == []
    assert service.client.get(f"/v1/anchors/{fresh()}").json()["code"] == "UNKNOWN_RECORD"


def roots_of(service, **query):
    return [each["root"] for each in service.get("/v1/anchors", limit=500, **query)["anchors"]]


def test_a_broker_and_its_anchored_receipts_are_listed(service, deployed):
    operator = deployed.sender("operator")
    number, _ = deployed.brokers.register_broker(operator, fresh(), fresh(), "https://b.example")
    root, previous = fresh(), Digest(bytes(32))
    deployed.brokers.anchor_receipts(
        operator, number, seq=1, prev_root=previous, root=root, count=7
    )
    service.caught_up(deployed.rpc)
    brokers = {each["broker_id"]: each for each in service.get("/v1/brokers")["brokers"]}
    assert brokers[str(number)]["url"] == "https://b.example"
    (receipt,) = service.get(f"/v1/brokers/{number}/receipts")["receipts"]
    assert (receipt["seq"], receipt["root"], receipt["count"]) == ("1", str(root), "7")
    reply = service.client.get("/v1/brokers/999/receipts")
    assert (reply.status_code, reply.json()["code"]) == (404, "UNKNOWN_RECORD")
    assert "there is no broker 999 as of block" in reply.json()["detail"]


def test_a_batch_is_listed_and_says_when_it_closes(service, deployed, published):
    licensor, roots = deployed.sender("licensor"), [fresh(), fresh()]
    for root in roots:
        deployed.licenses.anchor_batch(licensor, published.plan, root, 10)
    closes_at, _ = deployed.licenses.close_batch(licensor, published.plan, roots[1])
    service.caught_up(deployed.rpc)
    found = {
        b["root"]: b for b in service.get("/v1/batches", model=str(published.model))["batches"]
    }
    one, two = (found[str(root)] for root in roots)
    assert (one["plan_id"], one["count"], one["closes_at"]) == (published.plan, 10, None)
    assert two["first_serial"] == one["first_serial"] + 10
    assert two["closes_at"] == closes_at
    page = service.get("/v1/batches", limit=1)
    rest = service.get("/v1/batches", cursor=page["next_cursor"])["batches"]
    assert page["batches"][0]["root"] not in {b["root"] for b in rest}
    assert service.get("/v1/batches", model=str(fresh()))["batches"] == []


def test_a_licensor_sees_each_license_counted_once(service, deployed, make, tmp_path):
    licensor = deployed.sender("licensor")
    account = str(deployed.wallet("licensor").address)
    before = service.get(f"/v1/licensors/{account}/statistics")
    other = make.publish(deployed, tmp_path)
    holder = deployed.wallet("holder").address
    more = [deployed.licenses.issue(licensor, other.plan, holder)[0] for _ in range(2)]
    deployed.licenses.suspend(licensor, more[0])
    deployed.licenses.revoke(licensor, more[1])
    service.caught_up(deployed.rpc)
    after = service.get(f"/v1/licensors/{account.lower()}/statistics")
    changed = {
        name: after["licenses"][name] - before["licenses"][name] for name in after["licenses"]
    }
    assert changed == {
        "active": 1, "upcoming": 0, "noticed": 0, "suspended": 1, "expired": 0, "revoked": 1,
    }  # fmt: skip
    assert after["issued"] == before["issued"] + 3 == sum(after["licenses"].values())
    assert (after["models"], after["plans"]) == (before["models"] + 1, before["plans"] + 1)
    assert after["expiring"] == after["licenses"]["active"]  # they last an hour
    assert after["at"] < after["next_end"] <= after["at"] + 3600
    nobody = service.get(f"/v1/licensors/0x{'11' * 20}/statistics")
    assert (nobody["issued"], nobody["next_end"]) == (0, None)


def test_anything_is_found_by_digest_account_transaction_and_day(service, deployed, published):
    record = service.get(f"/v1/models/{published.model}")["model"]
    for by in ("artifact_root", "fingerprint_digest", "manifest_hash", "model_id"):
        hits = service.get("/v1/find", q=record[by])["hits"]
        assert {"kind": "model", "by": by, "name": str(published.model)}.items() <= hits[0].items()
        assert service.client.get(hits[0]["href"]).status_code == 200
    hits = service.get("/v1/find", q=record["registered_tx"])["hits"]
    assert {hit["kind"] for hit in hits} == {"event"}
    holder = str(deployed.wallet("holder").address)
    found = service.get("/v1/find", q=holder)["hits"]
    assert str(published.license) in {hit["name"] for hit in found if hit["kind"] == "license"}
    day = datetime.fromtimestamp(record["registered_at"], UTC).date()
    place = f"{record['registered_block']}-"
    today = service.get("/v1/find", q=str(day))["hits"]
    assert any(hit["name"].startswith(place) for hit in today)
    assert service.get("/v1/find", q=str(day - timedelta(days=400)))["hits"] == []
    assert service.get("/v1/find", q=str(fresh()))["hits"] == []
    assert service.get("/v1/find", q="0x" + "00" * 32)["hits"] == []


@pytest.mark.parametrize("q", ["", "0x12", "tomorrow", "0x" + "g" * 64])
def test_what_cannot_be_looked_for_is_422(service, q):
    reply = service.client.get("/v1/find", params={"q": q})
    assert reply.status_code == 422
    assert reply.json()["hint"]


# -- which state --------------------------------------------------------------------------------


def test_every_answer_says_where_the_chain_stands(service, deployed):
    as_of = service.get("/v1/models")["as_of"]
    assert set(as_of["chain"]) == {"latest", "safe", "finalized"}
    assert as_of["chain"]["latest"] == {
        "block": as_of["block"], "hash": as_of["hash"], "time": as_of["time"],
    }  # fmt: skip
    numbers = [as_of["chain"][tag]["block"] for tag in ("finalized", "safe", "latest")]
    assert numbers == sorted(numbers)
    assert as_of["time"] == deployed.rpc.block(as_of["block"]).timestamp


def test_what_the_market_took_gave_back_and_owes_is_told_as_the_contract_has_it(
    service, deployed, make, tmp_path
):
    parent, child = make.publish(deployed, tmp_path), make.publish(deployed, tmp_path)
    market = LicenseMarket(deployed.rpc, deployed.deployment.addresses["LicenseMarket"])
    licensor, buyer = deployed.sender("licensor"), deployed.sender("buyer")
    account, coin, price = str(licensor.signer.address), str(ZERO_ADDRESS), 10**18 + 1
    cost = Price(ZERO_ADDRESS, price)
    statistics = f"/v1/licensors/{account}/statistics"
    service.caught_up(deployed.rpc)
    before = service.get(statistics)
    plans, sold = [], []
    for window in (0, 86_400, 86_400):
        terms = PlanTerms(
            child.model, fresh(), duration=3600, grace=60, lease_ttl=60, max_offline=120,
            seats=2, price=price, refund_window=window,
        )  # fmt: skip
        plan, _ = deployed.licenses.create_plan(licensor, terms)
        deployed.licenses.set_roles(licensor, plan, market.address, int(Role.ISSUER))
        plans.append((plan, deployed.licenses.plan_of(plan)[1].plan_digest))
    market.pin_royalties(licensor, plans[0][0], [Royalty(parent.model, 1_000)])
    for plan, digest in plans:
        sold.append(market.buy(buyer, plan, digest, cost, buyer.signer.address)[0])
    market.renew(buyer, sold[0], plans[0][1], cost)
    deployed.licenses.approve(buyer, sold[1], market.address)
    market.refund(buyer, sold[1])
    service.caught_up(deployed.rpc)
    after = service.get(statistics)
    had = {each["pay_token"]: each for each in before["revenue"]}.get(coin)
    (now,) = [each for each in after["revenue"] if each["pay_token"] == coin]
    grown = {
        name: int(now[name]) - int(had[name] if had else 0)
        for name in ("sales", "renewals", "refunds", "taken", "refunded", "net")
    }
    assert grown == {
        "sales": 3, "renewals": 1, "refunds": 1,
        "taken": 4 * price, "refunded": price, "net": 3 * price,
    }  # fmt: skip
    for whose in (account, str(buyer.signer.address)):
        (mine,) = service.get(f"/v1/licensors/{whose}/statistics")["owed"]
        assert int(mine["open"]) == market.owed(Address.parse(whose), ZERO_ADDRESS) > 0
    (royalty,) = service.get(f"/v1/models/{parent.model}/royalties")["royalties"]
    assert int(royalty["open"]) == 2 * (price // 10)
    assert service.get(f"/v1/models/{child.model}/royalties")["royalties"] == []
    sales = [service.get(f"/v1/licenses/{license_}/sale") for license_ in sold]
    assert [sale["state"] for sale in sales] == ["settled", "refunded", "open"]
    assert {sale["amount"] for sale in sales} == {str(price)}
    assert sales[0]["refundable_until"] is None
    assert sales[2]["refundable_until"] == sales[2]["sold_at"] + 86_400
    # As of a block before it, nothing of it is there.
    assert service.get(statistics, as_of=before["as_of"]["block"])["revenue"] == before["revenue"]
    assert service.client.get(f"/v1/licenses/{parent.plan}.99/sale").status_code == 404
    named = [
        each["event"] for each in service.get("/v1/events", contract="LicenseMarket")["events"]
    ]
    assert named.count("LicenseSold") >= 3
    assert {"SaleRefunded", "LicenseRenewalSold", "RoyaltyPinned", "Accrued"} <= set(named)


def test_the_state_of_an_earlier_block_time_or_finality_can_be_asked_for(
    service, deployed, make, tmp_path
):
    before = service.get("/v1/models", limit=500)
    time_before = deployed.rpc.block("latest").timestamp
    deployed.rpc.call("evm_increaseTime", [5])
    other = make.publish(deployed, tmp_path)
    service.caught_up(deployed.rpc)
    path = f"/v1/models/{other.model}"
    assert service.client.get(path).status_code == 200
    for query in ({"as_of": before["as_of"]["block"]},):
        assert service.client.get(path, params=query).status_code == 404
        found = service.get("/v1/models", limit=500, **query)
        assert found["models"] == [
            {**model, "finality": new["finality"]}
            for model, new in zip(before["models"], found["models"], strict=True)
        ]
    stamp = datetime.fromtimestamp(time_before, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert service.client.get(path, params={"as_of": stamp}).status_code == 404
    deployed.rpc.call("anvil_mine", ["0x3"])
    service.caught_up(deployed.rpc)
    for query in ({"as_of": "finalized"}, {"min_finality": "finalized"}, {"as_of": "safe"}):
        answer = service.get("/v1/models", **query)
        assert answer["as_of"]["block"] <= answer["as_of"]["chain"]["latest"]["block"]
        assert answer["as_of"]["finality"] in {"finalized", "safe"}


def test_what_is_not_so_settled_yet_is_409_and_what_was_not_read_404(service):
    head = service.get("/v1/models")["as_of"]["chain"]["latest"]["block"]
    reply = service.client.get("/v1/models", params={"as_of": head, "min_finality": "finalized"})
    assert (reply.status_code, reply.json()["code"]) == (409, "PENDING_FINALITY")
    assert service.client.get("/v1/models", params={"as_of": head + 1000}).status_code == 404
    assert service.client.get("/v1/models", params={"as_of": "2999-01-01"}).status_code == 404
    assert service.client.get("/v1/models", params={"as_of": "2026-02-30"}).status_code == 422
    assert service.client.get("/v1/models", params={"as_of": "1999-01-01"}).status_code == 404


@pytest.mark.parametrize(
    "query",
    [{"as_of": "soon"}, {"as_of": "-1"}, {"as_of": "1e3"}, {"min_finality": "x"}],
)
def test_a_state_that_cannot_be_meant_is_422(service, query):
    reply = service.client.get("/v1/models", params=query)
    assert reply.status_code == 422
    assert reply.json()["hint"]
