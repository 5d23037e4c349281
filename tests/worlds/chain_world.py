"""An in-memory chain that does what a test says, served as JSON-RPC over real HTTP.

Every block has a header that hashes, a bloom and a root of RLP receipts, as Ethereum's has, and
holds the events of our contracts among a stranger's. The chain can drop any number of its blocks
for others, return to a branch it left, and shrink. It knows nothing of the code under test but the
declarations of the events. ``endpoint_world`` puts faults between the chain and who asks.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import rlp
from fault_world import Change, forged, other_chain_id
from story_world import ADDRESSES, STRANGER, Emitted, State, Story, hash_
from trie.hexary import HexaryTrie

from ledger.ids import Address, Digest

__all__ = ["Change", "Emitted", "forged", "other_chain_id"]  # what tests take from here
CHAIN_ID = 424242
Json = dict[str, Any]


def hex_(data: bytes) -> str:
    return "0x" + data.hex()


# -- blocks --------------------------------------------------------------------------------------


@lru_cache(maxsize=1 << 14)
def _bits(value: bytes) -> int:
    digest = hash_(value)
    return sum({1 << (int.from_bytes(digest[i : i + 2], "big") & 2047) for i in (0, 2, 4)})


def bloom(logs: Sequence[Emitted]) -> bytes:
    mask = 0
    for log in logs:
        for value in (log.address, *log.topics):
            mask |= _bits(value)
    return mask.to_bytes(256, "big")


def trie_root(items: Sequence[bytes]) -> bytes:
    tree = HexaryTrie({})
    for index, item in enumerate(items):
        tree[rlp.encode(index)] = item
    return bytes(tree.root_hash)


_EMPTY = {"miner": bytes(20), "extraData": b"", "mixHash": bytes(32), "nonce": bytes(8)}


@dataclass(frozen=True)
class Block:
    """One block: its JSON header, receipts and logs, and what the contracts hold after it."""

    number: int
    hash: bytes
    parent: Block | None = field(repr=False)
    header: Json = field(repr=False)
    receipts: list[Json] = field(repr=False)
    logs: list[Json] = field(repr=False)
    state: State = field(repr=False)

    @property
    def time(self) -> int:
        return int(self.header["timestamp"], 16)


def make_block(
    parent: Block | None,
    transactions: Sequence[Sequence[Emitted]],
    state: State,
    *,
    salt: bytes,
    time: int,
) -> Block:
    """A block on `parent` with one receipt a transaction."""
    number = 0 if parent is None else parent.number + 1
    encoded, receipts, gas = [], [], 0
    for index, logs in enumerate(transactions):
        gas += 21000 + 1000 * len(logs)
        own = bloom(logs)
        body = rlp.encode(
            [1, gas, own, [[log.address, list(log.topics), log.data] for log in logs]]
        )
        encoded.append(b"\x02" + body)
        receipts.append((own, gas, logs, hash_(salt + number.to_bytes(8, "big") + bytes([index]))))
    every = [log for logs in transactions for log in logs]
    header: Json = {
        "parentHash": hex_(parent.hash if parent else bytes(32)),
        "sha3Uncles": hex_(hash_(rlp.encode([]))),
        "miner": hex_(_EMPTY["miner"]),
        "stateRoot": hex_(hash_(salt + b"state")),
        "transactionsRoot": hex_(hash_(salt + b"transactions")),
        "receiptsRoot": hex_(trie_root(encoded)),
        "logsBloom": hex_(bloom(every)),
        "difficulty": "0x0",
        "number": hex(number),
        "gasLimit": hex(30_000_000),
        "gasUsed": hex(gas),
        "timestamp": hex(time),
        "extraData": hex_(salt),
        "mixHash": hex_(_EMPTY["mixHash"]),
        "nonce": hex_(_EMPTY["nonce"]),
        "baseFeePerGas": "0x7",
        "withdrawalsRoot": hex_(trie_root([])),
        "blobGasUsed": "0x0",
        "excessBlobGas": "0x0",
        "parentBeaconBlockRoot": hex_(bytes(32)),
    }
    block_hash = header_hash(header)
    header |= {"hash": hex_(block_hash), "transactions": [hex_(tx) for *_, tx in receipts]}
    shown, all_logs = [], []
    for index, (own, used, logs, tx) in enumerate(receipts):
        placed = [
            {
                "address": hex_(log.address),
                "topics": [hex_(topic) for topic in log.topics],
                "data": hex_(log.data),
                "blockNumber": hex(number),
                "blockHash": hex_(block_hash),
                "transactionHash": hex_(tx),
                "transactionIndex": hex(index),
                "logIndex": hex(len(all_logs) + at),
                "removed": False,
            }
            for at, log in enumerate(logs)
        ]
        all_logs += placed
        shown.append(
            {
                "transactionHash": hex_(tx),
                "transactionIndex": hex(index),
                "blockHash": hex_(block_hash),
                "blockNumber": hex(number),
                "type": "0x2",
                "status": "0x1",
                "cumulativeGasUsed": hex(used),
                "logsBloom": hex_(own),
                "logs": placed,
            }
        )
    return Block(number, block_hash, parent, header, shown, all_logs, state)


_QUANTITIES = {
    "difficulty",
    "number",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "baseFeePerGas",
    "blobGasUsed",
    "excessBlobGas",
}
_NOT_HASHED = {"hash", "transactions"}


def header_hash(header: Json) -> bytes:
    """The hash of the fields, which stand in their RLP order."""
    fields = []
    for name, value in header.items():
        if name in _NOT_HASHED:
            continue
        if name in _QUANTITIES:
            number = int(value, 16)
            fields.append(number.to_bytes((number.bit_length() + 7) // 8, "big"))
        else:
            fields.append(bytes.fromhex(value[2:]))
    return hash_(rlp.encode(fields))


@dataclass(frozen=True)
class View:
    """The chain at one moment, which no later change touches."""

    blocks: tuple[Block, ...]
    finalized: int | None

    @property
    def head(self) -> Block:
        return self.blocks[-1]


class Chain:
    """A chain that a test drives; thread-safe.

    Args:
        seed: of everything random on it.
        final_depth: blocks below the head that are finalized; None: the tag has no block.
        strangers: how often other contracts' logs stand among ours.
        chain_id: EIP-155 id.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        final_depth: int | None = 64,
        strangers: float = 0.3,
        chain_id: int = CHAIN_ID,
    ) -> None:
        self.rng = random.Random(seed)
        self.story = Story(self.rng)
        self.final_depth = final_depth
        self.final_floor = 0
        self.strangers = strangers
        self.chain_id = chain_id
        self.lock = threading.RLock()
        genesis = make_block(None, [], State(), salt=self.rng.randbytes(8), time=1_700_000_000)
        self._blocks = [genesis]
        self.events = 0
        self.highest = 0

    # -- changing it

    def grow(
        self,
        blocks: int = 1,
        *,
        busy: float = 1.0,
        most: int = 3,
        step: int = 12,
        transactions: Sequence[Sequence[Emitted]] | None = None,
    ) -> Block:
        """Add blocks; the new head.

        Args:
            blocks: how many.
            busy: the share of them that hold transactions.
            most: transactions in one of these.
            step: seconds between two blocks.
            transactions: what each holds instead.
        """
        with self.lock:
            for _ in range(blocks):
                parent = self._blocks[-1]
                state, time = parent.state.copy(), parent.time + step
                made: list[Sequence[Emitted]] = list(transactions or ())
                if transactions is None and self.rng.random() < busy:
                    made += [
                        self._with_strangers(self.story.transaction(state, time))
                        for _ in range(self.rng.randrange(1, most + 1))
                    ]
                block = make_block(parent, made, state, salt=self.rng.randbytes(8), time=time)
                self.events += sum(1 for log in block.logs if log["address"] != hex_(STRANGER))
                self._blocks.append(block)
                self.highest = max(self.highest, block.number)
            return self._blocks[-1]

    def _with_strangers(self, logs: list[Emitted]) -> list[Emitted]:
        mixed = []
        for log in logs:
            if self.rng.random() < self.strangers:
                mixed.append(self.story.stranger())
            mixed.append(log)
        if self.rng.random() < self.strangers:
            mixed.append(self.story.stranger())
        return mixed

    def drop(self, depth: int) -> None:
        """Take the last blocks away: the chain is shorter."""
        with self.lock:
            depth = min(depth, len(self._blocks) - 1)
            if depth:
                del self._blocks[-depth:]

    def reorg(self, depth: int, blocks: int | None = None, **grow: Any) -> View:
        """Other blocks in place of the last `depth`; the view of the branch that was left."""
        with self.lock:
            old = self.view()
            self.drop(depth)
            self.grow(depth if blocks is None else blocks, **grow)
            return old

    def restore(self, view: View) -> None:
        """Back to a branch that was left."""
        with self.lock:
            self._blocks = list(view.blocks)

    # -- asking it

    def view(self) -> View:
        """The chain now."""
        with self.lock:
            final = None
            if self.final_depth is not None:
                final = max(0, self._blocks[-1].number - self.final_depth, self.final_floor)
            return View(tuple(self._blocks), final)

    @property
    def head(self) -> Block:
        with self.lock:
            return self._blocks[-1]

    def logs(self, first: int = 0) -> list[tuple[int, int, bytes, bytes, bytes]]:
        """All logs of our contracts: what an index of this chain must hold."""
        ours = {hex_(address.raw) for address in ADDRESSES.values()}
        return [
            (
                block.number,
                int(log["logIndex"], 16),
                block.hash,
                b"".join(bytes.fromhex(topic[2:]) for topic in log["topics"]),
                bytes.fromhex(log["data"][2:]),
            )
            for block in self.view().blocks[first:]
            for log in block.logs
            if log["address"] in ours
        ]


