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
