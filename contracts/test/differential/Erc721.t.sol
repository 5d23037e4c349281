// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Base} from "../Base.sol";
import {NonReceiver, Receiver, RefusingReceiver, RevertingReceiver, SilentlyRevertingReceiver} from "./Receivers.sol";

interface IOperators {
    function isApprovedForAll(address owner, address operator) external view returns (bool);
}

/// @notice The behaviours that OpenZeppelin's own ERC-721 tests ask of a token, in their order, one test each.
contract Erc721Test is Base {
    event Transfer(address indexed from, address indexed to, uint256 indexed id);
    event Approval(address indexed owner, address indexed account, uint256 indexed id);
    event ApprovalForAll(address indexed owner, address indexed operator, bool approved);
    event Received(address operator, address from, uint256 id, bytes data);

    bytes4 internal constant NO_TOKEN = 0xceea21b6; // TokenDoesNotExist()
    bytes4 internal constant NOT_ALLOWED = 0x4b6e7f18; // NotOwnerNorApproved()
    bytes4 internal constant WRONG_FROM = 0xa1148100; // TransferFromIncorrectOwner()
    bytes4 internal constant TO_ZERO = 0xea553b34; // TransferToZeroAddress()
    bytes4 internal constant NO_RECEIVER = 0xd1a57ed6; // TransferToNonERC721ReceiverImplementer()
    bytes4 internal constant ZERO_OWNER = 0x8f4eb604; // BalanceQueryForZeroAddress()

    uint32 internal plan;
    uint256 internal first;
    uint256 internal second;
    uint256 internal none;
    address internal operator = address(0x10005);
    IOperators internal operators;

    function setUp() public override {
        super.setUp();
        plan = newPlan();
        first = newLicense(plan, holder);
        second = newLicense(plan, holder);
        none = second + 1;
        operators = IOperators(address(token));
        vm.startPrank(holder);
        token.approve(agent, first);
        token.setApprovalForAll(operator, true);
        vm.stopPrank();
    }

    // ---------------------------------------------------------------- balanceOf, ownerOf

    function test_theBalanceOfAHolderIsTheNumberOfItsTokens() external view {
        eq(token.balanceOf(holder), 2);
    }

    function test_theBalanceOfAnyoneElseIsZero() external view {
        eq(token.balanceOf(stranger), 0);
    }

    function test_addressZeroHasNoBalance() external {
        vm.expectRevert(ZERO_OWNER);
        token.balanceOf(address(0));
    }

    function test_aTokenHasAnOwner() external view {
        eq(token.ownerOf(first), holder);
    }

    function testFuzz_whatWasNotMintedHasNoOwner(uint256 id) external {
        vm.assume(id != first && id != second);
        vm.expectRevert(NO_TOKEN);
        token.ownerOf(id);
    }

    // ---------------------------------------------------------------- transfers, three ways

    function move(uint256 way, address by, address from, address to, uint256 id) internal {
        bytes memory call_ = callOf(way, from, to, id);
        vm.prank(by);
        (bool ok, bytes memory why) = address(token).call(call_);
        if (ok) return;
        assembly {
            revert(add(why, 32), mload(why))
        }
    }

    function callOf(uint256 way, address from, address to, uint256 id) internal pure returns (bytes memory) {
        if (way % 3 == 0) return abi.encodeWithSignature("transferFrom(address,address,uint256)", from, to, id);
        if (way % 3 == 1) return abi.encodeWithSignature("safeTransferFrom(address,address,uint256)", from, to, id);
        return
            abi.encodeWithSignature("safeTransferFrom(address,address,uint256,bytes)", from, to, id, bytes("the data"));
    }

    function moves(uint256 way, address by) internal {
        vm.expectEmit(true, true, true, true, address(token));
        emit Transfer(holder, buyer, first);
        move(way, by, holder, buyer, first);
        eq(token.ownerOf(first), buyer);
        eq(token.getApproved(first), address(0));
        eq(token.balanceOf(holder), 1);
        eq(token.balanceOf(buyer), 1);
        eq(token.ownerOf(second), holder);
    }

    function testFuzz_theOwnerTransfers(uint8 way) external {
        moves(way, holder);
    }

    function testFuzz_theApprovedTransfers(uint8 way) external {
        moves(way, agent);
    }

    function testFuzz_anOperatorTransfers(uint8 way) external {
        moves(way, operator);
    }

    function testFuzz_anOperatorTransfersWithoutAnyoneApproved(uint8 way) external {
        vm.prank(holder);
        token.approve(address(0), first);
        moves(way, operator);
    }

    function testFuzz_aTransferToTheOwnerKeepsOwnershipAndClearsTheApproval(uint8 way) external {
        vm.expectEmit(true, true, true, true, address(token));
        emit Transfer(holder, holder, first);
        move(way, holder, holder, holder, first);
        eq(token.ownerOf(first), holder);
        eq(token.getApproved(first), address(0));
        eq(token.balanceOf(holder), 2);
    }

    function testFuzz_aTransferFromSomeoneElseIsRefused(uint8 way) external {
        vm.expectRevert(WRONG_FROM);
        this.tryMove(way, holder, stranger, buyer, first);
    }

    function testFuzz_aTransferByAStrangerIsRefused(uint8 way) external {
        vm.expectRevert(NOT_ALLOWED);
        this.tryMove(way, stranger, holder, buyer, first);
    }

    function testFuzz_theApprovedOfOneTokenDoesNotMoveAnother(uint8 way) external {
        vm.expectRevert(NOT_ALLOWED);
        this.tryMove(way, agent, holder, buyer, second);
    }

    function testFuzz_whatWasNotMintedDoesNotMove(uint8 way) external {
        vm.expectRevert(NO_TOKEN);
        this.tryMove(way, holder, holder, buyer, none);
    }

    function testFuzz_noTransferToAddressZero(uint8 way) external {
        vm.expectRevert(TO_ZERO);
        this.tryMove(way, holder, holder, address(0), first);
    }

    function testFuzz_aFormerOwnerDoesNotMoveIt(uint8 way) external {
        move(way, holder, holder, buyer, first);
        vm.expectRevert(WRONG_FROM);
        this.tryMove(way, holder, holder, stranger, first);
        vm.expectRevert(NOT_ALLOWED);
        this.tryMove(way, holder, buyer, stranger, first);
        vm.expectRevert(NOT_ALLOWED);
        this.tryMove(way, operator, buyer, stranger, first);
    }

    function tryMove(uint256 way, address by, address from, address to, uint256 id) external {
        move(way, by, from, to, id);
    }

    // ---------------------------------------------------------------- safe transfers

    function testFuzz_aReceiverIsToldByWhomFromWhomAndWhat(bool withData, uint8 by) external {
        Receiver receiver = new Receiver();
        address sender = [holder, agent, operator][by % 3];
        vm.expectEmit(true, true, true, true, address(receiver));
        emit Received(sender, holder, first, withData ? bytes("the data") : bytes(""));
        move(withData ? 2 : 1, sender, holder, address(receiver), first);
        eq(token.ownerOf(first), address(receiver));
    }

    function testFuzz_aReceiverGetsWhateverDataThereIs(bytes calldata data) external {
        Receiver receiver = new Receiver();
        vm.expectEmit(true, true, true, true, address(receiver));
        emit Received(holder, holder, first, data);
        vm.prank(holder);
        (bool ok,) = address(token)
            .call(
                abi.encodeWithSignature(
                    "safeTransferFrom(address,address,uint256,bytes)", holder, address(receiver), first, data
                )
            );
        isTrue(ok);
    }

    function test_aPlainTransferTellsAReceiverNothing() external {
        Receiver receiver = new Receiver();
        vm.recordLogs();
        move(0, holder, holder, address(receiver), first);
        eq(vm.getRecordedLogs().length, 2); // Transfer and GrantsCancelled
    }

    function test_aPlainTransferGoesToAnyContract() external {
        address to = address(new NonReceiver());
        move(0, holder, holder, to, first);
        eq(token.ownerOf(first), to);
    }

    function test_aReceiverWithAnotherAnswerIsRefused() external {
        address to = address(new RefusingReceiver());
        for (uint256 way = 1; way <= 2; ++way) {
            vm.expectRevert(NO_RECEIVER);
            this.tryMove(way, holder, holder, to, first);
        }
    }

    function test_theErrorOfAReceiverComesThrough() external {
        address to = address(new RevertingReceiver());
        for (uint256 way = 1; way <= 2; ++way) {
            vm.expectRevert(abi.encodeWithSelector(RevertingReceiver.NotToday.selector, first));
            this.tryMove(way, holder, holder, to, first);
        }
    }

    function test_aReceiverThatRevertsWithoutAWordIsRefused() external {
        address to = address(new SilentlyRevertingReceiver());
        for (uint256 way = 1; way <= 2; ++way) {
            vm.expectRevert(NO_RECEIVER);
            this.tryMove(way, holder, holder, to, first);
        }
    }

    function test_aContractThatIsNoReceiverIsRefused() external {
        address to = address(new NonReceiver());
        for (uint256 way = 1; way <= 2; ++way) {
            vm.expectRevert(NO_RECEIVER);
            this.tryMove(way, holder, holder, to, first);
        }
    }

    // ---------------------------------------------------------------- approve

    function approves(address by, address account, uint256 id) internal {
        vm.expectEmit(true, true, true, true, address(token));
        emit Approval(holder, account, id);
        vm.prank(by);
        token.approve(account, id);
        eq(token.getApproved(id), account);
    }

    function test_anApprovalIsClearedWithoutOneBefore() external {
        approves(holder, address(0), second);
    }

    function test_anApprovalIsClearedWithOneBefore() external {
        approves(holder, address(0), first);
    }

    function test_anAccountIsApprovedWithoutOneBefore() external {
        approves(holder, stranger, second);
    }

    function test_theSameAccountIsApprovedAgain() external {
        approves(holder, agent, first);
    }

    function test_anotherAccountIsApprovedInItsPlace() external {
        approves(holder, stranger, first);
        vm.expectRevert(NOT_ALLOWED);
        this.tryMove(0, agent, holder, buyer, first);
    }

    function test_anOperatorApproves() external {
        approves(operator, stranger, first);
    }

    function test_theOwnerApprovesItself() external {
        approves(holder, holder, first);
    }

    function test_aStrangerDoesNotApprove() external {
        vm.prank(stranger);
        vm.expectRevert(NOT_ALLOWED);
        token.approve(stranger, first);
    }

    function test_theApprovedDoesNotApprove() external {
        vm.prank(agent);
        vm.expectRevert(NOT_ALLOWED);
        token.approve(stranger, first);
    }

    function test_whatWasNotMintedIsNotApproved() external {
        vm.prank(operator);
        vm.expectRevert(NO_TOKEN);
        token.approve(stranger, none);
    }

    // ---------------------------------------------------------------- setApprovalForAll, getApproved

    function operates(address account, bool approved) internal {
        vm.expectEmit(true, true, true, true, address(token));
        emit ApprovalForAll(holder, account, approved);
        vm.prank(holder);
        token.setApprovalForAll(account, approved);
        isTrue(operators.isApprovedForAll(holder, account) == approved);
    }

    function test_anOperatorIsMade() external {
        isFalse(operators.isApprovedForAll(holder, stranger));
        operates(stranger, true);
    }

    function test_anOperatorIsMadeTwice() external {
        operates(operator, true);
    }

    function test_anOperatorIsUnmade() external {
        operates(operator, false);
        vm.expectRevert(NOT_ALLOWED);
        this.tryMove(0, operator, holder, buyer, second);
    }

    function test_anOperatorIsUnmadeWithoutHavingBeenOne() external {
        operates(stranger, false);
    }

    function test_theOwnerIsItsOwnOperator() external {
        operates(holder, true);
    }

    function test_anOperatorIsOneOwnersOnly() external {
        isFalse(operators.isApprovedForAll(operator, holder));
        uint256 other = newLicense(plan, buyer);
        vm.expectRevert(NOT_ALLOWED);
        this.tryMove(0, operator, buyer, stranger, other);
    }

    function test_whatWasNotMintedHasNobodyApproved() external {
        vm.expectRevert(NO_TOKEN);
        token.getApproved(none);
    }

    function test_nobodyIsApprovedFromTheStart() external view {
        eq(token.getApproved(second), address(0));
    }

    function test_theApprovedIsTold() external view {
        eq(token.getApproved(first), agent);
    }

    // ---------------------------------------------------------------- mint

    function test_aMintIsATransferFromZero() external {
        vm.expectEmit(true, true, true, true, address(token));
        emit Transfer(address(0), buyer, none);
        eq(newLicense(plan, buyer), none);
        eq(token.ownerOf(none), buyer);
        eq(token.balanceOf(buyer), 1);
    }

    function test_noMintToAddressZero() external {
        vm.prank(licensor);
        vm.expectRevert(TO_ZERO);
        ledger.issue(plan, address(0), 0, 0);
    }
}
