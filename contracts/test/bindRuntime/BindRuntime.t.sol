// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {LicenseStatus, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Base} from "../Base.sol";

contract BindRuntimeTest is Base {
    uint32 internal plan;
    uint256 internal id;
    bytes32 internal constant KEY = keccak256("key");
    bytes20 internal constant TEE = bytes20(keccak256("measurement"));

    function setUp() public override {
        super.setUp();
        plan = newPlan();
        id = newLicense(plan, holder);
    }

    function bindAs(address who, bytes32 key, uint40 until) internal {
        vm.prank(who);
        ledger.bindRuntime(id, key, until, TEE);
    }

    function codeOfSeat(bytes32 key, uint40 at) internal view returns (uint8 code) {
        (code,,,) = ledger.check(id, holder, key, at);
    }

    function test_onlyTheHolderBinds() external {
        vm.prank(holder);
        token.setApprovalForAll(agent, true);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, id, agent));
        bindAs(agent, KEY, 0);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, id, licensor));
        bindAs(licensor, KEY, 0);
        id = 77;
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, id));
        bindAs(holder, KEY, 0);
    }

    function testFuzz_aSeatIsStoredAndChecked(bytes32 key, uint40 until, bytes20 measurement) external {
        vm.assume(key != 0);
        uint40 end = START + 30 days;
        bool refused = until != 0 && (until <= START || until > end);
        if (refused) {
            vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.SeatWindowInvalid.selector, until, end));
        } else {
            vm.expectEmit(true, true, true, true, address(ledger));
            emit ILicenseRecords.RuntimeBound(id, key, until, measurement);
        }
        vm.prank(holder);
        ledger.bindRuntime(id, key, until, measurement);
        (uint40 boundAt, uint40 storedUntil, bytes20 storedTee) = ledger.seatOf(id, key);
        if (refused) {
            eq(boundAt, 0);
            eq(seatsOf(id), 0);
            eq(codeOfSeat(key, START), 6);
            return;
        }
        eq(boundAt, START);
        eq(storedUntil, until);
        isTrue(storedTee == measurement);
        eq(seatsOf(id), 1);
        eq(codeOfSeat(key, START), 0);
        uint40 last = until == 0 ? end : until;
        eq(codeOfSeat(key, last - 1), 0);
        eq(codeOfSeat(key, last), last == end ? 4 : 7);
        eq(codeOfSeat(keccak256(abi.encode(key)), START), 6);
    }

    function test_keyZeroMeansNoKey() external {
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.SeatKeyZero.selector, id));
        bindAs(holder, 0, 0);
    }

    function test_seatsAreCounted() external {
        bindAs(holder, keccak256("a"), 0);
        bindAs(holder, keccak256("b"), 0);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.SeatsFull.selector, id, uint16(2)));
        bindAs(holder, keccak256("c"), 0);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.SeatAlreadyBound.selector, id, keccak256("a")));
        bindAs(holder, keccak256("a"), 0);
        eq(seatsOf(id), 2);
    }

    function test_noSeatLimitMeansUpToTheCounter() external {
        PlanTerms memory terms = termsOf(newModel(2));
        terms.seats = 0;
        plan = newPlan(terms);
        id = newLicense(plan, holder);
        for (uint256 i = 1; i <= 20; ++i) {
            bindAs(holder, bytes32(i), 0);
        }
        eq(seatsOf(id), 20);

        bytes32 slot = bytes32(2 * id + uint256(keccak256(abi.encodePacked(bytes28(bytes32(id)), hex"7d882553"))));
        uint256 word = uint256(vm.load(address(ledger), slot));
        vm.store(address(ledger), slot, bytes32(word | uint256(type(uint16).max) << 176));
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.SeatsFull.selector, id, type(uint16).max));
        bindAs(holder, KEY, 0);
    }

    function test_aLapsedSeatIsBoundAgainWithoutAnother() external {
        bindAs(holder, KEY, START + 1 days);
        vm.warp(START + 1 days);
        eq(codeOfSeat(KEY, START + 1 days), 7);
        bindAs(holder, KEY, START + 2 days);
        eq(seatsOf(id), 1);
        (uint40 boundAt,,) = ledger.seatOf(id, KEY);
        eq(boundAt, START + 1 days);
        eq(codeOfSeat(KEY, START + 1 days), 0);
    }

    function test_anEndedLicenseBindsNothing() external {
        vm.warp(START + 30 days);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseExpired.selector, id, uint40(START + 30 days)));
        bindAs(holder, KEY, 0);
    }

    function test_aSuspendedLicenseBindsNothing() external {
        vm.prank(licensor);
        ledger.suspend(id, 0);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.LicenseStatusForbids.selector, id, LicenseStatus.SUSPENDED)
        );
        bindAs(holder, KEY, 0);
    }

    function test_underNoticeASeatEndsWithTheLicense() external {
        vm.prank(licensor);
        ledger.revoke(id, START + 10 days, 0);
        vm.expectRevert(
            abi.encodeWithSelector(
                ILicenseRecords.SeatWindowInvalid.selector, uint40(START + 11 days), uint40(START + 10 days)
            )
        );
        bindAs(holder, KEY, START + 11 days);
        bindAs(holder, KEY, START + 10 days);
        eq(codeOfSeat(KEY, START), 10);
    }

    function test_floatingSeatsAreTheBrokers() external {
        PlanTerms memory terms = termsOf(newModel(2));
        terms.floating = true;
        plan = newPlan(terms);
        id = newLicense(plan, holder);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.SeatsFloat.selector, id));
        bindAs(holder, KEY, 0);
        eq(codeOfSeat(KEY, START), 0);
    }
}
