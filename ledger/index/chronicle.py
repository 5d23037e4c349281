"""Pages of the journal: which entries a question asks for, in chain order.

Each page is found in two steps of one statement. An index gives the places (block, log index) of
its entries, never more than the page holds, and the journal's primary key gives the entries. SQLite
has no statistics to go by and would rather read the whole journal in order than find a few entries
of it; given places that end with a LIMIT, it cannot.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Subquery,
    and_,
    false,
    func,
    select,
    tuple_,
    union_all,
)

from ledger.errors import UsageError
from ledger.ids import Digest
from ledger.index import tables
from ledger.index.decode import EVENTS

Place = tuple[int, int]

UNREAD: Final = ""
"""The name of entries in a form that this release does not know."""

_NAMES: Final[dict[str, tuple[str, ...]]] = {
    contract: (*(kind.name for kind in kinds.values()), UNREAD)
    for contract, kinds in EVENTS.items()
}
_COUNTED: Final = Counter(name for names in _NAMES.values() for name in names)
_SHARED: Final = frozenset(name for name, count in _COUNTED.items() if count > 1)
"""Names that do not tell whose they are."""


def page(
    chain_id: int,
    *,
    contract: str | None,
    name: str | None,
    subject: bytes | None,
    first: int,
    last: int,
    after: Place | None,
    limit: int,
) -> Select[Any]:
    """Journal entries of blocks from `first` to `last`, both included, that come after a place."""
    if after is not None:
        first = max(first, after[0])
    window = _Window(chain_id, first, last, after, limit)
    log = tables.raw_log
    if subject is not None:
        places = window.filed(subject, contract, name)
    elif name is not None and (contract is None or name in _NAMES[contract]):
        places = window.named(name, contract)
    elif name is not None:
        return select(log).where(false())
    elif contract is not None:
        places = window.of_contract(contract)
    else:
        return window.cut(select(log), log)
    return select(log).join(places, _same(log, places)).order_by(places.c.block, places.c.log_index)


class _Window:
    """The part of a chain that a page looks at."""

    def __init__(
        self, chain_id: int, first: int, last: int, after: Place | None, limit: int
    ) -> None:
        self._chain_id = chain_id
        self._first, self._last = first, last
        self._after = after
        self._limit = limit

    def cut(self, query: Select[Any], table: Any) -> Select[Any]:
        """The first of a query's rows inside, in order."""
        query = query.where(
            table.c.chain_id == self._chain_id,
            table.c.block.between(self._first, self._last),
        )
        if self._after is not None:
            query = query.where(tuple_(table.c.block, table.c.log_index) > self._after)
        return query.order_by(table.c.block, table.c.log_index).limit(self._limit)

    def named(self, name: str, contract: str | None) -> Subquery:
        """Entries of one event."""
        log = tables.raw_log
        query = select(log.c.chain_id, log.c.block, log.c.log_index).where(log.c.event == name)
        if contract is None or name not in _SHARED:
            return self.cut(query, log).subquery()
        # Few ever: all of them, and then whose they are. DISTINCT keeps the two steps apart.
        query = query.where(log.c.chain_id == self._chain_id)
        every = query.where(log.c.block.between(self._first, self._last)).distinct().subquery()
        theirs = select(every).join(log, _same(log, every))
        return self.cut(
            theirs.where(func.coalesce(log.c.contract, "") == contract), every
        ).subquery()

    def of_contract(self, contract: str) -> Subquery:
        """Entries of one contract: of all its events, each from where the index has it."""
        each = [self.named(name, contract) for name in _NAMES[contract]]
        whole = union_all(*(select(one) for one in each)).subquery()
        return (
            select(whole).order_by(whole.c.block, whole.c.log_index).limit(self._limit).subquery()
        )

    def filed(self, subject: bytes, contract: str | None, name: str | None) -> Subquery:
        """Entries filed under a subject."""
        link, log = tables.log_subject, tables.raw_log
        query = select(link.c.chain_id, link.c.block, link.c.log_index).where(
            link.c.subject == subject
        )
        if contract is not None or name is not None:
            query = query.join(log, _same(log, link))
            # Not the bare columns: the index of events holds far more than one subject's.
            if contract is not None:
                query = query.where(func.coalesce(log.c.contract, "") == contract)
            if name is not None:
                query = query.where(func.coalesce(log.c.event, "") == name)
        return self.cut(query, link).subquery()


def _same(one: FromClause, other: FromClause) -> ColumnElement[bool]:
    # By the chain of the places: its value here would let SQLite begin with the journal.
    return and_(*(one.c[key] == other.c[key] for key in ("chain_id", "block", "log_index")))


def parse_place(text: str) -> tuple[Place, bytes]:
    """Read the text form of an event's place: ``block-index-hash``.

    Raises:
        UsageError: anything else.
    """
    block, _, rest = text.partition("-")
    index, _, digits = rest.partition("-")
    try:
        place, hash_ = (int(block), int(index)), Digest.parse(digits).raw
    except (ValueError, UsageError):
        place, hash_ = (-1, -1), b""
    if not (0 <= place[0] < 1 << 62 and 0 <= place[1] < 1 << 62):
        raise UsageError("the cursor is not one this service gave", hint="begin without a cursor")
    return place, hash_


def format_place(row: Any) -> str:
    """The reverse of `parse_place`, of a journal entry."""
    return f"{row['block']}-{row['log_index']}-{bytes(row['block_hash']).hex()}"
