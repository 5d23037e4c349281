"""The search by many tensors over HTTP."""

from __future__ import annotations

import secrets

import pytest

from ledger.fingerprint.ids import TensorIds

pytestmark = pytest.mark.chain


def test_models_are_found_by_any_of_many_ids_and_casts_are_told_apart(
    service, deployed, make, tmp_path
):
    other = make.publish(deployed, tmp_path)
    service.caught_up(deployed.rpc)
    ids = TensorIds.of(other.fingerprint)
    reply = service.client.post(f"/v1/models/{other.model}/leaves", json=ids.to_json())
    assert reply.status_code == 201, reply.text
    unknown = "0x" + secrets.token_hex(32)
    asked = {
        "cid": [str(ids.cids[0]), unknown],
        "vid": [str(one) for one in ids.vids],
        "cast": [str(one) for one in (*ids.casts[:3], ids.cids[0])],
    }
    answer = service.client.post("/v1/search", json=asked).json()
    (match,) = [m for m in answer["models"] if m["model"]["model_id"] == str(other.model)]
    assert match["cid"] == [str(ids.cids[0])]
    assert match["vid"] == [str(one) for one in ids.vids]
    assert match["cast"] == [str(one) for one in ids.casts[:3]]
    # Its commitment's anchoring, in a block before that of the registration.
    where = match["place"]
    (story,) = service.get(f"/v1/models/{other.model}/timeline")["entries"][:1]
    assert (story["kind"], where["block"]) == ("committed", story["block"])
    block = deployed.rpc.call("eth_getBlockByNumber", [hex(where["block"]), False])
    assert block["transactions"][where["transaction"]] == story["tx"]
    assert answer["more"] is False
    assert answer["as_of"]["block"] > 0


def test_what_is_no_question_is_refused(service, published):
    one = "0x" + "11" * 32
    ask = service.client.post
    assert ask("/v1/search", json={}).json()["models"] == []
    assert ask("/v1/search", json={"cid": [one] * 1000}).status_code == 200
    many = ask("/v1/search", json={"cid": [one] * 900, "cast": [one] * 101})
    assert (many.status_code, many.json()["code"]) == (413, "LIMIT_EXCEEDED")
    for body in (b"[]", b"[" * 5000, b'{"cid": 1}', b'{"cid": ["0x11"]}', b'{"names": ["a"]}'):
        reply = ask("/v1/search", content=body, headers={"content-type": "application/json"})
        assert reply.status_code in {400, 422}, body
        assert reply.headers["content-type"] == "application/problem+json"
