"""Read a range of blocks from one endpoint, and believe it only where it is consistent.

One JSON-RPC batch asks for the headers and the logs of a range, so that one backend answers both.
What comes back is checked before anything is stored:

(1) every block of the range is there, under its own number;
(2) each names the one before as its parent;
(3) each log belongs to one of these blocks, and places strictly rise;
(4) where logs may be missing, the block's receipts decide (`ledger.index.receipts`).

A failed check means "ask again", never "believe half": the error is `ChainUnavailable`.

Replies are decoded by msgspec straight into the structs below: of a log's 16 fields the ten that
matter are looked at, once. A log is decoded here, in the thread that read it, and nowhere again.
"""

from __future__ import annotations

import itertools
from binascii import unhexlify
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np
from msgspec.structs import force_setattr

from ledger.errors import ChainUnavailable, LogFormatError, RpcRefused
from ledger.ids import Address, Digest, keccak256
from ledger.index.bloom import bloom_mask
from ledger.index.decode import EVENTS, EventType, Stored
from ledger.index.fold_licenses import plan_digest
from ledger.index.receipts import Rule, complete

HEADERS_PER_BATCH = 100
_MODEL_OF = "0x" + keccak256(b"modelOf(bytes32)")[:4].hex()
_PLAN_OF = "0x" + keccak256(b"planOf(uint32)")[:4].hex()
T = TypeVar("T")
_NUMBERS = 1 << 63
_TOPIC_CHARS = 66
_PREFIX = np.frombuffer(b"0x", np.uint8)


