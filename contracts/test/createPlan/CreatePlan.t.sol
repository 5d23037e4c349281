// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {PlanState, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Base} from "../Base.sol";

contract CreatePlanTest is Base {
    function test_onlyTheTitleHolderMakesAPlan() external {
        PlanTerms memory terms = termsOf(newModel(1));
        vm.prank(stranger);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.PlanNotTitleHolder.selector, terms.modelId, stranger, licensor)
        );
        ledger.createPlan(terms);
        terms.modelId = keccak256("nobody's");
        vm.prank(stranger);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.PlanNotTitleHolder.selector, terms.modelId, stranger, address(0))
        );
        ledger.createPlan(terms);
    }

    function test_aModelThatIsNotActiveGetsNoPlan() external {
        PlanTerms memory terms = termsOf(newModel(1));
        for (uint8 status = 2; status <= 3; ++status) {
            vm.prank(licensor);
            models.setStatus(terms.modelId, ModelStatus(status));
            vm.expectRevert(
                abi.encodeWithSelector(ILicenseRecords.PlanModelNotIssuable.selector, terms.modelId, status)
            );
            newPlan(terms);
        }
    }

    function testFuzz_nobodyStaysOfflineLongerThanAgreed(uint32 leaseTtl, uint24 grace, uint32 maxOffline) external {
        PlanTerms memory terms = termsOf(newModel(1));
        (terms.leaseTtl, terms.grace, terms.maxOffline) = (leaseTtl, grace, maxOffline);
        uint256 offline = uint256(leaseTtl) + grace;
        if (offline > maxOffline) {
            vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanOfflineTooLong.selector, offline, maxOffline));
        }
        newPlan(terms);
    }

    function testFuzz_aRefundNeedsSeatsThatShow(uint32 refundWindow, bool floating) external {
        PlanTerms memory terms = termsOf(newModel(1));
        (terms.refundWindow, terms.floating) = (refundWindow, floating);
        if (floating && refundWindow != 0) vm.expectRevert(ILicenseRecords.PlanRefundFloats.selector);
        newPlan(terms);
    }

    function test_oneSecondOfRefundIsARefund() external {
        PlanTerms memory terms = termsOf(newModel(1));
        (terms.refundWindow, terms.floating) = (1, true);
        vm.expectRevert(ILicenseRecords.PlanRefundFloats.selector);
        newPlan(terms);
        terms.refundWindow = 0;
        newPlan(terms);
        (terms.refundWindow, terms.floating) = (type(uint32).max, false);
        newPlan(terms);
    }

    function test_the257thPlanOfAModelAsksTheRegistryAtEachIssue() external {
        PlanTerms memory terms = termsOf(newModel(1));
        for (uint32 i = 1; i <= 257; ++i) {
            eq(newPlan(terms), i);
        }
        newLicense(257, holder);
        vm.prank(licensor);
        models.setStatus(terms.modelId, ModelStatus.WITHDRAWN);
        bytes memory refused = abi.encodeWithSelector(
            ILicenseRecords.PlanModelNotIssuable.selector, terms.modelId, uint8(ModelStatus.WITHDRAWN)
        );
        for (uint32 i = 1; i <= 257; i += 128) {
            vm.expectRevert(refused);
            newLicense(i, holder);
        }
    }

    function test_noFormerHolderLeavesTheNextOneWithoutPlans() external {
        PlanTerms memory terms = termsOf(newModel(1));
        for (uint32 i; i < 256; ++i) {
            newPlan(terms);
        }
        vm.prank(licensor);
        models.proposeTransfer(terms.modelId, buyer);
        vm.prank(buyer);
        models.acceptTransfer(terms.modelId);
        vm.startPrank(buyer);
        eq(ledger.createPlan(terms), 257);
        ledger.issue(257, holder, 0, 0);
        vm.stopPrank();
    }

    function test_aFormerHolderMakesNoPlan() external {
        PlanTerms memory terms = termsOf(newModel(1));
        vm.prank(licensor);
        models.proposeTransfer(terms.modelId, buyer);
        vm.prank(buyer);
        models.acceptTransfer(terms.modelId);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.PlanNotTitleHolder.selector, terms.modelId, licensor, buyer)
        );
        newPlan(terms);
        vm.prank(buyer);
        eq(ledger.createPlan(terms), 1);
    }

    function testFuzz_everyTermComesBack(PlanTerms memory terms) external {
        terms.modelId = newModel(1);
        terms.maxOffline = type(uint32).max;
        terms.leaseTtl /= 2;
        if (terms.floating) terms.refundWindow = 0;
        bytes32 digest = keccak256(abi.encode(keccak256("modeldeed/plan/1"), licensor, terms));
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.PlanCreated(1, licensor, terms.modelId, terms.termsHash, digest);
        eq(newPlan(terms), 1);
        eq(newPlan(terms), 2);

        (PlanTerms memory got, PlanState memory state) = ledger.planOf(1);
        eq(keccak256(abi.encode(got)), keccak256(abi.encode(terms)));
        eq(state.licensor, licensor);
        eq(state.issued, 0);
        eq(state.roleEpoch, 0);
        isFalse(state.paused);
        eq(state.planDigest, digest);
    }

    function test_anUnknownPlanIsNamed() external {
        bytes memory unknown = abi.encodeWithSelector(ILicenseRecords.PlanUnknown.selector, uint32(9));
        vm.expectRevert(unknown);
        ledger.planOf(9);
        vm.expectRevert(unknown);
        ledger.setPaused(9, true);
        vm.expectRevert(unknown);
        ledger.setRoles(9, agent, 1);
        vm.expectRevert(unknown);
        ledger.syncLicensor(9);
        vm.expectRevert(unknown);
        ledger.issue(9, holder, 0, 0);
        eq(ledger.rolesOf(9, agent), 0);
        eq(ledger.registry(), address(models));
    }
}
