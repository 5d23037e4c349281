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
/// @notice licenseId = planId << 32 | serial in plan, both from 1. runtimeKey = sha256(alg byte || raw public key), alg 1
/// Ed25519, 2 P-256.
/// @dev Needed for correctness: `block.timestamp` within the tolerance of the chain profile; the registry it was deployed
/// with. Needed for liveness: nobody; no account but the plan's own licensor and its roles can stop or change a plan.
/// Warning: between a title transfer and `syncLicensor` the previous licensor can no longer issue, but still renews, suspends,
/// evicts and revokes. The buyer syncs every plan at once; brokers refuse releases until then.
/// Warning: the minimum notice binds `revoke` alone. Licensor or GUARDIAN suspend at once and need never reinstate, licensor
/// or REVOKER evict a live seat at once: either stops a licensee without notice. Chain and events show who did it and when.
/// Warning: a revoked license stays an ERC-721 token; owning it proves nothing. `check` is the only answer.
interface ILicenseLedger {
    event PlanCreated(
        uint32 indexed planId, address indexed licensor, bytes32 indexed modelId, bytes32 termsHash, bytes32 planDigest
    );
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
    error SeatKeyZero(uint256 licenseId);
    error SeatsFloat(uint256 licenseId);
    error PlanRolesUnknown(uint8 roles);
    error LicenseNotSuspended(uint256 licenseId);
    error LicensePaymentRefused(uint256 value);
    error CheckInPast(uint40 at, uint40 now_);

    /// @notice Offers licenses of a model. The caller holds its title and the model is ACTIVE.
    /// @return planId the first is 1
    function createPlan(PlanTerms calldata terms) external returns (uint32 planId);

    /// @notice Stops or restarts issuance; never `check`, `renew` or `revoke`. Licensor or GUARDIAN.
    function setPaused(uint32 planId, bool paused) external;

    /// @notice Gives the plan to whoever holds the model's title now and voids every role on it. Anyone may.
    function syncLicensor(uint32 planId) external;

    /// @notice Sets all roles of `account` on one plan. Licensor only.
    /// @param roles bits: 1 ISSUER (issue, renew), 2 REVOKER (revoke, evict), 4 METER, 8 GUARDIAN (pause, suspend, reinstate)
    function setRoles(uint32 planId, address account, uint8 roles) external;

    /// @notice Issues one license. Licensor or ISSUER; the title must still be the plan's and the model ACTIVE.
    /// @dev An ISSUER cannot go beyond the plan's duration; the licensor can. No call is made to `to`.
    /// @param notBefore 0 or a time that has passed: now
    /// @param notAfter 0: notBefore + plan duration (perpetual, type(uint40).max, when that is 0)
    function issue(uint32 planId, address to, uint40 notBefore, uint40 notAfter) external returns (uint256 licenseId);

    /// @notice Moves the end of an ACTIVE license to a later time. Licensor or ISSUER.
    /// @dev An ISSUER may add at most one plan duration, counted from the present end or from now, whichever is later, and
    /// reach at most two durations from now however often it renews; else LicenseWindowInvalid. A perpetual plan (duration
    /// 0) sets it no bound. The licensor has none.
    /// @param notAfter must be later than the present one and than now; 0: one plan duration more
    function renew(uint256 licenseId, uint40 notAfter) external;

    /// @notice `check` answers SUSPENDED until reinstated; the end does not move. Licensor or GUARDIAN. Also possible while
    /// a revocation's notice runs.
    function suspend(uint256 licenseId, bytes32 reason) external;

    /// @notice Ends a suspension. Licensor or GUARDIAN.
    function reinstate(uint256 licenseId, bytes32 reason) external;

    /// @notice Ends a license for good. Licensor or REVOKER. Terminal: the end can only come nearer, never go away.
    /// @dev A suspended license stays suspended while the notice runs. The event tells the end that now stands.
    /// @param effectiveAt at least now + the plan's minimum notice; 0: exactly that. An earlier end stands as it is.
    function revoke(uint256 licenseId, uint40 effectiveAt, bytes32 reason) external;

