"""Versions: however events are batched the rows are the same, and undoing gives the past back."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from ledger.index import tables
from ledger.index.versions import Versions, clear, undo

TABLE = tables.STATE["role"]

# One change: block step, entity, value; None ends the entity.
changes = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.one_of(st.none(), st.integers(1, 9))),
    max_size=25,
)


def apply(connection, history, cuts=()):
    """Fold a history in batches that end at block boundaries; `cuts` are the ends."""
    state = Versions(connection, 1)
    previous = None
    for block, entity, value in history:
        if previous is not None and block != previous and previous in cuts:
            state.flush()
        key = (entity, b"a" * 20)
        if value is None:
            state.end("role", key, block)
        else:
            state.put("role", key, {"roles": value, "role_epoch": 0}, block)
        previous = block
    state.flush()


def rows(connection):
    return sorted((tuple(r) for r in connection.execute(select(TABLE))), key=repr)


def at(connection, block):
    """What is alive at the end of a block."""
    alive = (TABLE.c.born_block <= block) & (
        TABLE.c.died_block.is_(None) | (TABLE.c.died_block > block)
    )
    found = connection.execute(select(TABLE.c.plan_id, TABLE.c.roles).where(alive))
    return dict(tuple(row) for row in found)


def expected(history, block):
    model = {entity: value for number, entity, value in history if number <= block}
    return {entity: value for entity, value in model.items() if value is not None}


@pytest.fixture
def transaction(engine):
    with (
        engine.connect().execution_options(writes=True) as connection,
        connection.begin() as running,
    ):
        yield connection
        running.rollback()


@given(changes, st.sets(st.integers(0, 50)), st.integers(0, 50))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_batches_do_not_matter_the_past_can_be_asked_and_undone(transaction, steps, cuts, back):
    block, history = 1, []
    for step, entity, value in steps:
        block += step
        history.append((block, entity, value))
    clear(transaction, 1)
    apply(transaction, history)
    whole = rows(transaction)
    for number in range(block + 2):
        assert at(transaction, number) == expected(history, number)
    clear(transaction, 1)
    apply(transaction, history, cuts)
    assert rows(transaction) == whole
    undo(transaction, 1, back)
    undone = rows(transaction)
    clear(transaction, 1)
    apply(transaction, [change for change in history if change[0] <= back])
    assert rows(transaction) == undone


def test_another_chains_rows_are_left_alone(transaction):
    state = Versions(transaction, 2)
    state.put("role", (1, b"a" * 20), {"roles": 1, "role_epoch": 0}, 5)
    state.flush()
    before = rows(transaction)
    undo(transaction, 1, 0)
    clear(transaction, 1)
    assert rows(transaction) == before
