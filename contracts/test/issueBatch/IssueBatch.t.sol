// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {PlanState} from "../../src/interfaces/LicenseTypes.sol";
import {ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Titles} from "../titleTouched/Titles.sol";

contract IssueBatchTest is Titles {
    event Locked(uint256 tokenId);
    event Transfer(address indexed from, address indexed to, uint256 indexed id);

    function many(uint256 count) internal pure returns (address[] memory to) {
        to = new address[](count);
        for (uint160 i; i < count; ++i) {
            to[i] = address(0x20000 + i);
        }
    }

    function issueAs(address who, address[] memory to, uint40 notBefore, uint40 notAfter) internal returns (uint256) {
        vm.prank(who);
        return ledger.issueBatch(plan, to, notBefore, notAfter);
    }

    function issuedOf(uint32 planId) internal view returns (uint32) {
        (, PlanState memory state) = ledger.planOf(planId);
        return state.issued;
    }

    // ---------------------------------------------------------------- who may

    function test_anUnknownPlanIsNamed() external {
        vm.prank(licensor);
        vm.expectRevert(unknown(9));
        ledger.issueBatch(9, many(1), 0, 0);
    }

    function test_noRoleButIssuerIssues() external {
        vm.expectRevert(unauthorized(stranger, ISSUER));
        issueAs(stranger, many(1), 0, 0);
        grantRole(plan, agent, REVOKER | METER | GUARDIAN);
        vm.expectRevert(unauthorized(agent, ISSUER));
        issueAs(agent, many(1), 0, 0);
        grantRole(plan, agent, ISSUER);
        eq(issueAs(agent, many(1), 0, 0), uint256(plan) << 32 | 1);
    }

    function test_aFormerLicensorIssuesNothing() external {
        moveTitle(licensor, buyer);
        vm.expectRevert(titleMoved(buyer));
        issueAs(licensor, many(2), 0, 0);
        vm.expectRevert(unauthorized(buyer, ISSUER));
        issueAs(buyer, many(2), 0, 0);
        ledger.syncLicensor(plan);
        vm.expectRevert(unauthorized(licensor, ISSUER));
        issueAs(licensor, many(2), 0, 0);
        eq(issueAs(buyer, many(2), 0, 0), uint256(plan) << 32 | 1);
    }

    // ---------------------------------------------------------------- what is refused

    function test_theWindowIsLookedAtFirst() external {
        vm.expectRevert(window(START, START));
        issueAs(licensor, many(0), START - 1, START);
        issueAs(licensor, many(1), START - 1, START + 1);
        vm.expectRevert(window(START + 9, START + 9));
        issueAs(licensor, many(1), START + 9, START + 9);
        issueAs(licensor, many(1), START + 9, START + 10);
    }

    function test_anIssuerStaysWithinThePlansDuration() external {
        grantRole(plan, agent, ISSUER);
        vm.expectRevert(window(START, START + 30 days + 1));
        issueAs(agent, many(2), 0, START + 30 days + 1);
        issueAs(agent, many(2), 0, START + 30 days);
        vm.expectRevert(window(START + 5, START + 30 days + 6));
        issueAs(agent, many(2), START + 5, START + 30 days + 6);
        issueAs(agent, many(2), START + 5, START + 30 days + 5);
        issueAs(licensor, many(2), 0, PERPETUAL);
    }

    function test_anEmptyBatchIsRefusedPausedOrNot() external {
        vm.expectRevert(ILicenseRecords.BatchEmpty.selector);
        issueAs(licensor, many(0), 0, 0);
        setPaused(true);
        vm.expectRevert(ILicenseRecords.BatchEmpty.selector);
        issueAs(licensor, many(0), 0, 0);
        vm.expectRevert(pausedPlan());
        issueAs(licensor, many(1), 0, 0);
        setPaused(false);
        issueAs(licensor, many(1), 0, 0);
    }

    function test_theSupplySufficesForAllOrNoneIsIssued() external {
        terms.supply = 5;
        plan = newPlan(terms);
        vm.expectRevert(soldOut(5));
        issueAs(licensor, many(6), 0, 0);
        issueAs(licensor, many(3), 0, 0);
        vm.expectRevert(soldOut(5));
        issueAs(licensor, many(3), 0, 0);
        eq(issuedOf(plan), 3);
        eq(issueAs(licensor, many(2), 0, 0), uint256(plan) << 32 | 4);
        vm.expectRevert(soldOut(5));
        issueAs(licensor, many(1), 0, 0);
    }

    function test_serialsNeverWrapIntoTheNextPlan() external {
        setIssued(type(uint32).max - 2);
        vm.expectRevert(soldOut(type(uint32).max));
        issueAs(licensor, many(3), 0, 0);
        eq(issueAs(licensor, many(2), 0, 0), uint256(plan) << 32 | type(uint32).max - 1);
        eq(issuedOf(plan), type(uint32).max);
        vm.expectRevert(soldOut(type(uint32).max));
        issueAs(licensor, many(1), 0, 0);
    }

    function test_aModelThatIsNotActiveIssuesNothing() external {
        for (uint8 i = 2; i <= 3; ++i) {
            setStatus(ModelStatus(i));
            vm.expectRevert(notIssuable(ModelStatus(i)));
            issueAs(licensor, many(2), 0, 0);
        }
        setStatus(ModelStatus.ACTIVE);
        issueAs(licensor, many(2), 0, 0);
    }

    function test_aReceiverWhoIsNobodySpoilsTheWholeBatch() external {
        address[] memory to = many(3);
        to[2] = address(0);
        vm.expectRevert(TO_ZERO);
        issueAs(licensor, to, 0, 0);
        eq(issuedOf(plan), 0);
        eq(token.balanceOf(to[0]), 0);
        eq(codeOf(uint256(plan) << 32 | 1), 1);
    }

    // ---------------------------------------------------------------- what is issued

    function test_eachReceiverGetsTheNextSerial() external {
        terms.transferable = false;
        plan = newPlan(terms);
        address[] memory to = many(3);
        to[2] = to[0]; // twice
        uint256 first = uint256(plan) << 32 | 1;
        for (uint256 i; i < 3; ++i) {
            vm.expectEmit(true, true, true, true, address(ledger));
            emit Transfer(address(0), to[i], first + i);
            vm.expectEmit(true, true, true, true, address(ledger));
            emit Locked(first + i);
            vm.expectEmit(true, true, true, true, address(ledger));
            emit ILicenseRecords.LicenseIssued(first + i, plan, to[i], START + 1, START + 2);
        }
        eq(issueAs(licensor, to, START + 1, START + 2), first);
        for (uint256 i; i < 3; ++i) {
            eq(token.ownerOf(first + i), to[i]);
            eq(codeAt(first + i, START), 8);
            eq(codeAt(first + i, START + 1), 0);
            eq(codeAt(first + i, START + 2), 4);
        }
        eq(token.balanceOf(to[0]), 2);
        eq(issuedOf(plan), 3);
        eq(newLicense(plan, holder), first + 3);
    }

    function test_noReceiverIsCalled() external {
        address[] memory to = many(2);
        to[1] = address(this); // would revert
        eq(token.ownerOf(issueAs(licensor, to, 0, 0) + 1), address(this));
    }

    uint32 private twin;
    uint40 private from;
    uint40 private until;

    /// On a twin of the plan every license is issued by itself: same answer, same refusal, byte by byte.
    function testFuzz_aBatchIsSoManyIssues(
        uint8 count,
        uint40 notBefore,
        uint40 notAfter,
        uint40 duration,
        uint8 kind,
        bool byRole
    ) external {
        (from, until) = (notBefore, notAfter);
        terms.duration = duration;
        (terms.transferable, terms.floating) = (kind & 1 == 0, kind & 2 == 0);
        terms.quota = kind & 4;
        plan = newPlan(terms);
        twin = newPlan(terms);
        grantRole(plan, agent, ISSUER);
        grantRole(twin, agent, ISSUER);

        address[] memory to = many(1 + count % 6);
        vm.startPrank(byRole ? agent : licensor);
        (bool done, bytes memory said) =
            address(ledger).call(abi.encodeCall(ledger.issueBatch, (plan, to, notBefore, notAfter)));
        for (uint256 i; i < to.length; ++i) {
            isAlike(done, said, i, to[i]);
        }
        eq(issuedOf(plan), done ? to.length : 0);
    }

    function isAlike(bool done, bytes memory said, uint256 i, address to) private {
        (bool alone, bytes memory answer) = address(ledger).call(abi.encodeCall(ledger.issue, (twin, to, from, until)));
        isTrue(alone == done);
        if (!done) {
            eq(keccak256(said), keccak256(answer));
            return;
        }
        eq(abi.decode(answer, (uint256)), uint256(twin) << 32 | i + 1);
        eq(abi.decode(said, (uint256)), uint256(plan) << 32 | 1);
        eq(wordOf(plan, i + 1), wordOf(twin, i + 1));
        eq(recordOf(plan, i + 1), recordOf(twin, i + 1));
    }

    /// @dev The stored word: flags, grace and seats included.
    function wordOf(uint32 planId, uint256 serial) internal view returns (bytes32) {
        uint256 id = uint256(planId) << 32 | serial;
        uint256 slot = 2 * id + uint256(keccak256(abi.encodePacked(bytes28(bytes32(id)), hex"7d882553")));
        return vm.load(address(ledger), bytes32(slot));
    }

    function recordOf(uint32 planId, uint256 serial) internal view returns (bytes32) {
        (, bytes memory record) =
            address(ledger).staticcall(abi.encodeCall(ledger.licenseOf, (uint256(planId) << 32 | serial)));
        return keccak256(record);
    }
}
