"""The title of a model, from claim to transfer, on the real registry."""

import os
from dataclasses import replace

import pytest

from ledger.chain import reverts
from ledger.chain.registry import InclusionProof, ModelStatus, sign_registration
from ledger.claim import Claim
from ledger.errors import ClaimMismatch
from ledger.ids import ZERO_ADDRESS, Address, Digest, ModelId

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


def test_several_claims_are_registered_at_once_or_none(deployed, licensor, new_claim, fresh):
    claims = [new_claim() for _ in range(3)]
    leaves = [claim.commitment_leaf() for claim in claims]
    deployed.anchors.anchor(licensor, InclusionProof.of(leaves, 0).root)
    proofs = [InclusionProof.of(leaves, 0), None, InclusionProof.of(leaves, 2)]
    ids, _ = deployed.registry.register_batch(licensor, claims, proofs)
    assert ids == tuple(claim.model_id() for claim in claims)
    assert [deployed.registry.model_of(i).committed for i in ids] == [True, False, True]
    again = [new_claim(), claims[0]]
    with pytest.raises(reverts.ModelExists):
        deployed.registry.register_batch(licensor, again, [None, None])
    assert deployed.registry.licensor_of(again[0].model_id()) is None
    with pytest.raises(reverts.ModelBatchLengths):
        deployed.registry.register_batch(licensor, [new_claim()], [])


def test_a_signed_registration_is_sent_by_anyone(deployed, new_claim):
    claim, stranger = new_claim(), deployed.sender("stranger")
    deadline = deployed.rpc.block("latest").timestamp + 600
    forged = sign_registration(deployed.wallet("rival"), claim, deadline=deadline)
    with pytest.raises(reverts.ModelClaimNotSigned):
        deployed.registry.register_by_sig(
            stranger, claim, None, deadline=deadline, signature=forged
        )
    signature = sign_registration(deployed.wallet("licensor"), claim, deadline=deadline)
    model_id, _ = deployed.registry.register_by_sig(
        stranger, claim, None, deadline=deadline, signature=signature
    )
    assert deployed.registry.licensor_of(model_id) == claim.licensor


def test_an_earlier_commitment_is_proven_later_by_anyone(deployed, licensor, new_claim):
    claim, stranger = new_claim(), deployed.sender("stranger")
    proof = InclusionProof.of_single(claim.commitment_leaf())
    deployed.anchors.anchor(licensor, proof.root)
    deployed.chain.advance_time(1)
    model_id, _ = deployed.registry.register(licensor, claim, None)
    committed_at, _ = deployed.registry.prove_earlier(stranger, model_id, proof)
    record = deployed.registry.model_of(model_id)
    assert (record.committed, record.committed_at) == (True, committed_at)
    with pytest.raises(reverts.ModelCommitmentNotLower):
        deployed.registry.prove_earlier(stranger, model_id, proof)


def test_a_parent_is_confirmed_by_its_licensor_only(deployed, licensor, new_claim, model):
    claim = new_claim((model,))
    child, _ = deployed.registry.register(licensor, claim, None)
    assert deployed.registry.parent_confirmed_by(child, model) is None
    with pytest.raises(reverts.ModelNotLicensor):
        deployed.registry.confirm_parent(deployed.sender("rival"), claim, model)
    with pytest.raises(ClaimMismatch):
        deployed.registry.confirm_parent(licensor, replace(claim, chain_id=1), model)
    deployed.registry.confirm_parent(licensor, claim, model)
    assert deployed.registry.parent_confirmed_by(child, model) == licensor.address
    orphan = new_claim()
    deployed.registry.register(licensor, orphan, None)
    with pytest.raises(reverts.ModelParentNotDeclared):
        deployed.registry.confirm_parent(licensor, orphan, model)


def test_a_guardian_recovers_a_title_unless_the_licensor_objects(deployed, licensor, new_claim):
    model_id, _ = deployed.registry.register(licensor, new_claim(), None)
    guardian, new = deployed.sender("auditor"), Address(os.urandom(20))
    week = 7 * 86_400
    assert deployed.registry.guardian_of(model_id) is None
    with pytest.raises(reverts.ModelGuardianDelayTooShort):
        deployed.registry.set_guardian(licensor, model_id, guardian.address, week - 1)
    deployed.registry.set_guardian(licensor, model_id, guardian.address, week)
    found = deployed.registry.guardian_of(model_id)
    assert (found.account, found.delay) == (guardian.address, week)
    with pytest.raises(reverts.ModelNotGuardian):
        deployed.registry.start_recovery(licensor, model_id, new)
    deployed.registry.start_recovery(guardian, model_id, new)
    deployed.registry.veto_recovery(licensor, model_id)
    assert deployed.registry.recovery_of(model_id) is None
    started, _ = deployed.registry.start_recovery(guardian, model_id, new)
    assert deployed.registry.recovery_of(model_id) == started
    with pytest.raises(reverts.ModelRecoveryPending):
        deployed.registry.finish_recovery(guardian, model_id)
    deployed.chain.advance_time(week + 1)
    deployed.registry.finish_recovery(guardian, model_id)
    assert deployed.registry.licensor_of(model_id) == new
