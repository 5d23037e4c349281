// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {InclusionProof} from "../../src/interfaces/IAnchors.sol";
import {Claim} from "../../src/interfaces/IModelRegistry.sol";
import {Base} from "../Base.sol";

/// @notice What one transaction costs, intrinsic gas and calldata included, against the committed snapshot: a rise fails.
/// `GAS_SNAPSHOT=snapshots/gas.json` writes the snapshot anew, another name there a file of its own. The two `check` rows are the gas of the call itself, since
/// nobody sends a transaction for it.
contract GasTest is Base {
    string private constant FILE = "snapshots/gas.json";

    address private constant FRESH = 0x1111111111111111111111111111111111111111;
    bytes32 private constant KEY = keccak256("runtime");

    uint32 private plan;
    uint256 private id;
    string private measured;

    function setUp() public override {
        super.setUp();
        plan = newPlan();
        grantRole(plan, agent, ISSUER);
        id = newLicense(plan, holder);
    }

    function row(string memory what) private {
        uint256 gas = vm.lastCallGas().gasTotalUsed;
        bool first = bytes(measured).length == 0;
        measured = string.concat(measured, first ? "{\n" : ",\n", '  "', what, '": ', vm.toString(gas));
        if (bytes(target()).length != 0) return;
        uint256 limit = vm.parseJsonUint(vm.readFile(FILE), string.concat(".", what));
        if (gas > limit) {
            revert(string.concat(what, " takes ", vm.toString(gas), " gas, more than ", vm.toString(limit)));
        }
    }

    function target() private view returns (string memory) {
        return vm.envOr("GAS_SNAPSHOT", string(""));
    }

    /// forge-config: default.isolate = true
    function test_noRise() external {
        anchors.anchor(keccak256("root"));
        row("anchor");

        vm.prank(holder);
        ledger.bindRuntime(id, KEY, START + 20 days, bytes20(keccak256("measurement")));
        row("bindRuntime");
        ledger.check(id, holder, 0, START + 1);
        row("check");
        ledger.check(id, holder, KEY, START + 1);
        row("checkWithRuntime");

        vm.prank(licensor);
        ledger.issue(plan, FRESH, 0, START + 10 days);
        row("issue");
        vm.prank(agent);
        ledger.issue(plan, address(uint160(FRESH) + 1), 0, START + 10 days);
        row("issueByRole");

        registerCommitted();
        row("register");
        vm.prank(licensor);
        ledger.renew(id, START + 40 days);
        row("renew");
        vm.prank(licensor);
        ledger.revoke(id, START + 10 days, keccak256("reason"));
        row("revoke");

        if (bytes(target()).length != 0) vm.writeFile(target(), string.concat(measured, "\n}\n"));
    }

    /// @dev Depth 0: a commitment alone under its root, no parents.
    function registerCommitted() private {
        Claim memory claim = claimOf(licensor, 8);
        InclusionProof memory proof = noProof();
        proof.root = commitmentOf(models.modelIdOf(claim));
        proof.size = 1;
        anchors.anchor(proof.root);
        vm.roll(1001);
        vm.prank(licensor);
        models.register(claim, proof);
    }
}
