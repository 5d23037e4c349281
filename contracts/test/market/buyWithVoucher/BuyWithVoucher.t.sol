// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";

import {ILicenseMarket} from "../../../src/interfaces/ILicenseMarket.sol";
import {ILicenseRecords} from "../../../src/interfaces/ILicenseRecords.sol";
import {PlanTerms, Voucher} from "../../../src/interfaces/LicenseTypes.sol";
import {ModelStatus} from "../../../src/interfaces/IModelRegistry.sol";
import {MarketBase} from "../MarketBase.sol";

/// @dev A contract account that has signed one digest.
contract SignerContract {
    bytes32 private digest;

    function sign(bytes32 digest_) external {
        digest = digest_;
    }

    function isValidSignature(bytes32 digest_, bytes calldata) external view returns (bytes4) {
        return digest_ == digest ? this.isValidSignature.selector : bytes4(0);
    }
}

contract BuyWithVoucherTest is MarketBase {
    uint256 internal constant AGENT_KEY = 0xA6E27;

    function setUp() public override {
        super.setUp();
        sell(NATIVE, PRICE, 0);
        agent = vm.addr(AGENT_KEY);
    }

    function redeemed(Voucher memory voucher) internal returns (uint256) {
        return redeemAs(buyer, voucher, signed(voucher, LICENSOR_KEY), voucher.payToken == NATIVE ? voucher.price : 0);
    }

    function refused(Voucher memory voucher, bytes memory why) internal {
        refused(voucher, signed(voucher, LICENSOR_KEY), why);
    }

    function refused(Voucher memory voucher, bytes memory signature, bytes memory why) internal {
        uint256 before = buyer.balance;
        uint32 issued = issuedOf(plan);
        refuses(why);
        redeemAs(buyer, voucher, signature, voucher.price);
        eq(buyer.balance, before);
        eq(issuedOf(plan), issued);
    }

    // ---------------------------------------------------------------- the market refuses

    function testFuzz_aVoucherOfAnotherMarketIsRefused(address other) external {
        vm.assume(other != address(market));
        Voucher memory voucher = voucherOf(NATIVE, PRICE);
        voucher.market = other;
        refused(voucher, abi.encodeWithSelector(ILicenseMarket.MarketVoucherElsewhere.selector, other));
        voucher.market = address(0);
        voucher.price = 0;
        refused(voucher, abi.encodeWithSelector(ILicenseMarket.MarketVoucherElsewhere.selector, address(0)));
    }

    function test_noOtherMarketRedeemsTheVoucherOfThisOne() external {
        ILicenseMarket other;
        bytes memory code = abi.encodePacked(codeOf("LicenseMarket"), abi.encode(ledger));
        assembly {
            other := create(0, add(code, 32), mload(code))
        }
        Voucher memory voucher = voucherOf(NATIVE, PRICE);
        bytes memory signature = signed(voucher, LICENSOR_KEY);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketVoucherElsewhere.selector, address(market)));
        other.buyWithVoucher{value: PRICE}(voucher, signature, "");
        refuses(abi.encodeWithSelector(ILicenseRecords.VoucherMarketOnly.selector, address(market), address(this)));
        ledger.redeem(voucher, signature);
    }

    function test_anUnknownPlanIsRefused() external {
        Voucher memory voucher = voucherOf(NATIVE, PRICE);
        voucher.planId = 99;
        refused(voucher, abi.encodeWithSelector(ILicenseRecords.PlanUnknown.selector, 99));
    }

    function testFuzz_aPlanThatIsNotTheOneSignedIsRefused(bytes32 seen) external {
        vm.assume(seen != digest);
        Voucher memory voucher = voucherOf(NATIVE, PRICE);
        voucher.planDigest = seen;
        refused(voucher, abi.encodeWithSelector(ILicenseMarket.MarketPlanChanged.selector, plan, digest, seen));
    }

    function test_aLicensorWithoutTitleSellsNothing() external {
        Voucher memory voucher = voucherOf(NATIVE, PRICE);
        moveTitle(model, stranger);
        refused(voucher, abi.encodeWithSelector(ILicenseMarket.MarketTitleMoved.selector, plan, licensor, stranger));
        ledger.syncLicensor(plan);
        bytes32 present = digestOf(plan);
        refused(voucher, abi.encodeWithSelector(ILicenseMarket.MarketPlanChanged.selector, plan, present, digest));
        voucher.planDigest = present;
        refused(voucher, abi.encodeWithSelector(ILicenseRecords.VoucherSignerNotIssuer.selector, plan, licensor));
    }

    function testFuzz_onlyExactlyTheVouchersPriceBuys(uint96 price, uint96 value) external {
        Voucher memory voucher = voucherOf(NATIVE, price);
        bytes memory signature = signed(voucher, LICENSOR_KEY);
        if (price != value) {
            refuses(abi.encodeWithSelector(ILicenseMarket.MarketWrongPayment.selector, price, value));
        }
        redeemAs(buyer, voucher, signature, value);
        eq(market.owed(licensor, NATIVE), price == value ? price : 0);
    }

    function test_oneWeiMoreOrLessIsRefused() external {
        Voucher memory voucher = voucherOf(NATIVE, PRICE);
        bytes memory signature = signed(voucher, LICENSOR_KEY);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketWrongPayment.selector, PRICE, PRICE - 1));
        redeemAs(buyer, voucher, signature, PRICE - 1);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketWrongPayment.selector, PRICE, PRICE + 1));
        redeemAs(buyer, voucher, signature, PRICE + 1);
        voucher = voucherOf(address(coin), PRICE);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketWrongPayment.selector, 0, PRICE));
        redeemAs(buyer, voucher, signature, PRICE);
        voucher = voucherOf(address(0xDEAD), PRICE);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketTokenMissing.selector, address(0xDEAD)));
        redeemAs(buyer, voucher, signature, 0);
    }

    // ---------------------------------------------------------------- the ledger refuses

    function test_theDeadlineIsTheLastSecond() external {
        Voucher memory voucher = voucherOf(NATIVE, PRICE);
        vm.warp(voucher.deadline + 1);
        refused(voucher, abi.encodeWithSelector(ILicenseRecords.VoucherExpired.selector, voucher.deadline));
        vm.warp(voucher.deadline);
        redeemed(voucher);
    }

    function testFuzz_aVoucherIsRedeemedOnce(uint256 nonce, uint96 price) external {
        Voucher memory voucher = voucherOf(NATIVE, price);
        voucher.nonce = nonce;
        redeemed(voucher);
        refused(voucher, abi.encodeWithSelector(ILicenseRecords.NonceSpent.selector, licensor, nonce));
        voucher.to = stranger;
        refused(voucher, abi.encodeWithSelector(ILicenseRecords.NonceSpent.selector, licensor, nonce));
        eq(address(market).balance, price);
    }

    function test_aCancelledVoucherIsWorthNothing() external {
        Voucher memory voucher = voucherOf(NATIVE, PRICE);
        vm.prank(licensor);
        ledger.cancelVouchers(0, 1 << 7);
        refused(voucher, abi.encodeWithSelector(ILicenseRecords.NonceSpent.selector, licensor, 7));
    }

    function testFuzz_noFieldChangesAfterTheSignature(uint8 field) external {
        Voucher memory voucher = voucherOf(NATIVE, PRICE);
        bytes memory signature = signed(voucher, LICENSOR_KEY);
        field %= 7;
        if (field == 0) voucher.to = stranger;
        else if (field == 1) voucher.notBefore = START + 1;
        else if (field == 2) voucher.notAfter = START + 90 days;
        else if (field == 3) voucher.price = PRICE - 1;
        else if (field == 4) voucher.extHash = 0;
        else if (field == 5) ++voucher.nonce;
        else ++voucher.deadline;
        refused(voucher, signature, abi.encodeWithSelector(ILicenseRecords.VoucherNotSigned.selector, licensor));
    }

    function test_theTokenIsSignedToo() external {
        Voucher memory voucher = voucherOf(NATIVE, PRICE);
        bytes memory signature = signed(voucher, LICENSOR_KEY);
        voucher.payToken = address(coin);
        refuses(abi.encodeWithSelector(ILicenseRecords.VoucherNotSigned.selector, licensor));
        redeemAs(buyer, voucher, signature, 0);
        eq(coin.balanceOf(address(market)), 0);
    }

    function testFuzz_theSignatureOfAnotherIsRefused(uint128 key) external {
        vm.assume(key != 0 && key != LICENSOR_KEY);
        Voucher memory voucher = voucherOf(NATIVE, PRICE);
        bytes memory signature = signed(voucher, key);
        refused(voucher, signature, abi.encodeWithSelector(ILicenseRecords.VoucherNotSigned.selector, licensor));
        voucher.signer = vm.addr(key);
        refused(
            voucher,
            signed(voucher, key),
            abi.encodeWithSelector(ILicenseRecords.VoucherSignerNotIssuer.selector, plan, voucher.signer)
        );
    }

    function test_whatStopsIssuingStopsVouchers() external {
        PlanTerms memory terms = termsOf(model);
        terms.supply = 1;
        sell(terms);
        Voucher memory voucher = voucherOf(NATIVE, PRICE);
        vm.prank(licensor);
        ledger.setPaused(plan, true);
        refused(voucher, abi.encodeWithSelector(ILicenseRecords.PlanIsPaused.selector, plan));
        vm.startPrank(licensor);
        ledger.setPaused(plan, false);
        models.setStatus(model, ModelStatus.WITHDRAWN);
        vm.stopPrank();
        refused(voucher, abi.encodeWithSelector(ILicenseRecords.PlanModelNotIssuable.selector, model, 2));
        vm.prank(licensor);
        models.setStatus(model, ModelStatus.ACTIVE);
        redeemed(voucher);
        voucher.nonce = 8;
        refused(voucher, abi.encodeWithSelector(ILicenseRecords.PlanSupplyExceeded.selector, plan, 1));
    }

    // ---------------------------------------------------------------- sold

    function testFuzz_thePriceAndTokenAreTheVouchers(uint96 price, bool native, address payer) external {
        vm.assume(price != 0 && payer != address(0) && payer != address(market));
        address payToken = native ? NATIVE : address(coin);
        fund(payer);
        Voucher memory voucher = voucherOf(payToken, price);
        bytes memory signature = signed(voucher, LICENSOR_KEY);
        uint256 before = balanceOf(payToken, payer);
        uint256 id = idOf(plan, 1);
        emits(address(ledger));
        emit ILicenseRecords.VoucherRedeemed(id, licensor, 7, voucher.extHash);
        seeAccrued(licensor, payToken, price);
        seeSold(id, payer, payToken, price, 0);
        eq(redeemAs(payer, voucher, signature, native ? price : 0), id);
        eq(before - balanceOf(payToken, payer), price);
        eq(balanceOf(payToken, address(market)), price);
        eq(market.owed(licensor, payToken), price);
        eq(token.ownerOf(id), holder);
        noSale(id);
    }

    function testFuzz_aVoucherIsRefundableForThePlansWindow(uint96 price, bool native, uint32 window) external {
        vm.assume(price != 0 && window != 0);
        sell(native ? address(coin) : NATIVE, PRICE, window);
        address payToken = native ? NATIVE : address(coin);
        Voucher memory voucher = voucherOf(payToken, price);
        uint256 id = idOf(plan, 1);
        bytes memory signature = signed(voucher, LICENSOR_KEY);
        seeSold(id, buyer, payToken, price, START + window);
        redeemAs(buyer, voucher, signature, native ? price : 0);
        saleIs(id, payToken, price, START + window);
        eq(market.owed(licensor, payToken), 0);
    }

    function test_aFreeVoucherKeepsNoSale() external {
        sell(NATIVE, PRICE, WINDOW);
        uint256 id = redeemed(voucherOf(NATIVE, 0));
        noSale(id);
        eq(codeOf(id), 0);
    }

    function test_theLicensorsVoucherNeedsNoRoleOfTheMarket() external {
        grantRole(plan, address(market), 0);
        Voucher memory voucher = voucherOf(NATIVE, PRICE);
        (voucher.notBefore, voucher.notAfter) = (START + 5 days, START + 300 days);
        uint256 id = redeemed(voucher);
        eq(endOf(id), START + 300 days);
        eq(codeOf(id), 8);
    }

    function test_anIssuersVoucherKeepsToThePlansDuration() external {
        grantRole(plan, agent, ISSUER);
        Voucher memory voucher = voucherOf(NATIVE, PRICE);
        voucher.signer = agent;
        voucher.notAfter = START + 30 days + 1;
        refused(
            voucher,
            signed(voucher, AGENT_KEY),
            abi.encodeWithSelector(ILicenseRecords.LicenseWindowInvalid.selector, START, START + 30 days + 1)
        );
        voucher.notAfter = START + 30 days;
        bytes memory signature = signed(voucher, AGENT_KEY);
        emits(address(ledger));
        emit ILicenseRecords.VoucherRedeemed(idOf(plan, 1), agent, 7, voucher.extHash);
        redeemAs(buyer, voucher, signature, PRICE);
        // The proceeds are the licensor's all the same.
        eq(market.owed(licensor, NATIVE), PRICE);

        grantRole(plan, agent, 0);
        voucher.nonce = 8;
        refused(
            voucher,
            signed(voucher, AGENT_KEY),
            abi.encodeWithSelector(ILicenseRecords.VoucherSignerNotIssuer.selector, plan, agent)
        );
    }

    function test_aContractWithTheRightSignsByErc1271() external {
        SignerContract signer = new SignerContract();
        grantRole(plan, address(signer), ISSUER);
        Voucher memory voucher = voucherOf(NATIVE, PRICE);
        voucher.signer = address(signer);
        bytes memory why = abi.encodeWithSelector(ILicenseRecords.VoucherNotSigned.selector, address(signer));
        refused(voucher, "", why);
        signer.sign(ledger.voucherDigest(voucher));
        eq(redeemAs(buyer, voucher, "", PRICE), idOf(plan, 1));
        bytes memory spent = abi.encodeWithSelector(ILicenseRecords.NonceSpent.selector, address(signer), 7);
        refused(voucher, "", spent);
    }

    function test_aPermitPaysForAVoucher() external {
        vm.prank(buyer);
        coin.approve(address(market), 0);
        Voucher memory voucher = voucherOf(address(coin), 3 ether);
        bytes memory signature = signed(voucher, LICENSOR_KEY);
        // The permit is over the voucher's price, not over the plan's.
        bytes memory permit = permitOf(BUYER_KEY, PRICE, START);
        refuses(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(market), 0, 3 ether));
        vm.prank(buyer);
        market.buyWithVoucher(voucher, signature, permit);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketPermitMalformed.selector, 1));
        vm.prank(buyer);
        market.buyWithVoucher(voucher, signature, hex"00");
        permit = permitOf(BUYER_KEY, 3 ether, START);
        vm.prank(buyer);
        market.buyWithVoucher(voucher, signature, permit);
        eq(coin.balanceOf(address(market)), 3 ether);
    }
}
