"""The anomaly rules: what they find, and that nothing but findings makes a license worse off."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ledger.broker.anomaly import (
    BURST_OF_HOSTS,
    CALM,
    HELD,
    IMPOSSIBLE_CADENCE,
    NEW_NETWORK,
    THROTTLED,
    Conduct,
    Finding,
    Past,
    Rules,
    Sighting,
    advance,
    judge,
)

NOW = 1_800_000_000
DAY = 86400
HOME, AWAY, SIX = "203.0.113.0/24", "198.51.100.0/24", "2001:db8::/56"
SETTLED = Past(
    began=NOW - 9 * DAY, network_known=True, host_since=NOW - 9 * DAY, host_network=HOME,
    host_at=NOW - 3600, host_window=NOW - 3600, host_count=1,
)  # fmt: skip


def found(past, network=HOME, rules=None):
    seen = Sighting("0x01", network, NOW)
    return {finding.rule for finding in judge(past, seen, rules or Rules())}


def test_an_ordinary_restart_is_nothing():
    assert found(SETTLED) == set()
    assert found(Past()) == set()


def test_a_settled_license_in_a_new_network_is_found():
    assert found(replace(SETTLED, network_known=False), AWAY) == {NEW_NETWORK}


def test_a_license_that_has_just_begun_may_run_anywhere():
    young = Past(began=NOW - 3600, network_known=False)
    assert found(young, AWAY) == set()


def test_a_request_without_an_address_is_in_no_network():
    assert found(replace(SETTLED, network_known=False), "unknown") == set()
    assert found(replace(SETTLED, host_network="unknown", host_at=NOW), HOME) == set()


def test_more_new_hosts_than_a_window_may_bring_are_found():
    rules = Rules(hosts=3)
    assert found(Past(began=NOW, network_known=True, fresh_hosts=2), rules=rules) == set()
    assert found(Past(began=NOW, network_known=True, fresh_hosts=3), rules=rules) == {
        BURST_OF_HOSTS
    }


def test_a_host_it_always_ran_on_is_no_part_of_a_burst():
    assert found(replace(SETTLED, fresh_hosts=99), rules=Rules(hosts=3)) == set()


def test_one_key_in_two_networks_within_a_minute_is_found():
    assert found(replace(SETTLED, host_at=NOW - 59), AWAY) == {IMPOSSIBLE_CADENCE}
    assert found(replace(SETTLED, host_at=NOW - 60), AWAY) == set()


def test_a_host_with_two_stacks_is_one_host():
    assert found(replace(SETTLED, host_at=NOW - 1), SIX) == set()


def test_one_key_asking_without_end_is_found():
    busy = replace(SETTLED, host_window=NOW - 5, host_count=Rules().releases)
    assert found(busy) == {IMPOSSIBLE_CADENCE}
    assert found(replace(busy, host_window=NOW - Rules().window)) == set()


findings = st.lists(
    st.builds(Finding, st.sampled_from([NEW_NETWORK, BURST_OF_HOSTS]), st.text(max_size=9)),
    max_size=3,
)
days = st.lists(st.tuples(st.integers(0, 2000), findings), max_size=60)


def lived(story, rules):
    conduct, now, seen = Conduct(), NOW, []
    for pause, each in story:
        now += pause
        conduct = advance(conduct, each, now=now, rules=rules)
        seen.append((now, each, conduct))
    return seen


@given(days)
def test_a_license_is_held_only_after_more_findings_than_strikes(story):
    rules = Rules(strikes=4)
    count = 0
    for _, each, conduct in lived(story, rules):
        count += len(each)
        assert conduct.level != HELD or count > rules.strikes


@given(days)
def test_throttled_comes_before_held_and_nothing_but_a_person_ends_a_hold(story):
    rules = Rules(strikes=2)
    level, before = CALM, Conduct()
    for _, each, conduct in lived(story, rules):
        if level == HELD:
            assert conduct == before
        before = conduct
        if conduct.level != level and not each:
            assert conduct.level == CALM
        level = conduct.level


@given(days)
def test_a_throttle_ends_by_itself(story):
    rules = Rules()
    for now, _, conduct in lived(story, rules):
        if conduct.level == THROTTLED:
            assert advance(conduct, (), now=now + rules.cool, rules=rules) == Conduct()


@given(st.lists(st.integers(1, 10_000), max_size=50))
def test_who_is_never_found_is_never_touched(pauses):
    assert all(c == Conduct() for *_, c in lived([(p, []) for p in pauses], Rules()))
