"""The service does what its own description says, for whatever is sent to it."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

pytestmark = pytest.mark.chain

SOME = {"/v1/transactions/issue", "/v1/transactions/{hash}"}


def test_every_answer_to_any_request_is_one_that_is_described(service):
    schema = schemathesis.openapi.from_url(f"{service.url}/v1/openapi.json")
    seen = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path.startswith("/v1/evidence"):
            continue  # collecting a bundle is slow, and tested by itself
        if operation.path.startswith("/v1/transactions/") and operation.path not in SOME:
            continue  # thirty of one make: tests/api/transactions, with a credential

        @given(case=operation.as_strategy())
        @settings(
            max_examples=4,
            deadline=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def check(case):
            case.call_and_validate()

        check()
        seen += 1
    assert seen >= 14


def test_the_description_is_openapi_3_1_and_names_every_route(service):
    document = service.get("/v1/openapi.json")
    assert document["openapi"].startswith("3.1")
    assert {"/v1/models", "/v1/models/{id}/timeline", "/v1/search", "/readyz"} <= set(
        document["paths"]
    )
    for path, operations in document["paths"].items():
        for operation in operations.values():
            problem = operation["responses"].get("422", {}).get("content", {})
            assert "application/problem+json" in problem, path


def test_a_kind_of_transaction_that_there_is_not_names_those_that_are_near(service):
    reply = service.client.post("/v1/transactions/renew-payed", json={})
    assert (reply.status_code, reply.json()["code"]) == (404, "UNKNOWN_RECORD")
    assert "renew-paid" in reply.json()["hint"]


@pytest.mark.parametrize(("body", "said"), [
    (b'{"plan": NaN}', "NaN"), (b'{"plan": 1, "plan": 2}', "repeats a key"),
    (b'{"plan": 1,}', "line 1 column"),
])  # fmt: skip
def test_a_body_that_is_no_json_is_told_what_is_wrong(service, body, said):
    headers = {"content-type": "application/json"}
    reply = service.client.post("/v1/transactions/buy", content=body, headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_REQUEST")
    assert said in reply.json()["detail"]


ARABIC = "\u0661"  # a digit one, which int() reads
DIGITS = [
    f"/v1/licenses/{ARABIC}",
    f"/v1/licenses/1.{ARABIC}",
    f"/v1/entitlements/{ARABIC}.1",
    f"/v1/models?as_of={ARABIC}",
    f"/v1/models?as_of=2026-11-2{ARABIC}",
    f"/v1/models?cursor={ARABIC}-{'ab' * 32}",
    f"/v1/events?cursor={ARABIC}-1-{'ab' * 32}",
    f"/v1/anchors?cursor={ARABIC}-{'ab' * 32}",
    f"/v1/batches?cursor=1-{ARABIC}",
    f"/v1/brokers?cursor={ARABIC}",
    f"/v1/find?q=2026-11-2{ARABIC}",
    f"/v1/evidence/models/0x{'ab' * 32}?as_of={ARABIC}",
    f"/v1/evidence/licenses/{ARABIC}",
]


@pytest.mark.parametrize("path", DIGITS)
def test_digits_of_other_scripts_are_no_digits(service, path):
    reply = service.client.get(path)
    assert reply.status_code == 422, reply.text
    # It is that digit and nothing else.
    assert service.client.get(path.replace(ARABIC, "1")).status_code != 422


def test_digits_of_other_scripts_are_none_in_bodies_either(service):
    for path, body in (
        ("/v1/entitlements", {"licenses": [f"{ARABIC}.1"]}),
        ("/v1/evidence/jobs", {"license": ARABIC}),
        ("/v1/evidence/jobs", {"model": "0x" + "ab" * 32, "as_of": ARABIC}),
    ):
        assert service.client.post(path, json=body).status_code == 422


def test_no_pattern_depends_on_whose_regular_expressions_read_it(service):
    text = service.client.get("/v1/openapi.json").text
    assert "\\\\d" not in text
    assert "\\\\w" not in text
    assert "\\\\s" not in text
