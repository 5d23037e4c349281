// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {LicenseExtension} from "../../src/LicenseExtension.sol";
import {LicenseLedger} from "../../src/LicenseLedger.sol";
import {LicenseLogic} from "../../src/LicenseLogic.sol";
import {LicenseWord} from "../../src/types/LicenseWord.sol";

/// @notice The real logic with its inside open. Its storage is arbitrary in the proofs.
contract LogicHarness is LicenseLogic {
    function spend(address signer, uint256 nonce) external {
        _spendNonce(signer, nonce);
    }

    function spent(address signer, uint256 nonce) external view returns (bool) {
        return _noncesSpent[signer][nonce >> 8] >> (nonce & 255) & 1 != 0;
    }

    function put(uint256 id, LicenseWord word) external {
        _store(id, word);
    }

    function word(uint256 id) external view returns (LicenseWord) {
        return _read(id);
    }

    function end(uint256 id, uint40 effectiveAt, bytes32 reason) external {
        _revoke(id, _read(id), effectiveAt, reason);
    }

    function bind(uint256 id, bytes32 runtimeKey, uint40 until, bytes20 measurement) external {
        _bind(id, _read(id), runtimeKey, until, measurement);
    }

    function raise(uint256 id) external {
        _raiseGrantNonce(id, _read(id));
    }

    function decide(uint256 id, LicenseWord word_, address holder, bytes32 runtimeKey, uint40 at)
        external
        view
        returns (uint8 code, uint40 notAfter)
    {
        return _decide(id, word_, holder, runtimeKey, at);
    }
}

/// @notice The ledger as it ships, with a way to set and read a license's word.
contract LedgerHarness is LicenseLedger {
    constructor() LicenseLedger(msg.sender, msg.sender, address(new LogicHarness())) {}

    function put(uint256 id, LicenseWord word) external {
        _store(id, word);
    }

    function word(uint256 id) external view returns (LicenseWord) {
        return _read(id);
    }
}

/// @notice The extension as it ships, likewise.
contract ExtensionHarness is LicenseExtension {
    function put(uint256 id, LicenseWord word) external {
        _store(id, word);
    }

    function word(uint256 id) external view returns (LicenseWord) {
        return _read(id);
    }

    function parent(uint256 id) external view returns (uint256) {
        return _exts[id].parentId;
    }

    function revokedBits(uint32 planId, bytes32 root, uint256 at) external view returns (uint256) {
        return _batchRevoked[planId][root][at];
    }

    function claimedBits(uint32 planId, bytes32 root, uint256 at) external view returns (uint256) {
        return _batchClaimed[planId][root][at];
    }

    function nonceBits(address signer, uint256 at) external view returns (uint256) {
        return _noncesSpent[signer][at];
    }
}
