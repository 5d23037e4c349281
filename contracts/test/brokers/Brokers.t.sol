// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IBrokerRegistry} from "../../src/interfaces/IBrokerRegistry.sol";
import {Base} from "../Base.sol";

contract BrokersTest is Base {
    bytes32 internal constant SIGNING = keccak256("signing");
    bytes32 internal constant KEM = keccak256("kem");

    function newBroker() internal returns (uint64) {
        vm.prank(agent);
        return brokers.registerBroker(SIGNING, KEM, "https://broker.example");
    }

    function testFuzz_aBrokerIsRegisteredAndRotated(bytes32 signing, bytes32 kem, string calldata url) external {
        vm.assume(signing != 0 && kem != 0);
        vm.expectEmit(true, true, true, true, address(brokers));
        emit IBrokerRegistry.BrokerRegistered(1, agent);
        vm.expectEmit(true, true, true, true, address(brokers));
        emit IBrokerRegistry.BrokerKeysSet(
            1, 1, SIGNING, KEM, keccak256("https://broker.example"), "https://broker.example"
        );
        eq(newBroker(), 1);
        vm.expectEmit(true, true, true, true, address(brokers));
        emit IBrokerRegistry.BrokerKeysSet(1, 2, signing, kem, keccak256(bytes(url)), url);
        vm.prank(agent);
        brokers.setBrokerKeys(1, signing, kem, url);
        (address operator, uint32 epoch, bytes32 gotSigning, bytes32 gotKem, bytes32 urlHash) = brokers.brokerOf(1);
        eq(operator, agent);
        eq(epoch, 2);
        eq(gotSigning, signing);
        eq(gotKem, kem);
        eq(urlHash, keccak256(bytes(url)));
        eq(newBroker(), 2);
    }

    function test_aBrokerWithoutKeysIsRefused() external {
        vm.expectRevert(abi.encodeWithSelector(IBrokerRegistry.BrokerKeyHashZero.selector));
        brokers.registerBroker(0, KEM, "");
        vm.expectRevert(abi.encodeWithSelector(IBrokerRegistry.BrokerKeyHashZero.selector));
        brokers.registerBroker(SIGNING, 0, "");
        newBroker();
        vm.prank(agent);
        vm.expectRevert(abi.encodeWithSelector(IBrokerRegistry.BrokerKeyHashZero.selector));
        brokers.setBrokerKeys(1, 0, KEM, "");
    }

    function test_onlyTheOperatorActs() external {
        newBroker();
        bytes memory notOperator =
            abi.encodeWithSelector(IBrokerRegistry.BrokerNotOperator.selector, uint64(1), stranger);
        vm.startPrank(stranger);
        vm.expectRevert(notOperator);
        brokers.setBrokerKeys(1, SIGNING, KEM, "");
        vm.expectRevert(notOperator);
        brokers.proposeOperator(1, stranger);
        vm.expectRevert(notOperator);
        brokers.anchorReceipts(1, 1, 0, SIGNING, 1);
        bytes memory unknown = abi.encodeWithSelector(IBrokerRegistry.BrokerUnknown.selector, uint64(9));
        vm.expectRevert(unknown);
        brokers.setBrokerKeys(9, SIGNING, KEM, "");
        vm.expectRevert(unknown);
        brokers.proposeOperator(9, stranger);
        vm.expectRevert(unknown);
        brokers.acceptOperator(9);
        vm.expectRevert(unknown);
        brokers.anchorReceipts(9, 1, 0, SIGNING, 1);
    }

    function testFuzz_aBrokerMovesToWhomItWasOffered(address to, address thief) external {
        vm.assume(to != thief && to != address(0) && to != address(vm) && thief != address(vm));
        newBroker();
        vm.expectEmit(true, true, true, true, address(brokers));
        emit IBrokerRegistry.BrokerOperatorProposed(1, agent, to);
        vm.prank(agent);
        brokers.proposeOperator(1, to);
        vm.prank(thief);
        vm.expectRevert(abi.encodeWithSelector(IBrokerRegistry.BrokerNotPendingOperator.selector, uint64(1), thief));
        brokers.acceptOperator(1);
        vm.expectEmit(true, true, true, true, address(brokers));
        emit IBrokerRegistry.BrokerOperatorChanged(1, agent, to);
        vm.prank(to);
        brokers.acceptOperator(1);
        (address operator,,,,) = brokers.brokerOf(1);
        eq(operator, to);
        vm.prank(to);
        vm.expectRevert(abi.encodeWithSelector(IBrokerRegistry.BrokerNotPendingOperator.selector, uint64(1), to));
        brokers.acceptOperator(1);
    }

    function testFuzz_aSetIsKeptAsMade(uint8 count, uint8 threshold) external {
        uint64[] memory ids = new uint64[](count % 6);
        for (uint256 i; i < ids.length; ++i) {
            ids[i] = newBroker();
        }
        bool refused = threshold == 0 || threshold > ids.length;
        if (refused) {
            vm.expectRevert(
                abi.encodeWithSelector(IBrokerRegistry.BrokerSetThresholdInvalid.selector, threshold, ids.length)
            );
            brokers.createBrokerSet(ids, threshold);
            vm.expectRevert(abi.encodeWithSelector(IBrokerRegistry.BrokerSetUnknown.selector, uint64(1)));
            brokers.brokerSetOf(1);
            return;
        }
        vm.expectEmit(true, true, true, true, address(brokers));
        emit IBrokerRegistry.BrokerSetCreated(1, address(this), threshold, ids);
        eq(brokers.createBrokerSet(ids, threshold), 1);
        eq(brokers.createBrokerSet(ids, threshold), 2);
        (address owner, uint8 gotThreshold, uint64[] memory gotIds) = brokers.brokerSetOf(1);
        eq(owner, address(this));
        eq(gotThreshold, threshold);
        eq(keccak256(abi.encode(gotIds)), keccak256(abi.encode(ids)));
    }

    function test_aSetNamesEachBrokerOnceAndOnlyBrokers() external {
        newBroker();
        newBroker();
        uint64[] memory ids = new uint64[](2);
        ids[0] = 2;
        ids[1] = 1;
        vm.expectRevert(abi.encodeWithSelector(IBrokerRegistry.BrokerSetNotSorted.selector, 1));
        brokers.createBrokerSet(ids, 1);
        ids[1] = 2;
        vm.expectRevert(abi.encodeWithSelector(IBrokerRegistry.BrokerSetNotSorted.selector, 1));
        brokers.createBrokerSet(ids, 1);
        ids[1] = 3;
        vm.expectRevert(abi.encodeWithSelector(IBrokerRegistry.BrokerUnknown.selector, uint64(3)));
        brokers.createBrokerSet(ids, 1);
        ids[0] = 0;
        vm.expectRevert(abi.encodeWithSelector(IBrokerRegistry.BrokerSetNotSorted.selector, 0));
        brokers.createBrokerSet(ids, 1);
        vm.expectRevert(abi.encodeWithSelector(IBrokerRegistry.BrokerSetThresholdInvalid.selector, uint8(1), 256));
        brokers.createBrokerSet(new uint64[](256), 1);
    }

    function anchorAs(address who, uint64 seq, bytes32 prev, bytes32 root, uint64 count) internal {
        vm.prank(who);
        brokers.anchorReceipts(1, seq, prev, root, count);
    }

    function testFuzz_receiptsAreAChain(bytes32 first, bytes32 second, uint64 seq, bytes32 prev) external {
        vm.assume(first != 0 && second != 0 && seq != 2 && prev != first);
        newBroker();
        vm.expectEmit(true, true, true, true, address(brokers));
        emit IBrokerRegistry.ReceiptsAnchored(1, 1, 0, first, 10);
        anchorAs(agent, 1, 0, first, 10);
        vm.expectRevert(
            abi.encodeWithSelector(IBrokerRegistry.BrokerReceiptsOutOfOrder.selector, uint64(1), uint64(2), seq)
        );
        anchorAs(agent, seq, first, second, 1);
        vm.expectRevert(
            abi.encodeWithSelector(IBrokerRegistry.BrokerReceiptsRootMismatch.selector, uint64(1), first, prev)
        );
        anchorAs(agent, 2, prev, second, 1);
        vm.expectRevert(abi.encodeWithSelector(IBrokerRegistry.BrokerReceiptsEmpty.selector, uint64(1)));
        anchorAs(agent, 2, first, second, 0);
        vm.expectRevert(abi.encodeWithSelector(IBrokerRegistry.BrokerReceiptsEmpty.selector, uint64(1)));
        anchorAs(agent, 2, first, 0, 1);
        anchorAs(agent, 2, first, second, 1);
        (uint64 last, bytes32 root) = brokers.receiptsOf(1);
        eq(last, 2);
        eq(root, second);
    }
}
