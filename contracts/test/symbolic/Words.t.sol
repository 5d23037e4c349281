// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {LicenseStatus, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {IssueWord, IssueWordLib} from "../../src/types/IssueWord.sol";
import {LicenseWord, LicenseWordLib} from "../../src/types/LicenseWord.sol";
import {PlanWordsLib, ScopeWord, TimesWord} from "../../src/types/PlanWords.sol";
import {TitleWord, TitleWordLib} from "../../src/types/TitleWord.sol";
import {Symbolic} from "./Symbolic.sol";

/// @notice Packing: readers return what was written, and a writer changes the bits of its field and no others. Proved for every word
/// and every value. `_only(before, after, shift, bits)` holds when nothing outside the field moved.
contract WordsProofs is Symbolic {
    function _only(uint256 before, uint256 later, uint256 shift, uint256 bits) private pure {
        uint256 field = ((uint256(1) << bits) - 1) << shift;
        assert(before & ~field == later & ~field);
    }

    // ---------------------------------------------------------------- LicenseWord

    function check_license_fresh(address holder, uint40 notAfter, uint24 grace, uint8 flags, uint8 flag) public pure {
        uint256 upper = LicenseWordLib.fresh(notAfter, grace, flags);
        LicenseWord word = LicenseWord.wrap(upper << 160 | uint160(holder));
        assert(word.holder() == holder && word.notAfter() == notAfter && word.grace() == grace);
        assert(word.seatsUsed() == 0 && word.status() == LicenseStatus.ACTIVE && !word.isRevoked());
        assert(word.hasAny(flag) == (flags & flag != 0) && word.has(flag) == (flags & flag != 0));
    }

    function check_license_withNotAfter(uint256 any, uint40 value) public pure {
        LicenseWord word = LicenseWord.wrap(any).withNotAfter(value);
        assert(word.notAfter() == value);
        _only(any, LicenseWord.unwrap(word), 216, 40);
    }

    function check_license_withSeatsUsed(uint256 any, uint16 value) public pure {
        LicenseWord word = LicenseWord.wrap(any).withSeatsUsed(value);
        assert(word.seatsUsed() == value);
        _only(any, LicenseWord.unwrap(word), 176, 16);
    }

    function check_license_withStatus(uint256 any, uint8 value) public pure {
        vm.assume(value <= uint8(type(LicenseStatus).max));
        LicenseWord word = LicenseWord.wrap(any).withStatus(LicenseStatus(value));
        assert(uint8(word.status()) == value);
        assert(word.isRevoked() == (LicenseStatus(value) == LicenseStatus.REVOKED));
        _only(any, LicenseWord.unwrap(word), 168, 8);
    }

    function check_license_flags(uint256 any, uint8 flag, uint8 other) public pure {
        LicenseWord word = LicenseWord.wrap(any);
        LicenseWord on = word.withFlag(flag);
        LicenseWord off = word.withoutFlag(flag);
        assert(flag == 0 || on.has(flag));
        assert(!off.has(flag));
        vm.assume(flag & other == 0);
        assert(on.has(other) == word.has(other) && off.has(other) == word.has(other));
        _only(any, LicenseWord.unwrap(on), 160, 8);
        _only(any, LicenseWord.unwrap(off), 160, 8);
    }

    // ---------------------------------------------------------------- IssueWord

    function check_issue_fresh(uint40 duration, uint24 grace, uint8 flags, uint8 flag) public pure {
        IssueWord word = IssueWordLib.fresh(duration, grace, flags);
        assert(word.licensor() == address(0) && word.issued() == 0 && word.roleEpoch() == 0);
        assert(word.grace() == grace && uint8(IssueWord.unwrap(word) >> 248) == flags && word.has(flag) == (flags & flag != 0));
        // Either the days are exact or they say that they are not.
        uint256 inDays = word.durationDays();
        assert(inDays == IssueWordLib.ODD_DURATION || inDays * 1 days == duration);
        // And they say so only of what does not fit.
        assert(inDays != IssueWordLib.ODD_DURATION || duration % 1 days != 0 || duration / 1 days >= 65_535);
    }

    function check_issue_plus(uint256 any, uint32 count) public pure {
        IssueWord word = IssueWord.wrap(any);
        vm.assume(uint256(word.issued()) + count <= type(uint32).max);
        IssueWord later = word.plus(count);
        assert(later.issued() == word.issued() + count);
        _only(any, IssueWord.unwrap(later), 160, 32);
    }

    function check_issue_withLicensor(uint256 any, address account, uint16 epoch) public pure {
        IssueWord word = IssueWord.wrap(any);
        IssueWord later = word.withLicensor(account, epoch);
        assert(later.licensor() == account && later.roleEpoch() == epoch);
        uint256 fields = uint256(type(uint160).max) | uint256(type(uint16).max) << 192;
        assert(any & ~fields == IssueWord.unwrap(later) & ~fields);
        assert(later.issued() == word.issued() && later.durationDays() == word.durationDays());
    }

    function check_issue_withFlag(uint256 any, uint8 flag, uint8 other, bool on) public pure {
        IssueWord word = IssueWord.wrap(any);
        IssueWord later = word.withFlag(flag, on);
        assert(flag == 0 || later.has(flag) == on);
        _only(any, IssueWord.unwrap(later), 248, 8);
        vm.assume(flag & other == 0);
        assert(later.has(other) == word.has(other));
    }

    // ---------------------------------------------------------------- TitleWord

    function check_title_fresh(address licensor, uint40 registeredAt, uint40 committedAt, bool committed) public pure {
        TitleWord word = TitleWordLib.fresh(licensor, registeredAt, committedAt, committed);
        assert(word.licensor() == licensor && word.registeredAt() == registeredAt);
        assert(word.committedAt() == committedAt && word.isCommitted() == committed);
        assert(word.status() == ModelStatus.ACTIVE);
    }

    function check_title_withLicensor(uint256 any, address value) public pure {
        TitleWord word = TitleWord.wrap(any).withLicensor(value);
        assert(word.licensor() == value);
        _only(any, TitleWord.unwrap(word), 0, 160);
    }

    function check_title_withCommittedAt(uint256 any, uint40 value) public pure {
        TitleWord word = TitleWord.wrap(any).withCommittedAt(value);
        assert(word.committedAt() == value && word.isCommitted());
        uint256 fields = uint256(type(uint40).max) << 200 | 1 << 248;
        assert(any & ~fields == TitleWord.unwrap(word) & ~fields);
    }

    function check_title_withStatus(uint256 any, uint8 value) public pure {
        vm.assume(value <= uint8(type(ModelStatus).max));
        TitleWord word = TitleWord.wrap(any).withStatus(ModelStatus(value));
        assert(uint8(word.status()) == value);
        _only(any, TitleWord.unwrap(word), 240, 8);
    }

    // ---------------------------------------------------------------- TimesWord and ScopeWord

    function check_times(uint40 duration, uint32 supply, uint32 lease, uint32 offline, uint32 refund, uint32 delay)
        public
        pure
    {
        PlanTerms memory terms;
        terms.duration = duration;
        terms.supply = supply;
        terms.leaseTtl = lease;
        terms.maxOffline = offline;
        terms.refundWindow = refund;
        terms.reissueDelay = delay;
        TimesWord word = PlanWordsLib.timesOf(terms);
        assert(word.duration() == duration && word.supply() == supply && word.leaseTtl() == lease);
        assert(word.refundWindow() == refund && word.reissueDelay() == delay);
        assert(TimesWord.unwrap(word) >> 200 == 0);
        PlanTerms memory got;
        word.fill(got);
        assert(got.duration == duration && got.supply == supply && got.leaseTtl == lease);
        assert(got.maxOffline == offline && got.refundWindow == refund && got.reissueDelay == delay);
    }

    function check_scope(uint64 quota, uint64 features, uint64 brokerSet, uint16 bps) public pure {
        PlanTerms memory terms;
        terms.quota = quota;
        terms.features = features;
        terms.brokerSet = brokerSet;
        ScopeWord word = PlanWordsLib.scopeOf(terms);
        assert(word.quota() == quota && word.resaleBps() == 0);
        ScopeWord later = word.withResaleBps(bps);
        assert(later.resaleBps() == bps);
        PlanTerms memory got;
        later.fill(got);
        assert(got.quota == quota && got.features == features && got.brokerSet == brokerSet);
    }

    /// @dev Of a word without anything above the royalty, which is every word the ledger writes.
    function check_scope_withResaleBps(uint256 any, uint16 bps) public pure {
        vm.assume(any >> 208 == 0);
        ScopeWord word = ScopeWord.wrap(any).withResaleBps(bps);
        assert(word.resaleBps() == bps);
        _only(any, ScopeWord.unwrap(word), 192, 16);
    }
}
