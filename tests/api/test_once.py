"""Idempotency keys at the real service: in one process, and in two on each database."""

from __future__ import annotations

import contextlib
import importlib
import secrets
import threading
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from ledger.access.principals import FRESH_SECONDS
from ledger.ids import Address
from ledger.index.access_tables import access_session
from ledger.index.database import writing

pytestmark = pytest.mark.chain

world: Any = importlib.import_module("access_world")
LICENSOR = world.Wallet.named("licensor")


@pytest.fixture(scope="module")
def session(service):
    """A licensor's session token."""
    return LICENSOR.sign_in(service.client)["token"]


def post(url, token, name, path="/v1/keys", **options):
    headers = options.pop("headers", {}) | {"authorization": f"Bearer {token}"}
    if name is not None:
        headers["idempotency-key"] = name
    with httpx.Client(base_url=url, timeout=20) as client:
        return client.request(options.pop("method", "POST"), path, headers=headers, **options)


def key_asked(name="ci", **more):
    return {"name": name, "scopes": ["deposits:write"]} | more


def code(reply):
    assert reply.headers["content-type"] == "application/problem+json", reply.text
    assert reply.json()["hint"]
    return reply.status_code, reply.json()["code"]


def keys_named(service, token, name):
    with httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {token}"}) as client:
        found = client.get("/v1/keys").json()["keys"]
    return [each["id"] for each in found if each["name"] == name]


def test_a_repeat_gets_the_same_key_though_it_is_shown_once(service, session):
    name = secrets.token_hex(8)
    first = post(service.url, session, name, json=key_asked(name))
    assert (first.status_code, first.headers.get("idempotency-replayed")) == (201, None)
    # Quoted, it is the same name.
    again = post(service.url, session, f'"{name}"', json=key_asked(name))
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["content-type"] == first.headers["content-type"]
    assert "x-content-type-options" in again.headers
    assert keys_named(service, session, name) == [first.json()["id"]]
    other = post(service.url, session, name, json=key_asked("another"))
    assert code(other) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert first.json()["key"] not in other.text


def test_a_deletion_that_is_repeated_is_answered_as_before(service, session):
    made = post(service.url, session, None, json=key_asked()).json()["id"]
    name = secrets.token_hex(8)
    first = post(service.url, session, name, f"/v1/keys/{made}", method="DELETE")
    again = post(service.url, session, name, f"/v1/keys/{made}", method="DELETE")
    assert first.status_code == again.status_code == 200
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"


def test_a_refusal_frees_the_name_so_that_the_request_can_be_mended(service, session):
    name = secrets.token_hex(8)
    wrong = post(service.url, session, name, json=key_asked(scopes=["nothing:at-all"]))
    assert code(wrong) == (422, "INVALID_REQUEST")
    missing = post(service.url, session, name, json=key_asked(scopes=["audit:read"]))
    assert code(missing) == (403, "SCOPE_MISSING")
    assert post(service.url, session, name, json=key_asked()).status_code == 201


def test_a_name_of_one_credential_means_nothing_to_another(service, session):
    name = secrets.token_hex(8)
    first = post(service.url, session, name, json=key_asked()).json()
    second = LICENSOR.sign_in(service.client)["token"]
    other = post(service.url, second, name, json=key_asked())
    assert other.status_code == 201
    assert other.json()["key"] != first["key"]


def test_a_revoked_credential_gets_no_answer_that_it_once_had(service, session):
    one = LICENSOR.sign_in(service.client)["token"]
    name = secrets.token_hex(8)
    assert post(service.url, one, name, json=key_asked()).status_code == 201
    assert post(service.url, one, None, "/v1/auth/sign-out").status_code == 204
    again = post(service.url, one, name, json=key_asked())
    assert code(again) == (401, "CREDENTIAL_REVOKED")


def test_who_may_not_do_it_any_more_gets_no_answer_that_shows_a_secret(service):
    desk = world.Desk(f"sqlite:///{service.environment['DEED_API_DATABASE_URL']}")
    wallet, name = world.Wallet.named("stranger"), secrets.token_hex(8)
    whose = Address.parse(wallet.address)
    asked = {"url": "https://hooks.example/deed"}
    try:
        desk.store.grant_role(world.LOCAL, whose, "operator")
        token = wallet.sign_in(service.client)["token"]
        first = post(service.url, token, name, "/v1/webhooks", json=asked)
        assert first.status_code == 201
        desk.store.revoke_role(world.LOCAL, whose, "operator")
        again = post(service.url, token, name, "/v1/webhooks", json=asked)
        assert code(again) == (403, "SCOPE_MISSING")
        assert first.json()["secret"] not in again.text
        desk.store.grant_role(world.LOCAL, whose, "operator")
        assert post(service.url, token, name, "/v1/webhooks", json=asked).json() == first.json()
        path = f"/v1/webhooks/{first.json()['id']}"
        assert post(service.url, token, None, path, method="DELETE").status_code == 204
    finally:
        desk.store.revoke_role(world.LOCAL, whose, "operator")
        desk.close()


