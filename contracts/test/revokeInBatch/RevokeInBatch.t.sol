// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {LicenseStatus} from "../../src/interfaces/LicenseTypes.sol";
import {ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Batches} from "../claim/Batches.sol";
import {Vm} from "../Vm.sol";

contract RevokeInBatchTest is Batches {
    event MetadataUpdate(uint256 _tokenId);

    bytes32 internal constant REASON = keccak256("breach");

    function setUp() public override {
        super.setUp();
        terms.minNotice = 0;
        plan = newPlan(terms);
    }

    function revokeAs(address who, uint256 word, uint256 mask) internal {
        vm.prank(who);
        ledger.revokeInBatch(plan, root, word, mask, REASON);
    }

    function revokeBits(uint256 word, uint256 mask) internal {
        revokeAs(licensor, word, mask);
    }

    function beyond(uint256 word, uint256 mask) internal {
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.BatchIndexBeyond.selector, root, word, mask));
        revokeBits(word, mask);
    }

    function nothing(uint256 word, uint256 mask) internal {
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.BatchNothingToRevoke.selector, root, word, mask));
        revokeBits(word, mask);
    }

    function areBits(uint256 word, uint256 claimed, uint256 revoked) internal view {
        (uint256 claimed_, uint256 revoked_) = ledger.batchBits(plan, root, word);
        eq(claimed_, claimed);
        eq(revoked_, revoked);
    }

    // ---------------------------------------------------------------- who may

    function test_unknownPlansAndBatchesAreNamed() external {
        newBatch(2);
        vm.expectRevert(unknown(9));
        vm.prank(licensor);
        ledger.revokeInBatch(9, root, 0, 1, REASON);
        root = keccak256("never anchored");
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.BatchUnknown.selector, plan, root));
        revokeBits(0, 1);
    }

    function test_noRoleButRevokerRevokes() external {
        newBatch(2);
        vm.expectRevert(unauthorized(stranger, REVOKER));
        revokeAs(stranger, 0, 1);
        claimAt(0);
        vm.expectRevert(unauthorized(leafAt(0).to, REVOKER));
        revokeAs(leafAt(0).to, 0, 1);
        grantRole(plan, agent, ISSUER | METER | GUARDIAN);
        vm.expectRevert(unauthorized(agent, REVOKER));
        revokeAs(agent, 0, 1);
        grantRole(plan, agent, REVOKER);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.BatchRevoked(plan, root, agent, 0, 3, REASON);
        revokeAs(agent, 0, 3);
    }

    /// Revocation, unlike issuing, goes on until the plan is synced.
    function test_aFormerLicensorRevokesUntilThePlanIsSynced() external {
        newBatch(3);
        moveTitle(licensor, buyer);
        vm.expectRevert(unauthorized(buyer, REVOKER));
        revokeAs(buyer, 0, 1);
        revokeAs(licensor, 0, 1);
        ledger.syncLicensor(plan);
        vm.expectRevert(unauthorized(licensor, REVOKER));
        revokeAs(licensor, 0, 2);
        revokeAs(buyer, 0, 2);
        areBits(0, 0, 3);
    }

    function test_neitherAPauseNorTheModelsStatusStopsIt() external {
        newBatch(2);
        setPaused(true);
        revokeBits(0, 1);
        setStatus(ModelStatus.WITHDRAWN);
        revokeBits(0, 2);
        areBits(0, 0, 3);
    }

    // ---------------------------------------------------------------- which bits there are

    function test_anEmptyMaskIsRefused() external {
        newBatch(2);
        nothing(0, 0);
        nothing(1, 0);
        nothing(type(uint256).max, 0);
    }

    function test_noBitBeyondTheCount() external {
        newBatch(1);
        beyond(0, 2);
        beyond(0, 3);
        beyond(0, 1 << 255);
        beyond(1, 1);
        beyond(1 << 248, 1);
        beyond(type(uint256).max, 1);
        revokeBits(0, 1);
        areBits(0, 0, 1);
    }

    /// The four counts around the end of the first word.
    function test_wordsTurnAt256() external {
        for (uint256 count = 255; count <= 257; ++count) {
            newBatch(count);
            beyond(2, 1);
            beyond(1, 2);
            if (count < 257) beyond(1, 1);
            else revokeBits(1, 1);
            if (count == 255) beyond(0, 1 << 255);
            uint256 all = count == 255 ? type(uint256).max >> 1 : type(uint256).max;
            if (count == 255) beyond(0, type(uint256).max);
            revokeBits(0, all);
            areBits(0, 0, all);
            areBits(1, 0, count == 257 ? 1 : 0);
        }
    }

    function test_theLastWordOfTheLargestBatch() external {
        root = keccak256("root");
        vm.prank(licensor);
        ledger.anchorBatch(plan, root, type(uint32).max, 0);
        uint256 last = type(uint32).max >> 8;
        beyond(last, 1 << 255);
        beyond(last + 1, 1);
        revokeBits(last, type(uint256).max >> 1);
        areBits(last, 0, type(uint256).max >> 1);
    }

    // ---------------------------------------------------------------- what it does

    function test_claimedAndUnclaimedInOneCall() external {
        newLicense(plan, holder); // so that serials and indices differ
        newBatch(257);
        uint256 first = claimAt(255);
        claimAt(1);
        uint256 mask = 1 << 255 | 1 << 254 | 3;
        for (uint256 i; i < 2; ++i) {
            uint256 id = firstId() + (i == 0 ? 1 : 255);
            vm.expectEmit(true, true, true, true, address(ledger));
            emit ILicenseRecords.LicenseRevoked(id, licensor, START, REASON);
            vm.expectEmit(true, true, true, true, address(ledger));
            emit MetadataUpdate(id);
        }
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.BatchRevoked(plan, root, licensor, 0, mask, REASON);
        revokeBits(0, mask);
        areBits(0, 1 << 255 | 2, 1 << 254 | 1);
        eq(codeOf(first), 3);
        eq(endOf(first), START);
        isTrue(statusOf(first) == LicenseStatus.REVOKED);
        claimAt(256);
        eq(codeOf(firstId() + 256), 0);
        bytes32[] memory path = pathOf(254);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.BatchLeafRevoked.selector, root, 254));
        ledger.claim(plan, root, leafAt(254), path);
    }

    function test_theSecondWordRevokesTheLicensesOfTheSecondWord() external {
        newBatch(258);
        uint256 id = claimAt(257);
        revokeBits(1, 3);
        eq(codeOf(id), 3);
        areBits(0, 0, 0);
        areBits(1, 2, 1);
        eq(codeOf(claimAt(0)), 0);
        eq(codeOf(claimAt(1)), 0);
    }

    function test_whatIsRevokedAlreadyStaysAsItIs() external {
        newBatch(4);
        uint256 id = claimAt(0);
        revokeBits(0, 1);
        vm.warp(START + 1 days);
        nothing(0, 1); // claimed and revoked
        revokeBits(0, 3); // with one that is not
        eq(endOf(id), START);
        areBits(0, 1, 2);
        nothing(0, 2);
        nothing(0, 3);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.BatchRevoked(plan, root, licensor, 0, 15, REASON);
        revokeBits(0, 15);
        areBits(0, 1, 14);
        nothing(0, 15);
    }

    function test_aLicenseThatMovedIsRevokedWhereItIs() external {
        newBatch(1);
        uint256 id = claimAt(0);
        vm.prank(leafAt(0).to);
        token.transferFrom(leafAt(0).to, buyer, id);
        revokeBits(0, 1);
        eq(token.ownerOf(id), buyer);
        eq(codeOf(id), 3);
    }

    function test_endedAndSuspendedLicensesAreRevokedToo() external {
        newBatch(2);
        uint256 ended = claimAt(0);
        uint256 held = claimAt(1);
        vm.prank(licensor);
        ledger.renew(held, START + 60 days);
        vm.prank(licensor);
        ledger.suspend(held, 0);
        vm.warp(START + 40 days);
        revokeBits(0, 3);
        eq(endOf(ended), START + 30 days); // never raised
        eq(codeOf(ended), 3);
        eq(endOf(held), START + 40 days);
        eq(codeOf(held), 3);
        vm.prank(licensor);
        ledger.reinstate(held, 0);
        eq(codeOf(held), 3);
    }

    // ---------------------------------------------------------------- notice

    function test_aPlanThatPromisesNoticeRevokesOnlyWhatIsClaimed() external {
        terms.minNotice = 7 days;
        plan = newPlan(terms);
        newBatch(3);
        bytes memory due = abi.encodeWithSelector(ILicenseRecords.BatchNoticeDue.selector, plan, uint32(7 days));
        vm.expectRevert(due);
        revokeBits(0, 1);
        uint256 id = claimAt(0);
        vm.expectRevert(due);
        revokeBits(0, 3); // one of the two is not claimed
        eq(codeOf(id), 0);
        vm.warp(START + 1 days);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.LicenseRevoked(id, licensor, START + 8 days, REASON);
        revokeBits(0, 1);
        eq(codeOf(id), 10);
        eq(endOf(id), START + 8 days);

        vm.warp(START + 2 days);
        nothing(0, 1);
        uint256 next = claimAt(1);
        vm.prank(licensor);
        ledger.revoke(next, START + 20 days, 0);
        nothing(0, 3); // under notice already, though a longer one than it would get here
        eq(endOf(id), START + 8 days);
        eq(endOf(next), START + 20 days);
    }

    function test_oneSecondOfNoticeIsNotice() external {
        terms.minNotice = 1;
        plan = newPlan(terms);
        newBatch(2);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.BatchNoticeDue.selector, plan, uint32(1)));
        revokeBits(0, 1);
        uint256 id = claimAt(0);
        revokeBits(0, 1);
        eq(codeOf(id), 10);
        eq(codeAt(id, START + 1), 3);
    }

    // ---------------------------------------------------------------- any mask

    uint256 private claimedBits;
    uint256 private spentBits;

    /// Any batch, any six leaves claimed, one of them revoked, and any two masks one after the other.
    function testFuzz_eachBitComesToWhatItIs(uint16 size, bool second, uint256 claims, uint256 mask, uint256 again)
        external
    {
        uint256 count = 1 + size % 300;
        uint256 word = second ? 1 : 0;
        newBatch(count);
        uint256 inWord = count <= word << 8 ? 0 : count - (word << 8);
        uint256 below = inWord >= 256 ? type(uint256).max : (1 << inWord) - 1;
        for (uint256 i; i < 6; ++i) {
            uint256 index = (claims >> 32 * i) % count;
            if (index >> 8 != word || claimedBits >> (index & 255) & 1 == 1) continue;
            uint256 id = claimAt(index);
            claimedBits |= 1 << (index & 255);
            if (spentBits != 0) continue;
            vm.prank(licensor);
            ledger.revoke(id, 0, 0);
            spentBits = 1 << (index & 255);
        }
        if (claims % 4 != 0) (mask, again) = (mask & below, again & below);
        step(word, below, mask);
        vm.warp(START + 1);
        step(word, below, again);
        areBits(1 - word, 0, 0);
    }

    /// @dev One revocation against a model of two sets: claimed, and revoked in either way.
    function step(uint256 word, uint256 below, uint256 mask) private {
        (, uint256 before) = ledger.batchBits(plan, root, word);
        if (mask == 0) return nothing(word, mask);
        if (mask & ~below != 0) return beyond(word, mask);
        if (mask & ~spentBits == 0) return nothing(word, mask);
        uint256 ends = mask & claimedBits & ~spentBits;
        vm.recordLogs();
        revokeBits(word, mask);
        eq(countOf(vm.getRecordedLogs(), ILicenseRecords.LicenseRevoked.selector), bitsOf(ends));
        for (uint256 i; ends >> i != 0; ++i) {
            if (ends >> i & 1 == 1) eq(endOf(firstId() + (word << 8) + i), block.timestamp);
        }
        spentBits |= mask;
        areBits(word, claimedBits, before | mask & ~claimedBits);
        for (uint256 i; claimedBits >> i != 0; ++i) {
            if (claimedBits >> i & 1 == 0) continue;
            eq(codeOf(firstId() + (word << 8) + i), spentBits >> i & 1 == 1 ? 3 : 0);
        }
    }

    function countOf(Vm.Log[] memory logs, bytes32 topic) private pure returns (uint256 n) {
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].topics[0] == topic) ++n;
        }
    }

    function bitsOf(uint256 mask) private pure returns (uint256 n) {
        for (; mask != 0; mask &= mask - 1) {
            ++n;
        }
    }
}
