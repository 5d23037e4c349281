// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {PlanTerms} from "../interfaces/LicenseTypes.sol";

/// @notice A plan's times and supply in one word, low bits first:
/// `duration 40 | supply 32 | leaseTtl 32 | maxOffline 32 | refundWindow 32 | reissueDelay 32`.
/// @dev docs/spec/storage-layout.md fixes both words. A plan's terms never change; `resaleBps` is not one of them.
type TimesWord is uint256;

/// @notice What a plan's licenses may do, low bits first: `quota 64 | features 64 | brokerSet 64 | resaleBps 16`.
type ScopeWord is uint256;

using PlanWordsLib for TimesWord global;
using PlanWordsLib for ScopeWord global;

/// @title PlanWordsLib
/// @notice Packs and reads TimesWord and ScopeWord.
library PlanWordsLib {
    function timesOf(PlanTerms memory terms) internal pure returns (TimesWord) {
        return TimesWord.wrap(
            uint256(terms.duration) | uint256(terms.supply) << 40 | uint256(terms.leaseTtl) << 72
                | uint256(terms.maxOffline) << 104 | uint256(terms.refundWindow) << 136 | uint256(terms.reissueDelay)
                << 168
        );
    }

    function scopeOf(PlanTerms memory terms) internal pure returns (ScopeWord) {
        return ScopeWord.wrap(uint256(terms.quota) | uint256(terms.features) << 64 | uint256(terms.brokerSet) << 128);
    }

    function withResaleBps(ScopeWord word, uint16 bps) internal pure returns (ScopeWord) {
        return ScopeWord.wrap(ScopeWord.unwrap(word) << 64 >> 64 | uint256(bps) << 192);
    }

    /// @notice Writes the fields of the word into `terms`.
    function fill(TimesWord word, PlanTerms memory terms) internal pure {
        terms.duration = word.duration();
        terms.supply = word.supply();
        terms.leaseTtl = uint32(TimesWord.unwrap(word) >> 72);
        terms.maxOffline = uint32(TimesWord.unwrap(word) >> 104);
        terms.refundWindow = uint32(TimesWord.unwrap(word) >> 136);
        terms.reissueDelay = word.reissueDelay();
    }

    /// @notice Writes the fields of the word into `terms`.
    function fill(ScopeWord word, PlanTerms memory terms) internal pure {
        terms.quota = word.quota();
        terms.features = uint64(ScopeWord.unwrap(word) >> 64);
        terms.brokerSet = uint64(ScopeWord.unwrap(word) >> 128);
    }

    function duration(TimesWord word) internal pure returns (uint40) {
        return uint40(TimesWord.unwrap(word));
    }

    function supply(TimesWord word) internal pure returns (uint32) {
        return uint32(TimesWord.unwrap(word) >> 40);
    }

    function leaseTtl(TimesWord word) internal pure returns (uint32) {
        return uint32(TimesWord.unwrap(word) >> 72);
    }

    function refundWindow(TimesWord word) internal pure returns (uint32) {
        return uint32(TimesWord.unwrap(word) >> 136);
    }

    function reissueDelay(TimesWord word) internal pure returns (uint32) {
        return uint32(TimesWord.unwrap(word) >> 168);
    }

    function quota(ScopeWord word) internal pure returns (uint64) {
        return uint64(ScopeWord.unwrap(word));
    }

    function resaleBps(ScopeWord word) internal pure returns (uint16) {
        return uint16(ScopeWord.unwrap(word) >> 192);
    }
}
