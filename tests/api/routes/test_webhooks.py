"""Webhooks of the real service, over a real chain, to real receivers on this machine."""

from __future__ import annotations

import importlib
import secrets
import signal
import threading
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from api.settings import Settings
from ledger.ids import Digest
from ledger.index.webhook_tables import webhook_delivery, webhook_endpoint

pytestmark = pytest.mark.chain

world: Any = importlib.import_module("webhook_world")
access: Any = importlib.import_module("access_world")
PATH = "/v1/webhooks"
LICENSOR = access.Wallet.named("licensor")
HOLDER = access.Wallet.named("holder")
STRANGER = access.Wallet.named("stranger")
SETTINGS = {"DEED_API_WEBHOOK_NETWORKS": "127.0.0.0/8, ::1"}
HASTY = SETTINGS | {"DEED_API_WEBHOOK_TIMEOUT": "2"}


@pytest.fixture(scope="module")
def service(deployed, published, make, tmp_path_factory):
    """The service, allowed to send into this machine."""
    running = make.service(tmp_path_factory.mktemp("hooks"), deployed.network, **SETTINGS).start()
    try:
        running.caught_up(deployed.rpc)
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def tokens(service):
    """Sessions by name."""
    wallets = {"licensor": LICENSOR, "holder": HOLDER, "stranger": STRANGER}
    return {name: wallet.sign_in(service.client)["token"] for name, wallet in wallets.items()}


@pytest.fixture
def receiver():
    made = world.Receiver()
    yield made
    made.close()


def ask(service, method, path, token=None, **options):
    headers = access.bearer(token) if token else {}
    with httpx.Client(base_url=service.url, timeout=20) as client:
        return client.request(method, PATH + path, headers=headers, **options)


def made(service, token, url, **asked):
    reply = ask(service, "POST", "", token, json={"url": url, **asked})
    assert reply.status_code == 201, reply.text
    return reply.json()


def code(reply):
    assert reply.headers["content-type"] == "application/problem+json", reply.text
    assert reply.json()["hint"]
    return reply.status_code, reply.json()["code"]


def anchor(deployed):
    root = Digest(secrets.token_bytes(32))
    deployed.anchors.anchor(deployed.sender("holder"), root)
    return str(root)


def root_of(message):
    return message["data"]["event"]["arguments"]["root"]


def test_an_event_is_sent_signed_and_its_delivery_told(service, deployed, tokens, receiver):
    hook = made(service, tokens["holder"], receiver.url, description="mine")
    assert hook["state"] == "enabled"
    root = anchor(deployed)
    message = receiver.next("event.applied")
    assert root_of(message) == root
    headers, body = receiver.got[0]
    assert world.verify(hook["secret"], headers, body)
    (listed,) = service.client.get("/v1/events", params={"subject": root}).json()["events"]
    event = message["data"]["event"]
    assert {name: event[name] for name in listed if name != "finality"} == {
        name: value for name, value in listed.items() if name != "finality"
    }
    assert set(message["data"]["as_of"]) == set(service.client.get("/v1/events").json()["as_of"])
    path = f"/{hook['id']}"

    def delivered():
        page = ask(service, "GET", f"{path}/deliveries", tokens["holder"]).json()
        return page["deliveries"] and page["deliveries"][0]["state"] == "delivered"

    service.until(delivered)
    (delivery,) = ask(service, "GET", f"{path}/deliveries", tokens["holder"]).json()["deliveries"]
    assert (delivery["message"], delivery["attempts"], delivery["last_status"]) == (
        headers["webhook-id"], 1, 204,
    )  # fmt: skip
    shown = ask(service, "GET", path, tokens["holder"]).json()
    assert "secret" not in shown
    assert shown["url"] == receiver.url
    again = ask(service, "POST", f"{path}/deliveries/{delivery['message']}/retry", tokens["holder"])
    assert again.status_code == 202
    assert receiver.next()["data"]["id"] == delivery["message"]
    metrics = service.client.get("/metrics").text
    assert 'deed_webhook_endpoints{state="enabled"} 1.0' in metrics
    assert 'deed_webhook_attempts_total{outcome="delivered"}' in metrics
    assert ask(service, "DELETE", path, tokens["holder"]).status_code == 204
    assert code(ask(service, "GET", path, tokens["holder"])) == (404, "UNKNOWN_RECORD")
    log = service.log.read_text()
    assert hook["secret"].removeprefix("whsec_") not in log
    assert "hunter2" not in log


