// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {LicenseStatus, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Base} from "../Base.sol";

contract RenewTest is Base {
    event MetadataUpdate(uint256 _tokenId);

    uint32 internal plan;
    uint256 internal id;

    function setUp() public override {
        super.setUp();
        plan = newPlan();
        id = newLicense(plan, holder);
    }

    function renewAs(address who, uint40 notAfter) internal {
        vm.prank(who);
        ledger.renew(id, notAfter);
    }

    function test_theEndMoves() external {
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.LicenseRenewed(id, START + 99 days);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit MetadataUpdate(id);
        renewAs(licensor, START + 99 days);
        eq(endOf(id), START + 99 days);
        eq(codeAt(id, START + 99 days - 1), 0);
    }

    function test_theHolderCannotRenew() external {
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, holder, ISSUER));
        renewAs(holder, START + 99 days);
        id = 77;
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, id));
        renewAs(licensor, START + 99 days);
    }

    function testFuzz_theEndOnlyGoesForward(uint40 notAfter, uint32 wait) external {
        vm.warp(uint256(START) + wait);
        uint40 present = START + 30 days;
        uint40 want = notAfter;
        uint40 from = present > block.timestamp ? present : uint40(block.timestamp);
        if (notAfter == 0) want = from + 30 days;
        bool refused = want <= from;
        if (want <= present) {
            vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotLater.selector, id, present, want));
        } else if (refused) {
            vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseWindowInvalid.selector, from, want));
        }
        renewAs(licensor, notAfter);
        eq(endOf(id), refused ? present : want);
    }

    function test_anIssuerAddsOneDurationAtATimeAndReachesTwoFromNow() external {
        grantRole(plan, agent, ISSUER);
        uint40 present = START + 30 days;
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.LicenseWindowInvalid.selector, present, present + 30 days + 1)
        );
        renewAs(agent, present + 30 days + 1);
        renewAs(agent, present + 30 days);
        bytes memory tooFar =
            abi.encodeWithSelector(ILicenseRecords.LicenseWindowInvalid.selector, START + 60 days, START + 90 days);
        vm.expectRevert(tooFar);
        renewAs(agent, 0);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.LicenseWindowInvalid.selector, START + 60 days, START + 60 days + 1)
        );
        renewAs(agent, START + 60 days + 1);
        vm.warp(START + 30 days - 1);
        vm.expectRevert(tooFar);
        renewAs(agent, 0);
        vm.warp(START + 30 days);
        renewAs(agent, 0);
        eq(endOf(id), START + 90 days);
    }

    function test_theLicensorReachesAsFarAsItLikes() external {
        for (uint256 i; i < 10; ++i) {
            renewAs(licensor, 0);
        }
        eq(endOf(id), START + 330 days);
        renewAs(licensor, PERPETUAL);
        eq(endOf(id), PERPETUAL);
    }

    function testFuzz_howeverOftenAnIssuerRenewsTwoDurationsFromNowAreTheEnd(
        uint24[8] memory aheads,
        uint24[8] memory waits
    ) external {
        grantRole(plan, agent, ISSUER);
        for (uint256 i; i < aheads.length; ++i) {
            vm.warp(block.timestamp + waits[i]);
            uint40 present = endOf(id);
            uint40 end = aheads[i] % 4 == 0 ? 0 : uint40(block.timestamp) + aheads[i];
            vm.prank(agent);
            (bool renewed,) = address(ledger).call(abi.encodeCall(ledger.renew, (id, end)));
            isTrue(renewed ? endOf(id) <= block.timestamp + 60 days : endOf(id) == present);
        }
    }

    function test_anIssuerOfAPerpetualPlanIsNotBound() external {
        PlanTerms memory terms = termsOf(newModel(2));
        terms.duration = 0;
        plan = newPlan(terms);
        vm.prank(licensor);
        id = ledger.issue(plan, holder, 0, START + 1 days);
        grantRole(plan, agent, ISSUER);
        renewAs(agent, START + 9999 days);
        renewAs(agent, 0);
        eq(endOf(id), PERPETUAL);
    }

    function test_twoDurationsBeyondTheEndOfTimeAreForEver() external {
        PlanTerms memory terms = termsOf(newModel(2));
        terms.duration = PERPETUAL - START - 1 days;
        plan = newPlan(terms);
        id = newLicense(plan, holder);
        grantRole(plan, agent, ISSUER);
        renewAs(agent, 0);
        eq(endOf(id), PERPETUAL);
    }

    function test_aPerpetualPlanRenewsForEver() external {
        PlanTerms memory terms = termsOf(newModel(2));
        terms.duration = 0;
        plan = newPlan(terms);
        vm.prank(licensor);
        id = ledger.issue(plan, holder, 0, START + 1 days);
        renewAs(licensor, 0);
        eq(endOf(id), PERPETUAL);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotLater.selector, id, PERPETUAL, PERPETUAL));
        renewAs(licensor, 0);
    }

    function test_aSuspendedLicenseIsNotRenewed() external {
        vm.prank(licensor);
        ledger.suspend(id, 0);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.LicenseStatusForbids.selector, id, LicenseStatus.SUSPENDED)
        );
        renewAs(licensor, START + 99 days);
    }

    function test_noticeAndRevocationAreFinal() external {
        vm.prank(licensor);
        ledger.revoke(id, START + 10 days, 0);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.LicenseUnderNotice.selector, id, uint40(START + 10 days))
        );
        renewAs(licensor, START + 99 days);
        vm.warp(START + 10 days);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.LicenseStatusForbids.selector, id, LicenseStatus.REVOKED)
        );
        renewAs(licensor, START + 99 days);
    }
}
