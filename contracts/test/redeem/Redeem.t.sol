// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {PlanState, Voucher} from "../../src/interfaces/LicenseTypes.sol";
import {ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Vouchers} from "./Vouchers.sol";

contract RedeemTest is Vouchers {
    event Locked(uint256 tokenId);
    event Transfer(address indexed from, address indexed to, uint256 indexed id);

    // ---------------------------------------------------------------- what a voucher brings

    function test_anyoneRedeemsAFreeVoucher() external {
        terms.transferable = false;
        plan = newPlan(terms);
        Voucher memory voucher = newVoucher();
        voucher.nonce = 77;
        uint256 id = uint256(plan) << 32 | 1;
        bytes memory signature = signed(LICENSOR_KEY, voucher);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit Transfer(address(0), buyer, id);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit Locked(id);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.LicenseIssued(id, plan, buyer, START, START + 30 days);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.VoucherRedeemed(id, licensor, 77, keccak256("order"));
        eq(redeemAs(stranger, voucher, signature), id);
        eq(token.ownerOf(id), buyer);
        eq(ledger.noncesSpent(licensor, 0), 1 << 77);
        (, PlanState memory state) = ledger.planOf(plan);
        eq(state.issued, 1);
        eq(address(ledger).balance, 0);
    }

    function test_aReceiverIsNotCalled() external {
        Voucher memory voucher = newVoucher();
        voucher.to = address(this); // would revert
        eq(token.ownerOf(redeem(voucher)), address(this));
    }

    function test_nobodyIsNoHolder() external {
        Voucher memory voucher = newVoucher();
        voucher.to = address(0);
        isRefused(abi.encodePacked(TO_ZERO), voucher);
        eq(ledger.noncesSpent(licensor, 0), 0);
    }

    /// The digest of the documented type, for any voucher, on any chain; no field is without effect on it.
    function testFuzz_theDigestIsTheDocumentedTypes(Voucher memory voucher, uint64 chainId) external {
        vm.chainId(1 + uint256(chainId) / 2);
        eq(ledger.voucherDigest(voucher), digestOf(domain(), voucher));
    }

    /// The window is the one `issue` would give now, for the signer's authority and not the sender's.
    function testFuzz_theWindowIsTheSigners(
        uint40 duration,
        uint40 notBefore,
        uint40 notAfter,
        uint24 wait,
        bool byRole
    ) external {
        terms.duration = duration;
        plan = newPlan(terms);
        grantRole(plan, agent, ISSUER);
        Voucher memory voucher = newVoucher();
        if (wait % 2 == 0) (notBefore, notAfter) = (START + notBefore % 60 days, START + notAfter % 60 days);
        (voucher.notBefore, voucher.notAfter, voucher.deadline) = (notBefore, notAfter, PERPETUAL);
        if (byRole) voucher.signer = agent;
        bytes memory signature = signed(byRole ? AGENT_KEY : LICENSOR_KEY, voucher);
        vm.warp(START + wait);

        // What `issue` says, undone afterwards: the refusal is the same, byte by byte.
        (bool ok, bytes memory said) =
            address(this).call(abi.encodeCall(this.tryIssue, (voucher.signer, notBefore, notAfter)));
        isFalse(ok);
        (bool issues, bytes memory answer) = abi.decode(said, (bool, bytes));
        vm.prank(stranger);
        (ok, said) = address(ledger).call(abi.encodeCall(ledger.redeem, (voucher, signature)));
        isTrue(ok == issues);
        if (!ok) {
            eq(keccak256(said), keccak256(answer));
            return;
        }
        (, bytes memory record) =
            address(ledger).staticcall(abi.encodeCall(ledger.licenseOf, (uint256(plan) << 32 | 1)));
        eq(keccak256(record), keccak256(answer));
    }

    /// @dev Always reverts, with what `issue` to the buyer would have done: the license's record or the refusal.
    function tryIssue(address who, uint40 notBefore, uint40 notAfter) external {
        vm.prank(who);
        (bool ok, bytes memory answer) =
            address(ledger).call(abi.encodeCall(ledger.issue, (plan, buyer, notBefore, notAfter)));
        if (ok) {
            (, answer) = address(ledger).staticcall(abi.encodeCall(ledger.licenseOf, (uint256(plan) << 32 | 1)));
        }
        bytes memory both = abi.encode(ok, answer);
        assembly {
            revert(add(both, 32), mload(both))
        }
    }

    function test_anIssuersVoucherStaysWithinThePlansDuration() external {
        grantRole(plan, agent, ISSUER);
        Voucher memory voucher = newVoucher();
        voucher.notAfter = START + 30 days + 1;
        voucher.signer = agent;
        isRefused(window(START, START + 30 days + 1), voucher, signed(AGENT_KEY, voucher));
        voucher.notAfter = START + 30 days;
        redeemByRole(voucher);
        voucher.signer = licensor;
        voucher.notAfter = PERPETUAL;
        redeem(voucher);
    }

    // ---------------------------------------------------------------- when, and by whom

    function test_aVoucherIsGoodToTheSecondOfItsDeadline() external {
        Voucher memory voucher = newVoucher();
        voucher.deadline = START + 100;
        vm.warp(START + 101);
        isRefused(abi.encodeWithSelector(ILicenseRecords.VoucherExpired.selector, START + 100), voucher);
        vm.warp(START + 100);
        redeem(voucher);
        voucher.deadline = 0; // no "for ever"
        isRefused(abi.encodeWithSelector(ILicenseRecords.VoucherExpired.selector, 0), voucher);
    }

    function test_onlyTheMarketRedeemsWhatNamesOne() external {
        Voucher memory voucher = newVoucher();
        for (uint96 price; price < 2; ++price) {
            (voucher.market, voucher.price, voucher.nonce) = (holder, price, price);
            bytes memory signature = signed(LICENSOR_KEY, voucher);
            address[3] memory others = [stranger, licensor, buyer];
            for (uint256 i; i < 3; ++i) {
                vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.VoucherMarketOnly.selector, holder, others[i]));
                redeemAs(others[i], voucher, signature);
            }
            redeemAs(holder, voucher, signature);
        }
        eq(token.balanceOf(buyer), 2);
    }

    function test_aPriceWithoutAMarketIsNobodysToCollect() external {
        Voucher memory voucher = newVoucher();
        voucher.price = 1;
        isRefused(abi.encodeWithSelector(ILicenseRecords.VoucherMarketOnly.selector, address(0), stranger), voucher);
    }

    function test_anUnknownPlanIsNamed() external {
        Voucher memory voucher = newVoucher();
        voucher.planId = 9;
        isRefused(unknown(9), voucher);
        voucher.signer = address(0);
        isRefused(unknown(9), voucher);
    }

    function test_theSignerMayIssueWhenItIsRedeemed() external {
        Voucher memory voucher = newVoucher();
        voucher.signer = agent;
        bytes memory signature = signed(AGENT_KEY, voucher);
        isRefused(notIssuer(agent), voucher, signature);
        grantRole(plan, agent, REVOKER | METER | GUARDIAN);
        isRefused(notIssuer(agent), voucher, signature);
        grantRole(plan, agent, ISSUER);
        grantRole(plan, agent, 0);
        isRefused(notIssuer(agent), voucher, signature);
        grantRole(plan, agent, ISSUER);
        eq(token.ownerOf(redeemAs(stranger, voucher, signature)), buyer);
        voucher.signer = address(0);
        isRefused(notIssuer(address(0)), voucher, signature);
    }

    // ---------------------------------------------------------------- nonces

    function test_noncesAreSpentInAnyOrderAndOnce() external {
        Voucher memory voucher = newVoucher();
        uint256[5] memory nonces = [uint256(255), 0, 256, type(uint256).max, 257];
        for (uint256 i; i < 5; ++i) {
            voucher.nonce = nonces[i];
            redeem(voucher);
            isRefused(nonceSpent(licensor, nonces[i]), voucher);
        }
        eq(ledger.noncesSpent(licensor, 0), 1 << 255 | 1);
        eq(ledger.noncesSpent(licensor, 1), 3);
        eq(ledger.noncesSpent(licensor, 2), 0);
        eq(ledger.noncesSpent(licensor, type(uint256).max >> 8), 1 << 255);
        eq(token.balanceOf(buyer), 5);
    }

    function test_aNonceIsSpentWhateverElseTheVoucherSays() external {
        Voucher memory voucher = newVoucher();
        redeem(voucher);
        voucher.to = stranger;
        isRefused(nonceSpent(licensor, 0), voucher);
        // On every plan of the signer.
        plan = newPlan(terms);
        isRefused(nonceSpent(licensor, 0), newVoucher());
    }

    function test_eachSignerHasItsOwnNonces() external {
        grantRole(plan, agent, ISSUER);
        redeem(newVoucher());
        redeemByRole(newVoucher());
        eq(ledger.noncesSpent(licensor, 0), 1);
        eq(ledger.noncesSpent(agent, 0), 1);
    }

    function test_aRefusedVoucherSpendsNothing() external {
        Voucher memory voucher = newVoucher();
        setPaused(true);
        isRefused(pausedPlan(), voucher);
        eq(ledger.noncesSpent(licensor, 0), 0);
        setPaused(false);
        redeem(voucher);
        setPaused(true);
        isRefused(nonceSpent(licensor, 0), voucher); // the nonce is looked at before the plan
    }

    function testFuzz_twoNoncesNeverMeet(uint256 first, uint256 second) external {
        Voucher memory voucher = newVoucher();
        voucher.nonce = first;
        redeem(voucher);
        voucher.nonce = second;
        if (first == second) {
            isRefused(nonceSpent(licensor, second), voucher);
            return;
        }
        redeem(voucher);
        eq(ledger.noncesSpent(licensor, first >> 8) >> (first & 255) & 1, 1);
        eq(ledger.noncesSpent(licensor, second >> 8) >> (second & 255) & 1, 1);
    }

    // ---------------------------------------------------------------- plan and title

    function test_theSupplyHoldsForVouchersToo() external {
        terms.supply = 2;
        plan = newPlan(terms);
        Voucher memory voucher = newVoucher();
        redeem(voucher);
        newLicense(plan, holder);
        voucher.nonce = 1;
        isRefused(soldOut(2), voucher);
    }

    function test_aModelThatIsNotActiveRedeemsNothing() external {
        Voucher memory voucher = newVoucher();
        for (uint8 i = 2; i <= 3; ++i) {
            setStatus(ModelStatus(i));
            isRefused(notIssuable(ModelStatus(i)), voucher);
        }
        setStatus(ModelStatus.ACTIVE);
        redeem(voucher);
    }

    function test_aFormerLicensorsVouchersEndWithItsTitle() external {
        grantRole(plan, agent, ISSUER);
        Voucher memory own = newVoucher();
        Voucher memory byRole = newVoucher();
        byRole.signer = agent;
        bytes memory signature = signed(AGENT_KEY, byRole);
        bytes32 digest = planDigest();

        moveTitle(licensor, holder);
        isRefused(titleMoved(holder), own);
        isRefused(titleMoved(holder), byRole, signature);
        ledger.syncLicensor(plan);
        isRefused(notIssuer(licensor), own);
        isRefused(notIssuer(agent), byRole, signature);
        // Whom the next licensor trusts too has still signed for another licensor's plan.
        vm.prank(holder);
        ledger.setRoles(plan, agent, ISSUER);
        isRefused(
            abi.encodeWithSelector(ILicenseRecords.VoucherPlanChanged.selector, plan, planDigest(), digest),
            byRole,
            signature
        );

        // The title comes back and with it the plan as it was signed; roles do not.
        moveTitle(holder, licensor);
        ledger.syncLicensor(plan);
        eq(planDigest(), digest);
        redeem(own);
        isRefused(notIssuer(agent), byRole, signature);
    }
}
