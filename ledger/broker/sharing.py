"""Chain reads that concurrent decisions share, without any of them resting on an older answer.

Two things are shared, and nothing else. What a contract held at a block named by its hash never
changes, so each endpoint is asked for it once. And questions that are waiting while the connection
is busy go out together in one round trip, the same question once: every answer was asked for after
the decision that uses it began. Which block is the head is therefore asked for every decision.

Nothing is shared between endpoints: each remains a witness of its own.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Final

from ledger.chain.endpoint import MAX_REPLY_BYTES
from ledger.chain.kept import KeptEndpoint
from ledger.chain.rpc import Rpc
from ledger.errors import ContractReverted, RpcRefused

BLOCKS_KEPT: Final = 8
ANSWERS_KEPT: Final = 4096
"""Blocks whose answers are kept, and answers of one block."""

FLIGHTS: Final = 2
"""Round trips under way at once at one endpoint; further questions wait and go together."""

MAX_TOGETHER: Final = 96
"""Questions in one round trip; providers bound it, and 100 is the least known bound."""

REQUEST_SECONDS: Final = 5.0
MAX_REPLY: Final = 4 << 20
"""Time and bytes of one reply; a header, a contract's code and a proof are all far below."""

_Question = tuple[str, Sequence[Any]]


class SharedRpc(Rpc):
    """One endpoint of a broker, asked by many decisions at once.

    Args:
        url: the endpoint.
        timeout: seconds for one request, whole reply included.
        chain_id: when given, the endpoint must show it before it is used.
        max_reply: bytes that one reply may have.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 10.0,
        chain_id: int | None = None,
        max_reply: int = MAX_REPLY_BYTES,
    ) -> None:
        super().__init__(url, timeout=timeout, chain_id=chain_id, max_reply=max_reply)
        self._endpoints = [KeptEndpoint(url, timeout=timeout, max_reply=max_reply, transport=None)]
        self._turn = threading.Lock()
        self._waiting: list[tuple[list[_Question], Future[list[Any]]]] = []
        self._flying = 0
        self._known: OrderedDict[str, dict[tuple[str, ...], Any]] = OrderedDict()

    def batch(self, requests: Sequence[_Question]) -> list[Any]:
        """Several reads, as `Rpc.batch`: one round trip at most, perhaps with those of others."""
        answers: list[Any] = [self._kept(request) for request in requests]
        open_ = [i for i, answer in enumerate(answers) if answer is None]
        if open_:
            fresh = self._together([requests[i] for i in open_])
            for i, answer in zip(open_, fresh, strict=True):
                answers[i] = answer
                self._keep(requests[i], answer)
        return answers

    # -- what a block holds --------------------------------------------------------------------

    def _kept(self, request: _Question) -> Any:
        block = _named_block(request)
        if block is None:
            return None
        with self._turn:
            return self._known.get(block, {}).get(_key(request))

    def _keep(self, request: _Question, answer: Any) -> None:
        block = _named_block(request)
        # Only whole answers: what reverts or is refused is asked again.
        if block is None or not isinstance(answer, str):
            return
        with self._turn:
            known = self._known.setdefault(block, {})
            self._known.move_to_end(block)
            if len(known) >= ANSWERS_KEPT:
                known.clear()
            known[_key(request)] = answer
            while len(self._known) > BLOCKS_KEPT:
                self._known.popitem(last=False)

    # -- going together ------------------------------------------------------------------------

    def _together(self, questions: list[_Question]) -> list[Any]:
        future: Future[list[Any]] = Future()
        with self._turn:
            self._waiting.append((questions, future))
            leads = self._flying < FLIGHTS
            if leads:
                self._flying += 1
        if leads:
            self._fly(future)
        return future.result()

    def _fly(self, own: Future[list[Any]]) -> None:
        """Carry what waits until one's own is done, then leave the rest to another thread."""
        while True:
            with self._turn:
                load = self._load()
                if not load:
                    self._flying -= 1
                    return
            self._carry(load)
            if own.done():
                break
        # Whoever still waits must not wait for this thread's next question.
        with self._turn:
            if not self._waiting:
                self._flying -= 1
                return
        threading.Thread(target=self._fly, args=(Future(),), daemon=True).start()

    def _load(self) -> list[tuple[list[_Question], Future[list[Any]]]]:
        load: list[tuple[list[_Question], Future[list[Any]]]] = []
        size = 0
        while self._waiting and (not load or size + len(self._waiting[0][0]) <= MAX_TOGETHER):
            load.append(self._waiting.pop(0))
            size += len(load[-1][0])
        return load

    def _carry(self, load: list[tuple[list[_Question], Future[list[Any]]]]) -> None:
        distinct: dict[tuple[str, ...], _Question] = {}
        for questions, _ in load:
            for question in questions:
                distinct.setdefault(_key(question), question)
        try:
            replies = dict(zip(distinct, super().batch(list(distinct.values())), strict=True))
        except (ContractReverted, RpcRefused):
            # One question of a stranger must not spoil the others' answers.
            for questions, future in load:
                _settle(future, lambda asked=questions: Rpc.batch(self, asked))
        except BaseException as error:  # noqa: BLE001  each waiting thread raises it
            for _, future in load:
                future.set_exception(error)
        else:
            for questions, future in load:
                future.set_result([replies[_key(question)] for question in questions])


def _settle(future: Future[list[Any]], ask: Any) -> None:
    try:
        future.set_result(ask())
    except BaseException as error:  # noqa: BLE001  the waiting thread raises it
        future.set_exception(error)


def _named_block(request: _Question) -> str | None:
    """The hash a contract call names its block by; None for every other question."""
    method, params = request
    if method != "eth_call" or len(params) != 2 or not isinstance(params[1], dict):
        return None
    # Without an address it is a probe: it is long, it names a moment, and hardly comes again.
    if "to" not in params[0]:
        return None
    block = params[1].get("blockHash")
    return block if isinstance(block, str) else None


def _key(request: _Question) -> tuple[str, ...]:
    """Equal for equal questions, and for no others."""
    method, params = request
    block = _named_block(request)
    if block is not None and params[0].keys() == {"to", "data"} and len(params[1]) == 2:
        return (method, params[0]["to"], params[0]["data"], block)
    if (
        method == "eth_call"
        and len(params) == 2
        and all(type(v) is str for v in params[0].values())
    ):
        named = params[1] if isinstance(params[1], str) else json.dumps(params[1], sort_keys=True)
        return (method, named, *itertools.chain.from_iterable(sorted(params[0].items())))
    return (method, json.dumps(params, separators=(",", ":"), sort_keys=True))


def witness_rpc(url: str, *, chain_id: int) -> Rpc:
    """A client for one endpoint as the chain rule asks it: without failover, tightly bounded."""
    return SharedRpc(url, chain_id=chain_id, timeout=REQUEST_SECONDS, max_reply=MAX_REPLY)
