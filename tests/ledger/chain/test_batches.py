"""Batches and vouchers on the real ledger, and our hashes against the contract's."""

import os
from dataclasses import replace

import pytest

from ledger.chain import reverts
from ledger.chain.licenses import LicenseLedger, LicenseStatus, Role
from ledger.chain.rpc import Rpc
from ledger.errors import SignatureInvalid
from ledger.ids import ZERO_ADDRESS, Address
from ledger.licensing import batch, voucher
from ledger.licensing.batch import BatchRow
from ledger.licensing.reference import reference_hash
from ledger.licensing.voucher import Voucher

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def make_batch(deployed):
    def make(plan, rows):
        salts = (os.urandom(32) for _ in rows)
        at = deployed.licenses.address
        return batch.build(rows, salts, chain_id=31337, ledger=at, plan=plan)

    return make


@pytest.fixture
def plan(licensor, model, new_plan):
    return new_plan(licensor, model)


@pytest.fixture
def anchored(deployed, licensor, plan, make_batch):
    """A batch of 300 licenses, so that its bitmaps have two words."""
    holder = deployed.wallet("holder").address
    rows = [BatchRow(holder, ext_hash=reference_hash(f"order {i}")) for i in range(300)]
    made = make_batch(plan, rows)
    first, _ = deployed.licenses.anchor_batch(licensor, plan, made.root, len(rows))
    return made, first


def test_a_leaf_has_the_hash_that_the_contract_computes(deployed, make_batch, plan):
    row = BatchRow(Address(b"\xa7" * 20), 1, (1 << 40) - 1, reference_hash("invoice 7"))
    made = make_batch(plan, [BatchRow(Address(bytes(19) + b"\1")), row])
    for leaf, hashed in zip(made.leaves, made.hashes, strict=True):
        assert deployed.licenses.batch_leaf_hash(plan, leaf).raw == hashed


def test_every_license_of_a_batch_is_claimed_once_by_anyone(deployed, anchored, plan):
    made, first = anchored
    stranger, at = deployed.sender("stranger"), deployed.wallet("holder").address
    for index in (0, 255, 256, 299):
        claim = made.claim(index)
        before = deployed.licenses.check_batch_leaf(claim, at)
        assert (before.code, before.license.serial) == (0, first.serial + index)
        claimed, _ = deployed.licenses.claim(stranger, claim)
        assert claimed == before.license
        state = deployed.licenses.license_of(claimed)
        assert (state.holder, state.status) == (at, LicenseStatus.ACTIVE)
        with pytest.raises(reverts.BatchLeafClaimed):
            deployed.licenses.claim(stranger, claim)
    assert deployed.licenses.batch_bits(plan, made.root, 0) == (1 | 1 << 255, 0)
    assert deployed.licenses.batch_bits(plan, made.root, 1) == (1 | 1 << 43, 0)
    record = deployed.licenses.batch_of(plan, made.root)
    assert (record.count, record.first_serial, record.by_role) == (300, first.serial, False)


def test_a_leaf_that_is_not_the_batchs_is_neither_claimed_nor_found(deployed, anchored):
    made, _ = anchored
    good = made.claim(3)
    for forged in (
        replace(good, leaf=replace(good.leaf, to=deployed.wallet("rival").address)),
        replace(good, leaf=replace(good.leaf, index=4)),
        replace(good, path=good.path[:-1]),
    ):
        assert deployed.licenses.check_batch_leaf(forged).code == 1
        with pytest.raises(reverts.BatchProofInvalid):
            deployed.licenses.claim(deployed.sender("rival"), forged)


def test_a_root_is_anchored_once_per_plan_and_an_unknown_one_is_none(
    deployed, licensor, anchored, plan, fresh
):
    made, _ = anchored
    with pytest.raises(reverts.BatchExists):
        deployed.licenses.anchor_batch(licensor, plan, made.root, 300)
    assert deployed.licenses.batch_of(plan, fresh()) is None
    with pytest.raises(reverts.PlanNotAuthorized):
        deployed.licenses.anchor_batch(deployed.sender("rival"), plan, fresh(), 1)


def test_unclaimed_licenses_are_revoked_for_good(deployed, licensor, anchored, plan):
    made, _ = anchored
    deployed.licenses.revoke_in_batch(licensor, plan, made.root, word=1, mask=0b11)
    assert deployed.licenses.batch_bits(plan, made.root, 1) == (0, 0b11)
    assert deployed.licenses.check_batch_leaf(made.claim(257)).code == 3
    with pytest.raises(reverts.BatchLeafRevoked):
        deployed.licenses.claim(licensor, made.claim(257))
    with pytest.raises(reverts.BatchIndexBeyond):
        deployed.licenses.revoke_in_batch(licensor, plan, made.root, word=1, mask=1 << 200)


def test_a_closed_batch_ends_for_all_who_did_not_claim(deployed, licensor, anchored, plan):
    made, _ = anchored
    deployed.chain.advance_time(2)
    closes_at, _ = deployed.licenses.close_batch(licensor, plan, made.root)
    assert deployed.licenses.batch_of(plan, made.root).closes_at == closes_at
    deployed.chain.advance_time(2)
    answer = deployed.licenses.check_batch_leaf(made.claim(9))
    assert (answer.code, answer.not_after) == (3, closes_at)
    with pytest.raises(reverts.BatchLeafRevoked):
        deployed.licenses.claim(licensor, made.claim(9))
    with pytest.raises(reverts.BatchIsClosed):
        deployed.licenses.close_batch(licensor, plan, made.root)


