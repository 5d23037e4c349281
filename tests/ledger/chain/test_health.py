"""What is remembered of an endpoint, and when decisions stop waiting for it."""

from __future__ import annotations

import pytest

from ledger.chain.health import BREAKS_AFTER, FIRST_REST, LONGEST_REST, EndpointRecord, fault_of
from ledger.errors import (
    ChainError,
    ChainUnavailable,
    ManifestError,
    Reorganised,
    RpcRefused,
    StateProofInvalid,
    WrongNetwork,
)

DOWN = ChainUnavailable("refuses connections")
SLOW = ChainUnavailable("does not answer in time", fault="slow")


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def record(clock: Clock) -> EndpointRecord:
    return EndpointRecord("rpc.example", clock=clock, monotonic=clock)


def broken(record: EndpointRecord) -> EndpointRecord:
    for _ in range(BREAKS_AFTER):
        record.failed(DOWN)
    return record


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DOWN, "down"),
        (SLOW, "slow"),
        (ChainUnavailable("", fault="stale"), "stale"),
        (WrongNetwork(""), "wrong-chain"),
        (StateProofInvalid(""), "forged"),
        (Reorganised(""), "apart"),
        (RpcRefused(""), "refused"),
        (ChainError(""), "malformed"),
        (ManifestError(""), "malformed"),
    ],
)
def test_every_failure_has_a_kind(error, kind):
    assert fault_of(error) == kind


def test_a_record_tells_where_an_endpoint_stood_and_how_fast_it_was(record):
    assert record.shown().trouble == "not asked yet"
    for seconds in (0.1, 0.2, 0.9):
        record.saw(10, 8, seconds)
    record.lags(12)
    shown = record.shown()
    assert (shown.head, shown.finalized, shown.lag, shown.latency_ms) == (10, 8, 2, 200.0)
    assert (shown.trouble, shown.last_seen) == ("", 1000)


def test_troubles_are_counted_by_kind_and_the_last_one_stays_with_its_time(record, clock):
    record.failed(DOWN)
    clock.now = 1007.0
    record.stumbled(StateProofInvalid("a false header"))
    record.saw(5, 3, 0.1)
    told = record.shown().to_json()
    assert (told["faults"]["down"], told["faults"]["forged"], told["faults"]["slow"]) == (1, 1, 0)
    assert told["last_trouble"] == {"kind": "forged", "message": "a false header", "time": 1007}
    assert told["healthy"] is True


def test_it_is_left_out_after_several_faults_in_a_row_and_not_before(record):
    for _ in range(BREAKS_AFTER - 1):
        record.failed(DOWN)
    record.saw(1, 0, 0.1)
    for _ in range(BREAKS_AFTER - 1):
        record.failed(DOWN)
    assert record.closed
    record.failed(DOWN)
    assert not record.closed
    assert record.shown().circuit == "open"


def test_one_caller_tries_it_again_after_its_rest(record, clock):
    broken(record)
    assert not record.try_again()
    clock.now += FIRST_REST
    assert record.try_again()
    assert not record.try_again()
    assert record.shown().circuit == "half-open"
    record.saw(1, 0, 0.1)
    assert record.closed


def test_its_rest_doubles_up_to_a_bound_while_it_stays_away(record, clock):
    broken(record)
    rests = []
    for _ in range(6):
        before = clock.now
        while not record.try_again():
            clock.now += 1.0
        rests.append(clock.now - before)
        record.failed(DOWN)
    assert rests == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_a_try_that_never_ends_is_not_the_last(record, clock):
    broken(record)
    clock.now += FIRST_REST
    assert record.try_again()
    clock.now += LONGEST_REST
    assert record.try_again()


def test_one_that_looks_well_and_never_answers_is_left_out_too(record, clock):
    for _ in range(BREAKS_AFTER):
        record.saw(1, 0, 0.1)
        record.stumbled(SLOW)
    assert not record.closed
    clock.now += FIRST_REST
    assert record.try_again()
    record.saw(1, 0, 0.1)
    assert record.closed
    record.stumbled(SLOW)  # on probation
    assert not record.closed


def test_what_it_refuses_quickly_or_contradicts_never_leaves_it_out(record):
    for _ in range(20):
        record.saw(1, 0, 0.1)
        record.stumbled(Reorganised("elsewhere"))
        record.contradicted("shows REVOKED")
    assert record.closed
    assert record.shown().contrary == 20
