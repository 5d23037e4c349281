"""Beacons: which blocks make them, and when."""

import dataclasses

import pytest

from ledger.chain.beacon import check_beacon, kept_beacon, read_beacon
from ledger.errors import PendingFinality, StateProofInvalid, UsageError
from ledger.watermark.keys import beacon_of

pytestmark = pytest.mark.chain


def mine(deployed, count):
    """Blocks twelve seconds apart, as proposers make them."""
    deployed.rpc.call("anvil_mine", [hex(count), hex(12)])


def profile(deployed, kind, **changes):
    return dataclasses.replace(deployed.profile, beacon_kind=kind, **changes)


def test_the_short_one_is_two_blocks_later_once_the_commitment_is_final(deployed, fresh):
    receipt = deployed.anchors.anchor(deployed.sender("licensor"), fresh())
    deployed.sender("licensor").wait_final(receipt)
    block = deployed.rpc.block(receipt.block_number)
    beacon = read_beacon(deployed.rpc, deployed.profile, block)
    assert beacon.grindable
    (header,) = beacon.headers
    later = deployed.rpc.block(block.number + 2)
    assert header.hash == later.hash
    assert beacon.value == beacon_of([bytes.fromhex(later.raw["mixHash"][2:])])


def test_that_of_a_chain_with_proposers_is_eight_blocks_from_the_64th_once_final(deployed):
    rules = profile(deployed, "l1-mixhash")
    block = deployed.rpc.block("latest")
    mine(deployed, 71)
    with pytest.raises(PendingFinality):
        read_beacon(deployed.rpc, rules, block)
    mine(deployed, 6)
    beacon = read_beacon(deployed.rpc, rules, block)
    assert not beacon.grindable
    numbers = [header.number for header in beacon.headers]
    assert numbers == list(range(block.number + 64, block.number + 72))
    raw = [header.raw for header in beacon.headers]
    assert check_beacon(deployed.rpc, rules, block, "l1-mixhash", raw).value == beacon.value
    assert kept_beacon("l1-mixhash", raw).value == beacon.value
    with pytest.raises(StateProofInvalid):
        kept_beacon("l1-mixhash", raw[::-1])
    with pytest.raises(StateProofInvalid):
        check_beacon(deployed.rpc, rules, block, "l1-mixhash", raw[:-1])
    with pytest.raises(StateProofInvalid):
        check_beacon(deployed.rpc, rules, deployed.rpc.block(block.number + 1), "l1-mixhash", raw)


def test_that_of_a_roll_up_begins_at_the_settlement_chain_s_first_block_after_it(deployed):
    rules = profile(deployed, "settlement-mixhash", l1_settlement=31337, timestamp_tolerance=30)
    block = deployed.rpc.block("latest")
    mine(deployed, 90)
    with pytest.raises(UsageError):
        read_beacon(deployed.rpc, rules, block)
    beacon = read_beacon(deployed.rpc, rules, block, settlement=deployed.rpc)
    first = beacon.headers[0].number - 64
    assert deployed.rpc.block(first).timestamp >= block.timestamp + 30
    assert deployed.rpc.block(first - 1).timestamp < block.timestamp + 30
    assert len(beacon.headers) == 8


def test_a_chain_without_one_is_told(deployed):
    with pytest.raises(UsageError):
        read_beacon(deployed.rpc, profile(deployed, "none"), deployed.rpc.block("latest"))


def test_a_commitment_s_block_is_found_and_checked(deployed, fresh):
    sender, commitment = deployed.sender("buyer"), fresh()
    _, receipt = deployed.anchors.commit_phase_a(sender, commitment)
    at = receipt.block_number
    assert deployed.anchors.phase_a_block(sender.address, commitment, from_block=0) == at
    assert deployed.anchors.phase_a_stands_in(sender.address, commitment, at)
    assert not deployed.anchors.phase_a_stands_in(sender.address, commitment, at - 1)
    other = deployed.wallet("rival").address
    assert not deployed.anchors.phase_a_stands_in(other, commitment, at)
