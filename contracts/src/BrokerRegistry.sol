// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IBrokerRegistry} from "./interfaces/IBrokerRegistry.sol";

/// @title BrokerRegistry
/// @notice Implements {IBrokerRegistry}, where everything is documented.
contract BrokerRegistry is IBrokerRegistry {
    struct Broker {
        address operator;
        uint32 epoch;
        uint64 receiptsSeq;
        bytes32 signingKeyHash;
        bytes32 kemKeyHash;
        bytes32 urlHash;
        bytes32 receiptsRoot;
        address pendingOperator;
    }

    struct BrokerSet {
        address owner;
        uint8 threshold;
        uint64[] brokerIds;
    }

    uint64 private _brokerCount; // slot 0, low 64 bits
    uint64 private _setCount; // slot 0, next 64 bits
    mapping(uint64 brokerId => Broker) private _brokers; // slot 1
    mapping(uint64 setId => BrokerSet) private _sets; // slot 2

    /// @inheritdoc IBrokerRegistry
    function registerBroker(bytes32 signingKeyHash, bytes32 kemKeyHash, string calldata url)
        external
        returns (uint64 brokerId)
    {
        brokerId = ++_brokerCount;
        _brokers[brokerId].operator = msg.sender;
        emit BrokerRegistered(brokerId, msg.sender);
        _setKeys(brokerId, signingKeyHash, kemKeyHash, url);
    }

    /// @inheritdoc IBrokerRegistry
    function setBrokerKeys(uint64 brokerId, bytes32 signingKeyHash, bytes32 kemKeyHash, string calldata url) external {
        _checkOperator(brokerId);
        _setKeys(brokerId, signingKeyHash, kemKeyHash, url);
    }

    function _setKeys(uint64 brokerId, bytes32 signingKeyHash, bytes32 kemKeyHash, string calldata url) private {
        if (signingKeyHash == 0 || kemKeyHash == 0) revert BrokerKeyHashZero();
        Broker storage broker = _brokers[brokerId];
        uint32 epoch = ++broker.epoch;
        bytes32 urlHash = keccak256(bytes(url));
        broker.signingKeyHash = signingKeyHash;
        broker.kemKeyHash = kemKeyHash;
        broker.urlHash = urlHash;
        emit BrokerKeysSet(brokerId, epoch, signingKeyHash, kemKeyHash, urlHash, url);
    }

    /// @inheritdoc IBrokerRegistry
    function proposeOperator(uint64 brokerId, address to) external {
        _checkOperator(brokerId);
        _brokers[brokerId].pendingOperator = to;
        emit BrokerOperatorProposed(brokerId, msg.sender, to);
    }

    /// @inheritdoc IBrokerRegistry
    function acceptOperator(uint64 brokerId) external {
        Broker storage broker = _brokers[brokerId];
        address from = broker.operator;
        if (from == address(0)) revert BrokerUnknown(brokerId);
        if (broker.pendingOperator != msg.sender) revert BrokerNotPendingOperator(brokerId, msg.sender);
        broker.operator = msg.sender;
        broker.pendingOperator = address(0);
        emit BrokerOperatorChanged(brokerId, from, msg.sender);
    }

    /// @inheritdoc IBrokerRegistry
    function createBrokerSet(uint64[] calldata brokerIds, uint8 threshold) external returns (uint64 setId) {
        uint256 count = brokerIds.length;
        if (threshold == 0 || threshold > count || count > type(uint8).max) {
            revert BrokerSetThresholdInvalid(threshold, count);
        }
        uint64 last;
        for (uint256 i; i < count; ++i) {
            uint64 brokerId = brokerIds[i];
            if (brokerId <= last) revert BrokerSetNotSorted(i);
            if (_brokers[brokerId].operator == address(0)) revert BrokerUnknown(brokerId);
            last = brokerId;
        }
        setId = ++_setCount;
        _sets[setId] = BrokerSet(msg.sender, threshold, brokerIds);
        emit BrokerSetCreated(setId, msg.sender, threshold, brokerIds);
    }

    /// @inheritdoc IBrokerRegistry
    function anchorReceipts(uint64 brokerId, uint64 seq, bytes32 prevRoot, bytes32 root, uint64 count) external {
        _checkOperator(brokerId);
        Broker storage broker = _brokers[brokerId];
        uint64 want = broker.receiptsSeq + 1;
        if (seq != want) revert BrokerReceiptsOutOfOrder(brokerId, want, seq);
        bytes32 latest = broker.receiptsRoot;
        if (prevRoot != latest) revert BrokerReceiptsRootMismatch(brokerId, latest, prevRoot);
        if (count == 0 || root == 0) revert BrokerReceiptsEmpty(brokerId);
        broker.receiptsSeq = seq;
        broker.receiptsRoot = root;
        emit ReceiptsAnchored(brokerId, seq, prevRoot, root, count);
    }

    /// @inheritdoc IBrokerRegistry
    function brokerOf(uint64 brokerId)
        external
        view
        returns (address operator, uint32 epoch, bytes32 signingKeyHash, bytes32 kemKeyHash, bytes32 urlHash)
    {
        Broker storage broker = _brokers[brokerId];
        return (broker.operator, broker.epoch, broker.signingKeyHash, broker.kemKeyHash, broker.urlHash);
    }

    /// @inheritdoc IBrokerRegistry
    function brokerSetOf(uint64 setId)
        external
        view
        returns (address owner, uint8 threshold, uint64[] memory brokerIds)
    {
        BrokerSet storage set = _sets[setId];
        if (set.owner == address(0)) revert BrokerSetUnknown(setId);
        return (set.owner, set.threshold, set.brokerIds);
    }

    /// @inheritdoc IBrokerRegistry
    function receiptsOf(uint64 brokerId) external view returns (uint64 seq, bytes32 root) {
        Broker storage broker = _brokers[brokerId];
        return (broker.receiptsSeq, broker.receiptsRoot);
    }

    function _checkOperator(uint64 brokerId) private view {
        address operator = _brokers[brokerId].operator;
        if (operator == address(0)) revert BrokerUnknown(brokerId);
        if (operator != msg.sender) revert BrokerNotOperator(brokerId, msg.sender);
    }
}
