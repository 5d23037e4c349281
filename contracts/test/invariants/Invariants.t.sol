// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {PlanState, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Base} from "../Base.sol";
import {Handler} from "./Handler.sol";

/// @notice The numbered statements of INVARIANTS.md, after any sequence of calls by anyone.
contract InvariantsTest is Base {
    Handler internal handler;

    function setUp() public override {
        super.setUp();
        handler = new Handler(anchors, models, ledger);
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// One campaign checks them all after each of its calls.
    function invariant_everyStatementHolds() external view {
        noForbiddenTransition();
        seatsUsedAreTheSeatsRecorded();
        supplyIsKeptAndEveryLicenseCounted();
        anEndedLicenseNeverGrants();
        bothCopiesOfAPlansLicensorAgree();
        eq(address(ledger).balance, 0);
    }

    function noForbiddenTransition() private view {
        string memory broken = handler.broken();
        require(bytes(broken).length == 0, broken);
    }

    function seatsUsedAreTheSeatsRecorded() private view {
        for (uint256 i; i < handler.licenseCount(); ++i) {
            uint256 id = handler.licenseIds(i);
            uint256 recorded;
            for (uint256 key; key < 4; ++key) {
                (uint40 boundAt,,) = ledger.seatOf(id, handler.keyOf(key));
                if (boundAt != 0) ++recorded;
            }
            eq(seatsOf(id), recorded);
            (PlanTerms memory terms,) = ledger.planOf(uint32(id >> 32));
            isTrue(terms.seats == 0 || recorded <= terms.seats);
        }
    }

    function supplyIsKeptAndEveryLicenseCounted() private view {
        uint256 issued;
        for (uint32 plan = 1; plan <= handler.plans(); ++plan) {
            (PlanTerms memory terms, PlanState memory state) = ledger.planOf(plan);
            isTrue(terms.supply == 0 || state.issued <= terms.supply);
            issued += state.issued;
        }
        eq(issued, handler.licenseCount());
        uint256 held;
        for (uint256 i; i < 5; ++i) {
            held += token.balanceOf(handler.actors(i));
        }
        eq(held, issued);
    }

    function anEndedLicenseNeverGrants() private view {
        uint40 t = uint40(block.timestamp);
        for (uint256 i; i < handler.licenseCount(); ++i) {
            uint256 id = handler.licenseIds(i);
            (uint8 code, uint40 notAfter, uint40 graceUntil,) = ledger.check(id, address(0), 0, t);
            isTrue(code != 1);
            bool grants = code == 0 || code == 10;
            isTrue(!grants || (t < notAfter && graceUntil >= t && graceUntil <= notAfter));
            isTrue(grants || graceUntil == 0);
            (uint8 later,,,) = ledger.check(id, address(0), 0, notAfter > t ? notAfter : t);
            isTrue(later == 3 || later == 4);
        }
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

    /// Not an invariant: shows that the handler reaches every action, so that the invariants above say something.
    function test_theHandlerReachesEveryAction() external {
        handler.createPlan(0, 0, 0, 2, true);
        handler.issue(0, 0, 1, 0, 0);
        handler.bind(1, 0, 0, 0);
        handler.evict(0, 0, 0);
        handler.bind(1, 0, 1, 1);
        handler.pass(1 days);
        handler.release(4, 0, 1);
        handler.transfer(1, 0, 2);
        handler.suspend(0, 0);
        handler.reinstate(0, 0);
        handler.renew(0, 0, 4);
        handler.proveEarlier(0, true);
        handler.setRoles(0, 0, 3, 15);
        handler.setPaused(3, 0, true);
        handler.revoke(0, 0, 0);
        handler.moveTitle(0, 4, 0);
        handler.sync(0);
        handler.setModelStatus(4, 0, 2);
        string[16] memory names = [
            "createPlan",
            "issue",
            "bind",
            "evict",
            "release",
            "transfer",
            "suspend",
            "reinstate",
            "renew",
            "proveEarlier",
            "setRoles",
            "setPaused",
            "revoke",
            "accept",
            "sync",
            "setStatus"
        ];
        for (uint256 i; i < names.length; ++i) {
            require(handler.done(names[i]) != 0, names[i]);
        }
        eq(handler.broken(), "");
    }
}
