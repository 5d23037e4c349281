// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {Base} from "../Base.sol";

contract VetoReissueTest is Base {
    uint32 internal plan;
    uint256 internal id;

    function setUp() public override {
        super.setUp();
        plan = newPlan();
        id = newLicense(plan, holder);
        vm.prank(licensor);
        ledger.startReissue(id, buyer);
    }

    function vetoAs(address who) internal {
        vm.prank(who);
        ledger.vetoReissue(id);
    }

    function stopped(address by) internal {
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.ReissueVetoed(id, by);
        vetoAs(by);
        (address to, uint40 readyAt) = ledger.reissueOf(id);
        eq(to, address(0));
        eq(readyAt, 0);
        vm.warp(START + 3 days);
        bytes memory none = abi.encodeWithSelector(ILicenseRecords.ReissueNone.selector, id);
        vm.prank(licensor);
        vm.expectRevert(none);
        ledger.finishReissue(id);
        vm.expectRevert(none);
        vetoAs(by);
        eq(token.ownerOf(id), holder);
    }

    function test_theHolderStopsIt() external {
        stopped(holder);
    }

    function test_theLicensorThinksBetterOfIt() external {
        stopped(licensor);
    }

    function test_theHolderStopsItAfterTheDelayToo() external {
        vm.warp(START + 9 days);
        vetoAs(holder);
        vm.prank(licensor);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.ReissueNone.selector, id));
        ledger.finishReissue(id);
    }

    function testFuzz_nobodyElseStopsIt(address who) external {
        vm.assume(who != holder && who != licensor && who != address(vm));
        grantRole(plan, who, 15);
        vm.prank(holder);
        token.setApprovalForAll(who, true);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, who, uint8(0)));
        vetoAs(who);
        (address to,) = ledger.reissueOf(id);
        eq(to, buyer);
    }

    function test_theTakerDoesNotStopIt() external {
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, buyer, uint8(0)));
        vetoAs(buyer);
    }

    function test_whatDoesNotExistHasNone() external {
        id = 77;
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, id));
        vetoAs(holder);
        id = newLicense(plan, holder);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.ReissueNone.selector, id));
        vetoAs(holder);
    }

    function test_anotherMayBeStartedAfterIt() external {
        vetoAs(holder);
        vm.prank(licensor);
        ledger.startReissue(id, buyer);
        vm.warp(START + 7 days);
        vm.prank(licensor);
        ledger.finishReissue(id);
        eq(token.ownerOf(id), buyer);
    }

    function test_oneThatIsOutdatedIsClearedAway() external {
        vm.prank(holder);
        token.transferFrom(holder, stranger, id);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, holder, uint8(0)));
        vetoAs(holder);
        vetoAs(stranger);
        vm.warp(START + 3 days);
        vm.prank(licensor);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.ReissueNone.selector, id));
        ledger.finishReissue(id);
    }
}
