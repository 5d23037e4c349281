"""Several RPC endpoints as one node for the follower: order, failover, and who must agree on what.

One batch is always answered by one endpoint, since headers and logs of two backends may be of two
branches. Others are asked for three things only, each of them cheap (docs/spec/index-keeping.md):

(1) which block is final: the highest that a quorum shows under one hash;
(2) whether the last block of a range below it is that block: a boundary hash vouches for all that
    lies before it;
(3) whether a reorganisation is one, before anything is taken back.

The follower works the same over a single `Rpc`: the functions at the end of this module, which it
calls, then ask nobody.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal, Protocol, Self, TypeVar

from ledger.chain.health import EndpointHealth, EndpointRecord
from ledger.chain.rpc import Block, Rpc, quantity
from ledger.chain.witnesses import Witness, gather, outcome
from ledger.errors import (
    ChainError,
    ChainUnavailable,
    LedgerError,
    RpcRefused,
    UsageError,
    WrongNetwork,
)
from ledger.index.fetch import Header, Heads, Node

log = logging.getLogger(__name__)

Role = Literal["any", "archive", "head"]
Call = tuple[str, list[Any]]
T = TypeVar("T")

VERIFY_SECONDS: Final = 60.0
"""How long an endpoint that showed our chain and contracts is taken to be the same one."""

RECHECK_SECONDS: Final = 300.0
"""After which one that was disabled for its identity is looked at again."""

SURVEY_SECONDS: Final = 2.0
"""Between two rounds in which every endpoint is asked where it stands."""

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


class Standing(Protocol):
    """The part of `ledger.index.journal.Cursor` that a decision rests on."""

    @property
    def finalized(self) -> int:
        """The highest block that was final."""
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


class _One:
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
        return self.witness.rpc

    @property
    def record(self) -> EndpointRecord:
        return self.witness.record

    @property
    def host(self) -> str:
        return self.record.host


@dataclass(frozen=True, slots=True)
class _Sight:
    head: Block
    final: int
    final_hash: bytes | None
    safe: int
    safe_hash: bytes | None


class Endpoints:
    """The endpoints of one follower. Thread-safe.

    Args:
        sources: in order of preference.
        identity: what each must serve; looked at before it is used, and again now and then.
        finality_depth: as in the chain's profile; 0 where the chain names its finalized block.
        quorum: how many must agree; by default more than half.
        survey_seconds: between two rounds in which all are asked where they stand.
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
        survey_seconds: float = SURVEY_SECONDS,
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
            made.append(_One(source, rpc, record))
        self._all = tuple(made)
        self._identity = identity
        self._depth = finality_depth
        self._survey_seconds = survey_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        # Which endpoint answered last, to each thread: the keeper asks beside the follower.
        self._mine = threading.local()
        # Errors that were counted against somebody already, or of which nobody alone is to blame.
        self._judged: weakref.WeakSet[LedgerError] = weakref.WeakSet()
        self._surveyed_at = float("-inf")
        self._final: tuple[int, bytes] | None = None
        self._safe: tuple[int, bytes] | None = None
        self.trouble = ""
        """Why the quorum agrees on nothing newer; empty while it does."""

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

    # -- asking one of them --------------------------------------------------------------------

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

    def call(self, method: str, params: Sequence[Any] = ()) -> Any:
        """As `Rpc.call`, by the first endpoint that can be used."""
        return self.ask(lambda rpc: rpc.call(method, params))

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

    def _ask(self, act: Callable[[Rpc], T], *, oldest: int | None) -> tuple[T, _One]:
        failures: list[tuple[_One, LedgerError]] = []
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

    def _put(self, one: _One, act: Callable[[Rpc], T]) -> T:
        self._verify(one)
        return act(one.rpc)

    def _order(self, oldest: int | None) -> list[_One]:
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

        def worth(one: _One) -> tuple[bool, bool, bool, bool, int]:
            head = one.record.shown().head
            return (
                now < one.rest_until,
                not one.record.closed,
                now < one.avoid_until,
                head is not None and best - head > LAG_BLOCKS,
                rank[one.role],
            )

        return sorted(asked, key=worth)

    def _verify(self, one: _One) -> None:
        now = self._monotonic()
        if now - one.verified_at > VERIFY_SECONDS:
            self._identity.verify(one.rpc)
            one.verified_at = now

    def _failed(self, one: _One, error: LedgerError) -> None:
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

    def _unusable(self, failures: Sequence[tuple[_One, LedgerError]]) -> LedgerError:
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
        self, one: _One, calls: Sequence[Call], replies: Sequence[Any], took: float
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
        last: _One | None = getattr(self._mine, "last", None)
        if len(self._all) > 1 and last is not None and error not in self._judged:
            self._contradicted(last, error)

    def _contradicted(self, one: _One, error: LedgerError) -> None:
        self._judged.add(error)
        one.record.contradicted(error.message)
        one.avoid_until = self._monotonic() + AVOID_SECONDS
        one.verified_at = float("-inf")

    # -- asking all of them --------------------------------------------------------------------

    def agreed_final(self) -> tuple[int, bytes] | None:
        """Number and hash of the highest final block that a quorum agrees on; None before one.

        It never falls. Endpoints are asked at most once in `survey_seconds`.
        """
        self._survey_in_time()
        return self._final

    def agreed_safe(self) -> tuple[int, bytes] | None:
        """Number and hash of the highest block that a quorum calls safe; None while none does.

        It may fall. Endpoints are asked at most once in `survey_seconds`.
        """
        self._survey_in_time()
        return self._safe

    def _survey_in_time(self) -> None:
        now = self._monotonic()
        if now - self._surveyed_at >= self._survey_seconds:
            self._survey()
            self._surveyed_at = now

    def _survey(self) -> None:
        sights = [
            (one, answer)
            for one, answer in self._each(self._look)
            if not isinstance(answer, LedgerError)
        ]
        if len(sights) < self.quorum:
            self.trouble = f"only {len(sights)} of {len(self._all)} endpoints say where they stand"
            return
        agreed = sorted((sight.head.number for _, sight in sights), reverse=True)[self.quorum - 1]
        for one, _ in sights:
            one.record.lags(agreed)
        self._settle_final(sights)
        self._settle_safe(sights)

    def _settle_final(self, sights: Sequence[tuple[_One, _Sight]]) -> None:
        claimed = sorted((sight.final for _, sight in sights), reverse=True)[self.quorum - 1]
        if self._final is not None and claimed <= self._final[0]:
            self.trouble = ""
            return
        known = {one: sight.final_hash for one, sight in sights if sight.final == claimed}
        votes, agreed = self._elect(claimed, known)
        if agreed is None:
            self.trouble = (
                f"no {self.quorum} of {len(self._all)} endpoints agree on final block {claimed}"
            )
            log.warning("%s", self.trouble)
            return
        for one, other in votes:
            if other != agreed:
                one.record.contradicted(f"it shows another block {claimed}, which is final")
                one.avoid_until = self._monotonic() + AVOID_SECONDS
        self.trouble = ""
        self._final = (claimed, agreed)

    def _settle_safe(self, sights: Sequence[tuple[_One, _Sight]]) -> None:
        claimed = sorted((sight.safe for _, sight in sights), reverse=True)[self.quorum - 1]
        if self._final is not None and claimed <= self._final[0]:
            self._safe = None
            return
        known = {one: sight.safe_hash for one, sight in sights if sight.safe == claimed}
        agreed = self._elect(claimed, known)[1]
        self._safe = None if agreed is None else (claimed, agreed)

    def _elect(
        self, number: int, known: Mapping[_One, bytes | None]
    ) -> tuple[list[tuple[_One, bytes]], bytes | None]:
        """What each shows at a height, and what a quorum does; asked of those not in `known`."""

        def at_height(one: _One) -> bytes | None:
            said = known.get(one)
            if said is not None:
                return said
            return _hash_of(one.rpc.call("eth_getBlockByNumber", [hex(number), False]))

        votes = [(one, hash_) for one, hash_ in self._each(at_height) if isinstance(hash_, bytes)]
        hash_, count = Counter(hash_ for _, hash_ in votes).most_common(1)[0] if votes else (b"", 0)
        return votes, hash_ if count >= self.quorum else None

    def _look(self, one: _One) -> _Sight:
        started = self._monotonic()
        self._verify(one)
        tags = ("latest",) if self._depth else ("latest", "finalized", "safe")
        head, *rest = one.rpc.batch([("eth_getBlockByNumber", [tag, False]) for tag in tags])
        if not isinstance(head, dict):
            raise ChainUnavailable(f"{one.host} shows no latest block", fault="malformed")
        top = Block.of(head)
        if self._depth:
            final = max(0, top.number - self._depth)
            sight = _Sight(top, final, None, final, None)
        else:
            # None before the first finalized block: then only block 0 is.
            blocks = [Block.of(each) if isinstance(each, dict) else None for each in rest]
            named = [(0, None) if each is None else (each.number, each.hash.raw) for each in blocks]
            sight = _Sight(top, *named[0], *max(named, key=lambda place: place[0]))
        one.record.saw(top.number, sight.final, self._monotonic() - started)
        return sight

    def _each(self, act: Callable[[_One], T]) -> list[tuple[_One, T | LedgerError]]:
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

    def check_boundary(self, number: int, hash_: bytes) -> None:
        """Let a quorum vouch that the final block `number` has this hash.

        Every endpoint says so itself, the one that the range came from included: which one that
        was need not be known, and no vote is taken for granted.

        Raises:
            ChainUnavailable: they do not; those that show a block which a quorum contradicts are
                asked last for a while.
        """
        if self._final == (number, hash_):
            return
        votes = self._votes(number)
        showing = [one for one, shown in votes if shown == hash_]
        if len(showing) >= self.quorum:
            return
        error = ChainUnavailable(
            f"no {self.quorum} of {len(self._all)} endpoints vouch for block {number} as it was "
            f"shown{_by(showing)}",
            hint="deed index status shows each endpoint",
        )
        others = Counter(shown for _, shown in votes if shown != hash_)
        if others and others.most_common(1)[0][1] >= self.quorum:
            for one in showing:
                self._contradicted(one, error)
        raise error

    def confirm_reorganisation(self, kept: tuple[int, bytes], *, gone: bool) -> tuple[str, ...]:
        """Ask all whether a block of ours was replaced.

        Args:
            kept: number and hash of the lowest block of ours that is said to be.
            gone: whether a chain may also have lost that height, as a local one that was set back.

        Returns:
            The endpoints that show the same in its place.

        Raises:
            ChainUnavailable: fewer than a quorum, or than two, do.
        """
        number, ours = kept
        votes = self._votes(number, none=gone)
        needed = min(len(self._all), max(2, self.quorum))
        replaced = Counter(shown for _, shown in votes if shown != ours)
        shown, count = replaced.most_common(1)[0] if replaced else (None, 0)
        if count >= needed:
            return tuple(one.host for one, other in votes if other == shown)
        still = [one for one, other in votes if other == ours]
        who = (
            f"{', '.join(one.host for one in still)} still shows ours"
            if still
            else "too few other endpoints show the same"
        )
        error = ChainUnavailable(
            f"an endpoint shows another block {number} than ours, and {who}",
            hint="nothing is taken back before a quorum, or at least a second one, says so: "
            "wait, or see deed index status",
        )
        if still:
            for one, other in votes:
                if other != ours:
                    self._contradicted(one, error)
        raise error

    def _votes(self, number: int, *, none: bool = False) -> list[tuple[_One, bytes | None]]:
        """What each endpoint shows at a height; None, for no block there, only where it counts."""
        answers = self._each(
            lambda one: _hash_of(one.rpc.call("eth_getBlockByNumber", [hex(number), False]))
        )
        return [
            (one, answer)
            for one, answer in answers
            if isinstance(answer, bytes) or (none and answer is None)
        ]


