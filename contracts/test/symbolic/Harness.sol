// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {LicenseExtension} from "../../src/LicenseExtension.sol";
import {LicenseLedger} from "../../src/LicenseLedger.sol";
import {LicenseLogic} from "../../src/LicenseLogic.sol";
import {LicenseWord, LicenseWordLib} from "../../src/types/LicenseWord.sol";

/// @notice A way to set and read a license's word. All other storage is arbitrary in the proofs.
abstract contract Open is LicenseLogic {
    function put(uint256 id, LicenseWord word_) external {
        _store(id, word_);
    }

    function word(uint256 id) external view returns (LicenseWord) {
        return _read(id);
    }

    function parent(uint256 id) public view returns (uint256) {
        return _exts[id].parentId;
    }

    /// @notice True when at most two licenses lie above, which is all that `sublicense` makes.
    function isShallow(uint256 id) external view returns (bool) {
        return !_read(parent(parent(id))).has(LicenseWordLib.HAS_PARENT);
    }
}

/// @notice The real logic with its inside open.
contract LogicHarness is Open {
    function spend(address signer, uint256 nonce) external {
        _spendNonce(signer, nonce);
    }

    function spent(address signer, uint256 nonce) external view returns (bool) {
        return _noncesSpent[signer][nonce >> 8] >> (nonce & 255) & 1 != 0;
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

/// @notice The ledger as it ships.
contract LedgerHarness is Open, LicenseLedger {
    constructor() LicenseLedger(msg.sender, msg.sender, address(new LogicHarness())) {}
}

/// @notice The extension as it ships.
contract ExtensionHarness is Open, LicenseExtension {
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
