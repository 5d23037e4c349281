// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ExtensionHarness, LogicHarness} from "./Harness.sol";
import {Symbolic} from "./Symbolic.sol";

/// @notice Bitmaps: a bit is set once, by the call that is about it, and every other bit of every word stays.
contract BitmapsProofs is Symbolic {
    LogicHarness private _logic;
    ExtensionHarness private _extension;

    function setUp() public {
        _logic = new LogicHarness();
        _extension = new ExtensionHarness();
        svm.enableSymbolicStorage(address(_logic));
        svm.enableSymbolicStorage(address(_extension));
    }

    function check_aNonceIsSpentOnce(address signer, uint256 nonce) public {
        bool before = _logic.spent(signer, nonce);
        (bool ok,) = address(_logic).call(abi.encodeCall(_logic.spend, (signer, nonce)));
        assert(ok == !before);
        assert(_logic.spent(signer, nonce));
        (ok,) = address(_logic).call(abi.encodeCall(_logic.spend, (signer, nonce)));
        assert(!ok);
    }

    function check_otherNoncesStay(address signer, uint256 nonce, address other, uint256 another) public {
        vm.assume(signer != other || nonce != another);
        bool before = _logic.spent(other, another);
        address(_logic).call(abi.encodeCall(_logic.spend, (signer, nonce)));
        assert(_logic.spent(other, another) == before);
    }

    function check_cancelledNoncesAreTheCallersOwn(
        address caller,
        uint256 word,
        uint256 mask,
        address other,
        uint256 at
    ) public {
        uint256 own = _extension.nonceBits(caller, word);
        uint256 before = _extension.nonceBits(other, at);
        vm.prank(caller);
        _extension.cancelVouchers(word, mask);
        assert(_extension.nonceBits(caller, word) == own | mask);
        if (other != caller || at != word) assert(_extension.nonceBits(other, at) == before);
    }

    /// @dev For masks that hit no claimed leaf; those that do end licenses, bit by bit: Terminal.t.sol.
    function check_batchBits(
        address caller,
        uint40 time,
        uint32 planId,
        bytes32 root,
        uint256 word,
        uint256 mask,
        uint32 otherPlan,
        bytes32 otherRoot,
        uint256 otherWord
    ) public {
        _at(time);
        uint256 revoked = _extension.revokedBits(planId, root, word);
        uint256 claimed = _extension.claimedBits(planId, root, word);
        vm.assume(mask & claimed == 0);
        uint256 elsewhere = _extension.revokedBits(otherPlan, otherRoot, otherWord);
        uint256 claimedElsewhere = _extension.claimedBits(otherPlan, otherRoot, otherWord);
        vm.prank(caller);
        (bool ok,) =
            address(_extension).call(abi.encodeCall(_extension.revokeInBatch, (planId, root, word, mask, bytes32(0))));
        assert(_extension.revokedBits(planId, root, word) == (ok ? revoked | mask : revoked));
        assert(!ok || mask & ~revoked != 0);
        assert(_extension.claimedBits(otherPlan, otherRoot, otherWord) == claimedElsewhere);
        if (planId != otherPlan || root != otherRoot || word != otherWord) {
            assert(_extension.revokedBits(otherPlan, otherRoot, otherWord) == elsewhere);
        }
    }
}
