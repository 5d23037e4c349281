"""Licenses that move, are shared, recovered and metered, on the real ledger."""

import pytest

from ledger.chain import reverts
from ledger.chain.licenses import LicenseStatus, Role
from ledger.ids import Address
from ledger.licensing.binding import RuntimeBinding

pytestmark = pytest.mark.chain

DAY = 86_400


@pytest.fixture
def issue(deployed, licensor, holder, model, new_plan):
    """Issue a license to the holder under a plan of its own."""

    def make(**terms):
        plan = new_plan(licensor, model, **({"transferable": True, "seats": 4} | terms))
        return deployed.licenses.issue(licensor, plan, holder.address)[0]

    return make


def test_a_license_moves_to_another_and_its_grants_are_void(deployed, holder, issue):
    license_id, rival = issue(), deployed.sender("rival")
    before = deployed.licenses.grant_nonce_of(license_id)
    with pytest.raises(reverts.SolidityError):
        deployed.licenses.transfer(rival, license_id, rival.address)
    deployed.licenses.transfer(holder, license_id, rival.address)
    assert deployed.licenses.license_of(license_id).holder == rival.address
    assert deployed.licenses.grant_nonce_of(license_id) > before
    with pytest.raises(reverts.LicenseUntransferable):
        deployed.licenses.transfer(holder, issue(transferable=False), rival.address)


def test_a_surrendered_license_ends_at_once(deployed, holder, issue):
    license_id = issue()
    with pytest.raises(reverts.LicenseNotHolder):
        deployed.licenses.surrender(deployed.sender("rival"), license_id)
    deployed.licenses.surrender(holder, license_id)
    assert deployed.licenses.license_of(license_id).status is LicenseStatus.REVOKED


def test_an_approved_account_may_surrender(deployed, holder, issue):
    license_id, rival = issue(), deployed.sender("rival")
    deployed.licenses.approve(holder, license_id, rival.address)
    assert deployed.licenses.approved_of(license_id) == rival.address
    deployed.licenses.surrender(rival, license_id)


def test_seats_are_sublicensed_and_taken_back(deployed, holder, issue):
    parent, rival = issue(), deployed.sender("rival")
    child, _ = deployed.licenses.sublicense(holder, parent, rival.address, 3)
    link = deployed.licenses.parent_of(child)
    assert (link.parent, link.seats, link.depth) == (parent, 3, 1)
    assert deployed.licenses.parent_of(parent) is None
    assert deployed.licenses.license_of(parent).seats_used == 3
    assert deployed.licenses.ever_bound(parent)
    with pytest.raises(reverts.SeatsFull):
        deployed.licenses.sublicense(holder, parent, rival.address, 2)
    with pytest.raises(reverts.LicenseNotEnded):
        deployed.licenses.reclaim_seats(holder, child)
    deployed.licenses.surrender(rival, child)
    deployed.chain.advance_time(3_601)
    deployed.licenses.reclaim_seats(holder, child)
    assert deployed.licenses.license_of(parent).seats_used == 0


def test_a_lost_wallets_license_is_reissued_after_the_delay(deployed, licensor, issue):
    license_id, new = issue(), Address(b"\x77" * 20)
    assert deployed.licenses.reissue_of(license_id) is None
    with pytest.raises(reverts.ReissueNone):
        deployed.licenses.finish_reissue(licensor, license_id)
    started, _ = deployed.licenses.start_reissue(licensor, license_id, new)
    assert deployed.licenses.reissue_of(license_id) == started
    with pytest.raises(reverts.ReissuePending):
        deployed.licenses.finish_reissue(licensor, license_id)
    deployed.chain.advance_time(3 * DAY + 1)
    deployed.licenses.renew(licensor, license_id, 1 << 39)
    deployed.licenses.finish_reissue(licensor, license_id)
    assert deployed.licenses.license_of(license_id).holder == new


def test_the_holder_stops_a_reissue(deployed, licensor, holder, issue):
    license_id = issue()
    deployed.licenses.start_reissue(licensor, license_id, Address(b"\x77" * 20))
    with pytest.raises(reverts.PlanNotAuthorized):
        deployed.licenses.veto_reissue(deployed.sender("rival"), license_id)
    deployed.licenses.veto_reissue(holder, license_id)
    assert deployed.licenses.reissue_of(license_id) is None


