"""Events over HTTP while the chain changes under the reader."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.chain


def test_what_a_reorganisation_takes_back_is_gone_from_answers_and_kept_as_retracted(
    service, deployed, make, tmp_path
):
    with deployed.chain.hold_finality():
        before = deployed.rpc.block("latest").number
        other = make.publish(deployed, tmp_path)
        service.caught_up(deployed.rpc)
        model = f"/v1/models/{other.model}"
        tensor = str(other.fingerprint.tensors[0].cid)
        assert service.client.post(f"{model}/leaves", json=other.fingerprint.to_json()).is_success
        assert len(service.get("/v1/search", cid=tensor)["matches"]) == 1
        page = service.get("/v1/events", subject=str(other.model), limit=2)
        tag = service.client.get("/v1/models").headers["etag"]

        depth = deployed.rpc.block("latest").number - before
        deployed.rpc.call("anvil_reorg", [depth, []])
        deployed.rpc.call("evm_mine", [])
        service.until(lambda: service.client.get(model).status_code == 404)

        assert service.get("/v1/search", cid=tensor)["matches"] == []
        assert service.client.get("/v1/models", headers={"If-None-Match": tag}).status_code == 200
        cursor = {"subject": str(other.model), "cursor": page["next_cursor"]}
        reply = service.client.get("/v1/events", params=cursor)
        assert (reply.status_code, reply.json()["code"]) == (409, "REORGANISED")
        assert reply.json()["hint"]
        answer = service.get(f"/v1/entitlements/{other.license}")
        assert (answer["entitled"], answer["code"]) == (False, "NOT_FOUND")

        gone = service.get("/v1/retractions", limit=1000)
        taken = [e for e in gone["events"] if str(other.model) in e["arguments"].values()]
        assert [e["event"] for e in taken] == ["ModelRegistered", "RecordLodged", "PlanCreated"]
        assert all(e["finality"] == "retracted" and e["ancestor"] == before for e in taken)
        rest = service.get("/v1/retractions", cursor=gone["next_cursor"])
        assert (rest["events"], rest["next_cursor"]) == ([], gone["next_cursor"])
        assert service.get("/readyz")["reorgs"] == 1


def test_events_are_filtered_by_contract_name_and_block(service, published):
    plans = service.get("/v1/events", contract="LicenseLedger", event="PlanCreated")["events"]
    assert {e["event"] for e in plans} == {"PlanCreated"}
    later = service.get("/v1/events", from_block=plans[0]["block"] + 1)["events"]
    assert all(e["block"] > plans[0]["block"] for e in later)
    assert service.client.get("/v1/events", params={"contract": "Other"}).status_code == 422
