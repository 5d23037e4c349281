// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {InclusionProof} from "../../src/interfaces/IAnchors.sol";
import {Voucher} from "../../src/interfaces/LicenseTypes.sol";
import {Claim} from "../../src/interfaces/IModelRegistry.sol";
import {Vouchers} from "../redeem/Vouchers.sol";

/// @notice What one transaction costs, intrinsic gas and calldata included, against the committed snapshot: a rise fails.
/// `GAS_SNAPSHOT=snapshots/gas.json` writes the snapshot anew, another name there a file of its own. The two `check` rows are the gas of the call itself, since
/// nobody sends a transaction for it. Every receiver is new; `redeem` spends the second nonce of a word of the bitmap.
contract GasTest is Vouchers {
    string private constant FILE = "snapshots/gas.json";

    address private constant FRESH = 0x1111111111111111111111111111111111111111;
    bytes32 private constant KEY = keccak256("runtime");

    uint256 private constant MANY = 100;

    uint256 private id;
    string private measured;

    function setUp() public override {
        super.setUp();
        grantRole(plan, agent, ISSUER);
        id = newLicense(plan, holder);
    }

    function row(string memory what) private {
        row(what, vm.lastCallGas().gasTotalUsed);
    }

    function row(string memory what, uint256 gas) private {
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
        vm.prank(licensor);
        ledger.anchorBatch(plan, keccak256("leaves"), 1_000_000, keccak256("uri"));
        row("anchorBatch");

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
        issueToMany();
        row("issueBatch100PerLicense", vm.lastCallGas().gasTotalUsed / MANY);
        vm.prank(agent);
        ledger.issue(plan, address(uint160(FRESH) + 1), 0, START + 10 days);
        row("issueByRole");
        redeemSecond();
        row("redeem");

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

    function issueToMany() private {
        address[] memory to = new address[](MANY);
        for (uint160 i; i < MANY; ++i) {
            to[i] = address(uint160(FRESH) + 100 + i);
        }
        vm.prank(licensor);
        ledger.issueBatch(plan, to, 0, START + 10 days);
    }

    /// @dev Free and without an order, whose hash costs 400 more in calldata.
    function redeemSecond() private {
        Voucher memory voucher = newVoucher();
        (voucher.notAfter, voucher.extHash, voucher.nonce) = (START + 10 days, 0, 1);
        ledger.redeem(voucher, signed(LICENSOR_KEY, voucher));
        (voucher.to, voucher.nonce) = (address(uint160(FRESH) + 2), 2);
        ledger.redeem(voucher, signed(LICENSOR_KEY, voucher));
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
