"""Alive, ready, counted."""

from __future__ import annotations

import pytest

from ledger import __version__

pytestmark = pytest.mark.chain


def test_the_process_says_that_it_is_alive_and_which_release_it_is(service):
    assert service.get("/healthz") == {"status": "ok", "version": __version__}


def test_readiness_says_where_the_index_stands(service, deployed):
    answer = service.get("/readyz")
    assert (answer["ready"], answer["state"], answer["reason"]) == (True, "synced", "")
    assert answer["block"] == answer["head"] == deployed.rpc.block("latest").number
    assert answer["finalized"] <= answer["block"]
    assert (answer["chain_id"], answer["broker"], answer["lag_blocks"]) == (31337, "off", 0)


def test_metrics_count_requests_by_route_and_never_by_path(service, published):
    service.get(f"/v1/models/{published.model}")
    line = 'deed_api_requests_total{route="/v1/models/{id}",status="200"}'
    # A request is counted once it is over, which is a moment after its answer.
    service.until(lambda: line in service.client.get("/metrics").text)
    text = service.client.get("/metrics").text
    assert "deed_index_ready 1.0" in text
    assert str(published.model) not in text


def test_whom_a_proxy_on_this_machine_speaks_for_is_not_on_this_machine(service):
    reply = service.client.get("/metrics", headers={"x-forwarded-for": "203.0.113.9"})
    assert (reply.status_code, reply.json()["code"]) == (403, "ACCESS_ERROR")
