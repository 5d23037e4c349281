// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {BatchLeaf} from "../../src/interfaces/LicenseTypes.sol";
import {ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Batches} from "../claim/Batches.sol";

contract CheckBatchLeafTest is Batches {
    struct Answer {
        uint8 code;
        uint40 notAfter;
        uint40 graceUntil;
        uint256 id;
    }

    function ask(BatchLeaf memory leaf, address who, uint40 at) internal view returns (Answer memory said) {
        (said.code, said.notAfter, said.graceUntil, said.id) =
            ledger.checkBatchLeaf(plan, root, leaf, pathOf(leaf.index), who, at);
    }

    function says(BatchLeaf memory leaf, address who, uint40 at, uint8 code, uint40 notAfter, uint40 graceUntil)
        internal
        view
    {
        Answer memory said = ask(leaf, who, at);
        eq(said.code, code);
        eq(said.notAfter, notAfter);
        eq(said.graceUntil, graceUntil);
        eq(said.id, firstId() + leaf.index);
    }

    function isNotFound(bytes32 root_, BatchLeaf memory leaf, bytes32[] memory path) internal view {
        Answer memory said;
        (said.code, said.notAfter, said.graceUntil, said.id) =
            ledger.checkBatchLeaf(plan, root_, leaf, path, leaf.to, START);
        eq(keccak256(abi.encode(said)), keccak256(abi.encode(Answer(1, 0, 0, 0))));
    }

    // ---------------------------------------------------------------- the proof

    function test_thePastIsNotAnswered() external {
        newBatch(1);
        vm.warp(START + 1);
        bytes32[] memory path = pathOf(0);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.CheckInPast.selector, START, START + 1));
        ledger.checkBatchLeaf(plan, root, leafAt(0), path, address(0), START);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.CheckInPast.selector, START, START + 1));
        ledger.checkBatchLeaf(9, 0, leafAt(0), path, address(0), START); // whatever is asked
        eq(ask(leafAt(0), address(0), START + 1).code, 0);
    }

    function test_whatIsNotProvenIsNotFound() external {
        newLicense(plan, holder);
        newBatch(3);
        BatchLeaf memory leaf = leafAt(1);
        bytes32[] memory path = pathOf(1);
        isNotFound(keccak256("never anchored"), leaf, path);
        isNotFound(root, leaf, pathOf(0));
        isNotFound(root, leaf, new bytes32[](0));
        isNotFound(root, leafAt(0), path);
        for (uint256 field; field < 6; ++field) {
            leaf = leafAt(1);
            if (field == 0) leaf.index = 3;
            if (field == 1) leaf.to = holder;
            if (field == 2) leaf.notBefore = 1;
            if (field == 3) leaf.notAfter = PERPETUAL;
            if (field == 4) leaf.extHash = 0;
            if (field == 5) leaf.salt = 0;
            isNotFound(root, leaf, path);
        }
        ++plan;
        isNotFound(root, leafAt(1), path); // an unknown plan
        plan = newPlan(terms);
        isNotFound(root, leafAt(1), path); // a plan without the root
        --plan;
        vm.chainId(1);
        isNotFound(root, leafAt(1), path);
    }

    function test_aClaimedLeafNeedsItsProofToo() external {
        newBatch(2);
        claimAt(1);
        isNotFound(root, leafAt(1), pathOf(0));
    }

    // ---------------------------------------------------------------- unclaimed

    function test_anUnclaimedLeafIsValidFromItsAnchoringToItsEnd() external {
        newBatch(3);
        BatchLeaf memory leaf = leafAt(2);
        uint40 end = START + 30 days;
        says(leaf, leaf.to, START, 0, end, START + 1 days);
        says(leaf, address(0), START, 0, end, START + 1 days);
        says(leaf, leaf.to, end - 1 days - 1, 0, end, end - 1);
        says(leaf, leaf.to, end - 1 days, 0, end, end);
        says(leaf, leaf.to, end - 1, 0, end, end);
        says(leaf, leaf.to, end, 4, end, 0);
        says(leaf, leaf.to, PERPETUAL, 4, end, 0);
        vm.warp(START + 9 days); // waiting moves nothing
        says(leaf, leaf.to, end - 1, 0, end, end);
        says(leaf, leaf.to, end, 4, end, 0);
    }

    function test_aLeafThatHasNotBegunSaysSo() external {
        BatchLeaf memory leaf = leafAt(0);
        (leaf.notBefore, leaf.notAfter) = (START + 10, START + 20);
        newBatchWith(leaf, 2, licensor);
        says(leaf, stranger, START + 9, 8, START + 20, 0); // before the holder is looked at
        says(leaf, leaf.to, START + 10, 0, START + 20, START + 20);
        says(leaf, stranger, START + 10, 5, START + 20, 0);
        says(leaf, stranger, START + 19, 5, START + 20, 0);
        says(leaf, stranger, START + 20, 4, START + 20, 0);
    }

    /// Nobody can claim it. From its end on it is expired, though its beginning is still to come.
    function test_aLeafThatEndsBeforeItBeginsIsNeverValid() external {
        BatchLeaf memory leaf = leafAt(0);
        (leaf.notBefore, leaf.notAfter) = (START + 20, START + 10);
        newBatchWith(leaf, 2, licensor);
        says(leaf, leaf.to, START + 9, 8, START + 10, 0);
        says(leaf, leaf.to, START + 10, 4, START + 10, 0);
        says(leaf, leaf.to, START + 20, 4, START + 10, 0);
    }

    function test_aRevokedLeafIsRevokedBeforeAllElse() external {
        terms.minNotice = 0;
        plan = newPlan(terms);
        BatchLeaf memory leaf = leafAt(1);
        leaf.notBefore = START + 10;
        newBatchWith(leaf, 3, licensor);
        vm.prank(licensor);
        ledger.revokeInBatch(plan, root, 0, 2, 0);
        for (uint40 at = START; at <= START + 60 days; at += 10 days) {
            Answer memory said = ask(leaf, stranger, at);
            eq(said.code, 3);
            eq(said.graceUntil, 0);
            eq(said.id, firstId() + 1);
        }
        eq(ask(leafAt(0), address(0), START).code, 0);
        eq(ask(leafAt(2), address(0), START).code, 0);
    }

    /// Bits are looked for in their own word.
    function test_theSecondWordAnswersForItself() external {
        terms.minNotice = 0;
        plan = newPlan(terms);
        newBatch(260);
        vm.prank(licensor);
        ledger.revokeInBatch(plan, root, 0, 1, 0);
        vm.prank(licensor);
        ledger.revokeInBatch(plan, root, 1, 2, 0);
        claimAt(258);
        eq(ask(leafAt(0), address(0), START).code, 3);
        eq(ask(leafAt(256), address(0), START).code, 0);
        eq(ask(leafAt(1), address(0), START).code, 0);
        eq(ask(leafAt(257), address(0), START).code, 3);
        eq(ask(leafAt(258), leafAt(258).to, START).code, 0);
        eq(ask(leafAt(258), stranger, START).code, 5);
        eq(ask(leafAt(2), leafAt(2).to, START).code, 0);
    }

    function test_anIssuersLeafIsCutOffAtThePlansDuration() external {
        grantRole(plan, agent, ISSUER);
        BatchLeaf memory leaf = leafAt(0);
        for (uint40 i; i < 3; ++i) {
            leaf.notAfter = START + 30 days - 1 + i;
            newBatchWith(leaf, 2, agent);
            uint40 end = i == 0 ? leaf.notAfter : START + 30 days;
            says(leaf, leaf.to, end - 1, 0, end, end);
            says(leaf, leaf.to, end, 4, end, 0);
            newBatchWith(leaf, 1, licensor);
            says(leaf, leaf.to, leaf.notAfter - 1, 0, leaf.notAfter, leaf.notAfter);
        }
        // What counts is who anchored it, not what role the account has now.
        leaf.notAfter = PERPETUAL;
        newBatchWith(leaf, 2, agent);
        grantRole(plan, agent, 0);
        says(leaf, leaf.to, START, 0, START + 30 days, START + 1 days);
    }

    function test_aPerpetualPlanCutsNothingOff() external {
        terms.duration = 0;
        plan = newPlan(terms);
        grantRole(plan, agent, ISSUER);
        BatchLeaf memory leaf = leafAt(0);
        newBatchWith(leaf, 2, agent);
        says(leaf, leaf.to, PERPETUAL - 1, 0, PERPETUAL, PERPETUAL);
        leaf.notAfter = PERPETUAL - 1;
        newBatchWith(leaf, 2, agent);
        says(leaf, leaf.to, PERPETUAL - 1, 4, PERPETUAL - 1, 0);
    }

    function test_neitherPauseNorTitleNorStatusChangesTheAnswer() external {
        newBatch(2);
        setPaused(true);
        setStatus(ModelStatus.COMPROMISED);
        moveTitle(licensor, buyer);
        ledger.syncLicensor(plan);
        says(leafAt(0), leafAt(0).to, START, 0, START + 30 days, START + 1 days);
    }

    // ---------------------------------------------------------------- claimed

    function test_aClaimedLeafFollowsItsLicense() external {
        terms.quota = 10;
        plan = newPlan(terms);
        BatchLeaf memory leaf = leafAt(1);
        leaf.notBefore = START + 1 days;
        newBatchWith(leaf, 2, licensor);
        uint256 id = claimLeaf(leaf);
        uint40 end = START + 31 days;
        says(leaf, leaf.to, START, 8, end, 0);
        vm.warp(START + 1 days);
        uint40 t = START + 1 days;
        says(leaf, leaf.to, t, 0, end, t + 1 days);

        vm.prank(leaf.to);
        token.transferFrom(leaf.to, buyer, id);
        says(leaf, leaf.to, t, 5, end, 0);
        says(leaf, buyer, t, 0, end, t + 1 days);

        grantRole(plan, agent, METER);
        vm.prank(agent);
        ledger.anchorUsage(id, 10, 0);
        says(leaf, buyer, t, 11, end, 0);

        vm.startPrank(licensor);
        ledger.suspend(id, 0);
        says(leaf, buyer, t, 2, end, 0);
        ledger.reinstate(id, 0);
        ledger.renew(id, end + 5);
        says(leaf, buyer, end + 4, 11, end + 5, 0);
        says(leaf, buyer, end + 5, 4, end + 5, 0);
        ledger.revoke(id, end, 0);
        says(leaf, buyer, end, 3, end, 0);
    }

    function test_aClaimedLeafUnderNoticeIsRevoking() external {
        newBatch(2);
        uint256 id = claimAt(0);
        vm.prank(licensor);
        ledger.revokeInBatch(plan, root, 0, 1, 0);
        says(leafAt(0), leafAt(0).to, START, 10, START + 7 days, START + 1 days);
        says(leafAt(0), leafAt(0).to, START + 7 days - 1, 10, START + 7 days, START + 7 days);
        says(leafAt(0), leafAt(0).to, START + 7 days, 3, START + 7 days, 0);
        eq(codeOf(id), 10);
    }

    /// Claiming changes nothing that anyone is told, for any leaf, time and holder, whoever anchored it.
    function testFuzz_claimingChangesNoAnswer(
        uint40 duration,
        uint40 notBefore,
        uint40 notAfter,
        uint40 at,
        uint24 wait,
        uint8 kind
    ) external {
        terms.duration = kind & 1 == 0 ? duration : uint40(duration % 90 days);
        terms.grace = uint24(kind) << 8;
        (terms.leaseTtl, terms.floating, terms.transferable) = (0, kind & 16 == 0, kind & 32 == 0);
        terms.quota = kind & 64;
        plan = newPlan(terms);
        grantRole(plan, agent, ISSUER);
        BatchLeaf memory leaf = leafAt(1);
        if (kind & 2 == 0) (notBefore, notAfter) = (START + notBefore % 60 days, START + notAfter % 60 days);
        (leaf.notBefore, leaf.notAfter) = (notBefore, notAfter);
        newBatchWith(leaf, 3, kind & 4 == 0 ? agent : licensor);
        vm.warp(START + wait);
        uint40 t = uint40(block.timestamp);
        at = kind & 2 == 0 ? t + at % 60 days : at < t ? t : at;
        address who = kind & 8 == 0 ? leaf.to : stranger;

        Answer memory before = ask(leaf, who, at);
        bytes memory call_ = abi.encodeCall(ledger.claim, (plan, root, leaf, pathOf(1)));
        (bool claimed, bytes memory said) = address(ledger).call(call_);
        if (!claimed) {
            eq(bytes32(bytes4(said)), bytes32(ILicenseRecords.LicenseWindowInvalid.selector));
            isTrue(before.code == 4 || before.code == 8);
            return;
        }
        eq(keccak256(abi.encode(ask(leaf, who, at))), keccak256(abi.encode(before)));
        Answer memory direct;
        (direct.code, direct.notAfter, direct.graceUntil,) = ledger.check(before.id, who, 0, at);
        direct.id = abi.decode(said, (uint256));
        eq(keccak256(abi.encode(direct)), keccak256(abi.encode(before)));
    }

    // ---------------------------------------------------------------- reads

    function testFuzz_aLeafsHashIsWhatItsPageSays(uint32 planId, BatchLeaf memory leaf, uint64 chainId) external {
        vm.chainId(1 + uint256(chainId) / 2);
        eq(ledger.batchLeafHash(planId, leaf), leafHash(block.chainid, address(ledger), planId, leaf));
    }

    function test_nothingIsKeptOfWhatWasNeverAnchored() external {
        newBatch(2);
        for (uint32 i; i < 2; ++i) {
            (uint32 count, uint32 firstSerial, uint40 anchoredAt, bool byRole,) =
                i == 0 ? ledger.batchOf(plan, keccak256("other")) : ledger.batchOf(plan + 1, root);
            eq(uint256(count) + firstSerial + anchoredAt, 0);
            isFalse(byRole);
        }
        claimAt(0);
        (uint256 claimed, uint256 revoked) = ledger.batchBits(plan, root, 0);
        eq(claimed, 1);
        eq(revoked, 0);
        (claimed, revoked) = ledger.batchBits(plan, root, type(uint256).max);
        eq(claimed | revoked, 0);
        (claimed, revoked) = ledger.batchBits(plan + 1, root, 0);
        eq(claimed | revoked, 0);
    }
}
