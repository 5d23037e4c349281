// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {EntitlementQuery, IEntitlementLens} from "../../../src/interfaces/IEntitlementLens.sol";
import {ILicenseMarket, Payee, Royalty} from "../../../src/interfaces/ILicenseMarket.sol";
import {ILicenseRecords} from "../../../src/interfaces/ILicenseRecords.sol";
import {Voucher} from "../../../src/interfaces/LicenseTypes.sol";
import {MarketBase} from "../MarketBase.sol";

contract SizeAttacksTest is MarketBase {
    function setUp() public override {
        super.setUp();
        sell(NATIVE, PRICE, WINDOW);
    }

    function test_aThousandRoyaltiesAreTooMany() external {
        refuses(abi.encodeWithSelector(ILicenseMarket.RoyaltiesTooMany.selector, 1000, 8));
        pin(new Royalty[](1000));
    }

    function test_aThousandPayeesAreTooMany() external {
        refuses(abi.encodeWithSelector(ILicenseMarket.PayeesTooMany.selector, 1000, 16));
        share(new Payee[](1000));
    }

    function test_theLargestSettlementTakesASmallPartOfABlock() external {
        Royalty[] memory royalties = new Royalty[](8);
        for (uint256 i; i < 8; ++i) {
            royalties[i] = Royalty(newModel(200 + i), 600);
            for (uint256 j = i; j != 0 && royalties[j].modelId < royalties[j - 1].modelId; --j) {
                (royalties[j], royalties[j - 1]) = (royalties[j - 1], royalties[j]);
            }
        }
        pin(royalties);
        Payee[] memory payees = new Payee[](16);
        for (uint256 i; i < 16; ++i) {
            payees[i] = Payee(address(uint160(0xFACE00 + i)), 600);
        }
        share(payees);
        uint256 id = bought();
        vm.warp(START + WINDOW);
        vm.cool(address(market));
        uint256 before = gasleft();
        market.settle(id);
        uint256 gas = before - gasleft();
        isTrue(gas > 25 * 20_000 && gas < 750_000);
    }

    function test_aLensQueryCostsTheSameHoweverManyThereAre() external {
        IEntitlementLens lens = IEntitlementLens(deploy("EntitlementLens", ""));
        uint256 ten = lensGas(lens, 10);
        uint256 hundred = lensGas(lens, 100);
        uint256 thousand = lensGas(lens, 1000);
        isTrue(hundred < 11 * ten);
        isTrue(thousand < 11 * hundred);
        isTrue(thousand / 1000 < 10_000);
    }

    function lensGas(IEntitlementLens lens, uint256 count) private returns (uint256) {
        EntitlementQuery[] memory queries = new EntitlementQuery[](count);
        uint256 id = bought();
        for (uint256 i; i < count; ++i) {
            queries[i] = EntitlementQuery(id + 1 + i, holder, KEY);
        }
        address[] memory to = new address[](count);
        for (uint256 i; i < count; ++i) {
            to[i] = holder;
        }
        vm.prank(licensor);
        ledger.issueBatch(plan, to, 0, 0);
        vm.cool(address(ledger));
        uint256 before = gasleft();
        lens.checkMany(address(ledger), queries, 0);
        return before - gasleft();
    }

    function test_aLicenseOfABatchCostsTheSameHoweverManyThereAre() external {
        uint256 fifty = batchGas(50, 1);
        uint256 fiveHundred = batchGas(500, 1000);
        isTrue(fiveHundred < 10 * fifty + fifty / 2);
        isTrue(fiveHundred / 500 < 55_000);
    }

    function batchGas(uint256 count, uint160 first) private returns (uint256) {
        address[] memory to = new address[](count);
        for (uint160 i; i < count; ++i) {
            to[i] = address(0xF0000000 + first + i);
        }
        vm.prank(licensor);
        uint256 before = gasleft();
        ledger.issueBatch(plan, to, 0, 0);
        return before - gasleft();
    }

    function test_aLongPermitIsRefused() external {
        sell(address(coin), PRICE, 0);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketPermitMalformed.selector, 100_000));
        buyAs(buyer, 0, new bytes(100_000));
    }

    function test_aLongSignatureIsRefused() external {
        Voucher memory voucher = voucherOf(NATIVE, PRICE);
        refuses(abi.encodeWithSelector(ILicenseRecords.VoucherNotSigned.selector, licensor));
        redeemAs(buyer, voucher, new bytes(100_000), PRICE);
    }
}
