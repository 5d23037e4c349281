"""The broker's routes over real HTTP."""

import asyncio
import json
from importlib import import_module
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from api import problems
from api.routes.broker import router

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with import_module("broker_world").world(tmp_path_factory.mktemp("routes")) as made:
        yield made


@pytest.fixture
def http(world):
    with httpx.Client(base_url=world.broker.url) as client:
        yield client


def problem(response):
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["code"]
    assert "Traceback" not in response.text
    return body


def test_the_broker_describes_itself_signed(world, http):
    body = http.get("/v1/broker").json()
    world.broker.home.signing.public.verify(body)
    assert body["broker"] == world.broker.id
    assert body["signing_key_hash"] == str(world.broker.home.signing_key_hash)


def test_a_challenge_is_32_bytes_for_60_seconds_and_this_broker(world, http):
    asked = {"license": "1.1", "model": str(world.published.model_id)}
    one, two = (http.post("/v1/broker/challenges", json=asked).json() for _ in range(2))
    assert len(bytes.fromhex(one["challenge"][2:])) == 32
    assert one["challenge"] != two["challenge"]
    assert one["expires_at"] - one["time"] == 60
    assert one["audience"] == world.broker.service.identity.audience


def test_a_refusal_is_a_signed_reply_with_numbered_checks(world, http):
    vector = Path(__file__).parents[2] / "vectors" / "key-release" / "key-request.json"
    body = {"request": json.loads(vector.read_text())["message"], "terms": None}
    response = http.post("/v1/broker/releases", json=body)
    assert response.status_code == 200
    reply = response.json()
    world.broker.home.signing.public.verify(reply)
    assert reply["granted"] is False
    assert set(reply["denial"]) == {
        "code", "number", "message", "since", "remedy", "check", "retry_after",
    }  # fmt: skip
    assert [step["number"] for step in reply["checks"]] == list(range(1, 11))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("challenges", {}),
        ("challenges", {"license": "x", "model": "0x"}),
        ("releases", {}),
        ("releases", {"request": {"version": 1}, "terms": None}),
        ("checks", {"request": []}),
        ("deposits", {"version": 1}),
        ("leases/0x00/heartbeat", {}),
        ("leases/0x" + "00" * 32 + "/heartbeat", {"version": 1}),
    ],
)
def test_what_is_no_message_is_a_problem_and_no_crash(http, path, body):
    response = http.post(f"/v1/broker/{path}", json=body)
    assert response.status_code == 422
    problem(response)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"a":NaN}'])
def test_odd_bodies_are_problems(http, content):
    headers = {"content-type": "application/json"}
    response = http.post("/v1/broker/releases", content=content, headers=headers)
    assert response.status_code in {400, 422}
    problem(response)


def test_a_heartbeat_for_an_unknown_lease_is_refused(world, http):
    lease = "0x" + "11" * 32
    beat = {
        "version": 1,
        "lease": lease,
        "sequence": 1,
        "audience": world.broker.service.identity.audience,
        "issued_at": 1,
        "signature": "0x" + "00" * 64,
    }
    response = http.post(f"/v1/broker/leases/{lease}/heartbeat", json=beat)
    assert response.status_code == 403
    assert problem(response)["code"] == "LEASE_EXPIRED"


def test_a_service_without_a_broker_says_so():
    app = FastAPI()
    app.include_router(router)
    problems.install(app)

    async def ask():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/v1/broker")

    response = asyncio.run(ask())
    assert response.status_code == 503
    assert problem(response)["code"] == "BROKER_UNAVAILABLE"
