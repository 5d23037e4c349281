"""Blocks and events that the index keeps against the chain itself, from the cursor down.

Following believes a header's bloom filter and, below finality, what an endpoint says of logs that
nothing contradicts (``docs/spec/index.md``, "What this does not catch"). Here no answer is
believed: from the hash at which the cursor stands, the fields of each block must hash to what the
block above it names as its parent, and the receipts of every block whose bloom filter admits one
of our contracts must lead to its root. What they hold is what the journal must hold. What contracts
told beside an event (``raw_read``) is state and in no receipt: check (3) looks at some of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from ledger.errors import ChainUnavailable, LedgerError, StateProofInvalid
from ledger.evidence.headers import encode_header
from ledger.index import tables
from ledger.index.audit_report import Faults, Said
from ledger.index.blocks import Header, Log, Node
from ledger.index.contracts import Contracts
from ledger.index.endpoints import Endpoints, ask
from ledger.index.fetch import HEADERS_PER_BATCH, read_headers
from ledger.index.journal import Cursor, Journal
from ledger.index.receipts import BLOCKS_PER_BATCH, proven_logs
from ledger.index.replies import header_of, numbered

_FIELDS: Final = ("block_hash", "block_time", "tx_hash", "tx_index", "address", "topics", "data")


class Comparison:
    """One comparison of one chain's index, over one consistent view of the database.

    Args:
        connection: a reading transaction that sees one state.
        chain_id: of the chain.
        node: the chain. Where headers hash it can hide nothing below the cursor's block, and say
            nothing else of it; only hashes of transactions are as it says. That the cursor's block
            is the one that everybody has is for a quorum of its endpoints, in check (11).
        contracts: whose events the journal holds.
        provable: whether this chain's headers hash, and its receipts lead to a root, as Ethereum's
            do. Where not, what the node shows is compared as it is.
    """

    def __init__(
        self,
        connection: Connection,
        chain_id: int,
        node: Node,
        contracts: Contracts,
        *,
        provable: bool,
    ) -> None:
        self._connection = connection
        self._chain_id = chain_id
        self._node = node
        self._contracts = contracts
        self._provable = provable
        self._faults, self._events = Faults(), 0
        self._replaced, self._blocks = Faults(), 0

    def said(self, cursor: Cursor, first: int) -> tuple[Said, Said]:
        """How checks (11) and (12) end, which go over the same headers.

        Args:
            cursor: where the index stands.
            first: the first block that can hold an event of ours.
        """
        last, hash_ = cursor.block, cursor.last_hash
        for row in self._outside(first, last):
            self._faults.add(f"event {row.block}-{row.log_index} lies outside what was read")
        why = "no block was read yet" if last < first or hash_ is None else ""
        try:
            while last >= first and hash_ is not None:
                start = max(first, last - HEADERS_PER_BATCH + 1)
                headers = ask(self._node, partial(self._linked, start, last, hash_), oldest=start)
                self._compare(headers)
                self._compare_kept(headers)
                last, hash_ = start - 1, headers[0].parent_hash
        except LedgerError as error:
            done = "nothing" if last == cursor.block else f"all down to block {last + 1}"
            why = f"{done} was compared: {error.message}"
            if self._faults.count:
                self._faults.add(f"{done} was compared, then: {error.message}")
        kept = self._kept(cursor, last)
        if why and not self._faults.count:
            return kept, ("not checked", why)
        return kept, self._faults.said(f"{self._events} events from block {first} on")

    def _linked(self, first: int, last: int, hash_: bytes, node: Node) -> list[Header]:
        """The headers of a closed range that ends in the block of this hash."""
        calls: list[tuple[str, list[Any]]] = [
            ("eth_getBlockByNumber", [hex(number), False]) for number in range(first, last + 1)
        ]
        headers: list[Header] = []
        replies = node.batch(calls)
        for number, reply in zip(range(last, first - 1, -1), reversed(replies), strict=True):
            header = numbered(header_of(reply), number)
            # (1) It is the block that the one above it names.
            if header.hash != hash_:
                raise ChainUnavailable(f"block {number} is another one now, or a made-up one")
            # (2) It is what its hash is of: so its bloom filter and its parent are true.
            if self._provable:
                _require_hash(reply, header)
            headers.append(header)
            hash_ = header.parent_hash
        return headers[::-1]

    def _compare(self, headers: list[Header]) -> None:
        held = self._held(headers[0].number, headers[-1].number)
        self._events += len(held)
        busy = {number for number, _ in held}
        seen = [
            header
            for header in headers
            # (3) Any event of ours sets the bits of its contract, also one that has no name here.
            if self._contracts.admitted(header.bloom)
            # Where nothing hashes there may be no true bloom filters either.
            or (not self._provable and header.number in busy)
        ]
        shown: dict[tuple[int, int], Log] = {}
        for at in range(0, len(seen), BLOCKS_PER_BATCH):
            part = seen[at : at + BLOCKS_PER_BATCH]
            for logs in ask(self._node, partial(self._proven, part), oldest=part[0].number):
                shown |= {(log.block, log.log_index): log for log in logs}
        for place in sorted(held.keys() | shown.keys()):
            self._one(place, held.get(place), shown.get(place))

    def _proven(self, headers: list[Header], node: Node) -> list[list[Log]]:
        return proven_logs(node, self._contracts, headers, provable=self._provable)

    def _one(self, place: tuple[int, int], row: Row[Any] | None, log: Log | None) -> None:
        at = f"event {place[0]}-{place[1]}"
        if row is None:
            self._faults.add(f"{at} is on the chain, and not in the journal")
        elif log is None:
            self._faults.add(f"{at} is in the journal, and not on the chain")
        else:
            _hold(self._faults, at, row, _values(log))

    def _outside(self, first: int, last: int) -> list[Row[Any]]:
        logs = tables.raw_log
        outside = select(logs.c.block, logs.c.log_index).where(
            logs.c.chain_id == self._chain_id, (logs.c.block < first) | (logs.c.block > last)
        )
        return list(self._connection.execute(outside))

    def _held(self, first: int, last: int) -> dict[tuple[int, int], Row[Any]]:
        logs = tables.raw_log
        rows = self._connection.execute(
            select(logs.c.block, logs.c.log_index, *(logs.c[name] for name in _FIELDS)).where(
                logs.c.chain_id == self._chain_id, logs.c.block.between(first, last)
            )
        )
        return {(row.block, row.log_index): row for row in rows}

    # -- blocks --------------------------------------------------------------------------------

    def _compare_kept(self, headers: list[Header]) -> None:
        """Kept blocks among these, which the chain has: also one that is not final is as it is."""
        shown = {header.number: header for header in headers}
        table = tables.block
        rows = self._connection.execute(
            select(table).where(
                table.c.chain_id == self._chain_id,
                table.c.number.between(headers[0].number, headers[-1].number),
            )
        )
        for row in rows:
            self._blocks += 1
            header = shown[row.number]
            values = {name: getattr(header, name) for name in ("hash", "parent_hash", "time")}
            _hold(self._replaced, f"block {row.number}", row, values)

    def _kept(self, cursor: Cursor, last: int) -> Said:
        """How check (11) ends, where blocks down to the one above `last` were compared.

        Of the others the endpoints are asked one by one. One that is not final may be replaced at
        any time: a follower goes back over it, and the view of the database is older than the
        chain's. So that is no fault of the index.
        """
        table, unsettled, why = tables.block, -1, ""
        newest, stands = self._voted(cursor)
        rest = self._connection.execute(
            select(table.c.number, table.c.hash)
            .where(
                table.c.chain_id == self._chain_id, ~table.c.number.between(last + 1, cursor.block)
            )
            .order_by(table.c.number)
            .execution_options(yield_per=HEADERS_PER_BATCH)
        )
        try:
            for part in rest.partitions():
                gone, problem = _gone(self._node, {row.number: row.hash for row in part})
                for number in gone:
                    if number <= cursor.finalized and stands is not None:
                        self._replaced.add(f"block {number} is another one now")
                    elif unsettled < 0:
                        unsettled = number
                if problem is not None:
                    raise problem
                self._blocks += len(part)
        except LedgerError as error:
            why = f"after {self._blocks} blocks: {error.message}"
        if stands is None:
            final = "is" if newest <= cursor.finalized else "is not"
            why = f"the endpoints do not agree about block {newest}, which {final} final"
        elif not stands and newest > cursor.finalized:
            unsettled = newest
        elif not stands and not self._replaced.count:
            self._replaced.add(f"block {newest} is another one now")
        elif not why and (agreed := self._agreed()) is not None and agreed < cursor.finalized:
            # They may lag. That none of them has called it final, nobody can know.
            why = f"the endpoints call block {agreed} final, and the index {cursor.finalized}"
        if unsettled >= 0 and not why:
            told = f"block {unsettled}, which is not final, is another one now"
            why = f"{told}: follow, and audit again"
        if why and not self._replaced.count:
            return "not checked", why
        return self._replaced.said(f"{self._blocks} blocks")

    def _agreed(self) -> int | None:
        """The block up to which the endpoints say that all is final; None where they do not."""
        if not isinstance(self._node, Endpoints):
            return None
        agreed = self._node.agreed_final()
        return None if agreed is None else agreed[0]

    def _voted(self, cursor: Cursor) -> tuple[int, bool | None]:
        """The newest kept block that is final, which all below hang on, and whether it stands.

        One of several endpoints may show a branch of its own, be it the index's or not. Where none
        is final yet, it is the last block.
        """
        final, journal = min(cursor.finalized, cursor.block), Journal(self._chain_id)
        kept = journal.newest_kept(self._connection, final) or journal.newest_kept(
            self._connection, cursor.block
        )
        if kept is None or not isinstance(self._node, Endpoints):
            return final, True
        return kept[0], self._node.stands(*kept)


def _hold(faults: Faults, what: str, row: Row[Any], values: Mapping[str, Any]) -> None:
    wrong = [name for name, value in values.items() if getattr(row, name) != value]
    if wrong:
        faults.add(f"{what} has another {', '.join(wrong)} on the chain")


def _gone(node: Node, kept: Mapping[int, bytes]) -> tuple[list[int], LedgerError | None]:
    """Numbers of kept blocks in whose place others are shown, by every endpoint that has one there.

    Args:
        node: the chain.
        kept: their hashes by number, rising.

    Returns:
        The numbers; and why, where no endpoint has a block in one's place, or none answers.
    """
    ours: dict[int, bool] = {}

    def look(one: Node) -> None:
        shown = dict(zip(kept, read_headers(one, list(kept)), strict=True))
        for number, header in shown.items():
            if header is not None:
                ours[number] = header.hash == kept[number] or ours.get(number, False)
        for number, header in shown.items():
            if header is None:
                raise ChainUnavailable(f"the endpoint has no block {number} yet")
            if header.hash != kept[number]:
                raise ChainUnavailable(f"block {number} is another one now")

    try:
        ask(node, look, oldest=min(kept))
    except LedgerError as error:
        problem = error if len(ours) < len(kept) else None
    else:
        problem = None
    return [number for number, same in ours.items() if not same], problem


def _values(log: Log) -> Mapping[str, Any]:
    return {
        "block_hash": log.block_hash,
        "block_time": log.time,
        "tx_hash": log.tx_hash,
        "tx_index": log.tx_index,
        "address": log.address,
        "topics": log.topics,
        "data": log.data,
    }


def _require_hash(reply: Mapping[str, Any], header: Header) -> None:
    try:
        encode_header(reply)
    except StateProofInvalid as error:
        raise ChainUnavailable(error.message, fault="malformed") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise ChainUnavailable(
            f"the endpoint sent a malformed block {header.number}", fault="malformed"
        ) from None
