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
            continue  # thirty of one make: tests/api/test_transactions.py, with a credential

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
            assert path == "/healthz" or path == "/readyz" or "application/problem+json" in problem


def test_a_digit_is_one_of_ten_also_where_readers_know_more(service):
    """A description is read by ECMA 262, where ``\\d`` is 0 to 9; our validator knows more."""
    text = service.client.get("/v1/openapi.json").text
    assert "\\\\d" not in text
    for path in ("licenses/١.١", "models?cursor=١-" + "a" * 64, "plans?cursor=١", "models?as_of=١"):
        assert service.client.get(f"/v1/{path}").status_code in {404, 422}, path
    assert service.client.get("/v1/plans", params={"cursor": "١"}).status_code == 422


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