class MovesOn(Rpc):
    """A chain that has a later block as soon as one of its blocks is read."""

    def __init__(self, deployed) -> None:
        super().__init__(deployed.chain.rpc_url)
        self._chain = deployed.chain

    def block(self, block="latest"):
        found = super().block(block)
        self._chain.advance_time(1)
        return found


def test_what_is_asked_now_has_its_answer_though_the_chain_goes_on_meanwhile(deployed, anchored):
    made, _ = anchored
    with MovesOn(deployed) as rpc:
        moving = LicenseLedger(rpc, deployed.licenses.address)
        before = moving.check_batch_leaf(made.claim(7))
        license_id, _ = deployed.licenses.claim(deployed.sender("stranger"), made.claim(7))
        after = moving.check(license_id)
    assert (before.code, before.license, after.code) == (0, license_id, 0)


def test_many_licenses_are_issued_at_once_or_none(deployed, licensor, plan):
    accounts = [Address(bytes([i]) * 20) for i in range(1, 6)]
    ids, _ = deployed.licenses.issue_batch(licensor, plan, accounts)
    assert [deployed.licenses.license_of(i).holder for i in ids] == accounts
    assert [i.serial for i in ids] == [1, 2, 3, 4, 5]
    with pytest.raises(reverts.BatchEmpty):
        deployed.licenses.issue_batch(licensor, plan, [])
    with pytest.raises(reverts.TransferToZeroAddress):
        deployed.licenses.issue_batch(licensor, plan, [accounts[0], ZERO_ADDRESS])
    assert deployed.licenses.plan_of(plan)[1].issued == 5


@pytest.fixture
def offer(deployed, plan):
    """A free voucher of the licensor's for the holder."""
    return Voucher(
        signer=deployed.wallet("licensor").address,
        plan=plan,
        to=deployed.wallet("holder").address,
        plan_digest=deployed.licenses.plan_of(plan)[1].plan_digest,
        nonce=int.from_bytes(os.urandom(32), "big"),
        deadline=deployed.rpc.block("latest").timestamp + 3600,
        ext_hash=reference_hash("order 4711"),
    )


@pytest.fixture
def signed(deployed):
    def sign(offer, by="licensor"):
        at = deployed.licenses.address
        return voucher.sign(deployed.wallet(by), offer, chain_id=31337, ledger=at)

    return sign


def test_a_voucher_has_the_digest_that_the_contract_computes(deployed, offer):
    for one in (
        offer,
        replace(offer, price=(1 << 96) - 1, nonce=(1 << 256) - 1, deadline=(1 << 40) - 1),
        replace(offer, market=Address(b"\1" * 20), pay_token=Address(b"\2" * 20), not_before=5),
    ):
        at = deployed.licenses.address
        assert deployed.licenses.voucher_digest(one) == one.digest(31337, at)


def test_a_free_voucher_is_redeemed_once_by_anyone(deployed, offer, signed):
    made = signed(offer)
    license_id, _ = deployed.licenses.redeem(deployed.sender("stranger"), made)
    assert deployed.licenses.license_of(license_id).holder == offer.to
    assert deployed.licenses.nonce_spent(offer.signer, offer.nonce)
    with pytest.raises(reverts.NonceSpent):
        deployed.licenses.redeem(deployed.sender("stranger"), made)


def test_a_changed_or_late_voucher_is_refused(deployed, offer, signed):
    made, stranger = signed(offer), deployed.sender("stranger")
    changed = replace(made, voucher=replace(offer, to=stranger.address))
    with pytest.raises(SignatureInvalid):
        changed.verify()
    with pytest.raises(reverts.VoucherNotSigned):
        deployed.licenses.redeem(stranger, changed)
    with pytest.raises(reverts.VoucherExpired):
        deployed.licenses.redeem(stranger, signed(replace(offer, deadline=1)))
    with pytest.raises(reverts.VoucherPlanChanged):
        deployed.licenses.redeem(stranger, signed(replace(offer, plan_digest=offer.ext_hash)))
    with pytest.raises(reverts.VoucherMarketOnly):
        deployed.licenses.redeem(stranger, signed(replace(offer, price=1)))


def test_an_issuers_voucher_counts_while_it_has_the_role(deployed, licensor, offer, signed):
    rival = deployed.sender("rival")
    made = signed(replace(offer, signer=rival.address), by="rival")
    with pytest.raises(reverts.VoucherSignerNotIssuer):
        deployed.licenses.redeem(rival, made)
    deployed.licenses.set_roles(licensor, offer.plan, rival.address, Role.ISSUER)
    deployed.licenses.redeem(rival, made)


def test_a_cancelled_voucher_is_never_redeemed(deployed, licensor, offer, signed):
    made = signed(replace(offer, nonce=(7 << 8) + 3))
    deployed.licenses.cancel_vouchers(licensor, 7, 1 << 3)
    assert deployed.licenses.nonces_spent(licensor.address, 7) == 1 << 3
    with pytest.raises(reverts.NonceSpent):
        deployed.licenses.redeem(licensor, made)


def test_nobody_signs_in_anothers_name(deployed, offer, signed):
    with pytest.raises(SignatureInvalid, match="to be signed by"):
        signed(offer, by="rival")
