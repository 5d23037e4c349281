"""Rebuild and audit: what is damaged is noticed by the check that is about it, and by that one."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from evidence_world import anchor_two_in_a_block, mender, proofs_on_record
from safetensors.numpy import save_file
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from ledger.errors import Fenced, IndexDamaged, IndexUnavailable
from ledger.fingerprint.exact import Fingerprint, fingerprint
from ledger.fingerprint.ids import TensorIds
from ledger.ids import Digest
from ledger.index import leaves, library, tables
from ledger.index.audit import audit
from ledger.index.database import open_database, writing
from ledger.index.follow import Follower
from ledger.index.keeper import Keeper
from ledger.index.rebuilding import rebuild
from ledger.index.standing import standing
from ledger.tensors.model import open_model

pytestmark = pytest.mark.chain

LEAVES = 9


@pytest.fixture
def follower(ledger, engine, look):
    return Follower(ledger.rpc, engine, recent(ledger, look), look.Profile())


def recent(ledger, look):
    given = ledger.deployment
    first = ledger.rpc.block("latest").number + 1
    return look.Contracted(given.chain_id, given.genesis_hash, first, given.addresses)


@pytest.fixture(scope="module")
def built(ledger, look, tmp_path_factory):
    """An index with one of everything: events, a reorganisation, proofs, and tensor leaves."""
    folder = tmp_path_factory.mktemp("built")
    engine = open_database(f"sqlite:///{folder / 'index.db'}")
    follower = Follower(ledger.rpc, engine, recent(ledger, look), look.Profile())
    values = np.random.default_rng(secrets.randbits(64)).standard_normal((16, 4)).astype("f4")
    save_file({"a": values, "b": values + 1}, folder / "m.safetensors")
    with open_model(folder / "m.safetensors") as model:
        deep = fingerprint(model, level="deep")
    named = ledger.register(artifact_root=deep.content_root.raw, digest=deep.content_id().raw)
    ledger.busy()
    look.catch_up(follower)
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    look.catch_up(follower)
    ledger.reorg(1)
    ledger.mine(4)
    look.catch_up(follower)
    worker = Keeper(ledger.rpc, engine, ledger.deployment.chain_id, rate=1e9)
    while worker.turn():
        pass
    with engine.connect() as connection:
        row = connection.execute(
            select(tables.model).where(tables.model.c.model_id == named.raw)
        ).mappings()
        claim = row.one()
    found, bound = library.check_leaves(deep.to_json(), claim)
    with writing(engine) as connection:
        ids = library.check_ids(TensorIds.of(deep).to_json(), claim)
        library.deposit_ids(connection, named, ids, now_ms=1)
        library.deposit_leaves(connection, named, found, bound=bound, now_ms=1)
    engine.dispose()  # which puts all of it into the one file
    return named, folder / "index.db"


@pytest.fixture
def whole(built, engine):
    """A copy of that index in the test's database; the model with leaves."""
    named, file = built
    source = open_database(f"sqlite:///{file}")
    with source.connect() as made, writing(engine) as connection:
        for table in tables.metadata.sorted_tables:
            rows = [dict(row) for row in made.execute(select(table)).mappings()]
            if rows:
                connection.execute(insert(table), rows)
        if engine.dialect.name == "postgresql":
            for table in (tables.reorg, tables.orphan_log):
                highest = select(func.coalesce(func.max(table.c.id), 0) + 1).scalar_subquery()
                counter = func.pg_get_serial_sequence(table.name, "id")
                connection.execute(select(func.setval(counter, highest, False)))  # noqa: FBT003
    source.dispose()
    return named


def audited(engine, ledger, **options):
    given = ledger.deployment
    return audit(
        engine,
        given.chain_id,
        genesis=given.genesis_hash,
        addresses=given.addresses,
        **options,
    )


def failed(report):
    return {check.number for check in report.checks if check.result == "fail"}


def test_a_whole_index_passes_every_check(ledger, engine, whole):
    report = audited(engine, ledger, node=ledger.rpc)
    assert {check.result for check in report.checks} == {"pass"}, report
    assert [check.number for check in report.checks] == list(range(1, 14))
    assert report.holds


def test_of_which_no_manifest_is_known_it_is_held_against_the_contracts_of_its_events(
    ledger, engine, whole
):
    chain = ledger.deployment.chain_id
    alone = audit(engine, chain)
    unmade = {check.number for check in alone.checks if check.result == "not checked"}
    assert (unmade, failed(alone)) == ({1, 11, 12}, set()), alone
    logs = tables.raw_log.c
    at = select(logs.block, logs.log_index).where(logs.contract == "ModelRegistry").limit(1)
    with writing(engine) as connection:
        block, index = connection.execute(at).one()
        connection.execute(
            update(tables.raw_log)
            .where(logs.block == block, logs.log_index == index)
            .values(address=secrets.token_bytes(20))
        )
    (said,) = (check.detail for check in audit(engine, chain).checks if check.number == 3)
    assert said == f"event {block}-{index} is of no contract of ours"


def test_an_audit_changes_nothing(ledger, engine, whole, look):
    before = look.state(engine), look.journal(engine)
    with engine.connect() as connection:
        epoch = connection.execute(select(tables.cursor)).one()
    audited(engine, ledger)
    assert (look.state(engine), look.journal(engine)) == before
    with engine.connect() as connection:
        assert connection.execute(select(tables.cursor)).one() == epoch


def test_what_was_not_asked_for_or_never_kept_is_not_called_checked(ledger, engine, follower, look):
    ledger.register()
    look.catch_up(follower)
    report = audited(engine, ledger)
    not_checked = {check.number for check in report.checks if check.result == "not checked"}
    assert not_checked == {6, 7, 8, 9, 11, 12}
    assert all(check.detail for check in report.checks)
    assert report.holds


def one_log(connection, event="ModelRegistered"):
    table = tables.raw_log
    return connection.execute(
        select(table).where(table.c.event == event).order_by(table.c.block)
    ).first()


def drop_event(connection, event="ModelRegistered"):
    row, table = one_log(connection, event), tables.raw_log
    connection.execute(
        delete(table).where(table.c.block == row.block, table.c.log_index == row.log_index)
    )


