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
    event RecordLodged(
        bytes32 indexed modelId, uint16 indexed kind, address indexed sender, uint64 epoch, bytes32 recordHash
    );

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
    error ModelParentNotDeclared(bytes32 modelId, bytes32 parent);
    error ModelSealingEpochTooFar(bytes32 modelId, uint64 limit, uint64 offered);
    error ModelBatchLengths(uint256 claims, uint256 proofs);
    error ModelLedgerFailed(bytes32 modelId);

    /// @notice The id a claim has on this chain and this registry, registered or not.
    function modelIdOf(Claim calldata claim) external view returns (bytes32);

    /// @notice Registers a claim; the caller is its licensor. `proof.root == 0` registers uncommitted.
    /// @dev Parents: at most 8, strictly rising, each registered. The leaf under `proof.root` is
    /// keccak256(0x00 ‖ "modeldeed/commit/1" ‖ modelId), anchored in an earlier block than this one.
    function register(Claim calldata claim, InclusionProof calldata proof) external returns (bytes32 modelId);

    /// @notice Registers several claims of the caller, all or none.
    /// @param proofs one for each claim
    function registerBatch(Claim[] calldata claims, InclusionProof[] calldata proofs)
        external
        returns (bytes32[] memory modelIds);

    /// @notice Relayed register with the licensor's EIP-712 `RegisterModel(bytes32 modelId,uint40 deadline)` signature.
    /// @dev The relayer picks `proof`; one who leaves it out delays nothing: `proveEarlier` is open to anyone.
    function registerBySig(
        Claim calldata claim,
        InclusionProof calldata proof,
        uint40 deadline,
        bytes calldata signature
    ) external returns (bytes32 modelId);

    /// @notice Lowers `committedAt` to the time of an earlier anchored commitment. Anyone may; it never rises.
    function proveEarlier(bytes32 modelId, InclusionProof calldata proof) external;

    /// @notice Offers the title. Address zero withdraws the offer.
    function proposeTransfer(bytes32 modelId, address to) external;

    /// @notice Takes an offered title.
    /// @dev Warning: plans made by the previous licensor stop issuing at once, but until someone calls `syncLicensor` on each they
    /// still obey that account in all else: renew, suspend, revoke, evict, reissue, roles, pause, resale royalty. Do it in the same
    /// transaction or straight after.
    function acceptTransfer(bytes32 modelId) external;

    /// @notice ACTIVE, WITHDRAWN (no new license; licenses live on) or COMPROMISED (brokers stop releases); any of the
    /// three from any other.
    function setStatus(bytes32 modelId, ModelStatus status) external;

    /// @notice Puts the hash of a record on the model's file.
    /// @param kind 1 SEALING (current licensor only, epoch strictly rising); 2 DETECTION, 3 DISPUTE, 4 IDENTITY, or any other: anyone, epoch
    /// ignored (the event says 0)
    /// @param epoch at most 2^32 - 1 above the latest, so that no one can use the epochs up
    function lodge(bytes32 modelId, uint16 kind, uint64 epoch, bytes32 recordHash) external;

    /// @notice The licensor of a parent agrees that `claim` descends from it.
    /// @param claim the child's claim, which names its parents
    function confirmParent(Claim calldata claim, bytes32 parent) external;

    /// @notice Names who may recover the title after `delay` seconds; address zero names nobody.
    /// @dev Vetoes a recovery that is under way.
    /// @param delay at least 7 days
    function setGuardian(bytes32 modelId, address guardian, uint40 delay) external;

    /// @notice The guardian starts to move the title of a lost wallet to `to`.
    function startRecovery(bytes32 modelId, address to) external;

    /// @notice The licensor stops a recovery that is under way.
    function vetoRecovery(bytes32 modelId) external;

    /// @notice After the delay, the guardian moves the title.
    function finishRecovery(bytes32 modelId) external;

    /// @return address(0) when unknown
    function licensorOf(bytes32 modelId) external view returns (address);

    /// @notice What an issuer needs to know, in one word read.
    /// @return licensor address(0) when unknown
    /// @return status
    function titleOf(bytes32 modelId) external view returns (address licensor, ModelStatus status);

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

    /// @return recordHash zero when that epoch was never lodged
    function sealingAt(bytes32 modelId, uint64 epoch) external view returns (bytes32 recordHash);

    /// @return who was offered the title, address(0) when no one
    function pendingLicensorOf(bytes32 modelId) external view returns (address);

    /// @return how often the title has moved
    function titleSequenceOf(bytes32 modelId) external view returns (uint64);

    /// @return the licensor of `parent` who confirmed it, address(0) when unconfirmed
    function parentConfirmedBy(bytes32 modelId, bytes32 parent) external view returns (address);

    /// @return guardian address(0) when there is none
    /// @return delay seconds
    function guardianOf(bytes32 modelId) external view returns (address guardian, uint40 delay);

    /// @return to address(0) when no recovery is under way
    /// @return readyAt seconds
    function recoveryOf(bytes32 modelId) external view returns (address to, uint40 readyAt);

    /// @return the LicenseLedger that is told when title or status change, whether it is deployed already or not
    function ledger() external view returns (address);

    /// @return the `Anchors` contract whose stamps count here
    function anchors() external view returns (address);
}
