"""Several RPC endpoints as one node for the follower: what a quorum of them must agree on.

A batch is answered by one endpoint (`ledger.index.pool`). All are asked for three things only, each
of them cheap (docs/spec/index-keeping.md):

(1) which block is final: the highest that a quorum shows under one hash;
(2) whether the last block of a range below it is that block: a boundary hash vouches for all that
    lies before it;
(3) whether a reorganisation is one, before anything is taken back.

The follower works the same over a single `Rpc`: the functions at the end of this module, which it
calls, then ask nobody.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from ledger.chain.rpc import Block, Rpc
from ledger.chain.witnesses import outcome
from ledger.errors import ChainUnavailable, LedgerError
from ledger.index.blocks import Header, Heads, Node
from ledger.index.pool import AVOID_SECONDS, Endpoint, Identity, Pool, Source

log = logging.getLogger(__name__)
T = TypeVar("T")
N = TypeVar("N", bound=Node)

SURVEY_SECONDS: Final = 2.0
"""Between two rounds in which every endpoint is asked where it stands."""


class Reached(Protocol):
    """The part of `ledger.index.journal.Cursor` that a decision rests on."""

    @property
    def finalized(self) -> int:
        """The highest block that was final."""
        ...


@dataclass(frozen=True, slots=True)
class _Sight:
    head: Block
    final: int
    final_hash: bytes | None
    safe: int
    safe_hash: bytes | None


class Endpoints(Pool):
    """A pool that also asks all of its endpoints, and believes a quorum.

    Args:
        survey_seconds: between two rounds in which all are asked where they stand.
        others: as `Pool`.

    Raises:
        UsageError: as `Pool`.
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
        super().__init__(
            sources, identity, finality_depth=finality_depth, quorum=quorum,
            open_rpc=open_rpc, clock=clock, monotonic=monotonic,
        )  # fmt: skip
        self._survey_seconds = survey_seconds
        self._surveyed_at = float("-inf")
        self._final: tuple[int, bytes] | None = None
        self._safe: tuple[int, bytes] | None = None
        self.trouble = ""
        """Why the quorum agrees on nothing newer; empty while it does."""

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

    def _settle_final(self, sights: Sequence[tuple[Endpoint, _Sight]]) -> None:
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

    def _settle_safe(self, sights: Sequence[tuple[Endpoint, _Sight]]) -> None:
        claimed = sorted((sight.safe for _, sight in sights), reverse=True)[self.quorum - 1]
        if self._final is not None and claimed <= self._final[0]:
            self._safe = None
            return
        known = {one: sight.safe_hash for one, sight in sights if sight.safe == claimed}
        agreed = self._elect(claimed, known)[1]
        self._safe = None if agreed is None else (claimed, agreed)

    def _elect(
        self, number: int, known: Mapping[Endpoint, bytes | None]
    ) -> tuple[list[tuple[Endpoint, bytes]], bytes | None]:
        """What each shows at a height, and what a quorum does; asked of those not in `known`."""

        def at_height(one: Endpoint) -> bytes | None:
            said = known.get(one)
            if said is not None:
                return said
            return _hash_of(one.rpc.call("eth_getBlockByNumber", [hex(number), False]))

        votes = [(one, hash_) for one, hash_ in self._each(at_height) if isinstance(hash_, bytes)]
        hash_, count = Counter(hash_ for _, hash_ in votes).most_common(1)[0] if votes else (b"", 0)
        return votes, hash_ if count >= self.quorum else None

    def _look(self, one: Endpoint) -> _Sight:
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

    def stands(self, number: int, hash_: bytes) -> bool | None:
        """Whether the final block `number` is this one, where an endpoint may show another.

        Returns:
            None where too few agree to decide between two; True where nobody shows another.
        """

        def shows(one: Endpoint) -> bytes | None:
            self._verify(one)
            return _hash_of(one.rpc.call("eth_getBlockByNumber", [hex(number), False]))

        said = [hash_ == shown for _, shown in self._each(shows) if isinstance(shown, bytes)]
        if all(said) or said.count(True) >= self.quorum:
            return True
        return False if said.count(False) >= self.quorum else None

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

    def _votes(self, number: int, *, none: bool = False) -> list[tuple[Endpoint, bytes | None]]:
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
    node: Node, cursor: Reached, heads: Heads, kept: tuple[int, bytes], *, lower_heads: bool
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


def ask(node: N | Endpoints, act: Callable[[N | Rpc], T], *, oldest: int) -> T:
    """What `act` finds at an endpoint: at another where one shows it nothing that can be used.

    Args:
        node: one endpoint or several.
        act: asks the endpoint that it is given, and looks at what is answered.
        oldest: the lowest block that it asks for.

    Raises:
        LedgerError: what `act` raised, of several endpoints what all of them come to.
    """
    if isinstance(node, Endpoints):
        return node.ask(act, oldest=oldest)
    # Whatever it sends, and whatever that breaks, ends no thread that asks.
    answer = outcome(partial(act, node))
    if isinstance(answer, LedgerError):
        raise answer
    return answer


def client(node: Node, oldest: int) -> Rpc | None:
    """A client that another process may use in place of `node`; None where there is none."""
    rpc = node.first(oldest) if isinstance(node, Endpoints) else node
    # A node of another make may do what no other process can.
    return rpc if type(rpc) is Rpc else None


def blame(node: Node, error: LedgerError) -> None:
    """Count an answer that could not be used against the endpoint that gave it."""
    if isinstance(node, Endpoints) and isinstance(error, ChainUnavailable):
        node.blame(error)


def _by(ones: Sequence[Endpoint]) -> str:
    return f" by {', '.join(one.host for one in ones)}" if ones else ""


def _hash_of(reply: Any) -> bytes | None:
    return Block.of(reply).hash.raw if isinstance(reply, dict) else None
