// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Claim, IModelRegistry} from "../../src/interfaces/IModelRegistry.sol";
import {Base} from "../Base.sol";

contract ConfirmParentTest is Base {
    function test_theParentsHolderConfirms() external {
        bytes32 parent = newModel(1);
        bytes32 other = newModel(2);
        Claim memory child = claimOf(buyer, 3);
        child.parents = new bytes32[](1);
        child.parents[0] = parent;
        bytes32 id = models.modelIdOf(child);

        vm.prank(licensor);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelUnknown.selector, id));
        models.confirmParent(child, parent);
        vm.prank(buyer);
        models.register(child, noProof());
        eq(models.parentConfirmedBy(id, parent), address(0));

        vm.prank(buyer);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelNotLicensor.selector, parent, buyer));
        models.confirmParent(child, parent);
        vm.prank(licensor);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelParentNotDeclared.selector, id, other));
        models.confirmParent(child, other);

        vm.expectEmit(true, true, true, true, address(models));
        emit IModelRegistry.ParentConfirmed(id, parent, licensor);
        vm.prank(licensor);
        models.confirmParent(child, parent);
        eq(models.parentConfirmedBy(id, parent), licensor);
    }
}
