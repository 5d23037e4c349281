// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC721} from "solady/tokens/ERC721.sol";
import {EIP712} from "solady/utils/EIP712.sol";

import {ILicenseLedger, LicenseStatus} from "./interfaces/ILicenseLedger.sol";
import {IModelRegistry, ModelStatus} from "./interfaces/IModelRegistry.sol";
import {LicenseMetadata} from "./libraries/LicenseMetadata.sol";
import {LicensePlans} from "./LicensePlans.sol";
import {IssueWord, IssueWordLib} from "./types/IssueWord.sol";
import {LicenseWord, LicenseWordLib} from "./types/LicenseWord.sol";

/// @title LicenseLedger
/// @notice Implements {ILicenseLedger}, where everything is documented.
contract LicenseLedger is LicensePlans, EIP712 {
    /// @dev ERC-5192
    event Locked(uint256 tokenId);
    /// @dev ERC-4906
    event MetadataUpdate(uint256 _tokenId);

    uint40 private constant PERPETUAL = type(uint40).max;

    uint8 private constant VALID = 0;
    uint8 private constant NOT_FOUND = 1;
    uint8 private constant SUSPENDED = 2;
    uint8 private constant REVOKED = 3;
    uint8 private constant EXPIRED = 4;
    uint8 private constant WRONG_HOLDER = 5;
    uint8 private constant RUNTIME_NOT_BOUND = 6;
    uint8 private constant SEAT_LAPSED = 7;
    uint8 private constant NOT_YET_VALID = 8;
    uint8 private constant REVOKING = 10;

    constructor(address registry_) {
        _registry = IModelRegistry(registry_);
    }

    // ---------------------------------------------------------------- issue and renew

    /// @inheritdoc ILicenseLedger
    function issue(uint32 planId, address to, uint40 notBefore, uint40 notAfter) external returns (uint256 licenseId) {
        Plan storage plan = _plans[planId];
        IssueWord word = plan.issue;
        address licensor = word.licensor();
        bool byRole = msg.sender != licensor;
        if (byRole) {
            if (licensor == address(0)) revert PlanUnknown(planId);
            _checkRole(planId, word.roleEpoch(), ROLE_ISSUER);
        }
        if (word.has(IssueWordLib.PAUSED)) revert PlanIsPaused(planId);
        uint32 limit = word.has(IssueWordLib.CAPPED) ? plan.supply : type(uint32).max;
        if (word.issued() >= limit) revert PlanSupplyExceeded(planId, limit);
        _checkTitle(planId, plan.modelId, licensor);

        bool later = notBefore > block.timestamp;
        if (!later) notBefore = _now();
        if (byRole || notAfter == 0) {
            uint40 longest = _plus(notBefore, _duration(plan, word));
            if (notAfter == 0) notAfter = longest;
            else if (notAfter > longest) revert LicenseWindowInvalid(notBefore, notAfter);
        }
        if (notAfter <= notBefore) revert LicenseWindowInvalid(notBefore, notAfter);

        word = word.plusOne();
        plan.issue = word;
        licenseId = uint256(planId) << 32 | word.issued();
        if (later) _exts[licenseId].notBefore = notBefore;
        _mintLicense(to, licenseId, notAfter, word, later);
        emit LicenseIssued(licenseId, planId, to, notBefore, notAfter);
    }

    /// @dev Not the safe mint: a receiver's callback could refuse, or re-enter.
    function _mintLicense(address to, uint256 licenseId, uint40 notAfter, IssueWord plan, bool hasExt) private {
        uint8 flags = hasExt ? LicenseWordLib.HAS_EXT : 0;
        if (plan.has(IssueWordLib.FLOATING)) flags |= LicenseWordLib.FLOATING;
        if (plan.has(IssueWordLib.METERED)) flags |= LicenseWordLib.METERED;
        bool isLocked = !plan.has(IssueWordLib.TRANSFERABLE);
        if (isLocked) flags |= LicenseWordLib.LOCKED;
        _mintAndSetExtraDataUnchecked(to, licenseId, LicenseWordLib.fresh(notAfter, plan.grace(), flags));
        if (isLocked) emit Locked(licenseId);
    }

    function _duration(Plan storage plan, IssueWord word) private view returns (uint40) {
        uint16 inDays = word.durationDays();
        return inDays == IssueWordLib.ODD_DURATION ? plan.duration : uint40(inDays) * 1 days;
    }

    function _checkTitle(uint32 planId, bytes32 modelId, address licensor) private view {
        (address titleHolder, ModelStatus status) = _registry.titleOf(modelId);
        if (titleHolder != licensor) revert PlanTitleMoved(planId, licensor, titleHolder);
        if (status != ModelStatus.ACTIVE) revert PlanModelNotIssuable(modelId, uint8(status));
    }

    /// @inheritdoc ILicenseLedger
    function renew(uint256 licenseId, uint40 notAfter) external {
        LicenseWord word = _load(licenseId);
        Plan storage plan = _checkAuthority(_planIdOf(licenseId), ROLE_ISSUER);
        _checkNotRevoked(licenseId, word);
        LicenseStatus status = word.status();
        if (status != LicenseStatus.ACTIVE) revert LicenseStatusForbids(licenseId, status);

        uint40 present = word.notAfter();
        uint40 from = present > block.timestamp ? present : _now();
        bool byRole = msg.sender != plan.licensor;
        if (byRole || notAfter == 0) {
            uint40 duration = plan.duration;
            uint40 longest = _plus(from, duration);
            if (notAfter == 0) notAfter = longest;
            // The second bound does not move with the license: without it an ISSUER could renew again and again.
            if (byRole && (notAfter > longest || notAfter > _plus(_plus(_now(), duration), duration))) {
                revert LicenseWindowInvalid(from, notAfter);
            }
        }
        if (notAfter <= present) revert LicenseNotLater(licenseId, present, notAfter);
        if (notAfter <= from) revert LicenseWindowInvalid(from, notAfter);

        _store(licenseId, word.withNotAfter(notAfter));
        emit LicenseRenewed(licenseId, notAfter);
        emit MetadataUpdate(licenseId);
    }

    /// @dev A duration of 0 is perpetual, and no window passes the perpetual end.
    function _plus(uint40 start, uint40 duration) private pure returns (uint40) {
        if (duration == 0 || PERPETUAL - start <= duration) return PERPETUAL;
        return start + duration;
    }

    // ---------------------------------------------------------------- suspend and revoke

    /// @inheritdoc ILicenseLedger
    function suspend(uint256 licenseId, bytes32 reason) external {
        LicenseWord word = _load(licenseId);
        _checkAuthority(_planIdOf(licenseId), ROLE_GUARDIAN);
        LicenseStatus status = word.status();
        if (word.has(LicenseWordLib.HELD)) revert LicenseStatusForbids(licenseId, LicenseStatus.SUSPENDED);
        if (word.isRevoked() && block.timestamp >= word.notAfter()) {
            revert LicenseStatusForbids(licenseId, status);
        }
        if (status == LicenseStatus.ACTIVE) word = word.withStatus(LicenseStatus.SUSPENDED);
        _store(licenseId, word.withFlag(LicenseWordLib.HELD | LicenseWordLib.HAS_EXT));
        _exts[licenseId].suspendedAt = _now();
        emit LicenseSuspended(licenseId, reason);
        emit MetadataUpdate(licenseId);
    }

    /// @inheritdoc ILicenseLedger
    function reinstate(uint256 licenseId, bytes32 reason) external {
        LicenseWord word = _load(licenseId);
        _checkAuthority(_planIdOf(licenseId), ROLE_GUARDIAN);
        if (!word.has(LicenseWordLib.HELD)) revert LicenseNotSuspended(licenseId);
        if (word.status() == LicenseStatus.SUSPENDED) word = word.withStatus(LicenseStatus.ACTIVE);
        _store(licenseId, word.withoutFlag(LicenseWordLib.HELD));
        _exts[licenseId].suspendedAt = 0;
        emit LicenseReinstated(licenseId, reason);
        emit MetadataUpdate(licenseId);
    }

    /// @inheritdoc ILicenseLedger
    function revoke(uint256 licenseId, uint40 effectiveAt, bytes32 reason) external {
        LicenseWord word = _load(licenseId);
        Plan storage plan = _checkAuthority(_planIdOf(licenseId), ROLE_REVOKER);
        uint40 earliest = _now() + plan.minNotice;
        if (effectiveAt == 0) effectiveAt = earliest;
        else if (effectiveAt < earliest) revert LicenseNoticeTooShort(effectiveAt, earliest);

        uint40 present = word.notAfter();
        if (word.isRevoked() && effectiveAt >= present) {
            revert LicenseStatusForbids(licenseId, LicenseStatus.REVOKED);
        }
        if (effectiveAt > present) effectiveAt = present;
        _store(licenseId, word.withNotAfter(effectiveAt).withStatus(LicenseStatus.REVOKED));
        emit LicenseRevoked(licenseId, msg.sender, effectiveAt, reason);
        emit MetadataUpdate(licenseId);
    }

    function _checkNotRevoked(uint256 licenseId, LicenseWord word) private view {
        if (!word.isRevoked()) return;
        uint40 notAfter = word.notAfter();
        if (block.timestamp < notAfter) revert LicenseUnderNotice(licenseId, notAfter);
        revert LicenseStatusForbids(licenseId, LicenseStatus.REVOKED);
    }

    // ---------------------------------------------------------------- seats and grants

    /// @inheritdoc ILicenseLedger
    function bindRuntime(uint256 licenseId, bytes32 runtimeKey, uint40 until, bytes20 measurement) external {
        LicenseWord word = _load(licenseId);
        if (word.holder() != msg.sender) revert LicenseNotHolder(licenseId, msg.sender);
        if (runtimeKey == 0) revert SeatKeyZero(licenseId);
        if (word.has(LicenseWordLib.FLOATING)) revert SeatsFloat(licenseId);
        uint40 notAfter = word.notAfter();
        if (block.timestamp >= notAfter) revert LicenseExpired(licenseId, notAfter);
        if (word.has(LicenseWordLib.HELD)) revert LicenseStatusForbids(licenseId, LicenseStatus.SUSPENDED);
        if (until != 0 && (until <= block.timestamp || until > notAfter)) revert SeatWindowInvalid(until, notAfter);

        Seat storage seat = _seats[licenseId][runtimeKey];
        if (seat.boundAt == 0) {
            uint16 seats = _plans[_planIdOf(licenseId)].seats;
            if (seats == 0) seats = type(uint16).max;
            uint16 used = word.seatsUsed();
            if (used >= seats) revert SeatsFull(licenseId, seats);
            _store(licenseId, word.withSeatsUsed(used + 1).withFlag(LicenseWordLib.EVER_BOUND));
        } else if (!_lapsed(seat, notAfter)) {
            revert SeatAlreadyBound(licenseId, runtimeKey);
        }
        _seats[licenseId][runtimeKey] = Seat(_now(), until, measurement);
        emit RuntimeBound(licenseId, runtimeKey, until, measurement);
    }

    /// @inheritdoc ILicenseLedger
    function releaseRuntime(uint256 licenseId, bytes32 runtimeKey) external {
        LicenseWord word = _load(licenseId);
        Seat storage seat = _seats[licenseId][runtimeKey];
        if (seat.boundAt == 0) revert SeatNotBound(licenseId, runtimeKey);
        uint40 notAfter = word.notAfter();
        if (!_lapsed(seat, notAfter)) {
            uint40 until = seat.until;
            revert SeatHeldUntil(licenseId, runtimeKey, until == 0 || until > notAfter ? notAfter : until);
        }
        _free(licenseId, runtimeKey, word);
        emit RuntimeReleased(licenseId, runtimeKey);
    }

    /// @inheritdoc ILicenseLedger
    function evictRuntime(uint256 licenseId, bytes32 runtimeKey) external {
        LicenseWord word = _load(licenseId);
        _checkAuthority(_planIdOf(licenseId), ROLE_REVOKER);
        if (_seats[licenseId][runtimeKey].boundAt == 0) revert SeatNotBound(licenseId, runtimeKey);
        _free(licenseId, runtimeKey, word);
        emit RuntimeEvicted(licenseId, runtimeKey, msg.sender);
    }

    function _free(uint256 licenseId, bytes32 runtimeKey, LicenseWord word) private {
        delete _seats[licenseId][runtimeKey];
        _store(licenseId, word.withSeatsUsed(word.seatsUsed() - 1));
    }

    function _lapsed(Seat storage seat, uint40 notAfter) private view returns (bool) {
        uint40 until = seat.until;
        return block.timestamp >= notAfter || until != 0 && block.timestamp >= until;
    }

    /// @inheritdoc ILicenseLedger
    function cancelGrants(uint256 licenseId) external {
        LicenseWord word = _load(licenseId);
        if (word.holder() != msg.sender) revert LicenseNotHolder(licenseId, msg.sender);
        _cancelGrants(licenseId, word);
    }

    function _cancelGrants(uint256 licenseId, LicenseWord word) private {
        uint64 nonce = ++_exts[licenseId].grantNonce;
        if (!word.has(LicenseWordLib.HAS_EXT)) _store(licenseId, word.withFlag(LicenseWordLib.HAS_EXT));
        emit GrantsCancelled(licenseId, nonce);
    }

    // ---------------------------------------------------------------- reads

    /// @inheritdoc ILicenseLedger
    function check(uint256 licenseId, address holder, bytes32 runtimeKey, uint40 at)
        external
        view
        returns (uint8 code, uint40 notAfter, uint40 graceUntil, uint32 planId)
    {
        if (at < block.timestamp) revert CheckInPast(at, _now());
        LicenseWord word = _read(licenseId);
        if (word.holder() == address(0)) return (NOT_FOUND, 0, 0, 0);
        notAfter = word.notAfter();
        planId = _planIdOf(licenseId);
        code = _decide(licenseId, word, holder, runtimeKey, at);
        if (code == VALID || code == REVOKING) {
            uint256 until = uint256(at) + word.grace();
            graceUntil = until < notAfter ? uint40(until) : notAfter;
        }
    }

    function _decide(uint256 licenseId, LicenseWord word, address holder, bytes32 runtimeKey, uint40 at)
        private
        view
        returns (uint8)
    {
        bool revoked = word.isRevoked();
        if (at >= word.notAfter()) return revoked ? REVOKED : EXPIRED;
        if (word.has(LicenseWordLib.HELD)) return SUSPENDED;
        if (word.has(LicenseWordLib.HAS_EXT) && at < _exts[licenseId].notBefore) return NOT_YET_VALID;
        if (holder != address(0) && holder != word.holder()) return WRONG_HOLDER;
        if (runtimeKey != 0 && !word.has(LicenseWordLib.FLOATING)) {
            Seat memory seat = _seats[licenseId][runtimeKey];
            if (seat.boundAt == 0) return RUNTIME_NOT_BOUND;
            if (seat.until != 0 && at >= seat.until) return SEAT_LAPSED;
        }
        return revoked ? REVOKING : VALID;
    }

    /// @inheritdoc ILicenseLedger
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
        )
    {
        LicenseWord word = _load(licenseId);
        Ext memory ext = _exts[licenseId];
        return (
            word.holder(),
            ext.notBefore,
            word.notAfter(),
            word.status(),
            word.seatsUsed(),
            ext.grantNonce,
            ext.suspendedAt
        );
    }

    /// @inheritdoc ILicenseLedger
    function seatOf(uint256 licenseId, bytes32 runtimeKey)
        external
        view
        returns (uint40 boundAt, uint40 until, bytes20 measurement)
    {
        Seat memory seat = _seats[licenseId][runtimeKey];
        return (seat.boundAt, seat.until, seat.measurement);
    }

    /// @inheritdoc ILicenseLedger
    function grantNonceOf(uint256 licenseId) external view returns (uint64) {
        return _exts[licenseId].grantNonce;
    }

    /// @inheritdoc ILicenseLedger
    function locked(uint256 licenseId) external view returns (bool) {
        LicenseWord word = _load(licenseId);
        return word.has(LicenseWordLib.LOCKED);
    }

    /// @inheritdoc ILicenseLedger
    function registry() external view returns (address) {
        return address(_registry);
    }

    // ---------------------------------------------------------------- ERC-721

    /// @inheritdoc ERC721
    function name() public pure override returns (string memory) {
        return "modeldeed license";
    }

    /// @inheritdoc ERC721
    function symbol() public pure override returns (string memory) {
        return "DEED";
    }

    /// @inheritdoc ERC721
    function tokenURI(uint256 licenseId) public view override returns (string memory) {
        LicenseWord word = _load(licenseId);
        Plan storage plan = _plans[_planIdOf(licenseId)];
        return LicenseMetadata.uri(licenseId, plan.modelId, plan.termsHash, word);
    }

    /// @inheritdoc ERC721
    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return interfaceId == 0xb45a3c0e // ERC-5192
            || interfaceId == 0x49064906 // ERC-4906
            || interfaceId == 0x84b0196e // ERC-5267
            || super.supportsInterface(interfaceId);
    }

    /// @dev Grants do not come back with a license that does. Both safe transfers come through here, before their callback.
    function transferFrom(address from, address to, uint256 id) public payable override {
        _refuseCoins();
        super.transferFrom(from, to, id);
        _cancelGrants(id, _read(id));
    }

    function approve(address account, uint256 id) public payable override {
        _refuseCoins();
        super.approve(account, id);
    }

    /// @dev solady lets approvals and transfers take coins, which nobody could ever get out again.
    function _refuseCoins() private view {
        if (msg.value != 0) revert LicensePaymentRefused(msg.value);
    }

    function _beforeTokenTransfer(address from, address, uint256 id) internal view override {
        if (from == address(0)) return; // issuing
        LicenseWord word = _read(id);
        if (word.has(LicenseWordLib.LOCKED)) revert LicenseUntransferable(id, 1);
        if (word.has(LicenseWordLib.HELD)) revert LicenseUntransferable(id, 2);
        if (word.isRevoked()) revert LicenseUntransferable(id, 3);
        if (word.seatsUsed() != 0) revert LicenseUntransferable(id, 4);
    }

    function _domainNameAndVersion() internal pure override returns (string memory, string memory) {
        return ("modeldeed LicenseLedger", "1");
    }
}
