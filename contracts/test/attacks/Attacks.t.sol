// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseMarket} from "../../src/interfaces/ILicenseMarket.sol";
import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {BatchLeaf, PlanState, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Base} from "../Base.sol";

/// @notice What an audit found, each as the attack that no longer succeeds.
contract AttacksTest is Base {
    address internal partner = address(0x20001);
    address internal client = address(0x20002);

    function moveTitle(bytes32 model, address from, address to) internal {
        vm.prank(from);
        models.proposeTransfer(model, to);
        vm.prank(to);
        models.acceptTransfer(model);
    }

    function slotOf(uint32 plan, uint256 word) internal pure returns (bytes32) {
        return bytes32(uint256(keccak256(abi.encode(uint256(plan), uint256(1)))) + word);
    }

    // ---------------------------------------------------------------- seats

    function test_seatsAreNotMultipliedThroughFloatingSublicenses() external {
        PlanTerms memory terms = termsOf(newModel(0));
        (terms.floating, terms.seats) = (true, 1);
        uint256 id = newLicense(newPlan(terms), holder);
        vm.prank(holder);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.SeatsFloat.selector, id));
        ledger.sublicense(id, holder, 0, 1);
    }

    /// Sublicense, bind, be answered for, revoke, reclaim, and again: each turn waits until the answer has run out.
    function test_seatsAreNotMultipliedThroughRevokeAndReclaim() external {
        PlanTerms memory terms = termsOf(newModel(0));
        (terms.seats, terms.minNotice) = (1, 0);
        uint256 id = newLicense(newPlan(terms), holder);
        uint40 t = START;
        vm.startPrank(holder);
        for (uint256 i = 1; i <= 3; ++i) {
            uint256 child = ledger.sublicense(id, holder, 0, 1);
            ledger.bindRuntime(child, bytes32(i), 0, 0);
            (uint8 code,, uint40 graceUntil,) = ledger.check(child, holder, bytes32(i), t);
            eq(code, 0);
            eq(graceUntil, t + 1 days);
            ledger.revoke(child, 0, 0);
            ledger.releaseRuntime(child, bytes32(i));
            uint40 quiet = t + 1 days + 1 hours;
            bytes memory early = abi.encodeWithSelector(ILicenseRecords.LicenseNotEnded.selector, child, quiet);
            vm.expectRevert(early);
            ledger.reclaimSeats(child);
            vm.warp(quiet - 1);
            vm.expectRevert(early);
            ledger.reclaimSeats(child);
            vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.SeatsFull.selector, id, uint16(1)));
            ledger.bindRuntime(id, bytes32(uint256(99)), 0, 0);
            vm.warp(quiet);
            isTrue(quiet >= graceUntil);
            ledger.reclaimSeats(child);
            t = quiet;
        }
        vm.stopPrank();
    }

    function test_theSameThroughSurrender() external {
        PlanTerms memory terms = termsOf(newModel(0));
        terms.seats = 1;
        uint256 id = newLicense(newPlan(terms), holder);
        vm.startPrank(holder);
        uint256 child = ledger.sublicense(id, holder, 0, 1);
        ledger.surrender(child);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.LicenseNotEnded.selector, child, uint40(START + 1 days + 1 hours))
        );
        ledger.reclaimSeats(child);
        vm.stopPrank();
        eq(seatsOf(id), 1);
    }

    function test_anIdleSublicenseeLocksNoSeats() external {
        uint256 id = newLicense();
        vm.prank(holder);
        uint256 child = ledger.sublicense(id, partner, START + 1 days, 2);
        vm.prank(partner);
        uint256 leaf = ledger.sublicense(child, client, 0, 1);
        vm.warp(START + 1 days);
        vm.startPrank(holder);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseSeatsInUse.selector, child, uint16(1)));
        ledger.reclaimSeats(child);
        ledger.reclaimSeats(leaf);
        ledger.reclaimSeats(child);
        eq(seatsOf(id), 0);
        token.transferFrom(holder, buyer, id);
        vm.stopPrank();
        eq(token.ownerOf(id), buyer);
    }

    function test_noGraceOutlivesItsSeat() external {
        PlanTerms memory terms = termsOf(newModel(0));
        terms.seats = 1;
        uint256 id = newLicense(newPlan(terms), holder);
        for (uint40 i = 1; i <= 20; ++i) {
            vm.prank(holder);
            ledger.bindRuntime(id, bytes32(uint256(i)), START + i, 0);
            (uint8 code,, uint40 graceUntil,) = ledger.check(id, holder, bytes32(uint256(i)), START + i - 1);
            eq(code, 0);
            eq(graceUntil, START + i);
            vm.warp(START + i);
            ledger.releaseRuntime(id, bytes32(uint256(i)));
        }
    }

    // ---------------------------------------------------------------- supply and plans

    function test_noLicenseeBurnsTheSupply() external {
        PlanTerms memory terms = termsOf(newModel(0));
        (terms.seats, terms.supply) = (1000, 50);
        uint32 plan = newPlan(terms);
        uint256 id = newLicense(plan, holder);
        for (uint256 i; i < 60; ++i) {
            vm.prank(holder);
            uint256 child = ledger.sublicense(id, holder, 0, 1);
            vm.prank(holder);
            ledger.surrender(child);
        }
        for (uint256 i; i < 49; ++i) {
            newLicense(plan, buyer);
        }
        vm.prank(licensor);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanSupplyExceeded.selector, plan, uint32(110)));
        ledger.issue(plan, buyer, 0, 0);
        eq(token.balanceOf(buyer), 49);
    }

    /// The seller makes 256 plans; the buyer's own is made, is told of nothing, and follows the title all the same.
    function test_256PlansBarNoOther() external {
        bytes32 model = newModel(0);
        uint32 first = newPlan(termsOf(model));
        for (uint256 i = 1; i < 256; ++i) {
            newPlan(termsOf(model));
        }
        uint32 more = newPlan(termsOf(model));
        eq(more, 257);
        isFalse(isTouched(256));
        isTrue(isTouched(257));
        newLicense(more, holder); // it asks the registry, and all is in order
        ledger.syncLicensor(more); // no place on the list yet
        isTrue(isTouched(257));
        moveTitle(model, licensor, buyer);
        for (uint32 i = 1; i <= 257; ++i) {
            isTrue(isTouched(i));
        }
        bytes memory moved = abi.encodeWithSelector(ILicenseRecords.PlanTitleMoved.selector, more, licensor, buyer);
        vm.prank(licensor);
        vm.expectRevert(moved);
        ledger.issue(more, holder, 0, 0);

        // The list is empty again: the buyer's plan and what is synced first have a place.
        vm.prank(buyer);
        uint32 own = ledger.createPlan(termsOf(model));
        isFalse(isTouched(own));
        ledger.syncLicensor(more);
        ledger.syncLicensor(first);
        isFalse(isTouched(more) || isTouched(first));
        moveTitle(model, buyer, stranger);
        isTrue(isTouched(own) && isTouched(more) && isTouched(first));
        vm.prank(buyer);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanTitleMoved.selector, own, buyer, stranger));
        ledger.issue(own, holder, 0, 0);
    }

    function isTouched(uint32 plan) internal view returns (bool) {
        return uint256(vm.load(address(ledger), slotOf(plan, 0))) >> 254 & 1 == 1;
    }

    /// After 65,535 moves of the title the plan still follows it; roles are over for good.
    function test_aSaturatedEpochStopsNoBuyer() external {
        bytes32 model = newModel(0);
        uint32 plan = newPlan(termsOf(model));
        grantRole(plan, agent, 15);
        setEpoch(plan, 65534);
        eq(ledger.rolesOf(plan, agent), 0);
        grantRole(plan, agent, 15);
        moveTitle(model, licensor, buyer);
        ledger.syncLicensor(plan);
        ledgerAt(plan, buyer, 65535);
        eq(ledger.rolesOf(plan, agent), 0);
        moveTitle(model, buyer, licensor);
        ledger.syncLicensor(plan);
        ledgerAt(plan, licensor, 65535);

        vm.prank(licensor);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanRolesClosed.selector, plan));
        ledger.setRoles(plan, agent, 1);
        // What would have been written there for an account by an earlier licensor counts for nothing.
        bytes32 slot = keccak256(abi.encode(uint256(plan) << 192 | uint256(65535) << 160 | uint160(agent), uint256(2)));
        vm.store(address(ledger), slot, bytes32(uint256(15)));
        eq(ledger.rolesOf(plan, agent), 0);
        vm.prank(agent);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, agent, ISSUER));
        ledger.issue(plan, holder, 0, 0);
        eq(codeOf(newLicense(plan, holder)), 0);
    }

    function setEpoch(uint32 plan, uint16 epoch) internal {
        bytes32 slot = slotOf(plan, 0);
        vm.store(address(ledger), slot, bytes32(uint256(vm.load(address(ledger), slot)) | uint256(epoch) << 192));
        slot = slotOf(plan, 1);
        vm.store(address(ledger), slot, bytes32(uint256(vm.load(address(ledger), slot)) | uint256(epoch) << 160));
    }

    function ledgerAt(uint32 plan, address licensor_, uint16 epoch) internal view {
        (, PlanState memory state) = ledger.planOf(plan);
        eq(state.licensor, licensor_);
        eq(state.roleEpoch, epoch);
    }

    // ---------------------------------------------------------------- reissues

    function test_noReissueGetsRoundTheNotice() external {
        PlanTerms memory terms = termsOf(newModel(0));
        (terms.minNotice, terms.duration, terms.reissueDelay) = (90 days, 365 days, 0);
        uint256 id = newLicense(newPlan(terms), holder);
        vm.startPrank(licensor);
        ledger.startReissue(id, licensor);
        bytes memory pending =
            abi.encodeWithSelector(ILicenseRecords.ReissuePending.selector, id, uint40(START + 90 days));
        vm.warp(START + 3 days);
        vm.expectRevert(pending);
        ledger.finishReissue(id);
        vm.warp(START + 90 days - 1);
        vm.expectRevert(pending);
        ledger.finishReissue(id);
        vm.stopPrank();
        (uint8 code,,,) = ledger.check(id, holder, 0, START + 90 days - 1);
        eq(code, 0);
    }

    /// The licensor reissues to itself to be refunded what owners of base models have a share of.
    function test_noReissueGetsARefund() external {
        ILicenseMarket market = ILicenseMarket(deploy("LicenseMarket", abi.encode(ledger)));
        PlanTerms memory terms = termsOf(newModel(0));
        terms.refundWindow = 14 days;
        uint32 plan = newPlan(terms);
        grantRole(plan, address(market), ISSUER);
        (, PlanState memory state) = ledger.planOf(plan);
        vm.deal(buyer, 1 ether);
        vm.prank(buyer);
        uint256 id = market.buy{value: 1 ether}(plan, state.planDigest, buyer, "");
        vm.startPrank(licensor);
        ledger.startReissue(id, licensor);
        vm.warp(START + 14 days - 1);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.ReissuePending.selector, id, uint40(START + 14 days)));
        ledger.finishReissue(id);
        vm.warp(START + 14 days);
        ledger.finishReissue(id);
        token.approve(address(market), id);
        vm.expectRevert(abi.encodeWithSelector(ILicenseMarket.MarketRefundOver.selector, id, uint40(START + 14 days)));
        market.refund(id);
        vm.stopPrank();
        eq(market.owed(licensor, address(0)), 0);
    }

    // ---------------------------------------------------------------- where and whose

    /// The registry would tell it of no title that moves.
    function test_noLedgerStandsThatTheRegistryDoesNotKnow() external {
        bytes memory code =
            abi.encodePacked(codeOf("LicenseLedger"), abi.encode(models, ledger.renderer(), ledger.extension()));
        address at;
        bytes memory why;
        assembly {
            at := create2(0, add(code, 32), mload(code), 7)
            why := mload(0x40)
            mstore(why, returndatasize())
            returndatacopy(add(why, 32), 0, returndatasize())
            mstore(0x40, add(why, 0x80))
        }
        eq(at, address(0));
        bytes32 init = keccak256(code);
        address there =
            address(uint160(uint256(keccak256(abi.encodePacked(hex"ff", address(this), bytes32(uint256(7)), init)))));
        eq(
            keccak256(why),
            keccak256(abi.encodeWithSelector(ILicenseRecords.LicenseLedgerMisplaced.selector, there, address(ledger)))
        );
        eq(there.code.length, 0);
    }

    /// Leaves that only a dismissed ISSUER knows, and that begin in ten years: closing the batch ends them unseen.
    function test_secretLeavesOfARogueIssuerEndWithTheirBatch() external {
        uint32 plan = newPlan();
        grantRole(plan, agent, ISSUER);
        BatchLeaf memory leaf = BatchLeaf(0, partner, START + 3650 days, 0, 0, keccak256("secret"));
        bytes32 root = ledger.batchLeafHash(plan, leaf);
        vm.prank(agent);
        ledger.anchorBatch(plan, root, 1, 0);
        grantRole(plan, agent, 0);
        vm.prank(licensor);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.BatchNoticeDue.selector, plan, uint32(7 days)));
        ledger.revokeInBatch(plan, root, 0, 1, 0);
        vm.prank(licensor);
        ledger.closeBatch(plan, root, keccak256("rogue"));
        vm.warp(START + 3650 days);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.BatchLeafRevoked.selector, root, uint32(0)));
        ledger.claim(plan, root, leaf, new bytes32[](0));
        (uint8 code,,,) = ledger.checkBatchLeaf(plan, root, leaf, new bytes32[](0), partner, START + 3650 days);
        eq(code, 3);
    }

    function test_aLeafForNobodyIsNoLicense() external {
        uint32 plan = newPlan();
        BatchLeaf memory leaf = BatchLeaf(0, address(0), 0, 0, 0, 0);
        bytes32 root = ledger.batchLeafHash(plan, leaf);
        vm.prank(licensor);
        ledger.anchorBatch(plan, root, 1, 0);
        (uint8 code, uint40 end, uint40 grace, uint256 id) =
            ledger.checkBatchLeaf(plan, root, leaf, new bytes32[](0), address(0), START);
        eq(code, 1);
        eq(uint256(end) + grace + id, 0);
    }

    /// No sale price makes a marketplace's call revert.
    function testFuzz_royaltiesNeverOverflow(uint256 price, uint16 bps) external {
        bps %= 1001;
        uint32 plan = newPlan();
        vm.prank(licensor);
        ledger.setResaleRoyalty(plan, bps);
        uint256 id = newLicense(plan, holder);
        (address receiver, uint256 amount) = ledger.royaltyInfo(id, price);
        eq(receiver, licensor);
        isTrue(amount <= price / 10);
        if (price <= type(uint256).max / 1000) eq(amount, price * bps / 10_000); // rounded once, not twice
    }
}
