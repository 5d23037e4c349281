"""The title of a model, from claim to transfer, on the real registry."""

import os

import pytest

from ledger.chain import reverts
from ledger.chain.registry import InclusionProof, ModelStatus
from ledger.claim import Claim
from ledger.errors import ClaimMismatch
from ledger.ids import ZERO_ADDRESS, Digest, ModelId

pytestmark = pytest.mark.chain


def test_the_contract_computes_the_id_that_the_claim_computes(deployed, model, new_claim):
    for parents in ((), (model,), tuple(sorted((ModelId(os.urandom(32)), model)))):
        claim = new_claim(parents)
        assert deployed.registry.model_id_of(claim) == claim.model_id()


def test_a_claim_anchored_before_is_registered_as_committed(deployed, licensor, fresh, new_claim):
    claim, others = new_claim(), [fresh() for _ in range(4)]
    leaves = [*others[:2], claim.commitment_leaf(), *others[2:]]
    proof = InclusionProof.of(leaves, 2)
    anchored = deployed.anchors.anchor(licensor, proof.root)
    model_id, receipt = deployed.registry.register(licensor, claim, proof)
    record = deployed.registry.model_of(model_id)
    assert model_id == claim.model_id()
    assert record.licensor == licensor.address
    assert record.status is ModelStatus.ACTIVE
    assert record.committed
    assert record.committed_at == deployed.rpc.block(anchored.block_number).timestamp
    assert record.registered_at == deployed.rpc.block(receipt.block_number).timestamp


def test_a_claim_without_commitment_says_so(deployed, model):
    record = deployed.registry.model_of(model)
    assert not record.committed
    assert record.committed_at == record.registered_at


def test_an_unknown_model_has_no_licensor(deployed):
    unknown = ModelId(os.urandom(32))
    assert deployed.registry.licensor_of(unknown) is None
    record = deployed.registry.model_of(unknown)
    assert (record.licensor, record.status) == (ZERO_ADDRESS, ModelStatus.NONE)


def test_a_claim_for_another_registry_is_refused_before_anything_is_sent(deployed, new_claim):
    claim = new_claim()
    elsewhere = Claim.from_json(claim.to_json() | {"registry": "0x" + "12" * 20})
    with pytest.raises(ClaimMismatch):
        deployed.registry.register(deployed.sender("licensor"), elsewhere, None)


def test_registering_someone_elses_claim_is_refused(deployed, new_claim):
    with pytest.raises(reverts.ModelClaimNotSigned):
        deployed.registry.register(deployed.sender("rival"), new_claim(), None)


def test_registering_twice_is_refused(deployed, licensor, new_claim):
    claim = new_claim()
    deployed.registry.register(licensor, claim, None)
    with pytest.raises(reverts.ModelExists):
        deployed.registry.register(licensor, claim, None)


def test_sealings_rise_and_the_newest_counts(deployed, licensor, model, fresh):
    assert deployed.registry.sealing_of(model) == (0, Digest(bytes(32)))
    first, second = fresh(), fresh()
    deployed.registry.lodge_sealing(licensor, model, 1, first)
    deployed.registry.lodge_sealing(licensor, model, 2, second)
    assert deployed.registry.sealing_of(model) == (2, second)
    assert deployed.registry.sealing_at(model, 1) == first
    with pytest.raises(reverts.ModelSealingEpochNotRising):
        deployed.registry.lodge_sealing(licensor, model, 2, fresh())
    with pytest.raises(reverts.ModelNotLicensor):
        deployed.registry.lodge_sealing(deployed.sender("rival"), model, 3, fresh())


def test_a_title_moves_when_offered_and_accepted(deployed, licensor, new_claim):
    rival = deployed.sender("rival")
    model_id, _ = deployed.registry.register(licensor, new_claim(), None)
    with pytest.raises(reverts.ModelNotPendingLicensor):
        deployed.registry.accept_transfer(rival, model_id)
    deployed.registry.propose_transfer(licensor, model_id, rival.address)
    assert deployed.registry.pending_licensor_of(model_id) == rival.address
    deployed.registry.accept_transfer(rival, model_id)
    assert deployed.registry.licensor_of(model_id) == rival.address
    assert deployed.registry.title_sequence_of(model_id) == 1
    assert deployed.registry.pending_licensor_of(model_id) is None


def test_a_withdrawn_model_sells_no_more_licenses(deployed, licensor, holder, new_claim, new_plan):
    model_id, _ = deployed.registry.register(licensor, new_claim(), None)
    plan = new_plan(licensor, model_id)
    deployed.registry.set_status(licensor, model_id, ModelStatus.WITHDRAWN)
    assert str(deployed.registry.model_of(model_id).status) == "withdrawn"
    with pytest.raises(reverts.PlanModelNotIssuable, match="withdrawn"):
        deployed.licenses.issue(licensor, plan, holder.address)
