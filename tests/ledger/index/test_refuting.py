"""What kept receipts hold is what the journal holds: one for one, in order, at its place."""

from __future__ import annotations

import secrets

import pytest
from evidence_world import anchor_two_in_a_block, finish, keeper
from sqlalchemy import delete, insert, select, update

from ledger.canonical import canonical_json
from ledger.chain.abi_codec import contract
from ledger.errors import IndexDamaged, StateProofInvalid
from ledger.ids import keccak256
from ledger.index import tables
from ledger.index.audit import audit
from ledger.index.database import reading, writing
from ledger.index.event_proofs import Kept, verify_event
from ledger.index.journal import Journal
from ledger.index.rebuilding import rebuild
from ledger.index.refuting import refuted

pytestmark = pytest.mark.chain

log, orphan, link, block = tables.raw_log, tables.orphan_log, tables.evidence, tables.block


def issue_two(ledger, look, engine, young, blocks=3):
    """Two licenses of one transaction: four events, two and two of a kind."""
    plan = ledger.plan(ledger.register())
    holders = [ledger.accounts[2], ledger.accounts[3]]
    ledger.do("LicenseLedger", "issueBatch", plan, holders, 0, 0)
    ledger.mine(blocks)
    look.catch_up(young)
    finish(keeper(ledger.rpc, engine, ledger))


@pytest.fixture
def issued(ledger, engine, young, look):
    """The events of the transaction that issued two."""
    issue_two(ledger, look, engine, young)
    with reading(engine) as connection:
        rows = connection.execute(select(log).order_by(log.c.block, log.c.log_index)).all()
    return [row for row in rows if row.block == rows[-1].block]


def check_7(engine, ledger):
    given = ledger.deployment
    report = audit(engine, given.chain_id, genesis=given.genesis_hash, addresses=given.addresses)
    (check,) = (check for check in report.checks if check.number == 7)
    return check.result, check.detail


def change(connection, row, **values):
    of = (log.c.block == row.block, log.c.log_index == row.log_index)
    connection.execute(update(log).where(*of).values(**values))


def write_over(connection, issued):
    for one, other in zip(issued[:2], issued[2:], strict=True):
        change(connection, other, topics=one.topics, data=one.data)


def exchange(connection, issued):
    for one, other in zip(issued[:2], issued[2:], strict=True):
        change(connection, other, topics=one.topics, data=one.data)
        change(connection, one, topics=other.topics, data=other.data)


def change_data_and(**values):
    def act(connection, issued):
        for row in issued:
            change(connection, row, data=b"\x77" * len(row.data), **values)

    return act


def change_hash(connection, issued):
    """Of the events and of the block that is kept: nothing here names it rightly any more."""
    change_data_and(block_hash=b"z" * 32)(connection, issued)
    this = block.c.number == issued[0].block
    connection.execute(update(block).where(this).values(hash=b"z" * 32))


def move(connection, issued):
    for row in reversed(issued):
        change(connection, row, log_index=row.log_index + 5)


def forget(connection, issued):
    """With all that they rest on; the block was kept for them alone."""
    for table in (log, link):
        connection.execute(delete(table).where(table.c.block == issued[0].block))


def change_block(connection, issued):
    for row in issued:
        change(connection, row, block_hash=b"z" * 32)


def rename(connection, issued):
    for row in issued:
        change(connection, row, contract="ModelRegistry", event="")


CHANGED = {
    "their contract": rename,
    "their block": change_block,
    "an event is its neighbour's": write_over,
    "events are in each other's place": exchange,
    "their data and the transaction's place": change_data_and(tx_index=3),
    "their data and their block": change_data_and(block_hash=b"z" * 32),
    "their data and the block": change_hash,
    "where they lie": move,
    "all of them are gone": forget,
}


@pytest.mark.parametrize("what", CHANGED)
def test_what_a_kept_receipt_holds_otherwise_is_told_and_no_tables_are_made_of_it(
    what, issued, ledger, engine, look
):
    assert check_7(engine, ledger)[0] == "pass"
    with writing(engine) as connection:
        CHANGED[what](connection, issued)
    before = look.state(engine)
    if what != "all of them are gone":  # (3) says so
        assert check_7(engine, ledger)[0] == "fail"
    with pytest.raises(IndexDamaged, match="what is kept beside the journal contradicts it"):
        rebuild(engine, Journal(ledger.deployment.chain_id), "a test")
    assert look.state(engine) == before


