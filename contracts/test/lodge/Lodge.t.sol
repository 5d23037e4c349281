// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IModelRegistry} from "../../src/interfaces/IModelRegistry.sol";
import {Base} from "../Base.sol";

contract LodgeTest is Base {
    bytes32 internal id;
    bytes32 internal constant RECORD = keccak256("record");

    function setUp() public override {
        super.setUp();
        id = newModel(1);
    }

    function lodge(address who, uint16 kind, uint64 epoch, bytes32 hash) internal {
        vm.prank(who);
        models.lodge(id, kind, epoch, hash);
    }

    function test_anEmptyRecordIsRefused() external {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRecordHashZero.selector));
        lodge(licensor, 1, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRecordHashZero.selector));
        lodge(stranger, 2, 0, 0);
    }

    function test_onlyTheHolderLodgesASealing() external {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelNotLicensor.selector, id, stranger));
        lodge(stranger, 1, 1, RECORD);
    }

    function testFuzz_sealingEpochsRise(uint32 first, uint32 second) external {
        vm.assume(first != 0);
        (uint64 epoch, bytes32 hash) = models.sealingOf(id);
        eq(epoch, 0);
        eq(hash, 0);
        vm.expectEmit(true, true, true, true, address(models));
        emit IModelRegistry.RecordLodged(id, 1, licensor, first, RECORD);
        lodge(licensor, 1, first, RECORD);
        if (second <= first) {
            vm.expectRevert(
                abi.encodeWithSelector(
                    IModelRegistry.ModelSealingEpochNotRising.selector, id, uint64(first), uint64(second)
                )
            );
            lodge(licensor, 1, second, keccak256("later"));
            (epoch, hash) = models.sealingOf(id);
            eq(epoch, first);
            eq(hash, RECORD);
        } else {
            lodge(licensor, 1, second, keccak256("later"));
            (epoch, hash) = models.sealingOf(id);
            eq(epoch, second);
            eq(hash, keccak256("later"));
        }
        eq(models.sealingAt(id, first), RECORD);
    }

    function test_anEpochIsLodgedOnce() external {
        lodge(licensor, 1, 3, RECORD);
        vm.expectRevert(
            abi.encodeWithSelector(IModelRegistry.ModelSealingEpochNotRising.selector, id, uint64(3), uint64(3))
        );
        lodge(licensor, 1, 3, keccak256("another"));
        eq(models.sealingAt(id, 3), RECORD);
        vm.expectRevert(
            abi.encodeWithSelector(IModelRegistry.ModelSealingEpochNotRising.selector, id, uint64(3), uint64(2))
        );
        lodge(licensor, 1, 2, RECORD);
    }

    function test_nobodyUsesTheEpochsUp() external {
        lodge(licensor, 1, 10, RECORD);
        uint64 limit = 10 + uint64(type(uint32).max);
        vm.expectRevert(
            abi.encodeWithSelector(IModelRegistry.ModelSealingEpochTooFar.selector, id, limit, type(uint64).max)
        );
        lodge(licensor, 1, type(uint64).max, RECORD);
        lodge(licensor, 1, limit, RECORD);
    }

    function testFuzz_anyoneLodgesTheOtherKinds(address who, uint16 kind, uint64 epoch) external {
        vm.assume(kind != 1 && who != address(vm));
        vm.expectEmit(true, true, true, true, address(models));
        emit IModelRegistry.RecordLodged(id, kind, who, 0, RECORD);
        lodge(who, kind, epoch, RECORD);
        (uint64 latest,) = models.sealingOf(id);
        eq(latest, 0);
        id = keccak256("nobody's");
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelUnknown.selector, id));
        lodge(who, kind, epoch, RECORD);
    }
}
