// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IModelRegistry, ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Base} from "../Base.sol";

contract TransferTitleTest is Base {
    bytes32 internal id;

    function setUp() public override {
        super.setUp();
        id = newModel(1);
    }

    function propose(address from, address to) internal {
        vm.prank(from);
        models.proposeTransfer(id, to);
    }

    function test_onlyTheHolderOffers() external {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelNotLicensor.selector, id, stranger));
        propose(stranger, buyer);
        id = keccak256("nobody's");
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelUnknown.selector, id));
        propose(licensor, buyer);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelUnknown.selector, id));
        models.acceptTransfer(id);
    }

    function test_nobodyOffersToHimself() external {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelSelfTransfer.selector, id));
        propose(licensor, licensor);
    }

    function testFuzz_theTitleMovesOnlyToWhomItWasOffered(address to, address thief) external {
        vm.assume(to != licensor && to != address(0) && thief != to && to != address(vm) && thief != address(vm));
        vm.expectEmit(true, true, true, true, address(models));
        emit IModelRegistry.TitleTransferProposed(id, licensor, to);
        propose(licensor, to);
        eq(models.pendingLicensorOf(id), to);
        eq(models.licensorOf(id), licensor);

        vm.prank(thief);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelNotPendingLicensor.selector, id, thief));
        models.acceptTransfer(id);

        vm.expectEmit(true, true, true, true, address(models));
        emit IModelRegistry.TitleTransferred(id, licensor, to, 1);
        vm.prank(to);
        models.acceptTransfer(id);
        (address owner, uint40 registeredAt, uint40 committedAt, ModelStatus status, bool proven) = models.modelOf(id);
        eq(owner, to);
        eq(registeredAt, START);
        eq(committedAt, START);
        isTrue(status == ModelStatus.ACTIVE);
        isFalse(proven);
        eq(models.pendingLicensorOf(id), address(0));
        eq(models.titleSequenceOf(id), 1);

        vm.prank(to);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelNotPendingLicensor.selector, id, to));
        models.acceptTransfer(id);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelNotLicensor.selector, id, licensor));
        propose(licensor, buyer);
    }

    function test_anOfferIsWithdrawn() external {
        propose(licensor, buyer);
        propose(licensor, address(0));
        vm.prank(buyer);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelNotPendingLicensor.selector, id, buyer));
        models.acceptTransfer(id);
    }

    function test_theSequenceCountsEveryMove() external {
        propose(licensor, buyer);
        vm.prank(buyer);
        models.acceptTransfer(id);
        propose(buyer, licensor);
        vm.prank(licensor);
        models.acceptTransfer(id);
        eq(models.titleSequenceOf(id), 2);
        eq(models.licensorOf(id), licensor);
    }
}
