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


@pytest.mark.parametrize("text", ["1", "0.1"])
def test_a_short_number_is_told_that_it_was_read_as_a_token_id(service, text):
    told = service.client.get(f"/v1/licenses/{text}").json()
    assert (told["status"], told["detail"][:23]) == (404, "there is no license 0.1")
    assert "PLAN.SERIAL" in told["hint"]
    assert "plans count from 1" in told["hint"]


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


def test_a_question_written_in_an_uncommon_way_has_the_common_ones_answer(
    service, published, deployed
):
    """Plain questions pass no framework; it answers the others, and refuses what is none."""
    holder = str(deployed.wallet("holder").address)
    for path, plain, other in (
        ("/v1/licenses", f"holder={holder}", f"holder=%30{holder[1:]}"),
        ("/v1/licenses", f"plan={published.plan}&limit=50", f"limit=%350&plan={published.plan}"),
        ("/v1/licenses", f"model={published.model}", f"model={published.model}&as_of=latest"),
        ("/v1/models", "limit=1", "limit=1&min_finality=latest"),
    ):
        first, second = (service.client.get(f"{path}?{query}") for query in (plain, other))
        assert first.status_code == second.status_code == 200, second.text
        members = [{**each.json(), "as_of": None} for each in (first, second)]
        assert members[0] == members[1]
        assert {name for name, _ in first.headers.items()} == set(second.headers)
    for query in (
        "limit=0", "limit=501", "limit=", "limit=-1", "limit=1e1", "limit=9999999999",
        f"plan={1 << 32}", "plan=x", "holder=0x1", "holder=", "model=0xAB", "cursor=-1",
        "cursor=1.1", "unknown=1", f"holder={holder}&holder={holder}", f"Holder={holder}",
    ):  # fmt: skip
        reply = service.client.get(f"/v1/licenses?{query}")
        assert (reply.status_code, reply.headers["content-type"]) == (
            422,
            "application/problem+json",
        ), query
    assert service.client.get("/v1/models?cursor=1-ab").status_code == 422
