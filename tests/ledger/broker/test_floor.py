"""Time that was seen once does not come back, and a clock that was wrong once locks nobody out."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.broker.floor import JUMP_SECONDS, ClockFloor
from ledger.broker.identity import RuntimeIdentity
from ledger.errors import ClockFloorInvalid, ConfigurationError

NOON = 1_800_000_000


class Clock:
    """A system clock that anyone can set, and a boot clock that nobody can."""

    def __init__(self, wall=NOON):
        self.wall, self.boot = wall, 0.0


def floor_of(identity, clock):
    return ClockFloor(identity, clock=lambda: clock.wall, boot=lambda: clock.boot)


@pytest.fixture
def identity(tmp_path):
    return RuntimeIdentity.create(tmp_path / "runtime.json")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def floor(identity, clock):
    made = floor_of(identity, clock)
    made.confirm(NOON)
    return made


def test_a_clock_set_back_stands_still(identity, floor, clock):
    clock.wall = NOON + 5000
    assert floor.now() == NOON + 5000
    clock.wall = NOON - 10**6
    assert floor.now() == NOON + 5000
    # For a new process as well.
    assert floor_of(identity, clock).now() == NOON + 5000


def test_a_jump_of_more_than_a_day_counts_now_and_is_not_remembered(identity, floor, clock):
    clock.wall = NOON + JUMP_SECONDS + 1
    assert floor.now() == NOON + JUMP_SECONDS + 1
    clock.wall = NOON + 60
    assert floor_of(identity, clock).now() == NOON + 60


def test_a_jump_of_a_day_is_remembered(identity, floor, clock):
    clock.wall = NOON + JUMP_SECONDS
    floor.now()
    clock.wall = NOON
    assert floor_of(identity, clock).now() == NOON + JUMP_SECONDS


def test_a_signed_time_confirms_a_jump(identity, floor, clock):
    clock.wall = NOON + 30 * JUMP_SECONDS
    floor.now()
    floor.confirm(NOON + 30 * JUMP_SECONDS - 10)
    floor.now()
    clock.wall = NOON
    assert floor_of(identity, clock).now() == NOON + 30 * JUMP_SECONDS


def test_time_goes_on_while_the_process_runs_whatever_the_clock_says(identity, floor, clock):
    floor.now()
    clock.wall, clock.boot = NOON - 500, 100.0
    assert floor.now() == NOON + 100
    clock.boot = 0.0
    assert floor_of(identity, clock).now() == NOON + 100


def test_an_older_signed_time_lowers_nothing(identity, floor, clock):
    floor.confirm(NOON + 100)
    floor.confirm(NOON - 100)
    clock.wall = 0
    assert floor.now() == NOON + 100


@pytest.mark.parametrize(
    "change",
    [
        {"floor": NOON - 1},
        {"signed": NOON - 1},
        {"mac": "0x" + "00" * 32},
        {"version": 1, "more": 1},
        {"floor": "0"},
    ],
)
def test_an_altered_file_fails_closed(floor, change):
    document = json.loads(floor.path.read_text())
    floor.path.write_text(json.dumps({**document, **change}))
    with pytest.raises(ClockFloorInvalid) as caught:
        floor.now()
    assert "new release" in caught.value.hint
    with pytest.raises(ClockFloorInvalid):
        floor.confirm(NOON + 1)


def test_a_missing_or_torn_or_foreign_file_fails_closed(tmp_path, identity, floor, clock):
    other = RuntimeIdentity.create(tmp_path / "other.json")
    theirs = floor_of(other, clock)
    theirs.confirm(NOON)
    floor.path.write_bytes(theirs.path.read_bytes())
    with pytest.raises(ClockFloorInvalid, match="another runtime key"):
        floor.now()
    floor.path.write_text("{")
    with pytest.raises(ClockFloorInvalid):
        floor.now()
    floor.path.unlink()
    with pytest.raises(ClockFloorInvalid, match="missing"):
        floor.now()


def test_a_file_that_others_can_read_is_refused(floor):
    assert floor.path.stat().st_mode & 0o077 == 0
    floor.path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="read by others"):
        floor.now()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["wall", "boot", "new"]), st.integers(-(10**6), 10**6))))
def test_remembered_time_never_falls(tmp_path_factory, moves):
    identity = RuntimeIdentity.create(tmp_path_factory.mktemp("floor") / "runtime.json")
    clock = Clock()
    floor = floor_of(identity, clock)
    floor.confirm(NOON)
    lowest = NOON
    for what, by in moves:
        if what == "wall":
            clock.wall += by
        elif what == "boot":
            clock.boot += abs(by) / 1000
        else:
            floor = floor_of(identity, clock)
        assert floor.now() >= max(lowest, clock.wall)
        stored = json.loads(floor.path.read_text())["floor"]
        assert stored >= lowest
        lowest = stored


def test_what_passed_between_processes_of_one_boot_is_counted_and_of_another_is_not(
    identity, clock
):
    def process(boot_id):
        return ClockFloor(
            identity, clock=lambda: clock.wall, boot=lambda: clock.boot, boot_id=boot_id
        )

    process("one").confirm(NOON)
    clock.wall, clock.boot = NOON - 500, 40 * 86400.0
    assert process("two").now() == NOON
    assert process("").now() == NOON
    assert process("one").now() == NOON + 40 * 86400
    # And it is remembered, for the next boot too.
    clock.boot = 5.0
    assert process("two").now() == NOON + 40 * 86400
