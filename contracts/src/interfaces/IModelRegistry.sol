// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {InclusionProof} from "./IAnchors.sol";

/// @notice The preimage of a model id. modelId = keccak256(abi.encode(DOMAIN, chainid, registry, licensor, artifactRoot,
/// fingerprintDigest, watermarkCommitment, manifestHash, keccak256(abi.encodePacked(parents)), salt)).
struct Claim {
    address licensor;
    bytes32 artifactRoot;
    bytes32 fingerprintDigest;
    bytes32 watermarkCommitment;
    bytes32 manifestHash;
    bytes32[] parents;
    bytes32 salt;
}

enum ModelStatus {
    NONE,
    ACTIVE,
    WITHDRAWN,
    COMPROMISED
}

/// @title ModelRegistry
interface IModelRegistry {
    event ModelRegistered(
        bytes32 indexed modelId,
        address indexed licensor,
        bytes32 indexed artifactRoot,
        bytes32 fingerprintDigest,
        bytes32 watermarkCommitment,
        bytes32 manifestHash,
        uint40 registeredAt,
        uint40 committedAt
    );
    event ParentDeclared(bytes32 indexed modelId, bytes32 indexed parent);
    event ParentConfirmed(bytes32 indexed modelId, bytes32 indexed parent, address indexed by);
    event CommitmentProven(bytes32 indexed modelId, uint40 committedAt);
    event TitleTransferProposed(bytes32 indexed modelId, address indexed from, address indexed to);
    event TitleTransferred(bytes32 indexed modelId, address indexed from, address indexed to, uint64 sequence);
    event GuardianSet(bytes32 indexed modelId, address indexed guardian, uint40 delay);
    event RecoveryStarted(bytes32 indexed modelId, address indexed guardian, address indexed to, uint40 readyAt);
    event RecoveryVetoed(bytes32 indexed modelId, address indexed by);
    event ModelStatusSet(bytes32 indexed modelId, ModelStatus status);
    event RecordLodged(bytes32 indexed modelId, uint16 indexed kind, address indexed sender, uint64 epoch, bytes32 recordHash);

    error ModelExists(bytes32 modelId);
    error ModelUnknown(bytes32 modelId);
    error ModelNotLicensor(bytes32 modelId, address caller);
    error ModelClaimNotSigned(address licensor, address caller);
    error ModelSignatureExpired(uint40 deadline);
    error ModelTooManyParents(uint256 count, uint256 max);
    error ModelParentUnknown(bytes32 parent);
    error ModelParentsNotSorted(uint256 index);
    error ModelCommitmentNotAnchored(bytes32 root);
    error ModelCommitmentNotEarlier(bytes32 root, uint64 anchoredBlock);
    error ModelCommitmentProofInvalid(bytes32 root, bytes32 leaf);
    error ModelCommitmentNotLower(uint40 committedAt, uint40 offered);
    error ModelNotPendingLicensor(bytes32 modelId, address caller);
    error ModelStatusForbidden(bytes32 modelId, ModelStatus from, ModelStatus to);
    error ModelSealingEpochNotRising(bytes32 modelId, uint64 latest, uint64 offered);
    error ModelRecordHashZero();
    error ModelSelfTransfer(bytes32 modelId);
    error ModelNotGuardian(bytes32 modelId, address caller);
    error ModelGuardianDelayTooShort(uint40 offered, uint40 min);
    error ModelRecoveryPending(bytes32 modelId, uint40 readyAt);
    error ModelNoRecovery(bytes32 modelId);

    function modelIdOf(Claim calldata claim) external view returns (bytes32);
    /// @notice Register by the licensor. `proof.root == 0` registers uncommitted.
    function register(Claim calldata claim, InclusionProof calldata proof) external returns (bytes32 modelId);
    /// @notice Relayed register with the licensor's EIP-712 `RegisterModel(bytes32 modelId,uint40 deadline)` signature.
    function registerBySig(Claim calldata claim, InclusionProof calldata proof, uint40 deadline, bytes calldata signature)
        external
        returns (bytes32 modelId);
    function proveEarlier(bytes32 modelId, InclusionProof calldata proof) external;
    function proposeTransfer(bytes32 modelId, address to) external;
    function acceptTransfer(bytes32 modelId) external;
    function setStatus(bytes32 modelId, ModelStatus status) external;
    /// @param kind 1 SEALING (current licensor only, epoch strictly rising); 2 DETECTION, 3 DISPUTE, 4 IDENTITY: anyone, epoch ignored (event says 0)
    function lodge(bytes32 modelId, uint16 kind, uint64 epoch, bytes32 recordHash) external;

    /// @return address(0) when unknown
    function licensorOf(bytes32 modelId) external view returns (address);
    /// @return licensor
    /// @return registeredAt seconds
    /// @return committedAt seconds; equals registeredAt when uncommitted
    /// @return status
    /// @return committed whether an earlier anchored commitment was proven
    function modelOf(bytes32 modelId)
        external
        view
        returns (address licensor, uint40 registeredAt, uint40 committedAt, ModelStatus status, bool committed);
    /// @return epoch the highest lodged, 0 when none
    function sealingOf(bytes32 modelId) external view returns (uint64 epoch, bytes32 recordHash);
    function sealingAt(bytes32 modelId, uint64 epoch) external view returns (bytes32 recordHash);
    function pendingLicensorOf(bytes32 modelId) external view returns (address);
    function titleSequenceOf(bytes32 modelId) external view returns (uint64);
}