# -- what the follower calls, over one endpoint or several ---------------------------------------


def settled(node: Node, heads: Heads) -> Heads:
    """The heads as one endpoint shows them, with what a quorum agrees is final and safe."""
    if not isinstance(node, Endpoints) or len(node) == 1:
        return heads
    agreed = node.agreed_final()
    final = 0 if agreed is None else min(agreed[0], heads.latest.number)
    hash_ = agreed[1] if agreed is not None and agreed[0] == final else None
    safe, safe_hash = final, hash_
    above = node.agreed_safe()
    if above is not None and final < above[0] <= heads.latest.number:
        safe, safe_hash = above
    return replace(heads, finalized=final, final_hash=hash_, safe=safe, safe_hash=safe_hash)


def vouch(node: Node, headers: Sequence[Header], heads: Heads) -> None:
    """Have the newest final block of a range vouched for; what lies before it hangs on its hash.

    Raises:
        ChainUnavailable: no quorum shows it, or the range holds another block than the one that is
            called final or safe; nothing of the range may be stored.
    """
    for number, named, word in (
        (heads.finalized, heads.final_hash, "final"),
        (heads.safe, heads.safe_hash, "safe"),
    ):
        place = number - headers[0].number
        if named is None or not 0 <= place < len(headers) or headers[place].hash == named:
            continue
        raise ChainUnavailable(f"block {number} is shown in two forms, and one of them as {word}")
    if not isinstance(node, Endpoints) or node.quorum == 1:
        return
    final = [header for header in headers if header.number <= heads.finalized]
    if final:
        node.check_boundary(final[-1].number, final[-1].hash)


