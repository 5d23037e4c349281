// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {LicenseStatus, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Base} from "../Base.sol";

contract RevokeTest is Base {
    event MetadataUpdate(uint256 _tokenId);

    uint32 internal plan;
    uint256 internal id;
    bytes32 internal constant REASON = keccak256("breach");

    function setUp() public override {
        super.setUp();
        plan = newPlan();
        id = newLicense(plan, holder);
    }

    function revokeAs(address who, uint40 effectiveAt) internal {
        vm.prank(who);
        ledger.revoke(id, effectiveAt, REASON);
    }

    function test_strangersAndHoldersAreRefused() external {
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, holder, REVOKER));
        revokeAs(holder, 0);
        id = 77;
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, id));
        revokeAs(licensor, 0);
    }

    function testFuzz_theNoticeIsKeptAndTheEndOnlyComesNearer(uint32 minNotice, uint40 effectiveAt, uint24 wait)
        external
    {
        PlanTerms memory terms = termsOf(newModel(2));
        terms.minNotice = minNotice;
        plan = newPlan(terms);
        id = newLicense(plan, holder);
        vm.warp(START + wait);
        uint40 earliest = uint40(block.timestamp) + minNotice;
        uint40 present = START + 30 days;
        if (effectiveAt != 0 && effectiveAt < earliest) {
            vm.expectRevert(
                abi.encodeWithSelector(ILicenseRecords.LicenseNoticeTooShort.selector, effectiveAt, earliest)
            );
            revokeAs(licensor, effectiveAt);
            eq(endOf(id), present);
            return;
        }
        uint40 end = effectiveAt == 0 ? earliest : effectiveAt;
        if (end > present) end = present;
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.LicenseRevoked(id, licensor, end, REASON);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit MetadataUpdate(id);
        revokeAs(licensor, effectiveAt);
        eq(endOf(id), end);
        isTrue(statusOf(id) == LicenseStatus.REVOKED);
        if (end > block.timestamp) {
            eq(codeOf(id), 10);
            eq(codeAt(id, end - 1), 10);
            (, uint40 notAfter, uint40 graceUntil,) = ledger.check(id, holder, 0, end - 1);
            eq(notAfter, end);
            eq(graceUntil, end);
            eq(codeAt(id, end), 3);
        } else {
            eq(codeOf(id), 3);
        }
        eq(codeAt(id, PERPETUAL), 3);
    }

    function test_aSecondRevocationMayBringTheEndNearerAndNothingElse() external {
        revokeAs(licensor, START + 20 days);
        bytes memory final_ =
            abi.encodeWithSelector(ILicenseRecords.LicenseStatusForbids.selector, id, LicenseStatus.REVOKED);
        vm.expectRevert(final_);
        revokeAs(licensor, START + 20 days);
        vm.expectRevert(final_);
        revokeAs(licensor, START + 25 days);
        revokeAs(licensor, START + 10 days);
        eq(endOf(id), START + 10 days);
        vm.warp(START + 10 days);
        vm.expectRevert(final_);
        revokeAs(licensor, 0);
        eq(codeOf(id), 3);
    }

    function test_aRevokedLicenseStaysAToken() external {
        revokeAs(licensor, 0);
        vm.warp(START + 365 days);
        eq(token.ownerOf(id), holder);
        eq(codeOf(id), 3);
    }
}
