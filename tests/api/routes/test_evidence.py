"""An evidence bundle over HTTP is the one that verifies offline."""

from __future__ import annotations

import pytest

from ledger.evidence.verify import verify

pytestmark = pytest.mark.chain


def test_a_model_without_its_claim_has_no_bundle_here_and_the_answer_says_how(service, published):
    reply = service.client.get(f"/v1/evidence/models/{published.model}")
    assert (reply.status_code, reply.json()["code"]) == (404, "UNKNOWN_RECORD")
    assert "deed evidence collect" in reply.json()["hint"]


def test_with_claim_and_manifest_deposited_the_bundle_verifies(service, published, tmp_path):
    model = f"/v1/models/{published.model}"
    documents = {"manifest": published.manifest, "claim": published.claim.to_json()}
    assert service.client.post(f"{model}/documents", json=documents).is_success
    assert service.client.post(f"{model}/leaves", json=published.fingerprint.to_json()).is_success
    reply = service.client.get(f"/v1/evidence/models/{published.model}")
    assert reply.is_success, reply.text
    assert reply.headers["content-type"] == "application/zip"
    bundle = tmp_path / "b.evidence.zip"
    bundle.write_bytes(reply.content)
    report = verify(bundle)
    assert not [step for step in report.steps if step.result == "fail"]
