// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

struct EntitlementQuery {
    uint256 licenseId;
    address holder; // address(0): do not check
    bytes32 runtimeKey; // 0: do not check the seat
}

struct EntitlementAnswer {
    uint8 code;
    uint40 notAfter;
    uint40 graceUntil;
    uint32 planId;
}

/// @title EntitlementLens
/// @notice Many `check`s in one call. Keeps nothing, so anyone may deploy another.
interface IEntitlementLens {
    /// @param ledger a LicenseLedger
    /// @param at seconds, 0: now; a time in the past reverts as `check` does, if anything is asked
    /// @return answers one for each query, in their order
    function checkMany(address ledger, EntitlementQuery[] calldata queries, uint40 at)
        external
        view
        returns (EntitlementAnswer[] memory answers);
}
