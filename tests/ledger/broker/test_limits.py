"""Token buckets and networks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.broker import limits
from ledger.broker.limits import Buckets, Rate, network_of
from ledger.errors import RateLimited


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_a_burst_passes_and_the_next_is_told_when_to_come_back():
    clock = Clock()
    buckets = Buckets("this runtime", clock)
    for _ in range(3):
        buckets.take("a", Rate(3, 0.1))
    with pytest.raises(RateLimited) as caught:
        buckets.take("a", Rate(3, 0.1))
    assert caught.value.retry_after == pytest.approx(10)
    buckets.take("b", Rate(3, 0.1))
    clock.now += 10
    buckets.take("a", Rate(3, 0.1))


@given(st.lists(st.floats(-5, 50), max_size=80))
def test_no_more_pass_than_the_burst_and_what_time_brings(pauses):
    clock, rate = Clock(), Rate(5, 0.5)
    buckets, passed, forward = Buckets("x", clock), 0, 0.0
    for pause in pauses:
        clock.now += pause
        forward = max(forward, clock.now)
        try:
            buckets.take("a", rate)
        except RateLimited:
            continue
        passed += 1
    assert passed <= rate.burst + forward * rate.per_second + 1


def test_a_clock_that_goes_back_gives_nothing():
    clock = Clock()
    buckets = Buckets("x", clock)
    buckets.take("a", Rate(1, 1))
    clock.now -= 100
    with pytest.raises(RateLimited):
        buckets.take("a", Rate(1, 1))


def test_the_longest_unused_bucket_is_forgotten_first(monkeypatch):
    monkeypatch.setattr(limits, "BUCKETS", 2)
    buckets = Buckets("x", Clock())
    buckets.take("a", Rate(1, 1))
    buckets.take("b", Rate(1, 1))
    buckets.take("c", Rate(1, 1))
    buckets.take("a", Rate(1, 1))
    with pytest.raises(RateLimited):
        buckets.take("c", Rate(1, 1))


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2ff::9", "2001:db8:1:200::/56"),
        ("fe80::1%eth0", "fe80::%eth0/56"),
        ("testclient", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_an_address_counts_as_its_network(address, network):
    found = network_of(address)
    assert found == network or (address == "fe80::1%eth0" and found in {"unknown", "fe80::/56"})
