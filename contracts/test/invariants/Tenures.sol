// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {LicenseStatus, PlanState, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Answer} from "./Answer.sol";
import {Offers} from "./Offers.sol";

/// @notice What is done to licenses at work: sublicenses, reissues, signed bindings, usage.
abstract contract Tenures is Offers {
    bytes32 private constant BIND_TYPEHASH = keccak256(
        "BindRuntime(uint256 licenseId,bytes32 runtimeKey,uint40 until,bytes20 measurement,uint64 grantNonce,uint256 nonce,uint40 deadline)"
    );
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    struct Started {
        address to;
        uint40 at;
        uint64 grants;
    }

    struct Binding {
        uint256 licenseId;
        bytes32 runtimeKey;
        uint40 until;
        bytes20 measurement;
        uint64 grantNonce;
        uint256 nonce;
        uint40 deadline;
    }

    mapping(uint256 licenseId => Started) private _started;
    mapping(uint32 planId => uint256) public besideSupply;

    // ---------------------------------------------------------------- sublicenses

    function sublicense(uint256 who, uint256 license, uint256 to, uint24 ahead, uint16 seats) external step {
        uint256 id = some(license);
        Seen memory parent = look(id);
        (uint8 code, uint40 end,,) = ledger.check(id, address(0), 0, uint40(block.timestamp));
        uint40 notAfter = ahead % 3 == 0 ? 0 : uint40(block.timestamp) + ahead % 12 days;
        bytes memory call_ = abi.encodeCall(ledger.sublicense, (id, actors[to % 5], notAfter, seats % 3));
        address sender = choose(who, parent.holder);
        if (!act("sublicense", id, sender, call_)) return;
        issued(uint32(id >> 32));
        Seen memory made = look(addedNext(uint32(id >> 32)));
        never(sender != parent.holder, "18: sublicensed by someone else");
        never(code != 0, "18: a license that is not valid was sublicensed");
        never(ledger.locked(id), "18: a locked license was sublicensed");
        (PlanTerms memory terms,) = ledger.planOf(uint32(id >> 32));
        never(terms.floating, "18: floating seats were sublicensed");
        ++besideSupply[uint32(id >> 32)];
        never(made.depth != parent.depth + 1 || made.depth > 2, "18: a chain too long");
        never(made.parent != id || made.granted == 0, "18: a sublicense without parent or seats");
        never(made.notAfter > end, "18: a sublicense beyond the license above it");
        never(look(id).seats != parent.seats + made.granted, "21: seats were not debited");
    }

    /// @dev By the parent's holder, or by that of the license above it.
    /// @param patient whether it waits until the seats are free
    function reclaim(uint256 who, uint256 license, bool patient) external step {
        uint256 id = seek(license, hasSeatsToGive);
        uint256 free = freeFrom(id);
        if (patient && free > block.timestamp && free < type(uint40).max) vm.warp(free);
        Seen memory child = look(id);
        Seen memory parent = child.parent == 0 ? child : look(child.parent);
        address top = parent.parent == 0 ? parent.holder : holderOf(parent.parent);
        (uint8 code,,,) = ledger.check(id, address(0), 0, uint40(block.timestamp));
        address sender = choose(who, who & 32 == 0 ? parent.holder : top);
        if (!act("reclaim", id, sender, abi.encodeCall(ledger.reclaimSeats, (id)))) return;
        never(child.parent == 0, "18: seats came back from a license without parent");
        never(sender != parent.holder && sender != top, "18: seats came back by a stranger's word");
        never(block.timestamp < free, "18: seats came back while answers and leases may run on");
        never(code == 0 || code == 10, "18: seats came back from a valid sublicense");
        never(child.seats != 0, "18: seats in use came back");
        never(look(child.parent).seats + child.granted != parent.seats, "21: other seats came back than were given");
    }

    /// When the seats of a sublicense are free: at its end, or, revoked or surrendered, one lease and grace after it.
    function freeFrom(uint256 id) private view returns (uint256 time) {
        time = Answer.endOf(ledger, id);
        if (look(id).status != LicenseStatus.REVOKED) return time;
        (PlanTerms memory terms,) = ledger.planOf(uint32(id >> 32));
        time += terms.leaseTtl + terms.grace;
        if (time > type(uint40).max) time = type(uint40).max;
    }

    function hasSeatsToGive(uint256 id) private view returns (bool) {
        Seen memory seen = look(id);
        return seen.granted != 0 && seen.seats == 0;
    }

    function surrender(uint256 who, uint256 license) external step {
        uint256 id = some(license);
        Seen memory before = look(id);
        address sender = choose(who, before.holder);
        (PlanTerms memory terms,) = ledger.planOf(uint32(id >> 32));
        bool unused = !ledger.everBound(id) && !terms.floating && before.parent == 0
            && block.timestamp < Answer.ownEnd(ledger, id);
        if (!act("surrender", id, sender, abi.encodeCall(ledger.surrender, (id)))) return;
        never(sender != before.holder, "10: surrendered by someone else");
        never(before.seats != 0, "10: surrendered with seats in use");
        never(before.ended || !look(id).ended, "10: a surrender that ends nothing");
        if (unused) ++besideSupply[uint32(id >> 32)];
    }

    // ---------------------------------------------------------------- reissue

    function startReissue(uint256 who, uint256 license, uint256 to) external step {
        uint256 id = some(license);
        address licensor = licensorOf(uint32(id >> 32));
        address sender = choose(who, licensor);
        if (!act("startReissue", id, sender, abi.encodeCall(ledger.startReissue, (id, actors[to % 5])))) return;
        never(sender != licensor, "14: a reissue by someone else");
        _started[id] = Started(actors[to % 5], uint40(block.timestamp), look(id).grants);
    }

    function vetoReissue(uint256 who, uint256 license) external step {
        uint256 id = seek(license, hasReissue);
        address sender = choose(who, holderOf(id));
        if (!act("vetoReissue", id, sender, abi.encodeCall(ledger.vetoReissue, (id)))) return;
        never(sender != holderOf(id) && sender != licensorOf(uint32(id >> 32)), "14: a veto by someone else");
        delete _started[id];
    }

    function hasReissue(uint256 id) private view returns (bool) {
        return _started[id].to != address(0);
    }

    /// @param patient whether it waits until the reissue is ready
    function finishReissue(uint256 who, uint256 license, bool patient) external step {
        uint256 id = seek(license, hasReissue);
        (, uint40 readyAt) = ledger.reissueOf(id);
        if (patient && readyAt > block.timestamp) vm.warp(readyAt);
        Seen memory before = look(id);
        address licensor = licensorOf(uint32(id >> 32));
        address sender = choose(who, licensor);
        if (!act("finishReissue", id, sender, abi.encodeCall(ledger.finishReissue, (id)))) return;
        Started memory started = _started[id];
        delete _started[id];
        Seen memory after_ = look(id);
        never(sender != licensor, "14: a reissue by someone else");
        never(started.to == address(0) || after_.holder != started.to, "14: reissued after a veto, or elsewhere");
        (PlanTerms memory terms,) = ledger.planOf(uint32(id >> 32));
        uint256 least = started.at + 3 days;
        never(block.timestamp < least, "14: reissued without time for a veto");
        least = started.at + (terms.minNotice > terms.refundWindow ? terms.minNotice : terms.refundWindow);
        never(block.timestamp < least, "14: reissued within the notice or the time to be refunded");
        never(block.timestamp >= started.at + _delay(terms) + 14 days, "14: a reissue kept in store");
        never(before.grants != started.grants, "14: reissued after a transfer or cancelled grants");
        never(before.status == LicenseStatus.REVOKED, "14: reissued under notice");
        never(after_.seats != before.seats || after_.notAfter != before.notAfter, "14: a reissue changed a license");
    }

    function _delay(PlanTerms memory terms) private pure returns (uint256 delay) {
        delay = terms.reissueDelay > 3 days ? terms.reissueDelay : 3 days;
        if (terms.minNotice > delay) delay = terms.minNotice;
        if (terms.refundWindow > delay) delay = terms.refundWindow;
    }

    // ---------------------------------------------------------------- signed bindings, grants, usage

    function bindBySig(uint256 signing, uint256 license, uint256 key, uint24 ahead, uint8 nonce) external step {
        uint256 id = some(license);
        address holder = holderOf(id);
        uint40 until = ahead % 3 == 0 ? 0 : uint40(block.timestamp) + ahead % 5 days;
        Binding memory b = Binding(id, keyOf(key), until, 0, 0, nonceOf(nonce), uint40(block.timestamp) + ahead % 3);
        b.grantNonce = ledger.grantNonceOf(id);
        if (signing >> 8 & 7 == 7) ++b.grantNonce;
        uint256 signer = keyFor(signing, holder);
        bytes memory signature = signed(signer, digestOf(b));
        bytes memory call_ =
            abi.encodeCall(ledger.bindRuntimeBySig, (id, b.runtimeKey, until, 0, b.nonce, b.deadline, signature));
        if (!act("bindBySig", id, msg.sender, call_)) return;
        never(vm.addr(signer) != holder, "19: bound without the holder's word");
        never(b.grantNonce != look(id).grants, "19: bound by a grant that is void");
        spend(holder, b.nonce);
    }

    function digestOf(Binding memory b) private view returns (bytes32) {
        bytes32 name = keccak256("modeldeed LicenseLedger");
        bytes32 domain = keccak256(abi.encode(DOMAIN_TYPEHASH, name, keccak256("1"), block.chainid, address(ledger)));
        return keccak256(abi.encodePacked(hex"1901", domain, keccak256(abi.encode(BIND_TYPEHASH, b))));
    }

    function cancelGrants(uint256 who, uint256 license) external step {
        uint256 id = some(license);
        act("cancelGrants", id, choose(who, holderOf(id)), abi.encodeCall(ledger.cancelGrants, (id)));
    }

    function isMetered(uint256 id) private view returns (bool) {
        (PlanTerms memory terms,) = ledger.planOf(uint32(id >> 32));
        return terms.quota != 0;
    }

    function anchorUsage(uint256 who, uint256 license, uint8 units) external step {
        uint256 id = seek(license, isMetered);
        uint32 planId = uint32(id >> 32);
        address sender = choose(who, licensorOf(planId));
        bytes memory call_ = abi.encodeCall(ledger.anchorUsage, (id, units % 16, bytes32(uint256(units))));
        if (!act("anchorUsage", id, sender, call_)) return;
        (PlanTerms memory terms, PlanState memory state) = ledger.planOf(planId);
        never(sender != state.licensor && ledger.rolesOf(planId, sender) & 4 == 0, "17: metered by a stranger");
        never(terms.quota == 0, "17: metered without a quota");
    }
}
