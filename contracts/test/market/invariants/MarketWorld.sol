// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseLedger} from "../../../src/interfaces/ILicenseLedger.sol";
import {ILicenseMarket, Payee, Royalty} from "../../../src/interfaces/ILicenseMarket.sol";
import {PlanState} from "../../../src/interfaces/LicenseTypes.sol";
import {IModelRegistry} from "../../../src/interfaces/IModelRegistry.sol";
import {IToken} from "../../Base.sol";
import {Vm} from "../../Vm.sol";
import {Books} from "./MarketAccountant.sol";
import {MarketHandler} from "./MarketHandler.sol";

/// @notice What else goes on with the plans, titles and licenses of the handler. None of it moves any money.
contract MarketWorld {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint8 private constant ISSUER = 1;

    MarketHandler private immutable handler;
    ILicenseMarket private immutable market;
    ILicenseLedger private immutable ledger;
    IModelRegistry private immutable models;

    string public broken;
    mapping(string action => uint256) public done;

    constructor(MarketHandler handler_, ILicenseMarket market_, IModelRegistry models_) {
        (handler, market, models) = (handler_, market_, models_);
        ledger = ILicenseLedger(market_.ledger());
    }

    function setPayees(uint256 who, uint256 plan, uint256 first, uint16 bps, uint16 rest) external {
        Payee[] memory list = new Payee[](bps % 3);
        for (uint256 i; i < list.length; ++i) {
            list[i] = Payee(handler.actors((first % 5 + i) % 5), i == 0 ? bps % 10_001 : rest % 5_000);
        }
        uint256 actor = who % 3 == 0 ? who / 3 % 5 : indexOf(licensorOf(plan));
        idle("setPayees", actor, address(market), abi.encodeCall(market.setPayees, (pick(plan), list)));
    }

    function pinAgain(uint256 plan) external {
        Royalty[] memory none = new Royalty[](0);
        bytes memory call_ = abi.encodeCall(market.pinRoyalties, (pick(plan), none));
        idle("pinAgain", indexOf(licensorOf(plan)), address(market), call_);
    }

    /// @dev Who takes a title usually sees to its plans at once.
    function moveTitle(uint256 model, uint256 to, uint8 forgets) external {
        bytes32 id = handler.modelIds(model % 3);
        uint256 from = indexOf(models.licensorOf(id));
        idle("propose", from, address(models), abi.encodeCall(models.proposeTransfer, (id, handler.actors(to % 5))));
        idle("accept", to % 5, address(models), abi.encodeCall(models.acceptTransfer, (id)));
        if (forgets % 4 == 0) return;
        for (uint256 plan; plan < handler.planCount(); ++plan) {
            sync(plan, 1);
        }
    }

    /// @dev The licensor nearly always gives the market its role.
    function sync(uint256 plan, uint8 forgets) public {
        idle("sync", plan, address(ledger), abi.encodeCall(ledger.syncLicensor, (pick(plan))));
        uint8 roles = forgets % 8 == 0 ? 0 : ISSUER;
        bytes memory call_ = abi.encodeCall(ledger.setRoles, (pick(plan), address(market), roles));
        idle("setRoles", indexOf(licensorOf(plan)), address(ledger), call_);
    }

    function bind(uint256 license) external {
        uint256 id = some(license);
        if (id == 0) return;
        bytes memory call_ = abi.encodeCall(ledger.bindRuntime, (id, bytes32(uint256(1)), 0, 0));
        idle("bind", indexOf(holderOf(id)), address(ledger), call_);
    }

    function evict(uint256 license) external {
        uint256 id = some(license);
        if (id == 0) return;
        bytes memory call_ = abi.encodeCall(ledger.evictRuntime, (id, bytes32(uint256(1))));
        idle("evict", indexOf(licensorOfPlan(uint32(id >> 32))), address(ledger), call_);
    }

    function transfer(uint256 license, uint256 to) external {
        uint256 id = some(license);
        if (id == 0) return;
        address from = holderOf(id);
        idle(
            "transfer",
            indexOf(from),
            address(ledger),
            abi.encodeCall(IToken.transferFrom, (from, handler.actors(to % 5), id))
        );
    }

    function approve(uint256 who, bool approved) external {
        bytes memory call_ = abi.encodeCall(IToken.setApprovalForAll, (address(market), approved));
        idle("approve", who, address(ledger), call_);
    }

    function surrender(uint256 license) external {
        uint256 id = some(license);
        if (id == 0) return;
        idle("surrender", indexOf(holderOf(id)), address(ledger), abi.encodeCall(ledger.surrender, (id)));
    }

    function revoke(uint256 license) external {
        uint256 id = some(license);
        if (id == 0) return;
        bytes memory call_ = abi.encodeCall(ledger.revoke, (id, 0, 0));
        idle("revoke", indexOf(licensorOfPlan(uint32(id >> 32))), address(ledger), call_);
    }

    function pass(uint24 time) external {
        vm.warp(block.timestamp + time % 3 days);
        vm.roll(block.number + 1);
    }

    // ---------------------------------------------------------------- watching

    /// @dev Whatever it is, the books stay as they are.
    function idle(string memory name, uint256 who, address target, bytes memory call_) private {
        Books memory before = handler.look();
        vm.prank(handler.actors(who % 5));
        (bool ok,) = target.call(call_);
        if (ok) ++done[name];
        if (keccak256(abi.encode(before)) != keccak256(abi.encode(handler.look()))) {
            broken = "M7: money moved by itself";
        }
    }

    function licensorOf(uint256 plan) private view returns (address) {
        return licensorOfPlan(pick(plan));
    }

    function licensorOfPlan(uint32 planId) private view returns (address) {
        (, PlanState memory state) = ledger.planOf(planId);
        return state.licensor;
    }

    function holderOf(uint256 id) private view returns (address) {
        return IToken(address(ledger)).ownerOf(id);
    }

    function indexOf(address actor) private view returns (uint256) {
        return handler.indexOf(actor);
    }

    function pick(uint256 plan) private view returns (uint32) {
        return handler.pick(plan);
    }

    function some(uint256 license) private view returns (uint256) {
        return handler.some(license);
    }
}
