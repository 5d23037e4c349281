"""The n endpoints of a broker as one panel: who is healthy, and what q of them agree on.

Steps of the chain rule (docs/spec/key-release.md) that are the same for every question: which
endpoints count, which block is the agreed head, which the agreed finalized one.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from ledger.broker.stateproof import Headers
from ledger.chain.deployment import Deployment
from ledger.chain.health import EndpointHealth, EndpointRecord
from ledger.chain.profile import ChainProfile
from ledger.chain.rpc import Block, Rpc, quantity
from ledger.chain.witnesses import DEADLINE, PATIENCE, Witness, gather, outcome
from ledger.errors import (
    ChainUnavailable,
    ContractReverted,
    EndpointsDisagree,
    FormatError,
    LedgerError,
    Reorganised,
    RpcRefused,
    StateProofInvalid,
    UsageError,
    WrongNetwork,
)

VERIFY_SECONDS: Final = 60.0
"""How long an endpoint's contract code is taken as known; its chain is looked at every time."""

Asked = tuple[str, list[Any]]
"""A read: method and parameters."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Sight:
    """One healthy endpoint's present head and finalized block.

    Attributes:
        until: end of the decision, on the monotonic clock.
        took: seconds that the look took.
        early: results of what it was asked along with where it stands; none when it refused that.
    """

    witness: Witness
    head: Block
    finalized: Block
    until: float
    took: float
    early: tuple[Any, ...] = ()

    @property
    def rpc(self) -> Rpc:
        """Its client."""
        return self.witness.rpc

    def apart(self, error: LedgerError) -> None:
        """Note that it cannot answer for the agreed blocks."""
        if isinstance(error, FormatError):
            self.witness.record.stumbled(error)
        else:
            host = self.witness.host
            self.witness.record.stumbled(Reorganised(f"{host} does not hold the agreed blocks"))


class Panel:
    """Endpoints of different operators, asked at once. Thread-safe.

    Args:
        rpcs: one client per endpoint.
        deployment: the contracts they must serve.
        profile: of the chain.
        clock: Unix seconds, for the age of heads.
        patience: seconds that an endpoint has once q others have answered.
        deadline: seconds after which a decision is given up.

    Attributes:
        quorum: how many endpoints must agree.
        headers: block headers, recomputed where the chain allows it.

    Raises:
        UsageError: fewer endpoints than the profile asks for, or one of them named twice.
    """

    def __init__(
        self,
        rpcs: Sequence[Rpc],
        deployment: Deployment,
        profile: ChainProfile,
        *,
        clock: Callable[[], float] = time.time,
        patience: float = PATIENCE,
        deadline: float = DEADLINE,
    ) -> None:
        if len(rpcs) < profile.min_endpoints:
            raise UsageError(
                f"{profile.name} needs {profile.min_endpoints} RPC endpoints of different "
                f"operators, not {len(rpcs)}",
                hint="name more with --rpc",
            )
        hosts = [host.lower().removesuffix(":443") for rpc in rpcs for host in rpc.hosts]
        if profile.min_endpoints > 1 and len(set(hosts)) < len(hosts):
            raise UsageError(
                f"{profile.name} needs endpoints of different operators, and one is named twice",
                hint="give each --rpc another operator's URL",
            )
        self._witnesses = tuple(
            Witness(rpc, EndpointRecord(rpc.hosts[0], clock=clock), stuck_after=2 * deadline)
            for rpc in rpcs
        )
        self.quorum = len(rpcs) // 2 + 1
        self._deployment = deployment
        self._profile = profile
        self._clock = clock
        self._patience, self._deadline = patience, deadline
        self.headers = Headers(profile.proof_kind)
        self._final: Block | None = None
        self._final_lock = threading.Lock()

    def health(self) -> tuple[EndpointHealth, ...]:
        """Each endpoint as last seen, in the order given."""
        return tuple(witness.record.shown() for witness in self._witnesses)

    def close(self) -> None:
        """Close the connections."""
        for witness in self._witnesses:
            witness.close()

    def survey(self, also: Sequence[Asked] = ()) -> list[Sight]:
        """Ask the endpoints where they stand; keep the healthy ones.

        One that failed too often in a row is not waited for while q others are well: it is tried
        in the background until it is back. Where the decision needs it, it is asked all the same.

        Args:
            also: further reads in the same round trip, whose answers are `Sight.early`.
        """
        until = time.monotonic() + self._deadline
        asked = [witness for witness in self._witnesses if witness.record.closed]
        spared = [witness for witness in self._witnesses if witness not in asked]
        for witness in spared:
            if witness.record.try_again():
                witness.start(partial(self._probe, witness, until))
        answers: list[Sight | LedgerError] = []
        if len(asked) >= self.quorum:
            answers = self._look_all(asked, until, also)
        else:
            spared = list(self._witnesses)
        if sum(isinstance(answer, Sight) for answer in answers) < self.quorum:
            answers += self._look_all(spared, until, also)
        sights = [answer for answer in answers if isinstance(answer, Sight)]
        if len(sights) < self.quorum:
            raise self.too_few(answers)
        return sights

    def _look_all(
        self, asked: Sequence[Witness], until: float, also: Sequence[Asked]
    ) -> list[Sight | LedgerError]:
        tasks = [(each, each.start(partial(self._look, each, until, also))) for each in asked]
        answers = gather(tasks, enough=self.quorum, patience=self._patience, until=until)
        for (witness, _), answer in zip(tasks, answers, strict=True):
            _note(witness, answer)
        return answers

    def _probe(self, witness: Witness, until: float) -> None:
        """A look that nobody waits for."""
        try:
            _note(witness, self._look(witness, until))
        except LedgerError as error:
            _note(witness, error)

    def _look(self, witness: Witness, until: float, also: Sequence[Asked] = ()) -> Sight:
        now, rpc = self._clock(), witness.rpc
        if now - witness.verified_at > VERIFY_SECONDS:
            self._deployment.verify(rpc)
            witness.verified_at = now
        started = time.monotonic()
        chain_id, final, head, early = self._heights(rpc, witness, also)
        # A hash commits to all blocks before it: only a final block that is neither the known one
        # nor its child can belong to a chain with another first block.
        linked = witness.final in {final.hash, final.parent_hash}
        if chain_id != self._deployment.chain_id or not (linked or self._begins_well(witness)):
            witness.verified_at, witness.final = float("-inf"), None
            raise WrongNetwork(
                f"{witness.host} has gone over to another chain",
                hint="check the URL, and what stands behind it",
            )
        witness.final = final.hash
        if final.number > head.number:
            raise ChainUnavailable(
                f"{witness.host} shows a finalized block above its head", fault="malformed"
            )
        self._check_age(witness.host, head, now)
        return Sight(witness, head, final, until, time.monotonic() - started, early)

    def _together(self, rpc: Rpc, asked: list[Asked], also: Sequence[Asked]) -> list[Any]:
        if also:
            # What it refuses or cannot answer of the rest says nothing of where it stands.
            with contextlib.suppress(ContractReverted, RpcRefused):
                return rpc.batch([*asked, *also])
        return rpc.batch(asked)

    def _heights(
        self, rpc: Rpc, witness: Witness, also: Sequence[Asked]
    ) -> tuple[int, Block, Block, tuple[Any, ...]]:
        """Chain id, finalized block, head and what else is asked.

        In one round trip where the chain has a tag.
        """
        tagged = self._profile.finality == "tag"
        asked: list[Asked] = [
            ("eth_chainId", []),
            *(("eth_getBlockByNumber", [tag, False]) for tag in ("finalized",) if tagged),
            ("eth_getBlockByNumber", ["latest", False]),
        ]
        said = self._together(rpc, asked, also)
        (chain_id, *raw), early = said[: len(asked)], tuple(said[len(asked) :])
        head = self._block(witness, raw[-1])
        height = max(0, head.number - self._profile.finality_depth)
        final = self._block(witness, raw[0] if tagged else rpc.block(height).raw)
        return quantity(chain_id), final, head, early

    def _begins_well(self, witness: Witness) -> bool:
        first = self._block(witness, witness.rpc.block(0).raw)
        return first.hash == self._deployment.genesis_hash

    def _block(self, witness: Witness, raw: object) -> Block:
        """A block as an endpoint shows it, its header recomputed."""
        if not isinstance(raw, dict):
            raise ChainUnavailable(
                f"{witness.host} shows something that is not a block", fault="malformed"
            )
        try:
            return self.headers.check(Block.of(raw))
        except StateProofInvalid as error:
            raise StateProofInvalid(f"{witness.host} shows a false header: {error}") from None

    def _check_age(self, host: str, head: Block, now: float) -> None:
        limit = self._profile.max_head_age
        if limit is not None and now - head.timestamp > limit:
            raise ChainUnavailable(
                f"{host} is {int(now - head.timestamp)} s behind", retry_after=12.0, fault="stale"
            )
        # A chain whose heads have no greatest age keeps no true time either: a local one, whose
        # clock tests set forward.
        ahead = head.timestamp - now
        if limit is not None and ahead > self._profile.timestamp_tolerance:
            raise ChainUnavailable(
                f"{host} shows a head {math.ceil(ahead)} s ahead of this clock",
                retry_after=12.0,
                hint="check the clock of this host and the endpoint",
                fault="future",
            )

    def reached(self, numbers: Iterable[int]) -> int:
        """The greatest height that q endpoints claim to have reached: the q-th highest."""
        return sorted(numbers, reverse=True)[self.quorum - 1]

    def agreed_head(self, sights: list[Sight]) -> Block:
        """The head of q endpoints, held against the clock itself: one endpoint's word is not."""
        head = self._agreed(sights, self.reached(sight.head.number for sight in sights))
        limit, age = self._profile.max_head_age, self._clock() - head.timestamp
        if limit is not None and age > limit:
            raise ChainUnavailable(
                f"the newest block that {self.quorum} of {len(self._witnesses)} endpoints agree "
                f"on is {int(age)} s old",
                retry_after=12.0,
            )
        for sight in sights:
            sight.witness.record.lags(head.number)
        return head

    def agreed_final(self, sights: list[Sight], head: Block) -> Block:
        """The finalized block of q endpoints, which never goes back.

        What was final once must still be there: q endpoints show it at its height, or nothing is
        decided until someone has found out which chain is the right one.

        Raises:
            EndpointsDisagree: no q of them agree on it, or the agreed head lies below it.
            Reorganised: another block stands where a final one stood.
        """
        with self._final_lock:
            kept = self._final
        claimed = self.reached(sight.finalized.number for sight in sights)
        final = self._agreed(sights, claimed if kept is None else max(claimed, kept.number))
        if kept is not None and kept.hash not in {final.hash, final.parent_hash}:
            same = final.number == kept.number
            former = final if same else self._agreed(sights, kept.number)
            if former.hash != kept.hash:
                raise Reorganised(
                    f"block {kept.number}, which was final, is another one now",
                    hint="find out which chain is the right one, then start the broker again",
                )
        if final.number > head.number:
            raise EndpointsDisagree(
                f"the endpoints' agreed head {head.number} is below the finalized block "
                f"{final.number}",
                hint="try again shortly; deed broker status shows each endpoint",
            )
        with self._final_lock:
            if self._final is None or final.number > self._final.number:
                self._final = final
        return final

    def _agreed(self, sights: list[Sight], number: int) -> Block:
        """The block at a height that q endpoints show under one hash and with one time."""

        def seen(sight: Sight) -> Block | None:
            for block in (sight.head, sight.finalized):
                if block.number == number:
                    return block
            return None

        def at_height(sight: Sight) -> Block:
            block = seen(sight)
            if block is not None:
                return block
            raw = sight.rpc.call("eth_getBlockByNumber", [hex(number), False])
            if raw is None:
                raise Reorganised(f"{sight.witness.host} does not show block {number}")
            return self._block(sight.witness, raw)

        answers = self._ask(sights, at_height, known=lambda sight: seen(sight) is not None)
        blocks = [answer for _, answer in answers if not isinstance(answer, LedgerError)]
        # Where hashes are not recomputed from headers, the time needs the votes as well.
        votes = Counter((block.hash, block.timestamp) for block in blocks if block.number == number)
        if votes:
            (hash_, time_), count = votes.most_common(1)[0]
            if count >= self.quorum:
                return next(b for b in blocks if (b.hash, b.timestamp) == (hash_, time_))
        raise EndpointsDisagree(
            f"no {self.quorum} of {len(self._witnesses)} endpoints agree on block {number}",
            hint="try again shortly; deed broker status shows each endpoint",
        )

    def majority(self, values: Iterable[_T]) -> _T:
        """The value that q endpoints show.

        Raises:
            EndpointsDisagree: no q of them show the same.
        """
        listed = list(values)
        for value in listed:
            if sum(other == value for other in listed) >= self.quorum:
                return value
        raise EndpointsDisagree(
            f"no {self.quorum} of {len(self._witnesses)} endpoints agree on the license",
            hint="try again shortly; deed broker status shows each endpoint",
        )

    def too_few(self, answers: Iterable[object]) -> ChainUnavailable:
        """The error where fewer than q endpoints could be relied on, with each one's trouble."""
        troubles = "; ".join(
            answer.message for answer in answers if isinstance(answer, LedgerError)
        )
        count = len(self._witnesses)
        short = (
            "the chain's endpoint is not healthy"
            if count == 1
            else f"fewer than {self.quorum} of {count} endpoints are healthy"
        )
        return ChainUnavailable(
            f"{short}: {troubles}",
            retry_after=2.0,
        )

    def each(
        self,
        sights: Sequence[Sight],
        act: Callable[[Sight], _T],
        *,
        known: Callable[[Sight], bool] = lambda _: False,
    ) -> list[tuple[Sight, _T | LedgerError]]:
        """Put the question to all healthy endpoints; each answer, or why there is none.

        Args:
            sights: the healthy endpoints.
            act: asks one.
            known: whether `act` need not ask one any more, and so needs no thread of its own.
        """
        answers = self._ask(sights, act, known=known)
        for sight, answer in answers:
            if not isinstance(answer, LedgerError):
                sight.witness.record.delivered()
        return answers

    def _ask(
        self, sights: Sequence[Sight], act: Callable[[Sight], _T], *, known: Callable[[Sight], bool]
    ) -> list[tuple[Sight, _T | LedgerError]]:
        found = {sight.witness: outcome(partial(act, sight)) for sight in sights if known(sight)}
        good = sum(not isinstance(answer, LedgerError) for answer in found.values())
        tasks = [
            (sight.witness, sight.witness.start(partial(act, sight)))
            for sight in sights
            if sight.witness not in found
        ]
        if tasks:
            asked = gather(
                tasks,
                enough=self.quorum,
                patience=self._patience,
                until=sights[0].until,
                good=good,
            )
            found.update(zip((witness for witness, _ in tasks), asked, strict=True))
        answers = [(sight, found[sight.witness]) for sight in sights]
        for sight, answer in answers:
            if isinstance(answer, LedgerError):
                sight.witness.record.stumbled(answer)
        return answers

    def any(self, sights: Sequence[Sight], act: Callable[[Sight], _T]) -> _T | None:
        """The first good answer of whichever endpoint has one, where one is enough."""

        def noted(sight: Sight) -> _T:
            try:
                return act(sight)
            except LedgerError as error:
                sight.witness.record.stumbled(error)
                raise

        answers = gather(
            [(sight.witness, sight.witness.start(partial(noted, sight))) for sight in sights],
            enough=1,
            patience=0.0,
            until=sights[0].until,
        )
        return next((answer for answer in answers if not isinstance(answer, LedgerError)), None)


def _note(witness: Witness, answer: Sight | LedgerError) -> None:
    if isinstance(answer, Sight):
        witness.record.saw(answer.head.number, answer.finalized.number, answer.took)
    else:
        witness.record.failed(answer)
