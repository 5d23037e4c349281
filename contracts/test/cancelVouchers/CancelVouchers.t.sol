// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {Voucher} from "../../src/interfaces/LicenseTypes.sol";
import {Vouchers} from "../redeem/Vouchers.sol";

contract CancelVouchersTest is Vouchers {
    bytes32 internal constant BIND_TYPEHASH = keccak256(
        "BindRuntime(uint256 licenseId,bytes32 runtimeKey,uint40 until,bytes20 measurement,uint64 grantNonce,uint256 nonce,uint40 deadline)"
    );
    bytes32 internal constant KEY = keccak256("key");

    function cancelAs(address who, uint256 word, uint256 mask) internal {
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.NoncesCancelled(who, word, mask);
        vm.prank(who);
        ledger.cancelVouchers(word, mask);
    }

    function isSpent(Voucher memory voucher) internal {
        bytes memory signature = signed(LICENSOR_KEY, voucher);
        vm.expectRevert(nonceSpent(licensor, voucher.nonce));
        ledger.redeem(voucher, signature);
    }

    function bind(uint256 id, uint256 nonce) internal {
        bytes32 message = keccak256(abi.encode(BIND_TYPEHASH, id, KEY, 0, bytes20(0), 0, nonce, START));
        bytes memory signature = signed(AGENT_KEY, keccak256(abi.encodePacked(hex"1901", domain(), message)));
        ledger.bindRuntimeBySig(id, KEY, 0, 0, nonce, START, signature);
    }

    function test_aCancelledVoucherIsSpent() external {
        Voucher memory voucher = newVoucher();
        uint256[3] memory nonces = [uint256(0), 255, 300];
        cancelAs(licensor, 0, 1 << 255 | 1);
        cancelAs(licensor, 1, 1 << 44);
        for (uint256 i; i < 3; ++i) {
            voucher.nonce = nonces[i];
            isSpent(voucher);
        }
        uint256[4] memory others = [uint256(1), 254, 256, 44];
        for (uint256 i; i < 4; ++i) {
            voucher.nonce = others[i];
            ledger.redeem(voucher, signed(LICENSOR_KEY, voucher));
        }
        eq(token.balanceOf(buyer), 4);
    }

    function test_nobodyCancelsForAnother() external {
        grantRole(plan, agent, 15);
        cancelAs(agent, 0, type(uint256).max);
        cancelAs(stranger, 0, type(uint256).max);
        Voucher memory voucher = newVoucher();
        ledger.redeem(voucher, signed(LICENSOR_KEY, voucher));
        voucher.signer = agent;
        bytes memory signature = signed(AGENT_KEY, voucher);
        vm.expectRevert(nonceSpent(agent, 0));
        ledger.redeem(voucher, signature);
    }

    function test_nothingIsEverUnspent() external {
        Voucher memory voucher = newVoucher();
        voucher.nonce = 3;
        ledger.redeem(voucher, signed(LICENSOR_KEY, voucher));
        cancelAs(licensor, 0, 0);
        cancelAs(licensor, 0, 8);
        cancelAs(licensor, 0, 5);
        eq(ledger.noncesSpent(licensor, 0), 13);
        isSpent(voucher);
    }

    /// One set of nonces for all that an account signs here.
    function test_vouchersAndBindingsShareTheirNonces() external {
        uint256 id = newLicense(plan, agent);
        bind(id, 7);
        eq(ledger.noncesSpent(agent, 0), 1 << 7);
        grantRole(plan, agent, ISSUER);
        Voucher memory voucher = newVoucher();
        (voucher.signer, voucher.nonce) = (agent, 7);
        bytes memory signature = signed(AGENT_KEY, voucher);
        vm.expectRevert(nonceSpent(agent, 7));
        ledger.redeem(voucher, signature);

        vm.prank(licensor);
        ledger.evictRuntime(id, KEY);
        cancelAs(agent, 0, 1 << 8);
        vm.expectRevert(nonceSpent(agent, 8));
        this.bindAgain(id, 8);
        bind(id, 9);
        eq(seatsOf(id), 1);
    }

    function bindAgain(uint256 id, uint256 nonce) external {
        bind(id, nonce);
    }

    function testFuzz_spentIsTheUnionOfAllMasks(address who, uint256 word, uint256 first, uint256 second) external {
        vm.assume(who != address(vm));
        eq(ledger.noncesSpent(who, word), 0);
        cancelAs(who, word, first);
        eq(ledger.noncesSpent(who, word), first);
        cancelAs(who, word, second);
        eq(ledger.noncesSpent(who, word), first | second);
        unchecked {
            eq(ledger.noncesSpent(who, word + 1), 0);
            eq(ledger.noncesSpent(address(uint160(who) + 1), word), 0);
        }
    }
}
