// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseCore} from "./interfaces/ILicenseCore.sol";
import {ILicenseExtension} from "./interfaces/ILicenseExtension.sol";
import {IModelRegistry, ModelStatus} from "./interfaces/IModelRegistry.sol";
import {PlanState, PlanTerms} from "./interfaces/LicenseTypes.sol";
import {LicenseLeaves} from "./LicenseLeaves.sol";
import {IssueWord, IssueWordLib} from "./types/IssueWord.sol";
import {PlanWordsLib} from "./types/PlanWords.sol";

/// @title LicensePlans
/// @notice The part of the LicenseExtension that makes and governs plans.
abstract contract LicensePlans is LicenseLeaves, ILicenseExtension {
    bytes32 private constant PLAN_TAG = keccak256("modeldeed/plan/1");
    uint256 private constant MAX_WATCHED = 256;
    uint16 private constant MAX_RESALE_BPS = 1_000;

    /// @inheritdoc ILicenseExtension
    function createPlan(PlanTerms memory terms) external returns (uint32 planId) {
        (address licensor, ModelStatus status) = _titles().titleOf(terms.modelId);
        if (licensor != msg.sender) revert PlanNotTitleHolder(terms.modelId, msg.sender, licensor);
        if (status != ModelStatus.ACTIVE) revert PlanModelNotIssuable(terms.modelId, uint8(status));
        uint256 offline = uint256(terms.leaseTtl) + terms.grace;
        if (offline > terms.maxOffline) revert PlanOfflineTooLong(offline, terms.maxOffline);

        // Seats by lease leave no trace here, so nobody could tell whether a license was used.
        if (terms.refundWindow != 0 && terms.floating) revert PlanRefundFloats();

        planId = ++_planCount;
        Plan storage plan = _plans[planId];
        plan.issue = IssueWordLib.fresh(terms.duration, terms.grace, _flagsOf(terms));
        if (!_watch(terms.modelId, planId)) plan.issue = plan.issue.withFlag(IssueWordLib.TOUCHED, true);
        plan.minNotice = terms.minNotice;
        plan.seats = terms.seats;
        plan.times = PlanWordsLib.timesOf(terms);
        plan.scope = PlanWordsLib.scopeOf(terms);
        plan.payToken = terms.payToken;
        plan.price = terms.price;
        plan.modelId = terms.modelId;
        plan.termsHash = terms.termsHash;
        bytes32 digest = _setLicensor(plan, terms, msg.sender);
        emit PlanCreated(planId, msg.sender, terms.modelId, terms.termsHash, digest);
    }

    /// @inheritdoc ILicenseExtension
    function setResaleRoyalty(uint32 planId, uint16 bps) external {
        Plan storage plan = _checkAuthority(planId, 0);
        if (bps > MAX_RESALE_BPS) revert PlanRoyaltyTooHigh(bps, MAX_RESALE_BPS);
        plan.scope = plan.scope.withResaleBps(bps);
        emit PlanResaleRoyaltySet(planId, bps);
    }

    /// @inheritdoc ILicenseExtension
    function setPaused(uint32 planId, bool paused) external {
        Plan storage plan = _checkAuthority(planId, ROLE_GUARDIAN);
        plan.issue = plan.issue.withFlag(IssueWordLib.PAUSED, paused);
        emit PlanPaused(planId, paused);
    }

    /// @inheritdoc ILicenseExtension
    function syncLicensor(uint32 planId) external {
        Plan storage plan = _plans[planId];
        address from = plan.licensor;
        if (from == address(0)) revert PlanUnknown(planId);
        (address to, ModelStatus status) = _titles().titleOf(plan.modelId);
        IssueWord word = plan.issue;
        bool settled = word.has(IssueWordLib.TOUCHED) && status == ModelStatus.ACTIVE;
        if (from == to && !settled) revert PlanInSync(planId);
        if (settled && _watch(plan.modelId, planId)) plan.issue = word.withFlag(IssueWordLib.TOUCHED, false);
        if (from == to) return;
        uint16 roleEpoch = plan.roleEpoch;
        if (roleEpoch != LAST_EPOCH) plan.roleEpoch = ++roleEpoch;
        _setLicensor(plan, _termsOf(plan), to);
        emit PlanLicensorSynced(planId, from, to, roleEpoch);
    }

    /// @inheritdoc ILicenseExtension
    function titleTouched(bytes32 modelId) external {
        if (msg.sender != address(_titles())) revert PlanNotRegistry(msg.sender);
        uint32[] storage planIds = _modelPlans[modelId];
        uint256 count = planIds.length; // at most MAX_WATCHED
        for (uint256 i; i < count; ++i) {
            Plan storage plan = _plans[planIds[i]];
            plan.issue = plan.issue.withFlag(IssueWordLib.TOUCHED, true);
        }
        delete _modelPlans[modelId];
    }

    /// @dev Has the next change of the model reach the plan. A plan that finds no place keeps its flag and asks each time.
    function _watch(bytes32 modelId, uint32 planId) private returns (bool) {
        uint32[] storage watched = _modelPlans[modelId];
        if (watched.length >= MAX_WATCHED) return false;
        watched.push(planId);
        return true;
    }

    /// @inheritdoc ILicenseExtension
    function setRoles(uint32 planId, address account, uint8 roles) external {
        uint16 epoch = _checkAuthority(planId, 0).roleEpoch;
        if (roles > ROLES_ALL) revert PlanRolesUnknown(roles);
        if (epoch == LAST_EPOCH) revert PlanRolesClosed(planId);
        _roles[_roleKey(planId, epoch, account)] = roles;
        emit RoleSet(planId, account, roles, epoch);
    }

    /// @inheritdoc ILicenseExtension
    function planOf(uint32 planId) external view returns (PlanTerms memory terms, PlanState memory state) {
        Plan storage plan = _plans[planId];
        if (plan.licensor == address(0)) revert PlanUnknown(planId);
        terms = _termsOf(plan);
        IssueWord word = plan.issue;
        state = PlanState(word.licensor(), word.issued(), word.roleEpoch(), word.has(IssueWordLib.PAUSED), plan.digest);
    }

    /// @inheritdoc ILicenseExtension
    function rolesOf(uint32 planId, address account) external view returns (uint8) {
        uint16 epoch = _plans[planId].roleEpoch;
        return epoch == LAST_EPOCH ? 0 : uint8(_roles[_roleKey(planId, epoch, account)]);
    }

    /// @inheritdoc ILicenseExtension
    function royaltyInfo(uint256 licenseId, uint256 salePrice)
        external
        view
        returns (address receiver, uint256 amount)
    {
        _load(licenseId);
        Plan storage plan = _plans[_planIdOf(licenseId)];
        // In two parts, so that no price overflows.
        uint256 bps = plan.scope.resaleBps();
        return (plan.licensor, salePrice / 10_000 * bps + salePrice % 10_000 * bps / 10_000);
    }

    function _setLicensor(Plan storage plan, PlanTerms memory terms, address licensor)
        private
        returns (bytes32 digest)
    {
        digest = keccak256(abi.encode(PLAN_TAG, licensor, terms));
        plan.issue = plan.issue.withLicensor(licensor, plan.roleEpoch);
        plan.licensor = licensor;
        plan.digest = digest;
    }

    function _flagsOf(PlanTerms memory terms) private pure returns (uint8 flags) {
        if (terms.supply != 0) flags |= IssueWordLib.CAPPED;
        if (terms.floating) flags |= IssueWordLib.FLOATING;
        if (terms.warnOnly) flags |= IssueWordLib.WARN_ONLY;
        if (terms.transferable) flags |= IssueWordLib.TRANSFERABLE;
        if (terms.quota != 0) flags |= IssueWordLib.METERED;
    }

    function _termsOf(Plan storage plan) private view returns (PlanTerms memory terms) {
        IssueWord word = plan.issue;
        terms.modelId = plan.modelId;
        terms.termsHash = plan.termsHash;
        terms.grace = word.grace();
        terms.minNotice = plan.minNotice;
        terms.seats = plan.seats;
        terms.payToken = plan.payToken;
        terms.price = plan.price;
        terms.floating = word.has(IssueWordLib.FLOATING);
        terms.warnOnly = word.has(IssueWordLib.WARN_ONLY);
        terms.transferable = word.has(IssueWordLib.TRANSFERABLE);
        plan.times.fill(terms);
        plan.scope.fill(terms);
    }

    /// @dev The extension serves any ledger, so it knows no registry: the ledger whose storage this is does.
    function _titles() private view returns (IModelRegistry) {
        return IModelRegistry(ILicenseCore(address(this)).registry());
    }
}
