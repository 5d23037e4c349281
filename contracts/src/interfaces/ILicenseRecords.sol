// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {LicenseStatus} from "./LicenseTypes.sol";

/// @title What the LicenseLedger emits and what it refuses with
/// @notice Both its contracts, LicenseLedger and LicenseExtension, emit and refuse under the ledger's address.
interface ILicenseRecords {
    event PlanCreated(
        uint32 indexed planId, address indexed licensor, bytes32 indexed modelId, bytes32 termsHash, bytes32 planDigest
    );
    event PlanResaleRoyaltySet(uint32 indexed planId, uint16 bps);
    event PlanPaused(uint32 indexed planId, bool paused);
    event PlanLicensorSynced(uint32 indexed planId, address indexed from, address indexed to, uint32 roleEpoch);
    event RoleSet(uint32 indexed planId, address indexed account, uint8 roles, uint32 roleEpoch);
    event LicenseIssued(
        uint256 indexed licenseId, uint32 indexed planId, address indexed to, uint40 notBefore, uint40 notAfter
    );
    event LicenseRenewed(uint256 indexed licenseId, uint40 notAfter);
    event LicenseSuspended(uint256 indexed licenseId, bytes32 reason);
    event LicenseReinstated(uint256 indexed licenseId, bytes32 reason);
    event LicenseRevoked(uint256 indexed licenseId, address indexed by, uint40 effectiveAt, bytes32 reason);
    event RuntimeBound(uint256 indexed licenseId, bytes32 indexed runtimeKey, uint40 until, bytes20 measurement);
    event RuntimeReleased(uint256 indexed licenseId, bytes32 indexed runtimeKey);
    event RuntimeEvicted(uint256 indexed licenseId, bytes32 indexed runtimeKey, address indexed by);
    event GrantsCancelled(uint256 indexed licenseId, uint64 grantNonce);
    event BatchAnchored(
        uint32 indexed planId,
        bytes32 indexed root,
        address indexed by,
        uint32 firstSerial,
        uint32 count,
        bytes32 uriHash
    );
    event BatchClaimed(uint256 indexed licenseId, bytes32 indexed root, uint32 index, bytes32 extHash);
    event BatchRevoked(
        uint32 indexed planId, bytes32 indexed root, address indexed by, uint256 word, uint256 mask, bytes32 reason
    );
    event BatchClosed(uint32 indexed planId, bytes32 indexed root, address indexed by, uint40 closesAt, bytes32 reason);
    event VoucherRedeemed(uint256 indexed licenseId, address indexed signer, uint256 nonce, bytes32 extHash);
    event NoncesCancelled(address indexed signer, uint256 indexed word, uint256 mask);
    event LicenseSublicensed(
        uint256 indexed parentId, uint256 indexed licenseId, address indexed to, uint16 seats, uint8 depth
    );
    event SeatsReclaimed(uint256 indexed parentId, uint256 indexed licenseId, uint16 seats);
    event ReissueStarted(uint256 indexed licenseId, address indexed from, address indexed to, uint40 readyAt);
    event ReissueVetoed(uint256 indexed licenseId, address indexed by);
    event LicenseReissued(uint256 indexed licenseId, address indexed from, address indexed to);
    event UsageAnchored(uint256 indexed licenseId, address indexed by, uint64 cumulative, bytes32 receiptsRoot);

