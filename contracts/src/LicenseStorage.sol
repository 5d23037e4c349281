// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {EIP712} from "solady/utils/EIP712.sol";

import {ILicenseRecords} from "./interfaces/ILicenseRecords.sol";
import {IssueWord} from "./types/IssueWord.sol";
import {LicenseWord, LicenseWordLib} from "./types/LicenseWord.sol";
import {ScopeWord, TimesWord} from "./types/PlanWords.sol";

/// @title LicenseStorage
/// @notice Every storage slot of the LicenseLedger, in its final order, and the checks all of it shares. The ledger and its extension
/// both begin with it, so that the one works in the other's storage.
/// @dev Evidence bundles prove these slots: docs/spec/storage-layout.md. The ERC-721 words live at
/// hashed slots of their own.
abstract contract LicenseStorage is ILicenseRecords, EIP712 {
    /// @dev ERC-5192
    event Locked(uint256 tokenId);
    /// @dev ERC-4906
    event MetadataUpdate(uint256 _tokenId);

    struct Plan {
        // Word 0: what issuing reads and writes.
        IssueWord issue;
        // Word 1: what every later act on a license reads. Licensor and epoch stand in word 0 too, so that each path loads
        // one word only; `_setLicensor` is the one place that writes either copy.
        address licensor;
        uint16 roleEpoch;
        uint16 seats;
        uint32 minNotice;
        uint32 besideSupply; // of the issued, on a plan with a supply: sublicenses, and what came back unused
        // Words 2 and 3
        TimesWord times;
        ScopeWord scope;
        // Word 4
        address payToken;
        uint96 price;
        // Words 5, 6, 7
        bytes32 modelId;
        bytes32 termsHash;
        bytes32 digest;
    }

    /// @dev One word, written only for licenses that need it.
    struct Ext {
        uint40 notBefore;
        uint40 suspendedAt;
        uint64 grantNonce;
        uint64 parentId;
        uint16 seatsGranted;
        uint8 depth;
    }

    struct Seat {
        uint40 boundAt;
        uint40 until;
        bytes20 measurement;
    }

    struct Batch {
        uint32 count;
        uint32 firstSerial;
        uint40 anchoredAt;
        bool byRole;
        uint40 closesAt; // no license of the batch that is not claimed by then; 0: open
    }

    struct Usage {
        uint64 cumulative;
        uint40 anchoredAt;
        bytes32 receiptsRoot;
    }

    struct Reissue {
        address to;
        uint40 readyAt;
        uint56 grantNonce; // of when it was started: whatever the holder does about it raises the license's
    }

    uint8 internal constant ROLE_ISSUER = 1;
    uint8 internal constant ROLE_REVOKER = 2;
    uint8 internal constant ROLE_METER = 4;
    uint8 internal constant ROLE_GUARDIAN = 8;
    uint8 internal constant ROLES_ALL = 15;

    uint8 internal constant VALID = 0;
    uint8 internal constant NOT_FOUND = 1;
    uint8 internal constant SUSPENDED = 2;
    uint8 internal constant REVOKED = 3;
    uint8 internal constant EXPIRED = 4;
    uint8 internal constant WRONG_HOLDER = 5;
    uint8 internal constant RUNTIME_NOT_BOUND = 6;
    uint8 internal constant SEAT_LAPSED = 7;
    uint8 internal constant NOT_YET_VALID = 8;
    uint8 internal constant PARENT_INVALID = 9;
    uint8 internal constant REVOKING = 10;
    uint8 internal constant QUOTA_SPENT = 11;

    uint16 internal constant LAST_EPOCH = type(uint16).max;
    uint40 internal constant PERPETUAL = type(uint40).max;
    /// @dev A reissue that stood ready for ever would take the place of every later notice.
    uint40 internal constant REISSUE_WINDOW = 14 days;

    /// @dev solady's private seed; a test compares the slot with what ERC721 itself writes.
    uint256 private constant ERC721_SEED = 0x7d8825530a5a2e7a << 192;

    uint32 internal _planCount; // slot 0
    mapping(uint32 planId => Plan) internal _plans; // slot 1
    // slither-disable-next-line uninitialized-state  written by the extension, which works in this storage
    mapping(uint256 planEpochAccount => uint256 roles) internal _roles; // slot 2
    mapping(uint256 licenseId => Ext) internal _exts; // slot 3
    mapping(uint256 licenseId => mapping(bytes32 runtimeKey => Seat)) internal _seats; // slot 4
    mapping(uint32 planId => mapping(bytes32 root => Batch)) internal _batches; // slot 5
    // slither-disable-next-line uninitialized-state  written by the extension, which works in this storage
    mapping(uint32 planId => mapping(bytes32 root => mapping(uint256 word => uint256))) internal _batchClaimed; // slot 6
    // slither-disable-next-line uninitialized-state  written by the extension, which works in this storage
    mapping(uint32 planId => mapping(bytes32 root => mapping(uint256 word => uint256))) internal _batchRevoked; // slot 7
    mapping(address signer => mapping(uint256 word => uint256)) internal _noncesSpent; // slot 8
    // slither-disable-next-line uninitialized-state  written by the extension, which works in this storage
    mapping(uint256 licenseId => Usage) internal _usages; // slot 9
    mapping(uint256 licenseId => Reissue) internal _reissues; // slot 10
    mapping(bytes32 modelId => uint32[] planIds) internal _modelPlans; // slot 11

    /// @dev The caller is the plan's licensor or has `role` on it; role 0 means the licensor alone.
    /// @return plan
    function _checkAuthority(uint32 planId, uint8 role) internal view returns (Plan storage plan) {
        plan = _plans[planId];
        address licensor = plan.licensor;
        if (msg.sender != licensor) {
            if (licensor == address(0)) revert PlanUnknown(planId);
            _checkRole(planId, plan.roleEpoch, role);
        }
    }

    function _checkRole(uint32 planId, uint16 epoch, uint8 role) internal view {
        if (!_hasRole(planId, epoch, msg.sender, role)) revert PlanNotAuthorized(planId, msg.sender, role);
    }

    /// @dev The last epoch is nobody's: a plan that got there by 65,535 title moves goes on without roles.
    function _hasRole(uint32 planId, uint16 epoch, address account, uint8 role) internal view returns (bool) {
        return epoch != LAST_EPOCH && _roles[_roleKey(planId, epoch, account)] & role != 0;
    }

    function _roleKey(uint32 planId, uint16 epoch, address account) internal pure returns (uint256) {
        return uint256(planId) << 192 | uint256(epoch) << 160 | uint160(account);
    }

    /// @dev The word of a license that exists.
    function _load(uint256 licenseId) internal view returns (LicenseWord word) {
        word = _read(licenseId);
        if (word.holder() == address(0)) revert LicenseNotFound(licenseId);
    }

    /// @dev solady packs holder and extra data in one word but reads and writes each half by its own load.
    function _read(uint256 licenseId) internal view returns (LicenseWord word) {
        bytes32 slot = _wordSlot(licenseId);
        assembly ("memory-safe") {
            word := sload(slot)
        }
    }

    /// @dev `word` was read from `licenseId`: its holder is the one that stands there.
    function _store(uint256 licenseId, LicenseWord word) internal {
        bytes32 slot = _wordSlot(licenseId);
        assembly ("memory-safe") {
            sstore(slot, word)
        }
    }

    /// @dev Where solady's ERC721 keeps the owner word: 2 * id + keccak256(id's first 28 bytes ‖ the seed's 4 bytes).
    function _wordSlot(uint256 licenseId) private pure returns (bytes32 slot) {
        assembly ("memory-safe") {
            mstore(0x00, licenseId)
            mstore(0x1c, ERC721_SEED)
            slot := add(licenseId, add(licenseId, keccak256(0x00, 0x20)))
        }
    }

    /// @dev Each signer's nonces are spent in any order, once.
    function _spendNonce(address signer, uint256 nonce) internal {
        uint256 bit = 1 << (nonce & 255);
        uint256 spent = _noncesSpent[signer][nonce >> 8];
        if (spent & bit != 0) revert NonceSpent(signer, nonce);
        _noncesSpent[signer][nonce >> 8] = spent | bit;
    }

    /// @dev When a license ends: its own end, or that of a license above it that comes first. At most two lie above.
    function _endOf(uint256 licenseId, LicenseWord word) internal view returns (uint40 end) {
        end = word.notAfter();
        while (word.has(LicenseWordLib.HAS_PARENT)) {
            licenseId = _exts[licenseId].parentId;
            word = _read(licenseId);
            if (word.notAfter() < end) end = word.notAfter();
        }
    }

    /// @dev A duration of 0 is perpetual, and no window passes the perpetual end.
    function _plus(uint40 start, uint40 duration) internal pure returns (uint40) {
        if (duration == 0 || PERPETUAL - start <= duration) return PERPETUAL;
        return start + duration;
    }

    /// @dev Whether the reissue was overtaken: by what the holder did, or by time.
    function _outdated(uint256 licenseId, Reissue memory reissue) internal view returns (bool) {
        return reissue.grantNonce != uint56(_exts[licenseId].grantNonce)
            || block.timestamp >= uint256(reissue.readyAt) + REISSUE_WINDOW;
    }

    function _planIdOf(uint256 licenseId) internal pure returns (uint32) {
        return uint32(licenseId >> 32);
    }

    function _now() internal view returns (uint40) {
        return uint40(block.timestamp);
    }

    function _domainNameAndVersion() internal pure override returns (string memory, string memory) {
        return ("modeldeed LicenseLedger", "1");
    }
}
