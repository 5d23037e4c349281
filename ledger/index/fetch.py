"""Read a range of blocks from one endpoint, and believe it only where it is consistent.

One JSON-RPC batch asks for the headers and the logs of a range, so that one backend answers both.
What comes back is checked before anything is stored:

(1) every block of the range is there, under its own number;
(2) each names the one before as its parent;
(3) each log belongs to one of these blocks, and places strictly rise;
(4) where a block's bloom claims an event of ours and the answer has none, the receipts decide.

A failed check means "ask again", never "believe half": the error is `ChainUnavailable`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ledger.errors import ChainUnavailable, LogFormatError
from ledger.ids import Address, Digest, keccak256
from ledger.index.bloom import bloom_mask
from ledger.index.decode import EVENTS, decode

HEADERS_PER_BATCH = 100
_MODEL_OF = "0x" + keccak256(b"modelOf(bytes32)")[:4].hex()
_PLAN_OF = "0x" + keccak256(b"planOf(uint32)")[:4].hex()


class Node(Protocol):
    """The part of `ledger.chain.rpc.Rpc` that the index needs."""

    def batch(self, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        """Results in order; any failed member fails the batch.

        Raises:
            ChainUnavailable: no usable answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of a block header that following needs. `time` is in Unix seconds."""

    number: int
    hash: bytes
    parent_hash: bytes
    time: int
    bloom: int


@dataclass(frozen=True, slots=True)
class Log:
    """One log as the chain holds it. `contract` is our name for its address."""

    block: int
    log_index: int
    block_hash: bytes
    tx_hash: bytes
    tx_index: int
    contract: str
    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Heads:
    """Where the endpoint stands: its latest header, and the numbers it calls safe and finalized."""

    latest: Header
    safe: int
    finalized: int


@dataclass(frozen=True, slots=True)
class Contracts:
    """The four contracts by address, with their bloom masks worked out once."""

    names: dict[bytes, str]
    masks: tuple[tuple[bytes, int, tuple[tuple[bytes, int], ...]], ...]

    @classmethod
    def of(cls, addresses: Mapping[str, Address]) -> Contracts:
        """The contracts that the index knows, out of a deployment's addresses."""
        names = {address.raw: name for name, address in addresses.items() if name in EVENTS}
        masks = tuple(
            (
                address,
                bloom_mask(address),
                tuple((topic, bloom_mask(topic)) for topic in EVENTS[name]),
            )
            for address, name in names.items()
        )
        return cls(names, masks)

    def query(self, first: int, last: int) -> dict[str, Any]:
        """The filter of eth_getLogs for the closed range of blocks."""
        addresses = ["0x" + address.hex() for address in self.names]
        return {"fromBlock": hex(first), "toBlock": hex(last), "address": addresses}

    def hidden(self, header: Header, present: set[tuple[bytes, bytes]]) -> bool:
        """Whether the bloom claims an (address, event) of ours that is not among `present`."""
        for address, mask, topics in self.masks:
            if header.bloom & mask != mask:
                continue
            for topic, bits in topics:
                if header.bloom & bits == bits and (address, topic) not in present:
                    return True
        return False


def read_heads(node: Node, *, depth: int) -> Heads:
    """Ask for the latest, safe and finalized blocks in one batch.

    Args:
        node: the endpoint.
        depth: 0 where the chain names its finalized block; else a block is final once this many
            blocks stand on it.
    """
    tags = ("latest",) if depth else ("latest", "safe", "finalized")
    replies = node.batch([("eth_getBlockByNumber", [tag, False]) for tag in tags])
    if replies[0] is None:
        raise ChainUnavailable("the endpoint has no latest block")
    latest = _header(replies[0])
    if depth:
        final = max(0, latest.number - depth)
        return Heads(latest, final, final)
    # None before the first finalized block: then only block 0 is.
    safe, final = (0 if reply is None else _header(reply).number for reply in replies[1:])
    # The members of a batch may see different heads.
    final = min(final, latest.number)
    return Heads(latest, max(min(safe, latest.number), final), final)


def read_header(node: Node, number: int) -> Header | None:
    """One header, or None when the endpoint has no such block."""
    (reply,) = node.batch([("eth_getBlockByNumber", [hex(number), False])])
    return None if reply is None else _numbered(reply, number)


def read_range(
    node: Node, contracts: Contracts, first: int, last: int
) -> tuple[list[Header], list[Log]]:
    """Headers and our logs of the closed range, checked as the module says.

    Raises:
        ChainUnavailable: the answer contradicts itself; ask again.
    """
    headers: list[Header] = []
    logs: list[Log] = []
    for start in range(first, last + 1, HEADERS_PER_BATCH):
        stop = min(start + HEADERS_PER_BATCH, last + 1)
        calls: list[tuple[str, list[Any]]] = [
            ("eth_getBlockByNumber", [hex(number), False]) for number in range(start, stop)
        ]
        # The logs travel with the headers of the same blocks: one backend, one moment.
        replies = node.batch([*calls, ("eth_getLogs", [contracts.query(start, stop - 1)])])
        headers.extend(
            _numbered(reply, number)
            for reply, number in zip(replies[:-1], range(start, stop), strict=True)
        )
        if not isinstance(replies[-1], list):
            raise ChainUnavailable("the endpoint answered no list of logs")
        logs.extend(_log(reply, contracts) for reply in replies[-1])
    for before, after in itertools.pairwise(headers):
        if after.parent_hash != before.hash:
            raise ChainUnavailable(f"block {after.number} does not follow block {before.number}")
    _check_places(headers, logs)
    _check_blooms(node, contracts, headers, logs)
    return headers, logs


