"""Finding events of one contract by topic, for commands and resumption; the index has its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ledger.chain.abi_codec import ContractAbi, Event
from ledger.chain.rpc import Rpc, data, quantity
from ledger.errors import ChainError, RpcRefused
from ledger.ids import Address, Digest

_FIRST_SPAN = 50_000


def find_events(
    rpc: Rpc,
    abi: ContractAbi,
    address: Address,
    event: str,
    topics: Sequence[Digest | None],
    *,
    from_block: int,
    to_block: int | None = None,
) -> list[Event]:
    """Events of `address` from `from_block` to `to_block` or the head, oldest first.

    Args:
        rpc: the chain.
        abi: the contract's interface.
        address: where it is.
        event: the event's name.
        topics: indexed arguments to match, None for any.
        from_block: first block to look at.
        to_block: last one; the head when None.

    Raises:
        ChainUnavailable: no endpoint answers.
        ChainError: an endpoint refuses even single blocks, or sends malformed logs.
    """
    head = rpc.block("latest").number if to_block is None else to_block
    wanted = [str(abi.topic(event)), *(None if t is None else str(t) for t in topics)]
    found: list[Event] = []
    start, span = from_block, _FIRST_SPAN
    while start <= head:
        end = min(head, start + span - 1)
        query = {
            "address": str(address),
            "topics": wanted,
            "fromBlock": hex(start),
            "toBlock": hex(end),
        }
        try:
            logs = rpc.call("eth_getLogs", [query])
        except RpcRefused:
            if span == 1:
                raise
            span = max(1, span // 4)  # providers bound the range, each in its own words
            continue
        if not isinstance(logs, list):
            raise ChainError("an endpoint sent something that is not a list of events")
        for log in sorted(logs, key=_place):
            decoded = abi.event([data(topic) for topic in log["topics"]], data(log["data"]))
            if decoded is not None:
                found.append(replace(decoded, block=quantity(log["blockNumber"])))
        start = end + 1
    return found


def _place(log: object) -> tuple[int, int]:
    if not isinstance(log, dict) or not {"topics", "data", "blockNumber", "logIndex"} <= set(log):
        raise ChainError("an endpoint sent a malformed event")
    return quantity(log["blockNumber"]), quantity(log["logIndex"])
