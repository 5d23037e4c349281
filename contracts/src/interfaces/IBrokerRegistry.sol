// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title BrokerRegistry
/// @notice Key hashes and addresses of the services that release content keys, sets of them, and roots of their receipts.
/// @dev Warning: being listed says nothing about a broker's honesty. A plan names the set its licensor trusts.
interface IBrokerRegistry {
    event BrokerRegistered(uint64 indexed brokerId, address indexed operator);
    event BrokerKeysSet(
        uint64 indexed brokerId,
        uint32 indexed epoch,
        bytes32 signingKeyHash,
        bytes32 kemKeyHash,
        bytes32 urlHash,
        string url
    );
    event BrokerOperatorProposed(uint64 indexed brokerId, address indexed from, address indexed to);
    event BrokerOperatorChanged(uint64 indexed brokerId, address indexed from, address indexed to);
    event BrokerSetCreated(uint64 indexed setId, address indexed owner, uint8 threshold, uint64[] brokerIds);
    event ReceiptsAnchored(uint64 indexed brokerId, uint64 indexed seq, bytes32 prevRoot, bytes32 root, uint64 count);

    error BrokerUnknown(uint64 brokerId);
    error BrokerNotOperator(uint64 brokerId, address caller);
    error BrokerNotPendingOperator(uint64 brokerId, address caller);
    error BrokerKeyHashZero();
    error BrokerSetThresholdInvalid(uint8 threshold, uint256 brokers);
    error BrokerSetNotSorted(uint256 index);
    error BrokerSetUnknown(uint64 setId);
    error BrokerReceiptsOutOfOrder(uint64 brokerId, uint64 want, uint64 got);
    error BrokerReceiptsRootMismatch(uint64 brokerId, bytes32 want, bytes32 got);
    error BrokerReceiptsEmpty(uint64 brokerId);

    /// @notice Registers a broker run by the caller, at key epoch 1.
    /// @return brokerId the first is 1
    function registerBroker(bytes32 signingKeyHash, bytes32 kemKeyHash, string calldata url)
        external
        returns (uint64 brokerId);

    /// @notice Rotates keys or URL; the epoch rises by one.
    function setBrokerKeys(uint64 brokerId, bytes32 signingKeyHash, bytes32 kemKeyHash, string calldata url) external;

    /// @notice Offers the broker to another operator. Address zero withdraws the offer.
    function proposeOperator(uint64 brokerId, address to) external;

    /// @notice Takes an offered broker.
    function acceptOperator(uint64 brokerId) external;

    /// @notice Makes a set that never changes, of which `threshold` brokers must agree.
    /// @param brokerIds strictly rising, each registered, at most 255
    /// @param threshold between 1 and the number of brokers
    /// @return setId the first is 1
    function createBrokerSet(uint64[] calldata brokerIds, uint8 threshold) external returns (uint64 setId);

    /// @notice Anchors the next root of the broker's receipt log. Each step names the one before it: none is skipped,
    /// repeated or replaced.
    /// @param seq the last anchored plus 1
    /// @param prevRoot the last anchored root, zero at the start
    /// @param count receipts under `root`, at least 1
    function anchorReceipts(uint64 brokerId, uint64 seq, bytes32 prevRoot, bytes32 root, uint64 count) external;

    /// @return operator address(0) when unknown
    /// @return epoch of the keys, the first is 1
    /// @return signingKeyHash
    /// @return kemKeyHash
    /// @return urlHash keccak256 of the URL, which stands in the event
    function brokerOf(uint64 brokerId)
        external
        view
        returns (address operator, uint32 epoch, bytes32 signingKeyHash, bytes32 kemKeyHash, bytes32 urlHash);

    /// @return owner who made the set
    /// @return threshold
    /// @return brokerIds
    function brokerSetOf(uint64 setId) external view returns (address owner, uint8 threshold, uint64[] memory brokerIds);

    /// @return seq the last anchored, 0 when none
    /// @return root
    function receiptsOf(uint64 brokerId) external view returns (uint64 seq, bytes32 root);
}
