// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {BatchLeaf} from "../../src/interfaces/LicenseTypes.sol";
import {Titles} from "../titleTouched/Titles.sol";
import {Tree} from "../Tree.sol";

/// @notice A plan and one T2 tree of its licenses, each leaf hashed field by field as BatchLeaf documents it.
abstract contract Batches is Titles {
    bytes32[] internal tree;
    bytes32 internal root;

    function leafAt(uint256 index) internal pure returns (BatchLeaf memory leaf) {
        leaf.index = uint32(index);
        leaf.to = address(uint160(0x30000 + index));
        leaf.extHash = keccak256(abi.encode("order", index));
        leaf.salt = keccak256(abi.encode("leaf", index));
    }

    function innerHash(uint256 chainId, address at, uint32 planId, BatchLeaf memory leaf)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(
            abi.encode(chainId, at, planId, leaf.index, leaf.to, leaf.notBefore, leaf.notAfter, leaf.extHash, leaf.salt)
        );
    }

    function leafHash(uint256 chainId, address at, uint32 planId, BatchLeaf memory leaf)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encodePacked(innerHash(chainId, at, planId, leaf)));
    }

    function leafHash(BatchLeaf memory leaf) internal view returns (bytes32) {
        return leafHash(block.chainid, address(ledger), plan, leaf);
    }

    // ---------------------------------------------------------------- trees

    /// @dev `count` leaves, not anchored yet.
    function grow(uint256 count) internal {
        delete tree;
        for (uint256 i; i < count; ++i) {
            tree.push(leafHash(leafAt(i)));
        }
        root = Tree.root(tree, 0, count);
    }

    /// @dev Puts something else in one place of the tree.
    function graft(uint256 index, bytes32 hash) internal {
        tree[index] = hash;
        root = Tree.root(tree, 0, tree.length);
    }

    function anchorAs(address who) internal {
        vm.prank(who);
        ledger.anchorBatch(plan, root, uint32(tree.length), keccak256("uri"));
    }

    function newBatch(uint256 count) internal {
        grow(count);
        anchorAs(licensor);
    }

    /// @dev A batch of `count` with `leaf` in its place.
    function newBatchWith(BatchLeaf memory leaf, uint256 count, address who) internal {
        grow(count);
        graft(leaf.index, leafHash(leaf));
        anchorAs(who);
    }

    function pathOf(uint256 index) internal view returns (bytes32[] memory) {
        return Tree.path(tree, index);
    }

    function claimLeaf(BatchLeaf memory leaf) internal returns (uint256) {
        bytes32[] memory path = pathOf(leaf.index);
        return ledger.claim(plan, root, leaf, path);
    }

    function claimAt(uint256 index) internal returns (uint256) {
        return claimLeaf(leafAt(index));
    }

    function firstId() internal view returns (uint256) {
        (, uint32 firstSerial,,,) = ledger.batchOf(plan, root);
        return uint256(plan) << 32 | firstSerial;
    }
}
