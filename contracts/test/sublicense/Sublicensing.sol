// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Base} from "../Base.sol";

/// @notice A license of ten seats and 30 days, without a minimum notice, and the shortest ways to licenses below it.
abstract contract Sublicensing is Base {
    address internal partner = address(0x20001);
    address internal client = address(0x20002);

    uint40 internal constant END = START + 30 days;
    uint16 internal constant SEATS = 10;
    bytes32 internal constant KEY = keccak256("key");

    uint32 internal plan;
    uint256 internal id;

    function setUp() public virtual override {
        super.setUp();
        plan = newPlan(openTerms(1));
        id = newLicense(plan, holder);
    }

    function openTerms(uint256 seed) internal returns (PlanTerms memory terms) {
        terms = termsOf(newModel(seed));
        terms.minNotice = 0;
        terms.seats = SEATS;
    }

    function sub(uint256 parent, address to, uint40 notAfter, uint16 seats) internal returns (uint256) {
        address owner = token.ownerOf(parent);
        vm.prank(owner);
        return ledger.sublicense(parent, to, notAfter, seats);
    }

    /// A license below the first, of five seats to the partner, and one below that, of two to the client.
    function chain() internal returns (uint256 middle, uint256 leaf) {
        middle = sub(id, partner, 0, 5);
        leaf = sub(middle, client, 0, 2);
    }

    function bind(uint256 license, bytes32 key, uint40 until) internal {
        address owner = token.ownerOf(license);
        vm.prank(owner);
        ledger.bindRuntime(license, key, until, 0);
    }

    function revoke(uint256 license, uint40 effectiveAt) internal {
        vm.prank(licensor);
        ledger.revoke(license, effectiveAt, 0);
    }

    function suspend(uint256 license) internal {
        vm.prank(licensor);
        ledger.suspend(license, 0);
    }

    function reinstate(uint256 license) internal {
        vm.prank(licensor);
        ledger.reinstate(license, 0);
    }
}
