// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {EntitlementAnswer, EntitlementQuery, IEntitlementLens} from "./interfaces/IEntitlementLens.sol";
import {ILicenseCore} from "./interfaces/ILicenseCore.sol";

/// @title EntitlementLens
/// @notice Implements {IEntitlementLens}, where everything is documented.
contract EntitlementLens is IEntitlementLens {
    /// @inheritdoc IEntitlementLens
    function checkMany(address ledger, EntitlementQuery[] calldata queries, uint40 at)
        external
        view
        returns (EntitlementAnswer[] memory answers)
    {
        if (at == 0) at = uint40(block.timestamp);
        answers = new EntitlementAnswer[](queries.length);
        for (uint256 i; i < queries.length; ++i) {
            EntitlementQuery calldata query = queries[i];
            EntitlementAnswer memory answer = answers[i];
            (answer.code, answer.notAfter, answer.graceUntil, answer.planId) =
                ILicenseCore(ledger).check(query.licenseId, query.holder, query.runtimeKey, at);
        }
    }
}
