"""Models over HTTP: found by id, by licensor, by tensor, and with their whole story."""

from __future__ import annotations

import json

import pytest

from ledger.fingerprint.ids import TensorIds

pytestmark = pytest.mark.chain


def test_a_published_model_is_shown_with_all_that_hangs_on_it(service, published, deployed):
    answer = service.get(f"/v1/models/{published.model}")
    model = answer["model"]
    assert model["model_id"] == str(published.model)
    assert model["licensor"] == str(deployed.wallet("licensor").address)
    assert model["artifact_root"] == str(published.claim.artifact_root)
    assert (model["status"], model["committed"], model["sealing_epoch"]) == ("active", True, "1")
    assert [plan["plan_id"] for plan in answer["plans"]] == [published.plan]
    assert len(answer["titles"]) == len(answer["sealings"]) == 1
    as_of = answer["as_of"]
    assert as_of["finalized"] <= as_of["block"]
    assert 0 <= as_of["lag_s"] < 30
    assert as_of["hash"] == str(deployed.rpc.block(as_of["block"]).hash)


def test_the_timeline_tells_the_story_in_order_and_how_settled_it_is(service, published):
    entries = service.get(f"/v1/models/{published.model}/timeline")["entries"]
    assert [entry["kind"] for entry in entries] == [
        "committed",
        "registered",
        "sealing record lodged",
        "plan created",
        "license issued",
    ]
    places = [(entry["block"], entry["log_index"]) for entry in entries]
    assert places == sorted(places)
    assert all(entry["tx"].startswith("0x") and entry["time"] > 0 for entry in entries)
    assert {entry["finality"] for entry in entries} <= {"finalized", "safe", "included"}
    assert entries[-1]["license"] == str(published.license)


def test_a_revocation_appears_in_the_timeline_and_denies_the_license(
    service, deployed, make, tmp_path
):
    other = make.publish(deployed, tmp_path)
    deployed.licenses.revoke(deployed.sender("licensor"), other.license)
    service.caught_up(deployed.rpc)
    entries = service.get(f"/v1/models/{other.model}/timeline")["entries"]
    assert entries[-1]["kind"] == "license revoked"
    answer = service.get(f"/v1/entitlements/{other.license}")
    assert (answer["entitled"], answer["code"], answer["number"]) == (False, "REVOKED", 3)
    assert answer["remedy"]


def test_a_model_is_found_by_its_tensors_once_its_ids_are_deposited(
    service, deployed, make, tmp_path
):
    other = make.publish(deployed, tmp_path)
    service.caught_up(deployed.rpc)
    tensor = other.fingerprint.tensors[0]
    path = f"/v1/models/{other.model}/leaves"
    assert service.get("/v1/search", cid=str(tensor.cid))["matches"] == []
    assert service.client.get(path).status_code == 404
    reply = service.client.post(path, json=other.fingerprint.to_json())
    assert reply.status_code == 201, reply.text
    assert reply.json()["names_verified"] is True
    assert service.client.post(path, json=other.fingerprint.to_json()).status_code == 200
    for path_, query in (
        ("/v1/search", {"cid": str(tensor.cid)}),
        ("/v1/search/values", {"vid": str(tensor.vid)}),
    ):
        (match,) = service.get(path_, **query)["matches"]
        assert match["model"]["model_id"] == str(other.model)
        assert match["names"] == [tensor.name]
    assert service.get(path)["fingerprint"] == other.fingerprint.to_json()


def test_another_models_ids_and_altered_ones_are_refused(
    service, deployed, published, make, tmp_path
):
    other = make.publish(deployed, tmp_path)
    service.caught_up(deployed.rpc)
    path = f"/v1/models/{published.model}/leaves"
    document = other.fingerprint.to_json()
    reply = service.client.post(path, json=document)
    assert (reply.status_code, reply.json()["code"]) == (422, "CLAIM_MISMATCH")
    # The names are not under the content root, but they are under the registered digest.
    document = published.fingerprint.to_json()
    document["tensors"][0]["name"] = "another name"
    reply = service.client.post(path, json=document)
    assert (reply.status_code, reply.json()["code"]) == (422, "CLAIM_MISMATCH")
    for body in (b"", b"[", b"{}", b'{"a":1,"a":2}', b"[" * 5000, b"\xff"):
        reply = service.client.post(path, content=body)
        assert reply.status_code == 422, body
        assert reply.headers["content-type"] == "application/problem+json"


def test_manifest_and_claim_are_taken_when_they_are_the_registered_ones(service, published):
    path = f"/v1/models/{published.model}/documents"
    assert service.client.post(path, json={"manifest": {"title": "x"}}).status_code == 422
    given = {"manifest": published.manifest, "claim": published.claim.to_json()}
    reply = service.client.post(path, json=given)
    assert reply.json()["taken"] == ["claim", "manifest"], reply.text
    assert service.get(f"/v1/models/{published.model}")["model"]["title"] == "a small model"


