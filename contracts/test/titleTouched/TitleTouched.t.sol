// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {PlanState, Voucher} from "../../src/interfaces/LicenseTypes.sol";
import {ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Vouchers} from "../redeem/Vouchers.sol";

contract TitleTouchedTest is Vouchers {
    uint256 internal parent;
    uint256 internal round;

    function setUp() public override {
        super.setUp();
        parent = newLicense(plan, holder);
    }

    function calls(address issuer) internal returns (bytes[5] memory each) {
        address[] memory to = new address[](1);
        to[0] = buyer;
        Voucher memory voucher = newVoucher();
        (voucher.signer, voucher.nonce) = (issuer, ++round);
        bytes memory signature = signed(issuer == agent ? AGENT_KEY : LICENSOR_KEY, voucher);
        each[0] = abi.encodeCall(ledger.issue, (plan, buyer, 0, 0));
        each[1] = abi.encodeCall(ledger.issueBatch, (plan, to, 0, 0));
        each[2] = abi.encodeCall(ledger.redeem, (voucher, signature));
        each[3] = abi.encodeCall(ledger.anchorBatch, (plan, keccak256(abi.encode(round)), 1, 0));
        each[4] = abi.encodeCall(ledger.sublicense, (parent, buyer, 0, 1));
    }

    function issuesAs(address issuer) internal {
        bytes[5] memory each = calls(issuer);
        for (uint256 i; i < 5; ++i) {
            vm.prank(i == 4 ? holder : issuer);
            (bool ok,) = address(ledger).call(each[i]);
            require(ok, vm.toString(i));
        }
        vm.prank(issuer);
        parent = ledger.issue(plan, holder, 0, 0); // with all its seats
    }

    function refusesAs(address issuer, bytes memory why) internal {
        bytes[5] memory each = calls(issuer);
        for (uint256 i; i < 5; ++i) {
            vm.prank(i == 4 ? holder : issuer);
            (bool ok, bytes memory said) = address(ledger).call(each[i]);
            require(!ok, vm.toString(i));
            eq(keccak256(said), keccak256(why));
        }
    }

    // ---------------------------------------------------------------- who tells

    function testFuzz_onlyTheRegistryTells(address who) external {
        vm.assume(who != address(models) && who != address(vm));
        bytes memory refused = abi.encodeWithSelector(ILicenseRecords.PlanNotRegistry.selector, who);
        vm.prank(who);
        vm.expectRevert(refused);
        ledger.titleTouched(terms.modelId);
        isFalse(isMarked(plan));
    }

    function test_theLicensorDoesNotTellEither() external {
        vm.prank(licensor);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotRegistry.selector, licensor));
        ledger.titleTouched(terms.modelId);
        vm.prank(address(models));
        ledger.titleTouched(keccak256("no such model"));
        vm.prank(address(models));
        ledger.titleTouched(terms.modelId);
        isTrue(isMarked(plan));
        issuesAs(licensor);
    }

    /// The extension by itself, outside the ledger, knows no registry and no plan.
    function test_theExtensionAloneIsToldNothing() external {
        (bool ok,) = ledger.extension().call(abi.encodeCall(ledger.titleTouched, (terms.modelId)));
        isFalse(ok);
    }

    function test_everyPlanOfTheModelIsMarkedAndNoOther() external {
        uint32 second = newPlan(terms);
        uint32 other = newPlan(termsOf(newModel(2)));
        isFalse(isMarked(plan) || isMarked(second) || isMarked(other));
        setStatus(ModelStatus.WITHDRAWN);
        isTrue(isMarked(plan) && isMarked(second));
        isFalse(isMarked(other));
        setStatus(ModelStatus.ACTIVE);
        ledger.syncLicensor(second);
        isTrue(isMarked(plan));
        isFalse(isMarked(second));
        isFalse(isMarked(newPlan(terms))); // its title was looked at just now
    }

    function test_anOfferChangesNothing() external {
        vm.startPrank(licensor);
        models.proposeTransfer(terms.modelId, buyer);
        models.setGuardian(terms.modelId, agent, 7 days);
        vm.stopPrank();
        vm.prank(agent);
        models.startRecovery(terms.modelId, buyer);
        vm.prank(licensor);
        models.vetoRecovery(terms.modelId);
        isFalse(isMarked(plan));
        issuesAs(licensor);
    }

    /// The mark is a bit of its own: what stands beside it in the word stays.
    function testFuzz_theMarkLeavesTheRestOfTheWord(uint40 duration, uint24 grace, uint32 issued, uint8 kind) external {
        (terms.duration, terms.leaseTtl, terms.grace, terms.maxOffline) = (duration, 0, grace, type(uint32).max);
        (terms.floating, terms.warnOnly, terms.transferable) = (kind & 1 == 0, kind & 2 == 0, kind & 4 == 0);
        (terms.quota, terms.supply) = (kind & 8, kind & 16);
        plan = newPlan(terms);
        setIssued(issued);
        if (kind & 32 == 0) setPaused(true);
        bytes32 slot = keccak256(abi.encode(uint256(plan), uint256(1)));
        uint256 before = uint256(vm.load(address(ledger), slot));
        setStatus(ModelStatus.COMPROMISED);
        eq(uint256(vm.load(address(ledger), slot)), before | 1 << 254);
        setStatus(ModelStatus.ACTIVE);
        ledger.syncLicensor(plan);
        eq(uint256(vm.load(address(ledger), slot)), before);
    }

    // ---------------------------------------------------------------- what is refused meanwhile

    function test_aModelThatIsNotActiveIssuesInNoWay() external {
        grantRole(plan, agent, ISSUER);
        for (uint8 i = 2; i <= 3; ++i) {
            setStatus(ModelStatus(i));
            refusesAs(licensor, notIssuable(ModelStatus(i)));
            refusesAs(agent, notIssuable(ModelStatus(i)));
            eq(codeOf(parent), 0); // what was issued lives on
        }
        setStatus(ModelStatus.ACTIVE);
        isTrue(isMarked(plan));
        issuesAs(licensor); // asks, and is told that all is well
        issuesAs(agent);
        ledger.syncLicensor(plan);
        isFalse(isMarked(plan));
        issuesAs(licensor);
        setStatus(ModelStatus.WITHDRAWN);
        refusesAs(licensor, notIssuable(ModelStatus.WITHDRAWN));
    }

    function test_aTitleThatMovedIssuesInNoWay() external {
        grantRole(plan, agent, ISSUER);
        moveTitle(licensor, buyer);
        refusesAs(licensor, titleMoved(buyer));
        refusesAs(agent, titleMoved(buyer));
        // Whoever holds the title now, and whatever its status, it is no longer the plan's.
        setStatus(ModelStatus.COMPROMISED);
        refusesAs(licensor, titleMoved(buyer));
        moveTitle(buyer, stranger);
        refusesAs(licensor, titleMoved(stranger));
    }

    /// A, then B, then A again, and nobody synced in between: the plan never left A.
    function test_aTitleThatCameBackIssuesAgain() external {
        grantRole(plan, agent, ISSUER);
        moveTitle(licensor, buyer);
        refusesAs(licensor, titleMoved(buyer));
        moveTitle(buyer, licensor);
        isTrue(isMarked(plan));
        issuesAs(licensor);
        issuesAs(agent); // its role was given by A and taken by nobody
        vm.recordLogs();
        ledger.syncLicensor(plan);
        eq(vm.getRecordedLogs().length, 0); // settled, not moved
        isFalse(isMarked(plan));
        eq(ledger.rolesOf(plan, agent), ISSUER);
        issuesAs(agent);
    }

    /// The same with a sync under B: A's roles and B's are void, and A issues after one more sync.
    function test_aTitleThatCameBackFromASyncedPlanIsSyncedAgain() external {
        grantRole(plan, agent, ISSUER);
        moveTitle(licensor, buyer);
        ledger.syncLicensor(plan);
        isFalse(isMarked(plan));
        moveTitle(buyer, licensor);
        isTrue(isMarked(plan));
        vm.prank(buyer);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanTitleMoved.selector, plan, buyer, licensor));
        ledger.issue(plan, holder, 0, 0);
        vm.prank(licensor);
        vm.expectRevert(unauthorized(licensor, ISSUER));
        ledger.issue(plan, holder, 0, 0);
        ledger.syncLicensor(plan);
        isFalse(isMarked(plan));
        eq(ledger.rolesOf(plan, agent), 0);
        issuesAs(licensor);
    }

    function test_aRecoveryMovesTheTitleLikeASale() external {
        address guardian = address(0x60A);
        vm.prank(licensor);
        models.setGuardian(terms.modelId, guardian, 7 days);
        vm.prank(guardian);
        models.startRecovery(terms.modelId, buyer);
        issuesAs(licensor);
        vm.prank(licensor);
        ledger.renew(parent, START + 60 days);
        vm.warp(START + 7 days);
        vm.prank(guardian);
        models.finishRecovery(terms.modelId);
        isTrue(isMarked(plan));
        bytes memory moved = titleMoved(buyer);
        vm.prank(licensor);
        vm.expectRevert(moved);
        ledger.issue(plan, holder, 0, 0);
        vm.prank(holder);
        vm.expectRevert(moved);
        ledger.sublicense(parent, buyer, 0, 1);
        ledger.syncLicensor(plan);
        vm.prank(buyer);
        ledger.issue(plan, holder, 0, 0);
        vm.prank(holder);
        ledger.sublicense(parent, buyer, 0, 1);
    }

    // ---------------------------------------------------------------- settling

    function isInSync() internal {
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanInSync.selector, plan));
        ledger.syncLicensor(plan);
    }

    function test_aPlanIsSettledOnlyWhenTheModelIsActive() external {
        isInSync();
        for (uint8 i = 2; i <= 3; ++i) {
            setStatus(ModelStatus(i));
            isInSync();
            isTrue(isMarked(plan));
        }
        setStatus(ModelStatus.ACTIVE);
        bytes32 digest = planDigest();
        vm.recordLogs();
        vm.prank(stranger);
        ledger.syncLicensor(plan);
        eq(vm.getRecordedLogs().length, 0);
        isFalse(isMarked(plan));
        isInSync();
        (, PlanState memory state) = ledger.planOf(plan);
        eq(state.licensor, licensor);
        eq(state.roleEpoch, 0);
        eq(state.planDigest, digest);
    }

    function test_aPlanFollowsTheTitleOfAModelThatIsNotActiveAndStaysMarked() external {
        setStatus(ModelStatus.WITHDRAWN);
        moveTitle(licensor, buyer);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.PlanLicensorSynced(plan, licensor, buyer, 1);
        ledger.syncLicensor(plan);
        isTrue(isMarked(plan));
        isInSync();
        vm.prank(buyer);
        vm.expectRevert(notIssuable(ModelStatus.WITHDRAWN));
        ledger.issue(plan, holder, 0, 0);
        setStatus(ModelStatus.ACTIVE);
        vm.prank(buyer);
        ledger.issue(plan, holder, 0, 0);
        ledger.syncLicensor(plan);
        isFalse(isMarked(plan));
        isInSync();
        (, PlanState memory state) = ledger.planOf(plan);
        eq(state.roleEpoch, 1);
    }

    function test_oneSyncFollowsAndSettles() external {
        moveTitle(licensor, buyer);
        isTrue(isMarked(plan));
        ledger.syncLicensor(plan);
        isFalse(isMarked(plan));
        isInSync();
    }

    /// After any changes of title and status, a plan issues exactly when its licensor holds an active title, marked or not.
    function testFuzz_aPlanIssuesExactlyWhenItsTitleIsInOrder(uint256 steps) external {
        address[2] memory holders = [licensor, buyer];
        uint256 owner;
        for (uint256 i; i < 12; ++i) {
            uint256 step = steps >> 8 * i & 255;
            if (step % 4 == 0) {
                moveTitle(holders[owner], holders[1 - owner]);
                owner = 1 - owner;
            } else if (step % 4 == 1) {
                ModelStatus next = ModelStatus(1 + step / 4 % 3);
                (, ModelStatus now_) = models.titleOf(terms.modelId);
                if (next != now_) setStatus(next);
            } else if (step % 4 == 2) {
                try ledger.syncLicensor(plan) {} catch {}
            }
            (, PlanState memory state) = ledger.planOf(plan);
            (, ModelStatus status) = models.titleOf(terms.modelId);
            bool inOrder = state.licensor == holders[owner] && status == ModelStatus.ACTIVE;
            vm.prank(state.licensor);
            (bool issued,) = address(ledger).call(abi.encodeCall(ledger.issue, (plan, holder, 0, 0)));
            isTrue(issued == inOrder);
            isTrue(inOrder || isMarked(plan));
        }
    }
}
