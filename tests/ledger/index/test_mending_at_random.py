"""Damage of many kinds at once: nothing is lost by mending, and what it says is so."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from evidence_world import coverage, finish, keeper, mender, proofs_on_record
from sqlalchemy import delete, insert, select, update

from ledger.chain.rpc import Rpc
from ledger.errors import ChainUnavailable
from ledger.index import tables
from ledger.index.audit import audit
from ledger.index.database import reading, writing
from ledger.index.mending import FEWER

pytestmark = pytest.mark.chain

ROUNDS = 4
ROUNDS_IN_DEPTH = 150
proof, link, place = tables.proof, tables.evidence, tables.evidence_place


@pytest.fixture
def harvested(ledger, engine, young, look):
    """Live events and retracted ones, some of one transaction, all proved."""
    before = ledger.rpc.call("evm_snapshot", [])
    for branch in range(2):
        plan = ledger.plan(ledger.register())
        holders = [ledger.accounts[2], ledger.accounts[3]]
        ledger.do("LicenseLedger", "issueBatch", plan, holders, 0, 0)
        ledger.mine(3 + branch)
        look.catch_up(young)
        finish(keeper(ledger.rpc, engine, ledger))
        if not branch:
            ledger.rpc.call("evm_revert", [before])
    with reading(engine) as connection:
        return {
            table: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in (link, proof, place)
        }


def put_back(engine, rows):
    with writing(engine) as connection:
        for table, some in rows.items():
            connection.execute(delete(table))
            connection.execute(insert(table), some)


class Damage:
    """One stroke of an unsteady hand: a method for each kind."""

    def __init__(self, connection, hand):
        self.connection, self.hand = connection, hand
        self.bodies = connection.execute(select(proof).order_by(proof.c.hash)).all()
        entries = select(link).order_by(link.c.block_hash, link.c.log_index, link.c.kind)
        self.entries = connection.execute(entries).all()

    @classmethod
    def kinds(cls):
        return sorted(name for name in vars(cls) if name.startswith("its_"))

    def _body(self, row, **values):
        self.connection.execute(update(proof).where(proof.c.hash == row.hash).values(**values))

    def _entry(self, row):
        names = ("block", "block_hash", "log_index", "kind")
        return tuple(link.c[name] == getattr(row, name) for name in names)

    def _name(self, row, **values):
        self.connection.execute(update(link).where(*self._entry(row)).values(**values))

    def _any(self, rows, count=1):
        return self.hand.choices(rows, k=count) if rows else []

    def its_body_is_gone(self):
        for row in self._any(self.bodies):
            self.connection.execute(delete(proof).where(proof.c.hash == row.hash))

    def its_body_is_other(self):
        changes = (lambda b: b + b" ", lambda b: b[:-1], lambda _: b"", lambda b: b[::-1])
        for row in self._any(self.bodies):
            self._body(row, body=self.hand.choice(changes)(bytes(row.body)))

    def its_bodies_rotate(self):
        some = self.hand.sample(self.bodies, min(len(self.bodies), self.hand.randrange(2, 6)))
        for row, other in zip(some, some[1:] + some[:1], strict=True):
            self._body(row, body=other.body)

    def its_body_is_anothers(self):
        for row, other in zip(self._any(self.bodies), self._any(self.bodies), strict=True):
            self._body(row, body=other.body)

    def its_hash_is_other(self):
        for row in self._any(self.bodies):
            flipped = bytes([row.hash[0] ^ 1]) + bytes(row.hash[1:])
            if flipped not in {each.hash for each in self.bodies}:
                self._body(row, hash=flipped)

    def its_kind_is_other(self):
        for row in self._any(self.bodies):
            self._body(row, kind=self.hand.choice(["header", "receipt", "state", "letter"]))

    def its_entry_is_gone(self):
        for row in self._any(self.entries):
            self.connection.execute(delete(link).where(*self._entry(row)))

    def its_entries_are_gone(self):
        for row in self._any(self.entries):
            this = link.c.block_hash == row.block_hash
            self.connection.execute(delete(link).where(this))

    def its_traces_are_gone(self):
        for row in self._any(self.entries):
            this = link.c.block_hash == row.block_hash
            self.connection.execute(delete(link).where(this))
            named = {each.hash for each in self.entries if each.block_hash == row.block_hash}
            self.connection.execute(delete(proof).where(proof.c.hash.in_(named - {None})))

    def its_entries_change_places(self):
        some = self._any(self.entries, 2)
        for row, other in zip(some, some[::-1], strict=True):
            self._name(row, hash=other.hash)

    def its_entry_names_nothing(self):
        for row in self._any(self.entries):
            self._name(row, hash=self.hand.choice([b"\0" * 32, None]))

    def its_entry_is_of_no_kind(self):
        taken = {(row.block_hash, row.log_index) for row in self.entries if row.kind == "letter"}
        for row in self._any(self.entries):
            if (row.block_hash, row.log_index) not in taken:
                self._name(row, kind="letter")

    def its_entry_says_it_was_lost(self):
        for row in self._any(self.entries):
            self._name(row, lost="pruned", hash=self.hand.choice([row.hash, None]))

    def its_place_is_other(self):
        values = {"next_block": self.hand.choice([0, 1, 10**9]), "events": self.hand.randrange(9)}
        self.connection.execute(update(place).values(**values))

    def its_place_is_gone(self):
        self.connection.execute(delete(place))


# These change what was counted, so that nothing says any more how much there was.
UNCOUNTED = {"its_place_is_other", "its_place_is_gone", "its_entry_says_it_was_lost"}


@pytest.mark.parametrize("rounds", [ROUNDS, pytest.param(ROUNDS_IN_DEPTH, marks=pytest.mark.deep)])
def test_whatever_the_damage_nothing_is_lost_and_what_is_said_is_so(
    rounds, harvested, ledger, engine, store, proxy
):
    originals = {bytes(row["body"]) for row in harvested[proof]}
    for seed in range(rounds):
        hand = random.Random(seed)
        put_back(engine, harvested)
        done = [hand.choice(Damage.kinds()) for _ in range(hand.randrange(1, 5))]
        with writing(engine) as connection:
            for kind in done:
                getattr(Damage(connection, hand), kind)()
        there = originals & bodies(engine)
        said = 0
        if hand.random() < 0.5:
            proxy.socket_fault = "refuse"
            with Rpc(proxy.url, timeout=1) as rpc, suppress(ChainUnavailable):
                said = mender(rpc, engine, ledger).retrieve().reasons.get(FEWER, 0)
            proxy.heal()
        first = mender(ledger.rpc, engine, ledger).retrieve()
        before = proofs_on_record(engine), coverage(engine, store)
        second = mender(ledger.rpc, engine, ledger).retrieve()
        told = (seed, done, first, second)
        assert (proofs_on_record(engine), coverage(engine, store)) == before, told
        assert (second.found, second.reasons.get(FEWER, 0)) == (0, 0), told
        assert there <= bodies(engine), told
        if not first.reasons:
            assert failing(engine, ledger) == set(), told
        if not UNCOUNTED & set(done):
            entries = {(bytes(row[2]), row[3]) for row in before[0][0]}
            gone = {(row["block_hash"], row["log_index"]) for row in harvested[link]} - entries
            assert said + first.reasons.get(FEWER, 0) == len(gone), told


def bodies(engine):
    with reading(engine) as connection:
        return {bytes(body) for body in connection.execute(select(proof.c.body)).scalars()}


def failing(engine, ledger):
    given = ledger.deployment
    done = audit(engine, given.chain_id, genesis=given.genesis_hash, addresses=given.addresses)
    return {check.number for check in done.checks if check.result == "fail"}
