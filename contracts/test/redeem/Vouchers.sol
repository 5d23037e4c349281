// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {PlanState, Voucher} from "../../src/interfaces/LicenseTypes.sol";
import {Titles} from "../titleTouched/Titles.sol";

/// @notice Vouchers and their digests, written out from the EIP-712 type that Voucher documents.
abstract contract Vouchers is Titles {
    uint256 internal constant AGENT_KEY = 0xA6E27;

    bytes32 internal constant VOUCHER_TYPEHASH = keccak256(
        "Voucher(address signer,uint32 planId,address to,address market,uint40 notBefore,uint40 notAfter,address payToken,uint96 price,bytes32 planDigest,bytes32 extHash,uint256 nonce,uint40 deadline)"
    );

    constructor() {
        agent = vm.addr(AGENT_KEY);
    }

    /// @dev Free, for `buyer`, by the licensor, valid this second.
    function newVoucher() internal view returns (Voucher memory voucher) {
        voucher.signer = licensor;
        voucher.planId = plan;
        voucher.to = buyer;
        voucher.planDigest = planDigest();
        voucher.extHash = keccak256("order");
        voucher.deadline = START;
    }

    function planDigest() internal view returns (bytes32) {
        (, PlanState memory state) = ledger.planOf(plan);
        return state.planDigest;
    }

    function domainOf(string memory name, string memory version, uint256 chainId, address at)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(name)),
                keccak256(bytes(version)),
                chainId,
                at
            )
        );
    }

    function domain() internal view returns (bytes32) {
        return domainOf("modeldeed LicenseLedger", "1", block.chainid, address(ledger));
    }

    function digestOf(bytes32 domain_, Voucher memory voucher) internal pure returns (bytes32) {
        bytes memory first = abi.encode(
            VOUCHER_TYPEHASH,
            voucher.signer,
            voucher.planId,
            voucher.to,
            voucher.market,
            voucher.notBefore,
            voucher.notAfter
        );
        bytes memory last = abi.encode(
            voucher.payToken, voucher.price, voucher.planDigest, voucher.extHash, voucher.nonce, voucher.deadline
        );
        return keccak256(abi.encodePacked(hex"1901", domain_, keccak256(abi.encodePacked(first, last))));
    }

    function signed(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function signed(uint256 key, Voucher memory voucher) internal view returns (bytes memory) {
        return signed(key, digestOf(domain(), voucher));
    }

    function notSigned(address signer) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(ILicenseRecords.VoucherNotSigned.selector, signer);
    }

    function nonceSpent(address signer, uint256 nonce) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(ILicenseRecords.NonceSpent.selector, signer, nonce);
    }

    function notIssuer(address signer) internal view returns (bytes memory) {
        return abi.encodeWithSelector(ILicenseRecords.VoucherSignerNotIssuer.selector, plan, signer);
    }

    // ---------------------------------------------------------------- shortest ways

    function redeemAs(address who, Voucher memory voucher, bytes memory signature) internal returns (uint256) {
        vm.prank(who);
        return ledger.redeem(voucher, signature);
    }

    /// @dev By anyone, signed by the licensor.
    function redeem(Voucher memory voucher) internal returns (uint256) {
        bytes memory signature = signed(LICENSOR_KEY, voucher);
        return redeemAs(stranger, voucher, signature);
    }

    function redeemByRole(Voucher memory voucher) internal returns (uint256) {
        voucher.signer = agent;
        bytes memory signature = signed(AGENT_KEY, voucher);
        return redeemAs(stranger, voucher, signature);
    }

    function isRefused(bytes memory why, Voucher memory voucher) internal {
        bytes memory signature = signed(LICENSOR_KEY, voucher);
        isRefused(why, voucher, signature);
    }

    function isRefused(bytes memory why, Voucher memory voucher, bytes memory signature) internal {
        vm.expectRevert(why);
        redeemAs(stranger, voucher, signature);
    }
}
