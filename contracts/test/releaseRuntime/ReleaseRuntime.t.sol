// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {Base} from "../Base.sol";

contract ReleaseRuntimeTest is Base {
    uint32 internal plan;
    uint256 internal id;
    bytes32 internal constant KEY = keccak256("key");

    function setUp() public override {
        super.setUp();
        plan = newPlan();
        id = newLicense(plan, holder);
    }

    function bind(bytes32 key, uint40 until) internal {
        vm.prank(holder);
        ledger.bindRuntime(id, key, until, 0);
    }

    function releaseAs(address who, bytes32 key) internal {
        vm.prank(who);
        ledger.releaseRuntime(id, key);
    }

    function testFuzz_aLiveSeatIsHeldAndALapsedOneIsAnyones(uint24 untilSeed, uint24 wait, address who) external {
        vm.assume(who != address(vm));
        uint40 until = START + 1 + untilSeed % uint40(30 days);
        bind(KEY, until);
        vm.warp(START + wait);
        if (block.timestamp < until) {
            vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.SeatHeldUntil.selector, id, KEY, until));
            releaseAs(who, KEY);
            eq(seatsOf(id), 1);
            return;
        }
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.RuntimeReleased(id, KEY);
        releaseAs(who, KEY);
        eq(seatsOf(id), 0);
        (uint40 boundAt,,) = ledger.seatOf(id, KEY);
        eq(boundAt, 0);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.SeatNotBound.selector, id, KEY));
        releaseAs(who, KEY);
    }

    function test_aSeatWithoutATermIsHeldAsLongAsTheLicense() external {
        bind(KEY, 0);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.SeatHeldUntil.selector, id, KEY, uint40(START + 30 days))
        );
        releaseAs(holder, KEY);
        vm.warp(START + 30 days);
        releaseAs(stranger, KEY);
        eq(seatsOf(id), 0);
    }

    function test_aRevocationShortensTheHold() external {
        bind(KEY, START + 20 days);
        vm.prank(licensor);
        ledger.revoke(id, START + 10 days, 0);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.SeatHeldUntil.selector, id, KEY, uint40(START + 10 days))
        );
        releaseAs(holder, KEY);
        vm.warp(START + 10 days);
        releaseAs(holder, KEY);
    }

    function test_unknownLicensesHaveNoSeats() external {
        id = 77;
        bytes memory unknown = abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, id);
        vm.expectRevert(unknown);
        releaseAs(holder, KEY);
        vm.expectRevert(unknown);
        ledger.evictRuntime(id, KEY);
        vm.expectRevert(unknown);
        ledger.cancelGrants(id);
    }

    function test_theLicensorEvictsALiveSeat() external {
        bind(KEY, 0);
        vm.prank(holder);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, holder, REVOKER));
        ledger.evictRuntime(id, KEY);
        vm.startPrank(licensor);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.SeatNotBound.selector, id, keccak256("other")));
        ledger.evictRuntime(id, keccak256("other"));
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.RuntimeEvicted(id, KEY, licensor);
        ledger.evictRuntime(id, KEY);
        vm.stopPrank();
        eq(seatsOf(id), 0);
        bind(KEY, 0);
    }

    function test_theHolderCancelsGrants() external {
        vm.prank(licensor);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, id, licensor));
        ledger.cancelGrants(id);
        eq(ledger.grantNonceOf(id), 0);
        for (uint64 nonce = 1; nonce <= 3; ++nonce) {
            vm.expectEmit(true, true, true, true, address(ledger));
            emit ILicenseRecords.GrantsCancelled(id, nonce);
            vm.prank(holder);
            ledger.cancelGrants(id);
            eq(ledger.grantNonceOf(id), nonce);
        }
        eq(codeOf(id), 0);
        eq(endOf(id), START + 30 days);
    }
}
