"""The index's decision is the contract's."""

from __future__ import annotations

import secrets

import pytest

from ledger.ids import ZERO_ADDRESS, ZERO_DIGEST, Digest

pytestmark = pytest.mark.chain


def both(service, deployed, license_, *, holder=None, runtime=None):
    """The service's answer, which must agree with the contract's at the same moment and block."""
    service.caught_up(deployed.rpc)
    params = {} if holder is None else {"holder": str(holder)}
    if runtime is not None:
        params["runtime"] = str(runtime)
    answer = service.get(f"/v1/entitlements/{license_}", **params)
    block = answer["as_of"]["block"]
    told = deployed.licenses.check(
        license_, holder or ZERO_ADDRESS, runtime or ZERO_DIGEST, answer["at"], block
    )
    assert answer["number"] == told.code
    if answer["entitled"]:
        assert (answer["not_after"], answer["grace_until"]) == (told.not_after, told.grace_until)
    return answer


def test_each_rule_gives_the_contracts_answer(service, deployed, published, make, tmp_path):
    other = make.publish(deployed, tmp_path)
    licensor, holder = deployed.sender("licensor"), deployed.sender("holder")
    me, stranger = deployed.wallet("holder").address, deployed.wallet("stranger").address
    key = Digest(secrets.token_bytes(32))
    assert both(service, deployed, other.license)["code"] == "VALID"
    assert both(service, deployed, other.license, holder=me)["entitled"]
    answer = both(service, deployed, other.license, holder=stranger)
    assert (answer["code"], answer["entitled"]) == ("WRONG_HOLDER", False)
    assert both(service, deployed, other.license, runtime=key)["code"] == "RUNTIME_NOT_BOUND"
    deployed.licenses.bind_runtime(holder, other.license, key)
    assert both(service, deployed, other.license, runtime=key)["entitled"]
    deployed.licenses.suspend(licensor, other.license)
    assert both(service, deployed, other.license)["code"] == "SUSPENDED"
    deployed.licenses.reinstate(licensor, other.license)
    assert both(service, deployed, other.license)["code"] == "VALID"
    now = deployed.rpc.block("latest").timestamp
    deployed.licenses.revoke(licensor, other.license, now + 900)
    assert both(service, deployed, other.license)["code"] == "REVOKING"
    deployed.licenses.suspend(licensor, other.license)
    assert both(service, deployed, other.license)["code"] == "SUSPENDED"
    later, _ = deployed.licenses.issue(licensor, other.plan, me, now + 1800)
    assert both(service, deployed, later)["code"] == "NOT_YET_VALID"


def test_an_unknown_license_is_a_no_and_not_an_error(service):
    answer = service.get("/v1/entitlements/999.1")
    assert (answer["entitled"], answer["code"], answer["number"]) == (False, "NOT_FOUND", 1)
    assert service.client.get("/v1/licenses/999.1").status_code == 404
    assert service.get(f"/v1/entitlements/{2**64 - 1}")["code"] == "NOT_FOUND"


def test_a_moment_before_the_block_is_refused_with_the_way_out(service, published):
    reply = service.client.get(f"/v1/entitlements/{published.license}", params={"at": 1})
    assert (reply.status_code, reply.json()["code"]) == (409, "CHECK_IN_PAST")
    assert "as_of=" in reply.json()["hint"]


def test_a_moment_after_the_end_is_answered(service, published):
    license_ = service.get(f"/v1/licenses/{published.license}")["license"]
    answer = service.get(f"/v1/entitlements/{published.license}", at=license_["not_after"])
    assert answer["code"] == "EXPIRED"
    assert (
        service.client.get(f"/v1/entitlements/{published.license}").headers["cache-control"]
        == "no-store"
    )


def test_an_end_beyond_the_calendar_is_shown_in_words(service, deployed, published):
    far = (1 << 40) - 2
    me = deployed.wallet("holder").address
    license_, _ = deployed.licenses.issue(deployed.sender("licensor"), published.plan, me, 0, far)
    service.caught_up(deployed.rpc)
    assert "9999" in service.get(f"/v1/entitlements/{license_}")["text"]
    entries = service.get(f"/v1/models/{published.model}/timeline")["entries"]
    assert any("9999" in entry["text"] for entry in entries)
