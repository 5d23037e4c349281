// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAnchors} from "../../src/interfaces/IAnchors.sol";
import {Base} from "../Base.sol";

contract CommitPhaseATest is Base {
    function test_zeroIsRefused() external {
        vm.expectRevert(abi.encodeWithSelector(IAnchors.AnchorsZeroRoot.selector));
        anchors.commitPhaseA(0);
    }

    function testFuzz_commitmentsAreNumberedPerSender(bytes32 a, bytes32 b) external {
        vm.assume(a != 0 && b != 0 && a != b);
        vm.expectEmit(true, true, true, true, address(anchors));
        emit IAnchors.PhaseACommitted(licensor, 1, a);
        vm.prank(licensor);
        eq(anchors.commitPhaseA(a), 1);
        vm.prank(licensor);
        eq(anchors.commitPhaseA(b), 2);
        eq(anchors.phaseACount(licensor), 2);
        eq(anchors.phaseACount(stranger), 0);
        (address sender, uint64 number, uint40 time) = anchors.phaseAOf(b);
        eq(sender, licensor);
        eq(number, 2);
        eq(time, START);
    }

    function test_aSenderCannotRepeatItself() external {
        bytes32 a = keccak256("a");
        anchors.commitPhaseA(a);
        vm.expectRevert(abi.encodeWithSelector(IAnchors.AnchorsCommitmentTaken.selector, a));
        anchors.commitPhaseA(a);
        eq(anchors.phaseACount(address(this)), 1);
    }

    function test_aCopierCannotBlockTheOwner() external {
        bytes32 a = keccak256("a");
        vm.prank(stranger);
        anchors.commitPhaseA(a);
        vm.warp(START + 5);
        vm.prank(licensor);
        eq(anchors.commitPhaseA(a), 1);

        (address first,, uint40 firstTime) = anchors.phaseAOf(a);
        eq(first, stranger);
        eq(firstTime, START);
        (uint64 number, uint40 time) = anchors.phaseABy(licensor, a);
        eq(number, 1);
        eq(time, START + 5);
        (number, time) = anchors.phaseABy(stranger, a);
        eq(time, START);
        (number,) = anchors.phaseABy(holder, a);
        eq(number, 0);

        vm.prank(licensor);
        vm.expectRevert(abi.encodeWithSelector(IAnchors.AnchorsCommitmentTaken.selector, a));
        anchors.commitPhaseA(a);
    }
}
