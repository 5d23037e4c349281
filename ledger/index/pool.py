"""A pool of RPC endpoints of which one answers each batch: order, failover, identity and blame.

One batch is always answered by one endpoint, since headers and logs of two backends may be of two
branches. What several must agree on is `ledger.index.endpoints`.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, Protocol, Self, TypeVar

from ledger.chain.health import EndpointHealth, EndpointRecord
from ledger.chain.rpc import Rpc, quantity
from ledger.chain.witnesses import Witness, gather, outcome
from ledger.errors import (
    ChainError,
    ChainUnavailable,
    LedgerError,
    RpcRefused,
    UsageError,
    WrongNetwork,
)

log = logging.getLogger(__name__)

Role = Literal["any", "archive", "head"]
Call = tuple[str, list[Any]]
T = TypeVar("T")

VERIFY_SECONDS: Final = 60.0
"""How long an endpoint that showed our chain and contracts is taken to be the same one."""

RECHECK_SECONDS: Final = 300.0
"""After which one that was disabled for its identity is looked at again."""

AVOID_SECONDS: Final = 5.0
"""How long an endpoint whose answers contradicted something is only asked for want of another."""

PATIENCE, DEADLINE = 0.5, 3.0
"""Seconds that the others have once a quorum has answered, and in any case."""

RECENT_BLOCKS: Final = 128
"""Blocks below the head that an endpoint of role ``head`` is asked for: what a full node keeps."""

LAG_BLOCKS: Final = 8
"""A head so far below the agreed one is asked last."""

MAX_REST: Final = 300.0
"""Seconds of a Retry-After that are obeyed."""

_BY_NUMBER = {"eth_getBlockByNumber", "eth_getBlockReceipts"}
_ROLES: dict[str, Role] = {"any": "any", "archive": "archive", "head": "head"}
# In which order roles are asked for an old block, and for a recent one.
_OLD, _RECENT = {"archive": 0, "any": 1, "head": 2}, {"any": 0, "head": 0, "archive": 1}


class Identity(Protocol):
    """The part of `ledger.chain.deployment.Deployment` by which an endpoint is known."""

    def verify(self, rpc: Rpc) -> None:
        """Check chain id, genesis and contract code.

        Raises:
            WrongNetwork: one of them differs.
        """
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """One endpoint as its operator names it: ``URL``, ``archive=URL`` or ``head=URL``."""

    url: str
    role: Role = "any"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text form.

        Raises:
            UsageError: a role that there is not.
        """
        word, equals, rest = text.partition("=")
        if equals and "://" not in word:
            if word not in _ROLES:
                raise UsageError(
                    f"{word!r} is no role of an endpoint",
                    hint="give URL, archive=URL (keeps old blocks) or head=URL (recent ones only)",
                )
            return cls(rest, _ROLES[word])
        return cls(text)


@dataclass(frozen=True, slots=True)
class Shown:
    """One endpoint as an operator sees it; `disabled` says why it is not asked at all."""

    role: Role
    health: EndpointHealth
    disabled: str
    answered: int

    def to_json(self) -> dict[str, Any]:
        """For the command and the service's interface."""
        shown = self.health.to_json()
        return {
            **shown,
            "role": self.role,
            "healthy": False if self.disabled else shown["healthy"],
            "disabled": self.disabled or None,
            "answered": self.answered,
        }


class Endpoint:
    """One endpoint: its client with threads of its own, its record, and what it is kept from."""

    def __init__(self, source: Source, rpc: Rpc, record: EndpointRecord) -> None:
        self.role: Role = source.role
        self.witness = Witness(rpc, record, stuck_after=4 * DEADLINE)
        self.disabled = ""
        self.disabled_at = 0.0
        self.verified_at = float("-inf")
        self.avoid_until = float("-inf")
        self.rest_until = float("-inf")
        self.answered = 0

    @property
    def rpc(self) -> Rpc:
        """Its client, for the thread that asks now."""
        return self.witness.rpc

    @property
    def record(self) -> EndpointRecord:
        """How it did so far."""
        return self.witness.record

    @property
    def host(self) -> str:
        """What may be shown of its URL."""
        return self.record.host


