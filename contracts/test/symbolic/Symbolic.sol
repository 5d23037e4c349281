// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice The cheatcodes that Halmos answers and these proofs use.
interface SymbolicVm {
    function assume(bool condition) external pure;
    function warp(uint256 timestamp) external;
    function prank(address sender) external;
    function enableSymbolicStorage(address target) external;
}

/// @notice What every proof begins with. Arguments of a `check_…` function are arbitrary; whatever reverts with an assertion is a
/// counterexample, any other revert is no path.
abstract contract Symbolic {
    SymbolicVm internal constant vm = SymbolicVm(address(uint160(uint256(keccak256("hevm cheat code")))));
    SymbolicVm internal constant svm = SymbolicVm(address(uint160(uint256(keccak256("svm cheat code")))));

    /// @dev Up to the year 36,812: beyond it uint40 times wrap, here and everywhere.
    function _at(uint40 time) internal {
        vm.warp(time);
    }
}
