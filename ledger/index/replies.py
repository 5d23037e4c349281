"""An endpoint's answers, out of JSON into blocks and logs, believed only where they fit.

Apart from asking, since it changes with what endpoints write and with how fast a backfill has to
be, never with what is asked for. It knows no endpoint: it is given answers.

Answers are decoded by msgspec straight into the structs below: of a log's 16 fields the ten that
matter are looked at, once. A log is decoded here, in the thread that read it, and nowhere again.
"""

from __future__ import annotations

import itertools
from binascii import unhexlify
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec.structs import force_setattr

from ledger.errors import ChainUnavailable, LogFormatError
from ledger.index.blocks import Header, Log
from ledger.index.contracts import Contracts
from ledger.index.decode import EventType

T = TypeVar("T")
_NUMBERS = 1 << 63
_TOPIC_CHARS = 66
_PREFIX = np.frombuffer(b"0x", np.uint8)


class _HeaderReply(msgspec.Struct, rename="camel", gc=False):
    number: str
    hash: str
    parent_hash: str
    timestamp: str
    logs_bloom: str


class LogReply(msgspec.Struct, rename="camel", gc=False):
    """A log as an endpoint writes it."""

    address: str
    topics: list[str]
    data: str
    block_hash: str
    block_number: str
    transaction_hash: str
    transaction_index: str
    log_index: str
    removed: bool = False


class ReceiptReply(msgspec.Struct, rename="camel", gc=False):
    """A receipt as an endpoint writes it, as far as its logs go."""

    block_hash: str
    logs: list[LogReply]


_HEADER = msgspec.json.Decoder(_HeaderReply | None)
_LOGS = msgspec.json.Decoder(list[LogReply])
_RECEIPTS = msgspec.json.Decoder(list[ReceiptReply])


def header_of(reply: Any) -> Header | None:
    """A block's header; None where the endpoint has no such block.

    Raises:
        ChainUnavailable: no usable one.
    """
    shown = _typed(reply, _HEADER, "block")
    if shown is None:
        return None
    return Header(
        number_of(shown.number, "number"),
        bytes_of(shown.hash, "hash", 32),
        bytes_of(shown.parent_hash, "parentHash", 32),
        number_of(shown.timestamp, "timestamp"),
        int.from_bytes(bytes_of(shown.logs_bloom, "logsBloom", 256), "big"),
    )


def numbered(header: Header | None, number: int) -> Header:
    """The header, which must be there and under the number that was asked for.

    Raises:
        ChainUnavailable: it is not.
    """
    if header is None:
        raise ChainUnavailable(f"the endpoint has no block {number} yet")
    if header.number != number:
        raise ChainUnavailable(f"asked for block {number}, got {header.number}")
    return header


def shown_logs(reply: Any) -> list[LogReply]:
    """The logs of an answer, each with the fields that matter and none of them read yet.

    Raises:
        ChainUnavailable: no usable ones.
    """
    return _typed(reply, _LOGS, "logs")


def shown_receipts(reply: Any) -> list[ReceiptReply]:
    """The receipts of an answer, likewise.

    Raises:
        ChainUnavailable: no usable ones.
    """
    return _typed(reply, _RECEIPTS, "receipts")


def logs_of(
    shown: Sequence[LogReply], contracts: Contracts, headers: Sequence[Header]
) -> list[Log]:
    """Logs decoded and in order, each of one of these blocks.

    Raises:
        ChainUnavailable: one is malformed, out of order, not asked for, or of another block.
    """
    blocks = {hex(h.number): (h.number, "0x" + h.hash.hex(), h.hash, h.time) for h in headers}
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
            block = blocks.get(block_text) or blocks.get(hex(number_of(block_text, "block")))
        if block is None or (log.block_hash != block[1] and log.block_hash.lower() != block[1]):
            raise ChainUnavailable(f"a log names block {log.block_number[:20]} with another hash")
        number, _, block_hash, time = block
        log_index = places.get(log.log_index, -1)
        if log_index < 0:
            log_index = places[log.log_index] = number_of(log.log_index, "logIndex")
        if number < before or (number == before and log_index <= before_index):
            raise ChainUnavailable(f"the logs of block {number} are out of order or doubled")
        before, before_index = number, log_index
        ours = known.get(log.address) or known.get(log.address.lower())
        if ours is None or log.removed:
            raise ChainUnavailable("the endpoint sent a log that was not asked for")
        if log.transaction_hash != tx_text:
            tx_text = log.transaction_hash
            tx_hash = bytes_of(tx_text, "transactionHash", 32)
        if log.transaction_index != index_text:
            index_text = log.transaction_index
            tx_index = number_of(index_text, "transactionIndex")
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


def _contents(logs: Sequence[LogReply]) -> Iterator[tuple[bytes, bytes]]:
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


def _typed(reply: Any, decoder: msgspec.json.Decoder[T], what: str) -> T:
    try:
        if isinstance(reply, msgspec.Raw):
            return decoder.decode(reply)
        return msgspec.convert(reply, decoder.type)
    except msgspec.ValidationError as error:
        raise ChainUnavailable(f"the endpoint sent no usable {what}: {error}") from None
    except msgspec.DecodeError:
        raise ChainUnavailable(f"the endpoint sent {what} that are no JSON") from None


def number_of(text: str, what: str) -> int:
    """A number out of hexadecimal text, below 2^63.

    Raises:
        ChainUnavailable: no usable `what`.
    """
    try:
        value = int(text, 16)
    except ValueError:
        value = -1
    if not 0 <= value < _NUMBERS:
        raise ChainUnavailable(f"the endpoint sent no usable {what}")
    return value


def bytes_of(text: str, what: str, size: int) -> bytes:
    """Just `size` bytes out of hexadecimal text.

    Raises:
        ChainUnavailable: no usable `what`.
    """
    try:
        value = unhexlify(text.removeprefix("0x"))
    except ValueError:
        value = b""
    if len(value) != size:
        raise ChainUnavailable(f"the endpoint sent no usable {what}")
    return value
