// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {InclusionProof} from "../../src/interfaces/IAnchors.sol";
import {Claim} from "../../src/interfaces/IModelRegistry.sol";
import {Base} from "../Base.sol";

contract GasTest is Base {
    event Measured(string what, uint256 gas);

    uint32 internal plan;
    uint256 internal id;

    function setUp() public override {
        super.setUp();
        plan = newPlan();
        grantRole(plan, agent, 15);
        id = newLicense(plan, address(0xBEEF));
    }

    function log(string memory what) internal {
        emit Measured(what, vm.lastCallGas().gasTotalUsed);
    }

    function test_gas() external {
        anchors.anchor(keccak256("x"));
        log("anchor");

        Claim memory c = claimOf(licensor, 7);
        InclusionProof memory p = noProof();
        vm.prank(licensor);
        models.register(c, p);
        log("register uncommitted");
        c = claimOf(licensor, 8);
        p.root = commitmentOf(models.modelIdOf(c));
        p.size = 1;
        anchors.anchor(p.root);
        vm.roll(1001);
        vm.prank(licensor);
        models.register(c, p);
        log("register");

        vm.prank(licensor);
        ledger.issue(plan, address(0x1111111111111111111111111111111111111111), 0, START + 10 days);
        log("issue");
        vm.prank(licensor);
        ledger.issue(plan, address(0x2111111111111111111111111111111111111111), 0, 0);
        log("issue default");
        vm.prank(agent);
        ledger.issue(plan, address(0x3111111111111111111111111111111111111111), 0, START + 10 days);
        log("issueByRole");
        vm.prank(licensor);
        ledger.renew(id, START + 40 days);
        log("renew");
        bytes32 key = keccak256("runtime");
        vm.prank(address(0xBEEF));
        ledger.bindRuntime(id, key, START + 20 days, bytes20(keccak256("m")));
        log("bind");
        ledger.check(id, address(0xBEEF), 0, START + 1);
        log("check");
        ledger.check(id, address(0xBEEF), key, START + 1);
        log("checkWithRuntime");
        vm.prank(licensor);
        ledger.revoke(id, START + 10 days, keccak256("r"));
        log("revoke");
    }
}
