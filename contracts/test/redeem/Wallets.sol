// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice An ERC-1271 wallet of many moods.
contract Wallet {
    enum Mood {
        HONEST,
        REVERTING,
        EMPTY,
        SHORT, // the four right bytes and no more
        WRONG, // 32 bytes that say no
        TRUE, // what a bool would be
        DIRTY, // the right four bytes, then others
        HUGE, // the right word, then 100,000 zeros
        HUGE_WRONG
    }

    Mood public mood;
    bytes32 public accepted;

    function accept(bytes32 digest) external {
        accepted = digest;
    }

    function turn(Mood mood_) external {
        mood = mood_;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        bytes4 magic = this.isValidSignature.selector;
        if (mood == Mood.HONEST) {
            return digest == accepted && keccak256(signature) == keccak256("signature") ? magic : bytes4(0xffffffff);
        }
        if (mood == Mood.REVERTING) revert("no");
        if (mood == Mood.WRONG) return 0xffffffff;
        uint256 size = mood == Mood.EMPTY ? 0 : mood == Mood.SHORT ? 4 : mood >= Mood.HUGE ? 100_000 : 32;
        bytes32 word = magic;
        if (mood == Mood.TRUE) word = bytes32(uint256(1));
        if (mood == Mood.DIRTY) word |= bytes32(uint256(1));
        if (mood == Mood.HUGE_WRONG) word = bytes4(0xffffffff);
        assembly {
            let m := mload(0x40)
            mstore(m, word)
            return(m, size)
        }
    }
}

/// @notice A contract that signs nothing.
contract Mute {}
