// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseLedger, PlanState, PlanTerms} from "./interfaces/ILicenseLedger.sol";
import {ModelStatus} from "./interfaces/IModelRegistry.sol";
import {LicenseStorage} from "./LicenseStorage.sol";
import {IssueWord, IssueWordLib} from "./types/IssueWord.sol";

/// @title LicensePlans
/// @notice The part of the LicenseLedger that makes and governs plans.
abstract contract LicensePlans is LicenseStorage {
    bytes32 private constant PLAN_TAG = keccak256("modeldeed/plan/1");

    /// @inheritdoc ILicenseLedger
    function createPlan(PlanTerms calldata terms) external returns (uint32 planId) {
        (address licensor, ModelStatus status) = _registry.titleOf(terms.modelId);
        if (licensor != msg.sender) revert PlanNotTitleHolder(terms.modelId, msg.sender, licensor);
        if (status != ModelStatus.ACTIVE) revert PlanModelNotIssuable(terms.modelId, uint8(status));
        uint256 offline = uint256(terms.leaseTtl) + terms.grace;
        if (offline > terms.maxOffline) revert PlanOfflineTooLong(offline, terms.maxOffline);

        planId = ++_planCount;
        Plan storage plan = _plans[planId];
        plan.issue = IssueWordLib.fresh(terms.duration, terms.grace, _flagsOf(terms));
        plan.minNotice = terms.minNotice;
        plan.seats = terms.seats;
        plan.duration = terms.duration;
        plan.supply = terms.supply;
        plan.leaseTtl = terms.leaseTtl;
        plan.maxOffline = terms.maxOffline;
        plan.refundWindow = terms.refundWindow;
        plan.reissueDelay = terms.reissueDelay;
        plan.quota = terms.quota;
        plan.features = terms.features;
        plan.brokerSet = terms.brokerSet;
        plan.payToken = terms.payToken;
        plan.price = terms.price;
        plan.modelId = terms.modelId;
        plan.termsHash = terms.termsHash;
        bytes32 digest = _setLicensor(plan, terms, msg.sender, 0);
        emit PlanCreated(planId, msg.sender, terms.modelId, terms.termsHash, digest);
    }

    /// @inheritdoc ILicenseLedger
    function setPaused(uint32 planId, bool paused) external {
        Plan storage plan = _checkAuthority(planId, ROLE_GUARDIAN);
        plan.issue = plan.issue.withFlag(IssueWordLib.PAUSED, paused);
        emit PlanPaused(planId, paused);
    }

    /// @inheritdoc ILicenseLedger
    function syncLicensor(uint32 planId) external {
        Plan storage plan = _plans[planId];
        address from = plan.licensor;
        if (from == address(0)) revert PlanUnknown(planId);
        address to = _registry.licensorOf(plan.modelId);
        if (from == to) revert PlanInSync(planId);
        uint16 roleEpoch = plan.roleEpoch + 1;
        _setLicensor(plan, _termsOf(plan), to, roleEpoch);
        emit PlanLicensorSynced(planId, from, to, roleEpoch);
    }

    /// @inheritdoc ILicenseLedger
    function setRoles(uint32 planId, address account, uint8 roles) external {
        uint16 epoch = _checkAuthority(planId, 0).roleEpoch;
        if (roles > ROLES_ALL) revert PlanRolesUnknown(roles);
        _roles[_roleKey(planId, epoch, account)] = roles;
        emit RoleSet(planId, account, roles, epoch);
    }

    /// @inheritdoc ILicenseLedger
    function planOf(uint32 planId) external view returns (PlanTerms memory terms, PlanState memory state) {
        Plan storage plan = _plans[planId];
        if (plan.licensor == address(0)) revert PlanUnknown(planId);
        terms = _termsOf(plan);
        IssueWord word = plan.issue;
        state = PlanState(word.licensor(), word.issued(), word.roleEpoch(), word.has(IssueWordLib.PAUSED), plan.digest);
    }

    /// @inheritdoc ILicenseLedger
    function rolesOf(uint32 planId, address account) external view returns (uint8) {
        return uint8(_roles[_roleKey(planId, _plans[planId].roleEpoch, account)]);
    }

    function _setLicensor(Plan storage plan, PlanTerms memory terms, address licensor, uint16 epoch)
        private
        returns (bytes32 digest)
    {
        digest = keccak256(abi.encode(PLAN_TAG, licensor, terms));
        plan.issue = plan.issue.withLicensor(licensor, epoch);
        plan.licensor = licensor;
        plan.roleEpoch = epoch;
        plan.digest = digest;
    }

    function _flagsOf(PlanTerms calldata terms) private pure returns (uint8 flags) {
        if (terms.supply != 0) flags |= IssueWordLib.CAPPED;
        if (terms.floating) flags |= IssueWordLib.FLOATING;
        if (terms.warnOnly) flags |= IssueWordLib.WARN_ONLY;
        if (terms.transferable) flags |= IssueWordLib.TRANSFERABLE;
        if (terms.quota != 0) flags |= IssueWordLib.METERED;
    }

    function _termsOf(Plan storage plan) private view returns (PlanTerms memory) {
        IssueWord word = plan.issue;
        return PlanTerms({
            modelId: plan.modelId,
            termsHash: plan.termsHash,
            duration: plan.duration,
            grace: word.grace(),
            leaseTtl: plan.leaseTtl,
            maxOffline: plan.maxOffline,
            minNotice: plan.minNotice,
            refundWindow: plan.refundWindow,
            reissueDelay: plan.reissueDelay,
            seats: plan.seats,
            supply: plan.supply,
            quota: plan.quota,
            features: plan.features,
            brokerSet: plan.brokerSet,
            payToken: plan.payToken,
            price: plan.price,
            floating: word.has(IssueWordLib.FLOATING),
            warnOnly: word.has(IssueWordLib.WARN_ONLY),
            transferable: word.has(IssueWordLib.TRANSFERABLE)
        });
    }
}
