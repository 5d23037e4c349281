"""Whether a range's logs are all of them: bloom filters raise the question, receipts answer it.

A header's hash covers the root of the trie of its block's receipts, and a receipt holds its logs.
So the logs of a block are proven by its hash: the header's fields must hash to it, and the receipts
must lead to the root among these fields. What is so proven replaces what ``eth_getLogs`` said, so
that a node whose log index has a hole is read past it. When receipts are asked for:
``docs/spec/index.md``, "Complete logs".
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

from ledger.errors import ChainUnavailable, RpcRefused, StateProofInvalid
from ledger.index.blocks import Header, Log, Node
from ledger.index.bloom import unexplained
from ledger.index.contracts import Contracts
from ledger.index.replies import logs_of, shown_logs

log = logging.getLogger(__name__)

BLOCKS_PER_BATCH = 20
_METHOD_NOT_FOUND = {-32601, -32004}


@dataclass(frozen=True, slots=True)
class Rule:
    """When a block's receipts are asked for, beside the hints in its header.

    Attributes:
        final: every block above this one that holds logs of ours is proven; None: none is.
        provable: whether this chain's headers hash, and its receipts lead to a root, as Ethereum's
            do. Where not, the receipts are only compared with the logs.
    """

    final: int | None = None
    provable: bool = True


def complete(
    node: Node,
    contracts: Contracts,
    headers: Sequence[Header],
    logs: Sequence[Log],
    *,
    rule: Rule,
) -> list[Log]:
    """The logs of these blocks with nothing left out.

    Args:
        node: the endpoint that gave headers and logs.
        contracts: whose logs are ours.
        headers: an unbroken range.
        logs: ours, in order, each checked to belong to one of the blocks.
        rule: when to ask.

    Raises:
        ChainUnavailable: the receipts are needed and cannot be had, or prove nothing.
    """
    by_block = {number: list(held) for number, held in groupby(logs, attrgetter("block"))}
    crowded = unexplained(
        {h.number: h.bloom for h in headers if h.number in by_block},
        {number: [(i.address, i.topics) for i in held] for number, held in by_block.items()},
    )
    doubtful = [
        h
        for h in headers
        # (4) A bit that the logs we hold do not set was set by another log, of ours or not.
        if h.number in crowded or _doubtful(contracts, h, by_block.get(h.number, ()), rule)
    ]
    if not doubtful:
        return list(logs)
    lost = 0
    for start in range(0, len(doubtful), BLOCKS_PER_BATCH):
        part = doubtful[start : start + BLOCKS_PER_BATCH]
        for header, found in zip(part, _read_blocks(node, contracts, part, rule=rule), strict=True):
            lost += _lost(header, by_block.get(header.number, []), found)
            by_block[header.number] = found
    if lost:
        log.warning("the endpoint left out %d logs; they were taken from the receipts", lost)
    return [item for number in sorted(by_block) for item in by_block[number]]


def proven_logs(
    node: Node, contracts: Contracts, headers: Sequence[Header], *, provable: bool
) -> list[list[Log]]:
    """Our logs of each of these blocks, proven by its hash; for an audit.

    Args:
        node: the endpoint.
        contracts: whose logs.
        headers: not more than `BLOCKS_PER_BATCH`.
        provable: as `Rule` says.

    Raises:
        ChainUnavailable: the endpoint has no receipts of a block, or they prove nothing.
    """
    return _read_blocks(node, contracts, headers, rule=Rule(provable=provable))


def _doubtful(contracts: Contracts, header: Header, logs: Sequence[Log], rule: Rule) -> bool:
    # (1) The bloom claims an event of ours of which there is no log.
    present = {item.event for item in logs if item.event is not None}
    if contracts.hidden(header.bloom, present):
        return True
    if not logs:
        return False
    # (2) Above finality all that we hold is proven.
    if rule.final is not None and header.number > rule.final:
        return True
    # (3) A block's logs are numbered from 0: where ours are 0 … n − 1, none is missing between.
    return [item.log_index for item in logs] != list(range(len(logs)))


def _read_blocks(
    node: Node, contracts: Contracts, headers: Sequence[Header], *, rule: Rule
) -> list[list[Log]]:
    calls: list[tuple[str, list[Any]]] = []
    for header in headers:
        # By hash: the block of this number may be another one by now.
        calls.append(("eth_getBlockByHash", ["0x" + header.hash.hex(), False]))
        calls.append(("eth_getBlockReceipts", [hex(header.number)]))
    try:
        replies = node.batch(calls)
    except RpcRefused as error:
        if error.rpc_code not in _METHOD_NOT_FOUND:
            raise
        replies = _one_by_one(node, headers)
    return [
        _proven(contracts, header, block, receipts, rule=rule)
        for header, block, receipts in zip(headers, replies[::2], replies[1::2], strict=True)
    ]


def _one_by_one(node: Node, headers: Sequence[Header]) -> list[Any]:
    """For a node without ``eth_getBlockReceipts``."""
    replies: list[Any] = []
    for header in headers:
        (block,) = node.batch([("eth_getBlockByHash", ["0x" + header.hash.hex(), False])])
        hashes = block.get("transactions") if isinstance(block, dict) else None
        if not isinstance(hashes, list):
            raise _missing(header)
        try:
            receipts = node.batch([("eth_getTransactionReceipt", [hash_]) for hash_ in hashes])
        except RpcRefused as error:
            raise ChainUnavailable(
                f"the endpoint serves no receipts: {error.message}",
                hint="use an endpoint that serves eth_getBlockReceipts",
            ) from None
        replies += [block, receipts]
    return replies


def _proven(
    contracts: Contracts, header: Header, block: Any, receipts: Any, *, rule: Rule
) -> list[Log]:
    """Our logs out of a block's receipts, which must lead to its hash."""
    if not isinstance(block, dict) or not isinstance(receipts, list):
        raise _missing(header)
    # Here, since it takes a while to load, and few ranges of most chains need it.
    from ledger.evidence.receipts import encode_receipt

    try:
        if rule.provable:
            _prove(header, block, [encode_receipt(receipt) for receipt in receipts])
        else:
            _require_named(header, block, receipts)
        # (3) Their order gives each log its number.
        return _ours(contracts, header, receipts)
    except StateProofInvalid as error:
        raise ChainUnavailable(
            f"the endpoint's receipts of block {header.number} prove nothing: {error.message}",
            fault="malformed",
        ) from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise ChainUnavailable(
            f"the endpoint sent malformed receipts of block {header.number}", fault="malformed"
        ) from None


