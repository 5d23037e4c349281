// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {InclusionProof} from "../../src/interfaces/IAnchors.sol";
import {Claim, IModelRegistry, ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Base} from "../Base.sol";
import {Tree} from "../Tree.sol";

contract RegisterTest is Base {
    function committed(Claim memory claim) internal returns (InclusionProof memory proof) {
        proof.root = commitmentOf(models.modelIdOf(claim));
        proof.size = 1;
        anchors.anchor(proof.root);
    }

    function registerAs(address who, Claim memory claim, InclusionProof memory proof) internal returns (bytes32) {
        vm.prank(who);
        return models.register(claim, proof);
    }

    function test_onlyTheLicensorRegisters() external {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelClaimNotSigned.selector, licensor, stranger));
        registerAs(stranger, claimOf(licensor, 1), noProof());
    }

    function testFuzz_withoutAProofAModelIsUncommitted(uint256 seed, uint40 ahead) external {
        vm.warp(START + ahead % (100 * 365 days));
        Claim memory claim = claimOf(licensor, seed);
        bytes32 id = models.modelIdOf(claim);
        vm.expectEmit(true, true, true, true, address(models));
        emit IModelRegistry.ModelRegistered(
            id,
            licensor,
            claim.artifactRoot,
            claim.fingerprintDigest,
            claim.watermarkCommitment,
            claim.manifestHash,
            uint40(block.timestamp),
            uint40(block.timestamp)
        );
        eq(registerAs(licensor, claim, noProof()), id);
        (address owner, uint40 registeredAt, uint40 committedAt, ModelStatus status, bool proven) = models.modelOf(id);
        eq(owner, licensor);
        eq(registeredAt, block.timestamp);
        eq(committedAt, registeredAt);
        isTrue(status == ModelStatus.ACTIVE);
        isFalse(proven);
        (owner, status) = models.titleOf(id);
        eq(owner, licensor);
        isTrue(status == ModelStatus.ACTIVE);
        eq(models.licensorOf(id), licensor);
        eq(models.anchors(), address(anchors));
    }

    function test_aModelIsRegisteredOnce() external {
        bytes32 id = newModel(1);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelExists.selector, id));
        registerAs(licensor, claimOf(licensor, 1), noProof());
    }

    function test_anEarlierCommitmentGivesItsTime() external {
        Claim memory claim = claimOf(licensor, 1);
        InclusionProof memory proof = committed(claim);
        vm.warp(START + 90);
        vm.roll(1001);
        bytes32 id = registerAs(licensor, claim, proof);
        (, uint40 registeredAt, uint40 committedAt,, bool proven) = models.modelOf(id);
        eq(registeredAt, START + 90);
        eq(committedAt, START);
        isTrue(proven);
    }

    function test_aCommitmentOfTheSameBlockDoesNotCount() external {
        Claim memory claim = claimOf(licensor, 1);
        InclusionProof memory proof = committed(claim);
        vm.expectRevert(
            abi.encodeWithSelector(IModelRegistry.ModelCommitmentNotEarlier.selector, proof.root, uint64(1000))
        );
        registerAs(licensor, claim, proof);
    }

    function test_aRootNobodyAnchoredDoesNotCount() external {
        Claim memory claim = claimOf(licensor, 1);
        InclusionProof memory proof = noProof();
        proof.root = commitmentOf(models.modelIdOf(claim));
        proof.size = 1;
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelCommitmentNotAnchored.selector, proof.root));
        registerAs(licensor, claim, proof);
    }

    function test_someoneElsesCommitmentDoesNotCount() external {
        InclusionProof memory proof = committed(claimOf(licensor, 1));
        vm.roll(1001);
        Claim memory stolen = claimOf(stranger, 1);
        bytes32 leaf = commitmentOf(models.modelIdOf(stolen));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelCommitmentProofInvalid.selector, proof.root, leaf));
        registerAs(stranger, stolen, proof);
    }

    /// One leaf among up to 70, at any place: the proof of the RFC holds, and any single change to it does not.
    function testFuzz_aCommitmentInATreeIsProvenAtItsPlaceOnly(uint8 sizeSeed, uint8 placeSeed, uint8 fault) external {
        uint256 size = 1 + uint256(sizeSeed) % 70;
        uint256 place = uint256(placeSeed) % size;
        Claim memory claim = claimOf(licensor, 5);
        bytes32 leaf = commitmentOf(models.modelIdOf(claim));
        bytes32[] memory leaves = new bytes32[](size);
        for (uint256 i; i < size; ++i) {
            leaves[i] = i == place ? leaf : keccak256(abi.encode("other", i));
        }
        InclusionProof memory proof;
        proof.root = Tree.root(leaves, 0, size);
        proof.index = uint64(place);
        proof.size = uint64(size);
        proof.path = Tree.path(leaves, place);
        anchors.anchor(proof.root);
        vm.roll(1001);

        InclusionProof memory bad = InclusionProof(proof.root, proof.index, proof.size, copy(proof.path));
        uint256 kind = fault % 5;
        if (kind == 0) bad.index = uint64(size); // past the end
        else if (kind == 1) bad.path = grow(bad.path);
        else if (kind == 2 && size > 1) bad.path = shrink(bad.path);
        else if (kind == 3 && size > 1) bad.path[bad.path.length - 1] = bytes32(uint256(1));
        else bad.size = 0;
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelCommitmentProofInvalid.selector, bad.root, leaf));
        registerAs(licensor, claim, bad);

        bytes32 id = registerAs(licensor, claim, proof);
        (,,,, bool proven) = models.modelOf(id);
        isTrue(proven);
    }

    function test_aProofThatStopsBelowTheTopIsRefused() external {
        Claim memory claim = claimOf(licensor, 1);
        InclusionProof memory proof = committed(claim);
        vm.roll(1001);
        proof.size = 2; // the root is the leaf, but a tree of two has a node above it
        vm.expectRevert(
            abi.encodeWithSelector(IModelRegistry.ModelCommitmentProofInvalid.selector, proof.root, proof.root)
        );
        registerAs(licensor, claim, proof);
    }

    function test_aProofThatClimbsAboveTheTopIsRefused() external {
        Claim memory claim = claimOf(licensor, 1);
        bytes32[] memory leaves = new bytes32[](2);
        leaves[0] = keccak256("other");
        leaves[1] = commitmentOf(models.modelIdOf(claim));
        InclusionProof memory proof;
        proof.root = Tree.root(leaves, 0, 2);
        proof.path = Tree.path(leaves, 1);
        proof.size = 1; // the path is right, but a tree of one has no path
        anchors.anchor(proof.root);
        vm.roll(1001);
        vm.expectRevert(
            abi.encodeWithSelector(IModelRegistry.ModelCommitmentProofInvalid.selector, proof.root, leaves[1])
        );
        registerAs(licensor, claim, proof);
        (proof.index, proof.size) = (1, 2);
        registerAs(licensor, claim, proof);
    }

    function test_anInnerNodeDoesNotPassForALeaf() external {
        bytes32[] memory leaves = new bytes32[](2);
        leaves[0] = keccak256("left");
        leaves[1] = keccak256("right");
        Claim memory claim = claimOf(licensor, 1);
        InclusionProof memory proof;
        proof.root = Tree.root(leaves, 0, 2);
        proof.size = 1; // says that the root itself is the leaf
        anchors.anchor(proof.root);
        vm.roll(1001);
        bytes32 leaf = commitmentOf(models.modelIdOf(claim));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelCommitmentProofInvalid.selector, proof.root, leaf));
        registerAs(licensor, claim, proof);
    }

    // ---------------------------------------------------------------- parents

    function sorted(uint256 count) internal returns (bytes32[] memory ids) {
        ids = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            bytes32 id = newModel(100 + i);
            uint256 j = i;
            for (; j > 0 && ids[j - 1] > id; --j) {
                ids[j] = ids[j - 1];
            }
            ids[j] = id;
        }
    }

    function test_eightParentsAreDeclaredInOrder() external {
        Claim memory claim = claimOf(licensor, 1);
        claim.parents = sorted(8);
        bytes32 id = models.modelIdOf(claim);
        for (uint256 i; i < 8; ++i) {
            vm.expectEmit(true, true, true, true, address(models));
            emit IModelRegistry.ParentDeclared(id, claim.parents[i]);
        }
        registerAs(licensor, claim, noProof());
    }

    function test_nineParentsAreTooMany() external {
        Claim memory claim = claimOf(licensor, 1);
        claim.parents = sorted(9);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelTooManyParents.selector, 9, 8));
        registerAs(licensor, claim, noProof());
    }

    function test_parentsStandInRisingOrder() external {
        Claim memory claim = claimOf(licensor, 1);
        claim.parents = sorted(3);
        (claim.parents[1], claim.parents[2]) = (claim.parents[2], claim.parents[1]);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelParentsNotSorted.selector, 2));
        registerAs(licensor, claim, noProof());
        claim.parents[2] = claim.parents[1];
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelParentsNotSorted.selector, 2));
        registerAs(licensor, claim, noProof());
    }

    function test_anUnknownParentIsRefused() external {
        Claim memory claim = claimOf(licensor, 1);
        claim.parents = new bytes32[](1);
        claim.parents[0] = keccak256("nobody's");
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelParentUnknown.selector, claim.parents[0]));
        registerAs(licensor, claim, noProof());
    }

    // ---------------------------------------------------------------- the id

    function test_theIdIsTheHashDesignStates() external view {
        Claim memory claim = claimOf(licensor, 1);
        bytes32 want = keccak256(
            abi.encode(
                keccak256("modeldeed/model/1"),
                block.chainid,
                address(models),
                claim.licensor,
                claim.artifactRoot,
                claim.fingerprintDigest,
                claim.watermarkCommitment,
                claim.manifestHash,
                keccak256(""),
                claim.salt
            )
        );
        eq(models.modelIdOf(claim), want);
    }

    function testFuzz_everyFieldChangesTheId(uint8 field, bytes32 value) external {
        Claim memory claim = claimOf(licensor, 1);
        bytes32 before = models.modelIdOf(claim);
        uint256 which = field % 8;
        vm.assume(value != 0 && address(uint160(uint256(value))) != licensor);
        vm.assume(value != claim.artifactRoot && value != claim.fingerprintDigest && value != claim.salt);
        vm.assume(value != claim.watermarkCommitment && value != claim.manifestHash);
        if (which == 0) claim.licensor = address(uint160(uint256(value)));
        else if (which == 1) claim.artifactRoot = value;
        else if (which == 2) claim.fingerprintDigest = value;
        else if (which == 3) claim.watermarkCommitment = value;
        else if (which == 4) claim.manifestHash = value;
        else if (which == 5) claim.salt = value;
        else if (which == 6) vm.chainId(block.chainid + 1);
        else claim.parents = grow(claim.parents);
        isTrue(models.modelIdOf(claim) != before);
    }

    // ---------------------------------------------------------------- arrays

    function copy(bytes32[] memory list) internal pure returns (bytes32[] memory out) {
        return resize(list, list.length);
    }

    function grow(bytes32[] memory list) internal pure returns (bytes32[] memory out) {
        out = resize(list, list.length + 1);
        out[list.length] = keccak256("one more");
    }

    function shrink(bytes32[] memory list) internal pure returns (bytes32[] memory) {
        return resize(list, list.length - 1);
    }

    function resize(bytes32[] memory list, uint256 length) internal pure returns (bytes32[] memory out) {
        out = new bytes32[](length);
        for (uint256 i; i < length && i < list.length; ++i) {
            out[i] = list[i];
        }
    }
}