    error LicenseNotFound(uint256 licenseId);
    error LicenseNotHolder(uint256 licenseId, address caller);
    error LicenseStatusForbids(uint256 licenseId, LicenseStatus status);
    error LicenseExpired(uint256 licenseId, uint40 notAfter);
    error LicenseUnderNotice(uint256 licenseId, uint40 effectiveAt);
    error LicenseNotLater(uint256 licenseId, uint40 notAfter, uint40 offered);
    error LicenseWindowInvalid(uint40 notBefore, uint40 notAfter);
    error LicenseUntransferable(uint256 licenseId, uint8 why);
    error LicenseNoticeTooShort(uint40 effectiveAt, uint40 earliest);
    error PlanUnknown(uint32 planId);
    error PlanNotAuthorized(uint32 planId, address caller, uint8 role);
    error PlanNotTitleHolder(bytes32 modelId, address caller, address licensor);
    error PlanModelNotIssuable(bytes32 modelId, uint8 status);
    error PlanTitleMoved(uint32 planId, address planLicensor, address titleHolder);
    error PlanIsPaused(uint32 planId);
    /// @param limit the plan's supply, and as many more as were issued as sublicenses; 2^32 - 1 when it has none
    error PlanSupplyExceeded(uint32 planId, uint32 limit);
    error PlanOfflineTooLong(uint256 leaseTtlPlusGrace, uint32 maxOffline);
    error PlanInSync(uint32 planId);
    error PlanRolesClosed(uint32 planId);
    error PlanNotRegistry(address caller);
    error LicenseLedgerMisplaced(address ledger, address expected);
    error LicenseExtensionMissing(address extension);
    error PlanRefundFloats();
    error PlanRoyaltyTooHigh(uint16 bps, uint16 max);
    error SeatsFull(uint256 licenseId, uint16 seats);
    error SeatAlreadyBound(uint256 licenseId, bytes32 runtimeKey);
    error SeatNotBound(uint256 licenseId, bytes32 runtimeKey);
    error SeatHeldUntil(uint256 licenseId, bytes32 runtimeKey, uint40 until);
    error SeatWindowInvalid(uint40 until, uint40 notAfter);
    error SeatKeyZero(uint256 licenseId);
    error SeatsFloat(uint256 licenseId);
    error PlanRolesUnknown(uint8 roles);
    error LicenseNotSuspended(uint256 licenseId);
    error LicensePaymentRefused(uint256 value);
    error CheckInPast(uint40 at, uint40 now_);
    error BatchEmpty();
    error BatchExists(uint32 planId, bytes32 root);
    error BatchUnknown(uint32 planId, bytes32 root);
    error BatchProofInvalid(bytes32 root, uint32 index);
    error BatchLeafClaimed(bytes32 root, uint32 index);
    error BatchLeafRevoked(bytes32 root, uint32 index);
    error BatchIndexBeyond(bytes32 root, uint256 word, uint256 mask);
    error BatchIsClosed(bytes32 root, uint40 closesAt);
    error BatchNothingToRevoke(bytes32 root, uint256 word, uint256 mask);
    error BatchTooLarge(uint32 count, uint32 max);
    error BatchNoticeDue(uint32 planId, uint32 minNotice);
    error VoucherExpired(uint40 deadline);
    error VoucherMarketOnly(address market, address caller);
    error VoucherNotSigned(address signer);
    error VoucherPlanChanged(uint32 planId, bytes32 planDigest, bytes32 signedDigest);
    error VoucherSignerNotIssuer(uint32 planId, address signer);
    error NonceSpent(address signer, uint256 nonce);
    error LicenseNotValid(uint256 licenseId, uint8 code);
    error LicenseNotSublicense(uint256 licenseId);
    error LicenseNotEnded(uint256 licenseId, uint40 until);
    error LicenseSeatsInUse(uint256 licenseId, uint16 seatsUsed);
    error SublicenseTooDeep(uint256 licenseId, uint8 max);
    error SublicenseMetered(uint256 licenseId);
    error SublicenseSeatsZero();
    error ReissueNone(uint256 licenseId);
    error ReissuePending(uint256 licenseId, uint40 readyAt);
    error ReissueToHolder(uint256 licenseId, address to);
    error ReissueOutdated(uint256 licenseId);
    error BindingExpired(uint40 deadline);
    error BindingNotSigned(uint256 licenseId, address holder);
    error UsageNotMetered(uint256 licenseId);
    error UsageNotRising(uint256 licenseId, uint64 cumulative, uint64 offered);
}