class Node(Protocol):
    """The part of `ledger.chain.rpc.Rpc` that the index needs.

    A node that also has `Rpc.batch_undecoded` is read by it, which is several times faster.
    """

    def batch(self, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        """Results in order; any failed member fails the batch.

        Raises:
            ChainUnavailable: no usable answer.
        """
        ...


class Header(msgspec.Struct, frozen=True, gc=False):
    """The fields of a block header that following needs. `time` is in Unix seconds."""

    number: int
    hash: bytes
    parent_hash: bytes
    time: int
    bloom: int


class Log(msgspec.Struct, frozen=True, gc=False):
    """One log as the chain holds it, decoded.

    Attributes:
        time: its block's, Unix seconds.
        contract: our name for its address.
        topics: 32 bytes each, one after the other.
        event: None where the first topic is no event known here.
        arguments: in the order of `EventType.names`.
    """

    block: int
    time: int
    log_index: int
    block_hash: bytes
    tx_hash: bytes
    tx_index: int
    contract: str
    address: bytes
    topics: bytes
    data: bytes
    event: EventType | None
    arguments: tuple[Stored, ...]

    @property
    def values(self) -> dict[str, Stored]:
        """Its arguments by name."""
        names = () if self.event is None else self.event.names
        return dict(zip(names, self.arguments, strict=True))


@dataclass(frozen=True, slots=True)
class Heads:
    """Where the endpoint stands: its latest header, and the numbers it calls safe and finalized.

    Attributes:
        final_hash: of block `finalized`; None where that is a mere number.
        safe_hash: of block `safe`, likewise.
    """

    latest: Header
    safe: int
    finalized: int
    final_hash: bytes | None = None
    safe_hash: bytes | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """A closed range of blocks that was read and passed every check.

    Attributes:
        answers: by (block, log index), what an event leaves out (`read_beside`).
    """

    headers: list[Header]
    logs: list[Log]
    answers: dict[tuple[int, int], bytes]

    @property
    def count(self) -> int:
        """Logs in it."""
        return len(self.logs)

    @property
    def first(self) -> int:
        """Number of its first block."""
        return self.headers[0].number

    @property
    def last(self) -> int:
        """Number of its last block."""
        return self.headers[-1].number


_Known = dict[str, tuple[str, bytes, dict[str, EventType]]]


@dataclass(frozen=True, slots=True)
class Contracts:
    """The four contracts by address, with their bloom masks worked out once.

    Attributes:
        names: our name of each contract, by address.
        known: by address as text: name, address, and the events by topic 0 as text.
        masks: bits of each address, and of each of its events.
    """

    names: dict[bytes, str]
    known: _Known
    masks: tuple[tuple[int, tuple[tuple[EventType, int], ...]], ...]

    @classmethod
    def of(cls, addresses: Mapping[str, Address]) -> Contracts:
        """The contracts that the index knows, out of a deployment's addresses."""
        names = {address.raw: name for name, address in addresses.items() if name in EVENTS}
        known: _Known = {
            _text(raw): (name, raw, {_text(topic): kind for topic, kind in EVENTS[name].items()})
            for raw, name in names.items()
        }
        masks = tuple(
            (
                bloom_mask(address),
                tuple((kind, bloom_mask(topic)) for topic, kind in EVENTS[name].items()),
            )
            for address, name in names.items()
        )
        return cls(names, known, masks)

    def query(self, first: int, last: int, address: bytes | None = None) -> dict[str, Any]:
        """The filter of eth_getLogs for the closed range of blocks, of one contract or all."""
        asked = self.names if address is None else (address,)
        return {
            "fromBlock": hex(first),
            "toBlock": hex(last),
            "address": [_text(each) for each in asked],
        }

    def hidden(self, bloom: int, present: set[EventType]) -> bool:
        """Whether a bloom claims an event of ours that is not among `present`."""
        for mask, kinds in self.masks:
            if bloom & mask != mask:
                continue
            for kind, bits in kinds:
                if bloom & bits == bits and kind not in present:
                    return True
        return False


class _HeaderReply(msgspec.Struct, rename="camel", gc=False):
    number: str
    hash: str
    parent_hash: str
    timestamp: str
    logs_bloom: str


class _LogReply(msgspec.Struct, rename="camel", gc=False):
    address: str
    topics: list[str]
    data: str
    block_hash: str
    block_number: str
    transaction_hash: str
    transaction_index: str
    log_index: str
    removed: bool = False


class _ReceiptReply(msgspec.Struct, rename="camel", gc=False):
    block_hash: str
    logs: list[_LogReply]


_HEADER = msgspec.json.Decoder(_HeaderReply | None)
_LOGS = msgspec.json.Decoder(list[_LogReply])
_RECEIPTS = msgspec.json.Decoder(list[_ReceiptReply])
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
    shown = [_header(reply) for reply in replies]
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
    header = _header(reply)
    return None if header is None else _numbered(header, number)


def read_headers(node: Node, numbers: Sequence[int]) -> list[Header | None]:
    """Headers by number, in one batch; None where the endpoint has no such block."""
    replies = _ask(node, [(_BLOCK, [hex(number), False]) for number in numbers])
    headers = [_header(reply) for reply in replies]
    return [
        None if header is None else _numbered(header, number)
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
    return headers, complete(node, contracts, headers, logs, rule=rule, read=read_logs)


def _read_batch(
    node: Node, contracts: Contracts, first: int, last: int
) -> tuple[list[Header], list[Log]]:
    """Headers and logs of a few blocks, in one batch: one backend, one moment."""
    calls: list[tuple[str, list[Any]]] = [
        (_BLOCK, [hex(number), False]) for number in range(first, last + 1)
    ]
    try:
        replies = _ask(node, [*calls, ("eth_getLogs", [contracts.query(first, last)])])
        shown = _typed(replies.pop(), _LOGS, "logs")
    except RpcRefused:
        if first != last:
            raise
        replies, shown = _read_crowded(node, contracts, first)
    headers = [
        _numbered(_header(reply), number)
        for reply, number in zip(replies, range(first, last + 1), strict=True)
    ]
    return headers, _logs(shown, contracts, headers)


def _read_crowded(
    node: Node, contracts: Contracts, number: int
) -> tuple[list[Any], list[_LogReply]]:
    """One block whose logs are refused at once: contract by contract, else by its receipts."""
    header = (_BLOCK, [hex(number), False])
    queries = [contracts.query(number, number, address) for address in contracts.names]
    try:
        reply, *parts = _ask(node, [header, *(("eth_getLogs", [query]) for query in queries)])
        shown = [log for part in parts for log in _typed(part, _LOGS, "logs")]
        return [reply], sorted(shown, key=lambda log: _int(log.log_index, "logIndex"))
    except RpcRefused:
        reply, receipts = _ask(node, [header, ("eth_getBlockReceipts", [hex(number)])])
        return [reply], [
            log
            for receipt in _typed(receipts, _RECEIPTS, "receipts")
            for log in receipt.logs
            if log.address.lower() in contracts.known
        ]


def _ask(node: Node, calls: list[tuple[str, list[Any]]]) -> list[Any]:
    undecoded = getattr(node, "batch_undecoded", None)
    return list(node.batch(calls) if undecoded is None else undecoded(calls))


def _typed(reply: Any, decoder: msgspec.json.Decoder[T], what: str) -> T:
    try:
        if isinstance(reply, msgspec.Raw):
            return decoder.decode(reply)
        return msgspec.convert(reply, decoder.type)
    except msgspec.ValidationError as error:
        raise ChainUnavailable(f"the endpoint sent no usable {what}: {error}") from None
    except msgspec.DecodeError:
        raise ChainUnavailable(f"the endpoint sent {what} that are no JSON") from None


def _logs(shown: Sequence[_LogReply], contracts: Contracts, headers: Sequence[Header]) -> list[Log]:
    """Logs decoded and in order, each of one of these blocks.

    Raises:
        ChainUnavailable: one is malformed, out of order, not asked for, or of another block.
    """
    blocks = {hex(h.number): (h.number, _text(h.hash), h.hash, h.time) for h in headers}
    known = contracts.known
    found: list[Log] = []
    named: dict[EventType, list[Log]] = {}
    before, before_index = -1, -1
    block, block_text = None, ""
    # The same few in each block.
    places: dict[str, int] = {}
    tx_text, tx_hash, index_text, tx_index = "", b"", "", 0
    for log, (topics, data) in zip(shown, _contents(shown), strict=True):
        if block is None or log.block_number != block_text:
            block_text = log.block_number
            block = blocks.get(block_text) or blocks.get(hex(_int(block_text, "block")))
        if block is None or (log.block_hash != block[1] and log.block_hash.lower() != block[1]):
            raise ChainUnavailable(f"a log names block {log.block_number[:20]} with another hash")
        number, _, block_hash, time = block
        log_index = places.get(log.log_index, -1)
        if log_index < 0:
            log_index = places[log.log_index] = _int(log.log_index, "logIndex")
        if number < before or (number == before and log_index <= before_index):
            raise ChainUnavailable(f"the logs of block {number} are out of order or doubled")
        before, before_index = number, log_index
        ours = known.get(log.address) or known.get(log.address.lower())
        if ours is None or log.removed:
            raise ChainUnavailable("the endpoint sent a log that was not asked for")
        if log.transaction_hash != tx_text:
            tx_text = log.transaction_hash
            tx_hash = _bytes(tx_text, "transactionHash", 32)
        if log.transaction_index != index_text:
            index_text = log.transaction_index
            tx_index = _int(index_text, "transactionIndex")
        contract, address, events = ours
        event = None
        if topics:
            first = log.topics[0]
            event = events.get(first) or events.get(first.lower())
        one = Log(
            number,
            time,
            log_index,
            block_hash,
            tx_hash,
            tx_index,
            contract,
            address,
            topics,
            data,
            event,
            (),
        )
        found.append(one)
        if event is not None:
            named.setdefault(event, []).append(one)
    _read_arguments(named)
    return found


def _read_arguments(named: Mapping[EventType, Sequence[Log]]) -> None:
    """Give each of these logs, which are just made, its arguments; those of one event at once."""
    for event, logs in named.items():
        try:
            read = event.arguments_of([(log.topics, log.data) for log in logs])
        except LogFormatError as error:
            raise ChainUnavailable(f"the endpoint sent a malformed log: {error.message}") from None
        for log, arguments in zip(logs, read, strict=True):
            force_setattr(log, "arguments", arguments)


def read_logs(shown: Sequence[Any], contracts: Contracts, header: Header) -> list[Log]:
    """One block's logs out of their JSON objects (`ledger.index.receipts`).

    Raises:
        ChainUnavailable: as `read_range`.
    """
    replies: list[_LogReply] = _typed(list(shown), _LOGS, "logs")
    return _logs(replies, contracts, [header])


def _contents(logs: Sequence[_LogReply]) -> Iterator[tuple[bytes, bytes]]:
    """Of each log its topics, one after the other, and its data; all read at once.

    Raises:
        ChainUnavailable: a topic has not 32 bytes, or something is not hexadecimal.
    """
    counts = [len(log.topics) for log in logs]
    joined = "".join(itertools.chain.from_iterable([log.topics for log in logs]))
    if len(joined) != _TOPIC_CHARS * sum(counts):
        raise ChainUnavailable("the endpoint sent a topic that has not 32 bytes")
    rest = "".join([log.data[2:] for log in logs if log.data[:2] == "0x"])
    sizes = [len(log.data) for log in logs]
    # Two of odd length would take digits from each other.
    whole = len(rest) == sum(sizes) - 2 * len(logs) and 1 not in [size & 1 for size in sizes]
    chars = np.frombuffer(joined.encode("ascii", "replace"), np.uint8).reshape(-1, _TOPIC_CHARS)
    try:
        topics, data = unhexlify(chars[:, 2:].tobytes()), unhexlify(rest)
    except ValueError:
        whole = False
    # No hex digit is an x: where every 66 characters begin with 0x, each topic has as many.
    if not whole or not (chars[:, :2] == _PREFIX).all():
        raise ChainUnavailable("the endpoint sent a log that is not hexadecimal")
    begin = start = 0
    for count, size in zip(counts, sizes, strict=True):
        end, stop = begin + 32 * count, start + (size >> 1) - 1
        yield topics[begin:end], data[start:stop]
        begin, start = end, stop


def _numbered(header: Header | None, number: int) -> Header:
    if header is None:
        raise ChainUnavailable(f"the endpoint has no block {number} yet")
    if header.number != number:
        raise ChainUnavailable(f"asked for block {number}, got {header.number}")
    return header


def _header(reply: Any) -> Header | None:
    shown = _typed(reply, _HEADER, "block")
    if shown is None:
        return None
    return Header(
        _int(shown.number, "number"),
        _bytes(shown.hash, "hash", 32),
        _bytes(shown.parent_hash, "parentHash", 32),
        _int(shown.timestamp, "timestamp"),
        int.from_bytes(_bytes(shown.logs_bloom, "logsBloom", 256), "big"),
    )


def _int(text: str, what: str) -> int:
    try:
        value = int(text, 16)
    except ValueError:
        value = -1
    if not 0 <= value < _NUMBERS:
        raise ChainUnavailable(f"the endpoint sent no usable {what}")
    return value


def _text(raw: bytes) -> str:
    return "0x" + raw.hex()


def _bytes(text: str, what: str, size: int) -> bytes:
    try:
        value = unhexlify(text.removeprefix("0x"))
    except ValueError:
        value = b""
    if len(value) != size:
        raise ChainUnavailable(f"the endpoint sent no usable {what}")
    return value


def read_beside(node: Node, logs: Sequence[Log]) -> dict[tuple[int, int], bytes]:
    """What events leave out: a plan's terms, a commitment proven in the registration's second.

    Raises:
        ChainUnavailable: an answer does not fit its event; ask again.
    """
    answers: dict[tuple[int, int], bytes] = {}
    for log in logs:
        name = "" if log.event is None else log.event.name
        if name == "PlanCreated":
            answers[log.block, log.log_index] = _read_terms(node, log)
        elif name == "ModelRegistered" and log.values["committedAt"] == log.values["registeredAt"]:
            answer = read_model(node, log.address, log.topics[32:64])
            if not any(answer):
                raise ChainUnavailable("the endpoint shows a registration and no such model")
            answers[log.block, log.log_index] = answer
    return answers


def _read_terms(node: Node, log: Log) -> bytes:
    values = log.values
    plan_id, licensor = values["planId"], values["licensor"]
    assert isinstance(plan_id, int)
    assert isinstance(licensor, bytes)
    answer = read_plan(node, log.address, plan_id)
    # The event carries a digest of the terms, so the endpoint need not be believed.
    if plan_digest(licensor, answer) != values["planDigest"]:
        raise ChainUnavailable(f"the endpoint shows other terms of plan {plan_id}")
    return answer


def read_plan(node: Node, ledger: bytes, plan_id: int) -> bytes:
    """The 19 words of PlanTerms, out of the 24 of ``LicenseLedger.planOf``.

    Asked at the head, since a plan's terms never change and few endpoints keep old states.
    """
    return _call(node, ledger, _PLAN_OF + plan_id.to_bytes(32, "big").hex(), 24)[: 19 * 32]


def read_model(node: Node, registry: bytes, model_id: bytes) -> bytes:
    """The 5 words of ``ModelRegistry.modelOf``: whether a commitment was proven is in no event."""
    return _call(node, registry, _MODEL_OF + model_id.hex(), 5)


def _call(node: Node, to: bytes, data: str, words: int) -> bytes:
    (reply,) = node.batch([("eth_call", [{"to": _text(to), "data": data}, "latest"])])
    if not isinstance(reply, str):
        raise ChainUnavailable("the endpoint sent no usable answer to a call")
    return _bytes(reply, "answer to a call", 32 * words)


def genesis(node: Node) -> tuple[int, Digest]:
    """The endpoint's chain id and the hash of its block 0."""
    chain_id, block = node.batch([("eth_chainId", []), (_BLOCK, ["0x0", False])])
    header = _header(block)
    if header is None:
        raise ChainUnavailable("the endpoint has no block 0")
    if not isinstance(chain_id, str):
        raise ChainUnavailable("the endpoint sent no usable chainId")
    return _int(chain_id, "chainId"), Digest(header.hash)
