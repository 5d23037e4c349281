// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {BatchLeaf, PlanState, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Base} from "../Base.sol";
import {Tree} from "../Tree.sol";
import {Answer} from "./Answer.sol";
import {Handler} from "./Handler.sol";
import {Offers} from "./Offers.sol";

/// @notice The numbered statements of INVARIANTS.md, after any sequence of calls by anyone.
contract InvariantsTest is Base {
    Handler internal handler;

    /// So that a short run gets somewhere: plans with notice, without, floating and metered, a license of each, two chains, a batch
    /// and a guardian.
    function setUp() public override {
        super.setUp();
        handler = new Handler(anchors, models, ledger);
        handler.createPlan(1, 0, 11, 4, 8);
        handler.createPlan(1, 0, 0, 4, 0);
        handler.createPlan(1, 1, 0, 3, 2);
        handler.createPlan(1, 2, 0, 2, 4);
        for (uint256 plan; plan < 4; ++plan) {
            handler.issue(1, plan, 3, 0, 0); // licenses 0 to 3
        }
        handler.sublicense(1, 1, 2, 0, 2); // 4
        handler.sublicense(1, 4, 3, 0, 1); // 5
        handler.sublicense(1, 0, 4, 0, 1); // 6
        handler.anchorBatch(1, 1, 4, 0);
        handler.setGuardian(1, 0, 3, 8 days);
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// One campaign checks them all after each of its calls.
    function invariant_everyStatementHolds() external view {
        noForbiddenTransition();
        seatsUsedAreSeatsBoundAndSublicensed();
        supplyIsKeptAndEveryLicenseCounted();
        anEndedLicenseNeverGrants();
        bothCopiesOfAPlansLicensorAgree();
        eq(address(ledger).balance, 0);
        checkSaysWhatTheRecordsSay();
        noSublicenseOutlastsWhatIsAbove();
        leavesAreAnsweredFor();
        noSeatIsUsableTwice();
    }

    function noForbiddenTransition() private view {
        string memory broken = handler.broken();
        require(bytes(broken).length == 0, broken);
    }

    // ---------------------------------------------------------------- seats

    function seatsUsedAreSeatsBoundAndSublicensed() private view {
        uint256 count = handler.licenseCount();
        uint256[] memory used = new uint256[](count);
        for (uint256 i; i < count; ++i) {
            used[i] += seatsBound(handler.licenseIds(i));
            (uint64 parent, uint16 granted,) = ledger.parentOf(handler.licenseIds(i));
            if (parent != 0) used[handler.position(parent) - 1] += granted;
        }
        for (uint256 i; i < count; ++i) {
            uint256 id = handler.licenseIds(i);
            eq(seatsOf(id), used[i]);
            uint256 limit = seatLimit(id);
            isTrue(used[i] <= limit);
        }
    }

    function seatsBound(uint256 id) private view returns (uint256 bound) {
        for (uint256 key; key < 4; ++key) {
            (uint40 boundAt,,) = ledger.seatOf(id, handler.keyOf(key));
            if (boundAt != 0) ++bound;
        }
    }

    function seatLimit(uint256 id) private view returns (uint256) {
        (uint64 parent, uint16 granted,) = ledger.parentOf(id);
        if (parent != 0) return granted;
        (PlanTerms memory terms,) = ledger.planOf(uint32(id >> 32));
        return terms.seats == 0 ? type(uint16).max : terms.seats;
    }

    /// Over a license and all below it: the keys that pass. Of a floating one, below which nothing lies, the seats brokers may lease.
    function noSeatIsUsableTwice() private view {
        uint256 count = handler.licenseCount();
        uint256[] memory usable = new uint256[](count);
        for (uint256 i; i < count; ++i) {
            uint256 root = handler.licenseIds(i);
            (uint64 parent,,) = ledger.parentOf(root);
            while (parent != 0) {
                root = parent;
                (parent,,) = ledger.parentOf(root);
            }
            usable[handler.position(root) - 1] += usableSeats(handler.licenseIds(i));
        }
        for (uint256 i; i < count; ++i) {
            isTrue(usable[i] <= seatLimit(handler.licenseIds(i)));
        }
    }

    function usableSeats(uint256 id) private view returns (uint256 usable) {
        (PlanTerms memory terms,) = ledger.planOf(uint32(id >> 32));
        if (terms.floating) return grants(codeOf(id)) ? seatLimit(id) - seatsOf(id) : 0;
        for (uint256 key; key < 4; ++key) {
            (uint8 code,,,) = ledger.check(id, address(0), handler.keyOf(key), uint40(block.timestamp));
            if (grants(code)) ++usable;
        }
    }

    function grants(uint8 code) private pure returns (bool) {
        return code == 0 || code == 10;
    }

    // ---------------------------------------------------------------- supply

    function supplyIsKeptAndEveryLicenseCounted() private view {
        uint256 tokens;
        for (uint32 plan = 1; plan <= handler.plans(); ++plan) {
            (PlanTerms memory terms, PlanState memory state) = ledger.planOf(plan);
            uint256 shared = handler.besideSupply(plan);
            isTrue(terms.supply == 0 || state.issued - shared <= terms.supply);
            bytes32 slot = bytes32(uint256(keccak256(abi.encode(uint256(plan), uint256(1)))) + 1);
            eq(uint256(vm.load(address(ledger), slot)) >> 224, terms.supply == 0 ? 0 : shared);
            uint256 unclaimed = handler.promised(plan) - handler.claims(plan);
            eq(state.issued, tokensOf(plan) + unclaimed);
            tokens += state.issued - unclaimed;
        }
        eq(tokens, handler.licenseCount());
        uint256 held;
        for (uint256 i; i < 5; ++i) {
            held += token.balanceOf(handler.actors(i));
        }
        eq(held, tokens);
    }

    function tokensOf(uint32 plan) private view returns (uint256 tokens) {
        for (uint256 i; i < handler.licenseCount(); ++i) {
            if (handler.licenseIds(i) >> 32 == plan) ++tokens;
        }
    }

    // ---------------------------------------------------------------- answers

    function anEndedLicenseNeverGrants() private view {
        uint40 t = uint40(block.timestamp);
        for (uint256 i; i < handler.licenseCount(); ++i) {
            uint256 id = handler.licenseIds(i);
            (uint8 code, uint40 notAfter, uint40 graceUntil,) = ledger.check(id, address(0), 0, t);
            isTrue(code != 1);
            isTrue(!grants(code) || (t < notAfter && graceUntil >= t && graceUntil <= notAfter));
            isTrue(grants(code) || graceUntil == 0);
            uint40 end = endOf(id);
            eq(end, notAfter);
            uint40 over = end > t ? end : t;
            (uint8 later,,, uint32 plan) = ledger.check(id, address(0), 0, over);
            eq(plan, id >> 32);
            if (over >= Answer.ownEnd(ledger, id)) isTrue(later == 3 || later == 4);
            else isTrue(later == 2 || later == 9); // a license above it ends first
        }
    }

    /// A quarter of the licenses after each step.
    function checkSaysWhatTheRecordsSay() private view {
        for (uint256 i = handler.steps() % 4; i < handler.licenseCount(); i += 4) {
            uint256 id = handler.licenseIds(i);
            address asked = i % 2 == 0 ? handler.actors(i % 5) : token.ownerOf(id);
            uint40 at = uint40(block.timestamp);
            isTrue(Answer.agrees(ledger, id, asked, handler.keyOf(i), at));
            isTrue(Answer.agrees(ledger, id, address(0), 0, at + 5 days));
        }
    }

    function noSublicenseOutlastsWhatIsAbove() private view {
        uint40 t = uint40(block.timestamp);
        for (uint256 i; i < handler.licenseCount(); ++i) {
            uint256 id = handler.licenseIds(i);
            (uint64 parent, uint16 granted,) = ledger.parentOf(id);
            if (parent == 0) continue;
            (uint8 code, uint40 notAfter, uint40 graceUntil,) = ledger.check(id, address(0), 0, t);
            (uint8 aboveCode, uint40 aboveEnd,,) = ledger.check(parent, address(0), 0, t);
            isTrue(!grants(code) || grants(aboveCode) && notAfter <= aboveEnd && graceUntil <= aboveEnd);
            isTrue(granted != 0 || code == 3); // reclaimed
            (PlanTerms memory terms,) = ledger.planOf(uint32(id >> 32));
            isFalse(terms.floating);
        }
    }

    function leavesAreAnsweredFor() private view {
        for (uint256 lot; lot < handler.lotCount(); ++lot) {
            (Offers.Lot memory its, BatchLeaf[] memory leaves, bytes32[] memory hashes) = handler.lotAt(lot);
            uint256 i = handler.steps() % leaves.length; // one of each batch after each step
            leafIsAnsweredFor(its, leaves[i], Tree.path(hashes, i));
        }
    }

    function leafIsAnsweredFor(Offers.Lot memory its, BatchLeaf memory leaf, bytes32[] memory path) private view {
        (uint8 code, uint40 notAfter, uint40 graceUntil, uint256 id) =
            ledger.checkBatchLeaf(its.planId, its.root, leaf, path, leaf.to, uint40(block.timestamp));
        eq(id, uint256(its.planId) << 32 | (its.firstSerial + leaf.index));
        isTrue(grants(code) || graceUntil == 0);
        isTrue(graceUntil <= notAfter);
        if (its.claimed >> leaf.index & 1 == 1) {
            (uint8 same,,,) = ledger.check(id, leaf.to, 0, uint40(block.timestamp));
            eq(code, same);
            return;
        }
        eq(codeOf(id), 1);
        bool closed = its.closesAt != 0 && block.timestamp >= its.closesAt;
        eq(code == 3 ? 1 : 0, its.revoked >> leaf.index & 1 == 1 || closed ? 1 : 0);
        isTrue(its.closesAt == 0 || notAfter <= its.closesAt);
        isTrue(code == 0 || code == 3 || code == 4 || code == 8);
    }

    function bothCopiesOfAPlansLicensorAgree() private view {
        for (uint256 plan = 1; plan <= handler.plans(); ++plan) {
            uint256 slot = uint256(keccak256(abi.encode(plan, uint256(1))));
            uint256 first = uint256(vm.load(address(ledger), bytes32(slot)));
            uint256 second = uint256(vm.load(address(ledger), bytes32(slot + 1)));
            eq(uint160(first), uint160(second));
            eq(uint16(first >> 192), uint16(second >> 160));
        }
    }

    // ---------------------------------------------------------------- reach

    /// Not an invariant: shows that the handler reaches every action, so that the invariants above say something.
    function test_theHandlerReachesEveryAction() external {
        handler.issue(1, 1, 0, 0, 0); // 7
        handler.issueBatch(1, 1, 2, 0, 0); // 8 and 9
        handler.claim(0, 0, true); // 10
        handler.revokeInBatch(1, 0, 3, false);
        handler.closeBatch(1, 0);
        handler.cancelVouchers(0, 1);
        handler.redeem(1, 1, 257, 1, 0); // 11
        handler.setResaleRoyalty(1, 1, 500);
        handler.bind(1, 1, 0, 0);
        handler.evict(1, 1, 0);
        handler.bindBySig(1, 1, 1, 1, 2);
        handler.pass(1 days);
        handler.release(1, 1);
        handler.surrender(1, 5);
        handler.reclaim(1, 5, true);
        handler.transfer(1, 7, 2);
        handler.cancelGrants(1, 7);
        handler.suspend(1, 7);
        handler.reinstate(1, 7);
        handler.renew(1, 7, 4);
        handler.startReissue(1, 7, 4);
        handler.vetoReissue(1, 7);
        handler.startReissue(1, 7, 4);
        handler.finishReissue(1, 7, true);
        handler.anchorUsage(1, 3, 9);
        handler.ask(3, 1, 0, 0);
        handler.revoke(1, 7, 0);
        reachTitles();
        all();
        this.invariant_everyStatementHolds();
    }

    function reachTitles() private {
        handler.anchor(0, 1);
        handler.commitPhaseA(0, 1);
        handler.proveEarlier(0, true);
        handler.registerBatch(4, 3);
        handler.lodge(1, 0, 1, 1);
        handler.setRoles(1, 0, 3, 15);
        handler.setPaused(1, 0, true);
        handler.setGuardian(1, 0, 3, 8 days);
        handler.startRecovery(1, 0, 4);
        handler.vetoRecovery(1, 0);
        handler.startRecovery(1, 0, 4);
        handler.finishRecovery(1, 0, true);
        handler.moveTitle(1, 1, 0);
        handler.sync(0);
        handler.setModelStatus(1, 0, 2);
    }

    bytes32[] private actions;

    function all() private {
        actions = [
            bytes32("createPlan"),
            "setResaleRoyalty",
            "sync",
            "setRoles",
            "setPaused",
            "issue",
            "issueBatch",
            "anchorBatch",
            "claim",
            "revokeInBatch",
            "closeBatch",
            "redeem",
            "cancelVouchers",
            "renew",
            "suspend",
            "reinstate",
            "revoke",
            "surrender",
            "bind",
            "bindBySig",
            "release",
            "evict",
            "transfer",
            "sublicense",
            "reclaim",
            "startReissue",
            "vetoReissue",
            "finishReissue",
            "cancelGrants",
            "anchorUsage",
            "anchor",
            "commitPhaseA",
            "registerBatch",
            "proveEarlier",
            "lodge",
            "setStatus",
            "propose",
            "accept",
            "setGuardian",
            "startRecovery",
            "vetoRecovery",
            "finishRecovery"
        ];
        for (uint256 i; i < actions.length; ++i) {
            require(handler.done(actions[i]) != 0, string(abi.encodePacked(actions[i])));
        }
        eq(handler.broken(), "");
    }
}
