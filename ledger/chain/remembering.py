"""A chain client that writes down what it was told, so that a long harvest survives being stopped.

Only answers about a named block, transaction or filter are kept, and the first "finalized" block,
so that a run that goes on goes on at the same block. Nothing kept is believed: whoever harvests
proves every answer against its header, new or kept.
"""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from ledger.chain.network import Network
from ledger.chain.rpc import Rpc
from ledger.errors import LedgerError, UnavailableError

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Nodes without an archive answer about the state of some 128 blocks: 25 minutes on Ethereum.
MAX_AGE_SECONDS = 900.0
MAX_BYTES = 256 << 20
_MOVING = {"latest", "pending", "safe", "earliest"}
_KEPT = (
    "eth_getBlockBy",
    "eth_getBlockReceipts",
    "eth_getTransactionReceipt",
    "eth_getRawTransactionByHash",
    "eth_getProof",
    "eth_getLogs",
    "eth_getCode",
    "debug_getRaw",
)


class RememberingRpc(Rpc):
    """`Rpc` with a file of answers beside it; what stands there is not asked for again."""

    def __init__(self, network: Network, path: Path) -> None:
        super().__init__(network.rpc_urls, timeout=10.0, chain_id=network.deployment.chain_id)
        self._path = path
        self._head = f"{network.deployment.chain_id} {network.deployment.genesis_hash}"
        self._answers = self._read()
        self.resumed = len(self._answers)

    def call(self, method: str, params: Sequence[Any] = ()) -> Any:
        """As `Rpc.call`, or what it answered before."""
        key = self._key(method, params)
        if key is not None and key in self._answers:
            return self._answers[key]
        answer = super().call(method, params)
        if key is not None:
            self._keep([(key, answer)])
        return answer

    def batch(self, requests: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """As `Rpc.batch`; asks only for what was not answered before."""
        keys = [self._key(method, params) for method, params in requests]
        missing = [place for place, key in enumerate(keys) if key not in self._answers]
        told = dict(zip(missing, super().batch([requests[at] for at in missing]), strict=True))
        answers = [
            told[place] if place in told else self._answers[key or ""]
            for place, key in enumerate(keys)
        ]
        self._keep([(key, told[place]) for place, key in enumerate(keys) if key and place in told])
        return answers

    @staticmethod
    def _key(method: str, params: Sequence[Any]) -> str | None:
        if not method.startswith(_KEPT):
            return None
        text = json.dumps([method, list(params)], sort_keys=True)
        return None if any(f'"{word}"' in text for word in _MOVING) else text

    def _keep(self, answers: Sequence[tuple[str, Any]]) -> None:
        """Append answers; null ones may still change."""
        lines = ""
        for key, answer in answers:
            if answer is not None:
                self._answers[key] = answer
                lines += json.dumps([key, answer]) + "\n"
        if not lines:
            return
        begin = "" if self._path.exists() else json.dumps(self._head) + "\n"
        # A disk that is full or a folder that is gone costs the memory, not the harvest.
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(begin + lines)

    def _read(self) -> dict[str, Any]:
        """The answers kept by a run that was stopped; none if they are old or another chain's."""
        try:
            status = self._path.stat()
            text = self._path.read_text() if status.st_size <= MAX_BYTES else ""
        except (OSError, UnicodeDecodeError):
            return {}
        lines, ended = text.splitlines(), text.endswith("\n")
        found: dict[str, Any] = {}
        fresh = 0 <= time.time() - status.st_mtime <= MAX_AGE_SECONDS
        if fresh and lines and lines[0] == json.dumps(self._head):
            for line in lines[1:]:
                with contextlib.suppress(ValueError, TypeError):  # the line it was stopped in
                    key, answer = json.loads(line)
                    found[str(key)] = answer
        if not found:
            self._path.unlink(missing_ok=True)
        elif status.st_size and not ended:
            with contextlib.suppress(OSError), self._path.open("a") as file:
                file.write("\n")  # what was cut off stays a line of its own
        return found


def kept_beside(dest: Path) -> Path:
    """Where the answers for a bundle at `dest` are kept until it is written."""
    return dest.with_name(f".{dest.name}.part")


def remembering(network: Network, dest: Path) -> RememberingRpc:
    """A client of this network whose answers are kept beside `dest` (`forgetting`)."""
    return RememberingRpc(network, kept_beside(dest))


def forgetting(collect: Callable[_P, _T]) -> Callable[_P, _T]:
    """Let a function with a ``dest`` forget what is kept once that is of no more use.

    Kept only when the process is stopped, or the chain does not answer. A node that lied, or a
    block that is not final yet, would otherwise be met again.
    """

    @functools.wraps(collect)
    def run(*given: _P.args, **named: _P.kwargs) -> _T:
        dest = named["dest"]
        assert isinstance(dest, Path)
        try:
            made = collect(*given, **named)
        except UnavailableError:
            raise
        except LedgerError:
            kept_beside(dest).unlink(missing_ok=True)
            raise
        kept_beside(dest).unlink(missing_ok=True)
        return made

    return run
