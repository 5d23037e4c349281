// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice What a licensor offers. Times in seconds.
struct PlanTerms {
    bytes32 modelId;
    bytes32 termsHash;
    uint40 duration; // 0: perpetual (notAfter = type(uint40).max)
    uint24 grace;
    uint32 leaseTtl;
    uint32 maxOffline; // leaseTtl + grace <= maxOffline
    uint32 minNotice;
    uint32 refundWindow;
    uint32 reissueDelay;
    uint16 seats; // 0: unlimited
    uint32 supply; // 0: unlimited
    uint64 quota; // 0: unmetered
    uint64 features; // bit set
    uint64 brokerSet; // BrokerRegistry set id
    address payToken; // address(0): native
    uint96 price;
    bool floating; // seat mode: false BOUND (on chain), true FLOATING (broker leases)
    bool warnOnly; // mode: false enforce, true warn (trials)
    bool transferable;
}

/// @notice A plan as stored.
struct PlanState {
    address licensor;
    uint32 issued;
    uint32 roleEpoch;
    bool paused;
    bytes32 planDigest;
}

enum LicenseStatus {
    NONE,
    ACTIVE,
    SUSPENDED,
    REVOKED
}

/// @title LicenseLedger: ERC-721 + ERC-5192 + ERC-4906 + ERC-5267
/// @notice licenseId = planId << 32 | serial. runtimeKey = sha256(alg byte || raw public key), alg 1 Ed25519, 2 P-256.
interface ILicenseLedger {
    event PlanCreated(
        uint32 indexed planId, address indexed licensor, bytes32 indexed modelId, bytes32 termsHash, bytes32 planDigest
    );
    event PlanPaused(uint32 indexed planId, bool paused);
    event PlanLicensorSynced(uint32 indexed planId, address indexed from, address indexed to, uint32 roleEpoch);
    event RoleSet(uint32 indexed planId, address indexed account, uint8 roles, uint32 roleEpoch);
    event LicenseIssued(uint256 indexed licenseId, uint32 indexed planId, address indexed to, uint40 notBefore, uint40 notAfter);
    event LicenseRenewed(uint256 indexed licenseId, uint40 notAfter);
    event LicenseSuspended(uint256 indexed licenseId, bytes32 reason);
    event LicenseReinstated(uint256 indexed licenseId, bytes32 reason);
    event LicenseRevoked(uint256 indexed licenseId, address indexed by, uint40 effectiveAt, bytes32 reason);
    event RuntimeBound(uint256 indexed licenseId, bytes32 indexed runtimeKey, uint40 until, bytes20 measurement);
    event RuntimeReleased(uint256 indexed licenseId, bytes32 indexed runtimeKey);
    event RuntimeEvicted(uint256 indexed licenseId, bytes32 indexed runtimeKey, address indexed by);
    event GrantsCancelled(uint256 indexed licenseId, uint64 grantNonce);

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
    error PlanSupplyExceeded(uint32 planId, uint32 supply);
    error PlanOfflineTooLong(uint256 leaseTtlPlusGrace, uint32 maxOffline);
    error PlanInSync(uint32 planId);
    error SeatsFull(uint256 licenseId, uint16 seats);
    error SeatAlreadyBound(uint256 licenseId, bytes32 runtimeKey);
    error SeatNotBound(uint256 licenseId, bytes32 runtimeKey);
    error SeatHeldUntil(uint256 licenseId, bytes32 runtimeKey, uint40 until);
    error SeatWindowInvalid(uint40 until, uint40 notAfter);
    error CheckInPast(uint40 at, uint40 now_);

    function createPlan(PlanTerms calldata terms) external returns (uint32 planId);
    function setPaused(uint32 planId, bool paused) external;
    function syncLicensor(uint32 planId) external;
    /// @param roles bits: 1 ISSUER, 2 REVOKER, 4 METER, 8 GUARDIAN
    function setRoles(uint32 planId, address account, uint8 roles) external;
    /// @param notBefore 0: now. @param notAfter 0: notBefore + plan duration (perpetual when that is 0)
    function issue(uint32 planId, address to, uint40 notBefore, uint40 notAfter) external returns (uint256 licenseId);
    /// @param notAfter must be later than the present one
    function renew(uint256 licenseId, uint40 notAfter) external;
    function suspend(uint256 licenseId, bytes32 reason) external;
    function reinstate(uint256 licenseId, bytes32 reason) external;
    /// @param effectiveAt 0: now plus the plan's minimum notice
    function revoke(uint256 licenseId, uint40 effectiveAt, bytes32 reason) external;
    function bindRuntime(uint256 licenseId, bytes32 runtimeKey, uint40 until, bytes20 measurement) external;
    function releaseRuntime(uint256 licenseId, bytes32 runtimeKey) external;
    function evictRuntime(uint256 licenseId, bytes32 runtimeKey) external;
    /// @notice Raises the grant nonce: every RuntimeGrant signed with a lower one is void.
    function cancelGrants(uint256 licenseId) external;

    /// @notice Codes: 0 VALID 1 NOT_FOUND 2 SUSPENDED 3 REVOKED 4 EXPIRED 5 WRONG_HOLDER 6 RUNTIME_NOT_BOUND 7 SEAT_LAPSED
    /// 8 NOT_YET_VALID 9 PARENT_INVALID 10 REVOKING (grants, capped at the revocation's effect) 11 QUOTA_SPENT.
    /// @param holder address(0): do not check. @param runtimeKey 0: do not check the seat.
    /// @param at seconds; reverts CheckInPast when lower than block.timestamp
    /// @return code
    /// @return notAfter end of the license (lowered by revocation)
    /// @return graceUntil min(at + grace, notAfter): how long software that saw this answer at `at` may go on without a newer one
    /// @return planId
    function check(uint256 licenseId, address holder, bytes32 runtimeKey, uint40 at)
        external
        view
        returns (uint8 code, uint40 notAfter, uint40 graceUntil, uint32 planId);
    function planOf(uint32 planId) external view returns (PlanTerms memory terms, PlanState memory state);
    function licenseOf(uint256 licenseId)
        external
        view
        returns (
            address holder,
            uint40 notBefore,
            uint40 notAfter,
            LicenseStatus status,
            uint16 seatsUsed,
            uint64 grantNonce,
            uint40 suspendedAt
        );
    function seatOf(uint256 licenseId, bytes32 runtimeKey)
        external
        view
        returns (uint40 boundAt, uint40 until, bytes20 measurement);
    function rolesOf(uint32 planId, address account) external view returns (uint8);
    function grantNonceOf(uint256 licenseId) external view returns (uint64);
    function locked(uint256 licenseId) external view returns (bool);
    function registry() external view returns (address);
}
