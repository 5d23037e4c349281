// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice Builds T2 trees by the recursive definition of RFC 6962 section 2.1, which shares no code with the verifier.
library Tree {
    function root(bytes32[] memory leaves, uint256 from, uint256 to) internal pure returns (bytes32) {
        if (to - from == 1) return leaves[from];
        uint256 middle = from + split(to - from);
        return keccak256(abi.encodePacked(bytes1(0x01), root(leaves, from, middle), root(leaves, middle, to)));
    }

    function path(bytes32[] memory leaves, uint256 index) internal pure returns (bytes32[] memory) {
        return path(leaves, index, 0, leaves.length, new bytes32[](0));
    }

    function path(bytes32[] memory leaves, uint256 index, uint256 from, uint256 to, bytes32[] memory above)
        private
        pure
        returns (bytes32[] memory)
    {
        if (to - from == 1) return above;
        uint256 middle = from + split(to - from);
        bool left = index < middle;
        bytes32[] memory longer = new bytes32[](above.length + 1);
        longer[0] = left ? root(leaves, middle, to) : root(leaves, from, middle);
        for (uint256 i; i < above.length; ++i) {
            longer[i + 1] = above[i];
        }
        return left ? path(leaves, index, from, middle, longer) : path(leaves, index, middle, to, longer);
    }

    /// @dev The largest power of two below n.
    function split(uint256 n) private pure returns (uint256 k) {
        k = 1;
        while (k * 2 < n) k *= 2;
    }
}