class Pool:
    """The endpoints of one follower, asked one at a time. Thread-safe.

    Args:
        sources: in order of preference.
        identity: what each must serve; looked at before it is used, and again now and then.
        finality_depth: as in the chain's profile; 0 where the chain names its finalized block.
        quorum: how many must agree; by default more than half.
        open_rpc: makes the client of one URL.
        clock: Unix seconds, for what people read.
        monotonic: seconds that never jump.

    Raises:
        UsageError: none, one twice, or a quorum that there cannot be.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        identity: Identity,
        *,
        finality_depth: int = 0,
        quorum: int | None = None,
        open_rpc: Callable[[str], Rpc] = Rpc,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not sources:
            raise UsageError("no RPC endpoint was given", hint="for example http://127.0.0.1:8545")
        if len({source.url for source in sources}) < len(sources):
            raise UsageError(
                "an RPC endpoint is named twice", hint="one that agrees with itself proves nothing"
            )
        self.quorum = len(sources) // 2 + 1 if quorum is None else quorum
        if not 1 <= self.quorum <= len(sources):
            raise UsageError(
                f"{self.quorum} of {len(sources)} endpoints cannot agree",
                hint="give a quorum between 1 and the number of endpoints",
            )
        named: Counter[str] = Counter()
        made = []
        for source in sources:
            rpc = open_rpc(source.url)
            # Two keys of one provider have one host; what is shown must tell them apart.
            named[rpc.hosts[0]] += 1
            times = named[rpc.hosts[0]]
            name = rpc.hosts[0] if times == 1 else f"{rpc.hosts[0]} #{times}"
            record = EndpointRecord(name, clock=clock, monotonic=monotonic)
            made.append(Endpoint(source, rpc, record))
        self._all = tuple(made)
        self._identity = identity
        self._depth = finality_depth
        self._monotonic = monotonic
        self._lock = threading.Lock()
        # Which endpoint answered last, to each thread: the keeper asks beside the follower.
        self._mine = threading.local()
        # Errors that were counted against somebody already, or of which nobody alone is to blame.
        self._judged: weakref.WeakSet[LedgerError] = weakref.WeakSet()

    def __len__(self) -> int:
        return len(self._all)

    @property
    def hosts(self) -> tuple[str, ...]:
        """What may be shown of their URLs."""
        return tuple(one.host for one in self._all)

    def shown(self) -> tuple[Shown, ...]:
        """Each endpoint as last seen, in the order given."""
        return tuple(
            Shown(one.role, one.record.shown(), one.disabled, one.answered) for one in self._all
        )

    def close(self) -> None:
        """Close all connections."""
        for one in self._all:
            one.witness.close()

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """As `Rpc.batch`, by the first endpoint that can be used.

        Raises:
            ChainUnavailable: none answered; the message says what is wrong with each.
            WrongNetwork: none serves our chain and contracts.
        """
        started = self._monotonic()
        replies, one = self._ask(lambda rpc: rpc.batch(calls), oldest=_oldest(calls))
        self._notice(one, calls, replies, self._monotonic() - started)
        return replies

    def batch_undecoded(self, calls: Sequence[Call]) -> list[Any]:
        """As `Rpc.batch_undecoded`, by the first endpoint that can be used.

        Raises:
            ChainUnavailable, WrongNetwork: as `batch`.
        """
        return self._ask(lambda rpc: rpc.batch_undecoded(calls), oldest=_oldest(calls))[0]

    def ask(self, act: Callable[[Rpc], T], *, oldest: int | None = None) -> T:
        """Let `act` ask one endpoint; another when that one fails.

        Args:
            act: asks the client it is given; it may be called again with another.
            oldest: the lowest block it needs, where that may be old.

        Raises:
            ChainUnavailable, WrongNetwork: as `batch`.
        """
        return self._ask(act, oldest=oldest)[0]

    def first(self, oldest: int) -> Rpc | None:
        """The client that `ask` would try first, while it is in order and lately showed our chain.

        For a reader that uses it elsewhere and says nothing of how it went; None: use `ask`.
        """
        one = next(iter(self._order(oldest)), None)
        if one is None or not one.record.closed:
            return None
        if self._monotonic() - one.verified_at > VERIFY_SECONDS:
            return None
        with self._lock:
            one.answered += 1
        self._mine.last = one
        return one.rpc

    def _ask(self, act: Callable[[Rpc], T], *, oldest: int | None) -> tuple[T, Endpoint]:
        failures: list[tuple[Endpoint, LedgerError]] = []
        for one in self._order(oldest):
            # Whatever an endpoint sends, and whatever that breaks, is no reason to ask no other.
            answer = outcome(partial(self._put, one, act))
            if not isinstance(answer, LedgerError):
                one.record.delivered()
                with self._lock:
                    one.answered += 1
                self._mine.last = one
                return answer, one
            failures.append((one, answer))
            if isinstance(answer, (ChainUnavailable, WrongNetwork)):
                self._failed(one, answer)
            else:
                one.record.stumbled(answer)
                if not isinstance(answer, RpcRefused):
                    one.avoid_until = self._monotonic() + AVOID_SECONDS
        error = self._unusable(failures)
        self._judged.add(error)
        raise error

    def _put(self, one: Endpoint, act: Callable[[Rpc], T]) -> T:
        self._verify(one)
        return act(one.rpc)

    def _order(self, oldest: int | None) -> list[Endpoint]:
        """Those that may be asked, best first: as given, but the troubled ones after the others."""
        now = self._monotonic()
        for one in self._all:
            if one.disabled and now - one.disabled_at > RECHECK_SECONDS:
                one.disabled = ""
        asked = [one for one in self._all if not one.disabled]
        heads = [one.record.shown().head for one in asked]
        known = sorted((head for head in heads if head is not None), reverse=True)
        # What a quorum has reached: one that claims a far head is not the better for it.
        best = known[min(self.quorum, len(known)) - 1] if known else 0
        rank = _OLD if oldest is not None and oldest < best - RECENT_BLOCKS else _RECENT

        def worth(one: Endpoint) -> tuple[bool, bool, bool, bool, int]:
            head = one.record.shown().head
            return (
                now < one.rest_until,
                not one.record.closed,
                now < one.avoid_until,
                head is not None and best - head > LAG_BLOCKS,
                rank[one.role],
            )

        return sorted(asked, key=worth)

    def _verify(self, one: Endpoint) -> None:
        now = self._monotonic()
        if now - one.verified_at > VERIFY_SECONDS:
            self._identity.verify(one.rpc)
            one.verified_at = now

    def _failed(self, one: Endpoint, error: LedgerError) -> None:
        one.record.failed(error)
        # Whatever answers next may be another chain.
        one.verified_at = float("-inf")
        if isinstance(error, WrongNetwork):
            one.disabled, one.disabled_at = error.message, self._monotonic()
            log.error(
                "endpoint %s is disabled: %s", one.host, error.message, extra={"host": one.host}
            )
        elif isinstance(error, ChainUnavailable) and error.retry_after > 1.0:
            one.rest_until = self._monotonic() + min(error.retry_after, MAX_REST)

    def _unusable(self, failures: Sequence[tuple[Endpoint, LedgerError]]) -> LedgerError:
        if len(self._all) == 1 and failures:
            return failures[0][1]
        away = (ChainUnavailable, WrongNetwork)
        heard = [error for _, error in failures if not isinstance(error, away)]
        # One that is out of order is not waited for: what the others say is the answer.
        if heard and not any(
            isinstance(error, away) and one.record.closed for one, error in failures
        ):
            return heard[-1]
        said = [
            *(f"{one.host}: {error.message}" for one, error in failures),
            *(f"{one.host}: {one.disabled}" for one in self._all if one.disabled),
        ]
        sentence = "; ".join(dict.fromkeys(said))
        if all(one.disabled for one in self._all):
            return WrongNetwork(
                f"no endpoint serves this chain and its contracts: {sentence}",
                hint="correct the URLs or the deployment manifest",
            )
        waits = [error.retry_after for _, error in failures if isinstance(error, ChainUnavailable)]
        return ChainUnavailable(
            f"none of {len(self._all)} endpoints can be used: {sentence}",
            retry_after=min(waits, default=1.0),
            fault="malformed" if all(map(_answered, failures)) and failures else "down",
            hint="deed index status shows each endpoint; name another with --rpc",
        )

    def _notice(
        self, one: Endpoint, calls: Sequence[Call], replies: Sequence[Any], took: float
    ) -> None:
        """Where the endpoint stands shows in what the follower asks anyway."""
        heights = {
            call[1][0]: reply
            for call, reply in zip(calls, replies, strict=True)
            if call[0] == "eth_getBlockByNumber" and isinstance(reply, dict)
        }
        try:
            head = quantity(heights["latest"]["number"])
            final = heights.get("finalized")
            reached = quantity(final["number"]) if final else max(0, head - self._depth)
        except (KeyError, TypeError, ChainError):
            return
        one.record.saw(head, reached, took)

    def blame(self, error: LedgerError) -> None:
        """What the endpoint that answered last said could not be used: ask another for a while.

        Called in the thread that asked it; once an error, however often it is called.
        """
        last: Endpoint | None = getattr(self._mine, "last", None)
        if len(self._all) > 1 and last is not None and error not in self._judged:
            self._contradicted(last, error)

    def _contradicted(self, one: Endpoint, error: LedgerError) -> None:
        self._judged.add(error)
        one.record.contradicted(error.message)
        one.avoid_until = self._monotonic() + AVOID_SECONDS
        one.verified_at = float("-inf")

    def _each(self, act: Callable[[Endpoint], T]) -> list[tuple[Endpoint, T | LedgerError]]:
        """Ask all at once that are not disabled; those out of order only when it is their turn."""
        now = self._monotonic()
        asked = [
            one
            for one in self._all
            if not one.disabled
            and now >= one.rest_until
            and (one.record.closed or one.record.try_again())
        ]
        tasks = [(one.witness, one.witness.start(partial(act, one))) for one in asked]
        answers = gather(
            tasks, enough=self.quorum, patience=PATIENCE, until=time.monotonic() + DEADLINE
        )
        for one, answer in zip(asked, answers, strict=True):
            if isinstance(answer, (ChainUnavailable, WrongNetwork)):
                self._failed(one, answer)
            elif isinstance(answer, LedgerError):
                one.record.stumbled(answer)
        return list(zip(asked, answers, strict=True))


def _answered(failure: tuple[Endpoint, LedgerError]) -> bool:
    # An answer that cannot be read is one all the same.
    error = failure[1]
    return not isinstance(error, ChainUnavailable) or error.fault == "malformed"


def _oldest(calls: Sequence[Call]) -> int | None:
    """The lowest block that a batch names by number."""
    found: list[int] = []
    for method, params in calls:
        if method in _BY_NUMBER and str(params[0]).startswith("0x"):
            found.append(int(params[0], 16))
        elif method == "eth_getLogs" and str(params[0].get("fromBlock", "")).startswith("0x"):
            found.append(int(params[0]["fromBlock"], 16))
    return min((number for number in found if number), default=None)
