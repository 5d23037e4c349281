// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../../src/interfaces/ILicenseRecords.sol";
import {Royalty} from "../../../src/interfaces/ILicenseMarket.sol";
import {MarketBase} from "../MarketBase.sol";

contract ReadsTest is MarketBase {
    function testFuzz_whatIsUnknownIsOwedNothing(address account, bytes32 modelId, address payToken, uint256 id)
        external
        view
    {
        eq(market.owed(account, payToken), 0);
        eq(market.owedToModel(modelId, payToken), 0);
        noSale(id);
    }

    function test_whatIsOwedIsToldPerToken() external {
        sell(NATIVE, PRICE, 0);
        Royalty[] memory royalties = royaltiesOf(1_000, 0);
        pin(royalties);
        bought();
        sell(address(coin), 2 * PRICE, 0);
        bought();
        eq(market.owed(licensor, NATIVE), 0.9 ether);
        eq(market.owed(licensor, address(coin)), 2 * uint256(PRICE));
        bytes32 paid = royalties[0].bps == 1_000 ? royalties[0].modelId : royalties[1].modelId;
        eq(market.owedToModel(paid, NATIVE), 0.1 ether);
        eq(market.owedToModel(paid, address(coin)), 0);
    }

    function testFuzz_anOpenSaleIsToldWhole(uint96 price, uint32 window, bool native) external {
        vm.assume(price != 0 && window != 0);
        address payToken = native ? NATIVE : address(coin);
        sell(payToken, price, window);
        uint256 id = bought();
        saleIs(id, payToken, price, START + window);
        noSale(id + 1);
        noSale(id | 1 << 64);
    }

    function testFuzz_anUnknownPlanHasNoRoyaltiesAndNoPayees(uint32 planId) external {
        eq(market.royaltiesOf(planId).length, 0);
        refuses(abi.encodeWithSelector(ILicenseRecords.PlanUnknown.selector, planId));
        market.payeesOf(planId);
    }

    function test_aPlansRoyaltiesAndPayeesAreItsOwn() external {
        uint32 first = sell(NATIVE, PRICE, 0);
        Royalty[] memory royalties = royaltiesOf(1, 2);
        pin(royalties);
        share(payeesOf(agent, 1, stranger, 2));
        uint32 second = sell(NATIVE, PRICE, 0);
        eq(market.royaltiesOf(first), royalties);
        eq(market.payeesOf(first), payeesOf(agent, 1, stranger, 2));
        eq(market.royaltiesOf(second).length, 0);
        eq(market.payeesOf(second).length, 0);
    }

    function test_theLedgerIsTheOneNamedAtDeployment() external view {
        eq(market.ledger(), address(ledger));
    }
}