def test_a_session_that_is_too_old_to_make_a_key_gets_none_that_it_made_before(service):
    desk = world.Desk(f"sqlite:///{service.environment['DEED_API_DATABASE_URL']}")
    session, name = LICENSOR.sign_in(service.client), secrets.token_hex(8)
    token = session["token"]
    first = post(service.url, token, name, json=key_asked())
    assert first.status_code == 201
    table = access_session
    with writing(desk.engine) as connection:
        earlier = table.c.created_at - FRESH_SECONDS
        mine = table.c.id == session["id"]
        connection.execute(update(table).where(mine).values(created_at=earlier))
    desk.close()
    again = post(service.url, token, name, json=key_asked())
    assert code(again) == (401, "SIGN_IN_TOO_OLD")
    assert first.json()["key"] not in again.text


def test_names_that_cannot_be_read_and_bodies_beyond_the_limit_are_refused(service, session):
    for name in ('"', "a b", "x" * 256, '""'):
        reply = post(service.url, session, name, json=key_asked())
        assert code(reply) == (422, "IDEMPOTENCY_KEY_INVALID"), name
    twice = [("idempotency-key", "a"), ("idempotency-key", "b"),
             ("authorization", f"Bearer {session}")]  # fmt: skip
    assert code(httpx.post(f"{service.url}/v1/keys", headers=twice, json=key_asked())) == (
        422,
        "IDEMPOTENCY_KEY_INVALID",
    )
    path = f"/v1/models/0x{'ab' * 32}/leaves"  # where larger bodies are taken otherwise
    big = post(service.url, session, "big", path, content=b" " * ((1 << 20) + 1))
    assert code(big)[0] == 413


def test_without_a_credential_the_header_means_nothing(service):
    asked = {"account": LICENSOR.address}
    with httpx.Client(base_url=service.url, headers={"idempotency-key": "same"}) as client:
        first = client.post("/v1/auth/nonce", json=asked).json()
        second = client.post("/v1/auth/nonce", json=asked).json()
    assert first["nonce"] != second["nonce"]


def test_the_audit_log_has_each_of_them_with_its_route(service, session, published):
    name = secrets.token_hex(8)
    path = f"/v1/models/{published.model}/documents"
    body = {"manifest": published.manifest}
    ids = []
    for _ in range(2):
        reply = post(service.url, session, name, path, json=body)
        assert reply.status_code == 200, reply.text
        ids.append(reply.headers["x-request-id"])
    desk = world.Desk(f"sqlite:///{service.environment['DEED_API_DATABASE_URL']}")
    audit, _ = desk.key("audit:read", role="auditor")
    desk.close()
    with httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {audit}"}) as client:
        page = client.get("/v1/audit", params={"limit": 1000}).json()
    acts = {each["entry"]["request"]: each["entry"]["act"] for each in page["entries"]}
    assert [acts[each] for each in ids] == ["POST /v1/models/{id}/documents"] * 2


def test_an_evidence_job_is_asked_for_once(service, session, published):
    asked, name = {"license": str(published.license)}, secrets.token_hex(8)
    first, again = (
        post(service.url, session, name, "/v1/evidence/jobs", json=asked) for _ in range(2)
    )
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["job"] == first.json()["job"]
    assert again.headers["location"] == first.headers["location"]
    other = post(service.url, session, None, "/v1/evidence/jobs", json=asked).json()["job"]
    assert other != first.json()["job"]
    for job in (first.json()["job"], other):
        path = f"/v1/evidence/jobs/{job}"
        assert post(service.url, session, None, path, method="DELETE").status_code == 204


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.deep)])
def two(request, service, deployed, make, tmp_path):
    """Two processes of one service: the second one only reads what the first one follows."""
    with contextlib.ExitStack() as held:
        first = service
        if request.param == "postgresql":
            server = held.enter_context(importlib.import_module("postgres_world").server())
            url = server.url(server.fresh())
            first = make.service(tmp_path / "a", deployed.network, DEED_API_DATABASE_URL=url)
            held.callback(first.stop)
            first.start().caught_up(deployed.rpc)
        second = make.service(
            tmp_path / "b",
            deployed.network,
            DEED_API_DATABASE_URL=first.environment["DEED_API_DATABASE_URL"],
            DEED_API_PUBLIC_URL=first.url,
            DEED_API_FOLLOW="false",
            DEED_API_EVIDENCE_FOLDER=str(tmp_path / "jobs"),
        )
        held.callback(second.stop)
        yield first, second.start()


def test_two_processes_do_what_is_sent_to_both_at_once_once(two):
    first, second = two
    token = LICENSOR.sign_in(first.client)["token"]
    for round_ in range(3):
        name = f"round-{round_}-{secrets.token_hex(4)}"
        replies: list[httpx.Response] = []
        gate = threading.Barrier(8)

        def send(service, name=name, gate=gate, replies=replies):
            gate.wait()
            replies.append(post(service.url, token, name, json=key_asked(name)))

        threads = [threading.Thread(target=send, args=((first, second)[i % 2],)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(replies) == 8
        done = [each for each in replies if each.status_code == 201]
        assert {each.status_code for each in replies} <= {201, 409}
        for each in replies:
            if each.status_code == 409:
                assert code(each) == (409, "REQUEST_UNDER_WAY")
                assert each.headers["retry-after"] == "1"
        served = [each for each in done if "idempotency-replayed" not in each.headers]
        assert len(served) == 1
        late = post(second.url, token, name, json=key_asked(name))
        assert late.headers["idempotency-replayed"] == "true"
        assert {each.json()["key"] for each in [*done, late]} == {served[0].json()["key"]}
        assert len(keys_named(first, token, name)) == 1
