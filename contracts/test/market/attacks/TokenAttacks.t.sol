// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {ILicenseMarket} from "../../../src/interfaces/ILicenseMarket.sol";
import {MarketBase} from "../MarketBase.sol";
import {LyingToken, Mode, RebasingToken, TurncoatToken} from "./Tokens.sol";

contract TokenAttacksTest is MarketBase {
    TurncoatToken internal bad;

    function setUp() public override {
        super.setUp();
        bad = new TurncoatToken();
        bad.mint(buyer, 100 ether);
        sell(address(bad), PRICE, 0);
    }

    function turn(Mode mode) internal returns (address) {
        bad.turn(mode);
        return address(bad);
    }

    /// @dev Others sell, and are paid, whatever `bad` does.
    function othersAreFine() internal {
        uint32 badPlan = plan;
        sell(NATIVE, PRICE, 0);
        bought();
        sell(address(coin), PRICE, 0);
        bought();
        withdrawAs(licensor, NATIVE, agent);
        withdrawAs(licensor, address(coin), agent);
        eq(agent.balance, PRICE);
        eq(coin.balanceOf(agent), PRICE);
        (plan, digest) = (badPlan, digestOf(badPlan));
    }

    function noSaleOf(Mode mode, bytes memory why) internal {
        turn(mode);
        refuses(why);
        buyAs(buyer, 0, "");
        nothingHappened();
    }

    function nothingHappened() internal view {
        eq(issuedOf(plan), 0);
        eq(market.owed(licensor, address(bad)), 0);
    }

    /// @dev Sold honestly, paid out never, until the token comes round.
    function proceedsWaitOut(Mode mode, bytes memory why) internal {
        buyAs(buyer, 0, "");
        turn(mode);
        refuses(why);
        withdrawAs(licensor, address(bad), licensor);
        eq(market.owed(licensor, address(bad)), PRICE);
        othersAreFine();
        turn(Mode.HONEST);
        withdrawAs(licensor, address(bad), licensor);
        eq(bad.balanceOf(licensor), PRICE);
    }

    // ---------------------------------------------------------------- what it returns

    function test_aTokenThatReturnsFalseSellsNothing() external {
        noSaleOf(Mode.RETURNS_FALSE, abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, bad));
    }

    function test_aTokenThatReturnsFalseLaterKeepsItsOwnProceedsOnly() external {
        proceedsWaitOut(Mode.RETURNS_FALSE, abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, bad));
    }

    function test_aTokenThatReturnsNothingIsAsGoodAsAny() external {
        turn(Mode.RETURNS_NOTHING);
        buyAs(buyer, 0, "");
        withdrawAs(licensor, address(bad), licensor);
        eq(bad.balanceOf(licensor), PRICE);
    }

    function test_aTokenThatRevertsSellsNothing() external {
        noSaleOf(Mode.REVERTS, abi.encodeWithSelector(TurncoatToken.TokenSaysNo.selector));
    }

    function test_aTokenThatRevertsLaterKeepsItsOwnProceedsOnly() external {
        proceedsWaitOut(Mode.REVERTS, abi.encodeWithSelector(TurncoatToken.TokenSaysNo.selector));
    }

    function test_aMegabyteReturnedIsNotCopied() external {
        turn(Mode.RETURNS_A_MEGABYTE);
        // The token pays about 2.1 million for its megabyte, each time; copying it would cost the market as much again.
        uint256 before = gasleft();
        buyAs(buyer, 0, "");
        isTrue(before - gasleft() < 3_000_000);
        before = gasleft();
        withdrawAs(licensor, address(bad), licensor);
        isTrue(before - gasleft() < 3_000_000);
        eq(bad.balanceOf(licensor), PRICE);
    }

    function test_aMegabyteRevertedByAPermitIsNotCopied() external {
        // First the permit alone misbehaves: the sale itself then fails with the token's own megabyte.
        turn(Mode.REVERTS_WITH_A_MEGABYTE);
        vm.prank(buyer);
        (bool ok,) =
            address(market).call{gas: 20_000_000}(abi.encodeCall(market.buy, (plan, digest, holder, new bytes(128))));
        isFalse(ok);
        nothingHappened();
        turn(Mode.RETURNS_A_MEGABYTE);
        uint256 before = gasleft();
        buyAs(buyer, 0, new bytes(128));
        isTrue(before - gasleft() < 5_000_000);
    }

    // ---------------------------------------------------------------- gas

    function test_aTokenThatBurnsAllGasSellsNothing() external {
        turn(Mode.BURNS_GAS);
        bytes memory call_ = abi.encodeCall(market.buy, (plan, digest, holder, ""));
        vm.prank(buyer);
        (bool ok,) = address(market).call{gas: 1_000_000}(call_);
        isFalse(ok);
        nothingHappened();
        othersAreFine();
    }

    function test_aTokenThatBurnsAllGasLaterKeepsItsOwnProceedsOnly() external {
        buyAs(buyer, 0, "");
        turn(Mode.BURNS_GAS);
        vm.prank(licensor);
        (bool ok,) = address(market).call{gas: 1_000_000}(abi.encodeCall(market.withdraw, (address(bad), licensor)));
        isFalse(ok);
        eq(market.owed(licensor, address(bad)), PRICE);
        othersAreFine();
    }

    // ---------------------------------------------------------------- what arrives

    function test_aTokenThatTakesAFeeSellsNothing() external {
        noSaleOf(
            Mode.TAKES_A_FEE, abi.encodeWithSelector(ILicenseMarket.MarketTokenShort.selector, bad, PRICE, PRICE - 1)
        );
        eq(bad.balanceOf(buyer), 100 ether);
    }

    function test_aTokenThatAddsABonusSellsNothing() external {
        noSaleOf(
            Mode.ADDS_A_BONUS, abi.encodeWithSelector(ILicenseMarket.MarketTokenShort.selector, bad, PRICE, PRICE + 1)
        );
    }

    function test_aTokenThatMovesNothingSellsNothing() external {
        noSaleOf(Mode.MOVES_NOTHING, abi.encodeWithSelector(ILicenseMarket.MarketTokenShort.selector, bad, PRICE, 0));
    }

    function testFuzz_aTokenThatLiesAboutItsBalanceSellsNothing(uint96 said, uint96 step, bool falls) external {
        vm.assume(step != PRICE);
        LyingToken liar = new LyingToken(address(market));
        sell(address(liar), PRICE, 0);
        if (falls) {
            vm.assume(said != 0);
            step = 1 + step % said;
        }
        liar.say(said, falls ? -int256(uint256(step)) : int256(uint256(step)));
        refuses(
            falls
                ? abi.encodeWithSignature("Panic(uint256)", 0x11)
                : abi.encodeWithSelector(ILicenseMarket.MarketTokenShort.selector, liar, PRICE, step)
        );
        buyAs(buyer, 0, "");
        eq(issuedOf(plan), 0);
    }

    function test_aTokenWhosePaymentIsMadeUpOwesNothingButItself() external {
        LyingToken liar = new LyingToken(address(market));
        liar.say(0, int96(PRICE));
        sell(address(liar), PRICE, 0);
        buyAs(buyer, 0, "");
        eq(market.owed(licensor, address(liar)), PRICE);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNothingOwed.selector, licensor, NATIVE));
        withdrawAs(licensor, NATIVE, licensor);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNothingOwed.selector, licensor, address(coin)));
        withdrawAs(licensor, address(coin), licensor);
        othersAreFine();
    }

    function test_aTokenThatShrinksIsShortOfItsOwnAlone() external {
        RebasingToken rebasing = rebasingSale();
        rebasing.rebase(50);
        withdrawAs(agent, address(rebasing), agent);
        eq(rebasing.balanceOf(agent), PRICE / 2);
        refuses(abi.encodeWithSignature("Panic(uint256)", 0x11));
        withdrawAs(licensor, address(rebasing), licensor);
        eq(market.owed(licensor, address(rebasing)), PRICE / 2);
    }

    function test_aTokenThatGrowsOwesNoMoreForIt() external {
        RebasingToken rebasing = rebasingSale();
        rebasing.rebase(200);
        withdrawAs(agent, address(rebasing), agent);
        withdrawAs(licensor, address(rebasing), licensor);
        eq(rebasing.balanceOf(licensor), PRICE / 2);
        eq(rebasing.balanceOf(address(market)), PRICE);
    }

    function rebasingSale() private returns (RebasingToken rebasing) {
        rebasing = new RebasingToken();
        rebasing.mint(buyer, PRICE);
        sell(address(rebasing), PRICE, 0);
        share(payeesOf(agent, 5_000, stranger, 0));
        buyAs(buyer, 0, "");
    }

    // ---------------------------------------------------------------- what is no token

    function test_whatHasNoCodeSellsNothing() external {
        address[3] memory none = [address(0xDEAD), address(4), licensor];
        for (uint256 i; i < 3; ++i) {
            sell(none[i], PRICE, 0);
            refuses(abi.encodeWithSelector(ILicenseMarket.MarketTokenMissing.selector, none[i]));
            buyAs(buyer, 0, new bytes(128));
        }
    }

    function test_codeThatIsNoTokenSellsNothing() external {
        address[3] memory none = [address(market), address(models), address(this)];
        for (uint256 i; i < 3; ++i) {
            sell(none[i], PRICE, 0);
            refuses("");
            buyAs(buyer, 0, new bytes(128));
        }
    }

    /// ERC-721 has the transferFrom of ERC-20: a plan whose price is the id of someone's license.
    function test_aLicenseIsNoMoney() external {
        uint256 id = newLicense(newPlan(termsOf(model)), holder);
        vm.prank(holder);
        token.setApprovalForAll(address(market), true);
        sell(address(ledger), uint96(id), 0);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketTokenShort.selector, ledger, id, 1));
        buyAs(holder, 0, new bytes(128));
        eq(token.ownerOf(id), holder);
        vm.expectRevert();
        buyAs(buyer, 0, "");
        eq(token.ownerOf(id), holder);
    }
}