def drop_all_trace(connection):
    """An event that vanishes with its proofs: only its neighbours' receipt still knows it."""
    row, table = one_log(connection, "LicenseIssued"), tables.evidence
    drop_event(connection, "LicenseIssued")
    connection.execute(
        delete(table).where(table.c.block == row.block, table.c.log_index == row.log_index)
    )


def change_event(connection):
    row, table = one_log(connection), tables.raw_log
    connection.execute(
        update(table)
        .where(table.c.block == row.block, table.c.log_index == row.log_index)
        .values(data=b"\x77" * 32 + bytes(row.data)[32:])
    )


def move_event(connection):
    row, table = one_log(connection), tables.raw_log
    connection.execute(
        update(table)
        .where(table.c.block == row.block, table.c.log_index == row.log_index)
        .values(block_time=row.block_time + 1)
    )


def change_transaction(connection):
    row, table = one_log(connection), tables.raw_log
    connection.execute(
        update(table)
        .where(table.c.block == row.block, table.c.log_index == row.log_index)
        .values(tx_hash=b"\x77" * 32)
    )


def run(statement):
    return lambda connection: connection.execute(statement)


def break_link(connection):
    table = tables.block
    last = connection.execute(select(table.c.number).order_by(table.c.number.desc())).scalars()
    next(last)
    connection.execute(
        update(table).where(table.c.number == next(last)).values(hash=secrets.token_bytes(32))
    )


def change_proof(connection):
    table = tables.proof
    row = connection.execute(select(table).where(table.c.kind == "receipt")).first()
    connection.execute(
        update(table).where(table.c.hash == row.hash).values(body=bytes(row.body) + b" ")
    )


def swap_proofs(connection):
    """Each body stands under its hash, and one event names another's receipt."""
    link = tables.evidence
    rows = connection.execute(
        select(link).where(link.c.kind == "receipt").order_by(link.c.block)
    ).all()
    one, other = rows[0], rows[-1]
    connection.execute(
        update(link)
        .where(
            link.c.block == one.block,
            link.c.log_index == one.log_index,
            link.c.kind == "receipt",
        )
        .values(hash=other.hash)
    )


def rename_proof(connection):
    """Bits of a name flip, so that it names nothing."""
    link = tables.evidence
    row = connection.execute(select(link).where(link.c.kind == "receipt")).first()
    connection.execute(
        update(link)
        .where(
            link.c.block == row.block, link.c.log_index == row.log_index, link.c.kind == row.kind
        )
        .values(hash=bytes([row.hash[0] ^ 1]) + bytes(row.hash[1:]))
    )


def drop_orphans_proof(connection):
    """An event that was proved, and then taken back past finality."""
    link, gone = tables.evidence, tables.orphan_log
    row = connection.execute(select(gone)).first()
    connection.execute(
        insert(link).values(
            chain_id=row.chain_id,
            block=row.block,
            block_hash=row.block_hash,
            log_index=row.log_index,
            kind="header",
            hash=b"x" * 32,
        )
    )


def only(dialect, why, statement):
    """A statement for one of the two databases."""

    def damage(connection):
        if connection.dialect.name != dialect:
            pytest.skip(why)
        connection.exec_driver_sql(statement)

    damage.dialect = dialect
    return damage


def only_sqlite(statement):
    """Types of columns are no more than advice to SQLite."""
    return only("sqlite", "PostgreSQL has types", statement)


def only_postgresql(statement):
    """SQLite has no such thing, or not apart from its table."""
    return only("postgresql", "SQLite cannot lose it", statement)


def told(of, /, nth=-1, **values):
    """Another value in the last entry of a kind, or another of them."""

    def damage(connection):
        table = tables.outbox
        numbers = select(table.c.seq).where(table.c.kind == of).order_by(table.c.seq)
        seq = connection.execute(numbers).scalars().all()[nth]
        connection.execute(update(table).where(table.c.seq == seq).values(**values))

    return damage


def entries(connection, kind="applied"):
    table = tables.outbox
    query = select(table).where(table.c.kind == kind).order_by(table.c.seq)
    return [dict(row) for row in connection.execute(query).mappings()]


def tell(connection, seq, entry):
    table = tables.outbox
    connection.execute(update(table).where(table.c.seq == seq).values(**{**entry, "seq": seq}))


def swap_entries(connection):
    one, other = entries(connection)[3:5]
    tell(connection, one["seq"], other)
    tell(connection, other["seq"], one)


def repeat_entry(connection):
    one, other = entries(connection)[3:5]
    tell(connection, one["seq"], other)


NO_EVENT = {
    "kind": "finalized",
    "log_index": None,
    "block_hash": None,
    "event": "",
    "subjects": b"",
}


def call_it_final(connection):
    tell(connection, entries(connection)[3]["seq"], NO_EVENT)


def untell_first(connection):
    """None of those that follow it is out of order by that."""
    tell(connection, entries(connection)[0]["seq"], NO_EVENT)


def final_before_its_events(connection):
    """What becomes final is told first, and then the events."""
    table = tables.outbox
    final, first = entries(connection, "finalized")[0], entries(connection)[0]
    connection.execute(delete(table).where(table.c.seq == final["seq"]))
    for seq in range(final["seq"] - 1, first["seq"] - 1, -1):
        connection.execute(update(table).where(table.c.seq == seq).values(seq=seq + 1))
    connection.execute(insert(table).values(**{**final, "seq": first["seq"]}))


def orphaned(**values):
    return run(update(tables.orphan_log).values(**values))


def double_orphan(connection):
    row = connection.execute(select(tables.orphan_log)).mappings().first()
    connection.execute(insert(tables.orphan_log).values(**{**row, "id": 77}))


