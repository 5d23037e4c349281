// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {PlanState} from "../../src/interfaces/LicenseTypes.sol";
import {ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Titles} from "../titleTouched/Titles.sol";

contract AnchorBatchTest is Titles {
    bytes32 internal constant ROOT = keccak256("root");
    bytes32 internal constant URI = keccak256("uri");

    function anchorAs(address who, bytes32 root, uint32 count) internal {
        vm.prank(who);
        ledger.anchorBatch(plan, root, count, URI);
    }

    function isBatch(uint32 planId, uint32 count, uint32 firstSerial, uint40 anchoredAt, bool byRole) internal view {
        (uint32 count_, uint32 firstSerial_, uint40 anchoredAt_, bool byRole_, uint40 closesAt) =
            ledger.batchOf(planId, ROOT);
        eq(closesAt, 0);
        eq(count_, count);
        eq(firstSerial_, firstSerial);
        eq(anchoredAt_, anchoredAt);
        isTrue(byRole_ == byRole);
    }

    // ---------------------------------------------------------------- who may

    function test_anUnknownPlanIsNamed() external {
        vm.expectRevert(unknown(9));
        vm.prank(licensor);
        ledger.anchorBatch(9, ROOT, 1, URI);
    }

    function test_noRoleButIssuerAnchors() external {
        vm.expectRevert(unauthorized(stranger, ISSUER));
        anchorAs(stranger, ROOT, 1);
        grantRole(plan, agent, REVOKER | METER | GUARDIAN);
        vm.expectRevert(unauthorized(agent, ISSUER));
        anchorAs(agent, ROOT, 1);
        grantRole(plan, agent, ISSUER);
        anchorAs(agent, ROOT, 1);
        isBatch(plan, 1, 1, START, true);
    }

    function test_aFormerLicensorAnchorsNothing() external {
        moveTitle(licensor, buyer);
        vm.expectRevert(titleMoved(buyer));
        anchorAs(licensor, ROOT, 1);
        vm.expectRevert(unauthorized(buyer, ISSUER));
        anchorAs(buyer, ROOT, 1);
        ledger.syncLicensor(plan);
        vm.expectRevert(unauthorized(licensor, ISSUER));
        anchorAs(licensor, ROOT, 1);
        anchorAs(buyer, ROOT, 1);
        isBatch(plan, 1, 1, START, false);
    }

    // ---------------------------------------------------------------- what is refused

    function test_nothingIsNoBatch() external {
        vm.expectRevert(ILicenseRecords.BatchEmpty.selector);
        anchorAs(licensor, ROOT, 0);
        vm.expectRevert(ILicenseRecords.BatchEmpty.selector);
        anchorAs(licensor, 0, 1);
        isBatch(plan, 0, 0, 0, false);
    }

    function test_aRootIsAnchoredOncePerPlan() external {
        anchorAs(licensor, ROOT, 3);
        vm.warp(START + 1);
        bytes memory exists = abi.encodeWithSelector(ILicenseRecords.BatchExists.selector, plan, ROOT);
        vm.expectRevert(exists);
        anchorAs(licensor, ROOT, 3);
        grantRole(plan, agent, ISSUER);
        vm.expectRevert(exists);
        anchorAs(agent, ROOT, 4);
        isBatch(plan, 3, 1, START, false);

        uint32 first = plan;
        plan = newPlan(terms);
        anchorAs(licensor, ROOT, 7);
        isBatch(plan, 7, 1, START + 1, false);
        isBatch(first, 3, 1, START, false);
    }

    function test_aPausedPlanAnchorsNothing() external {
        setPaused(true);
        vm.expectRevert(pausedPlan());
        anchorAs(licensor, ROOT, 1);
        setPaused(false);
        anchorAs(licensor, ROOT, 1);
    }

    function test_aModelThatIsNotActiveAnchorsNothing() external {
        for (uint8 i = 2; i <= 3; ++i) {
            setStatus(ModelStatus(i));
            vm.expectRevert(notIssuable(ModelStatus(i)));
            anchorAs(licensor, ROOT, 1);
        }
        setStatus(ModelStatus.ACTIVE);
        anchorAs(licensor, ROOT, 1);
    }

    // ---------------------------------------------------------------- what it takes

    function test_serialsAreTakenAndNoTokenIsMade() external {
        uint256 before = newLicense(plan, holder);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.BatchAnchored(plan, ROOT, licensor, 2, 300, URI);
        anchorAs(licensor, ROOT, 300);
        isBatch(plan, 300, 2, START, false);
        eq(newLicense(plan, holder), before + 301);
        for (uint256 i = 1; i <= 300; i += 299) {
            eq(codeOf(before + i), 1);
            vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, before + i));
            ledger.licenseOf(before + i);
        }
        eq(token.balanceOf(holder), 2);
    }

    function test_oneBatchMayTakeEverySerialAndNoMore() external {
        anchorAs(licensor, ROOT, type(uint32).max);
        isBatch(plan, type(uint32).max, 1, START, false);
        vm.expectRevert(soldOut(type(uint32).max));
        anchorAs(licensor, keccak256("another"), 1);
        vm.expectRevert(soldOut(type(uint32).max));
        newLicense(plan, holder);
        (, PlanState memory state) = ledger.planOf(plan);
        eq(state.issued, type(uint32).max);
        eq(state.licensor, licensor);
        eq(state.roleEpoch, 0);
    }

    /// @param near 0: any count; 1: all that is left; 2: one more
    function testFuzz_theSupplyIsReserved(uint32 supply, uint32 issued, uint32 count, uint8 near, bool byRole)
        external
    {
        terms.supply = supply;
        plan = newPlan(terms);
        grantRole(plan, agent, ISSUER);
        uint32 limit = supply == 0 ? type(uint32).max : supply;
        if (issued > limit) issued = limit;
        setIssued(issued);
        uint256 edge = uint256(limit) - issued + near % 3 - (near % 3 == 0 ? 0 : 1);
        if (near % 3 != 0 && edge <= type(uint32).max) count = uint32(edge);
        if (count == 0) count = 1;
        vm.warp(START + 100 days);
        address who = byRole ? agent : licensor;

        bool tooLarge = byRole && count > 1 << 20;
        if (tooLarge || count > limit - issued) {
            vm.expectRevert(
                tooLarge
                    ? abi.encodeWithSelector(ILicenseRecords.BatchTooLarge.selector, count, uint32(1 << 20))
                    : soldOut(limit)
            );
            anchorAs(who, ROOT, count);
            isBatch(plan, 0, 0, 0, false);
            return;
        }
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.BatchAnchored(plan, ROOT, who, issued + 1, count, URI);
        anchorAs(who, ROOT, count);
        isBatch(plan, count, issued + 1, START + 100 days, byRole);
        (, PlanState memory state) = ledger.planOf(plan);
        eq(state.issued, issued + count);
    }

    /// The other way to sell a plan out by one call is the licensor's alone.
    function test_anIssuerAnchorsAMillionAtATimeAndNoMore() external {
        grantRole(plan, agent, ISSUER);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.BatchTooLarge.selector, uint32(1 << 20) + 1, uint32(1 << 20))
        );
        anchorAs(agent, ROOT, (1 << 20) + 1);
        isBatch(plan, 0, 0, 0, false);
        anchorAs(agent, ROOT, 1 << 20);
        isBatch(plan, 1 << 20, 1, START, true);
        anchorAs(licensor, keccak256("another"), (1 << 20) + 1);
        (, PlanState memory state) = ledger.planOf(plan);
        eq(state.issued, (1 << 21) + 1);
    }

    function test_theSupplyIsKeptToTheLastSerial() external {
        terms.supply = 10;
        plan = newPlan(terms);
        newLicense(plan, holder);
        vm.expectRevert(soldOut(10));
        anchorAs(licensor, ROOT, 10);
        anchorAs(licensor, ROOT, 9);
        vm.expectRevert(soldOut(10));
        newLicense(plan, holder);
    }
}
