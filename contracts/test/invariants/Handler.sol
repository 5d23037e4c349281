// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAnchors} from "../../src/interfaces/IAnchors.sol";
import {ILicenseLedger} from "../../src/interfaces/ILicenseLedger.sol";
import {LicenseStatus, PlanState, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {IModelRegistry} from "../../src/interfaces/IModelRegistry.sol";
import {IToken} from "../Base.sol";
import {Answer} from "./Answer.sol";
import {Tenures} from "./Tenures.sol";
import {Watch} from "./Watch.sol";

/// @notice Lets five accounts do anything at all, in any order, and watches every step for a transition that must not be.
/// @dev Calls may fail, that is half of the point; what must never happen is written to `broken`, which the invariants read.
contract Handler is Tenures {
    constructor(IAnchors anchors_, IModelRegistry models_, ILicenseLedger ledger_) Watch(anchors_, models_, ledger_) {}

    // ---------------------------------------------------------------- plans

    /// @param kind bits: 1 locked, 2 floating, 4 metered, 8 with notice, 16 with a royalty
    function createPlan(uint256 who, uint256 model, uint32 supply, uint16 seats, uint8 kind) external step {
        PlanTerms memory terms;
        terms.modelId = modelOf(model);
        (terms.duration, terms.grace, terms.maxOffline) = (10 days, 1 days, 2 days);
        (terms.supply, terms.seats) = (supply % 12, seats % 5);
        (terms.transferable, terms.floating) = (kind & 1 == 0, kind & 2 != 0);
        if (kind & 4 != 0) terms.quota = 8;
        if (kind & 8 != 0) terms.minNotice = 1 days;
        address maker = choose(who, models.licensorOf(terms.modelId));
        if (!act("createPlan", 0, maker, abi.encodeCall(ledger.createPlan, (terms)))) return;
        ++plans;
        never(models.licensorOf(terms.modelId) != maker, "4: a plan without title");
    }

    function setResaleRoyalty(uint256 who, uint256 plan, uint16 bps) external step {
        bytes memory call_ = abi.encodeCall(ledger.setResaleRoyalty, (pick(plan), bps % 1_200));
        bool set = act("setResaleRoyalty", 0, choose(who, licensorOf(pick(plan))), call_);
        never(set && bps % 1_200 > 1_000, "20: a royalty too high");
    }

    function sync(uint256 plan) external step {
        uint32 planId = pick(plan);
        address before = licensorOf(planId);
        if (!act("sync", 0, msg.sender, abi.encodeCall(ledger.syncLicensor, (planId)))) return;
        (PlanTerms memory terms, PlanState memory state) = ledger.planOf(planId);
        never(state.licensor != models.licensorOf(terms.modelId), "20: synced to someone without title");
        for (uint256 i; i < 5 && state.licensor != before; ++i) {
            never(ledger.rolesOf(planId, actors[i]) != 0, "5: a role outlived its licensor");
        }
    }

    function setRoles(uint256 who, uint256 plan, uint256 account, uint8 roles) external step {
        bytes memory call_ = abi.encodeCall(ledger.setRoles, (pick(plan), actors[account % 5], roles % 16));
        act("setRoles", 0, choose(who, licensorOf(pick(plan))), call_);
    }

    function setPaused(uint256 who, uint256 plan, bool paused) external step {
        bytes memory call_ = abi.encodeCall(ledger.setPaused, (pick(plan), paused));
        act("setPaused", 0, choose(who, licensorOf(pick(plan))), call_);
    }

    // ---------------------------------------------------------------- licenses

    function window(uint24 notBefore, uint24 notAfter) private view returns (uint40 start, uint40 end) {
        start = notBefore % 3 == 0 ? 0 : uint40(block.timestamp) + notBefore % 2 days;
        end = notAfter % 3 == 0 ? 0 : uint40(block.timestamp) + notAfter % 20 days;
    }

    function issue(uint256 who, uint256 plan, uint256 to, uint24 notBefore, uint24 notAfter) external step {
        uint32 planId = pick(plan);
        (uint40 start, uint40 end) = window(notBefore, notAfter);
        bytes memory call_ = abi.encodeCall(ledger.issue, (planId, actors[to % 5], start, end));
        if (!act("issue", 0, choose(who, licensorOf(planId)), call_)) return;
        issued(planId);
        addedNext(planId);
    }

    function issueBatch(uint256 who, uint256 plan, uint8 count, uint24 notBefore, uint24 notAfter) external step {
        uint32 planId = pick(plan);
        (uint40 start, uint40 end) = window(notBefore, notAfter);
        address[] memory to = new address[](count % 4);
        for (uint256 i; i < to.length; ++i) {
            to[i] = actors[(count + i) % 5];
        }
        bytes memory call_ = abi.encodeCall(ledger.issueBatch, (planId, to, start, end));
        if (!act("issueBatch", 0, choose(who, licensorOf(planId)), call_)) return;
        issued(planId);
        (, PlanState memory state) = ledger.planOf(planId);
        for (uint256 i = to.length; i > 0; --i) {
            added(uint256(planId) << 32 | (state.issued + 1 - i));
        }
    }

    function renew(uint256 who, uint256 license, uint24 ahead) external step {
        uint256 id = some(license);
        Seen memory before = look(id);
        address licensor = licensorOf(uint32(id >> 32));
        address rightful = before.parent == 0 ? licensor : look(before.parent).holder;
        address sender = choose(who, rightful);
        uint40 end = ahead % 4 == 0 ? 0 : uint40(block.timestamp) + ahead;
        if (!act("renew", id, sender, abi.encodeCall(ledger.renew, (id, end)))) return;
        Seen memory after_ = look(id);
        never(after_.notAfter <= before.notAfter, "7: renewed backwards");
        never(after_.notAfter <= block.timestamp, "7: renewed into the past");
        never(before.status != LicenseStatus.ACTIVE, "7: renewed what is not active");
        (PlanTerms memory terms,) = ledger.planOf(uint32(id >> 32));
        if (before.parent != 0) {
            never(sender != rightful, "7: a sublicense renewed by someone else");
            never(
                after_.notAfter > Answer.endOf(ledger, before.parent), "7: a sublicense renewed beyond a license above"
            );
        } else if (sender != licensor) {
            never(after_.notAfter > block.timestamp + 2 * terms.duration, "7: an ISSUER renewed too far");
        }
    }

    function suspend(uint256 who, uint256 license) external step {
        uint256 id = some(license);
        act("suspend", id, choose(who, licensorOf(uint32(id >> 32))), abi.encodeCall(ledger.suspend, (id, 0)));
    }

    function isHeld(uint256 id) private view returns (bool) {
        return look(id).heldSince != 0;
    }

    function reinstate(uint256 who, uint256 license) external step {
        uint256 id = seek(license, isHeld);
        act("reinstate", id, choose(who, licensorOf(uint32(id >> 32))), abi.encodeCall(ledger.reinstate, (id, 0)));
    }

    function revoke(uint256 who, uint256 license, uint24 ahead) external step {
        uint256 id = some(license);
        uint40 effect = ahead % 3 == 0 ? 0 : uint40(block.timestamp) + ahead % 12 days;
        uint64 parent = look(id).parent;
        address rightful = parent == 0 || who & 16 == 0 ? licensorOf(uint32(id >> 32)) : holderOf(parent);
        act("revoke", id, choose(who, rightful), abi.encodeCall(ledger.revoke, (id, effect, 0)));
    }

    function bind(uint256 who, uint256 license, uint256 key, uint24 ahead) external step {
        uint256 id = some(license);
        uint40 until = ahead % 3 == 0 ? 0 : uint40(block.timestamp) + ahead % 5 days;
        bytes memory call_ = abi.encodeCall(ledger.bindRuntime, (id, keyOf(key), until, 0));
        address sender = choose(who, holderOf(id));
        bool bound = act("bind", id, sender, call_);
        never(bound && sender != holderOf(id), "19: bound without the holder's word");
    }

    function hasSeats(uint256 id) private view returns (bool) {
        return firstSeat(id, 0) != 0;
    }

    function firstSeat(uint256 id, uint256 key) private view returns (bytes32) {
        for (uint256 i; i < KEYS; ++i) {
            (uint40 boundAt,,) = ledger.seatOf(id, keyOf(key + i));
            if (boundAt != 0) return keyOf(key + i);
        }
        return 0;
    }

    function release(uint256 license, uint256 key) external step {
        uint256 id = seek(license, hasSeats);
        if (id == 0) return;
        bytes32 seat = firstSeat(id, key % KEYS);
        (, uint40 until,) = ledger.seatOf(id, seat);
        uint40 end = Answer.endOf(ledger, id);
        bytes memory call_ = abi.encodeCall(ledger.releaseRuntime, (id, seat));
        bool lapsed = block.timestamp >= end || until != 0 && block.timestamp >= until;
        bool released = act("release", id, msg.sender, call_);
        never(released && !lapsed, "8: a live seat was released");
    }

    function evict(uint256 who, uint256 license, uint256 key) external step {
        uint256 id = seek(license, hasSeats);
        bytes memory call_ = abi.encodeCall(ledger.evictRuntime, (id, firstSeat(id, key % KEYS)));
        act("evict", id, choose(who, licensorOf(uint32(id >> 32))), call_);
    }

    function transfer(uint256 who, uint256 license, uint256 to) external step {
        uint256 id = some(license);
        Seen memory before = look(id);
        address from = choose(who, before.holder);
        bytes memory call_ = abi.encodeCall(IToken.transferFrom, (from, actors[to % 5], id));
        if (!act("transfer", id, from, call_)) return;
        never(from != before.holder, "9: moved by someone else");
        never(before.seats != 0 || before.status != LicenseStatus.ACTIVE, "9: moved what must stay");
        never(ledger.locked(id), "9: moved what is locked");
    }

    function pass(uint24 time) external step {
        vm.warp(block.timestamp + time % 3 days);
        vm.roll(block.number + 1);
    }

    // ---------------------------------------------------------------- asking

    /// The ledger and a second reading of its records give one answer to anything anyone asks.
    function ask(uint256 license, uint256 who, uint256 key, uint32 ahead) external step {
        uint256 id = license % 8 == 7 ? license : some(license);
        address holder = who % 3 == 0 ? address(0) : choose(who, holderOf(id));
        bytes32 runtimeKey = key % 3 == 0 ? bytes32(0) : keyOf(key / 3);
        uint40 at = uint40(block.timestamp) + ahead % 30 days;
        never(!Answer.agrees(ledger, id, holder, runtimeKey, at), "26: check says something else than the records");
    }
}
