// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IBrokerRegistry} from "./interfaces/IBrokerRegistry.sol";
import {ILicenseCore} from "./interfaces/ILicenseCore.sol";
import {ILicenseExtension} from "./interfaces/ILicenseExtension.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";

/// @title EntitlementProbe
/// @notice Everything a key broker decides on, read at one block: the answers of `check`, `modelOf` and `sealingOf` and, of a license that
/// is there, those of `licenseOf`, `seatOf`, `planOf` and `brokerSetOf` of its plan's set; one after the other, as the contracts gave them.
/// Never deployed: its creation code runs in an `eth_call` without `to`, at a block the caller pins, and returns the answers where the code
/// of a new contract would stand. What reverts in a contract it asks, reverts here with the same error, except that a broker set that is
/// not there is left out.
/// @dev Needed for correctness: the caller checks the length. All answers but the last have a fixed one: 4, 5, 2, 7, 3 and 24 words. The
/// first byte is no 0xEF, which no code may begin with (EIP-3541), as `check` answers a code below 2^8.
contract EntitlementProbe {
    uint256 internal constant NOT_FOUND = 1;
    /// @dev Room for the answers: a set has 255 brokers at most, so they take less than 10,000 bytes.
    uint256 internal constant ROOM = 16384;
    /// @dev Where `planOf` answers the broker set.
    uint256 internal constant BROKER_SET = 13 * 32;

    /// @param ledger a LicenseLedger.
    /// @param registry its ModelRegistry.
    /// @param brokers the BrokerRegistry whose sets its plans name.
    /// @param licenseId which license; one that is not there is answered as `check` answers it.
    /// @param modelId which model; zeros for an unknown one.
    /// @param runtimeKey whose seat.
    /// @param at seconds; not before the block.
    constructor(
        address ledger,
        address registry,
        address brokers,
        uint256 licenseId,
        bytes32 modelId,
        bytes32 runtimeKey,
        uint40 at
    ) {
        bytes memory answers = new bytes(ROOM);
        uint256 size =
            ask(answers, 0, ledger, abi.encodeCall(ILicenseCore.check, (licenseId, address(0), runtimeKey, at)));
        uint256 code;
        assembly ("memory-safe") {
            code := mload(add(answers, 32))
        }
        size = ask(answers, size, registry, abi.encodeCall(IModelRegistry.modelOf, (modelId)));
        size = ask(answers, size, registry, abi.encodeCall(IModelRegistry.sealingOf, (modelId)));
        if (code != NOT_FOUND) {
            size = ask(answers, size, ledger, abi.encodeCall(ILicenseExtension.licenseOf, (licenseId)));
            size = ask(answers, size, ledger, abi.encodeCall(ILicenseExtension.seatOf, (licenseId, runtimeKey)));
            uint256 plan = size;
            size = ask(answers, size, ledger, abi.encodeCall(ILicenseExtension.planOf, (uint32(licenseId >> 32))));
            uint64 set;
            assembly ("memory-safe") {
                set := mload(add(add(answers, 32), add(plan, BROKER_SET)))
            }
            size = askSet(answers, size, brokers, set);
        }
        assembly ("memory-safe") {
            return(add(answers, 32), size)
        }
    }

    /// @dev Appends an answer; where it ends.
    function ask(bytes memory answers, uint256 size, address to, bytes memory question) private view returns (uint256) {
        if (!answered(to, question)) passOn();
        return append(answers, size);
    }

    /// @dev As `ask`, but a set that is not there is no failure. Any other is, so that want of gas looks like nothing else.
    function askSet(bytes memory answers, uint256 size, address brokers, uint64 set) private view returns (uint256) {
        if (answered(brokers, abi.encodeCall(IBrokerRegistry.brokerSetOf, (set)))) return append(answers, size);
        bytes4 failure;
        assembly ("memory-safe") {
            mstore(0, 0)
            returndatacopy(0, 0, mul(4, gt(returndatasize(), 3)))
            failure := mload(0)
        }
        if (failure != IBrokerRegistry.BrokerSetUnknown.selector) passOn();
        return size;
    }

    function answered(address to, bytes memory question) private view returns (bool good) {
        assembly ("memory-safe") {
            good := staticcall(gas(), to, add(question, 32), mload(question), 0, 0)
        }
    }

    function append(bytes memory answers, uint256 size) private pure returns (uint256 end) {
        assembly ("memory-safe") {
            end := add(size, returndatasize())
            if gt(end, ROOM) { revert(0, 0) }
            returndatacopy(add(add(answers, 32), size), 0, returndatasize())
        }
    }

    /// @dev Fails as the last call did.
    function passOn() private pure {
        assembly ("memory-safe") {
            returndatacopy(mload(0x40), 0, returndatasize())
            revert(mload(0x40), returndatasize())
        }
    }
}
