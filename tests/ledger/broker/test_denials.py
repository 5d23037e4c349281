"""Refusals on the wire."""

import json

import pytest

from ledger import errors
from ledger.broker.denials import Denial
from ledger.errors import (
    ChainUnavailable,
    EndpointsDisagree,
    EntitlementError,
    KeyRequestRejected,
    LeaseExpired,
    PendingFinality,
    Revoked,
)


def over_the_wire(error, check=5):
    return Denial.from_json(json.loads(json.dumps(Denial.of(error, check=check).to_json())))


ENTITLEMENT = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, EntitlementError)
]


@pytest.mark.parametrize("kind", ENTITLEMENT, ids=lambda kind: kind.__name__)
def test_every_entitlement_error_arrives_as_itself(kind):
    denial = over_the_wire(kind("why", since=7, remedy="who"))
    again = denial.error()
    assert type(again) is kind
    assert (again.message, again.since, again.remedy) == ("why", 7, "who")
    assert denial.authoritative


@pytest.mark.parametrize(
    "error",
    [PendingFinality("w", retry_after=3), ChainUnavailable("w"), EndpointsDisagree("w")],
    ids=lambda error: type(error).__name__,
)
def test_what_may_change_by_waiting_is_not_authoritative(error):
    denial = over_the_wire(error)
    assert not denial.authoritative
    assert type(denial.error()) is type(error)


def test_a_rejection_keeps_the_number_of_its_check():
    error = over_the_wire(KeyRequestRejected("no", check=2), check=2).error()
    assert isinstance(error, KeyRequestRejected)
    assert error.check == 2


def test_an_ended_lease_arrives_as_one():
    assert isinstance(over_the_wire(LeaseExpired("over")).error(), LeaseExpired)


def test_a_code_from_the_future_is_still_a_refusal():
    denial = Denial("FROM_THE_FUTURE", 0, "no", None, "", 5, None)
    assert isinstance(denial.error(), KeyRequestRejected)
    waiting = Denial("FROM_THE_FUTURE", 0, "no", None, "", 5, 3)
    assert isinstance(waiting.error(), ChainUnavailable)


def test_since_and_remedy_are_words_for_people():
    denial = over_the_wire(Revoked("license 1.1 was revoked", since=1, remedy="ask"))
    assert (denial.number, denial.since, denial.remedy) == (3, 1, "ask")
