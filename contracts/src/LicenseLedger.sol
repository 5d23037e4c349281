// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC721} from "solady/tokens/ERC721.sol";

import {ILicenseCore} from "./interfaces/ILicenseCore.sol";
import {ILicenseRenderer} from "./interfaces/ILicenseRenderer.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {LicenseStatus} from "./interfaces/LicenseTypes.sol";
import {LicenseIssuing} from "./LicenseIssuing.sol";
import {IssueWordLib} from "./types/IssueWord.sol";
import {LicenseWord, LicenseWordLib} from "./types/LicenseWord.sol";

/// @title LicenseLedger
/// @notice Implements {ILicenseCore}, and has LicenseExtension answer the rest of {ILicenseLedger} in this storage. All is documented
/// there.
/// @dev Two contracts, because one may have 24,576 bytes, and because every function in front of `check` costs each call of it 22
/// gas. The extension is named at deployment and never changes. It begins with the same LicenseStorage, has no token functions, and
/// is reached only with selectors that this contract does not know. Its only immutables are those of solady's EIP712, which
/// recomputes the domain when the address is not the one it was deployed at, as under delegatecall.
contract LicenseLedger is LicenseIssuing {
    ILicenseRenderer private immutable _renderer;
    address private immutable _extension;

    constructor(address registry_, address renderer_, address extension_) {
        // Elsewhere the registry would not tell it of titles that move.
        address expected = IModelRegistry(registry_).ledger();
        if (expected != address(this)) revert LicenseLedgerMisplaced(address(this), expected);
        // Delegating to an account without code succeeds and does nothing.
        if (extension_.code.length == 0) revert LicenseExtensionMissing(extension_);
        _registry = IModelRegistry(registry_);
        _renderer = ILicenseRenderer(renderer_);
        _extension = extension_;
    }

    /// @dev Not payable: the ledger takes no coins.
    fallback() external {
        address to = _extension;
        assembly ("memory-safe") {
            let m := mload(0x40)
            calldatacopy(m, 0, calldatasize())
            let ok := delegatecall(gas(), to, m, calldatasize(), 0, 0)
            returndatacopy(m, 0, returndatasize())
            if iszero(ok) { revert(m, returndatasize()) }
            return(m, returndatasize())
        }
    }

    // ---------------------------------------------------------------- renew, revoke, surrender, reissue

    /// @inheritdoc ILicenseCore
    function renew(uint256 licenseId, uint40 notAfter) external {
        LicenseWord word = _load(licenseId);
        uint40 present = word.notAfter();
        uint40 from = present > block.timestamp ? present : _now();
        if (word.has(LicenseWordLib.HAS_PARENT)) {
            uint256 parentId = _exts[licenseId].parentId;
            _checkHolder(parentId);
            LicenseWord parent = _read(parentId);
            uint40 end = _endOf(parentId, parent);
            if (notAfter == 0) notAfter = end;
            else if (notAfter > end) revert LicenseWindowInvalid(from, notAfter);
        } else {
            notAfter = _renewedEnd(licenseId, from, notAfter);
        }
        _checkNotRevoked(licenseId, word);
        LicenseStatus status = word.status();
        if (status != LicenseStatus.ACTIVE) revert LicenseStatusForbids(licenseId, status);
        if (notAfter <= present) revert LicenseNotLater(licenseId, present, notAfter);
        if (notAfter <= from) revert LicenseWindowInvalid(from, notAfter);

        _store(licenseId, word.withNotAfter(notAfter));
        emit LicenseRenewed(licenseId, notAfter);
        emit MetadataUpdate(licenseId);
    }

    /// @dev Licensor or ISSUER, the latter within its bounds.
    function _renewedEnd(uint256 licenseId, uint40 from, uint40 notAfter) private view returns (uint40) {
        Plan storage plan = _checkAuthority(_planIdOf(licenseId), ROLE_ISSUER);
        bool byRole = msg.sender != plan.licensor;
        if (byRole || notAfter == 0) {
            uint40 duration = plan.times.duration();
            uint40 longest = _plus(from, duration);
            if (notAfter == 0) notAfter = longest;
            // The second bound does not move with the license: without it an ISSUER could renew again and again.
            if (byRole && (notAfter > longest || notAfter > _plus(_plus(_now(), duration), duration))) {
                revert LicenseWindowInvalid(from, notAfter);
            }
        }
        return notAfter;
    }

    /// @inheritdoc ILicenseCore
    function revoke(uint256 licenseId, uint40 effectiveAt, bytes32 reason) external {
        LicenseWord word = _load(licenseId);
        uint40 earliest = _now() + _revokerPlan(licenseId, word).minNotice;
        if (effectiveAt == 0) effectiveAt = earliest;
        else if (effectiveAt < earliest) revert LicenseNoticeTooShort(effectiveAt, earliest);
        if (word.isRevoked() && effectiveAt >= word.notAfter()) {
            revert LicenseStatusForbids(licenseId, LicenseStatus.REVOKED);
        }
        _revoke(licenseId, word, effectiveAt, reason);
    }

    /// @dev Of a sublicense the parent's holder is a revoker too, under the same notice.
    function _revokerPlan(uint256 licenseId, LicenseWord word) private view returns (Plan storage plan) {
        uint32 planId = _planIdOf(licenseId);
        if (word.has(LicenseWordLib.HAS_PARENT) && _read(_exts[licenseId].parentId).holder() == msg.sender) {
            return _plans[planId];
        }
        return _checkAuthority(planId, ROLE_REVOKER);
    }

    /// @inheritdoc ILicenseCore
    function surrender(uint256 licenseId) external {
        LicenseWord word = _load(licenseId);
        if (!_isApprovedOrOwner(msg.sender, licenseId)) revert LicenseNotHolder(licenseId, msg.sender);
        uint16 used = word.seatsUsed();
        if (used != 0) revert LicenseSeatsInUse(licenseId, used);
        if (word.isRevoked() && block.timestamp >= word.notAfter()) {
            revert LicenseStatusForbids(licenseId, LicenseStatus.REVOKED);
        }
        // Else whoever buys and is refunded, again and again, uses up the supply for nothing.
        if (_cameBackUnused(word)) {
            Plan storage plan = _plans[_planIdOf(licenseId)];
            if (plan.issue.has(IssueWordLib.CAPPED)) ++plan.besideSupply;
        }
        _revoke(licenseId, word, _now(), 0);
    }

    /// @dev Floating seats leave no trace here; a sublicense never counted.
    function _cameBackUnused(LicenseWord word) private view returns (bool) {
        return block.timestamp < word.notAfter()
            && !word.hasAny(LicenseWordLib.EVER_BOUND | LicenseWordLib.HAS_PARENT | LicenseWordLib.FLOATING);
    }

    /// @inheritdoc ILicenseCore
    function finishReissue(uint256 licenseId) external {
        LicenseWord word = _load(licenseId);
        _checkAuthority(_planIdOf(licenseId), 0);
        _checkNotRevoked(licenseId, word);
        Reissue memory reissue = _reissues[licenseId];
        if (reissue.to == address(0)) revert ReissueNone(licenseId);
        if (block.timestamp < reissue.readyAt) revert ReissuePending(licenseId, reissue.readyAt);
        if (_outdated(licenseId, reissue)) revert ReissueOutdated(licenseId);
        address from = word.holder();
        delete _reissues[licenseId];
        _transfer(from, reissue.to, licenseId);
        _raiseGrantNonce(licenseId, _read(licenseId));
        emit LicenseReissued(licenseId, from, reissue.to);
    }

    // ---------------------------------------------------------------- runtimes and the answer

    /// @inheritdoc ILicenseCore
    function bindRuntime(uint256 licenseId, bytes32 runtimeKey, uint40 until, bytes20 measurement) external {
        _bind(licenseId, _checkHolder(licenseId), runtimeKey, until, measurement);
    }

    /// @inheritdoc ILicenseCore
    function check(uint256 licenseId, address holder, bytes32 runtimeKey, uint40 at)
        external
        view
        returns (uint8 code, uint40 notAfter, uint40 graceUntil, uint32 planId)
    {
        _checkPresent(at);
        return _check(licenseId, holder, runtimeKey, at);
    }

    // ---------------------------------------------------------------- reads

    /// @inheritdoc ILicenseCore
    function locked(uint256 licenseId) external view returns (bool) {
        LicenseWord word = _load(licenseId);
        return word.has(LicenseWordLib.LOCKED);
    }

    /// @inheritdoc ILicenseCore
    function registry() external view returns (address) {
        return address(_registry);
    }

    /// @inheritdoc ILicenseCore
    function renderer() external view returns (address) {
        return address(_renderer);
    }

    /// @inheritdoc ILicenseCore
    function extension() external view returns (address) {
        return _extension;
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
        return _renderer.render(licenseId, plan.modelId, plan.termsHash, word);
    }

    /// @inheritdoc ERC721
    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return interfaceId == 0x2a55205a // ERC-2981
            || interfaceId == 0xb45a3c0e // ERC-5192
            || interfaceId == 0x49064906 // ERC-4906
            || interfaceId == 0x84b0196e // ERC-5267
            || super.supportsInterface(interfaceId);
    }

    /// @dev Grants do not come back with a license that does. Both safe transfers come through here, before their callback.
    function transferFrom(address from, address to, uint256 id) public payable override {
        _refuseCoins();
        uint8 why = _untransferable(_read(id));
        if (why != 0) revert LicenseUntransferable(id, why);
        super.transferFrom(from, to, id);
        _raiseGrantNonce(id, _read(id));
    }

    function _untransferable(LicenseWord word) private pure returns (uint8) {
        if (word.has(LicenseWordLib.LOCKED)) return 1;
        if (word.has(LicenseWordLib.HELD)) return 2;
        if (word.isRevoked()) return 3;
        return word.seatsUsed() == 0 ? 0 : 4;
    }

    function approve(address account, uint256 id) public payable override {
        _refuseCoins();
        super.approve(account, id);
    }

    /// @dev solady lets approvals and transfers take coins, which nobody could ever get out again.
    function _refuseCoins() private view {
        if (msg.value != 0) revert LicensePaymentRefused(msg.value);
    }
}