def _prove(header: Header, block: Mapping[str, Any], receipts: Sequence[bytes]) -> None:
    import rlp
    from trie.hexary import HexaryTrie

    from ledger.evidence.headers import encode_header

    # (1) The fields hash to the hash they came under, and that is the hash we hold.
    shown = encode_header(block)
    if shown.hash.raw != header.hash:
        raise StateProofInvalid("it is another block")
    # (2) The receipts lead to the root among these fields.
    tree = HexaryTrie({}, prune=False)
    for position, item in enumerate(receipts):
        tree[rlp.encode(position)] = item
    if tree.root_hash != shown.receipts_root.raw:
        raise StateProofInvalid("they do not lead to the root in its header")


def _require_named(
    header: Header, block: Mapping[str, Any], receipts: Sequence[Mapping[str, Any]]
) -> None:
    """Where nothing hashes: they say of themselves that they are of this block, and are enough."""
    hash_ = "0x" + header.hash.hex()
    if any(said.lower() != hash_ for said in (block["hash"], *(r["blockHash"] for r in receipts))):
        raise StateProofInvalid("it is another block")
    if len(receipts) < len(block["transactions"]):
        raise StateProofInvalid("receipts of its transactions are missing")


def _ours(contracts: Contracts, header: Header, receipts: Sequence[Mapping[str, Any]]) -> list[Log]:
    found = []
    number = 0
    for tx_index, receipt in enumerate(receipts):
        for raw in receipt["logs"]:
            if bytes.fromhex(raw["address"][2:]) in contracts.names:
                # The place is not under the root, but follows from what is.
                placed = {
                    **raw,
                    "blockNumber": hex(header.number),
                    "blockHash": "0x" + header.hash.hex(),
                    "transactionIndex": hex(tx_index),
                    "logIndex": hex(number),
                    "removed": False,
                }
                found.append(placed)
            number += 1
    return logs_of(shown_logs(found), contracts, [header])


def _lost(header: Header, said: Sequence[Log], found: Sequence[Log]) -> int:
    """How many logs the answer had left out; whatever else it got wrong is no mere gap."""
    held = {item.log_index for item in said}
    if [item for item in found if item.log_index in held] != list(said):
        raise ChainUnavailable(
            f"the endpoint's logs of block {header.number} are not those of its receipts",
            fault="malformed",
        )
    return len(found) - len(said)


def _missing(header: Header) -> ChainUnavailable:
    return ChainUnavailable(
        f"the endpoint has no receipts of block {header.number}",
        hint="it may be syncing, or keep no old receipts: use an endpoint that does",
    )
