"""The chain rule: what n endpoints together say about one license (docs/spec/key-release.md).

q = ⌊n/2⌋ + 1 endpoints must be healthy (right chain, right contracts, a head neither old nor ahead
of time) and agree on two blocks: the q-th highest head and the q-th highest finalized block,
heights that q of them claim to have reached, so that no single one holds the others back. A grant
needs VALID at both. A single endpoint that shows something else is reported as contrary, which
stops new releases; it is no authoritative no.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from ledger.broker.facts import ChainState, PlanFacts, Side
from ledger.broker.leases import BlockRef
from ledger.broker.wallet_probe import answer_of, probe_request
from ledger.broker.wallet_signatures import SignatureState, WalletSays
from ledger.chain.abi_codec import contract
from ledger.chain.deployment import Deployment
from ledger.chain.profile import ChainProfile
from ledger.chain.rpc import Block, Rpc, block_param, data
from ledger.errors import (
    ChainError,
    ChainUnavailable,
    ContractReverted,
    EndpointsDisagree,
    LedgerError,
    UnavailableError,
    UsageError,
)
from ledger.ids import ZERO_ADDRESS, Address, Digest, LicenseId, ModelId
from ledger.licensing.entitlement import Code, LicenseFacts, Seat, Status

VERIFY_SECONDS: Final = 60.0
"""How long an endpoint's identity (genesis and contract code) is taken as known."""

Title = tuple[Address, Digest]
"""A model's titleholder, and the record hash lodged for one epoch."""

_T = TypeVar("_T")
_S = TypeVar("_S")


@dataclass(frozen=True, slots=True)
class _Sight:
    """One healthy endpoint's present head and finalized block."""

    rpc: Rpc
    head: Block
    finalized: Block


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """One endpoint as last seen; `trouble` is empty when healthy."""

    host: str
    head: int | None
    trouble: str


