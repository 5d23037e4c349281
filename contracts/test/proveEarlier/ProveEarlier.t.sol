// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {InclusionProof} from "../../src/interfaces/IAnchors.sol";
import {Claim, IModelRegistry, ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Base} from "../Base.sol";

contract ProveEarlierTest is Base {
    function anchored(bytes32 id) internal returns (InclusionProof memory proof) {
        proof.root = commitmentOf(id);
        proof.size = 1;
        anchors.anchor(proof.root);
    }

    function test_anUnknownModelHasNothingToLower() external {
        bytes32 id = keccak256("nobody's");
        InclusionProof memory proof = anchored(id);
        vm.roll(1001);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelUnknown.selector, id));
        models.proveEarlier(id, proof);
    }

    function testFuzz_anyoneLowersItToTheAnchorsTime(uint32 gap, address who) external {
        vm.assume(gap != 0 && who != address(vm));
        bytes32 id = models.modelIdOf(claimOf(licensor, 1));
        InclusionProof memory proof = anchored(id);
        vm.warp(uint256(START) + gap);
        vm.roll(1001);
        newModel(1);
        vm.prank(licensor);
        models.setStatus(id, ModelStatus.WITHDRAWN);

        vm.expectEmit(true, true, true, true, address(models));
        emit IModelRegistry.CommitmentProven(id, START);
        vm.prank(who);
        models.proveEarlier(id, proof);
        (address owner, uint40 registeredAt, uint40 committedAt, ModelStatus status, bool proven) = models.modelOf(id);
        eq(owner, licensor);
        eq(registeredAt, uint256(START) + gap);
        eq(committedAt, START);
        isTrue(status == ModelStatus.WITHDRAWN);
        isTrue(proven);

        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelCommitmentNotLower.selector, START, START));
        models.proveEarlier(id, proof);
    }

    function test_aLaterAnchorChangesNothing() external {
        bytes32 id = newModel(1);
        vm.warp(START + 1);
        vm.roll(1001);
        InclusionProof memory proof = anchored(id);
        vm.roll(1002);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelCommitmentNotLower.selector, START, START + 1));
        models.proveEarlier(id, proof);
    }

    function test_theProofIsCheckedAsWhenRegistering() external {
        bytes32 id = newModel(1);
        InclusionProof memory proof;
        proof.root = keccak256("another");
        proof.size = 1;
        vm.expectRevert(
            abi.encodeWithSelector(IModelRegistry.ModelCommitmentProofInvalid.selector, proof.root, commitmentOf(id))
        );
        models.proveEarlier(id, proof);
        proof.root = commitmentOf(id);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelCommitmentNotAnchored.selector, proof.root));
        models.proveEarlier(id, proof);
        anchors.anchor(proof.root);
        vm.expectRevert(
            abi.encodeWithSelector(IModelRegistry.ModelCommitmentNotEarlier.selector, proof.root, uint64(1000))
        );
        models.proveEarlier(id, proof);
    }
}