def test_lists_are_paged_without_gap_or_repetition(service, deployed, make, tmp_path):
    for _ in range(2):
        make.publish(deployed, tmp_path)
    service.caught_up(deployed.rpc)
    for path, key, ident in (
        ("/v1/models", "models", "model_id"),
        ("/v1/licenses", "licenses", "license"),
        ("/v1/events", "events", None),
    ):
        whole = service.get(path, limit=500)[key]
        seen, cursor = [], None
        for _ in range(len(whole) + 2):
            params = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
            page = service.get(path, **params)
            seen += page[key]
            if not page[key] or page["next_cursor"] is None:
                break
            cursor = page["next_cursor"]
        names = ("block", "log_index") if ident is None else (ident,)
        places = [[row[name] for name in names] for row in seen]
        assert places == [[row[name] for name in names] for row in whole]
        assert len(whole) >= 3


def test_models_are_listed_by_licensor_and_content(service, published, deployed):
    licensor = str(deployed.wallet("licensor").address)
    ids = [m["model_id"] for m in service.get("/v1/models", licensor=licensor)["models"]]
    assert str(published.model) in ids
    root = str(published.claim.artifact_root)
    (only,) = service.get("/v1/models", artifact_root=root)["models"]
    assert only["model_id"] == str(published.model)
    stranger = str(deployed.wallet("stranger").address)
    assert service.get("/v1/models", licensor=stranger)["models"] == []


def test_an_earlier_block_is_answered_as_it_was(service, published):
    entries = service.get(f"/v1/models/{published.model}/timeline")["entries"]
    registered = next(e["block"] for e in entries if e["kind"] == "registered")
    then = service.get(f"/v1/models/{published.model}", as_of=registered)
    assert (then["model"]["sealing_epoch"], then["plans"]) == ("0", [])
    assert then["as_of"]["block"] == registered
    before = service.client.get(f"/v1/models/{published.model}", params={"as_of": registered - 1})
    assert before.status_code == 404
    assert service.client.get("/v1/models", params={"as_of": 10**9}).status_code == 404


def test_an_unchanged_answer_is_not_sent_again(service, published, deployed):
    path = f"/v1/models/{published.model}"
    service.until(lambda: service.client.get("/readyz").json()["finalized"] > 0)
    first = service.client.get(path)
    again = service.client.get(path, headers={"If-None-Match": first.headers["etag"]})
    if again.status_code == 200:  # a block came between the two
        again = service.client.get(path, headers={"If-None-Match": again.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    deployed.chain.mine(1)
    service.caught_up(deployed.rpc)
    stale = service.client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert stale.status_code == 200


def test_every_event_of_the_chain_is_in_the_journal_with_its_arguments(
    service, deployed, published
):
    subject = str(published.model)
    events = service.get("/v1/events", subject=subject)["events"]
    assert [e["event"] for e in events][:3] == ["ModelRegistered", "RecordLodged", "PlanCreated"]
    assert events[0]["arguments"]["modelId"] == subject
    assert all(json.dumps(e["arguments"]) for e in events)
    reply = service.client.get("/v1/events", params={"cursor": f"1-0-{'00' * 32}"})
    assert (reply.status_code, reply.json()["code"]) == (409, "REORGANISED")


def test_ids_without_names_make_a_model_findable_and_tell_no_name(
    service, deployed, make, tmp_path
):
    other = make.publish(deployed, tmp_path)
    service.caught_up(deployed.rpc)
    path = f"/v1/models/{other.model}/leaves"
    ids = TensorIds.of(other.fingerprint)

    reply = service.client.post(path, json=ids.to_json())

    assert reply.status_code == 201, reply.text
    assert service.client.post(path, json=ids.to_json()).json()["new"] is False
    answer = service.get(path)
    assert (answer["ids"], answer["fingerprint"]) == (ids.to_json(), None)
    matches = service.get("/v1/search", cid=str(ids.cids[0]))["matches"]
    found = [match for match in matches if match["model"]["model_id"] == str(other.model)]
    assert [match["names"] for match in found] == [[]]


def test_ids_of_another_model_are_refused(service, deployed, make, tmp_path, published):
    other = make.publish(deployed, tmp_path)
    service.caught_up(deployed.rpc)
    ids = TensorIds.of(other.fingerprint)

    reply = service.client.post(f"/v1/models/{published.model}/leaves", json=ids.to_json())

    assert reply.status_code == 422
    assert reply.json()["code"] == "CLAIM_MISMATCH"
