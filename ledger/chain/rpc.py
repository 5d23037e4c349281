"""Raw JSON-RPC: typed reads of blocks, code and contract calls, with failover between endpoints.

Reads, and calls whose repetition changes nothing, go to the next endpoint when one fails; anything
else is sent once, to one endpoint. Only httpx and the light base are needed.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import httpx

from ledger.chain import reverts
from ledger.chain.endpoint import MAX_REPLY_BYTES, Endpoint
from ledger.errors import (
    ChainError,
    ChainUnavailable,
    Reorganised,
    RpcRefused,
    UsageError,
    WrongNetwork,
)
from ledger.ids import Address, Digest

_T = TypeVar("_T")
BlockId = int | str | Digest
"""A number, a tag (latest, safe, finalized, earliest, pending), or a hash."""

_TAGS = {"latest", "safe", "finalized", "earliest", "pending"}
_REPEATABLE = ("eth_get", "eth_call", "eth_estimate", "eth_block", "eth_chain", "net_", "web3_")
# A signed transaction has one hash; sending it twice cannot execute it twice.
_REPEATABLE_NAMES = {"eth_sendRawTransaction", "eth_feeHistory", "eth_maxPriorityFeePerGas"}
# Codes by which nodes say "not here, not now" rather than "never": worth another endpoint.
_ELSEWHERE = {-32000, -32001, -32002, -32005, -32603}


@dataclass(frozen=True, slots=True)
class Block:
    """A header as an endpoint shows it; `raw` is the whole JSON object."""

    number: int
    hash: Digest
    parent_hash: Digest
    timestamp: int
    state_root: Digest
    receipts_root: Digest
    logs_bloom: bytes
    raw: dict[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Self:
        """Read an ``eth_getBlockBy…`` object.

        Raises:
            ChainError: a field is missing or malformed.
        """
        try:
            return cls(
                quantity(raw["number"]),
                Digest(data(raw["hash"])),
                Digest(data(raw["parentHash"])),
                quantity(raw["timestamp"]),
                Digest(data(raw["stateRoot"])),
                Digest(data(raw["receiptsRoot"])),
                data(raw["logsBloom"]),
                raw,
            )
        except (KeyError, UsageError):
            raise ChainError(
                "an endpoint showed a block with missing or malformed fields"
            ) from None


def quantity(value: Any) -> int:
    """A JSON-RPC quantity (``0x1f``) as an integer below 2^256.

    Raises:
        ChainError: anything else.
    """
    if isinstance(value, str) and value.startswith("0x") and 3 <= len(value) <= 66:
        try:
            return int(value, 16)
        except ValueError:
            pass
    raise ChainError(f"an endpoint sent {str(value)[:40]!r} where a number belongs")


def data(value: Any) -> bytes:
    """JSON-RPC data (``0x00ff``) as bytes.

    Raises:
        ChainError: anything else.
    """
    if isinstance(value, str) and value.startswith("0x"):
        try:
            return bytes.fromhex(value[2:])
        except ValueError:
            pass
    raise ChainError(f"an endpoint sent {str(value)[:40]!r} where 0x data belongs")


def block_param(block: BlockId) -> str | dict[str, Any]:
    """The JSON form of a block identifier; a hash asks for the canonical chain (EIP-1898)."""
    match block:
        case Digest():
            return {"blockHash": str(block), "requireCanonical": True}
        case int() if block >= 0:
            return hex(block)
        case str() if block in _TAGS:
            return block
    raise UsageError(f"{block!r} names no block", hint="give a number, a hash, or latest")


class Rpc:
    """A chain behind one or more endpoints. Thread-safe; connections are kept alive.

    Args:
        urls: one URL or several, in order of preference.
        timeout: seconds for one request, whole reply included.
        chain_id: when given, every endpoint must show this chain id before it is used.
        max_reply: bytes that one reply may have.
        transport: another httpx transport, for tests of odd servers.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        timeout: float = 10.0,
        chain_id: int | None = None,
        max_reply: int = MAX_REPLY_BYTES,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        listed = (urls,) if isinstance(urls, str) else tuple(urls)
        if not listed:
            raise UsageError("no RPC endpoint was given", hint="for example http://127.0.0.1:8545")
        self._endpoints = [
            Endpoint(url, timeout=timeout, max_reply=max_reply, transport=transport)
            for url in listed
        ]
        self.urls = listed
        self._made = (listed, timeout, chain_id, max_reply)
        self._transport = transport
        self._expected = chain_id
        self._preferred = 0
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Rpc({', '.join(self.hosts)})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        for endpoint in self._endpoints:
            endpoint.close()

    def abort(self) -> None:
        """Break off what is under way at every endpoint; later requests use new connections."""
        for endpoint in self._endpoints:
            endpoint.abort()

    @property
    def hosts(self) -> tuple[str, ...]:
        """The endpoints' hosts: what may be shown of their URLs."""
        return tuple(endpoint.host for endpoint in self._endpoints)

    def elsewhere(self) -> tuple[tuple[str, ...], float, int | None, int] | None:
        """What `opened` needs to make such a client in another process; None: it cannot be made.

        URLs may hold keys: for a pipe, not for arguments or the environment.
        """
        return None if self._transport is not None else self._made

    @classmethod
    def opened(cls, made: tuple[Sequence[str], float, int | None, int]) -> Self:
        """A client as another process has it (`elsewhere`)."""
        urls, timeout, chain_id, max_reply = made
        return cls(urls, timeout=timeout, chain_id=chain_id, max_reply=max_reply)

    # -- requests ------------------------------------------------------------------------------

    def call(self, method: str, params: Sequence[Any] = ()) -> Any:
        """One request; its ``result``.

        Raises:
            ContractReverted: the call reached a contract, which refused.
            RpcRefused: the endpoint answered with another error.
            ChainUnavailable: no endpoint answered.
            WrongNetwork: the endpoints that answered serve another chain.
        """
        repeatable = method.startswith(_REPEATABLE) or method in _REPEATABLE_NAMES
        request = self._request(method, params)

        def ask(endpoint: Endpoint) -> Any:
            return self._result(endpoint, method, endpoint.exchange(request, retry=repeatable))

        return self._served(ask, by_any=repeatable)

    def batch(self, requests: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """Several reads in one round trip, by one endpoint; their results in order.

        A node may run them concurrently and at different heads: name the block in each.

        Raises:
            ContractReverted, RpcRefused, ChainUnavailable, WrongNetwork: as `call`; the first
                failing request decides.
        """
        return self._batch(requests, _exchange_batch)

    def batch_undecoded(self, requests: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """As `batch`, but each result is left as JSON text (``msgspec.Raw``) for a typed decoder.

        Raises:
            ContractReverted, RpcRefused, ChainUnavailable, WrongNetwork: as `batch`.
        """
        from ledger.chain.undecoded import exchange_undecoded

        return self._batch(requests, exchange_undecoded)

    def _batch(
        self,
        requests: Sequence[tuple[str, Sequence[Any]]],
        exchange: Callable[[Endpoint, list[dict[str, Any]]], list[dict[str, Any]]],
    ) -> list[Any]:
        if not requests:
            return []
        for method, _ in requests:
            if not method.startswith(_REPEATABLE):
                raise UsageError(f"{method} changes something and cannot be part of a batch")
        payload = [self._request(method, params) for method, params in requests]

        def ask(endpoint: Endpoint) -> list[Any]:
            replies = exchange(endpoint, payload)
            return [
                self._result(endpoint, method, reply)
                for (method, _), reply in zip(requests, replies, strict=True)
            ]

        return self._served(ask)

    def raw(self, method: str, params: Sequence[Any] = ()) -> bytes:
        """One read; the whole reply's bytes, for a caller that decodes on a hot path.

        Raises:
            ChainUnavailable, WrongNetwork: as `call`; JSON-RPC errors stay in the bytes.
        """
        request = self._request(method, params)
        return self._served(lambda endpoint: endpoint.post(request, retry=True))

    def _served(self, ask: Callable[[Endpoint], _T], *, by_any: bool = True) -> _T:
        """What the first endpoint gives that serves; the preferred alone, unless `by_any`."""
        failure: Exception | None = None
        for index in self._order(all_of_them=by_any):
            endpoint = self._endpoints[index]
            try:
                self._identify(endpoint)
                answer = ask(endpoint)
            except (ChainUnavailable, WrongNetwork) as error:
                failure = _worse(failure, error)
            except RpcRefused as error:
                if error.rpc_code not in _ELSEWHERE:
                    raise
                failure = _worse(failure, error)
            else:
                self._preferred = index
                return answer
        assert failure is not None
        raise failure

    def _request(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        with self._lock:
            number = next(self._ids)
        return {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}

    def _order(self, *, all_of_them: bool) -> list[int]:
        first = self._preferred
        if not all_of_them:
            return [first]
        return [first, *(i for i in range(len(self._endpoints)) if i != first)]

    def _identify(self, endpoint: Endpoint) -> None:
        if endpoint.identified or self._expected is None:
            return
        reply = endpoint.exchange(self._request("eth_chainId", ()), retry=True)
        shown = quantity(self._result(endpoint, "eth_chainId", reply))
        if shown != self._expected:
            raise WrongNetwork(
                f"{endpoint.host} serves chain {shown}, but chain {self._expected} was expected",
                hint="check the network's RPC URLs with deed network list",
            )
        endpoint.identified = True

    def _result(self, endpoint: Endpoint, method: str, reply: dict[str, Any]) -> Any:
        error = reply.get("error")
        if error is None:
            return reply["result"]
        message = endpoint.shown(error.get("message", ""))
        code = error.get("code")
        raised = _revert_data(error)
        if raised is not None:
            raise reverts.decode(raised, message=message)
        raise RpcRefused(
            f"{endpoint.host} refused {method}: {message or 'no reason given'}",
            rpc_code=code if isinstance(code, int) else 0,
            rpc_message=message,
        )

    # -- typed reads ---------------------------------------------------------------------------

    def chain_id(self) -> int:
        """The chain id the preferred endpoint shows."""
        return quantity(self.call("eth_chainId"))

    def block(self, block: BlockId = "latest") -> Block:
        """The header of a block, without its transactions.

        Raises:
            Reorganised: a block asked for by hash is not there (any more).
            ChainError: a number or tag has no block (yet).
        """
        if isinstance(block, Digest):
            raw = self.call("eth_getBlockByHash", [str(block), False])
            if raw is None:
                raise Reorganised(
                    f"block {block.short} is not known to {self.hosts[self._preferred]}",
                    hint="the chain has moved on; ask again from a finalized block",
                )
        else:
            raw = self.call("eth_getBlockByNumber", [block_param(block), False])
            if raw is None:
                raise ChainError(f"there is no block {block} yet")
        if not isinstance(raw, dict):
            raise ChainError("an endpoint showed something that is not a block")
        return Block.of(raw)

    def eth_call(
        self, to: Address, data_: bytes, block: BlockId = "latest", *, gas: int | None = None
    ) -> bytes:
        """Run a view function at a block; a hash is required to be canonical (EIP-1898).

        Args:
            to: the contract.
            data_: the call.
            block: whose state it sees.
            gas: what it may use; by default what the node allows, which is for our own contracts.

        Raises:
            ContractReverted: decoded to the class of the Solidity error.
            Reorganised: the block of that hash is no longer canonical, or pruned.
        """
        call = {"to": str(to), "data": "0x" + data_.hex()}
        if gas is not None:
            call["gas"] = hex(gas)
        try:
            return data(self.call("eth_call", [call, block_param(block)]))
        except RpcRefused as error:
            raise _gone(block, error) from None

    def code(self, address: Address, block: BlockId = "latest") -> bytes:
        """The code of an account; empty when there is none."""
        try:
            return data(self.call("eth_getCode", [str(address), block_param(block)]))
        except RpcRefused as error:
            raise _gone(block, error) from None


def _exchange_batch(endpoint: Endpoint, payload: list[dict[str, Any]]) -> list[dict[str, Any]]:
    replies = endpoint.exchange_batch(payload)
    if replies is None:
        replies = endpoint.one_by_one(payload, lambda each: endpoint.exchange(each, retry=True))
    return replies


def _gone(block: BlockId, error: RpcRefused) -> ChainError:
    if isinstance(block, Digest) and error.rpc_code in _ELSEWHERE | {-32602}:
        return Reorganised(
            f"the state of block {block.short} cannot be asked: {error.rpc_message}",
            hint="the chain has moved on; ask again from a finalized block",
        )
    return error


def _worse(kept: Exception | None, new: Exception) -> Exception:
    """What to tell when no endpoint served: an endpoint's own answer before mere silence."""
    if kept is None or isinstance(kept, ChainUnavailable):
        return new
    return kept


def _revert_data(error: dict[str, Any]) -> bytes | None:
    """The bytes a contract reverted with, or None when the error is not a revert."""
    message = str(error.get("message", "")).lower()
    held = error.get("data")
    if isinstance(held, dict):  # some nodes nest it once more
        held = held.get("data")
    if error.get("code") == 3 or "revert" in message:
        if isinstance(held, str):
            at = held.find("0x")
            try:
                return bytes.fromhex(held[at + 2 :]) if at >= 0 else b""
            except ValueError:
                return b""
        return b""
    return None