def confirm(
    node: Node, cursor: Standing, heads: Heads, kept: tuple[int, bytes], *, lower_heads: bool
) -> None:
    """Decide whether a reorganisation is believed, before anything is taken back.

    Args:
        node: one endpoint or several.
        cursor: where the index stands.
        heads: where the endpoint does that shows other blocks.
        kept: number and hash of the lowest of our blocks that it no longer has.
        lower_heads: whether a chain may go back as a whole, as a local one does.

    Raises:
        ChainUnavailable: it is not.
    """
    if heads.finalized < cursor.finalized and not lower_heads:
        # A syncing node goes through old heads, and they were never a reorganisation.
        raise ChainUnavailable(
            f"the endpoint shows another block {kept[0]} than ours, and its finalized block "
            f"{heads.finalized} lies below ours, {cursor.finalized}",
            hint="the endpoint is syncing or lags; use another, or wait",
        )
    if isinstance(node, Endpoints) and len(node) > 1:
        hosts = node.confirm_reorganisation(kept, gone=lower_heads)
        log.info("block %d was replaced, as %s show", kept[0], " and ".join(hosts))


def client(node: Node, oldest: int) -> Rpc | None:
    """A client that another process may use in place of `node`; None where there is none."""
    rpc = node.first(oldest) if isinstance(node, Endpoints) else node
    # A node of another make may do what no other process can.
    return rpc if type(rpc) is Rpc else None


def blame(node: Node, error: LedgerError) -> None:
    """Count an answer that could not be used against the endpoint that gave it."""
    if isinstance(node, Endpoints) and isinstance(error, ChainUnavailable):
        node.blame(error)


def _answered(failure: tuple[_One, LedgerError]) -> bool:
    # An answer that cannot be read is one all the same.
    error = failure[1]
    return not isinstance(error, ChainUnavailable) or error.fault == "malformed"


def _by(ones: Sequence[_One]) -> str:
    return f" by {', '.join(one.host for one in ones)}" if ones else ""


def _hash_of(reply: Any) -> bytes | None:
    return Block.of(reply).hash.raw if isinstance(reply, dict) else None


def _oldest(calls: Sequence[Call]) -> int | None:
    """The lowest block that a batch names by number."""
    found: list[int] = []
    for method, params in calls:
        if method in _BY_NUMBER and str(params[0]).startswith("0x"):
            found.append(int(params[0], 16))
        elif method == "eth_getLogs" and str(params[0].get("fromBlock", "")).startswith("0x"):
            found.append(int(params[0]["fromBlock"], 16))
    return min((number for number in found if number), default=None)
