// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {BatchLeaf} from "./interfaces/LicenseTypes.sol";
import {InclusionLib} from "./libraries/InclusionLib.sol";
import {LicenseLogic} from "./LicenseLogic.sol";
import {IssueWord, IssueWordLib} from "./types/IssueWord.sol";

/// @title LicenseLeaves
/// @notice How a leaf of a Merkle batch is proved and read.
abstract contract LicenseLeaves is LicenseLogic {
    function _stands(uint32 planId, bytes32 root, Batch memory batch, BatchLeaf calldata leaf, bytes32[] calldata path)
        internal
        view
        returns (bool)
    {
        return InclusionLib.verifies(root, leaf.index, batch.count, path, _leafHash(planId, leaf));
    }

    function _leafHash(uint32 planId, BatchLeaf calldata leaf) internal view returns (bytes32) {
        bytes32 inner = keccak256(abi.encode(block.chainid, address(this), planId, leaf));
        return keccak256(abi.encodePacked(inner));
    }

    /// @dev Time runs from anchoring, whenever the leaf is claimed. What an ISSUER gave beyond the plan's duration is cut off.
    function _leafWindow(uint32 planId, Batch memory batch, BatchLeaf calldata leaf)
        internal
        view
        returns (uint40 start, uint40 end)
    {
        start = leaf.notBefore > batch.anchoredAt ? leaf.notBefore : batch.anchoredAt;
        Plan storage plan = _plans[planId];
        end = leaf.notAfter;
        if (batch.byRole || end == 0) {
            uint40 longest = _plus(start, _duration(plan, plan.issue));
            if (end == 0 || end > longest) end = longest;
        }
        if (batch.closesAt != 0 && end > batch.closesAt) end = batch.closesAt;
    }

    function _duration(Plan storage plan, IssueWord word) internal view returns (uint40) {
        uint16 inDays = word.durationDays();
        return inDays == IssueWordLib.ODD_DURATION ? plan.times.duration() : uint40(inDays) * 1 days;
    }

    function _leafId(uint32 planId, Batch memory batch, uint256 index) internal pure returns (uint256) {
        return uint256(planId) << 32 | (batch.firstSerial + index);
    }

    function _place(uint32 index) internal pure returns (uint256 word, uint256 bit) {
        return (index >> 8, 1 << (index & 255));
    }
}
