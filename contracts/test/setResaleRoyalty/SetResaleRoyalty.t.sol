// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {PlanState, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Titles} from "../titleTouched/Titles.sol";

contract SetResaleRoyaltyTest is Titles {
    uint256 internal id;

    function setUp() public override {
        super.setUp();
        id = newLicense(plan, holder);
    }

    function setAs(address who, uint16 bps) internal {
        vm.prank(who);
        ledger.setResaleRoyalty(plan, bps);
    }

    function isRoyalty(uint256 price, address receiver, uint256 amount) internal view {
        (address receiver_, uint256 amount_) = ledger.royaltyInfo(id, price);
        eq(receiver_, receiver);
        eq(amount_, amount);
    }

    function test_onlyTheLicensorAsks() external {
        vm.expectRevert(unknown(9));
        vm.prank(licensor);
        ledger.setResaleRoyalty(9, 1);
        vm.expectRevert(unauthorized(stranger, 0));
        setAs(stranger, 1);
        vm.expectRevert(unauthorized(holder, 0));
        setAs(holder, 1);
        grantRole(plan, agent, 15);
        vm.expectRevert(unauthorized(agent, 0));
        setAs(agent, 1);
        isRoyalty(10_000, licensor, 0);
    }

    function testFuzz_atMostATenth(uint16 bps) external {
        if (bps > 1_000) {
            vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanRoyaltyTooHigh.selector, bps, uint16(1_000)));
            setAs(licensor, bps);
            return;
        }
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.PlanResaleRoyaltySet(plan, bps);
        setAs(licensor, bps);
        isRoyalty(10_000, licensor, bps);
    }

    function test_theTenthItself() external {
        setAs(licensor, 1_000);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanRoyaltyTooHigh.selector, 1_001, 1_000));
        setAs(licensor, 1_001);
        isRoyalty(10_000, licensor, 1_000);
        setAs(licensor, 1);
        isRoyalty(10_000, licensor, 1);
        setAs(licensor, 0);
        isRoyalty(10_000, licensor, 0);
    }

    function test_theAmountIsRoundedDown() external {
        setAs(licensor, 333);
        isRoyalty(0, licensor, 0);
        isRoyalty(30, licensor, 0); // 0.999
        isRoyalty(31, licensor, 1); // 1.032
        isRoyalty(1 ether, licensor, 0.0333 ether);
        isRoyalty(type(uint256).max / 333, licensor, type(uint256).max / 333 * 333 / 10_000);
    }

    function testFuzz_theAmountIsTheRateOfThePrice(uint128 price, uint16 bps) external {
        bps %= 1_001;
        setAs(licensor, bps);
        isRoyalty(price, licensor, uint256(price) * bps / 10_000);
    }

    function test_anUnknownLicenseHasNoRoyalty() external {
        setAs(licensor, 100);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, id + 1));
        ledger.royaltyInfo(id + 1, 1);
    }

    /// Every word of the plan's terms is full of ones, so that a rate written beside its place would show.
    function testFuzz_noTermChanges(uint16 first, uint16 second) external {
        (terms.quota, terms.features, terms.brokerSet) = (type(uint64).max, type(uint64).max, type(uint64).max);
        plan = newPlan(terms);
        id = newLicense(plan, holder);
        (, PlanState memory before) = ledger.planOf(plan);
        setAs(licensor, first % 1_001);
        setAs(licensor, second % 1_001);
        (PlanTerms memory got, PlanState memory state) = ledger.planOf(plan);
        eq(keccak256(abi.encode(got)), keccak256(abi.encode(terms)));
        eq(keccak256(abi.encode(state)), keccak256(abi.encode(before)));
        isRoyalty(10_000, licensor, second % 1_001);
        setAs(licensor, 1_000);
        --plan;
        id = newLicense(plan, holder);
        isRoyalty(10_000, licensor, 0); // of the plan beside it
    }

    function test_theRoyaltyGoesToWhoeverHoldsThePlan() external {
        setAs(licensor, 500);
        moveTitle(licensor, buyer);
        isRoyalty(100, licensor, 5);
        setAs(licensor, 600); // until the plan is synced
        ledger.syncLicensor(plan);
        isRoyalty(100, buyer, 6);
        vm.expectRevert(unauthorized(licensor, 0));
        setAs(licensor, 0);
        setAs(buyer, 700);
        isRoyalty(100, buyer, 7);
    }

    function test_theStandardIsAnnounced() external view {
        isTrue(token.supportsInterface(0x2a55205a));
    }
}
