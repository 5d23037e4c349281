// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Base} from "../Base.sol";

/// @notice A plan and the title it rests on, which moves and changes its status.
abstract contract Titles is Base {
    bytes4 internal constant TO_ZERO = bytes4(keccak256("TransferToZeroAddress()")); // solady's

    PlanTerms internal terms;
    uint32 internal plan;

    function setUp() public virtual override {
        super.setUp();
        terms = termsOf(newModel(1));
        plan = newPlan(terms);
    }

    function moveTitle(address from, address to) internal {
        vm.prank(from);
        models.proposeTransfer(terms.modelId, to);
        vm.prank(to);
        models.acceptTransfer(terms.modelId);
    }

    function setStatus(ModelStatus status) internal {
        vm.prank(models.licensorOf(terms.modelId));
        models.setStatus(terms.modelId, status);
    }

    function setPaused(bool paused) internal {
        vm.prank(licensor);
        ledger.setPaused(plan, paused);
    }

    /// @dev As if so many had been issued: serials are 32 bits wide.
    function setIssued(uint32 issued) internal {
        bytes32 slot = keccak256(abi.encode(uint256(plan), uint256(1)));
        uint256 word = uint256(vm.load(address(ledger), slot));
        word &= ~(uint256(type(uint32).max) << 160);
        vm.store(address(ledger), slot, bytes32(word | uint256(issued) << 160));
    }

    /// @dev Bit 6 of the flags in the plan's first word.
    function isMarked(uint32 planId) internal view returns (bool) {
        return uint256(vm.load(address(ledger), keccak256(abi.encode(uint256(planId), uint256(1))))) >> 254 & 1 == 1;
    }

    // ---------------------------------------------------------------- refusals

    function unauthorized(address who, uint8 role) internal view returns (bytes memory) {
        return abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, who, role);
    }

    function unknown(uint32 planId) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(ILicenseRecords.PlanUnknown.selector, planId);
    }

    function pausedPlan() internal view returns (bytes memory) {
        return abi.encodeWithSelector(ILicenseRecords.PlanIsPaused.selector, plan);
    }

    function soldOut(uint32 supply) internal view returns (bytes memory) {
        return abi.encodeWithSelector(ILicenseRecords.PlanSupplyExceeded.selector, plan, supply);
    }

    function titleMoved(address to) internal view returns (bytes memory) {
        return abi.encodeWithSelector(ILicenseRecords.PlanTitleMoved.selector, plan, licensor, to);
    }

    function notIssuable(ModelStatus status) internal view returns (bytes memory) {
        return abi.encodeWithSelector(ILicenseRecords.PlanModelNotIssuable.selector, terms.modelId, uint8(status));
    }

    function window(uint40 notBefore, uint40 notAfter) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(ILicenseRecords.LicenseWindowInvalid.selector, notBefore, notAfter);
    }
}
