"""Plans and licenses through a licensor's and a holder's life, on the real ledger."""

import time

import pytest

from ledger.chain import reverts
from ledger.chain.edge import web3_contract
from ledger.chain.finality import finalized_block
from ledger.chain.licenses import LicenseStatus, PlanTerms
from ledger.ids import Address, LicenseId

pytestmark = pytest.mark.chain


@pytest.mark.parametrize(("floating", "refund_window"), [(True, 0), (False, 6_006)])
def test_every_term_comes_back_as_it_was_given(
    deployed, licensor, model, fresh, floating, refund_window
):
    wanted = PlanTerms(
        model_id=model,
        terms_hash=fresh(),
        duration=12_345,
        grace=1_001,
        lease_ttl=2_002,
        max_offline=4_004,
        min_notice=5_005,
        refund_window=refund_window,
        reissue_delay=7_007,
        seats=8,
        supply=9,
        quota=10,
        features=11,
        broker_set=12,
        pay_token=Address(b"\xab" * 20),
        price=13 * 10**18,
        floating=floating,
        warn_only=True,
        transferable=True,
    )
    plan, _ = deployed.licenses.create_plan(licensor, wanted)
    terms, state = deployed.licenses.plan_of(plan)
    assert terms == wanted
    assert (state.licensor, state.issued, state.paused) == (licensor.address, 0, False)
    assert plan in deployed.licenses.plans_of_model(model)


def test_a_plan_on_someone_elses_model_is_refused_and_names_the_licensor(
    deployed, licensor, model, new_plan
):
    with pytest.raises(reverts.PlanNotTitleHolder) as caught:
        new_plan(deployed.sender("rival"), model)
    assert str(licensor.address) in caught.value.message


def test_an_unknown_plan_is_its_own_error(deployed):
    with pytest.raises(reverts.PlanUnknown, match="plan 4000"):
        deployed.licenses.plan_of(4_000)


def test_a_paused_plan_issues_nothing_until_it_is_resumed(
    deployed, licensor, holder, model, new_plan
):
    plan = new_plan(licensor, model)
    deployed.licenses.set_paused(licensor, plan, paused=True)
    with pytest.raises(reverts.PlanIsPaused):
        deployed.licenses.issue(licensor, plan, holder.address)
    deployed.licenses.set_paused(licensor, plan, paused=False)
    deployed.licenses.issue(licensor, plan, holder.address)


def test_a_role_lets_another_account_issue(deployed, licensor, holder, model, new_plan):
    plan, rival = new_plan(licensor, model), deployed.sender("rival")
    with pytest.raises(reverts.PlanNotAuthorized, match="ISSUER"):
        deployed.licenses.issue(rival, plan, holder.address)
    deployed.licenses.set_roles(licensor, plan, rival.address, 1)
    assert deployed.licenses.roles_of(plan, rival.address) == 1
    deployed.licenses.issue(rival, plan, holder.address)


@pytest.fixture
def license_id(deployed, licensor, holder, model, new_plan):
    plan = new_plan(licensor, model, seats=1)
    issued, _ = deployed.licenses.issue(licensor, plan, holder.address)
    return issued


def test_an_issued_license_grants_its_holder_and_nobody_else(deployed, holder, license_id):
    answer = deployed.licenses.check(license_id, holder.address)
    assert (answer.code, answer.granted, answer.plan) == (0, True, license_id.plan)
    assert deployed.licenses.check(license_id, Address(b"\7" * 20)).code == 5
    state = deployed.licenses.license_of(license_id)
    assert (state.holder, state.status) == (holder.address, LicenseStatus.ACTIVE)
    assert state.not_after == answer.not_after


def test_an_unknown_license_is_an_answer_and_no_exception(deployed):
    unknown = LicenseId.of(4_000, 1)
    assert deployed.licenses.check(unknown).code == 1
    assert deployed.licenses.license_of(unknown).status is LicenseStatus.NONE


def test_it_is_asked_at_a_finalized_block_by_number_tag_and_hash(deployed, licensor, license_id):
    deployed.chain.mine(3)
    final = finalized_block(deployed.rpc, deployed.profile)
    answers = {
        deployed.licenses.check(license_id, block=block).code
        for block in (final.number, "finalized", final.hash)
    }
    assert answers == {0}


