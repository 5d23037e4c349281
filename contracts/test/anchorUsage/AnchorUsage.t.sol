// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Base} from "../Base.sol";

contract AnchorUsageTest is Base {
    uint64 internal constant QUOTA = 1_000;
    bytes32 internal constant ROOT = keccak256("receipts");
    bytes32 internal constant KEY = keccak256("key");

    uint32 internal plan;
    uint256 internal id;

    function setUp() public override {
        super.setUp();
        plan = newPlan(metered(1, QUOTA));
        id = newLicense(plan, holder);
    }

    function metered(uint256 seed, uint64 quota) internal returns (PlanTerms memory terms) {
        terms = termsOf(newModel(seed));
        terms.quota = quota;
    }

    function anchorAs(address who, uint64 cumulative) internal {
        vm.prank(who);
        ledger.anchorUsage(id, cumulative, ROOT);
    }

    function isUsed(uint64 cumulative, uint40 anchoredAt, bytes32 root) internal view {
        (uint64 gotUnits, uint40 gotTime, bytes32 gotRoot) = ledger.usageOf(id);
        eq(gotUnits, cumulative);
        eq(gotTime, anchoredAt);
        eq(gotRoot, root);
    }

    function testFuzz_usageIsKeptAndOnlyRises(uint64[6] memory units, uint24[6] memory waits) external {
        uint64 present;
        for (uint256 i; i < units.length; ++i) {
            vm.warp(block.timestamp + waits[i]);
            bool rises = units[i] > present;
            if (rises) {
                vm.expectEmit(true, true, true, true, address(ledger));
                emit ILicenseRecords.UsageAnchored(id, licensor, units[i], keccak256(abi.encode(i)));
            } else {
                vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.UsageNotRising.selector, id, present, units[i]));
            }
            vm.prank(licensor);
            ledger.anchorUsage(id, units[i], keccak256(abi.encode(i)));
            if (!rises) continue;
            present = units[i];
            isUsed(present, uint40(block.timestamp), keccak256(abi.encode(i)));
        }
    }

    function test_theSameIsNoRise() external {
        isUsed(0, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.UsageNotRising.selector, id, uint64(0), uint64(0)));
        anchorAs(licensor, 0);
        anchorAs(licensor, 1);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.UsageNotRising.selector, id, uint64(1), uint64(1)));
        anchorAs(licensor, 1);
    }

    function testFuzz_onlyLicensorAndMeterAnchor(address who, uint8 roles) external {
        vm.assume(who != licensor && who != address(vm));
        roles %= 16;
        grantRole(plan, who, roles);
        bool may = roles & METER != 0;
        if (!may) {
            vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, who, METER));
        }
        anchorAs(who, 7);
        isUsed(may ? 7 : 0, may ? START : 0, may ? ROOT : bytes32(0));
    }

    function test_whatDoesNotExistUsesNothing() external {
        id = 77;
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, id));
        anchorAs(licensor, 1);
        isUsed(0, 0, 0);
    }

    function test_withoutAQuotaNothingIsMetered() external {
        id = newLicense(newPlan(metered(2, 0)), holder);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.UsageNotMetered.selector, id));
        anchorAs(licensor, 1);
    }

    function test_eachLicenseHasItsOwn() external {
        uint256 other = newLicense(plan, buyer);
        anchorAs(licensor, QUOTA);
        eq(codeOf(id), 11);
        eq(codeOf(other), 0);
        id = other;
        isUsed(0, 0, 0);
    }

    function test_theEndedAreStillMeteredUp() external {
        vm.prank(licensor);
        ledger.revoke(id, START + 10 days, 0);
        vm.warp(START + 40 days);
        anchorAs(licensor, 5);
        isUsed(5, START + 40 days, ROOT);
        eq(codeOf(id), 3);
    }

    // ---------------------------------------------------------------- code 11

    function testFuzz_theQuotaIsSpentWhenItIsReached(uint64 quota, uint64 units) external {
        vm.assume(quota != 0 && units != 0);
        id = newLicense(newPlan(metered(2, quota)), holder);
        eq(codeOf(id), 0);
        anchorAs(licensor, units);
        (uint8 code, uint40 notAfter, uint40 graceUntil,) = ledger.check(id, holder, 0, START);
        bool spent = units >= quota;
        eq(code, spent ? 11 : 0);
        eq(notAfter, START + 30 days);
        eq(graceUntil, spent ? 0 : START + 1 days);
    }

    function test_theQuotaIsExact() external {
        anchorAs(licensor, QUOTA - 1);
        eq(codeOf(id), 0);
        anchorAs(licensor, QUOTA);
        eq(codeOf(id), 11);
    }

    function test_theOrderOfTheAnswers() external {
        anchorAs(licensor, QUOTA);
        (uint8 code,,,) = ledger.check(id, stranger, KEY, START);
        eq(code, 5);
        (code,,,) = ledger.check(id, holder, KEY, START);
        eq(code, 11); // before 6
        vm.prank(holder);
        ledger.bindRuntime(id, KEY, START + 1 days, 0);
        (code,,,) = ledger.check(id, holder, KEY, START + 1 days);
        eq(code, 11); // before 7
        vm.startPrank(licensor);
        ledger.revoke(id, START + 10 days, 0);
        eq(codeOf(id), 11); // before 10
        eq(codeAt(id, START + 10 days), 3);
        ledger.suspend(id, 0);
        eq(codeOf(id), 2);
        vm.stopPrank();
    }

    function test_spentOutranksNeitherExpiryNorABeginningAhead() external {
        vm.prank(licensor);
        id = ledger.issue(plan, holder, START + 5 days, 0);
        anchorAs(licensor, QUOTA);
        eq(codeAt(id, START + 5 days - 1), 8);
        eq(codeAt(id, START + 5 days), 11);
        eq(codeAt(id, START + 35 days - 1), 11);
        eq(codeAt(id, START + 35 days), 4);
    }

    function test_floatingLicensesAreMeteredToo() external {
        PlanTerms memory terms = metered(2, 5);
        terms.floating = true;
        id = newLicense(newPlan(terms), holder);
        anchorAs(licensor, 5);
        (uint8 code,,,) = ledger.check(id, holder, KEY, START);
        eq(code, 11);
    }

    function test_aTransferTakesTheUsageAlong() external {
        anchorAs(licensor, QUOTA);
        vm.prank(holder);
        token.transferFrom(holder, buyer, id);
        isUsed(QUOTA, START, ROOT);
        eq(codeOf(id), 11);
    }

    function test_aRenewalRenewsNoQuota() external {
        anchorAs(licensor, QUOTA);
        vm.prank(licensor);
        ledger.renew(id, 0);
        eq(codeAt(id, START + 31 days), 11);
    }
}
