// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAnchors, InclusionProof} from "../../src/interfaces/IAnchors.sol";
import {ILicenseLedger} from "../../src/interfaces/ILicenseLedger.sol";
import {LicenseStatus, PlanState, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Claim, IModelRegistry, ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {IToken} from "../Base.sol";
import {Vm} from "../Vm.sol";

/// @notice Lets five accounts do anything at all, in any order, and watches every step for a transition that must not be.
/// @dev Calls may fail, that is half of the point; what must never happen is written to `broken`, which the invariants read.
contract Handler {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint256 private constant KEYS = 4;

    IAnchors private immutable anchors;
    IModelRegistry private immutable models;
    ILicenseLedger private immutable ledger;

    address[5] public actors = [address(0xA1), address(0xA2), address(0xA3), address(0xA4), address(0xA5)];
    bytes32[] public modelIds;
    uint256[] public licenseIds;
    uint32 public plans;
    string public broken;
    /// How often each action went through, so that a run that did nothing cannot pass for a good one.
    mapping(string action => uint256) public done;

    struct View {
        address holder;
        uint40 notAfter;
        LicenseStatus status;
        uint16 seats;
        uint40 heldSince;
        uint64 grants;
        bool ended;
    }

    constructor(IAnchors anchors_, IModelRegistry models_, ILicenseLedger ledger_) {
        (anchors, models, ledger) = (anchors_, models_, ledger_);
        for (uint256 i; i < 3; ++i) {
            Claim memory claim;
            claim.licensor = actors[i];
            claim.salt = bytes32(i);
            bytes32 id = models.modelIdOf(claim);
            anchors.anchor(commitmentOf(id));
            vm.warp(block.timestamp + 10);
            vm.roll(block.number + 1);
            vm.prank(actors[i]);
            InclusionProof memory none;
            models.register(claim, none);
            modelIds.push(id);
        }
    }

    // ---------------------------------------------------------------- titles

    function commitmentOf(bytes32 modelId) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0), "modeldeed/commit/1", modelId));
    }

    function proveEarlier(uint256 model, bool honest) external {
        bytes32 id = modelIds[model % 3];
        (,, uint40 before,,) = models.modelOf(id);
        InclusionProof memory proof;
        proof.root = honest ? commitmentOf(id) : keccak256("another");
        proof.size = 1;
        run("proveEarlier", msg.sender, address(models), abi.encodeCall(models.proveEarlier, (id, proof)));
        (,, uint40 after_,,) = models.modelOf(id);
        if (after_ > before) broken = "1: committedAt rose";
    }

    function moveTitle(uint256 from, uint256 to, uint256 model) external {
        bytes32 id = modelIds[model % 3];
        address seller = actors[from % 5];
        address holder = models.licensorOf(id);
        uint64 sequence = models.titleSequenceOf(id);
        run("propose", seller, address(models), abi.encodeCall(models.proposeTransfer, (id, actors[to % 5])));
        bool moved = run("accept", actors[to % 5], address(models), abi.encodeCall(models.acceptTransfer, (id)));
        if (moved && models.pendingLicensorOf(id) != address(0)) broken = "2: an offer outlived its title";
        if (models.licensorOf(id) != holder && models.titleSequenceOf(id) != sequence + 1) broken = "2: no sequence";
        if (!moved && models.licensorOf(id) != holder) broken = "2: title moved without consent";
    }

    function setModelStatus(uint256 who, uint256 model, uint8 status) external {
        bytes32 id = modelIds[model % 3];
        run(
            "setStatus",
            actors[who % 5],
            address(models),
            abi.encodeCall(models.setStatus, (id, ModelStatus(status % 4)))
        );
        (,,, ModelStatus now_,) = models.modelOf(id);
        if (now_ == ModelStatus.NONE) broken = "3: a model vanished";
    }

    // ---------------------------------------------------------------- plans

    function createPlan(uint256 who, uint256 model, uint32 supply, uint16 seats, bool transferable) external {
        PlanTerms memory terms;
        terms.modelId = modelIds[model % 3];
        (terms.duration, terms.grace, terms.maxOffline) = (10 days, 1 days, 2 days);
        (terms.minNotice, terms.supply, terms.seats) = (1 days, supply % 6, seats % 4);
        terms.transferable = transferable;
        bool made = run("createPlan", actors[who % 5], address(ledger), abi.encodeCall(ledger.createPlan, (terms)));
        if (!made) return;
        ++plans;
        if (models.licensorOf(terms.modelId) != actors[who % 5]) broken = "4: a plan without title";
    }

    function sync(uint256 plan) external {
        uint32 planId = pick(plan);
        bool synced = run("sync", msg.sender, address(ledger), abi.encodeCall(ledger.syncLicensor, (planId)));
        if (!synced) return;
        for (uint256 i; i < 5; ++i) {
            if (ledger.rolesOf(planId, actors[i]) != 0) broken = "5: a role outlived its licensor";
        }
    }

    function setRoles(uint256 who, uint256 plan, uint256 account, uint8 roles) external {
        bytes memory call_ = abi.encodeCall(ledger.setRoles, (pick(plan), actors[account % 5], roles % 16));
        run("setRoles", actors[who % 5], address(ledger), call_);
    }

    function setPaused(uint256 who, uint256 plan, bool paused) external {
        run("setPaused", actors[who % 5], address(ledger), abi.encodeCall(ledger.setPaused, (pick(plan), paused)));
    }

    // ---------------------------------------------------------------- licenses

    function issue(uint256 who, uint256 plan, uint256 to, uint24 notBefore, uint24 notAfter) external {
        uint32 planId = pick(plan);
        uint40 start = uint40(block.timestamp) + notBefore % 2 days;
        uint40 end = notAfter % 3 == 0 ? 0 : start + notAfter % 20 days;
        bytes memory call_ = abi.encodeCall(ledger.issue, (planId, actors[to % 5], start, end));
        if (!run("issue", actors[who % 5], address(ledger), call_)) return;
        (PlanTerms memory terms, PlanState memory state) = ledger.planOf(planId);
        licenseIds.push(uint256(planId) << 32 | state.issued);
        (address owner,,, ModelStatus status,) = models.modelOf(terms.modelId);
        if (owner != state.licensor) broken = "6: issued after the title moved";
        if (status != ModelStatus.ACTIVE) broken = "6: issued for a model that is not active";
        if (state.paused) broken = "6: issued while paused";
    }

    function renew(uint256 who, uint256 license, uint24 ahead) external {
        uint256 id = some(license);
        View memory before = look(id);
        uint40 end = ahead % 4 == 0 ? 0 : uint40(block.timestamp) + ahead;
        bool renewed = run("renew", actors[who % 5], address(ledger), abi.encodeCall(ledger.renew, (id, end)));
        View memory after_ = look(id);
        if (renewed && after_.notAfter <= before.notAfter) broken = "7: renewed backwards";
        if (renewed && before.status != LicenseStatus.ACTIVE) broken = "7: renewed what is not active";
        watch(id, before, after_, renewed);
        if (!renewed) return;
        (PlanTerms memory terms, PlanState memory state) = ledger.planOf(uint32(id >> 32));
        bool byRole = actors[who % 5] != state.licensor;
        if (byRole && after_.notAfter > block.timestamp + 2 * terms.duration) broken = "7: an ISSUER renewed too far";
    }

    function suspend(uint256 who, uint256 license) external {
        act("suspend", who, some(license), abi.encodeCall(ledger.suspend, (some(license), 0)));
    }

    function reinstate(uint256 who, uint256 license) external {
        act("reinstate", who, some(license), abi.encodeCall(ledger.reinstate, (some(license), 0)));
    }

    function revoke(uint256 who, uint256 license, uint24 ahead) external {
        uint256 id = some(license);
        uint40 effect = ahead % 3 == 0 ? 0 : uint40(block.timestamp) + ahead % 12 days;
        act("revoke", who, id, abi.encodeCall(ledger.revoke, (id, effect, 0)));
    }

    function bind(uint256 who, uint256 license, uint256 key, uint24 ahead) external {
        uint256 id = some(license);
        uint40 until = ahead % 3 == 0 ? 0 : uint40(block.timestamp) + ahead % 5 days;
        bytes memory call_ = abi.encodeCall(ledger.bindRuntime, (id, keyOf(key), until, 0));
        act("bind", who, id, call_);
    }

    function release(uint256 who, uint256 license, uint256 key) external {
        uint256 id = some(license);
        (, uint40 until,) = ledger.seatOf(id, keyOf(key));
        View memory before = look(id);
        bytes memory call_ = abi.encodeCall(ledger.releaseRuntime, (id, keyOf(key)));
        bool released = act("release", who, id, call_);
        bool lapsed = block.timestamp >= before.notAfter || until != 0 && block.timestamp >= until;
        if (released && !lapsed) broken = "8: a live seat was released";
    }

    function evict(uint256 who, uint256 license, uint256 key) external {
        uint256 id = some(license);
        act("evict", who, id, abi.encodeCall(ledger.evictRuntime, (id, keyOf(key))));
    }

    function transfer(uint256 who, uint256 license, uint256 to) external {
        uint256 id = some(license);
        View memory before = look(id);
        address from = actors[who % 5];
        bytes memory call_ = abi.encodeCall(IToken.transferFrom, (from, actors[to % 5], id));
        bool moved = act("transfer", who, id, call_);
        if (moved && from != before.holder) broken = "9: moved by someone else";
        if (moved && (before.seats != 0 || before.status != LicenseStatus.ACTIVE)) broken = "9: moved what must stay";
        if (moved && ledger.locked(id)) broken = "9: moved what is locked";
    }

    function pass(uint24 time) external {
        vm.warp(block.timestamp + time % 3 days);
        vm.roll(block.number + 1);
    }

    // ---------------------------------------------------------------- watching

    function act(string memory name, uint256 who, uint256 id, bytes memory call_) private returns (bool ok) {
        View memory before = look(id);
        ok = run(name, actors[who % 5], address(ledger), call_);
        watch(id, before, look(id), false);
    }

    function watch(uint256 id, View memory before, View memory after_, bool renewed) private {
        if (id == 0) return;
        if (before.status == LicenseStatus.REVOKED && after_.status != LicenseStatus.REVOKED) broken = "10: unrevoked";
        if (after_.notAfter > before.notAfter && !renewed) broken = "11: the end rose";
        if (before.ended && !after_.ended) broken = "10: a revoked license came back";
        if (after_.status == LicenseStatus.SUSPENDED && after_.heldSince == 0) broken = "12: suspended since never";
        if (after_.grants < before.grants) broken = "13: a grant came back";
        if (after_.holder != before.holder && after_.grants == before.grants) broken = "13: a grant outlived a move";
    }

    function look(uint256 id) private view returns (View memory seen) {
        if (id == 0) return seen;
        (seen.holder,, seen.notAfter, seen.status, seen.seats, seen.grants, seen.heldSince) = ledger.licenseOf(id);
        (uint8 code,,,) = ledger.check(id, address(0), 0, uint40(block.timestamp));
        seen.ended = code == 3;
    }

    function run(string memory name, address who, address target, bytes memory call_) private returns (bool ok) {
        vm.prank(who);
        (ok,) = target.call(call_);
        if (ok) ++done[name];
    }

    function pick(uint256 plan) private view returns (uint32) {
        return plans == 0 ? 1 : uint32(1 + plan % plans);
    }

    function some(uint256 license) private view returns (uint256) {
        return licenseIds.length == 0 ? 0 : licenseIds[license % licenseIds.length];
    }

    function keyOf(uint256 key) public pure returns (bytes32) {
        return bytes32(1 + key % KEYS);
    }

    function licenseCount() external view returns (uint256) {
        return licenseIds.length;
    }
}
