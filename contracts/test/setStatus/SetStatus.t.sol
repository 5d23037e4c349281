// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IModelRegistry, ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Base} from "../Base.sol";

contract SetStatusTest is Base {
    bytes32 internal id;

    function setUp() public override {
        super.setUp();
        id = newModel(1);
    }

    function set(address who, ModelStatus status) internal {
        vm.prank(who);
        models.setStatus(id, status);
    }

    function test_onlyTheHolderSetsIt() external {
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelNotLicensor.selector, id, stranger));
        set(stranger, ModelStatus.WITHDRAWN);
    }

    function testFuzz_anyOfTheThreeFollowsAnyOther(uint8 fromSeed, uint8 toSeed) external {
        ModelStatus from = ModelStatus(1 + fromSeed % 3);
        ModelStatus to = ModelStatus(toSeed % 4);
        if (from != ModelStatus.ACTIVE) set(licensor, from);
        if (to == ModelStatus.NONE || to == from) {
            vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelStatusForbidden.selector, id, from, to));
            set(licensor, to);
            return;
        }
        vm.expectEmit(true, true, true, true, address(models));
        emit IModelRegistry.ModelStatusSet(id, to);
        set(licensor, to);
        (address owner, uint40 registeredAt, uint40 committedAt, ModelStatus status, bool proven) = models.modelOf(id);
        isTrue(status == to);
        eq(owner, licensor);
        eq(registeredAt, START);
        eq(committedAt, START);
        isFalse(proven);
    }
}