def test_a_test_message_a_change_and_a_rotation(service, tokens, receiver):
    hook = made(service, tokens["licensor"], receiver.url, types=["license.expiring"])
    path = f"/{hook['id']}"
    reply = ask(service, "POST", f"{path}/test", tokens["licensor"])
    assert (reply.status_code, reply.json()["type"]) == (202, "webhook.test")
    assert receiver.next()["type"] == "webhook.test"
    changed = ask(
        service, "PATCH", path, tokens["licensor"],
        json={"licenses": ["1.1", "1.1"], "events": ["LicenseRevoked"], "enabled": False},
    ).json()  # fmt: skip
    assert (changed["licenses"], changed["events"]) == (["1.1"], ["LicenseRevoked"])
    assert (changed["types"], changed["state"]) == (["license.expiring"], "disabled")
    reply = ask(service, "PATCH", path, tokens["licensor"], json={"enabled": True})
    assert reply.json()["state"] == "enabled"
    new = ask(service, "POST", f"{path}/rotate", tokens["licensor"])
    assert new.status_code == 200
    assert new.json()["secret"] != hook["secret"]
    ask(service, "POST", f"{path}/test", tokens["licensor"])
    receiver.next("webhook.test")
    for secret in (hook["secret"], new.json()["secret"]):
        assert world.verify(secret, *receiver.got[-1])
    at_once = ask(service, "POST", f"{path}/rotate", tokens["licensor"], json={"keep_hours": 0})
    assert at_once.json()["old_secret_until"] is None
    ask(service, "DELETE", path, tokens["licensor"])


def test_anothers_webhook_is_not_there_and_nobody_else_comes_in(service, tokens, receiver):
    hook = made(service, tokens["licensor"], receiver.url)
    path = f"/{hook['id']}"
    sent = "msg_" + "0" * 32
    for method, rest in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/rotate"),
        ("POST", "/test"),
        ("GET", "/deliveries"),
        ("POST", f"/deliveries/{sent}/retry"),
    ):
        body = {"json": {}} if method == "PATCH" else {}
        reply = ask(service, method, path + rest, tokens["holder"], **body)
        assert code(reply) == (404, "UNKNOWN_RECORD"), rest
        assert code(ask(service, method, path + rest, **body)) == (401, "NOT_AUTHENTICATED")
        assert code(ask(service, method, path + rest, tokens["stranger"], **body)) == (
            403, "SCOPE_MISSING",
        )  # fmt: skip
    assert ask(service, "GET", "", tokens["holder"]).json() == {"webhooks": []}
    assert [each["id"] for each in ask(service, "GET", "", tokens["licensor"]).json()["webhooks"]]
    ask(service, "DELETE", path, tokens["licensor"])


def test_a_revoked_keys_webhook_rests_until_its_account_takes_it_over(
    service, deployed, tokens, receiver
):
    holder = access.bearer(tokens["holder"])
    asked = {"name": "ci", "scopes": ["webhooks:write"]}
    key = service.client.post("/v1/keys", json=asked, headers=holder).json()
    hook = made(service, key["key"], receiver.url)
    path = f"/{hook['id']}"
    assert service.client.delete(f"/v1/keys/{key['id']}", headers=holder).status_code == 200
    shown = {}

    def paused():
        shown.update(ask(service, "GET", path, tokens["holder"]).json())
        return shown["state"] == "paused"

    service.until(paused)
    assert key["id"] in shown["reason"]
    assert shown["paused_at"]
    assert 'deed_webhook_endpoints{state="paused"} 1.0' in service.client.get("/metrics").text
    root = anchor(deployed)
    service.until(lambda: ask(service, "GET", path, tokens["holder"]).json()["waiting"])
    assert not receiver.got
    reply = ask(service, "PATCH", path, tokens["holder"], json={"enabled": True})
    assert (reply.json()["state"], reply.json()["paused_at"]) == ("enabled", None)
    assert root_of(receiver.next()) == root
    ask(service, "DELETE", path, tokens["holder"])


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"url": "ftp://a.example/"},
        {"url": "https://169.254.169.254/latest/meta-data"},
        {"url": "https://a:b@a.example/"},
        {"url": "https://a.example/", "types": []},
        {"url": "https://a.example/", "types": ["webhook.test"]},
        {"url": "https://a.example/", "models": ["0x12"]},
        {"url": "https://a.example/", "licenses": ["1"]},
        {"url": "https://a.example/", "licensors": ["1" * 42]},
        {"url": "https://a.example/", "expiring_days": 367},
        {"url": "https://a.example/" + "x" * 3000},
        {"url": "https://a.example/", "description": "a\0b"},
    ],
)
def test_what_cannot_be_meant_is_422_with_the_way_out(service, tokens, asked):
    reply = ask(service, "POST", "", tokens["licensor"], json=asked)
    assert code(reply)[0] == 422


