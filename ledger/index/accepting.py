"""Take back what was final, when an operator says so: the way out of a follower that has stopped.

A follower never rewrites final history on its own. `propose` says what a rollback would take back
and refuses where the endpoints do not bear it out; `accept` does exactly what was proposed, or
nothing, and writes down who said so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Engine, func, select, update

from ledger.errors import ChainUnavailable, Fenced, Reorganised, UsageError
from ledger.index import tables
from ledger.index.ancestor import find_fork, past_finality
from ledger.index.blocks import Heads, Node
from ledger.index.database import reading, writing
from ledger.index.endpoints import Endpoints
from ledger.index.fetch import read_heads
from ledger.index.journal import Cursor, Journal

MAX_NAME, MAX_WHY = 200, 2000


@dataclass(frozen=True, slots=True)
class Proposal:
    """What accepting a reorganisation past finality would take back.

    Attributes:
        ancestor: the last block that stays.
        cursor: where the index stands now.
        heads: where the endpoint does.
        events: events that are taken back, by name.
        models, licenses: how many of each have versions that end or come back to life.
        witnesses: the endpoints that bear it out.
    """

    ancestor: int
    cursor: Cursor
    heads: Heads
    events: Mapping[str, int]
    models: int
    licenses: int
    witnesses: tuple[str, ...] = ()

    @property
    def depth(self) -> int:
        """Blocks that are taken back."""
        return self.cursor.block - self.ancestor

    @property
    def final_depth(self) -> int:
        """Blocks among them that were final."""
        return max(0, min(self.cursor.finalized, self.cursor.block) - self.ancestor)


def contradicted(
    engine: Engine, journal: Journal, endpoints: Endpoints, *, depth: int
) -> Reorganised | None:
    """What a follower stops with, where a quorum shows another block in place of a final one.

    Also where none runs, or another process's has stopped: of that the database says nothing. And
    where the chain is shorter now, so that nobody shows the newest.

    Args:
        engine: the index's database.
        journal: of the chain.
        endpoints: the chain.
        depth: its `finality_depth`.

    Raises:
        ChainUnavailable: they cannot be asked up to which block they have ours.
        IndexUnavailable: nothing was followed yet.
    """
    agreed = endpoints.agreed_final()
    with reading(engine) as connection:
        cursor = journal.cursor(connection)
        final = min(cursor.finalized, cursor.block)
        heights = {final, min(final, agreed[0])} if agreed else {final}
        kept = {journal.newest_kept(connection, height) for height in heights} - {None}
    if all(endpoints.stands(*each) is not False for each in kept if each):
        return None
    fork = find_fork(endpoints, engine, journal, read_heads(endpoints, depth=depth))
    return past_finality(cursor.finalized, fork.ancestor)


def propose(engine: Engine, journal: Journal, node: Node, ancestor: int, *, depth: int) -> Proposal:
    """Look at what taking back everything after `ancestor` means; nothing is changed.

    Args:
        engine: the index's database.
        journal: of the chain.
        node: one endpoint or several.
        ancestor: the last block that is to stay.
        depth: the chain's `finality_depth`.

    Raises:
        UsageError: nothing final is contradicted, or another block is the newest that is shared.
        ChainUnavailable: the endpoints cannot be asked, or do not agree on it.
        IndexUnavailable: nothing was followed yet.
    """
    with reading(engine) as connection:
        cursor = journal.cursor(connection)
    heads = read_heads(node, depth=depth)
    fork = find_fork(node, engine, journal, heads)
    shared = fork.ancestor
    if shared == cursor.block:
        raise UsageError(
            "the endpoints show every block of the index; there is nothing to take back",
            hint="deed index status shows where the index and each endpoint stand",
        )
    if fork.differs is None:
        raise ChainUnavailable(
            f"the endpoint stands at block {heads.latest.number}, below block {cursor.block} of "
            "the index, and shows no other block in place of ours: it lags",
            hint="nothing was reorganised; wait until it has caught up, or use another",
        )
    if shared >= cursor.finalized:
        raise UsageError(
            f"the endpoints differ from block {shared + 1}, which is not final: the follower takes "
            "that back by itself",
            hint="deed index run, or the service, does it",
        )
    if ancestor != shared:
        raise UsageError(
            f"block {ancestor} is not the newest block that the index and the endpoints share",
            hint=f"that is block {shared}: deed index accept-reorg {shared}",
        )
    with reading(engine) as connection:
        proposal = _weigh(connection, journal.chain_id, cursor, heads, ancestor)
        kept = journal.lowest_above(connection, ancestor)
    if not isinstance(node, Endpoints):
        return proposal
    if len(node) == 1:
        return replace(proposal, witnesses=node.hosts)
    return replace(proposal, witnesses=node.confirm_reorganisation(kept, gone=False))


def _weigh(
    connection: Connection, chain_id: int, cursor: Cursor, heads: Heads, ancestor: int
) -> Proposal:
    logs = tables.raw_log
    events = connection.execute(
        select(logs.c.event, func.count())
        .where(logs.c.chain_id == chain_id, logs.c.block > ancestor)
        .group_by(logs.c.event)
        .order_by(logs.c.event)
    )

    def touched(name: str, key: str) -> int:
        table = tables.STATE[name]
        return int(
            connection.execute(
                select(func.count(func.distinct(table.c[key]))).where(
                    table.c.chain_id == chain_id,
                    (table.c.born_block > ancestor) | (table.c.died_block > ancestor),
                )
            ).scalar_one()
        )

    return Proposal(
        ancestor=ancestor,
        cursor=cursor,
        heads=heads,
        events={name or "unnamed": int(count) for name, count in events},
        models=touched("model", "model_id"),
        licenses=touched("license", "license_id"),
    )


def accept(
    engine: Engine, journal: Journal, proposal: Proposal, *, by: str, why: str, now_ms: int
) -> int:
    """Do what was proposed, in one transaction; the number of the row in ``reorg``.

    Args:
        engine: the index's database.
        journal: of the chain.
        proposal: from `propose`.
        by: who says so.
        why: their reason.
        now_ms: Unix milliseconds.

    Raises:
        Fenced: the index has moved since; propose again.
    """
    with writing(engine) as connection:
        journal.take_over(connection, f"accept-reorg by {by}"[:64])
        cursor = journal.cursor(connection)
        before = proposal.cursor
        if (cursor.next_block, cursor.last_hash) != (before.next_block, before.last_hash):
            raise Fenced("the index has moved since it was looked at", hint="run it again")
        journal.roll_back(connection, cursor, proposal.ancestor, proposal.heads, now_ms)
        table = tables.reorg
        number = connection.execute(
            select(func.max(table.c.id)).where(table.c.chain_id == journal.chain_id)
        ).scalar_one()
        shown = f" (shown by {', '.join(proposal.witnesses)})" if proposal.witnesses else ""
        connection.execute(
            update(table)
            .where(table.c.id == number)
            .values(accepted_by=by[:MAX_NAME], accepted_why=(why[:MAX_WHY] + shown))
        )
        journal.release(connection)
    return int(number)
