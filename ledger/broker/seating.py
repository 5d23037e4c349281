"""Steps 9 and 10 of a decision, and the leases that come of it.

A seat is held until its lease's ``graceUntil``, whatever the chain releases meanwhile.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace

from ledger.broker import policy
from ledger.broker.facts import ChainState, PlanFacts
from ledger.broker.fleet import WorkerCertificate
from ledger.broker.grants import RuntimeGrant
from ledger.broker.leases import Heartbeat, Lease
from ledger.broker.policy import Deliberation
from ledger.broker.protocol import KeyRequest
from ledger.broker.store import BrokerStore
from ledger.errors import KeyRequestRejected, LeaseExpired, QuotaSpent, SeatsFull
from ledger.ids import Digest, LicenseId
from ledger.licensing.entitlement import PERPETUAL, moment
from ledger.licensing.terms import Terms, ends_at

_NOT_METERED = "not metered"


def plan_of(chain: ChainState) -> PlanFacts:
    """The plan of a license that step 5 found valid."""
    assert chain.head.plan is not None, "a valid license has a plan"
    return chain.head.plan


def new_lease(
    request: KeyRequest, chain: ChainState, terms: Terms, *, audience: str, now: int
) -> Lease:
    """The lease a request gets if a seat is free. Nothing is stored."""
    plan = plan_of(chain)
    not_after, grace_until = policy.lease_times(
        plan, _limit(chain, request.grant, terms, request.certificate, now=now), now=now
    )
    return Lease(
        id=Digest(secrets.token_bytes(32)),
        license=request.license,
        model=request.model,
        epoch=chain.finalized.sealing_epoch,
        sealing=request.evidence.sealing,
        runtime_key_hash=request.runtime.hash(),
        kem_key_hash=request.kem.hash(),
        audience=audience,
        issued_at=now,
        not_after=not_after,
        grace_until=grace_until,
        sequence=0,
        heartbeat=max(1, plan.lease_ttl // 3),
        enforce=not plan.warn_only,
        head=chain.head.block,
        finalized=chain.finalized.block,
    )


def extended(
    lease: Lease,
    beat: Heartbeat,
    grant: RuntimeGrant | None,
    chain: ChainState,
    terms: Terms | None,
    *,
    now: int,
    certificate: WorkerCertificate | None = None,
) -> Lease:
    """The same lease, later."""
    plan = plan_of(chain)
    not_after, grace_until = policy.lease_times(
        plan, _limit(chain, grant, terms, certificate, now=now), now=now
    )
    return replace(
        lease,
        issued_at=now,
        not_after=not_after,
        grace_until=grace_until,
        sequence=beat.sequence,
        heartbeat=max(1, plan.lease_ttl // 3),
        enforce=not plan.warn_only,
        head=chain.head.block,
        finalized=chain.finalized.block,
    )


def _limit(
    chain: ChainState,
    grant: RuntimeGrant | None,
    terms: Terms | None,
    certificate: WorkerCertificate | None,
    *,
    now: int,
) -> int:
    """The first end among license, grant, certificate, terms and seat (Unix seconds)."""
    license_facts = chain.head.license
    ends = [license_facts.not_after, chain.finalized.license.not_after]
    if grant is not None:
        ends.append(grant.not_after)
    if certificate is not None:
        ends.append(certificate.not_after)
    if terms is not None:
        # At the moment that step 8 is asked about: what it permits then, a lease outlives no more.
        end = ends_at(terms, max(now, chain.head.block.timestamp))
        ends += [] if end is None else [end]
    if license_facts.seat is not None and license_facts.seat.until:
        ends.append(license_facts.seat.until)
    return min(*ends, PERPETUAL)


class Seating:
    """Takes or looks at seats and quota in the broker's database."""

    def __init__(self, store: BrokerStore) -> None:
        self._store = store

    def take(
        self,
        talk: Deliberation,
        request: KeyRequest,
        plan: PlanFacts | None,
        lease: Lease | None,
        *,
        gate: Callable[[], None],
        threshold: int = 1,
        members: int = 1,
    ) -> Lease | None:
        """Run steps 9 and 10 inside the caller's transaction; None unless both pass.

        `gate` raises what refuses a seat whether or not one is free: a limit or a hold. `threshold`
        of the set's `members` must release; what several of them give, none of them can count.
        """

        def seat() -> str:
            assert lease is not None
            assert plan is not None, "steps 1 to 8 passed"
            gate()
            _check_countable(plan, threshold, members)
            free = self._store.take_seat(
                lease,
                request.runtime,
                request.grant,
                seats=plan.seats if plan.floating else 0,
                now=lease.issued_at,
            )
            if not free:
                raise _full(request.license, plan)
            return self._taken(request, plan, lease.issued_at)

        def quota() -> str:
            assert plan is not None, "steps 1 to 8 passed"
            _check_metered(plan, members)
            if not self._store.use(request.license, quota=plan.quota):
                raise _spent(request.license, plan)
            if not plan.quota:
                return _NOT_METERED
            return _used(self._store.used(request.license), plan)

        talk.step(9, seat)
        talk.step(10, quota)
        if talk.open and lease is not None:
            # Seats count runtimes, so one runtime key lives on one lease: a copy of it costs the
            # first its own.
            self._store.supersede(lease)
            if request.certificate is not None:
                self._store.keep_certificate(lease.id, request.certificate)
            return lease
        if lease is not None:
            # Step 10 may have refused after step 9 stored it.
            self._store.drop(lease.id)
        return None

    def look(
        self,
        talk: Deliberation,
        request: KeyRequest,
        plan: PlanFacts | None,
        *,
        now: int,
        gate: Callable[[], None],
        threshold: int = 1,
        members: int = 1,
    ) -> None:
        """Run steps 9 and 10 without taking anything; `gate` as for `take`."""

        def seat() -> str:
            assert plan is not None, "steps 1 to 8 passed"
            gate()
            _check_countable(plan, threshold, members)
            taken = self._store.seats_taken(request.license, request.runtime.hash(), now=now)
            if plan.floating and plan.seats and taken >= plan.seats:
                raise _full(request.license, plan)
            return self._taken(request, plan, now)

        def quota() -> str:
            assert plan is not None, "steps 1 to 8 passed"
            _check_metered(plan, members)
            used = self._store.used(request.license)
            if plan.quota and used >= plan.quota:
                raise _spent(request.license, plan)
            return _used(used, plan)

        talk.step(9, seat)
        talk.step(10, quota)

    def _taken(self, request: KeyRequest, plan: PlanFacts, now: int) -> str:
        if not plan.floating:
            return "bound on chain"
        if not plan.seats:
            return "floating, without a limit of seats"  # counting them all would cost more each
        others = self._store.seats_taken(request.license, request.runtime.hash(), now=now)
        return f"floating seat {others + 1} of {plan.seats}"