class ChainView:
    """Reads licenses and titles by the chain rule. Thread-safe.

    Args:
        rpcs: one client per endpoint, each of a different operator.
        deployment: the contracts.
        profile: of the chain.
        clock: Unix seconds, for the age of heads.

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
        self._rpcs = tuple(rpcs)
        self._quorum = len(rpcs) // 2 + 1
        self._deployment = deployment
        self._profile = profile
        self._clock = clock
        self._verified: dict[int, float] = {}
        self._sets: dict[int, tuple[int, ...]] = {}
        self._health: dict[int, EndpointHealth] = {}
        self._ledger = deployment.addresses["LicenseLedger"]
        self._registry = deployment.addresses["ModelRegistry"]
        self._brokers = deployment.addresses["BrokerRegistry"]
        self._pool = ThreadPoolExecutor(len(rpcs)) if len(rpcs) > 1 else None

    def health(self) -> tuple[EndpointHealth, ...]:
        """Each endpoint as last seen, in the order given."""
        return tuple(
            self._health.get(i, EndpointHealth(rpc.hosts[0], None, "not asked yet"))
            for i, rpc in enumerate(self._rpcs)
        )

    def close(self) -> None:
        """Close the connections."""
        for rpc in self._rpcs:
            rpc.close()
        if self._pool is not None:
            self._pool.shutdown(wait=False)

    # -- the two questions ---------------------------------------------------------------------

    def license_state(
        self, license_id: LicenseId, model: ModelId, runtime_key_hash: Digest, *, now: int
    ) -> ChainState:
        """License, plan, title and sealing at the agreed finalized block and at the agreed head.

        Raises:
            ChainUnavailable: fewer than q endpoints are healthy, or what they agree on is old.
            EndpointsDisagree: no q of them agree.
        """
        sights = self._survey()
        head = self._agreed_head(sights)
        final = self._agreed(sights, self._reached(sight.finalized.number for sight in sights))
        at = max(now, head.timestamp)

        def read(sight: _Sight) -> tuple[Side, Side, Side]:
            blocks = _distinct((final, head, sight.head))
            sides = self._sides(sight.rpc, blocks, license_id, model, runtime_key_hash, at=at)
            known = {side.block.hash: side for side in sides}
            return known[final.hash], known[head.hash], known[sight.head.hash]

        answers = self._each(sights, read)
        good = [(sight, sides) for sight, sides in answers if not isinstance(sides, LedgerError)]
        if len(good) < self._quorum:
            raise self._too_few(answer for _, answer in answers)
        final_side = self._majority(sides[0] for _, sides in good)
        head_side = self._majority(sides[1] for _, sides in good)
        contrary = tuple(
            f"{sight.rpc.hosts[0]} shows {_word(own.code)} at block {own.block.number}"
            for sight, (at_final, at_head, own) in good
            if at_final != final_side
            or at_head != head_side
            or replace(own, block=head_side.block) != head_side
        )
        if final_side.plan is not None and final_side.brokers:
            # A set never changes, and q endpoints agreed on this one at a finalized block.
            self._sets[final_side.plan.broker_set] = final_side.brokers
        return ChainState(final_side, head_side, contrary)

    def title_state(self, model: ModelId, epoch: int) -> tuple[Address, Digest]:
        """Titleholder of a model and the record hash lodged for one sealing epoch, at the head.

        Raises:
            ChainUnavailable: fewer than q endpoints are healthy, or what they agree on is old.
            EndpointsDisagree: no q of them agree, or one shows something else at its own head.
        """
        sights = self._survey()
        head = self._agreed_head(sights)
        registry = contract("ModelRegistry")

        def read(sight: _Sight) -> tuple[Title, Title]:
            answers = self._calls(
                sight.rpc,
                [
                    call
                    for block in (head, sight.head)
                    for call in (
                        (block, self._registry, registry.encode("licensorOf", model)),
                        (block, self._registry, registry.encode("sealingAt", model, epoch)),
                    )
                ],
            )
            agreed, own = (
                (
                    registry.decode("licensorOf", holder)[0],
                    registry.decode("sealingAt", lodged)[0],
                )
                for holder, lodged in _grouped(answers, 2)
            )
            return agreed, own

        answers = self._each(sights, read)
        good = [answer for _, answer in answers if not isinstance(answer, LedgerError)]
        if len(good) < self._quorum:
            raise self._too_few(answer for _, answer in answers)
        title = self._majority(agreed for agreed, _ in good)
        if any(shown != title for shown in itertools.chain(*good)):
            raise EndpointsDisagree(
                "endpoints show different titles or sealings of the model",
                hint="try again shortly; deed doctor shows each endpoint",
            )
        return title

    def signature_state(
        self, chain: ChainState, digest: Digest, signature: bytes
    ) -> SignatureState:
        """What the wallet that holds a license says about a signature, at both agreed blocks.

        Args:
            chain: as `license_state` agreed on it.
            digest: what was signed.
            signature: ERC-1271's, or in ERC-6492's envelope.

        Raises:
            SignatureInvalid: an envelope that cannot be opened.
            ChainUnavailable: fewer than q endpoints answer.
            EndpointsDisagree: no q of them agree.
        """
        sides = (chain.finalized, chain.head)
        requests = [
            probe_request(side.license.holder, digest, signature, side.block.hash) for side in sides
        ]

        def ask(rpc: Rpc) -> tuple[WalletSays, ...]:
            return tuple(answer_of(result) for result in rpc.batch(requests))

        healthy = [
            rpc for rpc, health in zip(self._rpcs, self.health(), strict=True) if not health.trouble
        ]
        answers = self._each(healthy, ask)
        good = [(rpc, said) for rpc, said in answers if not isinstance(said, LedgerError)]
        if len(good) < self._quorum:
            raise self._too_few(said for _, said in answers)
        final, head = self._majority(said for _, said in good)
        contrary = tuple(
            f"through {rpc.hosts[0]} the wallet {says.sentence} at block {side.block.number}"
            for rpc, said in good
            for side, says, agreed in zip(sides, said, (final, head), strict=True)
            if says is not agreed
        )
        return SignatureState(final, head, contrary)

    # -- which blocks --------------------------------------------------------------------------

    def _survey(self) -> list[_Sight]:
        """Ask every endpoint where it stands; keep the healthy ones."""
        numbered = list(enumerate(self._rpcs))
        answers = self._each(numbered, lambda item: self._look(*item))
        sights: list[_Sight] = []
        for (index, rpc), answer in answers:
            trouble = answer.message if isinstance(answer, LedgerError) else ""
            head = None if isinstance(answer, LedgerError) else answer.head.number
            self._health[index] = EndpointHealth(rpc.hosts[0], head, trouble)
            if not isinstance(answer, LedgerError):
                sights.append(answer)
        if len(sights) < self._quorum:
            raise self._too_few(answer for _, answer in answers)
        return sights

    def _look(self, index: int, rpc: Rpc) -> _Sight:
        now = self._clock()
        if now - self._verified.get(index, float("-inf")) > VERIFY_SECONDS:
            self._deployment.verify(rpc)
            self._verified[index] = now
        if self._profile.finality == "tag":
            final, head = (
                Block.of(raw)
                for raw in rpc.batch(
                    [
                        ("eth_getBlockByNumber", ["finalized", False]),
                        ("eth_getBlockByNumber", ["latest", False]),
                    ]
                )
            )
        else:
            head = rpc.block("latest")
            final = rpc.block(max(0, head.number - self._profile.finality_depth))
        limit = self._profile.max_head_age
        if limit is not None and now - head.timestamp > limit:
            raise ChainUnavailable(
                f"{rpc.hosts[0]} is {int(now - head.timestamp)} s behind", retry_after=12.0
            )
        # A chain whose heads have no greatest age keeps no true time either: a local one, whose
        # clock tests set forward.
        ahead = head.timestamp - now
        if limit is not None and ahead > self._profile.timestamp_tolerance:
            raise ChainUnavailable(
                f"{rpc.hosts[0]} shows a head {math.ceil(ahead)} s ahead of this clock",
                retry_after=12.0,
                hint="check the clock of this host and the endpoint",
            )
        return _Sight(rpc, head, final)

    def _reached(self, numbers: Iterable[int]) -> int:
        """The greatest height that q endpoints claim to have reached: the q-th highest."""
        return sorted(numbers, reverse=True)[self._quorum - 1]

    def _agreed_head(self, sights: list[_Sight]) -> Block:
        """The head of q endpoints, held against the clock itself: one endpoint's word is not."""
        head = self._agreed(sights, self._reached(sight.head.number for sight in sights))
        limit, age = self._profile.max_head_age, self._clock() - head.timestamp
        if limit is not None and age > limit:
            raise ChainUnavailable(
                f"the newest block that {self._quorum} of {len(self._rpcs)} endpoints agree on is "
                f"{int(age)} s old",
                retry_after=12.0,
            )
        return head

    def _agreed(self, sights: list[_Sight], number: int) -> Block:
        """The block at a height that q endpoints show under one hash and with one time."""

        def at_height(sight: _Sight) -> Block:
            for block in (sight.head, sight.finalized):
                if block.number == number:
                    return block
            return sight.rpc.block(number)

        answers = self._each(sights, at_height)
        blocks = [answer for _, answer in answers if not isinstance(answer, LedgerError)]
        # The hash is not recomputed from the header, so the time needs the votes as well.
        votes = Counter((block.hash, block.timestamp) for block in blocks if block.number == number)
        if votes:
            (hash_, time_), count = votes.most_common(1)[0]
            if count >= self._quorum:
                return next(b for b in blocks if (b.hash, b.timestamp) == (hash_, time_))
        raise EndpointsDisagree(
            f"no {self._quorum} of {len(self._rpcs)} endpoints agree on block {number}",
            hint="try again shortly; deed doctor shows each endpoint",
        )

    def _majority(self, values: Iterable[_T]) -> _T:
        listed = list(values)
        for value in listed:
            if sum(other == value for other in listed) >= self._quorum:
                return value
        raise EndpointsDisagree(
            f"no {self._quorum} of {len(self._rpcs)} endpoints agree on the license",
            hint="try again shortly; deed doctor shows each endpoint",
        )

    def _too_few(self, answers: Iterable[object]) -> ChainUnavailable:
        troubles = "; ".join(
            answer.message for answer in answers if isinstance(answer, LedgerError)
        )
        count = len(self._rpcs)
        short = (
            "the chain's endpoint is not healthy"
            if count == 1
            else f"fewer than {self._quorum} of {count} endpoints are healthy"
        )
        return ChainUnavailable(
            f"{short}: {troubles}",
            retry_after=2.0,
        )

    def _each(
        self, items: Sequence[_S], act: Callable[[_S], _T]
    ) -> list[tuple[_S, _T | LedgerError]]:
        def guarded(item: _S) -> _T | LedgerError:
            try:
                return act(item)
            except (ChainError, UnavailableError) as error:
                return error

        if self._pool is None or len(items) == 1:
            return [(item, guarded(item)) for item in items]
        return list(zip(items, self._pool.map(guarded, items), strict=True))

    # -- what they hold ------------------------------------------------------------------------

    def _calls(self, rpc: Rpc, calls: Sequence[tuple[Block, Address, bytes]]) -> list[bytes]:
        """Contract calls, each at its block, in one round trip."""
        requests = [
            ("eth_call", [{"to": str(to), "data": "0x" + body.hex()}, block_param(block.hash)])
            for block, to, body in calls
        ]
        return [data(value) for value in rpc.batch(requests)]

    def _sides(
        self,
        rpc: Rpc,
        blocks: Sequence[Block],
        license_id: LicenseId,
        model: ModelId,
        runtime_key_hash: Digest,
        *,
        at: int,
    ) -> list[Side]:
        """Everything a decision needs at each block, in two round trips."""
        ledger, registry = contract("LicenseLedger"), contract("ModelRegistry")
        opening = [
            (self._ledger, ledger.encode("check", license_id, ZERO_ADDRESS, runtime_key_hash, at)),
            (self._registry, registry.encode("modelOf", model)),
            (self._registry, registry.encode("sealingOf", model)),
        ]
        # These revert for an unknown license, so they follow once it is known to be there.
        detail = [
            (self._ledger, ledger.encode("licenseOf", license_id)),
            (self._ledger, ledger.encode("planOf", license_id.plan)),
            (self._ledger, ledger.encode("seatOf", license_id, runtime_key_hash)),
        ]
        first = _grouped(self._calls(rpc, [(b, *call) for b in blocks for call in opening]), 3)
        codes = [int(ledger.decode("check", answer[0])[0]) for answer in first]
        there = [b for b, code in zip(blocks, codes, strict=True) if code != Code.NOT_FOUND]
        rest = iter(_grouped(self._calls(rpc, [(b, *call) for b in there for call in detail]), 3))
        sides: list[Side] = []
        for block, code, answer in zip(blocks, codes, first, strict=True):
            title = registry.decode("modelOf", answer[1])
            epoch, sealing = registry.decode("sealingOf", answer[2])
            side = Side(
                block=BlockRef(block.number, block.hash, block.timestamp),
                code=code,
                license=_no_license(license_id),
                grant_nonce=0,
                plan=None,
                title_holder=title[0],
                model_status=int(title[3]),
                sealing_epoch=int(epoch),
                sealing=sealing,
                brokers=(),
            )
            if code != Code.NOT_FOUND:
                side = self._with_license(side, rpc, block, license_id, next(rest))
            sides.append(side)
        return sides

    def _with_license(
        self, side: Side, rpc: Rpc, block: Block, license_id: LicenseId, answers: Sequence[bytes]
    ) -> Side:
        ledger = contract("LicenseLedger")
        holder, not_before, not_after, status, _, nonce, suspended_at = ledger.decode(
            "licenseOf", answers[0]
        )
        terms, state = ledger.decode("planOf", answers[1])
        bound_at, until, measurement = ledger.decode("seatOf", answers[2])
        licensor = state["licensor"]
        facts = LicenseFacts(
            license=license_id,
            holder=holder,
            status=Status(status),
            not_before=int(not_before),
            not_after=int(not_after),
            suspended_at=int(suspended_at),
            licensor=licensor,
            grace=int(terms["grace"]),
            seat=Seat(int(bound_at), int(until), bytes(measurement)),
        )
        plan = PlanFacts.of(license_id.plan, terms, licensor)
        return replace(
            side,
            license=facts,
            plan=plan,
            grant_nonce=int(nonce),
            brokers=self._members(rpc, block, plan.broker_set),
        )

    def _members(self, rpc: Rpc, block: Block, set_id: int) -> tuple[int, ...]:
        """The brokers of a set: as agreed before, or as this endpoint shows them."""
        known = self._sets.get(set_id)
        if known is not None:
            return known
        registry = contract("BrokerRegistry")
        try:
            (answer,) = self._calls(
                rpc, [(block, self._brokers, registry.encode("brokerSetOf", set_id))]
            )
        except ContractReverted:
            return ()
        return tuple(int(member) for member in registry.decode("brokerSetOf", answer)[2])


def _grouped(values: Sequence[bytes], size: int) -> list[Sequence[bytes]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _distinct(blocks: Iterable[Block]) -> list[Block]:
    return list({block.hash: block for block in blocks}.values())


def _no_license(license_id: LicenseId) -> LicenseFacts:
    return LicenseFacts(license_id, ZERO_ADDRESS, Status.NONE, 0, 0, 0, ZERO_ADDRESS)


def _word(code: int) -> str:
    return Code(code).name if code in set(Code) else f"code {code}"
