// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseMarket} from "../../../src/interfaces/ILicenseMarket.sol";
import {ILicenseRecords} from "../../../src/interfaces/ILicenseRecords.sol";
import {Voucher} from "../../../src/interfaces/LicenseTypes.sol";
import {MarketBase} from "../MarketBase.sol";

enum Answer {
    YES,
    REVERTS,
    BURNS_GAS,
    A_MEGABYTE,
    WRONG_WORD,
    SHORT,
    CALLS_BACK
}

contract BadSigner {
    ILicenseMarket private immutable market;
    uint256 private immutable licenseId;
    Answer private immutable answer;

    constructor(ILicenseMarket market_, uint256 licenseId_, Answer answer_) {
        (market, licenseId, answer) = (market_, licenseId_, answer_);
    }

    function isValidSignature(bytes32, bytes calldata) external returns (bytes4) {
        if (answer == Answer.REVERTS) revert("no");
        if (answer == Answer.CALLS_BACK) {
            try market.settle{gas: 200_000}(licenseId) {} catch {}
        }
        if (answer == Answer.BURNS_GAS) {
            assembly {
                invalid()
            }
        }
        uint256 word = answer == Answer.WRONG_WORD || answer == Answer.A_MEGABYTE ? 0x1626ba7f : 0x1626ba7e;
        uint256 size = answer == Answer.A_MEGABYTE ? 1_000_000 : answer == Answer.SHORT ? 4 : 32;
        assembly {
            mstore(0, shl(224, word))
            return(0, size)
        }
    }
}

contract SignerAttacksTest is MarketBase {
    uint256 internal open;

    function setUp() public override {
        super.setUp();
        sell(NATIVE, PRICE, WINDOW);
        open = bought();
    }

    function voucherBy(Answer answer) internal returns (Voucher memory voucher) {
        voucher = voucherOf(NATIVE, PRICE);
        voucher.signer = address(new BadSigner(market, open, answer));
        grantRole(plan, voucher.signer, ISSUER);
    }

    function notSigned(Answer answer) internal {
        Voucher memory voucher = voucherBy(answer);
        uint256 before = buyer.balance;
        refuses(abi.encodeWithSelector(ILicenseRecords.VoucherNotSigned.selector, voucher.signer));
        redeemAs(buyer, voucher, "signature", PRICE);
        eq(buyer.balance, before);
        eq(issuedOf(plan), 1);
        eq(ledger.noncesSpent(voucher.signer, 0), 0);
    }

    function test_aSignerThatRevertsHasNotSigned() external {
        notSigned(Answer.REVERTS);
    }

    function test_aSignerThatAnswersTheWrongWordHasNotSigned() external {
        notSigned(Answer.WRONG_WORD);
    }

    function test_aSignerThatAnswersTooLittleHasNotSigned() external {
        notSigned(Answer.SHORT);
    }

    function test_aMegabyteOfAnAnswerIsNotCopied() external {
        uint256 before = gasleft();
        notSigned(Answer.A_MEGABYTE);
        isTrue(before - gasleft() < 4_000_000);
    }

    function test_aSignerThatBurnsGasSellsNothing() external {
        Voucher memory voucher = voucherBy(Answer.BURNS_GAS);
        vm.prank(buyer);
        (bool ok,) =
            address(market).call{value: PRICE, gas: 2_000_000}(abi.encodeCall(market.buyWithVoucher, (voucher, "", "")));
        isFalse(ok);
        eq(issuedOf(plan), 1);
        eq(address(market).balance, PRICE);
    }

    function test_aSignerThatSaysYesToEverythingSellsOncePerNonceAndOnlyWithTheRole() external {
        Voucher memory voucher = voucherBy(Answer.YES);
        redeemAs(buyer, voucher, "anything", PRICE);
        voucher.to = stranger;
        refuses(abi.encodeWithSelector(ILicenseRecords.NonceSpent.selector, voucher.signer, 7));
        redeemAs(buyer, voucher, "anything", PRICE);
        voucher.nonce = 8;
        grantRole(plan, voucher.signer, REVOKER);
        refuses(abi.encodeWithSelector(ILicenseRecords.VoucherSignerNotIssuer.selector, plan, voucher.signer));
        redeemAs(buyer, voucher, "anything", PRICE);
        eq(address(market).balance, 2 * uint256(PRICE));
    }

    function test_aSignerThatCallsBackChangesNothing() external {
        // Otherwise it could be settled.
        bind(open);
        Voucher memory voucher = voucherBy(Answer.CALLS_BACK);
        redeemAs(buyer, voucher, "", PRICE);
        saleIs(open, NATIVE, PRICE, START + WINDOW);
        eq(issuedOf(plan), 2);
    }
}