def check_running(lease: Lease, *, now: int) -> str:
    """A lease past its grace has lost its seat and cannot be extended.

    Raises:
        LeaseExpired: it is past it.
    """
    if now >= lease.grace_until:
        raise LeaseExpired(
            f"the lease ended on {moment(lease.grace_until)} and its seat is free again"
        )
    return "held"


def _check_countable(plan: PlanFacts, threshold: int, members: int) -> None:
    # Where one of several suffices, each would give all the seats.
    if plan.floating and (threshold > 1 or (members > 1 and plan.seats)):
        raise KeyRequestRejected(
            f"plan {plan.id} has floating seats and a broker set of {members}, of which "
            f"{threshold} must release: brokers that decide alone cannot count seats together",
            check=9,
            hint=f"the licensor {plan.licensor} can offer a plan with bound seats, which the "
            "chain counts, or with one broker",
        )
    if plan.floating and plan.seats and plan.lease_ttl + plan.grace == 0:
        raise KeyRequestRejected(
            f"the leases of plan {plan.id} last no time, so its floating seats cannot be counted",
            check=9,
            hint=f"the licensor {plan.licensor} can offer a plan with a lease time",
        )


def _check_metered(plan: PlanFacts, members: int) -> None:
    if members > 1 and plan.quota:
        raise KeyRequestRejected(
            f"plan {plan.id} is metered and has a broker set of {members}: brokers that decide "
            "alone cannot count leases together",
            check=10,
            hint=f"the licensor {plan.licensor} can offer a plan without a quota, or with one "
            "broker",
        )


def _full(license_id: LicenseId, plan: PlanFacts) -> SeatsFull:
    return SeatsFull(
        f"all {plan.seats} floating seats of license {license_id} are taken",
        remedy="a seat is free again when another runtime's lease and grace have ended; "
        f"the licensor {plan.licensor} can offer a plan with more",
    )


def _spent(license_id: LicenseId, plan: PlanFacts) -> QuotaSpent:
    return QuotaSpent(
        f"the quota of {plan.quota} leases of license {license_id} is used up",
        remedy=f"ask the licensor {plan.licensor} for more",
    )


def _used(used: int, plan: PlanFacts) -> str:
    return f"{used} of {plan.quota} leases used" if plan.quota else _NOT_METERED
