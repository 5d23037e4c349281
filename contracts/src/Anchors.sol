// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAnchors} from "./interfaces/IAnchors.sol";

/// @title Anchors
/// @notice Implements {IAnchors}, where everything is documented.
contract Anchors is IAnchors {
    struct PhaseA {
        address sender;
        uint40 time;
        uint56 number;
    }

    /// @dev One word, low bits first: `time 40 | blockNumber 64`. Zero: never anchored.
    mapping(bytes32 root => uint256) private _stamps; // slot 0
    mapping(bytes32 commitment => PhaseA) private _firstPhaseA; // slot 1
    mapping(address sender => uint64) private _phaseACount; // slot 2
    // Only for a sender who was not the first to send this very commitment.
    mapping(address sender => mapping(bytes32 commitment => PhaseA)) private _laterPhaseA; // slot 3

    /// @inheritdoc IAnchors
    function anchor(bytes32 root) external {
        if (root == 0) revert AnchorsZeroRoot();
        uint256 stamp = _stamps[root];
        if (stamp != 0) revert AnchorsRootTaken(root, uint40(stamp), uint64(stamp >> 40));
        _stamps[root] = uint256(uint64(block.number)) << 40 | uint40(block.timestamp);
        emit RootAnchored(root, msg.sender);
    }

    /// @inheritdoc IAnchors
    function commitPhaseA(bytes32 commitment) external returns (uint64 number) {
        if (commitment == 0) revert AnchorsZeroRoot();
        address first = _firstPhaseA[commitment].sender;
        if (first == msg.sender || _laterPhaseA[msg.sender][commitment].sender != address(0)) {
            revert AnchorsCommitmentTaken(commitment);
        }
        number = ++_phaseACount[msg.sender];
        PhaseA memory record = PhaseA(msg.sender, uint40(block.timestamp), uint56(number));
        if (first == address(0)) _firstPhaseA[commitment] = record;
        else _laterPhaseA[msg.sender][commitment] = record;
        emit PhaseACommitted(msg.sender, number, commitment);
    }

    /// @inheritdoc IAnchors
    function anchoredAt(bytes32 root) external view returns (uint40 time, uint64 blockNumber) {
        uint256 stamp = _stamps[root];
        return (uint40(stamp), uint64(stamp >> 40));
    }

    /// @inheritdoc IAnchors
    function phaseAOf(bytes32 commitment) external view returns (address sender, uint64 number, uint40 time) {
        PhaseA memory record = _firstPhaseA[commitment];
        return (record.sender, record.number, record.time);
    }

    /// @inheritdoc IAnchors
    function phaseABy(address sender, bytes32 commitment) external view returns (uint64 number, uint40 time) {
        PhaseA memory record = _firstPhaseA[commitment];
        if (record.sender != sender) record = _laterPhaseA[sender][commitment];
        return (record.number, record.time);
    }

    /// @inheritdoc IAnchors
    function phaseACount(address sender) external view returns (uint64) {
        return _phaseACount[sender];
    }
}
