// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseMarket} from "../../../src/interfaces/ILicenseMarket.sol";
import {Coin} from "../Coin.sol";

struct Books {
    uint256[2] there; // what the market has
    uint256[2] accrued; // owed to accounts and models
    uint256[2] open; // kept for open sales
    uint256[10] owed; // to each actor: money 0, then money 1
    uint256[6] due; // to each model, likewise
    uint256[10] purses; // what each actor has
}

struct Sale {
    address licensor;
    uint256 money;
    uint256 amount;
    uint40 until;
}

/// @notice Reads the market's books whole. Money 0 is the chain's coin, money 1 the token.
contract MarketAccountant {
    ILicenseMarket private immutable market;
    Coin private immutable coin;
    address[5] public actors;
    bytes32[3] private modelIds;

    constructor(ILicenseMarket market_, Coin coin_, address[5] memory actors_, bytes32[3] memory modelIds_) {
        (market, coin, actors, modelIds) = (market_, coin_, actors_, modelIds_);
    }

    function look(uint256[] calldata licenseIds) external view returns (Books memory books) {
        books.there = [address(market).balance, coin.balanceOf(address(market))];
        for (uint256 m; m < 2; ++m) {
            address payToken = m == 0 ? address(0) : address(coin);
            for (uint256 i; i < 5; ++i) {
                books.owed[5 * m + i] = market.owed(actors[i], payToken);
                books.accrued[m] += books.owed[5 * m + i];
                books.purses[5 * m + i] = m == 0 ? actors[i].balance : coin.balanceOf(actors[i]);
            }
            for (uint256 i; i < 3; ++i) {
                books.due[3 * m + i] = market.owedToModel(modelIds[i], payToken);
                books.accrued[m] += books.due[3 * m + i];
            }
        }
        for (uint256 i; i < licenseIds.length; ++i) {
            Sale memory sale = saleOf(licenseIds[i]);
            books.open[sale.money] += sale.amount;
        }
    }

    function saleOf(uint256 licenseId) public view returns (Sale memory sale) {
        address payToken;
        (sale.licensor, payToken, sale.amount, sale.until) = market.saleOf(licenseId);
        sale.money = payToken == address(0) ? 0 : 1;
    }

    function royaltiesNow(uint32[] calldata planIds) external view returns (bytes32 all) {
        for (uint256 i; i < planIds.length; ++i) {
            all = keccak256(abi.encode(all, market.royaltiesOf(planIds[i])));
        }
    }
}