    /// @notice The holder takes a seat for a runtime key. BOUND plans only.
    /// @param until when the seat may be given up, later than now and at most the license's end; 0: as long as the license
    /// @param measurement of the runtime's TEE, zero when none
    function bindRuntime(uint256 licenseId, bytes32 runtimeKey, uint40 until, bytes20 measurement) external;

    /// @notice Frees a seat that has lapsed (its `until` or the license's end has passed). Anyone may.
    /// @dev A live seat is nobody's to free but the licensor's, or seats could be passed around faster than leases run out.
    function releaseRuntime(uint256 licenseId, bytes32 runtimeKey) external;

    /// @notice Frees a seat at once. Licensor or REVOKER.
    function evictRuntime(uint256 licenseId, bytes32 runtimeKey) external;

    /// @notice Raises the grant nonce: every RuntimeGrant signed with a lower one is void. Holder only.
    /// @dev Every transfer does the same, GrantsCancelled included, after its Transfer: the grants of a holder who takes a
    /// license back stay void. Issuing does not: the first nonce is 0.
    function cancelGrants(uint256 licenseId) external;

    /// @notice Codes: 0 VALID 1 NOT_FOUND 2 SUSPENDED 3 REVOKED 4 EXPIRED 5 WRONG_HOLDER 6 RUNTIME_NOT_BOUND 7 SEAT_LAPSED
    /// 8 NOT_YET_VALID 9 PARENT_INVALID 10 REVOKING (grants, capped at the revocation's effect) 11 QUOTA_SPENT.
    /// @dev The first that holds is answered, in this order: 1, 3, 4, 2, 8, 5, 9, 11, 6, 7, 10, 0. So what is final comes
    /// before what can be mended, and what concerns the license before what concerns the asker.
    /// Seats of FLOATING plans are leases of the brokers: `runtimeKey` is not looked at.
    /// @param holder address(0): do not check. @param runtimeKey 0: do not check the seat.
    /// @param at seconds; reverts CheckInPast when lower than block.timestamp
    /// @return code
    /// @return notAfter end of the license (lowered by revocation), 0 when not found
    /// @return graceUntil with codes 0 and 10: min(at + grace, notAfter), how long software that saw this answer at `at` may
    /// go on without a newer one; with every other code 0
    /// @return planId 0 when not found
    function check(uint256 licenseId, address holder, bytes32 runtimeKey, uint40 at)
        external
        view
        returns (uint8 code, uint40 notAfter, uint40 graceUntil, uint32 planId);

    /// @notice A plan's terms as made, and its state. Reverts PlanUnknown.
    /// @dev planDigest = keccak256(abi.encode(keccak256("modeldeed/plan/1"), licensor, terms)); it changes with the licensor.
    function planOf(uint32 planId) external view returns (PlanTerms memory terms, PlanState memory state);

    /// @notice A license as stored. Reverts LicenseNotFound.
    /// @return holder
    /// @return notBefore 0: valid since it was issued (the time of its LicenseIssued event)
    /// @return notAfter type(uint40).max when perpetual
    /// @return status SUSPENDED only while not revoked; of a license under notice, `suspendedAt` tells
    /// @return seatsUsed
    /// @return grantNonce
    /// @return suspendedAt 0 when not suspended
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

    /// @return boundAt 0 when there is no such seat
    /// @return until 0: as long as the license
    /// @return measurement
    function seatOf(uint256 licenseId, bytes32 runtimeKey)
        external
        view
        returns (uint40 boundAt, uint40 until, bytes20 measurement);

    /// @return the roles that hold now; those of an earlier licensor are void
    function rolesOf(uint32 planId, address account) external view returns (uint8);

    /// @return the only nonce a RuntimeGrant may carry
    function grantNonceOf(uint256 licenseId) external view returns (uint64);

    /// @notice ERC-5192: whether the plan forbids transfers. Reverts LicenseNotFound.
    /// @dev An unlocked license still does not move while it is suspended, revoked or has seats bound: see
    /// LicenseUntransferable, whose `why` is 1 locked by its plan, 2 suspended, 3 revoked or under notice, 4 seats bound.
    function locked(uint256 licenseId) external view returns (bool);

    /// @return the ModelRegistry whose titles count here
    function registry() external view returns (address);
}