def _check_places(headers: Sequence[Header], logs: Sequence[Log]) -> None:
    hashes = {header.number: header.hash for header in headers}
    previous = (-1, -1)
    for log in logs:
        if hashes.get(log.block) != log.block_hash:
            raise ChainUnavailable(f"a log names block {log.block} with another hash")
        if (log.block, log.log_index) <= previous:
            raise ChainUnavailable(f"the logs of block {log.block} are out of order or doubled")
        previous = (log.block, log.log_index)


def _check_blooms(
    node: Node, contracts: Contracts, headers: Iterable[Header], logs: Sequence[Log]
) -> None:
    present: dict[int, set[tuple[bytes, bytes]]] = {}
    for log in logs:
        present.setdefault(log.block, set()).add(
            (log.address, log.topics[0] if log.topics else b"")
        )
    for header in headers:
        if contracts.hidden(header, present.get(header.number, set())):
            _check_receipts(node, contracts, header, [x for x in logs if x.block == header.number])


def _check_receipts(node: Node, contracts: Contracts, header: Header, logs: Sequence[Log]) -> None:
    """A bloom has false positives; the block's receipts say whether a log was withheld."""
    (receipts,) = node.batch([("eth_getBlockReceipts", [hex(header.number)])])
    if not isinstance(receipts, list):
        raise ChainUnavailable(f"the endpoint has no receipts of block {header.number}")
    truth: list[Log] = []
    for receipt in receipts:
        if _bytes(receipt, "blockHash", 32) != header.hash:
            raise ChainUnavailable(f"the receipts of block {header.number} are another block's")
        truth.extend(
            _log(reply, contracts)
            for reply in receipt.get("logs", [])
            if _bytes(reply, "address", 20) in contracts.names
        )
    if [log.log_index for log in truth] != [log.log_index for log in logs]:
        raise ChainUnavailable(f"the endpoint has lost logs of block {header.number}")


def _numbered(reply: Any, number: int) -> Header:
    if reply is None:
        raise ChainUnavailable(f"the endpoint has no block {number} yet")
    header = _header(reply)
    if header.number != number:
        raise ChainUnavailable(f"asked for block {number}, got {header.number}")
    return header


def _header(reply: Any) -> Header:
    return Header(
        _int(reply, "number"),
        _bytes(reply, "hash", 32),
        _bytes(reply, "parentHash", 32),
        _int(reply, "timestamp"),
        int.from_bytes(_bytes(reply, "logsBloom", 256), "big"),
    )


def _log(reply: Any, contracts: Contracts) -> Log:
    try:
        topics = tuple(bytes.fromhex(topic[2:]) for topic in reply["topics"])
        data = bytes.fromhex(reply["data"][2:])
    except (KeyError, TypeError, ValueError):
        raise ChainUnavailable("the endpoint sent a log without topics or data") from None
    address = _bytes(reply, "address", 20)
    contract = contracts.names.get(address)
    if contract is None or reply.get("removed"):
        raise ChainUnavailable("the endpoint sent a log that was not asked for")
    try:
        decode(contract, topics, data)
    except LogFormatError as error:
        raise ChainUnavailable(f"the endpoint sent a malformed log: {error.message}") from None
    return Log(
        _int(reply, "blockNumber"),
        _int(reply, "logIndex"),
        _bytes(reply, "blockHash", 32),
        _bytes(reply, "transactionHash", 32),
        _int(reply, "transactionIndex"),
        contract,
        address,
        topics,
        data,
    )


def _int(reply: Any, key: str) -> int:
    try:
        value = int(reply[key], 16)
    except (KeyError, TypeError, ValueError):
        raise ChainUnavailable(f"the endpoint sent no usable {key}") from None
    if not 0 <= value < 1 << 63:
        raise ChainUnavailable(f"the endpoint sent {key} {value}")
    return value


def _bytes(reply: Any, key: str, size: int) -> bytes:
    try:
        value = bytes.fromhex(reply[key].removeprefix("0x"))
    except (KeyError, TypeError, ValueError, AttributeError):
        value = b""
    if len(value) != size:
        raise ChainUnavailable(f"the endpoint sent no usable {key}")
    return value


def read_plan(node: Node, ledger: bytes, plan_id: int) -> bytes:
    """The 19 words of PlanTerms, out of the 24 of ``LicenseLedger.planOf``.

    Asked at the head, since a plan's terms never change and few endpoints keep old states.
    """
    data = _PLAN_OF + plan_id.to_bytes(32, "big").hex()
    call = {"to": "0x" + ledger.hex(), "data": data}
    (reply,) = node.batch([("eth_call", [call, "latest"])])
    return _bytes({"planOf": reply}, "planOf", 24 * 32)[: 19 * 32]


def read_model(node: Node, registry: bytes, model_id: bytes) -> bytes:
    """The 5 words of ``ModelRegistry.modelOf``: whether a commitment was proven is in no event."""
    call = {"to": "0x" + registry.hex(), "data": _MODEL_OF + model_id.hex()}
    (reply,) = node.batch([("eth_call", [call, "latest"])])
    return _bytes({"modelOf": reply}, "modelOf", 5 * 32)


def genesis(node: Node) -> tuple[int, Digest]:
    """The endpoint's chain id and the hash of its block 0."""
    chain_id, block = node.batch([("eth_chainId", []), ("eth_getBlockByNumber", ["0x0", False])])
    if block is None:
        raise ChainUnavailable("the endpoint has no block 0")
    return _int({"chainId": chain_id}, "chainId"), Digest(_bytes(block, "hash", 32))
