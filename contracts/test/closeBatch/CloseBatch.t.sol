// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {BatchLeaf} from "../../src/interfaces/LicenseTypes.sol";
import {ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Batches} from "../claim/Batches.sol";

contract CloseBatchTest is Batches {
    bytes32 internal constant WHY = keccak256("why");

    uint40 internal constant NOTICE = 7 days;

    function setUp() public override {
        super.setUp();
        newBatch(5);
    }

    function closeAs(address who) internal {
        vm.prank(who);
        ledger.closeBatch(plan, root, WHY);
    }

    function closes(address who, uint40 at) internal {
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.BatchClosed(plan, root, who, at, WHY);
        closeAs(who);
        isClosed(at);
    }

    function isClosed(uint40 at) internal view {
        (uint32 count, uint32 firstSerial, uint40 anchoredAt, bool byRole, uint40 closesAt) = ledger.batchOf(plan, root);
        eq(closesAt, at);
        // The rest of the word stays.
        eq(count, 5);
        eq(firstSerial, 1);
        eq(anchoredAt, START);
        isFalse(byRole);
    }

    function says(BatchLeaf memory leaf, uint40 at, uint8 code, uint40 notAfter, uint40 graceUntil) internal view {
        (uint8 code_, uint40 notAfter_, uint40 graceUntil_,) =
            ledger.checkBatchLeaf(plan, root, leaf, pathOf(leaf.index), leaf.to, at);
        eq(code_, code);
        eq(notAfter_, notAfter);
        eq(graceUntil_, graceUntil);
    }

    /// @dev Terms of another minimum notice, and a batch of five under them.
    function withNotice(uint32 notice) internal {
        terms.minNotice = notice;
        plan = newPlan(terms);
        newBatch(5);
    }

    function isClosed() internal view returns (bytes memory) {
        return abi.encodeWithSelector(ILicenseRecords.BatchIsClosed.selector, root, START + NOTICE);
    }

    function isGone(BatchLeaf memory leaf) internal {
        bytes32[] memory path = pathOf(leaf.index);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.BatchLeafRevoked.selector, root, leaf.index));
        ledger.claim(plan, root, leaf, path);
    }

    // ---------------------------------------------------------------- who may

    function test_anUnknownPlanIsNamed() external {
        vm.expectRevert(unknown(9));
        vm.prank(licensor);
        ledger.closeBatch(9, root, WHY);
    }

    function test_noRoleButRevokerCloses() external {
        grantRole(plan, agent, ISSUER | METER | GUARDIAN);
        vm.expectRevert(unauthorized(agent, REVOKER));
        closeAs(agent);
        isClosed(0);
        grantRole(plan, agent, REVOKER);
        closes(agent, START + NOTICE);
    }

    function testFuzz_nobodyElseCloses(address who) external {
        vm.assume(who != licensor && who != address(vm));
        vm.expectRevert(unauthorized(who, REVOKER));
        closeAs(who);
        isClosed(0);
    }

    function test_afterASyncTheNewLicensorCloses() external {
        moveTitle(licensor, buyer);
        ledger.syncLicensor(plan);
        vm.expectRevert(unauthorized(licensor, REVOKER));
        closeAs(licensor);
        closes(buyer, START + NOTICE);
    }

    function test_neitherPauseNorStatusHoldsItBack() external {
        setPaused(true);
        setStatus(ModelStatus.COMPROMISED);
        closes(licensor, START + NOTICE);
    }

    function test_anUnknownBatchIsNamed() external {
        bytes32 other = keccak256("other");
        vm.startPrank(licensor);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.BatchUnknown.selector, plan, other));
        ledger.closeBatch(plan, other, WHY);
        vm.stopPrank();
        uint32 second = newPlan(terms);
        vm.prank(licensor);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.BatchUnknown.selector, second, root));
        ledger.closeBatch(second, root, WHY);
    }

    // ---------------------------------------------------------------- when

    function testFuzz_itClosesAfterTheNotice(uint32 notice, uint32 wait) external {
        withNotice(notice);
        vm.warp(uint256(START) + wait);
        closes(licensor, START + wait + notice);
    }

    /// The notice of a plan is fixed, so a second closing comes later, and changes nothing.
    function test_itIsClosedOnce() external {
        closes(licensor, START + NOTICE);
        vm.expectRevert(isClosed());
        closeAs(licensor);
        vm.warp(START + 1 days);
        vm.expectRevert(isClosed());
        closeAs(licensor);
        vm.warp(START + 100 days);
        vm.expectRevert(isClosed());
        closeAs(licensor);
        isClosed(START + NOTICE);
    }

    // ---------------------------------------------------------------- what it ends

    function test_unclaimedLeavesEndThen() external {
        says(leafAt(3), START, 0, START + 30 days, START + 1 days);
        closeAs(licensor);
        uint40 end = START + NOTICE;
        says(leafAt(3), START, 0, end, START + 1 days);
        says(leafAt(3), end - 1, 0, end, end);
        // Not final yet: until then it is claimed, and what is claimed may be renewed.
        says(leafAt(3), end, 4, end, 0);
        vm.warp(end);
        says(leafAt(3), end, 3, end, 0);
    }

    function test_aClaimAfterItEndsThenToo() external {
        closeAs(licensor);
        vm.warp(START + 3 days);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.LicenseIssued(firstId() + 3, plan, leafAt(3).to, START, START + NOTICE);
        uint256 id = claimAt(3);
        eq(endOf(id), START + NOTICE);
        says(leafAt(3), START + NOTICE - 1, 0, START + NOTICE, START + NOTICE);
        eq(codeAt(id, START + NOTICE), 4);

        vm.warp(START + NOTICE - 1);
        claimAt(2);
        vm.warp(START + NOTICE);
        eq(codeOf(id), 4);
        // An expired token could be renewed; what the closing ended cannot.
        isGone(leafAt(4));
        vm.warp(START + 100 days);
        isGone(leafAt(4));
        says(leafAt(4), START + 100 days, 3, START + NOTICE, 0);
    }

    function test_onceClosedBeforeItsBeginningALeafIsClaimedNoMore() external {
        BatchLeaf memory leaf = leafAt(1);
        leaf.notBefore = START + 10 days;
        newBatchWith(leaf, 5, licensor);
        vm.prank(licensor);
        ledger.closeBatch(plan, root, WHY);
        bytes32[] memory path = pathOf(1);
        vm.expectRevert(window(START + 10 days, START + NOTICE));
        ledger.claim(plan, root, leaf, path);
        says(leaf, START, 8, START + NOTICE, 0);
        says(leaf, START + NOTICE, 4, START + NOTICE, 0);
        vm.warp(START + NOTICE);
        says(leaf, START + NOTICE, 3, START + NOTICE, 0);
        isGone(leaf);
    }

    function test_withoutNoticeItIsOverAtOnce() external {
        withNotice(0);
        closes(licensor, START);
        says(leafAt(0), START, 3, START, 0);
        isGone(leafAt(0));
        vm.warp(START + 1);
        isGone(leafAt(0));
    }

    function test_aLeafThatEndsEarlierEndsEarlier() external {
        BatchLeaf memory leaf = leafAt(1);
        leaf.notAfter = START + NOTICE - 1;
        newBatchWith(leaf, 5, licensor);
        vm.prank(licensor);
        ledger.closeBatch(plan, root, WHY);
        says(leaf, START, 0, START + NOTICE - 1, START + 1 days);
        says(leaf, START + NOTICE, 4, START + NOTICE - 1, 0);
        eq(endOf(claimLeaf(leaf)), START + NOTICE - 1);
    }

    function test_whatEndedBeforeIsRevokedWithTheRest() external {
        BatchLeaf memory leaf = leafAt(1);
        leaf.notAfter = START + 1 days;
        newBatchWith(leaf, 5, licensor);
        vm.prank(licensor);
        ledger.closeBatch(plan, root, WHY);
        vm.warp(START + NOTICE - 1);
        says(leaf, START + NOTICE - 1, 4, START + 1 days, 0);
        vm.warp(START + NOTICE);
        says(leaf, START + NOTICE, 3, START + 1 days, 0);
        isGone(leaf);
    }

    function test_claimedLicensesAreUntouched() external {
        uint256 id = claimAt(0);
        closeAs(licensor);
        eq(endOf(id), START + 30 days);
        says(leafAt(0), START + NOTICE, 0, START + 30 days, START + NOTICE + 1 days);
        vm.prank(licensor);
        ledger.renew(id, START + 60 days);
        eq(endOf(id), START + 60 days);
        // Nor is what is claimed after it closed to renewal: it is a license like any other.
        id = claimAt(1);
        eq(endOf(id), START + NOTICE);
        vm.prank(licensor);
        ledger.renew(id, START + 60 days);
        says(leafAt(1), START + NOTICE, 0, START + 60 days, START + NOTICE + 1 days);
    }

    function test_anotherBatchStaysOpen() external {
        bytes32 closed = root;
        closeAs(licensor);
        vm.prank(licensor);
        ledger.anchorBatch(plan, keccak256("another"), 3, 0);
        (,,,, uint40 closesAt) = ledger.batchOf(plan, keccak256("another"));
        eq(closesAt, 0);
        (,,,, closesAt) = ledger.batchOf(plan, closed);
        eq(closesAt, START + NOTICE);
    }

    function test_whatWasRevokedStaysRevoked() external {
        withNotice(0);
        vm.prank(licensor);
        ledger.revokeInBatch(plan, root, 0, 1, 0);
        closeAs(licensor);
        says(leafAt(0), START, 3, 0, 0);
        says(leafAt(1), START, 3, START, 0);
    }
}