class Refused(Exception):
    """A JSON-RPC error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def answer(chain: Chain, view: View, question: Json) -> Any:
    """The result of one JSON-RPC request.

    Raises:
        Refused: a JSON-RPC error.
    """
    method, params = question["method"], question["params"]
    match method:
        case "eth_chainId" | "net_version":
            return hex(chain.chain_id)
        case "eth_blockNumber":
            return hex(view.head.number)
        case "eth_getBlockByNumber":
            block = _block(view, params[0])
            return None if block is None else block.header
        case "eth_getBlockByHash":
            found = [b for b in reversed(view.blocks) if hex_(b.hash) == params[0]]
            return found[0].header if found else None
        case "eth_getBlockReceipts":
            block = _block(view, params[0])
            return None if block is None else block.receipts
        case "eth_getTransactionReceipt":
            every = (r for b in reversed(view.blocks) for r in b.receipts)
            return next((r for r in every if r["transactionHash"] == params[0]), None)
        case "eth_getLogs":
            return _logs(view, params[0])
        case "eth_call":
            return _call(view, params[0])
        case "eth_getCode":
            return "0x6000"
    raise Refused(-32601, f"the method {method} does not exist")


def _block(view: View, which: str) -> Block | None:
    if which == "latest":
        return view.head
    if which == "earliest":
        return view.blocks[0]
    if which in {"safe", "finalized"}:
        return (
            None
            if view.finalized is None
            else view.blocks[min(view.finalized, len(view.blocks) - 1)]
        )
    number = int(which, 16)
    return view.blocks[number] if number < len(view.blocks) else None


def _logs(view: View, query: Json) -> list[Json]:
    if "blockHash" in query:
        found = [b for b in view.blocks if hex_(b.hash) == query["blockHash"]]
        if not found:
            raise Refused(-32000, "unknown block")
    else:
        first, last = _block(view, query["fromBlock"]), query["toBlock"]
        if first is None:
            raise Refused(-32602, "block range extends beyond current head block")
        # As nodes do: past the head the range is cut silently.
        top = _block(view, last) or view.head
        found = list(view.blocks[first.number : top.number + 1])
    wanted = query.get("address")
    addresses = None if wanted is None else {wanted} if isinstance(wanted, str) else set(wanted)
    topics = query.get("topics", [])
    return [
        log
        for block in found
        for log in block.logs
        if (addresses is None or log["address"] in addresses) and _matches(log["topics"], topics)
    ]


def _matches(topics: list[str], wanted: list[Any]) -> bool:
    for index, want in enumerate(wanted):
        if want is None:
            continue
        options = [want] if isinstance(want, str) else want
        if index >= len(topics) or topics[index] not in options:
            return False
    return True


_PLAN_OF = hash_(b"planOf(uint32)")[:4]
_MODEL_OF = hash_(b"modelOf(bytes32)")[:4]


def _call(view: View, call: Json) -> str:
    data = bytes.fromhex(call["data"][2:])
    state = view.head.state
    if data[:4] == _PLAN_OF:
        words = state.plans.get(int.from_bytes(data[4:36], "big"), bytes(24 * 32))
        return hex_(words)
    if data[:4] == _MODEL_OF:
        return hex_(state.models.get(data[4:36], bytes(5 * 32)))
    raise Refused(3, "execution reverted")


class Direct:
    """The chain itself as `ledger.index.blocks.Node`: no HTTP, no faults."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain

    def batch(self, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        view = self.chain.view()
        return [answer(self.chain, view, {"method": m, "params": p}) for m, p in calls]


# -- following it --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deployment:
    """A deployment manifest as far as following needs it."""

    chain_id: int
    genesis_hash: Digest
    block: int
    addresses: dict[str, Address]

    @classmethod
    def of(cls, chain: Chain, first: int = 1) -> Deployment:
        return cls(chain.chain_id, Digest(chain.view().blocks[0].hash), first, dict(ADDRESSES))


@dataclass(frozen=True)
class Profile:
    """A finality rule: a public network whose blocks `finality_depth` down are final."""

    test_network: bool = False
    finality_depth: int = 0
    proof_kind: str = "mpt"
