// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {InclusionProof} from "../../src/interfaces/IAnchors.sol";
import {Claim, ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Watch} from "./Watch.sol";

/// @notice What is done to anchors, titles and records.
abstract contract Titles is Watch {
    uint256 private constant MOST_MODELS = 6;

    bytes32[] public modelIds;
    bytes32[] private _roots;

    struct Stamp {
        uint40 time;
        uint64 blockNumber;
    }

    struct ModelSeen {
        address licensor;
        uint40 registeredAt;
        uint40 committedAt;
        bool committed;
        uint64 sequence;
        uint64 epoch;
        bytes32 record;
    }

    struct Recovery {
        address to;
        uint40 startedAt;
    }

    mapping(bytes32 root => Stamp) private _stamps;
    mapping(bytes32 modelId => ModelSeen) private _modelsSeen;
    mapping(bytes32 modelId => Recovery) private _recoveries;
    mapping(address sender => uint64) private _committed;
    mapping(bytes32 commitment => address) private _firstBy;

    constructor() {
        for (uint256 i; i < 3; ++i) {
            Claim memory claim = claimOf(actors[i], i);
            bytes32 id = models.modelIdOf(claim);
            anchors.anchor(commitmentOf(id));
            _roots.push(commitmentOf(id));
            vm.warp(block.timestamp + 10);
            vm.roll(block.number + 1);
            vm.prank(actors[i]);
            InclusionProof memory none;
            models.register(claim, none);
            modelIds.push(id);
        }
    }

    function claimOf(address owner, uint256 seed) private pure returns (Claim memory claim) {
        (claim.licensor, claim.salt) = (owner, bytes32(seed));
    }

    function commitmentOf(bytes32 modelId) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0), "modeldeed/commit/1", modelId));
    }

    function modelOf(uint256 model) internal view returns (bytes32) {
        return modelIds[model % modelIds.length];
    }

    // ---------------------------------------------------------------- anchors

    function anchor(uint256 who, uint8 root) external step {
        bytes32 value = bytes32(uint256(root % 8));
        bytes memory call_ = abi.encodeCall(anchors.anchor, (value));
        if (!run("anchor", 0, actors[who % 5], address(anchors), call_)) return;
        never(_stamps[value].time != 0, "3: a root was anchored twice");
        _roots.push(value);
    }

    function commitPhaseA(uint256 who, uint8 commitment) external step {
        bytes32 value = bytes32(uint256(commitment % 8));
        address sender = actors[who % 5];
        bytes memory call_ = abi.encodeCall(anchors.commitPhaseA, (value));
        if (!run("commitPhaseA", 0, sender, address(anchors), call_)) return;
        uint64 count = ++_committed[sender];
        (uint64 number,) = anchors.phaseABy(sender, value);
        never(number != count || anchors.phaseACount(sender) != count, "3: a commitment has not its number");
        if (_firstBy[value] == address(0)) _firstBy[value] = sender;
        (address first,,) = anchors.phaseAOf(value);
        never(first != _firstBy[value], "3: a first commitment was replaced");
    }

    // ---------------------------------------------------------------- models

    function registerBatch(uint256 who, uint8 seed) external step {
        if (modelIds.length + 2 > MOST_MODELS) return;
        address owner = actors[who % 5];
        Claim[] memory claims = new Claim[](2);
        for (uint256 i; i < 2; ++i) {
            claims[i] = claimOf(owner, seed % 4 + i); // some stand already: then none is registered
        }
        bytes32[2] memory ids = [models.modelIdOf(claims[0]), models.modelIdOf(claims[1])];
        bool stand = models.licensorOf(ids[0]) != address(0) || models.licensorOf(ids[1]) != address(0);
        bytes memory call_ = abi.encodeCall(models.registerBatch, (claims, new InclusionProof[](2)));
        if (!run("registerBatch", 0, owner, address(models), call_)) return;
        never(stand, "3: a model was registered twice");
        modelIds.push(ids[0]);
        modelIds.push(ids[1]);
    }

    function proveEarlier(uint256 model, bool honest) external step {
        bytes32 id = modelOf(model);
        InclusionProof memory proof;
        (proof.root, proof.size) = (honest ? commitmentOf(id) : keccak256("another"), 1);
        bytes memory call_ = abi.encodeCall(models.proveEarlier, (id, proof));
        run("proveEarlier", uint256(id), msg.sender, address(models), call_);
    }

    function setModelStatus(uint256 who, uint256 model, uint8 status) external step {
        bytes32 id = modelOf(model);
        bytes memory call_ = abi.encodeCall(models.setStatus, (id, ModelStatus(status % 4)));
        run("setStatus", uint256(id), choose(who, models.licensorOf(id)), address(models), call_);
    }

    function lodge(uint256 who, uint256 model, uint16 kind, uint8 epoch) external step {
        bytes32 id = modelOf(model);
        bytes memory call_ =
            abi.encodeCall(models.lodge, (id, kind % 3, uint64(epoch % 16), keccak256(abi.encode(who, epoch))));
        run("lodge", uint256(id), choose(who, models.licensorOf(id)), address(models), call_);
    }

    function moveTitle(uint256 who, uint256 to, uint256 model) external step {
        bytes32 id = modelOf(model);
        address taker = actors[to % 5];
        address seller = choose(who, models.licensorOf(id));
        run("propose", uint256(id), seller, address(models), abi.encodeCall(models.proposeTransfer, (id, taker)));
        address offered = models.pendingLicensorOf(id);
        bool moved = run("accept", uint256(id), taker, address(models), abi.encodeCall(models.acceptTransfer, (id)));
        never(moved && offered != taker, "2: a title was taken that was not offered");
        never(moved && models.pendingLicensorOf(id) != address(0), "2: an offer outlived its title");
    }

    // ---------------------------------------------------------------- recovery

    function setGuardian(uint256 who, uint256 model, uint256 guardian, uint24 delay) external step {
        bytes32 id = modelOf(model);
        bytes memory call_ = abi.encodeCall(models.setGuardian, (id, actors[guardian % 5], delay % 14 days));
        if (run("setGuardian", uint256(id), choose(who, models.licensorOf(id)), address(models), call_)) {
            delete _recoveries[id];
        }
    }

    function startRecovery(uint256 who, uint256 model, uint256 to) external step {
        bytes32 id = modelOf(model);
        (address guardian,) = models.guardianOf(id);
        bytes memory call_ = abi.encodeCall(models.startRecovery, (id, actors[to % 5]));
        address sender = choose(who, guardian);
        if (!run("startRecovery", uint256(id), sender, address(models), call_)) return;
        never(sender != guardian, "2: a recovery by someone else");
        _recoveries[id] = Recovery(actors[to % 5], uint40(block.timestamp));
    }

    function recovering(uint256 model) private view returns (bytes32 id) {
        for (uint256 i; i < modelIds.length; ++i) {
            id = modelOf(model % modelIds.length + i);
            if (_recoveries[id].to != address(0)) return id;
        }
        return modelOf(model);
    }

    function vetoRecovery(uint256 who, uint256 model) external step {
        bytes32 id = recovering(model);
        bytes memory call_ = abi.encodeCall(models.vetoRecovery, (id));
        if (run("vetoRecovery", uint256(id), choose(who, models.licensorOf(id)), address(models), call_)) {
            delete _recoveries[id];
        }
    }

    /// @param patient whether it waits until the recovery is ready
    function finishRecovery(uint256 who, uint256 model, bool patient) external step {
        bytes32 id = recovering(model);
        (address guardian,) = models.guardianOf(id);
        (, uint40 readyAt) = models.recoveryOf(id);
        if (patient && readyAt > block.timestamp) vm.warp(readyAt);
        bytes memory call_ = abi.encodeCall(models.finishRecovery, (id));
        address sender = choose(who, guardian);
        if (!run("finishRecovery", uint256(id), sender, address(models), call_)) return;
        Recovery memory recovery = _recoveries[id];
        never(sender != guardian || recovery.to != models.licensorOf(id), "2: recovered by or to someone else");
        never(block.timestamp < recovery.startedAt + 7 days, "2: recovered without time for a veto");
        delete _recoveries[id];
    }

    // ---------------------------------------------------------------- watching

    function sweep() internal virtual override {
        super.sweep();
        for (uint256 i; i < modelIds.length; ++i) {
            bytes32 id = modelIds[i];
            ModelSeen memory before = _modelsSeen[id];
            ModelSeen memory now_ = lookAt(id);
            if (before.licensor != address(0)) compare(id, before, now_);
            _modelsSeen[id] = now_;
        }
        for (uint256 i; i < _roots.length; ++i) {
            (uint40 time, uint64 blockNumber) = anchors.anchoredAt(_roots[i]);
            Stamp memory before = _stamps[_roots[i]];
            bool same = time == before.time && blockNumber == before.blockNumber;
            never(before.time != 0 && !same, "3: a stamp changed");
            _stamps[_roots[i]] = Stamp(time, blockNumber);
        }
    }

    function lookAt(bytes32 id) private returns (ModelSeen memory seen) {
        ModelStatus status;
        (seen.licensor, seen.registeredAt, seen.committedAt, status, seen.committed) = models.modelOf(id);
        seen.sequence = models.titleSequenceOf(id);
        (seen.epoch, seen.record) = models.sealingOf(id);
        never(status == ModelStatus.NONE || seen.licensor == address(0), "3: a model vanished");
    }

    function compare(bytes32 id, ModelSeen memory before, ModelSeen memory now_) private {
        never(now_.committedAt > before.committedAt, "1: committedAt rose");
        never(before.committed && !now_.committed, "1: a commitment was forgotten");
        never(now_.registeredAt != before.registeredAt, "3: a model was registered again");
        bool moved = now_.licensor != before.licensor;
        bool may = target == uint256(id) && (doing == "accept" || doing == "finishRecovery");
        never(moved && !may, "2: a title moved without consent");
        never(now_.sequence != before.sequence + (moved ? 1 : 0), "2: the sequence does not count the moves");
        never(now_.epoch < before.epoch, "3: a sealing epoch fell");
        never(before.epoch != 0 && models.sealingAt(id, before.epoch) != before.record, "3: a record was overwritten");
    }
}
