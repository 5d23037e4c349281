# ruff: noqa: D101  each class below is its own three lines of documentation: signature, sentence, hint
"""The Solidity errors of Anchors, ModelRegistry and BrokerRegistry; import from ``reverts``."""

from __future__ import annotations

from typing import ClassVar

from ledger.chain.solidity_error import SolidityError

MODEL_STATUS = {0: "unregistered", 1: "active", 2: "withdrawn", 3: "compromised"}


# -- Anchors -------------------------------------------------------------------------------------


class AnchorsZeroRoot(SolidityError):
    signature = "AnchorsZeroRoot()"
    sentence = "a root of zeros cannot be anchored"
    default_hint = "anchor the hash of something"


class AnchorsRootTaken(SolidityError):
    signature = "AnchorsRootTaken(bytes32 root,uint40 anchoredAt,uint64 blockNumber)"
    sentence = "root {root} is anchored since {anchoredAt} (block {blockNumber})"
    default_hint = "nothing is lost: the earlier time stands"


class AnchorsCommitmentTaken(SolidityError):
    signature = "AnchorsCommitmentTaken(bytes32 commitment)"
    sentence = "commitment {commitment} was made before"
    default_hint = "make a new salt, so that the commitment is new"


# -- ModelRegistry -------------------------------------------------------------------------------


class ModelExists(SolidityError):
    signature = "ModelExists(bytes32 modelId)"
    sentence = "model {modelId} is registered already"
    default_hint = "nothing needs to be done twice; see deed evidence show or the index"


class ModelUnknown(SolidityError):
    signature = "ModelUnknown(bytes32 modelId)"
    sentence = "model {modelId} is not registered"
    default_hint = "register it with deed publish, or check the id and the network"


class ModelNotLicensor(SolidityError):
    signature = "ModelNotLicensor(bytes32 modelId,address caller)"
    sentence = "{caller} does not hold the title of model {modelId}"
    default_hint = "use the wallet of the model's licensor (--wallet)"


class ModelClaimNotSigned(SolidityError):
    signature = "ModelClaimNotSigned(address licensor,address caller)"
    sentence = "the claim names licensor {licensor}, but {caller} sent it without that signature"
    default_hint = "send it from {licensor}, or with its signature"


class ModelSignatureExpired(SolidityError):
    signature = "ModelSignatureExpired(uint40 deadline)"
    sentence = "the licensor's signature was good until {deadline}"
    default_hint = "sign again with a later deadline"


class ModelTooManyParents(SolidityError):
    signature = "ModelTooManyParents(uint256 count,uint256 max)"
    sentence = "a model names at most {max} parents, not {count}"
    default_hint = "name the direct parents only"


class ModelParentUnknown(SolidityError):
    signature = "ModelParentUnknown(bytes32 parent)"
    sentence = "parent {parent} is not registered here"
    default_hint = "register the parent first, or leave it out"


class ModelParentsNotSorted(SolidityError):
    signature = "ModelParentsNotSorted(uint256 index)"
    sentence = "the parents are not in strictly rising order (at {index})"
    default_hint = "sort the parents and name each once"


class ModelCommitmentNotAnchored(SolidityError):
    signature = "ModelCommitmentNotAnchored(bytes32 root)"
    sentence = "commitment root {root} was never anchored"
    default_hint = "anchor the commitment first, then register"


class ModelCommitmentNotEarlier(SolidityError):
    signature = "ModelCommitmentNotEarlier(bytes32 root,uint64 anchoredBlock)"
    sentence = "commitment root {root} was anchored in this same block ({anchoredBlock})"
    default_hint = "register at least one block after the commitment"


class ModelCommitmentProofInvalid(SolidityError):
    signature = "ModelCommitmentProofInvalid(bytes32 root,bytes32 leaf)"
    sentence = "the proof does not place commitment {leaf} under root {root}"
    default_hint = "use the claim, salt and proof of the same publication"


class ModelCommitmentNotLower(SolidityError):
    signature = "ModelCommitmentNotLower(uint40 committedAt,uint40 offered)"
    sentence = "the model is committed since {committedAt}; {offered} is not earlier"
    default_hint = "nothing is lost: the earlier time stands"


class ModelNotPendingLicensor(SolidityError):
    signature = "ModelNotPendingLicensor(bytes32 modelId,address caller)"
    sentence = "the title of model {modelId} was not offered to {caller}"
    default_hint = "ask the licensor to propose the transfer to this wallet"


class ModelStatusForbidden(SolidityError):
    signature = "ModelStatusForbidden(bytes32 modelId,uint8 from,uint8 to)"
    sentence = "model {modelId} cannot go from {from} to {to}"
    default_hint = "a compromised model stays compromised"
    enums: ClassVar = {"from": MODEL_STATUS, "to": MODEL_STATUS}


class ModelSealingEpochNotRising(SolidityError):
    signature = "ModelSealingEpochNotRising(bytes32 modelId,uint64 latest,uint64 offered)"
    sentence = "sealing epoch {offered} of model {modelId} is not above the latest, {latest}"
    default_hint = "seal again: deed reseal takes the next epoch"


