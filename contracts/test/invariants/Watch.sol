// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAnchors} from "../../src/interfaces/IAnchors.sol";
import {ILicenseLedger} from "../../src/interfaces/ILicenseLedger.sol";
import {LicenseStatus, PlanState, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {IModelRegistry, ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Vm} from "../Vm.sol";

/// @notice Five accounts with keys, and a look at every plan and license after every step: what no step may change is compared with
/// what was there before.
abstract contract Watch {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint256 internal constant KEYS = 4;
    uint256 internal constant FIRST_ACTOR_KEY = 0xA1;

    IAnchors internal immutable anchors;
    IModelRegistry internal immutable models;
    ILicenseLedger internal immutable ledger;

    address[5] public actors;
    uint256[] public licenseIds;
    /// From 1; 0 is no license.
    mapping(uint256 licenseId => uint256) public position;
    uint32 public plans;
    string public broken;
    uint256 public steps;
    /// How often each action went through, so that a run that did nothing cannot pass for a good one.
    mapping(bytes32 action => uint256) public done;

    /// What went through last in this step, and on which license or model.
    bytes32 internal doing;
    uint256 internal target;

    struct Seen {
        address holder;
        uint40 notAfter;
        uint40 heldSince;
        LicenseStatus status;
        bool ended;
        uint16 seats;
        uint64 grants;
        uint64 usage;
        uint64 parent;
        uint16 granted;
        uint8 depth;
    }

    struct PlanSeen {
        address licensor;
        uint32 issued;
        uint32 epoch;
        bytes32 terms;
    }

    mapping(uint256 licenseId => Seen) private _seen;
    mapping(uint32 planId => PlanSeen) private _plansSeen;

    constructor(IAnchors anchors_, IModelRegistry models_, ILicenseLedger ledger_) {
        (anchors, models, ledger) = (anchors_, models_, ledger_);
        for (uint256 i; i < 5; ++i) {
            actors[i] = vm.addr(FIRST_ACTOR_KEY + i);
        }
    }

    modifier step() {
        (doing, target) = (0, 0);
        _;
        ++steps;
        sweep();
    }

    // ---------------------------------------------------------------- acting

    /// Mostly who may, sometimes anyone.
    function choose(uint256 seed, address rightful) internal view returns (address) {
        return seed % 4 == 0 || rightful == address(0) ? actors[seed / 4 % 5] : rightful;
    }

    function run(bytes32 name, uint256 on, address who, address at, bytes memory call_) internal returns (bool ok) {
        vm.prank(who);
        (ok,) = at.call(call_);
        if (!ok) return false;
        ++done[name];
        (doing, target) = (name, on);
    }

    function act(bytes32 name, uint256 id, address who, bytes memory call_) internal returns (bool) {
        return run(name, id, who, address(ledger), call_);
    }

    function fail(string memory what) internal {
        if (bytes(broken).length == 0) broken = what;
    }

    function never(bool bad, string memory what) internal {
        if (bad) fail(what);
    }

    function pick(uint256 plan) internal view returns (uint32) {
        return plans == 0 ? 1 : uint32(1 + plan % plans);
    }

    function some(uint256 license) internal view returns (uint256) {
        return licenseIds.length == 0 ? 0 : licenseIds[license % licenseIds.length];
    }

    /// The first license from there on that fits, so that what comes second in life is not left to chance; sometimes any.
    function seek(uint256 license, function(uint256) view returns (bool) fits) internal view returns (uint256 id) {
        for (uint256 i; i < licenseIds.length && license % 5 != 0; ++i) {
            id = licenseIds[(license % licenseIds.length + i) % licenseIds.length];
            if (fits(id)) return id;
        }
        return some(license);
    }

    function keyOf(uint256 key) public pure returns (bytes32) {
        return bytes32(1 + key % KEYS);
    }

    function licenseCount() external view returns (uint256) {
        return licenseIds.length;
    }

    function licensorOf(uint32 planId) internal view returns (address) {
        if (planId > plans) return address(0);
        (, PlanState memory state) = ledger.planOf(planId);
        return state.licensor;
    }

    function holderOf(uint256 id) internal view returns (address) {
        return _seen[id].holder;
    }

    function signed(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// The key of an actor: sometimes of another one.
    function keyFor(uint256 seed, address who) internal view returns (uint256) {
        if (seed % 4 == 0) return FIRST_ACTOR_KEY + seed / 4 % 5;
        for (uint256 i; i < 5; ++i) {
            if (actors[i] == who) return FIRST_ACTOR_KEY + i;
        }
        return FIRST_ACTOR_KEY;
    }

    // ---------------------------------------------------------------- watching

    /// `count` licenses of the plan came into being, or were promised.
    function issued(uint32 planId) internal {
        (PlanTerms memory terms, PlanState memory state) = ledger.planOf(planId);
        (address owner,,, ModelStatus status,) = models.modelOf(terms.modelId);
        never(owner != state.licensor, "6: issued after the title moved");
        never(status != ModelStatus.ACTIVE, "6: issued for a model that is not active");
        never(state.paused, "6: issued while paused");
    }

    function added(uint256 id) internal {
        never(position[id] != 0, "22: a license was issued twice");
        licenseIds.push(id);
        position[id] = licenseIds.length;
    }

    /// The next license of the plan was just issued.
    function addedNext(uint32 planId) internal returns (uint256 id) {
        (, PlanState memory state) = ledger.planOf(planId);
        id = uint256(planId) << 32 | state.issued;
        added(id);
    }

    function look(uint256 id) internal view returns (Seen memory seen) {
        if (id == 0) return seen;
        (seen.holder,, seen.notAfter, seen.status, seen.seats, seen.grants, seen.heldSince) = ledger.licenseOf(id);
        (uint8 code,,,) = ledger.check(id, address(0), 0, uint40(block.timestamp));
        seen.ended = code == 3;
        (seen.usage,,) = ledger.usageOf(id);
        (seen.parent, seen.granted, seen.depth) = ledger.parentOf(id);
    }

    function sweep() internal virtual {
        for (uint32 plan = 1; plan <= plans; ++plan) {
            sweepPlan(plan);
        }
        for (uint256 i; i < licenseIds.length; ++i) {
            uint256 id = licenseIds[i];
            Seen memory before = _seen[id];
            Seen memory now_ = look(id);
            if (before.holder != address(0)) {
                tenure(id, before, now_);
                others(id, before, now_);
            }
            _seen[id] = now_;
        }
    }

    function tenure(uint256 id, Seen memory before, Seen memory now_) private {
        bool here = target == id;
        bool revoked = now_.status == LicenseStatus.REVOKED;
        never(before.status == LicenseStatus.REVOKED && !revoked, "10: unrevoked");
        never(before.ended && !now_.ended, "10: a revoked license came back");
        // The end of a sublicense follows those above it.
        bool reached = here || target != 0 && above(id, target);
        never(now_.notAfter > before.notAfter && !(reached && doing == "renew"), "11: the end rose");
        bool ends = doing == "revoke" || doing == "surrender" || doing == "reclaim";
        never(
            now_.notAfter < before.notAfter && !(reached && ends || doing == "revokeInBatch"), "11: the end came nearer"
        );
        never(now_.status == LicenseStatus.SUSPENDED && now_.heldSince == 0, "12: suspended since never");
        bool moves = doing == "transfer" || doing == "finishReissue";
        never(now_.holder != before.holder && !(here && moves), "9: moved by something else");
        never(now_.grants < before.grants, "13: a grant came back");
        never(now_.holder != before.holder && now_.grants == before.grants, "13: a grant outlived a move");
    }

    function above(uint256 id, uint256 other) private view returns (bool) {
        uint64 parent = _seen[id].parent;
        return parent != 0 && (parent == other || _seen[parent].parent == other);
    }

    function others(uint256 id, Seen memory before, Seen memory now_) private {
        bool here = target == id;
        never(now_.usage < before.usage, "17: usage fell");
        never(now_.usage > before.usage && !(here && doing == "anchorUsage"), "17: usage rose by itself");
        never(now_.parent != before.parent || now_.depth != before.depth, "18: a sublicense changed its parent");
        if (now_.granted != before.granted) {
            never(now_.granted != 0, "18: the seats of a sublicense changed");
            never(!here || doing != "reclaim", "18: seats came back by themselves");
            never(!now_.ended, "18: seats came back from a living sublicense");
        }
    }

    function sweepPlan(uint32 plan) private {
        (PlanTerms memory terms, PlanState memory state) = ledger.planOf(plan);
        PlanSeen memory before = _plansSeen[plan];
        PlanSeen memory now_ = PlanSeen(state.licensor, state.issued, state.roleEpoch, keccak256(abi.encode(terms)));
        _plansSeen[plan] = now_;
        if (before.licensor == address(0)) return;
        never(now_.terms != before.terms, "20: the terms of a plan changed");
        never(now_.issued < before.issued, "20: what was issued fell");
        bool moved = now_.licensor != before.licensor;
        never(moved && doing != "sync", "20: a plan moved by itself");
        never(now_.epoch != before.epoch + (moved ? 1 : 0), "20: the role epoch is not that of the licensor");
    }
}
