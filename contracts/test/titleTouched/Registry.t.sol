// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IModelRegistry, ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Titles} from "./Titles.sol";

/// @notice Stands where a ledger should and refuses all it is told.
contract Refuser {
    fallback() external {
        revert("no");
    }
}

/// @notice The registry's side of it: all plans or none, and a ledger that is not there or refuses.
contract RegistryTest is Titles {
    // ---------------------------------------------------------------- 256 plans

    function fill() internal {
        vm.startPrank(licensor);
        for (uint256 i = 1; i < 256; ++i) {
            ledger.createPlan(terms);
        }
        vm.stopPrank();
    }

    function areMarked(uint32 from, uint32 to) internal view returns (uint256 marked) {
        for (uint32 i = from; i <= to; ++i) {
            if (isMarked(i)) ++marked;
        }
    }

    /// forge-config: default.isolate = true
    function test_aTitleMovesWithAllItsPlans() external {
        fill();
        vm.prank(licensor);
        models.proposeTransfer(terms.modelId, buyer);
        vm.prank(buyer);
        models.acceptTransfer(terms.modelId);
        uint256 gas = vm.lastCallGas().gasTotalUsed;
        require(gas < 4_000_000, vm.toString(gas));
        eq(areMarked(1, 256), 256);
        vm.prank(buyer);
        models.setStatus(terms.modelId, ModelStatus.WITHDRAWN);
        gas = vm.lastCallGas().gasTotalUsed;
        require(gas < 4_000_000, vm.toString(gas));
    }

    /// The sender picks the gas: at no amount does the title move past a plan.
    function test_withTooLittleGasTheTitleDoesNotMove() external {
        fill();
        vm.prank(licensor);
        models.proposeTransfer(terms.modelId, buyer);
        bytes memory accept = abi.encodeCall(models.acceptTransfer, (terms.modelId));
        bool moved;
        for (uint256 gas = 20_000; !moved; gas += 20_000) {
            vm.prank(buyer);
            (moved,) = address(models).call{gas: gas}(accept);
            eq(areMarked(1, 256), moved ? 256 : 0);
            eq(models.licensorOf(terms.modelId), moved ? buyer : licensor);
        }
    }

    // ---------------------------------------------------------------- the registry's side

    /// @dev A registry whose ledger would come from `code`.
    function newRegistry(bytes memory code) internal returns (IModelRegistry) {
        bytes memory arguments = abi.encode(anchors, address(this), SALT, code, ledger.renderer(), ledger.extension());
        return IModelRegistry(deploy("ModelRegistry", arguments));
    }

    function test_theLedgerIsNamedBeforeItIsDeployed() external {
        eq(models.ledger(), address(ledger));
        models = newRegistry(type(Refuser).creationCode);
        eq(models.ledger().code.length, 0);
        bytes memory code =
            abi.encodePacked(type(Refuser).creationCode, abi.encode(models, ledger.renderer(), ledger.extension()));
        bytes32 salt = SALT;
        address at;
        assembly {
            at := create2(0, add(code, 32), mload(code), salt)
        }
        eq(models.ledger(), at);
    }

    function test_aRegistryWithoutItsLedgerWorks() external {
        models = newRegistry(codeOf("LicenseMarket"));
        eq(models.ledger().code.length, 0);
        terms.modelId = newModel(1);
        setStatus(ModelStatus.WITHDRAWN);
        moveTitle(licensor, buyer);
        eq(models.licensorOf(terms.modelId), buyer);
        vm.prank(buyer);
        models.setGuardian(terms.modelId, agent, 7 days);
        vm.prank(agent);
        models.startRecovery(terms.modelId, licensor);
        vm.warp(START + 7 days);
        vm.prank(agent);
        models.finishRecovery(terms.modelId);
        (address owner, ModelStatus status) = models.titleOf(terms.modelId);
        eq(owner, licensor);
        isTrue(status == ModelStatus.WITHDRAWN);
    }

    function test_whatTheLedgerRefusesDoesNotHappen() external {
        models = newRegistry(type(Refuser).creationCode);
        bytes memory code =
            abi.encodePacked(type(Refuser).creationCode, abi.encode(models, ledger.renderer(), ledger.extension()));
        bytes32 id = newModel(1);
        vm.prank(licensor);
        models.proposeTransfer(id, buyer);
        bytes32 salt = SALT;
        assembly {
            pop(create2(0, add(code, 32), mload(code), salt))
        }
        bytes memory failed = abi.encodeWithSelector(IModelRegistry.ModelLedgerFailed.selector, id);
        vm.prank(buyer);
        vm.expectRevert(failed);
        models.acceptTransfer(id);
        vm.prank(licensor);
        vm.expectRevert(failed);
        models.setStatus(id, ModelStatus.COMPROMISED);
        (address owner, ModelStatus status) = models.titleOf(id);
        eq(owner, licensor);
        isTrue(status == ModelStatus.ACTIVE);
        eq(models.pendingLicensorOf(id), buyer);
        newModel(2); // there is nothing to tell
    }
}
