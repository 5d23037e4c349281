// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Voucher} from "../interfaces/LicenseTypes.sol";

/// @title VoucherLib
/// @notice EIP-712 hash of a Voucher.
library VoucherLib {
    bytes32 private constant VOUCHER_TYPEHASH = keccak256(
        "Voucher(address signer,uint32 planId,address to,address market,uint40 notBefore,uint40 notAfter,address payToken,uint96 price,bytes32 planDigest,bytes32 extHash,uint256 nonce,uint40 deadline)"
    );

    function structHash(Voucher calldata voucher) internal pure returns (bytes32) {
        return keccak256(abi.encode(VOUCHER_TYPEHASH, voucher));
    }
}
