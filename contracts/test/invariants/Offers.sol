// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {BatchLeaf, PlanState, PlanTerms, Voucher} from "../../src/interfaces/LicenseTypes.sol";
import {Tree} from "../Tree.sol";
import {Titles} from "./Titles.sol";

/// @notice What is issued by root and by signature.
abstract contract Offers is Titles {
    uint256 private constant MOST_LOTS = 4;
    uint256 private constant NONCES = 12;

    struct Lot {
        uint32 planId;
        bytes32 root;
        uint32 firstSerial;
        uint256 claimed;
        uint256 revoked;
        uint40 closesAt;
    }

    Lot[] private _lots;
    mapping(uint256 lot => BatchLeaf[]) private _leaves;
    /// Bit i: nonce i of the signer was used or cancelled.
    mapping(address signer => uint256) public spent;
    mapping(uint32 planId => uint256) public promised;
    mapping(uint32 planId => uint256) public claims;

    // ---------------------------------------------------------------- batches

    function anchorBatch(uint256 who, uint256 plan, uint8 count, uint256 shape) external step {
        if (_lots.length == MOST_LOTS || plans == 0) return;
        uint32 planId = pick(plan);
        uint256 lot = _lots.length;
        delete _leaves[lot];
        for (uint32 i; i < 1 + count % 5; ++i) {
            _leaves[lot].push(leafOf(i, uint256(keccak256(abi.encode(shape % 8, i)))));
        }
        bytes32 root = Tree.root(hashesOf(planId, lot), 0, _leaves[lot].length);
        (, PlanState memory state) = ledger.planOf(planId);
        bytes memory call_ = abi.encodeCall(ledger.anchorBatch, (planId, root, uint32(_leaves[lot].length), 0));
        if (!act("anchorBatch", 0, choose(who, state.licensor), call_)) return;
        issued(planId);
        for (uint256 i; i < lot; ++i) {
            never(_lots[i].planId == planId && _lots[i].root == root, "15: a batch was anchored twice");
        }
        _lots.push(Lot(planId, root, state.issued + 1, 0, 0, 0));
        promised[planId] += _leaves[lot].length;
    }

    function leafOf(uint32 index, uint256 shape) private view returns (BatchLeaf memory leaf) {
        (leaf.index, leaf.to, leaf.salt) = (index, actors[shape % 5], bytes32(shape));
        if (shape >> 8 & 1 == 1) leaf.notBefore = uint40(block.timestamp + (shape >> 16) % 3 days);
        if (shape >> 9 & 1 == 1) leaf.notAfter = uint40(block.timestamp + 4 days + (shape >> 40) % 9 days);
    }

    function hashesOf(uint32 planId, uint256 lot) private view returns (bytes32[] memory hashes) {
        hashes = new bytes32[](_leaves[lot].length);
        for (uint256 i; i < hashes.length; ++i) {
            bytes32 inner = keccak256(abi.encode(block.chainid, address(ledger), planId, _leaves[lot][i]));
            hashes[i] = keccak256(abi.encodePacked(inner));
        }
    }

    /// @param honest whether the leaf is the one that was anchored
    function claim(uint256 lot, uint8 index, bool honest) external step {
        if (_lots.length == 0) return;
        lot %= _lots.length;
        uint256 at = index % _leaves[lot].length;
        Lot storage its = _lots[lot];
        BatchLeaf memory leaf = _leaves[lot][at];
        if (!honest) leaf.to = msg.sender;
        bytes32[] memory path = Tree.path(hashesOf(its.planId, lot), at);
        bytes memory call_ = abi.encodeCall(ledger.claim, (its.planId, its.root, leaf, path));
        uint256 id = uint256(its.planId) << 32 | (its.firstSerial + at);
        if (!act("claim", id, msg.sender, call_)) return;
        never(!honest && leaf.to != _leaves[lot][at].to, "15: a leaf was claimed for someone else");
        never(its.claimed >> at & 1 == 1, "15: a leaf was claimed twice");
        never(its.revoked >> at & 1 == 1, "15: a leaf was claimed after its revocation");
        its.claimed |= 1 << at;
        ++claims[its.planId];
        added(id);
        never(look(id).holder != leaf.to, "15: a leaf was claimed for someone else");
        never(its.closesAt != 0 && look(id).notAfter > its.closesAt, "15: a leaf outlives the closing of its batch");
    }

    function closeBatch(uint256 who, uint256 lot) external step {
        if (_lots.length == 0) return;
        Lot storage its = _lots[lot % _lots.length];
        address sender = choose(who, licensorOf(its.planId));
        if (!act("closeBatch", 0, sender, abi.encodeCall(ledger.closeBatch, (its.planId, its.root, 0)))) return;
        (PlanTerms memory terms, PlanState memory state) = ledger.planOf(its.planId);
        never(sender != state.licensor && ledger.rolesOf(its.planId, sender) & 2 == 0, "15: closed by a stranger");
        uint40 before = its.closesAt;
        (,,,, its.closesAt) = ledger.batchOf(its.planId, its.root);
        never(its.closesAt < block.timestamp + terms.minNotice, "15: closed without the notice");
        never(before != 0 && its.closesAt >= before, "15: a closing was put off");
    }

    function revokeInBatch(uint256 who, uint256 lot, uint8 mask, bool beyond) external step {
        if (_lots.length == 0) return;
        lot %= _lots.length;
        Lot storage its = _lots[lot];
        uint256 all = (1 << _leaves[lot].length) - 1;
        uint256 bits = beyond ? mask : mask & all;
        bytes memory call_ = abi.encodeCall(ledger.revokeInBatch, (its.planId, its.root, 0, bits, 0));
        address sender = choose(who, licensorOf(its.planId));
        if (!act("revokeInBatch", 0, sender, call_)) return;
        never(bits & ~all != 0, "15: revoked what is not in the batch");
        (PlanTerms memory terms, PlanState memory state) = ledger.planOf(its.planId);
        never(sender != state.licensor && ledger.rolesOf(its.planId, sender) & 2 == 0, "10: revoked by a stranger");
        uint256 unclaimed = bits & ~its.claimed & ~its.revoked;
        never(unclaimed != 0 && terms.minNotice != 0, "15: the notice of an unclaimed leaf was passed over");
        its.revoked |= unclaimed;
    }

    // ---------------------------------------------------------------- vouchers

    function redeem(uint256 who, uint256 plan, uint256 signing, uint8 nonce, uint256 shape) external step {
        if (plans == 0) return;
        Voucher memory v = voucherOf(pick(plan), signing, nonce, shape);
        bytes memory signature = signed(keyFor(signing, v.signer), ledger.voucherDigest(v));
        bool genuine = vm.addr(keyFor(signing, v.signer)) == v.signer;
        address sender = choose(who, v.market);
        bytes memory call_ = abi.encodeCall(ledger.redeem, (v, signature));
        if (!act("redeem", 0, sender, call_)) return;
        issued(v.planId);
        addedNext(v.planId);
        redeemed(v, sender, genuine);
    }

    function redeemed(Voucher memory v, address sender, bool genuine) private {
        (, PlanState memory state) = ledger.planOf(v.planId);
        bool may = v.signer == state.licensor || ledger.rolesOf(v.planId, v.signer) & 1 != 0;
        never(!genuine || !may, "19: a voucher without its signer's word");
        never(v.market != sender && (v.market != address(0) || v.price != 0), "19: a price nobody collected");
        never(v.planDigest != state.planDigest, "19: a voucher for another plan");
        never(block.timestamp > v.deadline, "19: a voucher after its deadline");
        spend(v.signer, v.nonce);
    }

    function voucherOf(uint32 planId, uint256 signing, uint8 nonce, uint256 shape)
        private
        view
        returns (Voucher memory v)
    {
        (, PlanState memory state) = ledger.planOf(planId);
        v.planId = planId;
        v.signer = choose(signing >> 8, state.licensor);
        v.to = actors[shape % 5];
        if (shape >> 8 & 1 == 1) v.market = actors[(shape >> 16) % 5];
        v.price = shape >> 9 & 1 == 1 && v.market != address(0) ? 1 : 0;
        v.planDigest = (shape >> 24) % 8 == 7 ? keccak256("another") : state.planDigest;
        v.nonce = nonce % NONCES;
        v.deadline = uint40(block.timestamp) + 10 - uint40((shape >> 32) % 12);
    }

    function cancelVouchers(uint256 who, uint16 mask) external step {
        address signer = actors[who % 5];
        uint256 bits = mask & 0x111;
        if (act("cancelVouchers", 0, signer, abi.encodeCall(ledger.cancelVouchers, (0, bits)))) spent[signer] |= bits;
    }

    function spend(address signer, uint256 nonce) internal {
        never(spent[signer] >> nonce & 1 == 1, "16: a nonce was spent twice");
        spent[signer] |= 1 << nonce;
    }

    function nonceOf(uint256 seed) internal pure returns (uint256) {
        return seed % NONCES;
    }

    // ---------------------------------------------------------------- watching

    function lotCount() external view returns (uint256) {
        return _lots.length;
    }

    function lotAt(uint256 lot) external view returns (Lot memory, BatchLeaf[] memory, bytes32[] memory hashes) {
        return (_lots[lot], _leaves[lot], hashesOf(_lots[lot].planId, lot));
    }

    function sweep() internal virtual override {
        super.sweep();
        for (uint256 i; i < _lots.length; ++i) {
            Lot storage its = _lots[i];
            (uint256 claimed, uint256 revoked) = ledger.batchBits(its.planId, its.root, 0);
            never(claimed & revoked != 0, "15: a leaf is claimed and revoked unclaimed");
            (,,,, uint40 closesAt) = ledger.batchOf(its.planId, its.root);
            never(closesAt != its.closesAt, "15: a batch was closed or opened by itself");
            never(claimed != its.claimed || revoked != its.revoked, "15: a bit of a batch changed by itself");
        }
        for (uint256 i; i < 5; ++i) {
            never(ledger.noncesSpent(actors[i], 0) != spent[actors[i]], "16: a nonce came back or went by itself");
        }
    }
}
