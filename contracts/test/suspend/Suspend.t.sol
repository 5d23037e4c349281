// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {LicenseStatus} from "../../src/interfaces/LicenseTypes.sol";
import {Base} from "../Base.sol";

contract SuspendTest is Base {
    event MetadataUpdate(uint256 _tokenId);

    uint32 internal plan;
    uint256 internal id;
    bytes32 internal constant REASON = keccak256("reason");

    function setUp() public override {
        super.setUp();
        plan = newPlan();
        id = newLicense(plan, holder);
    }

    function suspend() internal {
        vm.prank(licensor);
        ledger.suspend(id, REASON);
    }

    function reinstate() internal {
        vm.prank(licensor);
        ledger.reinstate(id, REASON);
    }

    function suspendedAt() internal view returns (uint40 time) {
        (,,,,,, time) = ledger.licenseOf(id);
    }

    function testFuzz_aSuspensionStopsAndAReinstatementRestarts(uint24 wait) external {
        vm.warp(START + wait % 30 days);
        uint40 t = uint40(block.timestamp);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.LicenseSuspended(id, REASON);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit MetadataUpdate(id);
        suspend();
        eq(codeOf(id), 2);
        isTrue(statusOf(id) == LicenseStatus.SUSPENDED);
        eq(suspendedAt(), t);
        eq(endOf(id), START + 30 days);
        eq(codeAt(id, START + 30 days), 4);

        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.LicenseReinstated(id, REASON);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit MetadataUpdate(id);
        reinstate();
        eq(codeOf(id), 0);
        isTrue(statusOf(id) == LicenseStatus.ACTIVE);
        eq(suspendedAt(), 0);
        eq(endOf(id), START + 30 days);
    }

    function test_onlyOnce() external {
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotSuspended.selector, id));
        reinstate();
        suspend();
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.LicenseStatusForbids.selector, id, LicenseStatus.SUSPENDED)
        );
        suspend();
    }

    function test_strangersAreRefused() external {
        vm.startPrank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, stranger, GUARDIAN));
        ledger.suspend(id, 0);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, stranger, GUARDIAN));
        ledger.reinstate(id, 0);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, 77));
        ledger.suspend(77, 0);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, 77));
        ledger.reinstate(77, 0);
    }

    function test_aRevocationDoesNotFreeASuspendedLicense() external {
        suspend();
        vm.prank(licensor);
        ledger.revoke(id, START + 10 days, 0);
        eq(codeOf(id), 2);
        isTrue(statusOf(id) == LicenseStatus.REVOKED);
        eq(suspendedAt(), START);
        eq(codeAt(id, START + 10 days), 3);
        reinstate();
        eq(codeOf(id), 10);
        isTrue(statusOf(id) == LicenseStatus.REVOKED);
        eq(codeAt(id, START + 10 days), 3);
    }

    function test_aLicenseUnderNoticeCanBeSuspendedUntilItEnds() external {
        vm.prank(licensor);
        ledger.revoke(id, START + 10 days, 0);
        eq(codeOf(id), 10);
        suspend();
        eq(codeOf(id), 2);
        reinstate();
        vm.warp(START + 10 days);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.LicenseStatusForbids.selector, id, LicenseStatus.REVOKED)
        );
        suspend();
    }
}
