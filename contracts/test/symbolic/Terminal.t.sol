// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {LicenseWord, LicenseWordLib} from "../../src/types/LicenseWord.sol";
import {ExtensionHarness, LedgerHarness, LogicHarness} from "./Harness.sol";
import {Symbolic} from "./Symbolic.sol";

interface IWords {
    function put(uint256 id, LicenseWord word) external;
    function word(uint256 id) external view returns (LicenseWord);
    function isShallow(uint256 id) external view returns (bool);
}

/// @notice Revocation is terminal. Whatever the word, the time, the caller, the plan and all other storage: no call makes a revoked
/// license anything else or lets it end later, and at its end it answers neither VALID nor REVOKING.
/// @dev Assumed of the storage, which is arbitrary otherwise: no license lies above itself, and at most two lie above one.
contract TerminalProofs is Symbolic {
    uint8 private constant VALID = 0;
    uint8 private constant REVOKING = 10;

    LogicHarness private _logic;
    LedgerHarness private _ledger;
    ExtensionHarness private _extension;

    /// @dev The ledger asks its registry, which is this test, where it is to be.
    function ledger() external view returns (address) {
        return msg.sender;
    }

    function setUp() public {
        _logic = new LogicHarness();
        _ledger = new LedgerHarness();
        _extension = new ExtensionHarness();
        svm.enableSymbolicStorage(address(_logic));
        svm.enableSymbolicStorage(address(_ledger));
        svm.enableSymbolicStorage(address(_extension));
    }

    /// @dev The one statement, about any call of any caller at any time.
    function _staysRevoked(address target, uint256 id, uint256 any, address caller, uint40 time, bytes memory data)
        private
    {
        LicenseWord word = LicenseWord.wrap(any);
        vm.assume(word.isRevoked());
        _at(time);
        IWords(target).put(id, word);
        vm.assume(IWords(target).isShallow(id));
        vm.prank(caller);
        (bool ok,) = target.call(data);
        vm.assume(ok);
        LicenseWord later = IWords(target).word(id);
        assert(later.isRevoked());
        assert(later.notAfter() <= word.notAfter());
    }

    /// @dev Stronger: a call that never succeeds on a revoked license, under notice or at its end.
    function _refuses(uint256 id, uint256 any, address caller, uint40 time, bytes memory data) private {
        vm.assume(LicenseWord.wrap(any).isRevoked());
        _at(time);
        _ledger.put(id, LicenseWord.wrap(any));
        vm.assume(_ledger.isShallow(id));
        vm.prank(caller);
        (bool ok,) = address(_ledger).call(data);
        assert(!ok);
    }

    // ---------------------------------------------------------------- the ledger's own functions

    function check_renew(uint256 id, uint256 any, address caller, uint40 time, uint40 notAfter) public {
        _refuses(id, any, caller, time, abi.encodeCall(_ledger.renew, (id, notAfter)));
    }

    function check_transfer(uint256 id, uint256 any, address caller, uint40 time, address from, address to) public {
        _refuses(id, any, caller, time, abi.encodeCall(_ledger.transferFrom, (from, to, id)));
    }

    function check_finishReissue(uint256 id, uint256 any, address caller, uint40 time) public {
        _refuses(id, any, caller, time, abi.encodeCall(_ledger.finishReissue, (id)));
    }

    function check_sublicense(
        uint256 id,
        uint256 any,
        address caller,
        uint40 time,
        address to,
        uint40 end,
        uint16 seats
    ) public {
        _refuses(id, any, caller, time, abi.encodeCall(_ledger.sublicense, (id, to, end, seats)));
    }

    function check_revoke(uint256 id, uint256 any, address caller, uint40 time, uint40 effectiveAt) public {
        bytes memory data = abi.encodeCall(_ledger.revoke, (id, effectiveAt, bytes32(0)));
        _staysRevoked(address(_ledger), id, any, caller, time, data);
    }

    function check_surrender(uint256 id, uint256 any, address caller, uint40 time) public {
        bytes memory data = abi.encodeCall(_ledger.surrender, (id));
        _staysRevoked(address(_ledger), id, any, caller, time, data);
    }

    function check_bindRuntime(uint256 id, uint256 any, address caller, uint40 time, bytes32 key, uint40 until) public {
        bytes memory data = abi.encodeCall(_ledger.bindRuntime, (id, key, until, bytes20(0)));
        _staysRevoked(address(_ledger), id, any, caller, time, data);
    }

    // ---------------------------------------------------------------- the extension's

    function check_suspend(uint256 id, uint256 any, address caller, uint40 time) public {
        bytes memory data = abi.encodeCall(_extension.suspend, (id, bytes32(0)));
        _staysRevoked(address(_extension), id, any, caller, time, data);
    }

    function check_reinstate(uint256 id, uint256 any, address caller, uint40 time) public {
        bytes memory data = abi.encodeCall(_extension.reinstate, (id, bytes32(0)));
        _staysRevoked(address(_extension), id, any, caller, time, data);
    }

    function check_cancelGrants(uint256 id, uint256 any, address caller, uint40 time) public {
        bytes memory data = abi.encodeCall(_extension.cancelGrants, (id));
        _staysRevoked(address(_extension), id, any, caller, time, data);
    }

    function check_releaseRuntime(uint256 id, uint256 any, address caller, uint40 time, bytes32 key) public {
        bytes memory data = abi.encodeCall(_extension.releaseRuntime, (id, key));
        _staysRevoked(address(_extension), id, any, caller, time, data);
    }

    function check_evictRuntime(uint256 id, uint256 any, address caller, uint40 time, bytes32 key) public {
        bytes memory data = abi.encodeCall(_extension.evictRuntime, (id, key));
        _staysRevoked(address(_extension), id, any, caller, time, data);
    }

    function check_reclaimSeats(uint256 id, uint256 any, address caller, uint40 time) public {
        vm.assume(_extension.parent(id) != id);
        bytes memory data = abi.encodeCall(_extension.reclaimSeats, (id));
        _staysRevoked(address(_extension), id, any, caller, time, data);
    }

    // ---------------------------------------------------------------- ending, whatever the license was

    /// @dev Revocation never lets a license end later, revoked before or not.
    function check_endNeverRises(uint256 id, uint256 any, uint40 time, uint40 effectiveAt) public {
        _at(time);
        _logic.put(id, LicenseWord.wrap(any));
        _logic.end(id, effectiveAt, 0);
        LicenseWord later = _logic.word(id);
        uint40 present = LicenseWord.wrap(any).notAfter();
        assert(later.isRevoked());
        assert(later.notAfter() == (effectiveAt < present ? effectiveAt : present));
        assert(later.holder() == LicenseWord.wrap(any).holder());
    }

    // ---------------------------------------------------------------- the answer

    /// @dev From its end on no license is valid or under notice, revoked or not.
    function check_decideAtTheEnd(uint256 id, uint256 any, address holder, bytes32 key, uint40 at) public view {
        vm.assume(at >= LicenseWord.wrap(any).notAfter());
        (uint8 code,) = _logic.decide(id, LicenseWord.wrap(any), holder, key, at);
        assert(code != VALID && code != REVOKING);
    }

    /// @dev What is valid or under notice has an end that is its own or comes first, and lies ahead. A revoked license is never
    /// VALID: it answers REVOKING until its end, and never again after it.
    function _endsAhead(uint256 any, uint40 at, uint8 code, uint40 end) private pure {
        assert(end <= LicenseWord.wrap(any).notAfter());
        if (code == VALID || code == REVOKING) assert(at < end);
        if (LicenseWord.wrap(any).isRevoked()) assert(code != VALID);
    }

    function check_decideAlone(uint256 id, uint256 any, address holder, bytes32 key, uint40 at) public view {
        vm.assume(!LicenseWord.wrap(any).has(LicenseWordLib.HAS_PARENT));
        (uint8 code, uint40 end) = _logic.decide(id, LicenseWord.wrap(any), holder, key, at);
        _endsAhead(any, at, code, end);
    }

    /// @dev With one or two above it. No holder and no key are asked for: either only takes validity away, as the proof before shows,
    /// and all three at once are more paths than a quarter of an hour explores.
    function check_decideBelow(uint256 id, uint256 any, uint40 at) public view {
        vm.assume(LicenseWord.wrap(any).has(LicenseWordLib.HAS_PARENT));
        vm.assume(_logic.isShallow(id));
        (uint8 code, uint40 end) = _logic.decide(id, LicenseWord.wrap(any), address(0), 0, at);
        _endsAhead(any, at, code, end);
    }
}
