// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {InclusionProof} from "../interfaces/IAnchors.sol";

/// @title InclusionLib
/// @notice Verifies T2 inclusion proofs: keccak-256 in the tree shape of RFC 6962, checked as RFC 9162 section 2.1.3.2 says.
/// @dev An inner node is keccak256(0x01 ‖ left ‖ right). The caller hands in the leaf hash, whose preimage starts with
/// byte 0x00 or is 32 bytes long, so no inner node, of 65 bytes, can pass for a leaf.
library InclusionLib {
    /// @return true when `leaf` stands at `proof.index` of the `proof.size` leaves under `proof.root`
    function verifies(InclusionProof calldata proof, bytes32 leaf) internal pure returns (bool) {
        return verifies(proof.root, proof.index, proof.size, proof.path, leaf);
    }

    /// @return true when `leaf` stands at `index` of the `size` leaves under `root`
    function verifies(bytes32 root, uint256 index, uint256 size, bytes32[] calldata path, bytes32 leaf)
        internal
        pure
        returns (bool)
    {
        uint256 fn = index;
        if (fn >= size) return false;
        uint256 sn;
        unchecked {
            sn = size - 1; // size > index >= 0
        }
        bytes32 r = leaf;
        uint256 n = path.length;
        for (uint256 i; i < n; ++i) {
            if (sn == 0) return false; // longer than the way to the root
            bytes32 sibling = path[i];
            if (fn & 1 == 1 || fn == sn) {
                r = node(sibling, r);
                // On the right edge the leaf may skip levels that have no sibling.
                while (fn & 1 == 0 && fn != 0) {
                    fn >>= 1;
                    sn >>= 1;
                }
            } else {
                r = node(r, sibling);
            }
            fn >>= 1;
            sn >>= 1;
        }
        return sn == 0 && r == root;
    }

    function node(bytes32 left, bytes32 right) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x01), left, right));
    }
}
