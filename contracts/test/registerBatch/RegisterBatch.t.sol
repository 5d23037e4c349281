// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {InclusionProof} from "../../src/interfaces/IAnchors.sol";
import {Claim, IModelRegistry, ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Base} from "../Base.sol";
import {Tree} from "../Tree.sol";

contract RegisterBatchTest is Base {
    function claims(uint256 count) internal view returns (Claim[] memory batch) {
        batch = new Claim[](count);
        for (uint256 i; i < count; ++i) {
            batch[i] = claimOf(licensor, i);
        }
    }

    function registerAs(address who, Claim[] memory batch, InclusionProof[] memory proofs)
        internal
        returns (bytes32[] memory)
    {
        vm.prank(who);
        return models.registerBatch(batch, proofs);
    }

    function register(Claim[] memory batch) internal returns (bytes32[] memory) {
        return registerAs(licensor, batch, new InclusionProof[](batch.length));
    }

    function areUnknown(Claim[] memory batch) internal view {
        for (uint256 i; i < batch.length; ++i) {
            eq(models.licensorOf(models.modelIdOf(batch[i])), address(0));
        }
    }

    function emitsRegistered(Claim memory claim, uint40 committedAt) internal {
        bytes32 id = models.modelIdOf(claim);
        vm.expectEmit(true, true, true, true, address(models));
        emit IModelRegistry.ModelRegistered(
            id,
            claim.licensor,
            claim.artifactRoot,
            claim.fingerprintDigest,
            claim.watermarkCommitment,
            claim.manifestHash,
            uint40(block.timestamp),
            committedAt
        );
    }

    // ---------------------------------------------------------------- what is refused

    function test_everyClaimHasItsProof() external {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelBatchLengths.selector, 2, 1));
        registerAs(licensor, claims(2), new InclusionProof[](1));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelBatchLengths.selector, 1, 2));
        registerAs(licensor, claims(1), new InclusionProof[](2));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelBatchLengths.selector, 0, 1));
        registerAs(licensor, claims(0), new InclusionProof[](1));
    }

    function test_nobodyRegistersForAnother() external {
        Claim[] memory batch = claims(3);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelClaimNotSigned.selector, licensor, stranger));
        registerAs(stranger, batch, new InclusionProof[](3));
        batch[2] = claimOf(buyer, 2);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelClaimNotSigned.selector, buyer, licensor));
        register(batch);
        areUnknown(batch);
    }

    function test_aModelIsRegisteredOnce() external {
        Claim[] memory batch = claims(3);
        batch[2] = batch[0];
        bytes memory exists = abi.encodeWithSelector(IModelRegistry.ModelExists.selector, models.modelIdOf(batch[0]));
        vm.expectRevert(exists);
        register(batch);
        areUnknown(batch);
        newModel(0);
        batch = claims(2);
        vm.expectRevert(exists);
        register(batch);
        eq(models.licensorOf(models.modelIdOf(batch[1])), address(0));
    }

    function test_oneBadProofSpoilsTheBatch() external {
        Claim[] memory batch = claims(2);
        InclusionProof[] memory proofs = new InclusionProof[](2);
        bytes32 leaf = commitmentOf(models.modelIdOf(batch[0]));
        (proofs[1].root, proofs[1].size) = (leaf, 1); // of the other model
        bytes32 own = commitmentOf(models.modelIdOf(batch[1]));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelCommitmentProofInvalid.selector, leaf, own));
        registerAs(licensor, batch, proofs);
        proofs[1].root = own;
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelCommitmentNotAnchored.selector, own));
        registerAs(licensor, batch, proofs);
        anchors.anchor(own);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelCommitmentNotEarlier.selector, own, uint64(1000)));
        registerAs(licensor, batch, proofs);
        areUnknown(batch);
        vm.roll(1001);
        registerAs(licensor, batch, proofs);
    }

    function test_oneUnknownParentSpoilsTheBatch() external {
        Claim[] memory batch = claims(2);
        batch[0].parents = new bytes32[](1);
        batch[0].parents[0] = models.modelIdOf(batch[1]); // its child stands before it
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelParentUnknown.selector, batch[0].parents[0]));
        register(batch);
        areUnknown(batch);
        (batch[0], batch[1]) = (batch[1], batch[0]);
        bytes32[] memory ids = register(batch);
        eq(models.licensorOf(ids[1]), licensor);
    }

    // ---------------------------------------------------------------- what is registered

    function test_nothingIsRegisteredAsNothing() external {
        eq(register(claims(0)).length, 0);
    }

    function test_aParentMayStandInTheSameBatch() external {
        Claim[] memory batch = claims(2);
        bytes32 parent = models.modelIdOf(batch[0]);
        batch[1].parents = new bytes32[](1);
        batch[1].parents[0] = parent;
        emitsRegistered(batch[0], START);
        emitsRegistered(batch[1], START);
        bytes32 child = models.modelIdOf(batch[1]);
        vm.expectEmit(true, true, true, true, address(models));
        emit IModelRegistry.ParentDeclared(child, parent);
        eq(register(batch)[1], child);
    }

    /// One tree commits to all, and some are registered without it; each comes out as by itself.
    function testFuzz_eachClaimIsRegisteredByItsOwnProof(uint8 size, uint256 proven, uint24 wait) external {
        Claim[] memory batch = claims(1 + size % 9);
        bytes32[] memory leaves = new bytes32[](batch.length);
        for (uint256 i; i < batch.length; ++i) {
            leaves[i] = commitmentOf(models.modelIdOf(batch[i]));
        }
        InclusionProof[] memory proofs = new InclusionProof[](batch.length);
        bytes32 root = Tree.root(leaves, 0, leaves.length);
        anchors.anchor(root);
        vm.warp(START + 1 + wait);
        vm.roll(1001);
        for (uint64 i; i < batch.length; ++i) {
            bool proves = proven >> i & 1 == 1;
            if (proves) proofs[i] = InclusionProof(root, i, uint64(leaves.length), Tree.path(leaves, i));
            emitsRegistered(batch[i], proves ? START : uint40(block.timestamp));
        }
        bytes32[] memory ids = registerAs(licensor, batch, proofs);
        eq(ids.length, batch.length);
        for (uint256 i; i < ids.length; ++i) {
            eq(ids[i], models.modelIdOf(batch[i]));
            isRegistered(ids[i], proven >> i & 1 == 1);
        }
    }

    function isRegistered(bytes32 id, bool proven) private view {
        (address owner, uint40 registeredAt, uint40 committedAt, ModelStatus status, bool committed) =
            models.modelOf(id);
        eq(owner, licensor);
        eq(registeredAt, block.timestamp);
        eq(committedAt, proven ? START : block.timestamp);
        isTrue(status == ModelStatus.ACTIVE);
        isTrue(committed == proven);
    }
}
