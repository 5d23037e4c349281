// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseCore} from "./ILicenseCore.sol";
import {ILicenseExtension} from "./ILicenseExtension.sol";

/// @title LicenseLedger: ERC-721 + ERC-2981 + ERC-5192 + ERC-4906 + ERC-5267
/// @notice licenseId = planId << 32 | serial in plan, both from 1. runtimeKey = sha256(alg byte || raw public key), alg 1
/// Ed25519, 2 P-256. This is all that the ledger's address answers, besides ERC-721.
/// @dev Needed for correctness: `block.timestamp` within the tolerance of the chain profile; the registry it was deployed
/// with. Needed for liveness: nobody; no account but the plan's own licensor and its roles can stop or change a plan.
/// Warning: between a title transfer and `syncLicensor` the previous licensor can no longer issue, but still does all else
/// on its plans: renews, suspends, evicts, revokes, reissues, sets roles, pause and resale royalty. The buyer syncs every plan at once;
/// brokers refuse releases until then.
/// Warning: the minimum notice binds `revoke`, `revokeInBatch`, `closeBatch` and the delay of a reissue. Licensor or GUARDIAN suspend at
/// once and need never reinstate, licensor or REVOKER evict a live seat at once, licensor or METER report a quota as spent: each stops a
/// licensee without notice. Chain and events show who did it and when.
/// Warning: a revoked license stays an ERC-721 token; owning it proves nothing. `check` is the only answer.
/// Warning: a batch's leaves are not on chain. Whoever anchors a batch keeps it and gives each holder leaf and path.
/// Warning: a voucher's market is trusted to have collected its price: the signer names it.
interface ILicenseLedger is ILicenseCore, ILicenseExtension {}
