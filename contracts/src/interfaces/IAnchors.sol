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
interface IAnchors {
    event RootAnchored(bytes32 indexed root, address indexed sender);
    event PhaseACommitted(address indexed sender, uint64 indexed number, bytes32 indexed commitment);

    error AnchorsZeroRoot();
    error AnchorsRootTaken(bytes32 root, uint40 anchoredAt, uint64 blockNumber);
    error AnchorsCommitmentTaken(bytes32 commitment);

    function anchor(bytes32 root) external;
    /// @return time seconds, 0 if never anchored
    /// @return blockNumber 0 if never anchored
    function anchoredAt(bytes32 root) external view returns (uint40 time, uint64 blockNumber);
    function commitPhaseA(bytes32 commitment) external returns (uint64 number);
    function phaseAOf(bytes32 commitment) external view returns (address sender, uint64 number, uint40 time);
    function phaseACount(address sender) external view returns (uint64);
}
