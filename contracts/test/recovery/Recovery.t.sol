// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IModelRegistry} from "../../src/interfaces/IModelRegistry.sol";
import {Base} from "../Base.sol";

contract RecoveryTest is Base {
    bytes32 internal id;
    address internal guardian = address(0x60A);

    function setUp() public override {
        super.setUp();
        id = newModel(1);
    }

    function setGuardian(address who, uint40 delay) internal {
        vm.prank(licensor);
        models.setGuardian(id, who, delay);
    }

    function start(address to) internal {
        vm.prank(guardian);
        models.startRecovery(id, to);
    }

    function test_aGuardianIsSetAndRemoved() external {
        vm.expectEmit(true, true, true, true, address(models));
        emit IModelRegistry.GuardianSet(id, guardian, 8 days);
        setGuardian(guardian, 8 days);
        (address account, uint40 delay) = models.guardianOf(id);
        eq(account, guardian);
        eq(delay, 8 days);
        setGuardian(address(0), 9 days);
        (account, delay) = models.guardianOf(id);
        eq(account, address(0));
        eq(delay, 0);
    }

    function test_withoutARecoveryNothingIsVetoed() external {
        vm.recordLogs();
        setGuardian(guardian, 8 days);
        setGuardian(address(0), 0);
        eq(vm.getRecordedLogs().length, 2); // GuardianSet and nothing else
    }

    function testFuzz_aDelayLeavesTimeForAVeto(uint40 delay) external {
        delay = delay % uint40(7 days);
        vm.expectRevert(
            abi.encodeWithSelector(IModelRegistry.ModelGuardianDelayTooShort.selector, delay, uint40(7 days))
        );
        setGuardian(guardian, delay);
    }

    function test_onlyTheHolderNamesAGuardian() external {
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelNotLicensor.selector, id, stranger));
        models.setGuardian(id, stranger, 7 days);
    }

    function test_onlyTheGuardianRecovers() external {
        setGuardian(guardian, 7 days);
        vm.startPrank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelNotGuardian.selector, id, stranger));
        models.startRecovery(id, stranger);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelNotGuardian.selector, id, stranger));
        models.finishRecovery(id);
        vm.stopPrank();
        vm.prank(guardian);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelNoRecovery.selector, id));
        models.finishRecovery(id);
    }

    function test_aRecoveryLeadsSomewhereElse() external {
        setGuardian(guardian, 7 days);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelSelfTransfer.selector, id));
        start(licensor);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelSelfTransfer.selector, id));
        start(address(0));
    }

    function testFuzz_theTitleMovesAfterTheDelayAndNotBefore(uint32 delaySeed) external {
        uint40 delay = 7 days + uint40(delaySeed);
        setGuardian(guardian, delay);
        uint40 readyAt = START + delay;
        vm.expectEmit(true, true, true, true, address(models));
        emit IModelRegistry.RecoveryStarted(id, guardian, buyer, readyAt);
        start(buyer);
        (address to, uint40 ready) = models.recoveryOf(id);
        eq(to, buyer);
        eq(ready, readyAt);

        vm.warp(readyAt - 1);
        vm.prank(guardian);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelRecoveryPending.selector, id, readyAt));
        models.finishRecovery(id);

        vm.warp(readyAt);
        vm.expectEmit(true, true, true, true, address(models));
        emit IModelRegistry.GuardianSet(id, address(0), 0);
        vm.expectEmit(true, true, true, true, address(models));
        emit IModelRegistry.TitleTransferred(id, licensor, buyer, 1);
        vm.prank(guardian);
        models.finishRecovery(id);
        eq(models.licensorOf(id), buyer);
        (to, ready) = models.recoveryOf(id);
        eq(to, address(0));
        (address account,) = models.guardianOf(id);
        eq(account, address(0));
    }

    function test_theHolderVetoes() external {
        setGuardian(guardian, 7 days);
        vm.prank(licensor);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelNoRecovery.selector, id));
        models.vetoRecovery(id);
        start(buyer);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelNotLicensor.selector, id, stranger));
        models.vetoRecovery(id);
        vm.expectEmit(true, true, true, true, address(models));
        emit IModelRegistry.RecoveryVetoed(id, licensor);
        vm.prank(licensor);
        models.vetoRecovery(id);
        vm.warp(START + 30 days);
        vm.prank(guardian);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelNoRecovery.selector, id));
        models.finishRecovery(id);
        eq(models.licensorOf(id), licensor);
    }

    function test_nothingElseMovesWhileARecoveryIsUnderWay() external {
        setGuardian(guardian, 7 days);
        vm.prank(licensor);
        models.proposeTransfer(id, stranger);
        start(buyer);
        bytes memory pending =
            abi.encodeWithSelector(IModelRegistry.ModelRecoveryPending.selector, id, uint40(START + 7 days));
        vm.expectRevert(pending);
        start(stranger);
        vm.prank(licensor);
        vm.expectRevert(pending);
        models.proposeTransfer(id, stranger);
        vm.prank(stranger);
        vm.expectRevert(pending);
        models.acceptTransfer(id);
    }

    function test_theHolderDismissesAHostileGuardianInOneCall() external {
        setGuardian(guardian, 7 days);
        start(buyer);
        vm.expectEmit(true, true, true, true, address(models));
        emit IModelRegistry.RecoveryVetoed(id, licensor);
        vm.expectEmit(true, true, true, true, address(models));
        emit IModelRegistry.GuardianSet(id, address(0), 0);
        setGuardian(address(0), 0);
        (address to,) = models.recoveryOf(id);
        eq(to, address(0));
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelNotGuardian.selector, id, guardian));
        start(buyer);
    }

    function test_aSoldTitleLeavesTheOldGuardianBehind() external {
        setGuardian(guardian, 7 days);
        vm.prank(licensor);
        models.proposeTransfer(id, buyer);
        vm.prank(buyer);
        models.acceptTransfer(id);
        vm.expectRevert(abi.encodeWithSelector(IModelRegistry.ModelNotGuardian.selector, id, guardian));
        start(stranger);
    }
}
