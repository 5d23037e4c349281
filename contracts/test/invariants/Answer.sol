// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseLedger} from "../../src/interfaces/ILicenseLedger.sol";
import {LicenseStatus, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Vm} from "../Vm.sol";

/// @notice The decision of `check`, written a second time from the words of its interface and out of the ledger's other answers.
library Answer {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    struct Given {
        uint8 code;
        uint40 notAfter;
        uint40 graceUntil;
        uint32 planId;
    }

    struct License {
        address holder;
        uint40 notBefore;
        uint40 notAfter;
        LicenseStatus status;
        uint40 suspendedAt;
        uint64 parent;
    }

    function agrees(ILicenseLedger ledger, uint256 id, address holder, bytes32 runtimeKey, uint40 at)
        internal
        view
        returns (bool)
    {
        Given memory got;
        (got.code, got.notAfter, got.graceUntil, got.planId) = ledger.check(id, holder, runtimeKey, at);
        Given memory want = expected(ledger, id, holder, runtimeKey, at);
        return keccak256(abi.encode(got)) == keccak256(abi.encode(want));
    }

    function expected(ILicenseLedger ledger, uint256 id, address holder, bytes32 runtimeKey, uint40 at)
        internal
        view
        returns (Given memory given)
    {
        (bool found, License memory license) = read(ledger, id);
        if (!found) return Given(1, 0, 0, 0);
        (PlanTerms memory terms,) = ledger.planOf(uint32(id >> 32));
        bool revoked = license.status == LicenseStatus.REVOKED;
        given.planId = uint32(id >> 32);
        bool blocked;
        bool notice;
        (blocked, notice, given.notAfter) = above(ledger, license, at);
        if (at >= license.notAfter) {
            given.code = revoked ? 3 : 4;
            return given;
        }
        (uint64 used,,) = ledger.usageOf(id);
        if (license.suspendedAt != 0) given.code = 2;
        else if (at < license.notBefore) given.code = 8;
        else if (holder != address(0) && holder != license.holder) given.code = 5;
        else if (blocked) given.code = 9;
        else if (terms.quota != 0 && used >= terms.quota) given.code = 11;
        else given.code = seat(ledger, id, terms.floating ? bytes32(0) : runtimeKey, at);
        if (given.code != 0) return given;
        if (revoked || notice) given.code = 10;
        uint256 until = uint256(at) + terms.grace;
        given.graceUntil = until < given.notAfter ? uint40(until) : given.notAfter;
        if (terms.floating || runtimeKey == 0) return given;
        (, uint40 leaves,) = ledger.seatOf(id, runtimeKey);
        if (leaves != 0 && leaves < given.graceUntil) given.graceUntil = leaves;
    }

    function read(ILicenseLedger ledger, uint256 id) internal view returns (bool, License memory license) {
        try ledger.licenseOf(id) returns (
            address holder, uint40 notBefore, uint40, LicenseStatus status, uint16, uint64, uint40 suspendedAt
        ) {
            license = License(holder, notBefore, ownEnd(ledger, id), status, suspendedAt, 0);
        } catch {
            return (false, license);
        }
        (license.parent,,) = ledger.parentOf(id);
        return (true, license);
    }

    function above(ILicenseLedger ledger, License memory license, uint40 at)
        private
        view
        returns (bool blocked, bool notice, uint40 end)
    {
        end = license.notAfter;
        while (license.parent != 0) {
            (, license) = read(ledger, license.parent);
            if (license.notAfter < end) end = license.notAfter;
            if (at >= license.notAfter || at < license.notBefore || license.suspendedAt != 0) blocked = true;
            if (license.status == LicenseStatus.REVOKED) notice = true;
        }
    }

    function seat(ILicenseLedger ledger, uint256 id, bytes32 runtimeKey, uint40 at) private view returns (uint8) {
        if (runtimeKey == 0) return 0;
        (uint40 boundAt, uint40 until,) = ledger.seatOf(id, runtimeKey);
        if (boundAt == 0) return 6;
        return until != 0 && at >= until ? 7 : 0;
    }

    /// `licenseOf` tells of a sublicense when it ends with those above it; its own end stands in its word (docs/spec/storage-layout.md).
    function ownEnd(ILicenseLedger ledger, uint256 id) internal view returns (uint40) {
        bytes memory preimage = abi.encodePacked(bytes28(bytes32(id)), hex"7d882553");
        return uint40(uint256(vm.load(address(ledger), bytes32(2 * id + uint256(keccak256(preimage))))) >> 216);
    }

    /// The license's own end, or that of a license above it that comes first.
    function endOf(ILicenseLedger ledger, uint256 id) internal view returns (uint40 end) {
        (, License memory license) = read(ledger, id);
        (,, end) = above(ledger, license, 0);
    }
}
