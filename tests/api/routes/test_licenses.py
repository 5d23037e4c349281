"""Licenses over HTTP: by number, holder, model and plan, with plan and seats."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.chain


def test_a_license_is_shown_with_its_plan_and_seats(service, published, deployed):
    answer = service.get(f"/v1/licenses/{published.license}")
    assert answer["license"]["holder"] == str(deployed.wallet("holder").address)
    assert (answer["license"]["status"], answer["license"]["suspended"]) == ("active", False)
    assert answer["license"]["token_id"] == str(int(published.license))
    assert (answer["plan"]["grace"], answer["plan"]["seats"], answer["seats"]) == (60, 2, [])
    by_number = service.get(f"/v1/licenses/{int(published.license)}")
    assert by_number["license"] == answer["license"]


@pytest.mark.parametrize("text", ["999.1", "1.4294967296", str(2**64)])
def test_a_license_that_does_not_exist_is_404_with_a_hint(service, text):
    reply = service.client.get(f"/v1/licenses/{text}")
    assert (reply.status_code, reply.json()["code"]) == (404, "UNKNOWN_RECORD")
    assert reply.json()["hint"]


@pytest.mark.parametrize("text", ["x", "-1", "1.", "1.2.3", "0x1"])
def test_what_is_no_license_number_is_422(service, text):
    assert service.client.get(f"/v1/licenses/{text}").status_code == 422


def test_licenses_are_listed_by_holder_model_and_plan(service, published, deployed):
    number = str(published.license)
    for query in (
        {"holder": str(deployed.wallet("holder").address)},
        {"holder": str(deployed.wallet("holder").address).lower()},
        {"model": str(published.model)},
        {"plan": published.plan},
    ):
        found = service.get("/v1/licenses", **query)["licenses"]
        assert number in [license_["license"] for license_ in found]
    stranger = str(deployed.wallet("stranger").address)
    assert service.get("/v1/licenses", holder=stranger)["licenses"] == []
