// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title WalletProbe
/// @notice Asks a contract wallet whether a signature is its own: ERC-1271, and ERC-6492 for a wallet not deployed yet.
/// Never deployed: its creation code runs in an `eth_call` without `to`, at a block the caller pins, and returns one word where the
/// code of a new contract would stand. Whatever the wallet or its factory does, the caller reads one of the words below.
/// @dev Warning: the factory runs before the wallet answers, with call data of the signer's choosing, so it is run for a wallet
/// without code alone. A deployed wallet answers for itself, from the state it is in.
contract WalletProbe {
    uint256 internal constant REFUSED = 0;
    uint256 internal constant ACCEPTED = 1;
    uint256 internal constant NO_CODE = 2;
    uint256 internal constant FAILED = 3;
    uint256 internal constant MALFORMED = 4;
    uint256 internal constant FACTORY_FAILED = 5;

    /// @dev `isValidSignature(bytes32,bytes)`, which is also the answer that accepts.
    bytes4 internal constant MAGIC = 0x1626ba7e;
    uint256 internal constant WALLET_GAS = 2_000_000;
    uint256 internal constant FACTORY_GAS = 3_000_000;

    /// @param wallet the account that should have signed.
    /// @param digest what was signed.
    /// @param signature as the wallet takes it, unwrapped.
    /// @param factory creates the wallet; zero for none.
    /// @param creation call data of the factory.
    constructor(address wallet, bytes32 digest, bytes memory signature, address factory, bytes memory creation) {
        uint256 answer = ask(wallet, digest, signature, factory, creation);
        assembly ("memory-safe") {
            mstore(0, answer)
            return(0, 32)
        }
    }

    function ask(address wallet, bytes32 digest, bytes memory signature, address factory, bytes memory creation)
        private
        returns (uint256)
    {
        if (wallet.code.length == 0) {
            if (factory == address(0)) return NO_CODE;
            bool made;
            // No return data is copied: it could be of any size.
            assembly ("memory-safe") {
                made := call(FACTORY_GAS, factory, 0, add(creation, 32), mload(creation), 0, 0)
            }
            if (!made || wallet.code.length == 0) return FACTORY_FAILED;
        }
        bytes memory question = abi.encodeWithSelector(MAGIC, digest, signature);
        bool answered;
        uint256 size;
        uint256 word;
        assembly ("memory-safe") {
            answered := staticcall(WALLET_GAS, wallet, add(question, 32), mload(question), 0, 32)
            size := returndatasize()
            word := mload(0)
        }
        if (!answered) return FAILED;
        if (size != 32) return MALFORMED;
        return word == uint256(bytes32(MAGIC)) ? ACCEPTED : REFUSED;
    }
}