def test_usage_rises_and_the_quota_ends_the_license(deployed, licensor, issue, fresh):
    license_id, meter, root = issue(quota=100), deployed.sender("auditor"), fresh()
    with pytest.raises(reverts.PlanNotAuthorized, match="METER"):
        deployed.licenses.anchor_usage(meter, license_id, 40, root)
    deployed.licenses.set_roles(licensor, license_id.plan, meter.address, Role.METER)
    deployed.licenses.anchor_usage(meter, license_id, 40, root)
    usage = deployed.licenses.usage_of(license_id)
    assert (usage.cumulative, usage.receipts_root) == (40, root)
    assert usage.anchored_at > 0
    with pytest.raises(reverts.UsageNotRising):
        deployed.licenses.anchor_usage(meter, license_id, 40, root)
    deployed.licenses.anchor_usage(meter, license_id, 100, root)
    assert deployed.licenses.check(license_id).code == 11
    with pytest.raises(reverts.UsageNotMetered):
        deployed.licenses.anchor_usage(licensor, issue(), 1, root)


def test_a_signed_binding_is_sent_by_anyone_once(deployed, holder, issue, fresh):
    license_id, key, stranger = issue(), fresh(), deployed.sender("stranger")
    deadline = deployed.rpc.block("latest").timestamp + 600
    asked = deployed.licenses.binding(
        license_id, key, nonce=99, deadline=deadline, measurement=b"\6" * 20
    )
    place = {"chain_id": 31337, "ledger": deployed.licenses.address}
    with pytest.raises(reverts.BindingNotSigned):
        deployed.licenses.bind_runtime_by_sig(
            stranger, asked, asked.sign(deployed.wallet("rival"), **place)
        )
    signature = asked.sign(deployed.wallet("holder"), **place)
    deployed.licenses.bind_runtime_by_sig(stranger, asked, signature)
    assert deployed.licenses.seat_of(license_id, key).measurement == b"\6" * 20
    with pytest.raises(reverts.NonceSpent):
        deployed.licenses.bind_runtime_by_sig(stranger, asked, signature)
    late = RuntimeBinding(license_id, fresh(), 0, 100, deadline=1)
    with pytest.raises(reverts.BindingExpired):
        deployed.licenses.bind_runtime_by_sig(
            stranger, late, late.sign(deployed.wallet("holder"), **place)
        )


def test_cancelling_grants_voids_a_signed_binding(deployed, holder, issue, fresh):
    license_id = issue()
    deadline = deployed.rpc.block("latest").timestamp + 600
    asked = deployed.licenses.binding(license_id, fresh(), nonce=101, deadline=deadline)
    signature = asked.sign(
        deployed.wallet("holder"), chain_id=31337, ledger=deployed.licenses.address
    )
    deployed.licenses.cancel_grants(holder, license_id)
    with pytest.raises(reverts.BindingNotSigned):
        deployed.licenses.bind_runtime_by_sig(deployed.sender("stranger"), asked, signature)


def test_a_resale_royalty_is_told_to_marketplaces(deployed, licensor, issue):
    license_id = issue()
    assert deployed.licenses.royalty_info(license_id, 10_000) == (licensor.address, 0)
    deployed.licenses.set_resale_royalty(licensor, license_id.plan, 250)
    assert deployed.licenses.royalty_info(license_id, 10_000) == (licensor.address, 250)
    with pytest.raises(reverts.PlanRoyaltyTooHigh):
        deployed.licenses.set_resale_royalty(licensor, license_id.plan, 1_001)


def test_a_sold_titles_plan_follows_it_and_loses_its_roles(deployed, licensor, new_claim, new_plan):
    model_id, _ = deployed.registry.register(licensor, new_claim(), None)
    plan, buyer = new_plan(licensor, model_id), deployed.sender("buyer")
    deployed.licenses.set_roles(licensor, plan, deployed.wallet("rival").address, Role.ISSUER)
    with pytest.raises(reverts.PlanInSync):
        deployed.licenses.sync_licensor(buyer, plan)
    deployed.registry.propose_transfer(licensor, model_id, buyer.address)
    deployed.registry.accept_transfer(buyer, model_id)
    with pytest.raises(reverts.PlanTitleMoved):
        deployed.licenses.issue(licensor, plan, buyer.address)
    deployed.licenses.sync_licensor(deployed.sender("stranger"), plan)
    assert deployed.licenses.plan_of(plan)[1].licensor == buyer.address
    assert deployed.licenses.roles_of(plan, deployed.wallet("rival").address) == Role(0)
    deployed.licenses.issue(buyer, plan, buyer.address)
