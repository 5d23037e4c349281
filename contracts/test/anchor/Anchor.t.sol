// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAnchors} from "../../src/interfaces/IAnchors.sol";
import {Base} from "../Base.sol";

contract AnchorTest is Base {
    function test_zeroRootIsRefused() external {
        vm.expectRevert(abi.encodeWithSelector(IAnchors.AnchorsZeroRoot.selector));
        anchors.anchor(0);
    }

    function testFuzz_aNewRootGetsThisBlockAndTheFirstWriteStands(bytes32 root, uint40 later, address who) external {
        vm.assume(root != 0 && who != address(vm));
        (uint40 time, uint64 number) = anchors.anchoredAt(root);
        eq(time, 0);
        eq(number, 0);

        vm.expectEmit(true, true, true, true, address(anchors));
        emit IAnchors.RootAnchored(root, stranger);
        vm.prank(stranger);
        anchors.anchor(root);

        vm.warp(uint256(START) + later);
        vm.roll(2000);
        vm.prank(who);
        vm.expectRevert(abi.encodeWithSelector(IAnchors.AnchorsRootTaken.selector, root, START, uint64(1000)));
        anchors.anchor(root);
        (time, number) = anchors.anchoredAt(root);
        eq(time, START);
        eq(number, 1000);
    }
}