def test_a_reorganisation_of_the_chain_takes_back_by_id(service, deployed, tokens, receiver):
    hook = made(service, tokens["holder"], receiver.url, events=["RootAnchored"])
    with deployed.chain.hold_finality():
        root = anchor(deployed)
        told = receiver.next("event.applied")
        assert root_of(told) == root
        depth = deployed.rpc.block("latest").number - told["data"]["event"]["block"] + 1
        deployed.rpc.call("anvil_reorg", [depth, []])
        anchor(deployed)
        gone = receiver.next("event.retracted")
    assert gone["data"]["retracts"] == told["data"]["id"]
    assert root_of(gone) == root
    assert gone["data"]["event"]["finality"] == "retracted"
    ask(service, "DELETE", f"/{hook['id']}", tokens["holder"])


@pytest.mark.deep  # starts two services
def test_killed_in_mid_attempt_or_told_to_stop_nothing_is_lost(
    deployed, published, make, tmp_path, receiver
):
    running = make.service(tmp_path, deployed.network, **HASTY).start()
    free = threading.Event()
    try:
        running.caught_up(deployed.rpc)
        token = HOLDER.sign_in(running.client)["token"]
        hook = made(running, token, receiver.url, events=["RootAnchored"])
        receiver.before = lambda _: free.wait(30)
        roots = [anchor(deployed)]
        first = receiver.next()
        running.process.send_signal(signal.SIGKILL)
        running.process.wait(20)
        free.set()
        roots.append(anchor(deployed))
        running.start()
        # Under its id, after the claim of the killed process has run out.
        seen = [first]
        while root_of(seen[-1]) != roots[1]:
            seen.append(receiver.next(seconds=60))
        assert len(seen) >= 3
        assert {each["data"]["id"] for each in seen[:-1]} == {first["data"]["id"]}
        assert world.verify(hook["secret"], *receiver.got[-1])
        # A receiver that does not answer does not hold up a process that is told to stop.
        free.clear()
        roots.append(anchor(deployed))
        stuck = receiver.next()
        running.process.terminate()
        assert running.process.wait(20) == 0
        free.set()
        # Its claim was given back, and what was under way waits for the next start.
        with world.database(running.environment["DEED_API_DATABASE_URL"]) as connection:
            (endpoint,) = connection.execute(select(webhook_endpoint)).all()
            states = select(webhook_delivery.c.message, webhook_delivery.c.state)
            held = {row.message: row.state for row in connection.execute(states)}
        assert endpoint.claim == ""
        assert held[stuck["data"]["id"]] == "waiting"
        assert sorted(held.values()) == ["delivered", "delivered", "waiting"]
    finally:
        free.set()
        running.stop()


def test_without_a_key_a_service_says_that_it_sends_none():
    beside = Settings(deployment="d", database_url="/x/index.db")
    assert str(beside.webhook_keys) == "/x/index.db.webhook-key"
    assert Settings(deployment="d", database_url="postgresql+psycopg://h/d").webhook_keys is None
    with pytest.raises(ValueError, match="webhook_networks"):
        Settings(deployment="d", database_url="x", webhook_networks="10.0.0.1/8")
