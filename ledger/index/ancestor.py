"""The newest block that the index and an endpoint share, found with few questions.

Hashes name their parents, so what an endpoint has of our blocks is all up to one of them, and none
after it. The walk down doubles its stride until a block agrees and then halves the gap: a fork of
any depth costs as many questions as its depth has bits, where one by one an endpoint that lies, or
lags, could hold the index up for as many as there are blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from ledger.errors import ChainUnavailable, Reorganised
from ledger.index.blocks import Heads, Node
from ledger.index.database import reading
from ledger.index.fetch import read_header
from ledger.index.journal import Journal


@dataclass(frozen=True, slots=True)
class Fork:
    """Where an endpoint leaves our branch.

    Attributes:
        ancestor: the newest kept block that it has too; the block before the first where it has
            none of them.
        differs: number and hash of our lowest kept block in whose place it shows another; None
            where it shows none, as one does whose head is merely lower.
    """

    ancestor: int
    differs: tuple[int, bytes] | None


def find_fork(node: Node, engine: Engine, journal: Journal, heads: Heads) -> Fork:
    """Compare kept blocks at or below the endpoint's head with what it shows.

    Raises:
        ChainUnavailable: it shows a block in two forms, or none where there must be one.
    """

    def kept(number: int) -> tuple[int, bytes] | None:
        with reading(engine) as connection:
            return journal.newest_kept(connection, number)

    with reading(engine) as connection:
        low = journal.first_block(connection) - 1
    differs: tuple[int, bytes] | None = None
    at, stride = heads.latest.number, 1
    # Down, with a stride that doubles, to a block that agrees.
    while (block := kept(at)) is not None:
        if _shows(node, *block):
            low = block[0]
            break
        differs = block
        at, stride = block[0] - stride, stride * 2
    # Between that and the lowest that differs: none is kept in (low, floor].
    floor = low
    while differs is not None and floor < differs[0] - 1:
        middle = (floor + differs[0]) // 2
        block = kept(middle)
        if block is not None and block[0] > low:
            if not _shows(node, *block):
                differs = block
                continue
            low = block[0]
        floor = middle
    return Fork(low, differs)


def past_finality(finalized: int, ancestor: int) -> Reorganised:
    """What is said where the chain no longer has blocks that were final here.

    Args:
        finalized: the cursor's.
        ancestor: the newest kept block that the chain has too.
    """
    return Reorganised(
        f"the endpoint contradicts finalized block {finalized}; the newest block kept here that it "
        f"has too is {ancestor}",
        hint="the index stays as it is (below finality it keeps blocks with events alone, so the "
        f"fork may lie somewhat above block {ancestor}); check the endpoint against others, and "
        f"only then run deed index accept-reorg {ancestor}",
    )


def _shows(node: Node, number: int, hash_: bytes) -> bool:
    # Twice: an answer from the old branch must not count, nor one from a cache.
    one, two = read_header(node, number), read_header(node, number)
    if one is None or two is None or one.hash != two.hash:
        raise ChainUnavailable(f"the endpoint shows block {number} in two forms")
    return one.hash == hash_