def test_asking_for_the_past_is_refused(deployed, license_id):
    past = deployed.rpc.block("latest").timestamp - 1
    with pytest.raises(reverts.CheckInPast):
        deployed.licenses.check(license_id, at=past)


def test_now_can_always_be_asked_about(deployed, license_id):
    at = max(int(time.time()), deployed.rpc.block("latest").timestamp)
    assert deployed.licenses.check(license_id, at=at).granted


def test_it_ends_when_it_should(deployed, license_id):
    end = deployed.licenses.license_of(license_id).not_after
    assert deployed.licenses.check(license_id, at=end + 1).code == 4


def test_renewing_moves_the_end(deployed, licensor, license_id):
    end = deployed.licenses.license_of(license_id).not_after
    deployed.licenses.renew(licensor, license_id, end + 1_000)
    assert deployed.licenses.license_of(license_id).not_after == end + 1_000
    with pytest.raises(reverts.LicenseNotLater):
        deployed.licenses.renew(licensor, license_id, end)


def test_a_suspension_can_be_lifted(deployed, licensor, license_id):
    deployed.licenses.suspend(licensor, license_id)
    assert deployed.licenses.check(license_id).code == 2
    assert deployed.licenses.license_of(license_id).suspended_at > 0
    deployed.licenses.reinstate(licensor, license_id)
    assert deployed.licenses.check(license_id).granted


def test_a_revocation_is_final(deployed, licensor, license_id, fresh):
    deployed.licenses.revoke(licensor, license_id, reason=fresh())
    assert deployed.licenses.check(license_id).code == 3
    with pytest.raises(reverts.LicenseStatusForbids, match="revoked"):
        deployed.licenses.renew(licensor, license_id, 1 << 39)


def test_a_revocation_with_notice_grants_until_its_effect(
    deployed, licensor, holder, model, new_plan
):
    plan = new_plan(licensor, model, min_notice=1_000)
    issued, _ = deployed.licenses.issue(licensor, plan, holder.address)
    deployed.licenses.revoke(licensor, issued)
    answer = deployed.licenses.check(issued)
    assert (answer.code, answer.granted) == (10, True)
    assert deployed.licenses.check(issued, at=answer.not_after + 1).code == 3


def test_seats_are_bound_until_full_and_evicted(deployed, licensor, holder, license_id, fresh):
    one, two = fresh(), fresh()
    assert deployed.licenses.check(license_id, holder.address, one).code == 6
    deployed.licenses.bind_runtime(holder, license_id, one, measurement=b"\5" * 20)
    assert deployed.licenses.check(license_id, holder.address, one).granted
    assert deployed.licenses.seat_of(license_id, one).measurement == b"\5" * 20
    with pytest.raises(reverts.SeatsFull):
        deployed.licenses.bind_runtime(holder, license_id, two)
    deployed.licenses.evict_runtime(licensor, license_id, one)
    assert deployed.licenses.seat_of(license_id, one).bound_at == 0
    deployed.licenses.bind_runtime(holder, license_id, two)
    with pytest.raises(reverts.SeatHeldUntil):
        deployed.licenses.release_runtime(holder, license_id, two)


def test_cancelled_grants_raise_the_nonce(deployed, holder, license_id):
    before = deployed.licenses.grant_nonce_of(license_id)
    deployed.licenses.cancel_grants(holder, license_id)
    assert deployed.licenses.grant_nonce_of(license_id) == before + 1
    with pytest.raises(reverts.LicenseNotHolder):
        deployed.licenses.cancel_grants(deployed.sender("rival"), license_id)


def test_the_domain_is_the_contracts_own(deployed):
    domain = deployed.licenses.domain()
    _, name, version, chain, at, _, _ = (
        web3_contract(deployed.rpc, "LicenseLedger", deployed.licenses.address)
        .functions.eip712Domain()
        .call()
    )
    assert (domain.name, domain.version, domain.chain_id) == (name, version, chain)
    assert str(domain.verifying_contract) == at
