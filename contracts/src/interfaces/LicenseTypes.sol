// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice What a licensor offers. Times in seconds.
struct PlanTerms {
    bytes32 modelId;
    bytes32 termsHash;
    uint40 duration; // 0: perpetual (notAfter = type(uint40).max)
    uint24 grace;
    uint32 leaseTtl;
    uint32 maxOffline; // leaseTtl + grace <= maxOffline
    uint32 minNotice;
    uint32 refundWindow;
    uint32 reissueDelay;
    uint16 seats; // 0: unlimited
    uint32 supply; // 0: unlimited
    uint64 quota; // 0: unmetered
    uint64 features; // bit set
    uint64 brokerSet; // BrokerRegistry set id
    address payToken; // address(0): native
    uint96 price;
    bool floating; // seat mode: false BOUND (on chain), true FLOATING (broker leases)
    bool warnOnly; // mode: false enforce, true warn (trials)
    bool transferable;
}

/// @notice A plan as stored.
struct PlanState {
    address licensor;
    uint32 issued;
    uint32 roleEpoch;
    bool paused;
    bytes32 planDigest;
}

enum LicenseStatus {
    NONE,
    ACTIVE,
    SUSPENDED,
    REVOKED
}

/// @notice One license of a batch. leaf = keccak256(keccak256(abi.encode(chainid, ledger, planId, index, to, notBefore, notAfter,
/// extHash, salt))), at place `index` of a T2 tree of `count` leaves.
/// @dev Hashed twice: no inner node, whose preimage is 65 bytes, can pass for it. `salt` keeps the others unguessable.
struct BatchLeaf {
    uint32 index;
    address to;
    uint40 notBefore; // 0: since the batch was anchored
    uint40 notAfter; // 0: notBefore + plan duration
    bytes32 extHash; // hash of an order or invoice, zero when none
    bytes32 salt;
}

/// @notice A signed offer of one license. EIP-712 type, in the ledger's domain: `Voucher(address signer,uint32 planId,address
/// to,address market,uint40 notBefore,uint40 notAfter,address payToken,uint96 price,bytes32 planDigest,bytes32 extHash,uint256
/// nonce,uint40 deadline)`.
/// @dev It names licensor and terms, so it is void once the title has moved, and good again should the title come back: `cancelVouchers`.
struct Voucher {
    address signer; // licensor, or ISSUER when it is redeemed
    uint32 planId;
    address to;
    address market; // who collects the price and redeems, even when that is 0; address(0): anyone redeems, and only when it is 0
    uint40 notBefore; // as in `issue`
    uint40 notAfter; // as in `issue`
    address payToken;
    uint96 price;
    bytes32 planDigest; // licensor, model, terms, price, token and duration that the signer saw
    bytes32 extHash; // hash of an order or invoice
    uint256 nonce; // unordered: any number that this signer has not spent
    uint40 deadline;
}
