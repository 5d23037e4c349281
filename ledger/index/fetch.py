"""Ask one endpoint for a range of blocks, and believe it only where it is consistent.

One JSON-RPC batch asks for the headers and the logs of a range, so that one backend answers both.
What comes back is checked before anything is stored:

(1) every block of the range is there, under its own number;
(2) each names the one before as its parent;
(3) each log belongs to one of these blocks, and places strictly rise (`ledger.index.replies`);
(4) where logs may be missing, the block's receipts decide (`ledger.index.receipts`).

A failed check means "ask again", never "believe half": the error is `ChainUnavailable`.

Here is what is asked, in which batches, and what an endpoint that refuses is asked instead. How an
answer is read is `ledger.index.replies`'s, and what events leave out `ledger.index.beside`'s.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from ledger.errors import ChainUnavailable, RpcRefused
from ledger.ids import Digest
from ledger.index.beside import read_beside
from ledger.index.blocks import Header, Heads, Log, Node, Span
from ledger.index.contracts import Contracts
from ledger.index.receipts import Rule, complete
from ledger.index.replies import (
    LogReply,
    header_of,
    logs_of,
    number_of,
    numbered,
    shown_logs,
    shown_receipts,
)

HEADERS_PER_BATCH = 100
_BLOCK = "eth_getBlockByNumber"


def read_heads(node: Node, *, depth: int) -> Heads:
    """Ask for the latest, safe and finalized blocks in one batch.

    Args:
        node: the endpoint.
        depth: 0 where the chain names its finalized block; else a block is final once this many
            blocks stand on it.
    """
    tags = ("latest",) if depth else ("latest", "safe", "finalized")
    replies = node.batch([(_BLOCK, [tag, False]) for tag in tags])
    shown = [header_of(reply) for reply in replies]
    latest = shown[0]
    if latest is None:
        raise ChainUnavailable("the endpoint has no latest block")
    if depth:
        final = max(0, latest.number - depth)
        return Heads(latest, final, final)
    # None before the first finalized block: then only block 0 is.
    safe, named = (0 if header is None else header.number for header in shown[1:])
    # The members of a batch may see different heads.
    final = min(named, latest.number)
    hash_ = shown[2].hash if shown[2] is not None and final == named else None
    return Heads(latest, max(min(safe, latest.number), final), final, hash_)


def read_header(node: Node, number: int) -> Header | None:
    """One header, or None when the endpoint has no such block."""
    (reply,) = _ask(node, [(_BLOCK, [hex(number), False])])
    header = header_of(reply)
    return None if header is None else numbered(header, number)


def read_headers(node: Node, numbers: Sequence[int]) -> list[Header | None]:
    """Headers by number, in one batch; None where the endpoint has no such block."""
    replies = _ask(node, [(_BLOCK, [hex(number), False]) for number in numbers])
    headers = [header_of(reply) for reply in replies]
    return [
        None if header is None else numbered(header, number)
        for header, number in zip(headers, numbers, strict=True)
    ]


def read_span(node: Node, contracts: Contracts, first: int, last: int, *, rule: Rule) -> Span:
    """A closed range, checked as the module says, with what is read beside its events.

    Raises:
        ChainUnavailable: the answer contradicts itself; ask again.
        RpcRefused: too much at once, or another reason to ask for less.
    """
    headers, logs = read_range(node, contracts, first, last, rule=rule)
    return Span(headers, logs, read_beside(node, logs))


def read_range(
    node: Node, contracts: Contracts, first: int, last: int, *, rule: Rule
) -> tuple[list[Header], list[Log]]:
    """Headers and our logs of the closed range, checked as the module says.

    Args:
        node: the endpoint.
        contracts: whose logs.
        first: the first block.
        last: the last one.
        rule: when receipts are asked for, beside the header's hints.

    Raises:
        ChainUnavailable: the answer contradicts itself; ask again.
        RpcRefused: too much at once, or another reason to ask for less.
    """
    headers: list[Header] = []
    logs: list[Log] = []
    for start in range(first, last + 1, HEADERS_PER_BATCH):
        stop = min(start + HEADERS_PER_BATCH, last + 1)
        some, found = _read_batch(node, contracts, start, stop - 1)
        headers += some
        logs += found
    for before, after in itertools.pairwise(headers):
        if after.parent_hash != before.hash:
            raise ChainUnavailable(f"block {after.number} does not follow block {before.number}")
    return headers, complete(node, contracts, headers, logs, rule=rule)


def _read_batch(
    node: Node, contracts: Contracts, first: int, last: int
) -> tuple[list[Header], list[Log]]:
    """Headers and logs of a few blocks, in one batch: one backend, one moment."""
    calls: list[tuple[str, list[Any]]] = [
        (_BLOCK, [hex(number), False]) for number in range(first, last + 1)
    ]
    try:
        replies = _ask(node, [*calls, ("eth_getLogs", [contracts.query(first, last)])])
        shown = shown_logs(replies.pop())
    except RpcRefused:
        if first != last:
            raise
        replies, shown = _read_crowded(node, contracts, first)
    headers = [
        numbered(header_of(reply), number)
        for reply, number in zip(replies, range(first, last + 1), strict=True)
    ]
    return headers, logs_of(shown, contracts, headers)


def _read_crowded(
    node: Node, contracts: Contracts, number: int
) -> tuple[list[Any], list[LogReply]]:
    """One block whose logs are refused at once: contract by contract, else by its receipts."""
    header = (_BLOCK, [hex(number), False])
    queries = [contracts.query(number, number, address) for address in contracts.names]
    try:
        reply, *parts = _ask(node, [header, *(("eth_getLogs", [query]) for query in queries)])
        shown = [log for part in parts for log in shown_logs(part)]
        return [reply], sorted(shown, key=lambda log: number_of(log.log_index, "logIndex"))
    except RpcRefused:
        reply, receipts = _ask(node, [header, ("eth_getBlockReceipts", [hex(number)])])
        return [reply], [
            log
            for receipt in shown_receipts(receipts)
            for log in receipt.logs
            if log.address.lower() in contracts.known
        ]


def genesis(node: Node) -> tuple[int, Digest]:
    """The endpoint's chain id and the hash of its block 0."""
    chain_id, block = node.batch([("eth_chainId", []), (_BLOCK, ["0x0", False])])
    header = header_of(block)
    if header is None:
        raise ChainUnavailable("the endpoint has no block 0")
    if not isinstance(chain_id, str):
        raise ChainUnavailable("the endpoint sent no usable chainId")
    return number_of(chain_id, "chainId"), Digest(header.hash)


def _ask(node: Node, calls: list[tuple[str, list[Any]]]) -> list[Any]:
    undecoded = getattr(node, "batch_undecoded", None)
    return list(node.batch(calls) if undecoded is None else undecoded(calls))
