"""The chain rule: what n endpoints together say about one license (docs/spec/key-release.md).

q = ⌊n/2⌋ + 1 endpoints must be healthy (right chain, right contracts, fresh head) and agree on the
hash of the lowest finalized block and of one head. A grant needs VALID at both. A single endpoint
that shows something else is reported as contrary, which stops new releases; it is no
authoritative no.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from ledger.broker.facts import ChainState, PlanFacts, Side
from ledger.broker.leases import BlockRef
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
        UsageError: fewer endpoints than the profile asks for.
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
        """License, plan, title and sealing at the lowest finalized block and at the agreed head.

        Raises:
            ChainUnavailable: fewer than q endpoints are healthy.
            EndpointsDisagree: no q of them agree.
        """
        sights = self._survey()
        final = self._agreed(sights, min(sight.finalized.number for sight in sights))
        head = self._agreed(sights, min(sight.head.number for sight in sights))
        at = max(now, *(sight.head.timestamp for sight in sights))

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
            or (_grants(head_side.code) and not _grants(own.code))
        )
        return ChainState(final_side, head_side, contrary)

    def title_state(self, model: ModelId, epoch: int) -> tuple[Address, Digest]:
        """Titleholder of a model and the record hash lodged for one sealing epoch, at the head.

        Raises:
            ChainUnavailable: fewer than q endpoints are healthy.
            EndpointsDisagree: no q of them agree.
        """
        sights = self._survey()
        head = self._agreed(sights, min(sight.head.number for sight in sights))
        registry = contract("ModelRegistry")

        def read(sight: _Sight) -> tuple[Address, Digest]:
            holder, lodged = self._calls(
                sight.rpc,
                [
                    (head, self._registry, registry.encode("licensorOf", model)),
                    (head, self._registry, registry.encode("sealingAt", model, epoch)),
                ],
            )
            return (
                registry.decode("licensorOf", holder)[0],
                registry.decode("sealingAt", lodged)[0],
            )

        answers = self._each(sights, read)
        good = [answer for _, answer in answers if not isinstance(answer, LedgerError)]
        if len(good) < self._quorum:
            raise self._too_few(answer for _, answer in answers)
        return self._majority(good)

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
        return _Sight(rpc, head, final)

    def _agreed(self, sights: list[_Sight], number: int) -> Block:
        """The block at a height that q endpoints show under one hash."""

        def at_height(sight: _Sight) -> Block:
            for block in (sight.head, sight.finalized):
                if block.number == number:
                    return block
            return sight.rpc.block(number)

        answers = self._each(sights, at_height)
        blocks = [answer for _, answer in answers if not isinstance(answer, LedgerError)]
        votes = Counter(block.hash for block in blocks)
        if votes:
            hash_, count = votes.most_common(1)[0]
            if count >= self._quorum:
                return next(block for block in blocks if block.hash == hash_)
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
        return ChainUnavailable(
            f"fewer than {self._quorum} of {len(self._rpcs)} endpoints are healthy: {troubles}",
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
        bound_at, until, _ = ledger.decode("seatOf", answers[2])
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
            seat=Seat(int(bound_at), int(until)),
        )
        plan = PlanFacts(
            id=license_id.plan,
            model=ModelId(terms["modelId"].raw),
            licensor=licensor,
            terms_hash=terms["termsHash"],
            lease_ttl=int(terms["leaseTtl"]),
            grace=int(terms["grace"]),
            seats=int(terms["seats"]),
            quota=int(terms["quota"]),
            features=int(terms["features"]),
            broker_set=int(terms["brokerSet"]),
            floating=bool(terms["floating"]),
            warn_only=bool(terms["warnOnly"]),
        )
        return replace(
            side,
            license=facts,
            plan=plan,
            grant_nonce=int(nonce),
            brokers=self._members(rpc, block, plan.broker_set),
        )

    def _members(self, rpc: Rpc, block: Block, set_id: int) -> tuple[int, ...]:
        """The brokers of a set; a set never changes, so it is asked for once."""
        if set_id not in self._sets:
            registry = contract("BrokerRegistry")
            try:
                (answer,) = self._calls(
                    rpc, [(block, self._brokers, registry.encode("brokerSetOf", set_id))]
                )
            except ContractReverted:
                return ()
            members = registry.decode("brokerSetOf", answer)[2]
            self._sets[set_id] = tuple(int(member) for member in members)
        return self._sets[set_id]


def _grouped(values: Sequence[bytes], size: int) -> list[Sequence[bytes]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _distinct(blocks: Iterable[Block]) -> list[Block]:
    return list({block.hash: block for block in blocks}.values())


def _no_license(license_id: LicenseId) -> LicenseFacts:
    return LicenseFacts(license_id, ZERO_ADDRESS, Status.NONE, 0, 0, 0, ZERO_ADDRESS)


def _grants(code: int) -> bool:
    return code in {Code.VALID, Code.REVOKING}


def _word(code: int) -> str:
    return Code(code).name if code in set(Code) else f"code {code}"