def test_a_contract_of_which_the_journal_holds_nothing_any_more_is_missed(
    ledger, engine, young, look
):
    """Another's event of the same block is still there."""
    given = ledger.deployment
    for name, function, *args in (
        ("Anchors", "anchor", secrets.token_bytes(32)),
        ("BrokerRegistry", "registerBroker", b"s" * 32, b"k" * 32, "http://a"),
    ):
        data = contract(name).encode(function, *args)
        fields = {"from": ledger.accounts[4], "to": str(given.addresses[name])}
        call = {**fields, "gas": hex(2_000_000), "data": "0x" + data.hex()}
        ledger.rpc.call("eth_sendTransaction", [call])
    ledger.mine(4)
    look.catch_up(young)
    finish(keeper(ledger.rpc, engine, ledger))
    with writing(engine) as connection:
        connection.execute(delete(log).where(log.c.contract == "BrokerRegistry"))
    with pytest.raises(IndexDamaged, match="events of ours, and 0 are kept"):
        rebuild(engine, Journal(given.chain_id), "a test", given.addresses)


def test_a_lone_copy_knows_retracted_events_by_what_they_say(ledger, engine, young, look):
    """The journal holds none of their contract."""
    before = ledger.rpc.call("evm_snapshot", [])
    ledger.do("BrokerRegistry", "registerBroker", b"s" * 32, b"k" * 32, "http://a", by=3)
    ledger.mine(3)
    look.catch_up(young)
    finish(keeper(ledger.rpc, engine, ledger))
    ledger.rpc.call("evm_revert", [before])
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    ledger.mine(12)
    look.catch_up(young)
    finish(keeper(ledger.rpc, engine, ledger))
    alone = audit(engine, ledger.deployment.chain_id)
    assert {check.number for check in alone.checks if check.result == "fail"} == set()


def test_what_was_taken_back_is_held_against_its_receipts(ledger, engine, young, look):
    before = ledger.rpc.call("evm_snapshot", [])
    issue_two(ledger, look, engine, young)
    ledger.rpc.call("evm_revert", [before])
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    ledger.mine(12)
    look.catch_up(young)
    finish(keeper(ledger.rpc, engine, ledger))
    assert check_7(engine, ledger)[0] == "pass"
    with writing(engine) as connection:
        rows = connection.execute(select(orphan).order_by(orphan.c.block, orphan.c.log_index))
        *_, one, _, other, _ = rows.all()
        assert one.event == other.event
        this = orphan.c.id == other.id
        connection.execute(update(orphan).where(this).values(topics=one.topics, data=one.data))
    said = f"event {other.block}-{other.log_index} is not what its block says"
    assert check_7(engine, ledger) == ("fail", said)


def test_events_of_one_transaction_lie_behind_those_of_earlier_ones(ledger, engine, young, look):
    """Its receipt alone does not say where in the block it begins."""
    anchor_two_in_a_block(ledger)
    look.catch_up(young)
    finish(keeper(ledger.rpc, engine, ledger))
    assert check_7(engine, ledger)[0] == "pass"
    with writing(engine) as connection:
        # In each other's place, with all that names them.
        two = connection.execute(select(log.c.block).where(log.c.log_index == 1)).scalar_one()
        for table in (log, link):
            for old, new in ((1, 70), (0, 1), (70, 0)):
                this = (table.c.block == two, table.c.log_index == old)
                connection.execute(update(table).where(*this).values(log_index=new))
    result, detail = check_7(engine, ledger)
    assert (result, "lie elsewhere in block" in detail) == ("fail", True)


def test_a_kept_transaction_is_the_one_of_its_block(issued, engine, store, ledger):
    """Another one's bytes, whose hash the journal was given."""
    (row, *_) = issued
    with reading(engine) as connection:
        kept = store.of(connection, row.block, row.log_index)
    document = kept["receipt"].document()
    other = b"\x02" + secrets.token_bytes(60)
    forged = Kept("receipt", canonical_json(document | {"transaction": "0x" + other.hex()}))
    with writing(engine) as connection:
        this = log.c.block == row.block
        connection.execute(update(log).where(this).values(tx_hash=keccak256(other)))
        connection.execute(
            update(link).where(link.c.hash == kept["receipt"].hash).values(hash=forged.hash)
        )
        connection.execute(
            insert(tables.proof).values(
                hash=forged.hash, kind="receipt", body=forged.body, size=len(forged.body)
            )
        )
    with reading(engine) as connection:
        (row, *_) = connection.execute(select(log).where(this)).all()
        # It is spoilt, which says nothing against the journal; an audit says so (6).
        assert list(refuted(connection, ledger.deployment.chain_id)) == []
    with pytest.raises(StateProofInvalid, match="is not in it"):
        verify_event(row, {**kept, "receipt": forged})
