// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {LicenseStatus, PlanState, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Base} from "../Base.sol";

contract IssueTest is Base {
    event Locked(uint256 tokenId);
    event Transfer(address indexed from, address indexed to, uint256 indexed id);

    PlanTerms internal terms;
    uint32 internal plan;

    function setUp() public override {
        super.setUp();
        terms = termsOf(newModel(1));
        plan = newPlan(terms);
    }

    function issueAs(address who, uint40 notBefore, uint40 notAfter) internal returns (uint256) {
        vm.prank(who);
        return ledger.issue(plan, holder, notBefore, notAfter);
    }

    function test_aStrangerCannotIssue() external {
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, stranger, ISSUER));
        issueAs(stranger, 0, 0);
    }

    function test_aLicenseIsMintedToItsHolder() external {
        uint256 id = uint256(plan) << 32 | 1;
        vm.expectEmit(true, true, true, true, address(ledger));
        emit Transfer(address(0), holder, id);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.LicenseIssued(id, plan, holder, START, START + 30 days);
        eq(issueAs(licensor, 0, 0), id);
        eq(issueAs(licensor, 0, 0), id + 1);
        eq(token.ownerOf(id), holder);
        eq(token.balanceOf(holder), 2);
        (, PlanState memory state) = ledger.planOf(plan);
        eq(state.issued, 2);
        (
            address owner,
            uint40 notBefore,
            uint40 notAfter,
            LicenseStatus status,
            uint16 seats,
            uint64 nonce,
            uint40 suspendedAt
        ) = ledger.licenseOf(id);
        eq(owner, holder);
        eq(notBefore, 0);
        eq(notAfter, START + 30 days);
        isTrue(status == LicenseStatus.ACTIVE);
        eq(seats, 0);
        eq(nonce, 0);
        eq(suspendedAt, 0);
        isFalse(ledger.locked(id));
    }

    /// What the window is, for any plan duration and any two times, said once more in plain arithmetic.
    function testFuzz_theWindowIsWhatThePlanAndTheCallerSay(
        uint40 duration,
        uint40 notBefore,
        uint40 notAfter,
        bool byRole
    ) external {
        terms.duration = duration;
        plan = newPlan(terms);
        grantRole(plan, agent, ISSUER);
        uint256 start = notBefore > START ? notBefore : START;
        uint256 longest = duration == 0 ? PERPETUAL : start + duration;
        if (longest > PERPETUAL) longest = PERPETUAL;
        uint256 end = notAfter == 0 ? longest : notAfter;
        bool refused = end <= start || (byRole && end > longest);
        if (refused) {
            vm.expectRevert(
                abi.encodeWithSelector(ILicenseRecords.LicenseWindowInvalid.selector, uint40(start), uint40(end))
            );
        }
        uint256 id = issueAs(byRole ? agent : licensor, notBefore, notAfter);
        if (refused) return;
        (, uint40 storedStart, uint40 storedEnd,,,,) = ledger.licenseOf(id);
        eq(storedEnd, end);
        eq(storedStart, start > START ? start : 0);
        if (start > START) eq(codeAt(id, uint40(start) - 1), 8);
        eq(codeAt(id, uint40(start)), 0);
        eq(codeAt(id, uint40(end) - 1), 0);
        eq(codeAt(id, uint40(end)), 4);
    }

    function testFuzz_noMoreThanTheSupply(uint8 supply) external {
        supply = 1 + supply % 20;
        terms.supply = supply;
        plan = newPlan(terms);
        for (uint256 i; i < supply; ++i) {
            issueAs(licensor, 0, 0);
        }
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanSupplyExceeded.selector, plan, uint32(supply)));
        issueAs(licensor, 0, 0);
    }

    function test_serialsNeverWrapIntoTheNextPlan() external {
        bytes32 slot = keccak256(abi.encode(uint256(plan), uint256(1)));
        uint256 word = uint256(vm.load(address(ledger), slot));
        vm.store(address(ledger), slot, bytes32(word | uint256(type(uint32).max - 1) << 160));
        eq(issueAs(licensor, 0, 0), uint256(plan) << 32 | type(uint32).max);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanSupplyExceeded.selector, plan, type(uint32).max));
        issueAs(licensor, 0, 0);
    }

    function test_aModelThatIsNotActiveIssuesNothingAndItsLicensesLiveOn() external {
        uint256 id = issueAs(licensor, 0, 0);
        for (uint8 status = 2; status <= 3; ++status) {
            vm.prank(licensor);
            models.setStatus(terms.modelId, ModelStatus(status));
            vm.expectRevert(
                abi.encodeWithSelector(ILicenseRecords.PlanModelNotIssuable.selector, terms.modelId, status)
            );
            issueAs(licensor, 0, 0);
            eq(codeOf(id), 0);
        }
        vm.prank(licensor);
        models.setStatus(terms.modelId, ModelStatus.ACTIVE);
        issueAs(licensor, 0, 0);
    }

    function test_aLockedPlanSaysSoWhenItIssues() external {
        terms.transferable = false;
        plan = newPlan(terms);
        uint256 id = uint256(plan) << 32 | 1;
        vm.expectEmit(true, true, true, true, address(ledger));
        emit Locked(id);
        issueAs(licensor, 0, 0);
        isTrue(ledger.locked(id));
    }

    function test_nobodyIsNoHolder() external {
        vm.prank(licensor);
        vm.expectRevert();
        ledger.issue(plan, address(0), 0, 0);
    }

    function test_aReceiverIsNotCalled() external {
        vm.prank(licensor);
        uint256 id = ledger.issue(plan, address(this), 0, 0); // this contract would revert
        eq(token.ownerOf(id), address(this));
    }
}
