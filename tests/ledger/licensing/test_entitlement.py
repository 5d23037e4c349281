"""The entitlement decision and its sentences."""

import pytest

from ledger.errors import (
    EntitlementError,
    Expired,
    NoLicense,
    NotYetValid,
    Revoked,
    RuntimeNotBound,
    SeatLapsed,
    Suspended,
    WrongHolder,
)
from ledger.ids import ZERO_ADDRESS, Address, LicenseId
from ledger.licensing.entitlement import (
    PERPETUAL,
    Code,
    Entitlement,
    LicenseFacts,
    Seat,
    Status,
    decide,
    denial,
    moment,
)

HOLDER, LICENSOR, OTHER = (Address(bytes([i]) * 20) for i in (1, 2, 3))
AT = 1_800_000_000


def facts(**changes):
    base = {
        "license": LicenseId.of(7, 1),
        "holder": HOLDER,
        "status": Status.ACTIVE,
        "not_before": AT - 100,
        "not_after": AT + 1000,
        "suspended_at": 0,
        "licensor": LICENSOR,
        "grace": 60,
    }
    return LicenseFacts(**{**base, **changes})


def test_a_valid_license_entitles_until_grace():
    assert decide(facts(), at=AT) == Entitlement(Code.VALID, AT + 1000, AT + 60)


def test_grace_never_outlives_the_license():
    assert decide(facts(not_after=AT + 10), at=AT).grace_until == AT + 10


def test_a_license_under_notice_still_entitles():
    assert decide(facts(status=Status.REVOKED), at=AT).code is Code.REVOKING


@pytest.mark.parametrize(
    ("changes", "asked", "kind", "since"),
    [
        ({"status": Status.NONE}, {}, NoLicense, None),
        ({"holder": ZERO_ADDRESS}, {}, NoLicense, None),
        ({"status": Status.REVOKED, "not_after": AT}, {}, Revoked, AT),
        ({"not_after": AT}, {}, Expired, AT),
        ({"status": Status.SUSPENDED, "suspended_at": AT - 5}, {}, Suspended, AT - 5),
        ({"status": Status.REVOKED, "suspended_at": AT - 5}, {}, Suspended, AT - 5),
        ({"not_before": AT + 1}, {}, NotYetValid, None),
        ({}, {"holder": OTHER}, WrongHolder, None),
        ({}, {"seat_needed": True}, RuntimeNotBound, None),
        ({"seat": Seat(AT - 9, AT)}, {"seat_needed": True}, SeatLapsed, AT),
    ],
)
def test_each_rule_denies_with_its_class(changes, asked, kind, since):
    answer = decide(facts(**changes), at=AT, **asked)
    assert type(answer) is kind
    assert answer.since == since
    assert answer.message
    assert answer.remedy


def test_what_is_final_comes_before_what_can_be_mended():
    ended = facts(status=Status.REVOKED, not_after=AT, suspended_at=AT - 5)
    assert type(decide(ended, at=AT, holder=OTHER)) is Revoked


def test_a_seat_without_end_lasts_as_long_as_the_license():
    assert decide(facts(seat=Seat(AT - 9, 0)), at=AT, seat_needed=True).code is Code.VALID


def test_a_perpetual_license_says_so():
    assert moment(PERPETUAL) == "no end"
    assert decide(facts(not_after=PERPETUAL), at=AT).not_after == PERPETUAL


def test_a_denial_names_rule_time_and_who_can_change_it():
    error = denial(Code.SUSPENDED, facts(suspended_at=AT))
    assert "suspended since 2027-01-15 08:00:00 UTC" in error.message
    assert str(LICENSOR) in error.remedy


@pytest.mark.parametrize("code", range(1, 12))
def test_every_denial_code_has_a_class_with_its_number(code):
    if code != Code.REVOKING:
        assert denial(code, facts()).number == code


@pytest.mark.parametrize("code", [12, 99, 255])
def test_a_code_from_the_future_denies(code):
    error = denial(code, facts())
    assert type(error) is EntitlementError
    assert "unknown to this release" in error.message
