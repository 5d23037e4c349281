"""Every event of the journal against the chain itself, block by block from the cursor down.

Following believes a header's bloom filter and, below finality, what an endpoint says of logs that
nothing contradicts (``docs/spec/index.md``, "What this does not catch"). Here no answer is
believed: from the hash at which the cursor stands, the fields of each block must hash to what the
block above it names as its parent, and the receipts of every block whose bloom filter admits one
of our contracts must lead to its root. What they hold is what the journal must hold. What contracts
told beside an event (``raw_read``) is state and in no receipt: check (3) looks at some of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Row, select

from ledger.errors import ChainUnavailable, LedgerError, StateProofInvalid
from ledger.evidence.headers import encode_header
from ledger.index import tables
from ledger.index.audit_report import Faults, Said
from ledger.index.blocks import Header, Log, Node
from ledger.index.contracts import Contracts
from ledger.index.endpoints import Endpoints
from ledger.index.fetch import HEADERS_PER_BATCH, read_headers
from ledger.index.journal import Cursor
from ledger.index.receipts import BLOCKS_PER_BATCH, proven_logs
from ledger.index.replies import header_of, numbered

_FIELDS: Final = ("block_hash", "block_time", "tx_hash", "tx_index", "address", "topics", "data")
T = TypeVar("T")


class Comparison:
    """One comparison of one chain's journal, over one consistent view of the database.

    Args:
        connection: a reading transaction that sees one state.
        chain_id: of the chain.
        node: the chain. Where headers hash it can hide nothing below the cursor's block, and say
            nothing else of it; only hashes of transactions are as it says. That the cursor's block
            is the one that everybody has is for its endpoints, and for check (11).
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
        self._faults = Faults()
        self._events = 0

    def said(self, cursor: Cursor, first: int) -> Said:
        """How it ends: not checked where the node does not show the chain down to `first`.

        Args:
            cursor: where the index stands.
            first: the first block that can hold an event of ours.
        """
        last, hash_ = cursor.block, cursor.last_hash
        for row in self._outside(first, last):
            self._faults.add(f"event {row.block}-{row.log_index} lies outside what was read")
        if not self._faults.count and (last < first or hash_ is None):
            return "not checked", "no block was read yet"
        try:
            while last >= first and hash_ is not None:
                start = max(first, last - HEADERS_PER_BATCH + 1)
                headers = asked(self._node, partial(self._linked, start, last, hash_), start)
                self._compare(headers)
                last, hash_ = start - 1, headers[0].parent_hash
        except LedgerError as error:
            done = "nothing" if last == cursor.block else f"all down to block {last + 1}"
            if not self._faults.count:
                return "not checked", f"{done} was compared: {error.message}"
            self._faults.add(f"{done} was compared, then: {error.message}")
        return self._faults.said(f"{self._events} events from block {first} on")

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
        seen = [
            header
            for header in headers
            # (3) Any event of ours sets the bits of its contract, also one that has no name here.
            if self._contracts.admitted(header.bloom)
        ]
        shown: dict[tuple[int, int], Log] = {}
        for at in range(0, len(seen), BLOCKS_PER_BATCH):
            part = seen[at : at + BLOCKS_PER_BATCH]
            for logs in asked(self._node, partial(self._proven, part), part[0].number):
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
            wrong = [name for name, value in _values(log).items() if getattr(row, name) != value]
            if wrong:
                self._faults.add(f"{at} has another {', '.join(wrong)} on the chain")

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


def still_there(connection: Connection, chain_id: int, node: Node, *, final: int) -> Said:
    """How check (11) ends: whether the chain still has the blocks that the journal keeps.

    A block that is not final may be replaced at any time: a follower goes back over it, and the
    view of the database is older than the chain's. So that is no fault of the index.

    Args:
        connection: a reading transaction.
        chain_id: of the chain.
        node: the chain.
        final: the last block that was final when the index was written.
    """
    faults, table = Faults(), tables.block
    count = replaced = 0
    kept = connection.execute(
        select(table.c.number, table.c.hash)
        .where(table.c.chain_id == chain_id)
        .order_by(table.c.number)
        .execution_options(yield_per=HEADERS_PER_BATCH)
    )
    try:
        for part in kept.partitions():
            numbers = [row.number for row in part]
            shown = asked(node, partial(_headers, numbers), numbers[0])
            for row, header in zip(part, shown, strict=True):
                count += 1
                if header.hash == row.hash:
                    continue
                if row.number <= final:
                    faults.add(f"block {row.number} is another one now")
                replaced = replaced or row.number
    except LedgerError as error:
        if not faults.count:
            return "not checked", f"after {count} blocks: {error.message}"
    if replaced and not faults.count:
        told = f"block {replaced}, which is not final, is another one now"
        return "not checked", f"{told}: follow, and audit again"
    return faults.said(f"{count} blocks")


def _headers(numbers: list[int], node: Node) -> list[Header]:
    headers: list[Header] = []
    for number, header in zip(numbers, read_headers(node, numbers), strict=True):
        if header is None:
            raise ChainUnavailable(f"the endpoint has no block {number} yet")
        headers.append(header)
    return headers


def asked(node: Node, act: Callable[[Node], T], oldest: int) -> T:
    """What `act` finds at an endpoint: at another where one shows it nothing that can be used.

    Args:
        node: one endpoint, or several.
        act: asks, and looks at what is answered.
        oldest: the lowest block that it asks for.

    Raises:
        LedgerError: what `act` raised at the last of them.
    """
    return node.ask(act, oldest=oldest) if isinstance(node, Endpoints) else act(node)


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
