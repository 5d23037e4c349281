"""The service with a key broker's folder opens it, or says in one sentence why it cannot."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ledger.broker.home import BrokerHome, BrokerIdentity

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def home(deployed, tmp_path_factory):
    """A registered broker's folder, with its passphrase file."""
    folder = tmp_path_factory.mktemp("broker")
    made = BrokerHome.create(folder / "home", "correct horse", cost=14)
    broker, _ = deployed.brokers.register_broker(
        deployed.sender("broker"), made.signing_key_hash, made.kem_key_hash, "http://127.0.0.1:1"
    )
    at = deployed.deployment.addresses
    made.register(
        BrokerIdentity(
            broker, 31337, at["LicenseLedger"], at["ModelRegistry"], at["BrokerRegistry"]
        )
    )
    (folder / "good").write_text("correct horse\n")
    (folder / "bad").write_text("battery staple\n")
    return folder


def settings(home, file):
    return {
        "DEED_API_BROKER_HOME": str(home / "home"),
        "DEED_API_BROKER_PASSPHRASE_FILE": str(home / file),
    }


def test_a_service_with_a_brokers_folder_is_that_broker(home, deployed, make, tmp_path):
    service = make.service(tmp_path, deployed.network, **settings(home, "good")).start()
    try:
        told = service.get("/v1/broker")
        assert json.dumps(told).count(
            str(BrokerHome.open(home / "home", "correct horse").kem_key_hash)
        )
        assert service.client.get("/readyz").json()["broker"] == "on"
        wrong = service.client.post("/v1/broker/challenges?nonsense=1", json={})
        assert (wrong.status_code, wrong.json()["code"]) == (422, "INVALID_REQUEST")
        reply = service.client.post("/v1/broker/challenges", json={})
        assert reply.headers["content-type"] == "application/problem+json"
        paths = service.get("/v1/openapi.json")["paths"]
        assert "/v1/broker" in paths
        # Whoever makes a client of it makes a function of each.
        names = [each["operationId"] for path in paths.values() for each in path.values()]
        assert len(names) == len(set(names))
    finally:
        assert service.stop() == 0
    assert "correct horse" not in service.log.read_text()


def test_the_service_shows_how_its_endpoints_are_and_never_their_urls(
    home, deployed, make, tmp_path
):
    key = "an-api-key-in-the-path"
    network = replace(deployed.network, rpc_urls=(f"{deployed.network.rpc_urls[0]}/?k={key}",))
    service = make.service(tmp_path, network, **settings(home, "good")).start()
    try:
        told = service.get("/v1/broker/endpoints")
        assert told["quorum"] == 1
        (only,) = told["endpoints"]
        assert (only["host"], only["circuit"]) == (f"127.0.0.1:{deployed.chain.port}", "closed")
        assert only["last_trouble"] is None
        text = service.client.get("/metrics").text
        host = only["host"]
        assert only["healthy"] is None  # not asked yet
        assert f'deed_endpoint_asked{{host="{host}"}} 1.0' in text
        assert f'deed_endpoint_faults_total{{host="{host}",kind="slow"}} 0.0' in text
        assert f'deed_endpoint_contrary_total{{host="{host}"}} 0.0' in text
        assert key not in text + json.dumps(told)
    finally:
        assert service.stop() == 0
    assert key not in service.log.read_text()


def test_a_wrong_passphrase_ends_it_before_it_serves(home, deployed, make, tmp_path):
    with pytest.raises(AssertionError, match="error: ") as caught:
        make.service(tmp_path, deployed.network, **settings(home, "bad")).start()
    assert "Traceback" not in str(caught.value)
    assert "battery" not in str(caught.value)


BODIES = [
    b"{}",
    b'{"license": "1.1"}',
    b'{"license": "1.1", "model": "0x00"}',
    b'{"license": "1.1", "license": "1.2", "model": 5}',
    b'{"request": {}, "terms": null}',
    b'{"request": null, "terms": null}',
    b'{"lease": "0x00"}',
    b"[]",
    b"null",
    b"",
    b"{",
    b"\xff\xfe",
    b'{"a": NaN}',
    b"[" * 5000,
    b'{"a":' * 3000,
    b'{"a": "' + b"x" * 3_000_000 + b'"}',
]
PATHS = [
    "challenges",
    "releases",
    "leases/0x00/heartbeat",
    "leases/0x" + "ab" * 32 + "/heartbeat",
    "leases//heartbeat",
    "leases/a/b/heartbeat",
]


def test_the_quick_way_answers_as_the_routes_that_describe_it(home, deployed, make, tmp_path):
    service = make.service(tmp_path, deployed.network, **settings(home, "good")).start()
    changing = {"x-request-id", "date"}
    try:
        for path in PATHS:
            for body in BODIES:
                quick, routed = (
                    service.client.post(
                        f"/v1/broker/{path}", content=body, headers={"content-type": kind}
                    )
                    for kind in ("application/json", "application/json; charset=utf-8")
                )
                where = (path, body[:40], quick.text[:200], routed.text[:200])
                assert quick.status_code == routed.status_code, where
                assert quick.content == routed.content, where
                kept = [{k: v for k, v in r.headers.items() if k not in changing}
                        for r in (quick, routed)]  # fmt: skip
                assert kept[0] == kept[1], where
        license_, model = "1.1", "0x" + "ab" * 32
        good = service.client.post(
            "/v1/broker/challenges", json={"license": license_, "model": model}
        )
        assert good.status_code == 200
        assert good.headers["cache-control"] == "no-store"
        assert len(good.json()["challenge"]) == 66
        assert service.client.get("/v1/broker/challenges").status_code == 405
        metrics = service.client.get("/metrics").text
        for route in ("challenges", "releases", "leases/{lease_id}/heartbeat"):
            assert f'route="/v1/broker/{route}"' in metrics
    finally:
        assert service.stop() == 0
