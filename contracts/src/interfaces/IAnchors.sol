// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice Proof that a leaf stands at `index` among `size` leaves under a T2 root
/// (keccak-256, RFC 6962 shape, RFC 9162 section 2.1.3.2 verification).
struct InclusionProof {
    bytes32 root;
    uint64 index;
    uint64 size;
    bytes32[] path;
}

/// @title Anchors
/// @notice First-write-wins time stamps for 32-byte roots. Permissionless: a root commits to its owner in its preimage.
/// @dev Warning: an anchor proves "not later than", never authorship. Whoever sends the transaction gains nothing by it.
/// Warning: `blockNumber` is what `block.number` says; on some rollups that is a block of the settlement layer.
/// Assumed for correctness: the chain is final and its time stamps lie within the tolerance of its chain profile.
interface IAnchors {
    event RootAnchored(bytes32 indexed root, address indexed sender);
    event PhaseACommitted(address indexed sender, uint64 indexed number, bytes32 indexed commitment);

    error AnchorsZeroRoot();
    error AnchorsRootTaken(bytes32 root, uint40 anchoredAt, uint64 blockNumber);
    error AnchorsCommitmentTaken(bytes32 commitment);

    /// @notice Stamps `root` with the time and number of this block. The first write stands for ever.
    /// @param root of one leaf or of a million: the gas is the same; must not be zero, must not be anchored yet
    function anchor(bytes32 root) external;

    /// @return time seconds, 0 if never anchored
    /// @return blockNumber 0 if never anchored
    function anchoredAt(bytes32 root) external view returns (uint40 time, uint64 blockNumber);

    /// @notice Commits to a watermark key, one per call and numbered per sender, so that one sender's many keys show.
    /// @dev Warning: accounts are free, so a number shows how many keys this sender tried, not how many its owner did. Evidence counts a
    /// commitment only for the claim's own licensor, and says what is left.
    /// @dev Another account that copies a commitment out of the mempool cannot block its owner: each sender keeps a
    /// record of its own, and only a repetition by the same sender reverts.
    /// @return number how many commitments this sender has made, this one included
    function commitPhaseA(bytes32 commitment) external returns (uint64 number);

    /// @notice The first record of `commitment`, whoever made it.
    /// @return sender address(0) when there is none
    function phaseAOf(bytes32 commitment) external view returns (address sender, uint64 number, uint40 time);

    /// @notice The record of `commitment` made by `sender`.
    /// @return number 0 when there is none
    /// @return time seconds
    function phaseABy(address sender, bytes32 commitment) external view returns (uint64 number, uint40 time);

    /// @return how many commitments `sender` has made
    function phaseACount(address sender) external view returns (uint64);
}
