"""A JavaScript client without a line of ours reads the same, and proves it from a block hash."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from ledger.chain.licenses import PlanTerms
from ledger.chain.registry import InclusionProof
from ledger.claim import Claim
from ledger.ids import Digest

pytestmark = pytest.mark.chain

CLIENT = Path(__file__).with_name("independent_client.mjs")
DAY = 86_400
MEASUREMENT = bytes(range(20))


def digest(text: str) -> Digest:
    return Digest(hashlib.sha256(text.encode()).digest())


@pytest.fixture(scope="module")
def story(deployed):
    """A committed model, a plan, a license with one bound seat; and what the client says of it."""
    licensor, holder = deployed.sender("licensor"), deployed.sender("holder")
    claim = Claim(
        chain_id=31337,
        registry=deployed.registry.address,
        licensor=deployed.wallet("licensor").address,
        artifact_root=digest("artifact"),
        fingerprint_digest=digest("fingerprint"),
        watermark_commitment=digest("watermark"),
        manifest_hash=digest("manifest"),
        parents=(),
        salt=digest("salt"),
    )
    proof = InclusionProof.of_single(claim.commitment_leaf())
    deployed.anchors.anchor(licensor, proof.root)
    model_id, _ = deployed.registry.register(licensor, claim, proof)
    terms = PlanTerms(
        model_id, digest("terms"), duration=30 * DAY, grace=DAY, max_offline=2 * DAY, seats=3
    )
    plan, _ = deployed.licenses.create_plan(licensor, terms)
    license_id, _ = deployed.licenses.issue(licensor, plan, deployed.wallet("holder").address)
    key = digest("runtime")
    deployed.licenses.bind_runtime(holder, license_id, key, measurement=MEASUREMENT)
    end = deployed.licenses.license_of(license_id).not_after
    question = {
        "rpc": deployed.chain.rpc_url,
        "registry": str(deployed.registry.address),
        "ledger": str(deployed.licenses.address),
        "claim": {
            "licensor": str(claim.licensor),
            "artifactRoot": str(claim.artifact_root),
            "fingerprintDigest": str(claim.fingerprint_digest),
            "watermarkCommitment": str(claim.watermark_commitment),
            "manifestHash": str(claim.manifest_hash),
            "parents": [],
            "salt": str(claim.salt),
        },
        "licenseId": str(int(license_id)),
        "holder": str(deployed.wallet("holder").address),
        "runtimeKey": str(key),
        "at": end - DAY // 2,
    }
    done = subprocess.run(
        ["node", str(CLIENT)],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return claim, terms, end, license_id, json.loads(done.stdout)


def test_three_parties_compute_the_same_model_id(story):
    claim, _, _, _, answer = story
    assert answer["modelId"]["computed"] == str(claim.model_id())
    assert answer["modelId"]["read"] == str(claim.model_id())
    licensor, registered_at, committed_at, status, committed = answer["model"]
    assert licensor == str(claim.licensor)
    assert committed_at <= registered_at
    assert (status, committed) == (1, True)


def test_the_plan_reads_as_it_was_made_and_its_digest_recomputes(story):
    claim, terms, _, _, answer = story
    plan = answer["plan"]
    assert plan["terms"]["modelId"] == str(terms.model_id)
    assert plan["terms"]["duration"] == terms.duration
    assert plan["terms"]["transferable"] is False
    assert plan["state"]["licensor"] == str(claim.licensor)
    assert plan["state"]["issued"] == 1
    assert plan["digest"] == plan["state"]["planDigest"]


def test_check_answers_valid_with_grace_capped_at_the_end(story):
    _, _, end, license_id, answer = story
    assert answer["check"] == [0, end, end, license_id.plan]
    assert answer["checkWithRuntime"] == answer["check"]


def test_the_license_word_is_proven_from_a_block_hash(story):
    _, _, end, license_id, answer = story
    proof = answer["proof"]
    assert proof["holder"] == answer["owner"].lower()
    assert proof["notAfter"] == end
    assert proof["grace"] == DAY
    assert (proof["status"], proof["seatsUsed"]) == (1, 1)
    assert proof["flags"] == 8 | 16  # once bound, locked
    assert proof["tamperedRefused"] is True
    assert int(license_id) >> 32 == license_id.plan


def test_a_wallet_can_show_the_license(story):
    _, terms, end, license_id, answer = story
    shown = {row["trait_type"]: row["value"] for row in answer["metadata"]["attributes"]}
    assert answer["metadata"]["name"] == f"License {int(license_id)}"
    assert shown == {
        "plan": str(license_id.plan),
        "model": str(terms.model_id),
        "terms": str(terms.terms_hash),
        "status": "active",
        "not after": end,
        "kind": "license",
    }
