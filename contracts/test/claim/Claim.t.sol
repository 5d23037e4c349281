// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {BatchLeaf} from "../../src/interfaces/LicenseTypes.sol";
import {ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Batches} from "./Batches.sol";

contract ClaimTest is Batches {
    event Locked(uint256 tokenId);
    event Transfer(address indexed from, address indexed to, uint256 indexed id);

    function isRefused(BatchLeaf memory leaf, bytes32[] memory path) internal {
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.BatchProofInvalid.selector, root, leaf.index));
        ledger.claim(plan, root, leaf, path);
    }

    function isClaimed(uint256 index) internal view returns (bool) {
        (uint256 claimed,) = ledger.batchBits(plan, root, index / 256);
        return claimed >> index % 256 & 1 == 1;
    }

    function without(bytes32[] memory path, uint256 gone) internal pure returns (bytes32[] memory rest) {
        rest = new bytes32[](path.length - 1);
        for (uint256 i; i < rest.length; ++i) {
            rest[i] = path[i < gone ? i : i + 1];
        }
    }

    function with(bytes32[] memory path, uint256 place, bytes32 node) internal pure returns (bytes32[] memory longer) {
        longer = new bytes32[](path.length + 1);
        for (uint256 i; i < longer.length; ++i) {
            longer[i] = i == place ? node : path[i < place ? i : i - 1];
        }
    }

    // ---------------------------------------------------------------- trees of every shape

    function everyLeafIsClaimedOnce(uint256 count) internal {
        newLicense(plan, holder); // so that serials and indices differ
        newBatch(count);
        (, uint32 firstSerial,,,) = ledger.batchOf(plan, root);
        eq(firstSerial, 2);
        // Of large trees both ends, the turns of the words and the right edge.
        for (uint256 i; i < count; ++i) {
            if (count > 8 && i > 1 && i < count - 3 && i % 64 != 63 && i % 64 != 0) continue;
            isFalse(isClaimed(i));
            eq(claimAt(i), uint256(plan) << 32 | 2 + i);
            eq(token.ownerOf(uint256(plan) << 32 | 2 + i), leafAt(i).to);
            eq(token.balanceOf(leafAt(i).to), 1);
            isTrue(isClaimed(i));
            bytes32[] memory path = pathOf(i);
            vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.BatchLeafClaimed.selector, root, uint32(i)));
            ledger.claim(plan, root, leafAt(i), path);
        }
    }

    function test_aTreeOfOne() external {
        everyLeafIsClaimedOnce(1);
    }

    function test_aTreeOfTwo() external {
        everyLeafIsClaimedOnce(2);
    }

    function test_aTreeOfThree() external {
        everyLeafIsClaimedOnce(3);
    }

    function test_aTreeOfFive() external {
        everyLeafIsClaimedOnce(5);
    }

    function test_aTreeOfSeven() external {
        everyLeafIsClaimedOnce(7);
    }

    function test_aTreeOfEight() external {
        everyLeafIsClaimedOnce(8);
    }

    function test_aTreeOf255() external {
        everyLeafIsClaimedOnce(255);
    }

    function test_aTreeOf257() external {
        everyLeafIsClaimedOnce(257);
        (uint256 claimed,) = ledger.batchBits(plan, root, 1);
        eq(claimed, 1);
    }

    /// The right edge of the largest tree there is: 31 siblings on its left, of which nothing else is known.
    function test_theLastOfAllSerials() external {
        BatchLeaf memory leaf = leafAt(type(uint32).max - 1);
        bytes32[] memory path = new bytes32[](31);
        root = leafHash(leaf);
        for (uint256 i; i < 31; ++i) {
            path[i] = keccak256(abi.encode("sibling", i));
            root = keccak256(abi.encodePacked(bytes1(0x01), path[i], root));
        }
        vm.prank(licensor);
        ledger.anchorBatch(plan, root, type(uint32).max, 0);
        uint256 id = uint256(plan) << 32 | type(uint32).max;
        eq(ledger.claim(plan, root, leaf, path), id);
        eq(token.ownerOf(id), leaf.to);
        isTrue(isClaimed(type(uint32).max - 1));
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.BatchLeafClaimed.selector, root, leaf.index));
        ledger.claim(plan, root, leaf, path);
    }

    function testFuzz_anyLeafOfAnyTree(uint8 size, uint8 place, address who) external {
        vm.assume(who != address(vm));
        newBatch(1 + uint256(size) % 70);
        uint256 index = place % tree.length;
        bytes32[] memory path = pathOf(index);
        vm.prank(who);
        eq(ledger.claim(plan, root, leafAt(index), path), firstId() + index);
        (uint256 claimed, uint256 revoked) = ledger.batchBits(plan, root, 0);
        eq(claimed, 1 << index);
        eq(revoked, 0);
        eq(codeOf(firstId() + index), 0);
    }

    // ---------------------------------------------------------------- what is no proof

    function test_anUnknownBatchIsNamed() external {
        newBatch(2);
        BatchLeaf memory leaf = leafAt(0);
        bytes32[] memory path = pathOf(0);
        bytes32 other = keccak256("never anchored");
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.BatchUnknown.selector, plan, other));
        ledger.claim(plan, other, leaf, path);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.BatchUnknown.selector, 9, root));
        ledger.claim(9, root, leaf, path);
        uint32 twin = newPlan(terms);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.BatchUnknown.selector, twin, root));
        ledger.claim(twin, root, leaf, path);
    }

    function test_aLeafStandsInItsPlaceOnly() external {
        newBatch(5);
        for (uint256 i; i < 5; ++i) {
            for (uint256 j; j < 5; ++j) {
                if (i == j) continue;
                BatchLeaf memory leaf = leafAt(i);
                isRefused(leaf, pathOf(j)); // another's path
                leaf.index = uint32(j);
                isRefused(leaf, pathOf(i)); // another index
                isRefused(leaf, pathOf(j)); // both
            }
        }
    }

    /// A tree may hold what the batch does not: only `count` decides.
    function test_anIndexBeyondTheBatchIsRefused() external {
        grow(4);
        vm.prank(licensor);
        ledger.anchorBatch(plan, root, 3, 0);
        isRefused(leafAt(3), pathOf(3));
        BatchLeaf memory leaf = leafAt(3);
        leaf.index = type(uint32).max;
        isRefused(leaf, pathOf(3));

        newBatch(2);
        leaf = leafAt(0);
        for (uint32 index = 2; index < 5; ++index) {
            leaf.index = index; // as leaf 2 would stand if the batch had more
            graft(0, leafHash(leaf));
            anchorAs(licensor);
            isRefused(leaf, pathOf(0));
        }
    }

    function test_aCountThatIsNotTheTreesLosesLeaves() external {
        grow(4);
        vm.prank(licensor);
        ledger.anchorBatch(plan, root, 5, 0);
        for (uint256 i; i < 4; ++i) {
            isRefused(leafAt(i), pathOf(i));
        }
        plan = newPlan(terms);
        grow(4);
        vm.prank(licensor);
        ledger.anchorBatch(plan, root, 2, 0);
        isRefused(leafAt(0), pathOf(0));
        isRefused(leafAt(1), pathOf(1));
    }

    /// Leaves on the right of a tree that is taller than the count: their siblings stand on the left all the way up.
    function test_aTreeTallerThanItsCountOpensNothing() external {
        for (uint256 count = 1; count <= 4; count *= 2) {
            grow(2 * count);
            for (uint256 i; i < count; ++i) {
                graft(count + i, leafHash(leafAt(i)));
            }
            vm.prank(licensor);
            ledger.anchorBatch(plan, root, uint32(count), 0);
            for (uint256 i; i < count; ++i) {
                isRefused(leafAt(i), pathOf(count + i));
                isRefused(leafAt(i), pathOf(i));
            }
        }
    }

    function test_everyFieldOfTheLeafCounts() external {
        newBatch(3);
        bytes32[] memory path = pathOf(1);
        for (uint256 field; field < 6; ++field) {
            BatchLeaf memory leaf = leafAt(1);
            if (field == 0) leaf.index = 2;
            if (field == 1) leaf.to = stranger;
            if (field == 2) leaf.notBefore = 1;
            if (field == 3) leaf.notAfter = PERPETUAL;
            if (field == 4) leaf.extHash = 0;
            if (field == 5) leaf.salt = 0;
            isRefused(leaf, path);
        }
        claimAt(1);
    }

    function test_noPathIsShorterOrLonger() external {
        newBatch(7);
        for (uint256 i; i < 7; ++i) {
            bytes32[] memory path = pathOf(i);
            for (uint256 j; j < path.length; ++j) {
                isRefused(leafAt(i), without(path, j));
            }
            for (uint256 j; j <= path.length; ++j) {
                isRefused(leafAt(i), with(path, j, 0));
                isRefused(leafAt(i), with(path, j, root));
            }
            isRefused(leafAt(i), new bytes32[](0));
            isFalse(isClaimed(i));
        }
        newBatch(1);
        isRefused(leafAt(0), with(pathOf(0), 0, root));
    }

    function testFuzz_oneForgedSiblingSpoilsThePath(uint8 size, uint8 place, uint8 level, bytes32 forged) external {
        newBatch(2 + uint256(size) % 40);
        uint256 index = place % tree.length;
        bytes32[] memory path = pathOf(index);
        vm.assume(path[level % path.length] != forged);
        path[level % path.length] = forged;
        isRefused(leafAt(index), path);
    }

    /// Four leaves anchored as two: each of the two is then an inner node of the four, and opens to nobody.
    function test_anInnerNodeIsNoLeaf() external {
        grow(4);
        bytes32 left = keccak256(abi.encodePacked(bytes1(0x01), tree[0], tree[1]));
        bytes32 right = keccak256(abi.encodePacked(bytes1(0x01), tree[2], tree[3]));
        eq(root, keccak256(abi.encodePacked(bytes1(0x01), left, right)));
        vm.prank(licensor);
        ledger.anchorBatch(plan, root, 2, 0);
        bytes32[] memory path = new bytes32[](1);
        path[0] = right;
        isRefused(leafAt(0), path);
        path[0] = left;
        isRefused(leafAt(1), path);
    }

    function test_aLeafHashedOnceIsNoLeaf() external {
        grow(3);
        graft(1, innerHash(block.chainid, address(ledger), plan, leafAt(1)));
        anchorAs(licensor);
        isRefused(leafAt(1), pathOf(1));
        claimAt(0);
    }

    function test_aLeafOfAnotherPlanChainOrLedgerIsRefused() external {
        bytes32[3] memory foreign = [
            leafHash(block.chainid, address(ledger), plan + 1, leafAt(1)),
            leafHash(block.chainid + 1, address(ledger), plan, leafAt(1)),
            leafHash(block.chainid, address(models), plan, leafAt(1))
        ];
        for (uint256 i; i < 3; ++i) {
            grow(3);
            graft(1, foreign[i]);
            anchorAs(licensor);
            isRefused(leafAt(1), pathOf(1));
            claimAt(2);
        }
    }

    /// The same root on a plan beside it, and the same state after a fork.
    function test_aRootAnchoredElsewhereOpensNothingThere() external {
        newBatch(3);
        uint32 first = plan;
        plan = newPlan(terms);
        anchorAs(licensor);
        isRefused(leafAt(0), pathOf(0));
        plan = first;
        vm.chainId(block.chainid + 1);
        isRefused(leafAt(0), pathOf(0));
        vm.chainId(31337);
        claimAt(0);
    }

    // ---------------------------------------------------------------- what is not claimed

    function test_aRevokedLeafIsNeverClaimedAndItsNeighboursAre() external {
        terms.minNotice = 0;
        plan = newPlan(terms);
        newBatch(3);
        vm.prank(licensor);
        ledger.revokeInBatch(plan, root, 0, 2, 0);
        bytes32[] memory path = pathOf(1);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.BatchLeafRevoked.selector, root, 1));
        ledger.claim(plan, root, leafAt(1), path);
        claimAt(0);
        claimAt(2);
        vm.prank(licensor);
        ledger.revokeInBatch(plan, root, 0, 1, 0);
        path = pathOf(0);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.BatchLeafClaimed.selector, root, 0));
        ledger.claim(plan, root, leafAt(0), path);
    }

    function test_anEmptyWindowIsNoLicense() external {
        BatchLeaf memory leaf = leafAt(1);
        (leaf.notBefore, leaf.notAfter) = (START + 9, START + 9);
        newBatchWith(leaf, 2, licensor);
        bytes32[] memory path = pathOf(1);
        vm.expectRevert(window(START + 9, START + 9));
        ledger.claim(plan, root, leaf, path);
        isFalse(isClaimed(1));
        (leaf.notBefore, leaf.notAfter) = (0, START); // ended when it was anchored
        newBatchWith(leaf, 2, licensor);
        vm.expectRevert(window(START, START));
        ledger.claim(plan, root, leaf, path);
        leaf.notAfter = START + 1;
        newBatchWith(leaf, 2, licensor);
        claimLeaf(leaf);
    }

    function test_nobodyIsNoHolder() external {
        BatchLeaf memory leaf = leafAt(0);
        leaf.to = address(0);
        newBatchWith(leaf, 2, licensor);
        bytes32[] memory path = pathOf(0);
        vm.expectRevert(TO_ZERO);
        ledger.claim(plan, root, leaf, path);
        isFalse(isClaimed(0));
    }

    // ---------------------------------------------------------------- what a claim makes

    function test_everyRecordOfAClaim() external {
        terms.transferable = false;
        plan = newPlan(terms);
        newBatch(3);
        uint256 id = uint256(plan) << 32 | 2;
        bytes32[] memory path = pathOf(1);
        vm.warp(START + 9 days);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit Transfer(address(0), leafAt(1).to, id);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit Locked(id);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.LicenseIssued(id, plan, leafAt(1).to, START, START + 30 days);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.BatchClaimed(id, root, 1, leafAt(1).extHash);
        vm.prank(stranger);
        eq(ledger.claim(plan, root, leafAt(1), path), id);
        isTrue(ledger.locked(id));
        (, uint40 notAfter, uint40 graceUntil,) = ledger.check(id, leafAt(1).to, 0, START + 9 days);
        eq(notAfter, START + 30 days);
        eq(graceUntil, START + 10 days);
    }

    function test_aReceiverIsNotCalled() external {
        BatchLeaf memory leaf = leafAt(0);
        leaf.to = address(this); // would revert
        newBatchWith(leaf, 1, licensor);
        eq(token.ownerOf(claimLeaf(leaf)), address(this));
    }

    function test_whatWasIssuedIsClaimedWhateverCameAfter() external {
        terms.supply = 6;
        plan = newPlan(terms);
        grantRole(plan, agent, ISSUER);
        grow(6);
        anchorAs(agent); // all the supply
        claimAt(0);
        setPaused(true);
        claimAt(1);
        grantRole(plan, agent, 0);
        claimAt(2);
        setStatus(ModelStatus.COMPROMISED);
        claimAt(3);
        moveTitle(licensor, buyer);
        claimAt(4);
        ledger.syncLicensor(plan);
        claimAt(5);
    }

    function test_anEndedLicenseIsClaimedAsEnded() external {
        newBatch(1);
        vm.warp(START + 31 days);
        uint256 id = claimAt(0);
        eq(endOf(id), START + 30 days);
        eq(codeOf(id), 4);
        vm.prank(licensor);
        ledger.renew(id, START + 40 days);
        eq(codeOf(id), 0);
    }

    function test_anIssuersLeafIsCutOffAtThePlansDuration() external {
        grantRole(plan, agent, ISSUER);
        BatchLeaf memory leaf = leafAt(0);
        for (uint40 i; i < 3; ++i) {
            leaf.notAfter = START + 30 days - 1 + i;
            newBatchWith(leaf, 2, agent);
            eq(endOf(claimLeaf(leaf)), i == 0 ? leaf.notAfter : START + 30 days);
            newBatchWith(leaf, 1, licensor);
            eq(endOf(claimLeaf(leaf)), leaf.notAfter);
        }
        (leaf.notBefore, leaf.notAfter) = (START + 7, PERPETUAL);
        newBatchWith(leaf, 2, agent);
        uint256 id = claimLeaf(leaf);
        eq(endOf(id), START + 7 + 30 days);
        eq(codeAt(id, START + 6), 8);
        eq(codeAt(id, START + 7), 0);
    }

    /// What the window is, for any plan duration, any leaf and any wait, said once more in plain arithmetic.
    function testFuzz_theWindowCountsFromTheAnchoring(
        uint40 duration,
        uint40 notBefore,
        uint40 notAfter,
        uint24 wait,
        bool byRole
    ) external {
        terms.duration = duration;
        plan = newPlan(terms);
        grantRole(plan, agent, ISSUER);
        BatchLeaf memory leaf = leafAt(1);
        if (wait % 2 == 0) notAfter = uint40(START + notAfter % 100 days); // near
        (leaf.notBefore, leaf.notAfter) = (notBefore, notAfter);
        newBatchWith(leaf, 3, byRole ? agent : licensor);
        uint256 start = notBefore > START ? notBefore : START;
        uint256 longest = duration == 0 ? PERPETUAL : start + duration;
        if (longest > PERPETUAL) longest = PERPETUAL;
        uint256 end = notAfter == 0 || byRole && notAfter > longest ? longest : notAfter;

        vm.warp(START + wait);
        bytes32[] memory path = pathOf(1);
        if (end <= start) {
            vm.expectRevert(window(uint40(start), uint40(end)));
            ledger.claim(plan, root, leaf, path);
            return;
        }
        uint256 id = ledger.claim(plan, root, leaf, path);
        (, uint40 storedStart, uint40 storedEnd,,,,) = ledger.licenseOf(id);
        eq(storedEnd, end);
        eq(storedStart, start > block.timestamp ? start : 0);
        eq(codeOf(id), block.timestamp >= end ? 4 : block.timestamp < start ? 8 : 0);
    }
}
