// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {Voucher} from "../../src/interfaces/LicenseTypes.sol";
import {Vouchers} from "./Vouchers.sol";
import {Mute, Wallet} from "./Wallets.sol";

/// @notice Whose signature opens a voucher, and which voucher it opens.
contract SignaturesTest is Vouchers {
    // ---------------------------------------------------------------- what was signed

    /// Each change passes every other check, so that the signature alone must refuse it.
    function test_everyFieldIsSigned() external {
        grantRole(plan, agent, ISSUER);
        uint32 twin = newPlan(terms); // the same terms: the same digest
        Voucher memory voucher = newVoucher();
        (voucher.market, voucher.price) = (stranger, 1 ether);
        bytes memory signature = signed(LICENSOR_KEY, voucher);
        for (uint256 field; field < 11; ++field) {
            Voucher memory forged = newVoucher();
            (forged.market, forged.price) = (stranger, 1 ether);
            address sender = stranger;
            if (field == 0) forged.signer = agent;
            if (field == 1) forged.planId = twin;
            if (field == 2) forged.to = stranger;
            if (field == 3) sender = forged.market = holder;
            if (field == 4) forged.notBefore = 1;
            if (field == 5) forged.notAfter = START + 1;
            if (field == 6) forged.payToken = address(1);
            if (field == 7) forged.price = 0;
            if (field == 8) forged.extHash = 0;
            if (field == 9) forged.nonce = 1;
            if (field == 10) forged.deadline = START + 1;
            vm.expectRevert(notSigned(forged.signer));
            redeemAs(sender, forged, signature);
        }
        redeemAs(stranger, voucher, signature);

        // Signed for another digest, and then given the right one.
        voucher.nonce = 1;
        voucher.planDigest = keccak256("another");
        signature = signed(LICENSOR_KEY, voucher);
        voucher.planDigest = planDigest();
        isRefused(notSigned(licensor), voucher, signature);
    }

    /// Any voucher the signer did sign, and any other one: the signature opens the first alone.
    function testFuzz_aSignatureOpensOneVoucher(Voucher memory other, uint16 kept) external {
        Voucher memory voucher = newVoucher();
        bytes memory signature = signed(LICENSOR_KEY, voucher);
        if (kept & 1 != 0) other.to = voucher.to;
        if (kept & 2 != 0) other.notBefore = voucher.notBefore;
        if (kept & 4 != 0) other.notAfter = voucher.notAfter;
        if (kept & 8 != 0) other.payToken = voucher.payToken;
        if (kept & 16 != 0) other.extHash = voucher.extHash;
        if (kept & 32 != 0) other.nonce = voucher.nonce;
        if (kept & 64 != 0) (other.market, other.price) = (address(0), 0);
        if (kept & 128 != 0 || other.deadline < START) other.deadline = voucher.deadline;
        (other.signer, other.planId, other.planDigest) = (licensor, plan, voucher.planDigest);
        vm.assume(keccak256(abi.encode(other)) != keccak256(abi.encode(voucher)));
        vm.assume(other.market != address(vm) && (other.market != address(0) || other.price == 0));
        vm.expectRevert(notSigned(licensor));
        redeemAs(other.market, other, signature);
    }

    function test_aVoucherOfAnotherDomainIsRefused() external {
        Voucher memory voucher = newVoucher();
        bytes32[6] memory foreign = [
            domainOf("modeldeed ModelRegistry", "1", block.chainid, address(ledger)),
            domainOf("modeldeed LicenseLedger", "2", block.chainid, address(ledger)),
            domainOf("modeldeed LicenseLedger", "1", block.chainid + 1, address(ledger)),
            domainOf("modeldeed LicenseLedger", "1", block.chainid, address(models)),
            domainOf("modeldeed LicenseLedger", "1", block.chainid, ledger.extension()),
            bytes32(0)
        ];
        for (uint256 i; i < 6; ++i) {
            isRefused(notSigned(licensor), voucher, signed(LICENSOR_KEY, digestOf(foreign[i], voucher)));
        }
    }

    function test_aForkOfTheChainTakesNoVoucherOfTheFirst() external {
        Voucher memory voucher = newVoucher();
        bytes memory signature = signed(LICENSOR_KEY, voucher);
        vm.chainId(block.chainid + 1);
        isRefused(notSigned(licensor), voucher, signature);
        redeem(voucher); // signed for the fork
    }

    function test_theSignatureIsTheSignersInOneOfTwoForms() external {
        Voucher memory voucher = newVoucher();
        bytes memory signature = signed(LICENSOR_KEY, voucher);
        isRefused(notSigned(licensor), voucher, signed(AGENT_KEY, voucher));
        isRefused(notSigned(licensor), voucher, "");
        isRefused(notSigned(licensor), voucher, new bytes(65));
        isRefused(notSigned(licensor), voucher, abi.encodePacked(signature, hex"00"));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(LICENSOR_KEY, digestOf(domain(), voucher));
        isRefused(notSigned(licensor), voucher, abi.encodePacked(r, s, v - 27));
        isRefused(notSigned(licensor), voucher, abi.encodePacked(r, s, 55 - v));
        redeemAs(stranger, voucher, abi.encodePacked(r, bytes32(uint256(s) | uint256(v - 27) << 255))); // EIP-2098
        isRefused(nonceSpent(licensor, 0), voucher, signature); // the other form is no second voucher
    }

    function test_thePlanIsTheOneThatWasSigned() external {
        Voucher memory voucher = newVoucher();
        voucher.planDigest = 0;
        isRefused(
            abi.encodeWithSelector(ILicenseRecords.VoucherPlanChanged.selector, plan, planDigest(), bytes32(0)), voucher
        );
        // A plan of other terms under the same model.
        terms.price += 1;
        bytes32 old = planDigest();
        plan = newPlan(terms);
        voucher.planId = plan;
        voucher.planDigest = old;
        isRefused(abi.encodeWithSelector(ILicenseRecords.VoucherPlanChanged.selector, plan, planDigest(), old), voucher);
    }

    // ---------------------------------------------------------------- contract wallets

    function walletAs(uint8 roles) internal returns (Wallet wallet) {
        wallet = new Wallet();
        grantRole(plan, address(wallet), roles);
    }

    function test_aContractWalletSigns() external {
        Wallet wallet = walletAs(ISSUER);
        Voucher memory voucher = newVoucher();
        voucher.signer = address(wallet);
        isRefused(notSigned(address(wallet)), voucher, "signature");
        wallet.accept(digestOf(domain(), voucher));
        isRefused(notSigned(address(wallet)), voucher, "another");
        isRefused(notSigned(address(wallet)), voucher, "");
        redeemAs(stranger, voucher, "signature");
        eq(ledger.noncesSpent(address(wallet), 0), 1);
        eq(ledger.noncesSpent(licensor, 0), 0);
        isRefused(nonceSpent(address(wallet), 0), voucher, "signature");
    }

    function test_aContractWalletThatHoldsTheTitleSigns() external {
        Wallet wallet = new Wallet();
        moveTitle(licensor, address(wallet));
        ledger.syncLicensor(plan);
        Voucher memory voucher = newVoucher();
        (voucher.signer, voucher.notAfter) = (address(wallet), PERPETUAL);
        wallet.accept(digestOf(domain(), voucher));
        eq(endOf(redeemAs(stranger, voucher, "signature")), PERPETUAL);
    }

    /// What a wallet has signed it can take back: it is asked at redemption.
    function test_aWalletThatChangesItsMindIsHeard() external {
        Wallet wallet = walletAs(ISSUER);
        Voucher memory voucher = newVoucher();
        voucher.signer = address(wallet);
        wallet.accept(digestOf(domain(), voucher));
        redeemAs(stranger, voucher, "signature");
        voucher.nonce = 1;
        wallet.accept(digestOf(domain(), voucher));
        wallet.accept(0);
        isRefused(notSigned(address(wallet)), voucher, "signature");
        wallet.accept(digestOf(domain(), voucher));
        redeemAs(stranger, voucher, "signature");
    }

    function test_onlyTheWholeRightWordIsAYes() external {
        Wallet wallet = walletAs(ISSUER);
        Voucher memory voucher = newVoucher();
        voucher.signer = address(wallet);
        for (uint8 mood = 1; mood <= uint8(Wallet.Mood.HUGE_WRONG); ++mood) {
            wallet.turn(Wallet.Mood(mood));
            if (Wallet.Mood(mood) == Wallet.Mood.HUGE) continue;
            isRefused(notSigned(address(wallet)), voucher, "signature");
            isRefused(notSigned(address(wallet)), voucher, signed(LICENSOR_KEY, voucher));
        }
        eq(ledger.noncesSpent(address(wallet), 0), 0);
        wallet.turn(Wallet.Mood.HUGE); // nobody copies what follows the first word
        redeemAs(stranger, voucher, "signature");
    }

    function test_aContractThatDoesNotSignIsRefused() external {
        address mute = address(new Mute());
        grantRole(plan, mute, ISSUER);
        Voucher memory voucher = newVoucher();
        voucher.signer = mute;
        isRefused(notSigned(mute), voucher, signed(LICENSOR_KEY, voucher));
    }

    /// A voucher with bits beyond its types hashes as nothing that anyone signed, and is not even read.
    function test_noFieldIsWiderThanItsType() external {
        Voucher memory voucher = newVoucher();
        bytes memory signature = signed(LICENSOR_KEY, voucher);
        uint256[7] memory narrow = [uint256(0), 1, 2, 3, 4, 5, 11];
        for (uint256 i; i < 7; ++i) {
            bytes memory call_ = abi.encodeCall(ledger.redeem, (voucher, signature));
            call_[4 + 32 * narrow[i]] = 0x01;
            (bool ok, bytes memory said) = address(ledger).call(call_);
            isFalse(ok);
            eq(said.length, 0);
        }
        redeemAs(stranger, voucher, signature);
    }

    /// Recovery answers zero when a signature is garbage; zero must never be a signer.
    function test_garbageIsNotTheSignatureOfNobody() external {
        Voucher memory voucher = newVoucher();
        voucher.signer = address(0);
        isRefused(notIssuer(address(0)), voucher, new bytes(65));
        grantRole(plan, address(0), ISSUER);
        isRefused(notSigned(address(0)), voucher, new bytes(65));
        isRefused(notSigned(address(0)), voucher, new bytes(64));
        isRefused(notSigned(address(0)), voucher, "");
    }
}
