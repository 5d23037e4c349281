// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {EIP712} from "solady/utils/EIP712.sol";
import {SignatureCheckerLib} from "solady/utils/SignatureCheckerLib.sol";

import {IAnchors, InclusionProof} from "./interfaces/IAnchors.sol";
import {Claim, IModelRegistry, ModelStatus} from "./interfaces/IModelRegistry.sol";
import {ILicenseExtension} from "./interfaces/ILicenseExtension.sol";
import {InclusionLib} from "./libraries/InclusionLib.sol";
import {TitleWord, TitleWordLib} from "./types/TitleWord.sol";

/// @title ModelRegistry
/// @notice Implements {IModelRegistry}, where everything is documented.
contract ModelRegistry is IModelRegistry, EIP712 {
    using InclusionLib for InclusionProof;

    struct Transfer {
        address pending;
        uint64 sequence;
    }

    struct Guardian {
        address account;
        uint40 delay;
    }

    struct Recovery {
        address to;
        uint40 readyAt;
    }

    bytes32 private constant DOMAIN = keccak256("modeldeed/model/1");
    bytes32 private constant REGISTER_TYPEHASH = keccak256("RegisterModel(bytes32 modelId,uint40 deadline)");
    uint256 private constant MAX_PARENTS = 8;
    uint40 private constant MIN_RECOVERY_DELAY = 7 days;
    uint64 private constant MAX_EPOCH_STEP = type(uint32).max;
    uint16 private constant KIND_SEALING = 1;

    IAnchors private immutable _anchors;
    /// @dev Where the LicenseLedger of this registry is or will be. It takes this registry's address and its own creation code
    /// decides its address, so neither can stand in the other's creation code: it is computed here.
    address private immutable _ledger;

    mapping(bytes32 modelId => TitleWord) private _titles; // slot 0
    mapping(bytes32 modelId => Transfer) private _transfers; // slot 1
    mapping(bytes32 modelId => uint64 epoch) private _sealingEpoch; // slot 2
    mapping(bytes32 modelId => mapping(uint64 epoch => bytes32 recordHash)) private _sealings; // slot 3
    mapping(bytes32 modelId => Guardian) private _guardians; // slot 4
    mapping(bytes32 modelId => Recovery) private _recoveries; // slot 5
    mapping(bytes32 modelId => mapping(bytes32 parent => address)) private _confirmedBy; // slot 6

    /// @param factory and salt of the CREATE2 (EIP-1014) that makes the ledger
    /// @param ledgerCode its creation code without arguments, which are this registry, `renderer` and `extension`
    constructor(
        address anchors_,
        address factory,
        bytes32 salt,
        bytes memory ledgerCode,
        address renderer,
        address extension
    ) {
        _anchors = IAnchors(anchors_);
        bytes32 initCodeHash = keccak256(bytes.concat(ledgerCode, abi.encode(address(this), renderer, extension)));
        _ledger = address(uint160(uint256(keccak256(abi.encodePacked(bytes1(0xff), factory, salt, initCodeHash)))));
    }

    // ---------------------------------------------------------------- registration

    /// @inheritdoc IModelRegistry
    function register(Claim calldata claim, InclusionProof calldata proof) public returns (bytes32 modelId) {
        if (msg.sender != claim.licensor) revert ModelClaimNotSigned(claim.licensor, msg.sender);
        modelId = modelIdOf(claim);
        _register(modelId, claim, proof);
    }

    /// @inheritdoc IModelRegistry
    function registerBatch(Claim[] calldata claims, InclusionProof[] calldata proofs)
        external
        returns (bytes32[] memory modelIds)
    {
        if (claims.length != proofs.length) revert ModelBatchLengths(claims.length, proofs.length);
        modelIds = new bytes32[](claims.length);
        for (uint256 i; i < claims.length; ++i) {
            modelIds[i] = register(claims[i], proofs[i]);
        }
    }

    /// @inheritdoc IModelRegistry
    function registerBySig(
        Claim calldata claim,
        InclusionProof calldata proof,
        uint40 deadline,
        bytes calldata signature
    ) external returns (bytes32 modelId) {
        if (block.timestamp > deadline) revert ModelSignatureExpired(deadline);
        modelId = modelIdOf(claim);
        bytes32 digest = _hashTypedData(keccak256(abi.encode(REGISTER_TYPEHASH, modelId, deadline)));
        if (!SignatureCheckerLib.isValidSignatureNowCalldata(claim.licensor, digest, signature)) {
            revert ModelClaimNotSigned(claim.licensor, msg.sender);
        }
        _register(modelId, claim, proof);
    }

    function _register(bytes32 modelId, Claim calldata claim, InclusionProof calldata proof) private {
        if (_titles[modelId].licensor() != address(0)) revert ModelExists(modelId);
        _checkParents(claim.parents);
        uint40 registeredAt = uint40(block.timestamp);
        uint40 committedAt = registeredAt;
        bool committed = proof.root != 0;
        if (committed) committedAt = _commitmentTime(modelId, proof);
        _titles[modelId] = TitleWordLib.fresh(claim.licensor, registeredAt, committedAt, committed);
        emit ModelRegistered(
            modelId,
            claim.licensor,
            claim.artifactRoot,
            claim.fingerprintDigest,
            claim.watermarkCommitment,
            claim.manifestHash,
            registeredAt,
            committedAt
        );
        for (uint256 i; i < claim.parents.length; ++i) {
            emit ParentDeclared(modelId, claim.parents[i]);
        }
    }

    /// @inheritdoc IModelRegistry
    function proveEarlier(bytes32 modelId, InclusionProof calldata proof) external {
        TitleWord title = _known(modelId);
        uint40 present = title.committedAt();
        uint40 committedAt = _commitmentTime(modelId, proof);
        // A strictly earlier second is a strictly earlier block than the one that registered it.
        if (committedAt >= present) revert ModelCommitmentNotLower(present, committedAt);
        _titles[modelId] = title.withCommittedAt(committedAt);
        emit CommitmentProven(modelId, committedAt);
    }

    function _checkParents(bytes32[] calldata parents) private view {
        if (parents.length > MAX_PARENTS) revert ModelTooManyParents(parents.length, MAX_PARENTS);
        bytes32 last;
        for (uint256 i; i < parents.length; ++i) {
            bytes32 parent = parents[i];
            if (parent <= last) revert ModelParentsNotSorted(i);
            if (_titles[parent].licensor() == address(0)) revert ModelParentUnknown(parent);
            last = parent;
        }
    }

    /// @dev The time at which the commitment to `modelId` was anchored, in an earlier block than this one.
    function _commitmentTime(bytes32 modelId, InclusionProof calldata proof) private view returns (uint40) {
        bytes32 leaf = keccak256(abi.encodePacked(bytes1(0x00), "modeldeed/commit/1", modelId));
        if (!proof.verifies(leaf)) revert ModelCommitmentProofInvalid(proof.root, leaf);
        (uint40 time, uint64 blockNumber) = _anchors.anchoredAt(proof.root);
        if (time == 0) revert ModelCommitmentNotAnchored(proof.root);
        // In the same block a copier could have seen the claim and put a commitment in front of it.
        if (blockNumber >= block.number) revert ModelCommitmentNotEarlier(proof.root, blockNumber);
        return time;
    }

    // ---------------------------------------------------------------- title

    /// @inheritdoc IModelRegistry
    function proposeTransfer(bytes32 modelId, address to) external {
        _checkLicensor(modelId);
        _checkNoRecovery(modelId);
        if (to == msg.sender) revert ModelSelfTransfer(modelId);
        _transfers[modelId].pending = to;
        emit TitleTransferProposed(modelId, msg.sender, to);
    }

    /// @inheritdoc IModelRegistry
    function acceptTransfer(bytes32 modelId) external {
        address from = _known(modelId).licensor();
        if (msg.sender != _transfers[modelId].pending) revert ModelNotPendingLicensor(modelId, msg.sender);
        _checkNoRecovery(modelId);
        _moveTitle(modelId, from, msg.sender);
    }

    /// @inheritdoc IModelRegistry
    function setStatus(bytes32 modelId, ModelStatus status) external {
        TitleWord title = _checkLicensor(modelId);
        ModelStatus present = title.status();
        if (status == ModelStatus.NONE || status == present) revert ModelStatusForbidden(modelId, present, status);
        _titles[modelId] = title.withStatus(status);
        emit ModelStatusSet(modelId, status);
        _tellLedger(modelId);
    }

    /// @dev A guardian was trusted by the holder who named it, not by the next one.
    function _moveTitle(bytes32 modelId, address from, address to) private {
        uint64 sequence = _transfers[modelId].sequence + 1;
        _titles[modelId] = _titles[modelId].withLicensor(to);
        _transfers[modelId] = Transfer(address(0), sequence);
        if (_guardians[modelId].account != address(0)) {
            delete _guardians[modelId];
            emit GuardianSet(modelId, address(0), 0);
        }
        emit TitleTransferred(modelId, from, to, sequence);
        _tellLedger(modelId);
    }

    /// @dev So that no plan issues on a title it no longer has. A low-level call: before the ledger is deployed there is nobody
    /// to tell and nothing to stop.
    function _tellLedger(bytes32 modelId) private {
        (bool ok,) = _ledger.call(abi.encodeCall(ILicenseExtension.titleTouched, (modelId)));
        if (!ok) revert ModelLedgerFailed(modelId);
    }

    // ---------------------------------------------------------------- recovery

    /// @inheritdoc IModelRegistry
    function setGuardian(bytes32 modelId, address guardian, uint40 delay) external {
        _checkLicensor(modelId);
        if (guardian == address(0)) delay = 0;
        else if (delay < MIN_RECOVERY_DELAY) revert ModelGuardianDelayTooShort(delay, MIN_RECOVERY_DELAY);
        // One call both vetoes and dismisses: a hostile guardian could otherwise start again in between, for ever.
        if (_recoveries[modelId].to != address(0)) _veto(modelId);
        _guardians[modelId] = Guardian(guardian, delay);
        emit GuardianSet(modelId, guardian, delay);
    }

    /// @inheritdoc IModelRegistry
    function startRecovery(bytes32 modelId, address to) external {
        Guardian memory guardian = _checkGuardian(modelId);
        _checkNoRecovery(modelId);
        if (to == _titles[modelId].licensor() || to == address(0)) revert ModelSelfTransfer(modelId);
        uint40 readyAt = uint40(block.timestamp) + guardian.delay;
        _recoveries[modelId] = Recovery(to, readyAt);
        emit RecoveryStarted(modelId, msg.sender, to, readyAt);
    }

    /// @inheritdoc IModelRegistry
    function vetoRecovery(bytes32 modelId) external {
        _checkLicensor(modelId);
        if (_recoveries[modelId].to == address(0)) revert ModelNoRecovery(modelId);
        _veto(modelId);
    }

    function _veto(bytes32 modelId) private {
        delete _recoveries[modelId];
        emit RecoveryVetoed(modelId, msg.sender);
    }

    /// @inheritdoc IModelRegistry
    function finishRecovery(bytes32 modelId) external {
        _checkGuardian(modelId);
        Recovery memory recovery = _recoveries[modelId];
        if (recovery.to == address(0)) revert ModelNoRecovery(modelId);
        if (block.timestamp < recovery.readyAt) revert ModelRecoveryPending(modelId, recovery.readyAt);
        delete _recoveries[modelId];
        _moveTitle(modelId, _titles[modelId].licensor(), recovery.to);
    }

    // ---------------------------------------------------------------- records

    /// @inheritdoc IModelRegistry
    function lodge(bytes32 modelId, uint16 kind, uint64 epoch, bytes32 recordHash) external {
        if (recordHash == 0) revert ModelRecordHashZero();
        if (kind == KIND_SEALING) {
            _checkLicensor(modelId);
            uint64 latest = _sealingEpoch[modelId];
            if (epoch <= latest) revert ModelSealingEpochNotRising(modelId, latest, epoch);
            if (epoch - latest > MAX_EPOCH_STEP) {
                revert ModelSealingEpochTooFar(modelId, latest + MAX_EPOCH_STEP, epoch);
            }
            _sealingEpoch[modelId] = epoch;
            _sealings[modelId][epoch] = recordHash;
        } else {
            _known(modelId);
            epoch = 0;
        }
        emit RecordLodged(modelId, kind, msg.sender, epoch, recordHash);
    }

    /// @inheritdoc IModelRegistry
    function confirmParent(Claim calldata claim, bytes32 parent) external {
        bytes32 modelId = modelIdOf(claim);
        _known(modelId);
        _checkLicensor(parent);
        bool declared;
        for (uint256 i; i < claim.parents.length; ++i) {
            if (claim.parents[i] == parent) declared = true;
        }
        if (!declared) revert ModelParentNotDeclared(modelId, parent);
        _confirmedBy[modelId][parent] = msg.sender;
        emit ParentConfirmed(modelId, parent, msg.sender);
    }

    // ---------------------------------------------------------------- reads

    /// @inheritdoc IModelRegistry
    function modelIdOf(Claim calldata claim) public view returns (bytes32) {
        return keccak256(
            abi.encode(
                DOMAIN,
                block.chainid,
                address(this),
                claim.licensor,
                claim.artifactRoot,
                claim.fingerprintDigest,
                claim.watermarkCommitment,
                claim.manifestHash,
                keccak256(abi.encodePacked(claim.parents)),
                claim.salt
            )
        );
    }

    /// @inheritdoc IModelRegistry
    function licensorOf(bytes32 modelId) external view returns (address) {
        return _titles[modelId].licensor();
    }

    /// @inheritdoc IModelRegistry
    function titleOf(bytes32 modelId) external view returns (address licensor, ModelStatus status) {
        TitleWord title = _titles[modelId];
        return (title.licensor(), title.status());
    }

    /// @inheritdoc IModelRegistry
    function modelOf(bytes32 modelId)
        external
        view
        returns (address licensor, uint40 registeredAt, uint40 committedAt, ModelStatus status, bool committed)
    {
        TitleWord title = _titles[modelId];
        return (title.licensor(), title.registeredAt(), title.committedAt(), title.status(), title.isCommitted());
    }

    /// @inheritdoc IModelRegistry
    function sealingOf(bytes32 modelId) external view returns (uint64 epoch, bytes32 recordHash) {
        epoch = _sealingEpoch[modelId];
        recordHash = _sealings[modelId][epoch];
    }

    /// @inheritdoc IModelRegistry
    function sealingAt(bytes32 modelId, uint64 epoch) external view returns (bytes32 recordHash) {
        return _sealings[modelId][epoch];
    }

    /// @inheritdoc IModelRegistry
    function pendingLicensorOf(bytes32 modelId) external view returns (address) {
        return _transfers[modelId].pending;
    }

    /// @inheritdoc IModelRegistry
    function titleSequenceOf(bytes32 modelId) external view returns (uint64) {
        return _transfers[modelId].sequence;
    }

    /// @inheritdoc IModelRegistry
    function parentConfirmedBy(bytes32 modelId, bytes32 parent) external view returns (address) {
        return _confirmedBy[modelId][parent];
    }

    /// @inheritdoc IModelRegistry
    function guardianOf(bytes32 modelId) external view returns (address guardian, uint40 delay) {
        Guardian memory record = _guardians[modelId];
        return (record.account, record.delay);
    }

    /// @inheritdoc IModelRegistry
    function recoveryOf(bytes32 modelId) external view returns (address to, uint40 readyAt) {
        Recovery memory record = _recoveries[modelId];
        return (record.to, record.readyAt);
    }

    /// @inheritdoc IModelRegistry
    function ledger() external view returns (address) {
        return _ledger;
    }

    /// @inheritdoc IModelRegistry
    function anchors() external view returns (address) {
        return address(_anchors);
    }

    // ---------------------------------------------------------------- shared checks

    function _known(bytes32 modelId) private view returns (TitleWord title) {
        title = _titles[modelId];
        if (title.licensor() == address(0)) revert ModelUnknown(modelId);
    }

    function _checkLicensor(bytes32 modelId) private view returns (TitleWord title) {
        title = _known(modelId);
        if (title.licensor() != msg.sender) revert ModelNotLicensor(modelId, msg.sender);
    }

    function _checkGuardian(bytes32 modelId) private view returns (Guardian memory guardian) {
        guardian = _guardians[modelId];
        // Address zero never calls, so a model without a guardian stops here too.
        if (guardian.account != msg.sender) revert ModelNotGuardian(modelId, msg.sender);
    }

    function _checkNoRecovery(bytes32 modelId) private view {
        Recovery memory recovery = _recoveries[modelId];
        if (recovery.to != address(0)) revert ModelRecoveryPending(modelId, recovery.readyAt);
    }

    function _domainNameAndVersion() internal pure override returns (string memory name, string memory version) {
        return ("modeldeed ModelRegistry", "1");
    }
}
