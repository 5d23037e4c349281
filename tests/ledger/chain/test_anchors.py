"""Anchors: one time for each root."""

import pytest

pytestmark = pytest.mark.chain


def test_a_root_has_no_time_before_and_one_time_after(deployed, licensor, fresh):
    root = fresh()
    assert deployed.anchors.anchored_at(root) is None
    receipt = deployed.anchors.anchor(licensor, root)
    seconds, number = deployed.anchors.anchored_at(root)
    assert number == receipt.block_number
    assert seconds == deployed.rpc.block(number).timestamp


def test_phase_a_commitments_are_numbered_per_sender(deployed, fresh):
    rival = deployed.sender("rival")
    first, _ = deployed.anchors.commit_phase_a(rival, fresh())
    second, _ = deployed.anchors.commit_phase_a(rival, fresh())
    assert second == first + 1


def test_who_committed_first_and_each_account_s_own_commitment_are_told_apart(deployed, fresh):
    rival, stranger = deployed.sender("rival"), deployed.sender("stranger")
    commitment = fresh()
    assert deployed.anchors.phase_a_of(commitment) is None
    assert deployed.anchors.phase_a_by(rival.address, commitment) is None
    number, receipt = deployed.anchors.commit_phase_a(rival, commitment)
    later, _ = deployed.anchors.commit_phase_a(stranger, commitment)
    first = deployed.anchors.phase_a_of(commitment)
    assert (first.sender, first.number) == (rival.address, number)
    assert first.time == deployed.rpc.block(receipt.block_number).timestamp
    assert deployed.anchors.phase_a_by(rival.address, commitment) == first
    assert deployed.anchors.phase_a_by(stranger.address, commitment).number == later
    assert deployed.anchors.phase_a_count(rival.address) == number