class ModelRecordHashZero(SolidityError):
    signature = "ModelRecordHashZero()"
    sentence = "a record hash of zeros cannot be lodged"


class ModelSelfTransfer(SolidityError):
    signature = "ModelSelfTransfer(bytes32 modelId)"
    sentence = "the title of model {modelId} is this wallet's already"
    default_hint = "name the new holder's address"


class ModelNotGuardian(SolidityError):
    signature = "ModelNotGuardian(bytes32 modelId,address caller)"
    sentence = "{caller} is not the guardian of model {modelId}"
    default_hint = "use the guardian's wallet"


class ModelGuardianDelayTooShort(SolidityError):
    signature = "ModelGuardianDelayTooShort(uint40 offered,uint40 min)"
    sentence = "the guardian's delay is shorter than the contract allows"
    default_hint = "give a longer delay"


class ModelRecoveryPending(SolidityError):
    signature = "ModelRecoveryPending(bytes32 modelId,uint40 readyAt)"
    sentence = "a recovery of model {modelId} runs until {readyAt}"
    default_hint = "wait until then, or veto it as the present licensor"


class ModelNoRecovery(SolidityError):
    signature = "ModelNoRecovery(bytes32 modelId)"
    sentence = "no recovery of model {modelId} is running"
    default_hint = "its guardian starts one: deed model recover start"


class ModelParentNotDeclared(SolidityError):
    signature = "ModelParentNotDeclared(bytes32 modelId,bytes32 parent)"
    sentence = "model {modelId} did not name {parent} as a parent"
    default_hint = "confirm only parents that the claim names"


class ModelBatchLengths(SolidityError):
    signature = "ModelBatchLengths(uint256 claims,uint256 proofs)"
    sentence = "{claims} claims came with {proofs} proofs"
    default_hint = "give one proof for each claim; an empty one registers uncommitted"


class ModelLedgerFailed(SolidityError):
    signature = "ModelLedgerFailed(bytes32 modelId)"
    sentence = "the license ledger could not be told that model {modelId} changed"
    default_hint = "send the transaction with more gas"


class ModelSealingEpochTooFar(SolidityError):
    signature = "ModelSealingEpochTooFar(bytes32 modelId,uint64 limit,uint64 offered)"
    sentence = "sealing epoch {offered} of model {modelId} is beyond the next limit, {limit}"
    default_hint = "number sealings one after the other"


# -- BrokerRegistry ------------------------------------------------------------------------------


class BrokerUnknown(SolidityError):
    signature = "BrokerUnknown(uint64 brokerId)"
    sentence = "broker {brokerId} is not registered"
    default_hint = "check the number and the network"


class BrokerNotOperator(SolidityError):
    signature = "BrokerNotOperator(uint64 brokerId,address caller)"
    sentence = "{caller} does not operate broker {brokerId}"
    default_hint = "use the operator's wallet"


class BrokerNotPendingOperator(SolidityError):
    signature = "BrokerNotPendingOperator(uint64 brokerId,address caller)"
    sentence = "broker {brokerId} was not offered to {caller}"
    default_hint = "ask its operator to propose this wallet"


class BrokerKeyHashZero(SolidityError):
    signature = "BrokerKeyHashZero()"
    sentence = "a broker needs both a signing key and a KEM key"


class BrokerSetThresholdInvalid(SolidityError):
    signature = "BrokerSetThresholdInvalid(uint8 threshold,uint256 brokers)"
    sentence = "{threshold} of {brokers} is no possible threshold"
    default_hint = "choose a threshold from 1 to the number of brokers"


class BrokerSetNotSorted(SolidityError):
    signature = "BrokerSetNotSorted(uint256 index)"
    sentence = "the brokers of a set are not in strictly rising order (at {index})"
    default_hint = "sort the brokers and name each once"


class BrokerSetUnknown(SolidityError):
    signature = "BrokerSetUnknown(uint64 setId)"
    sentence = "broker set {setId} does not exist"
    default_hint = "create it first, or check the number"


class BrokerReceiptsOutOfOrder(SolidityError):
    signature = "BrokerReceiptsOutOfOrder(uint64 brokerId,uint64 want,uint64 got)"
    sentence = "broker {brokerId} must anchor receipts number {want} next, not {got}"
    default_hint = "continue from the last anchored number"


class BrokerReceiptsRootMismatch(SolidityError):
    signature = "BrokerReceiptsRootMismatch(uint64 brokerId,bytes32 want,bytes32 got)"
    sentence = "receipts of broker {brokerId} continue from {want}, not from {got}"
    default_hint = "the broker's receipt log differs from what it anchored; see deed broker status"


class BrokerReceiptsEmpty(SolidityError):
    signature = "BrokerReceiptsEmpty(uint64 brokerId)"
    sentence = "broker {brokerId} has no receipts to anchor"