DAMAGE = {
    "which chain": (run(delete(tables.chain)), {1}),
    "other contracts": (run(update(tables.chain).values(deployment_hash=b"x" * 32)), {1}),
    "another genesis": (run(update(tables.chain).values(genesis_hash=b"x" * 32)), {1}),
    "a block's hash": (break_link, {2}),
    "the cursor's time": (run(update(tables.cursor).values(last_time=7)), {2}),
    "the cursor's hash": (run(update(tables.cursor).values(last_hash=b"x" * 32)), {2}),
    "an event is gone": (drop_event, {3, 5, 7, 10}),
    "an event is gone with its proofs": (drop_all_trace, {5, 7, 8, 10}),
    "an event's data": (change_event, {6, 7, 10}),
    "the contracts' names": (run(update(tables.raw_log).values(contract="Stranger")), {3, 7, 10}),
    "an event's time": (move_event, {3, 6, 7}),
    "an event's transaction": (change_transaction, {6, 7, 10}),
    "an orphan's reorganisation": (run(delete(tables.reorg)), {4}),
    "an orphan's place": (run(update(tables.orphan_log).values(block=1)), {4}),
    "an outbox entry is gone": (
        run(delete(tables.outbox).where(tables.outbox.c.seq == 2)),
        {5},
    ),
    "an outbox entry of no kind": (told("finalized", kind="forgotten"), {5}),
    "what is final has an event's name": (told("finalized", event="LicenseIssued"), {5}),
    "what is final has a place": (told("finalized", log_index=0), {5}),
    "what is final has a hash": (told("finalized", block_hash=b"x" * 32), {5}),
    "what is final has subjects": (told("finalized", subjects=b"x" * 32), {5}),
    "an entry has no place": (told("applied", log_index=None), {5}),
    "an entry has no hash": (told("retracted", block_hash=None), {4, 5}),
    "two entries in each other's place": (swap_entries, {5}),
    "an entry twice, another not": (repeat_entry, {5}),
    "an entry of what is final in place of an event's": (call_it_final, {5}),
    "the first of all entries is another": (untell_first, {5}),
    "what was told of is called otherwise": (told("applied", event="Transfer"), {5}),
    "what was taken back concerned others": (
        told("retracted", subjects=b"x" * 32),
        {5},
    ),
    "what was never read is final": (told("finalized", block=10**12), {5}),
    "what is final falls": (told("finalized", nth=-2, block=10**12), {5}),
    "events come after they were called final": (final_before_its_events, {5}),
    "how far it is told final": (
        run(update(tables.outbox_place).values(final_block=tables.outbox_place.c.final_block - 1)),
        {5},
    ),
    "how many it has told": (
        run(
            update(tables.outbox_place).values(
                applied=tables.outbox_place.c.applied + 1,
                retracted=tables.outbox_place.c.retracted + 1,
            )
        ),
        {4, 5},
    ),
    "all retracted events are gone": (run(delete(tables.orphan_log)), {4}),
    "a retracted event is there twice": (double_orphan, {4}),
    "an orphan's block": (orphaned(block_hash=b"x" * 32), {4}),
    "an orphan's log index": (orphaned(log_index=55), {4}),
    "an orphan's name": (orphaned(event="LicenseRevoked"), {4}),
    "an orphan's topics": (orphaned(topics=b"x" * 32), {4}),
    "an orphan's contract": (orphaned(contract="LicenseLedger"), {4}),
    "an orphan's address": (orphaned(address=b"x" * 20), {4}),
    "an orphan of another chain": (orphaned(chain_id=5), {4}),
    "a reorganisation of another chain": (run(update(tables.reorg).values(chain_id=5)), {4}),
    "a reorganisation of another block": (
        run(update(tables.reorg).values(old_hash=b"x" * 32)),
        {4},
    ),
    "a reorganisation's depth": (run(update(tables.reorg).values(depth=77)), {4}),
    "a cursor without a hash": (run(update(tables.cursor).values(last_hash=None)), {2}),
    "final above the cursor": (
        run(
            update(tables.cursor).values(
                finalized=tables.cursor.c.next_block, head=10**12, safe=10**12
            )
        ),
        {2},
    ),
    "a proof's bytes": (change_proof, {6}),
    "another event's proof": (swap_proofs, {6}),
    "an event was passed over": (
        run(delete(tables.evidence).where(tables.evidence.c.kind == "state")),
        {8},
    ),
    "a leaf is gone": (
        lambda connection: connection.execute(
            delete(tables.leaf).where(
                tables.leaf.c.id == connection.execute(select(tables.leaf.c.id)).scalars().first()
            )
        ),
        {LEAVES},
    ),
    "a leaf is made up": (
        lambda connection: connection.execute(
            insert(tables.leaf).values(
                model_id=connection.execute(select(tables.leaf.c.model_id)).scalars().first(),
                kind="cid",
                id=b"x" * 32,
            )
        ),
        {LEAVES},
    ),
    "a document of another model": (
        run(
            update(tables.document)
            .where(tables.document.c.kind == "tensor-ids")
            .values(body='{"format":"mfp1-ids"}')
        ),
        {LEAVES},
    ),
    "a name": (run(update(tables.leaf_name).values(names='["c"]')), {LEAVES}),
    "a row of state": (run(update(tables.model).values(status=3)), {10}),
    "a version's end": (
        run(
            update(tables.license_)
            .where(tables.license_.c.died_block.is_not(None))
            .values(died_block=tables.license_.c.died_block + 1)
        ),
        {10},
    ),
    "a subject": (run(delete(tables.log_subject)), {5, 10}),
    "subjects that were told": (
        run(update(tables.outbox).where(tables.outbox.c.seq == 2).values(subjects=b"x" * 32)),
        {5},
    ),
    "what was read beside events is gone": (run(delete(tables.raw_read)), {3, 6, 10}),
    "a number that is none": (only_sqlite("UPDATE license SET seats_used = 'many'"), {10}),
    "a topic that is text": (only_sqlite("UPDATE raw_log SET topics = 'none'"), {3, 6, 7, 10}),
    "a name of a proof that is no hash": (
        run(update(tables.evidence).where(tables.evidence.c.kind == "receipt").values(hash=b"x")),
        {6, 8},
    ),
    "a proof under what is no hash": (
        run(insert(tables.proof).values(hash=b"x", kind="header", body=b"", size=0)),
        {6},
    ),
    "a model of leaves that is none": (run(update(tables.leaf).values(model_id=b"x")), {LEAVES}),
    "a document's name that is none": (run(update(tables.document).values(hash=b"x")), {LEAVES}),
    "all proofs are gone": (run(delete(tables.proof)), {6, 8}),
    "the receipts are gone": (
        run(delete(tables.proof).where(tables.proof.c.kind == "receipt")),
        {6, 8},
    ),
    "what a proof is called": (run(update(tables.proof).values(kind="letter")), {6, 8}),
    "the name of a proof": (rename_proof, {6, 8}),
    "a proof of an event that was taken back": (drop_orphans_proof, {6, 8}),
    "how far proofs were taken": (run(delete(tables.evidence_place)), {8}),
    "proofs beyond what is final": (
        run(update(tables.evidence_place).values(next_block=10**9)),
        {8},
    ),
    "how many proofs were taken": (run(update(tables.evidence_place).values(events=7)), {8}),
    "leaves of no model": (
        lambda connection: connection.execute(
            insert(tables.leaf).values(model_id=b"x" * 32, kind="cid", id=b"x" * 32)
        ),
        {LEAVES},
    ),
    "names of no model": (run(update(tables.leaf_name).values(model_id=b"x" * 32)), {LEAVES}),
    "a document that is called unbound": (
        run(update(tables.document).values(complete=False)),
        {LEAVES},
    ),
    "all that was deposited": (
        lambda connection: [
            connection.execute(delete(table))
            for table in (tables.document, tables.leaf, tables.leaf_name)
        ],
        {LEAVES},
    ),
    "from where was read": (run(update(tables.chain).values(first_block=10**9)), {3}),
    "a document that is no text": (
        only_sqlite("UPDATE document SET body = zeroblob(10) WHERE kind = 'fingerprint'"),
        {LEAVES},
    ),
    "a trigger": (
        only_sqlite(
            "CREATE TRIGGER tr AFTER INSERT ON raw_log BEGIN UPDATE raw_log SET data = x''; END"
        ),
        {13},
    ),
    "a rule": (
        only_postgresql("CREATE RULE rr AS ON INSERT TO license DO INSTEAD NOTHING"),
        {13},
    ),
    "a trigger of a server": (
        only_postgresql(
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
            "CREATE TRIGGER tr BEFORE INSERT ON license FOR EACH ROW EXECUTE FUNCTION f()"
        ),
        {13},
    ),
    "an index is gone": (run(text("DROP INDEX ix_leaf_id")), {13}),
    "an index of other columns": (
        lambda connection: (
            connection.execute(text("DROP INDEX ix_leaf_id")),
            connection.execute(text("CREATE INDEX ix_leaf_id ON leaf (kind)")),
        ),
        {13},
    ),
    "an index of other rows": (
        lambda connection: (
            connection.execute(text("DROP INDEX uq_license_live")),
            connection.execute(
                text(
                    "CREATE UNIQUE INDEX uq_license_live ON license (chain_id, license_id)"
                    " WHERE died_block IS NULL AND chain_id = 0"
                )
            ),
        ),
        {13},
    ),
    "an invalid index": (
        only_postgresql(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_leaf_id'::regclass"
        ),
        {13},
    ),
    "a table's key": (
        only_postgresql("ALTER TABLE raw_log DROP CONSTRAINT raw_log_pkey"),
        {13},
    ),
    "a column that counts no more": (
        only_postgresql("ALTER TABLE orphan_log ALTER COLUMN id DROP DEFAULT"),
        {13},
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_noticed_by_the_check_that_is_about_it(name, ledger, engine, whole):
    damage, numbers = DAMAGE[name]
    with writing(engine) as connection:
        damage(connection)
    report = audited(engine, ledger)
    assert failed(report) == numbers, report
    assert not report.holds


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_role_that_may_only_read_audits(ledger, engine, whole, postgres):
    with postgres.admin(engine.url.database) as admin:
        admin.execute("CREATE ROLE auditor LOGIN")
        try:
            admin.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO auditor")
            url = engine.url.set(username="auditor").render_as_string()
            reader = open_database(url, create=False)
            assert audited(reader, ledger).holds
            reader.dispose()
        finally:
            admin.execute("DROP OWNED BY auditor")
            admin.execute("DROP ROLE auditor")


def test_a_chain_that_nothing_is_known_of_is_compared_all_the_same(ledger, engine, whole):
    with writing(engine) as connection:
        connection.execute(delete(tables.chain))
    assert failed(audited(engine, ledger, node=ledger.rpc)) == {1}


def test_an_index_of_sqlite_s_own_that_lacks_rows_is_damage(ledger, engine, whole):
    if engine.dialect.name != "sqlite":
        return
    with closing(sqlite3.connect(engine.url.database)) as raw, raw:
        raw.execute("PRAGMA writable_schema=ON")
        raw.execute(
            "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master"
            " WHERE name = 'ix_broker_set_born') WHERE name = 'ix_leaf_id'"
        )
    engine.dispose()
    with pytest.raises(IndexDamaged, match="is damaged"):
        audited(engine, ledger)


def test_a_chain_that_shows_another_block_is_told(ledger, engine, follower, whole, look):
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    look.catch_up(follower)
    assert audited(engine, ledger, node=ledger.rpc).holds
    ledger.reorg(1)
    # Above finality the follower goes back over it, and a view that is older is no damage.
    report = audited(engine, ledger, node=ledger.rpc)
    assert report.holds
    assert "another one now: follow, and audit again" in report.uncompared
    with writing(engine) as connection:
        connection.execute(update(tables.cursor).values(finalized=tables.cursor.c.next_block - 1))
    assert failed(audited(engine, ledger, node=ledger.rpc)) == {11}
    assert 11 not in failed(audited(engine, ledger))


GONE = {
    "the cursor": lambda c: c.execute(delete(tables.cursor)),
    "what the cursor is": only_sqlite("UPDATE cursor SET next_block = 'abc'"),
    "the outbox's place": lambda c: c.execute(delete(tables.outbox_place)),
    "what the outbox's place is": only_sqlite("UPDATE outbox_place SET last_seq = 'abc'"),
    "what the harvest's place is": only_sqlite("UPDATE evidence_place SET bytes = 'abc'"),
    "how deep a reorganisation was": only_sqlite("UPDATE reorg SET depth = 'abc'"),
    "when a reorganisation was": only_sqlite("UPDATE reorg SET detected_at_ms = 'abc'"),
}


@pytest.mark.parametrize("what", GONE)
def test_an_index_that_does_not_say_how_far_it_is_was_changed_by_another_hand(
    what, ledger, engine, follower, whole
):
    """It holds something, so it is none that nothing was followed into, and no waiting helps."""
    with writing(engine) as connection:
        GONE[what](connection)
    with pytest.raises(IndexDamaged), engine.connect() as connection:
        standing(connection, ledger.deployment.chain_id)
    if "cursor" in what or what == "the outbox's place":
        with pytest.raises(IndexDamaged):
            follower.run(threading.Event(), patient=False)


def test_an_index_that_does_not_say_of_what_it_is_is_not_followed(ledger, engine, follower, whole):
    with writing(engine) as connection:
        connection.execute(delete(tables.chain))
    with pytest.raises(IndexDamaged, match="does not say of which contracts"):
        follower.run(threading.Event(), patient=False)


def test_nothing_followed_is_said_to_be_so(ledger, engine):
    with pytest.raises(IndexUnavailable):
        audited(engine, ledger)


# -- rebuild -------------------------------------------------------------------------------------


def rebuilt(engine, follower):
    return rebuild(engine, follower.journal, "a test")


def test_a_rebuild_of_a_whole_index_says_that_nothing_differed(engine, follower, whole, look):
    before = look.state(engine)
    done = rebuilt(engine, follower)
    assert done.events == len(look.journal(engine))
    assert (done.differences, done.leaves.differed, done.leaves.faults) == ((), (), ())
    assert (done.leaves.models, done.leaves.leaves) == (1, 12)  # two cids, two vids, eight casts
    assert look.state(engine) == before


def test_a_rebuild_says_what_differed_and_puts_it_right(ledger, engine, follower, whole, look):
    before = look.state(engine)
    leaves = stored_leaves(engine)
    with writing(engine) as connection:
        connection.execute(delete(tables.plan))
        connection.execute(update(tables.title).values(since=7))
        connection.execute(delete(tables.leaf).where(tables.leaf.c.kind == "vid"))
        connection.execute(delete(tables.leaf_name))
    done = rebuilt(engine, follower)
    found = {each.table: (each.extra, each.missing) for each in done.differences}
    titles, plans = len(before["title"]), len(before["plan"])
    assert found == {"title": (titles, titles), "plan": (0, plans)}
    assert done.leaves.differed == (str(whole),)
    assert look.state(engine) == before
    assert stored_leaves(engine) == leaves
    assert audited(engine, ledger).holds


def stored_leaves(engine):
    with engine.connect() as connection:
        return {
            tuple(row)
            for table in (tables.leaf, tables.leaf_name)
            for row in connection.execute(select(table))
        }


def test_indexes_that_a_first_backfill_leaves_out_are_no_fault(ledger, engine, follower, whole):
    with writing(engine) as connection:
        connection.execute(text("DROP INDEX ix_license_holder"))
        connection.execute(update(tables.cursor).values(synced_at_ms=0))
    (shape,) = (check for check in audited(engine, ledger).checks if check.number == 13)
    assert (shape.result, "backfill" in shape.detail) == ("pass", True)
    assert rebuilt(engine, follower).indexes == ()
    # It leaves out nothing else.
    with writing(engine) as connection:
        connection.execute(text("DROP INDEX ix_leaf_id"))
    assert failed(audited(engine, ledger)) == {13}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_key_that_is_gone_is_made_again(ledger, engine, follower, whole):
    with writing(engine) as connection:
        connection.execute(text("ALTER TABLE log_subject DROP CONSTRAINT log_subject_pkey"))
    assert failed(audited(engine, ledger)) == {13}
    assert rebuilt(engine, follower).indexes == ("log_subject_pkey",)
    assert audited(engine, ledger).holds


def test_a_rebuild_makes_indexes_and_what_is_said_of_documents_anew(
    ledger, engine, follower, whole
):
    leaf = tables.leaf
    with writing(engine) as connection:
        connection.execute(text("DROP INDEX ix_leaf_id"))
        connection.execute(text("DROP INDEX uq_license_live"))
        connection.execute(text("CREATE INDEX uq_license_live ON license (holder)"))
        connection.execute(text("CREATE INDEX somebodys ON license (reason)"))
        connection.execute(update(tables.document).values(complete=False))
        connection.execute(delete(leaf).where(leaf.c.kind == "cid"))
    assert failed(audited(engine, ledger)) == {LEAVES, 13}
    done = rebuilt(engine, follower)
    assert done.indexes == ("ix_leaf_id", "uq_license_live")
    assert done.leaves.differed == (str(whole),)
    assert audited(engine, ledger).holds
    assert rebuilt(engine, follower).indexes == ()


UNMENDED = {
    "a table": run(text("DROP TABLE webhook_place")),
    "a column": run(text("ALTER TABLE access_role RENAME COLUMN role TO other")),
    "a key": DAMAGE["a table's key"][0],
    "a trigger": DAMAGE["a trigger"][0],
    "a rule": DAMAGE["a rule"][0],
}


@pytest.mark.parametrize("what", UNMENDED)
def test_a_rebuild_says_what_of_the_databases_shape_it_leaves(
    what, ledger, engine, follower, whole
):
    with writing(engine) as connection:
        UNMENDED[what](connection)
    done = rebuilt(engine, follower)
    assert (done.differences, done.indexes) == ((), ())
    (shape,) = (check for check in audited(engine, ledger).checks if check.number == 13)
    assert shape.result == "fail"
    assert "; ".join(done.lacking) == shape.detail


UNSAID = {
    "no document": lambda c: c.execute(delete(tables.document)),
    "no fingerprint": lambda c: c.execute(
        delete(tables.document).where(tables.document.c.kind == "fingerprint")
    ),
    "no JSON": lambda c: c.execute(update(tables.document).values(body="{")),
    "no model": lambda c: c.execute(
        insert(tables.leaf).values(model_id=b"x" * 32, kind="cid", id=b"x" * 32)
    ),
}


@pytest.mark.parametrize("what", UNSAID)
def test_leaves_that_no_document_says_any_more_are_told_and_left(
    what, ledger, engine, follower, whole
):
    """They may be all that is left of it."""
    with writing(engine) as connection:
        UNSAID[what](connection)
    leaves = stored_leaves(engine)
    assert failed(audited(engine, ledger)) == {LEAVES}
    done = rebuilt(engine, follower)
    assert done.leaves.faults
    assert stored_leaves(engine) == leaves
    assert failed(audited(engine, ledger)) == {LEAVES}


FORGED = {
    "a manifest": ("manifest", '{"title":"FORGED"}', "is none"),
    "a manifest that is no JSON": ("manifest", "{", "is none"),
    "a claim": ("claim", '{"forged":1}', "is none"),
    "a kind": ("letter", "{}", "of no kind that is deposited"),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_deposited_document_that_is_not_what_it_is_filed_under(what, ledger, engine, whole):
    kind, body, said = FORGED[what]
    with writing(engine) as connection:
        connection.execute(
            insert(tables.document).values(
                kind=kind, hash=b"x" * 32, complete=True, body=body, deposited_at_ms=1
            )
        )
    report = audited(engine, ledger)
    assert failed(report) == {LEAVES}
    assert said in next(check.detail for check in report.checks if check.number == LEAVES)


def test_what_a_newer_release_has_names_for_is_no_contradiction(ledger, engine, follower, whole):
    """An older one told it without name and subject; a rebuild names it in the journal."""
    row = next(iter(stored(engine, tables.outbox.c.event == "LicenseIssued")))
    at = (tables.outbox.c.block == row.block, tables.outbox.c.log_index == row.log_index)
    with writing(engine) as connection:
        connection.execute(update(tables.outbox).where(*at).values(event="", subjects=b""))
    rebuilt(engine, follower)
    assert audited(engine, ledger).holds


def stored(engine, *where):
    with engine.connect() as connection:
        return connection.execute(select(tables.outbox).where(*where)).all()


@pytest.mark.parametrize("how", ["another answer", "no answer"])
def test_a_commitment_that_was_forged_beside_its_event_is_no_commitment(
    how, ledger, engine, follower, whole
):
    """No event tells whether a model was committed in the second of its registration."""
    logs, reads = tables.raw_log, tables.raw_read
    with writing(engine) as connection:
        row = connection.execute(
            select(reads)
            .join(logs, (logs.c.block == reads.c.block) & (logs.c.log_index == reads.c.log_index))
            .where(logs.c.event == "ModelRegistered")
        ).first()
        at = (reads.c.block == row.block, reads.c.log_index == row.log_index)
        forged = bytearray(row.answer)
        forged[159] ^= 1
        change = delete(reads) if how == "no answer" else update(reads).values(answer=bytes(forged))
        connection.execute(change.where(*at))
    rebuilt(engine, follower)
    assert failed(audited(engine, ledger)) == {6}


def test_a_rebuild_without_a_plan_s_terms_changes_nothing(engine, follower, whole, look):
    with writing(engine) as connection:
        connection.execute(delete(tables.raw_read))
    before = look.state(engine)
    with pytest.raises(IndexDamaged, match="its terms are not beside it"):
        rebuilt(engine, follower)
    assert look.state(engine) == before


def changed_log(connection, event, **values):
    """Another value in the first event of a name; the event's place."""
    row, table = one_log(connection, event), tables.raw_log
    connection.execute(
        update(table)
        .where(table.c.block == row.block, table.c.log_index == row.log_index)
        .values(**values)
    )
    return f"{row.block}-{row.log_index}"


def too_wide(connection):
    data = bytes(one_log(connection, "LicenseIssued").data)
    return changed_log(connection, "LicenseIssued", data=b"\1" + data[1:])


def of_no_plan(connection):
    topics = bytes(one_log(connection, "LicenseIssued").topics)
    other = topics[:64] + (10**6).to_bytes(32, "big") + topics[96:]
    return changed_log(connection, "LicenseIssued", topics=other)


def of_no_kind(connection):
    if connection.dialect.name != "sqlite":
        pytest.skip("PostgreSQL has types")
    return changed_log(connection, "RoleSet", topics=text("'none'"))


@pytest.mark.parametrize("damage", [too_wide, of_no_plan, of_no_kind])
def test_an_event_that_its_contract_cannot_have_emitted_is_named_and_no_endpoint_blamed(
    damage, ledger, engine, follower, whole, look
):
    with writing(engine) as connection:
        place = damage(connection)
        connection.execute(delete(tables.proof))  # which would speak first
    before = look.state(engine)
    with pytest.raises(IndexDamaged, match=f"event {place} of the journal cannot be") as error:
        rebuilt(engine, follower)
    assert "put a copy back" in error.value.hint
    assert look.state(engine) == before
    # To an audit it is a check that fails, and no database that is away.
    assert 10 in failed(audited(engine, ledger))


def drop_issued(connection):
    drop_event(connection, "LicenseIssued")


REFUTED = {
    "its data": change_event,
    "its time": move_event,
    "its transaction": change_transaction,
    "it is gone": drop_event,
    "it is gone, and had a neighbour": drop_issued,
    "it is gone with its proofs": drop_all_trace,
}


@pytest.mark.parametrize("what", REFUTED)
def test_no_tables_are_made_from_a_journal_that_kept_proofs_contradict(
    what, engine, follower, whole, look
):
    """The tables may be what was right."""
    with writing(engine) as connection:
        REFUTED[what](connection)
    before = look.state(engine)
    with pytest.raises(
        IndexDamaged, match="what is kept beside the journal contradicts it"
    ) as error:
        rebuilt(engine, follower)
    assert "put a copy back" in error.value.hint
    assert look.state(engine) == before


def swap_both(connection):
    """The header of another block, and a receipt in it."""
    link = tables.evidence
    for kind in ("header", "receipt"):
        query = select(link).where(link.c.kind == kind).order_by(link.c.block)
        one, *_, other = connection.execute(query).all()
        at = (link.c.block == one.block, link.c.log_index == one.log_index, link.c.kind == kind)
        connection.execute(update(link).where(*at).values(hash=other.hash))


def change_receipts(connection):
    """Another event in what is called the receipt; its nodes still are those of the block's."""
    table = tables.proof
    for row in connection.execute(select(table).where(table.c.kind == "receipt")).all():
        document = json.loads(bytes(row.body))
        document["receipt"] = document["receipt"][:-2] + "77"
        body = json.dumps(document).encode()
        connection.execute(update(table).where(table.c.hash == row.hash).values(body=body))


SPOILT = {
    "a receipt beside its nodes": change_receipts,
    "a proof's bytes": change_proof,
    "another event's proof": swap_proofs,
    "another event's header and receipt": swap_both,
    "the name of a proof": rename_proof,
    "a proof of no event": drop_orphans_proof,
    "an event of an entry": run(
        update(tables.evidence).values(log_index=tables.evidence.c.log_index + 70)
    ),
    "a block of an entry": run(update(tables.evidence).values(block=tables.evidence.c.block + 1)),
    "receipts are gone": run(delete(tables.proof).where(tables.proof.c.kind == "receipt")),
    "headers are others": run(
        update(tables.proof).where(tables.proof.c.kind == "header").values(body=b"\xc0")
    ),
}


@pytest.mark.parametrize("what", SPOILT)
def test_proofs_that_are_spoilt_say_nothing_against_the_journal(
    what, engine, follower, whole, look
):
    before = look.state(engine)
    with writing(engine) as connection:
        SPOILT[what](connection)
        connection.execute(update(tables.license_).values(status=3))
    assert [each.table for each in rebuilt(engine, follower).differences] == ["license"]
    assert look.state(engine) == before


def test_proofs_of_another_transaction_or_branch_say_nothing_against_the_journal(
    ledger, engine, follower, look
):
    """Such as where entries change places, or what was taken back past finality is lost."""
    anchor_two_in_a_block(ledger)
    look.catch_up(follower)
    worker = Keeper(ledger.rpc, engine, ledger.deployment.chain_id, rate=1e9)
    while worker.turn():
        pass
    link = tables.evidence

    def same(row):
        return link.c.block == row.block, link.c.log_index == row.log_index, link.c.kind == row.kind

    with writing(engine) as connection:
        query = select(link).where(link.c.kind == "receipt").order_by(link.c.block)
        rows = connection.execute(query).all()
        rows = [row for row in rows if row.block == rows[-1].block]
        assert len({row.hash for row in rows}) == len({row.log_index for row in rows}) == 2
        for one, other in (rows, rows[::-1]):
            connection.execute(update(link).where(*same(one)).values(hash=other.hash))
    assert rebuilt(engine, follower).events == 3
    with writing(engine) as connection:
        for row in rows:
            connection.execute(update(link).where(*same(row)).values(hash=row.hash))
    ledger.reorg(4)
    follower = Follower(ledger.rpc, engine, follower._deployment, look.Profile())
    look.catch_up(follower)
    with writing(engine) as connection:
        assert connection.execute(delete(tables.orphan_log)).rowcount == 2
    assert rebuilt(engine, follower).events == 1


def test_a_rebuild_that_is_ended_has_changed_nothing(engine, follower, whole, look, monkeypatch):
    before = look.state(engine)
    with engine.connect() as connection:
        epoch = connection.execute(select(tables.cursor.c.epoch)).scalar_one()

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("ledger.index.rebuilding.examine", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rebuilt(engine, follower)
    assert look.state(engine) == before
    with engine.connect() as connection:
        assert connection.execute(select(tables.cursor.c.epoch)).scalar_one() == epoch
        with pytest.raises(DBAPIError):
            connection.execute(text("SELECT 1 FROM before_model"))
    monkeypatch.undo()
    assert rebuilt(engine, follower).differences == ()


def test_after_a_rebuild_the_follower_goes_on_at_once(ledger, engine, follower, whole, look):
    ledger.mine()
    look.catch_up(follower)
    rebuilt(engine, follower)
    with pytest.raises(Fenced):
        follower.step()
    assert follower._stand_by(Fenced("another process follows")) == 1.0
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    look.catch_up(follower)
    assert look.journal(engine)[-1][0] == ledger.logs()[-1][0]


def test_leaves_of_a_document_that_does_not_lead_to_its_claim_are_told_and_left(
    engine, follower, whole
):
    before = stored_leaves(engine)
    with writing(engine) as connection:
        connection.execute(
            update(tables.model).values(artifact_root=b"x" * 32, fingerprint_digest=b"y" * 32)
        )
        found = leaves.examine(connection, follower.journal.chain_id, repair=True)
    assert len(found.faults) == 3
    assert all(sentence.startswith(str(Digest(whole.raw))) for sentence in found.faults)
    assert "may be all that is left" in found.faults[2]
    assert (found.differed, stored_leaves(engine)) == ((), before)


def test_a_deposit_beside_a_rebuild_is_not_taken_back(engine, follower, whole, monkeypatch):
    wanted = stored_leaves(engine)
    with writing(engine) as connection:
        document = library.document(connection, library.FINGERPRINT, Digest(whole.raw))
        assert document is not None
        claim = connection.execute(
            select(tables.model).where(tables.model.c.model_id == whole.raw)
        ).mappings()
        found, bound = library.check_leaves(document[0], claim.one())
        kept = tables.document
        connection.execute(delete(kept).where(kept.c.kind == library.FINGERPRINT))
        connection.execute(delete(tables.leaf_name))

    def deposit():
        with writing(engine) as connection:
            library.deposit_leaves(connection, whole, found, bound=bound, now_ms=2)

    depositor = threading.Thread(target=deposit)
    derive = leaves.derive

    def beside(*args):
        derived = derive(*args)
        depositor.start()
        depositor.join(1.0)  # it waits for the rebuild, or is done before it reads on
        return derived

    monkeypatch.setattr(leaves, "derive", beside)
    rebuilt(engine, follower)
    depositor.join()
    assert stored_leaves(engine) == wanted


def another_name(document):
    document["tensors"][0]["name"] = "x"


def a_cast_less(document):
    document["casts"] = document["casts"][1:]


def a_core_one(document):
    """Which leads to the same artifact root, and says neither value ids nor casts."""
    deep = Fingerprint.from_json(document)
    tensors = tuple(replace(each, vid=None, derived=()) for each in deep.tensors)
    document.clear()
    document.update(replace(deep, level="core", vmd_root=None, tensors=tensors).to_json())


# The only document that is left, and what is done to it.
ALTERED = {
    "another name": ("fingerprint", another_name),
    "a cast less": ("tensor-ids", a_cast_less),
}


def alter(engine, kind, act):
    kept = tables.document
    with writing(engine) as connection:
        connection.execute(delete(kept).where(kept.c.kind != kind))
        if kind == "tensor-ids":
            connection.execute(delete(tables.leaf_name))
        document = json.loads(connection.execute(select(kept.c.body)).scalar_one())
        act(document)
        connection.execute(update(kept).values(body=json.dumps(document)))


@pytest.mark.parametrize("what", ALTERED)
def test_leaves_that_an_altered_document_lacks_are_told_and_left(
    what, ledger, engine, follower, whole
):
    """They may be all that is left of it, and nothing says which of them is right."""
    alter(engine, *ALTERED[what])
    before = stored_leaves(engine)
    found = rebuilt(engine, follower).leaves
    assert (found.differed, bool(found.faults)) == ((), True)
    assert stored_leaves(engine) == before
    assert failed(audited(engine, ledger)) == {LEAVES}


def test_what_nothing_binds_hinders_no_repair_of_what_is_bound(ledger, engine, follower, whole):
    leaf = tables.leaf
    before, made_up = stored_leaves(engine), secrets.token_bytes(32)
    with writing(engine) as connection:
        connection.execute(delete(leaf).where(leaf.c.kind == "cid"))
        for kind in ("cast", "vid"):
            connection.execute(insert(leaf).values(model_id=whole.raw, kind=kind, id=made_up))
    done = rebuilt(engine, follower).leaves
    assert (len(done.differed), len(done.faults)) == (1, 1)
    assert {row[1:] for row in stored_leaves(engine) - before} == {("cast", made_up)}
    assert before <= stored_leaves(engine)
    assert 9 in failed(audited(engine, ledger))


def test_names_that_no_claim_binds_are_told_and_left(ledger, engine, follower, whole):
    before = stored_leaves(engine)
    alter(engine, "fingerprint", a_core_one)
    assert rebuilt(engine, follower).leaves.differed == ()
    assert stored_leaves(engine) == before
    with writing(engine) as connection:
        for table in (tables.leaf, tables.leaf_name):
            connection.execute(delete(table).where(table.c.kind != "cid"))
        connection.execute(update(tables.document).values(complete=False))
    assert audited(engine, ledger).holds
    with writing(engine) as connection:
        connection.execute(update(tables.leaf_name).values(names='["c"]'))
    before = stored_leaves(engine)
    assert "may be all that is left" in rebuilt(engine, follower).leaves.faults[0]
    assert stored_leaves(engine) == before
    assert failed(audited(engine, ledger)) == {LEAVES}


def test_what_no_claim_binds_adds_leaves_and_takes_none_out(engine, follower, whole):
    """As of a model that a reorganisation took back, or of another chain in the same database."""
    before, leaf, chain = stored_leaves(engine), tables.leaf, follower.journal.chain_id
    of = leaf.c.kind.in_(("vid", "cast"))
    with writing(engine) as connection:
        connection.execute(delete(tables.model))
        connection.execute(delete(leaf).where(of))
        found = leaves.examine(connection, chain, repair=True)
        assert (found.differed, found.faults, found.unclaimed) == ((str(whole),), (), 1)
    assert stored_leaves(engine) == before
    with writing(engine) as connection:
        connection.execute(
            insert(leaf).values(model_id=whole.raw, kind="cid", id=secrets.token_bytes(32))
        )
        found = leaves.examine(connection, chain, repair=True)
        assert "may be all that is left" in found.faults[0]
    assert len(stored_leaves(engine) - before) == 1


def test_a_leaf_that_was_made_up_is_taken_out_where_the_claim_binds_its_kind(
    ledger, engine, follower, whole
):
    before = stored_leaves(engine)
    with writing(engine) as connection:
        for kind in ("cid", "vid"):
            made_up = {"model_id": whole.raw, "kind": kind, "id": secrets.token_bytes(32)}
            connection.execute(insert(tables.leaf).values(**made_up))
        connection.execute(update(tables.leaf_name).values(names='["c"]'))
    assert rebuilt(engine, follower).leaves.differed == (str(whole),)
    assert stored_leaves(engine) == before
    assert audited(engine, ledger).holds


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_bodies_that_became_text_are_told_and_no_hindrance_and_mended(
    ledger, engine, follower, whole
):
    """Another tool wrote them so, headers too, which are no text at all."""
    before = proofs_on_record(engine)
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE proof SET body = CAST(body AS TEXT)")
    assert failed(audited(engine, ledger)) == {6}
    assert rebuilt(engine, follower).differences == ()
    assert not mender(ledger.rpc, engine, ledger).retrieve().reasons
    assert proofs_on_record(engine) == before
    assert audited(engine, ledger).holds
    # A number proves nothing, to either.
    with writing(engine) as connection:
        connection.exec_driver_sql(
            "UPDATE proof SET body = CASE kind WHEN 'state' THEN 7 ELSE 1.5 END"
        )
    assert failed(audited(engine, ledger)) == {6}
    assert rebuilt(engine, follower).differences == ()
    with writing(engine) as connection:
        connection.execute(delete(tables.orphan_log))
    assert not mender(ledger.rpc, engine, ledger).retrieve().reasons


NO_TEXT = {
    "the journal": (["raw_log SET tx_hash"], {6, 7, 10}),
    "documents": (["document SET body"], {LEAVES}),
    "entries of the evidence": (["evidence SET lost"], {8}),
    "reorganisations": (["reorg SET accepted_by"], {4}),
    "what a rebuild makes": (["leaf_name SET names", "broker SET url"], {LEAVES, 10}),
}


def everything(engine):
    """Whatever it is of: no driver reads such a text."""
    with closing(sqlite3.connect(engine.url.database)) as raw:
        raw.text_factory = bytes
        return [raw.execute(f"SELECT * FROM {name}").fetchall() for name in tables.metadata.tables]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("what", NO_TEXT)
def test_a_text_that_is_no_utf_8_fails_the_checks_that_read_it(
    what, ledger, engine, follower, whole
):
    where, checks = NO_TEXT[what]
    with writing(engine) as connection:
        for each in where:
            connection.exec_driver_sql(f"UPDATE {each} = CAST(X'C3C3' AS TEXT)")
    before = everything(engine)
    assert failed(audited(engine, ledger)) == checks
    if what == "the journal":
        with pytest.raises(IndexDamaged):
            rebuilt(engine, follower)
        assert everything(engine) == before
        return
    rebuilt(engine, follower)
    assert failed(audited(engine, ledger)) == (set() if what == "what a rebuild makes" else checks)
