"""The decision to release a key, step by step and fail closed (docs/spec/key-release.md). Pure.

Each ``check_…`` function is one numbered step: it returns a sentence for the reply when it passes
and raises the error that denies otherwise. ``Deliberation`` runs them in order and stops at the
first failure. What is read from chain, database and clock comes in as arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ledger.broker.denials import Denial
from ledger.broker.evidence import EvidenceVerifier
from ledger.broker.facts import ChainState, IssuedChallenge, PlanFacts, Side
from ledger.broker.fleet import WorkerCertificate, check_certificate, fleet_key_hash
from ledger.broker.grants import RuntimeGrant, RuntimeKey
from ledger.broker.holding import (
    check_grant_on_chain,
    check_seat_of_worker,
    not_accepted,
    not_granted,
)
from ledger.broker.protocol import KeyRequest
from ledger.broker.wallet_signatures import AskWallet, account_of
from ledger.eip712 import Domain
from ledger.errors import (
    EndpointsDisagree,
    KeyRequestRejected,
    LedgerError,
    PendingFinality,
    PlanNotOfTitle,
    RuntimeNotBound,
    UseNotPermitted,
)
from ledger.ids import Digest, LicenseId
from ledger.licensing import entitlement
from ledger.licensing.entitlement import Code, Status, moment
from ledger.licensing.terms import Terms, permits

STEPS: Final[dict[int, str]] = {
    1: "challenge",
    2: "request",
    3: "runtime signature",
    4: "grant",
    5: "chain",
    6: "title",
    7: "evidence",
    8: "policy",
    9: "seat",
    10: "quota",
}
MAX_REQUEST_SECONDS: Final = 600
CLOCK_TOLERANCE: Final = 120
COMPROMISED: Final = 3


@dataclass(frozen=True, slots=True)
class Check:
    """One numbered step of a decision or an audit, as replies and reports show it."""

    number: int
    title: str
    result: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        """The step as replies carry it."""
        return {
            "number": self.number,
            "title": self.title,
            "result": self.result,
            "detail": self.detail,
        }


@dataclass(slots=True)
class Deliberation:
    """Runs numbered steps in order; after the first failure the rest is "not checked"."""

    checks: list[Check] = field(default_factory=list)
    denial: Denial | None = None

    @property
    def open(self) -> bool:
        """Whether nothing has failed so far."""
        return self.denial is None

    def step(self, number: int, check: Callable[[], str]) -> None:
        """Run one step, unless an earlier one failed."""
        title = STEPS[number]
        if self.denial is not None:
            self.checks.append(Check(number, title, "not checked", ""))
            return
        try:
            detail = check()
        except LedgerError as error:
            self.denial = Denial.of(error, check=number)
            self.checks.append(Check(number, title, "fail", error.message))
        else:
            self.checks.append(Check(number, title, "pass", detail))

    def to_json(self) -> list[dict[str, Any]]:
        """All steps, in order."""
        return [check.to_json() for check in self.checks]


# -- (1) to (3): who asks, and is it fresh -------------------------------------------------------


def check_challenge(issued: IssuedChallenge | None, request: KeyRequest, *, now: int) -> str:
    """(1) The challenge was issued for this license and model, is live, and is used up by this.

    Raises:
        KeyRequestRejected: unknown, used, expired, or another's.
    """
    again = "ask for a new challenge"
    if issued is None:
        raise KeyRequestRejected(
            "the challenge is unknown or was already used", check=1, hint=again
        )
    if now >= issued.expires_at:
        raise KeyRequestRejected("the challenge has expired", check=1, hint=again)
    if (issued.license, issued.model) != (request.license, request.model):
        raise KeyRequestRejected(
            "the challenge was issued for another license or model", check=1, hint=again
        )
    return "issued here, live, now consumed"


def check_request(
    request: KeyRequest,
    *,
    domain: Domain,
    audience: str,
    intent: str,
    now: int,
    lifetime: int = MAX_REQUEST_SECONDS,
    tolerance: int = CLOCK_TOLERANCE,
) -> str:
    """(2) The request is meant for this broker and this act, and its digest is recomputed.

    Raises:
        KeyRequestRejected: for another broker or act, or outside its time.
    """
    if request.audience != audience:
        raise KeyRequestRejected(
            f"the request is addressed to {request.audience}, not to {audience}", check=2
        )
    if request.evidence.intent != intent:
        raise KeyRequestRejected(
            f"the request was signed to {request.evidence.intent}, not to {intent}", check=2
        )
    if not 0 <= request.expires_at - request.issued_at <= lifetime:
        raise KeyRequestRejected("the request's lifetime is out of bounds", check=2)
    early = request.issued_at - tolerance - now
    late = now - request.expires_at - tolerance
    if early > 0 or late > 0:
        raise KeyRequestRejected(
            f"the runtime's clock is off: it says {moment(request.issued_at)}, "
            f"the broker says {moment(now)}",
            check=2,
            hint="set the runtime's clock",
        )
    return f"KeyRelease digest {request.digest(domain)}"


def check_signature(request: KeyRequest, *, domain: Domain) -> str:
    """(3) The runtime key named in the request signed that digest.

    Raises:
        SignatureInvalid: it did not.
    """
    request.runtime.verify(request.signature, request.digest(domain), step=3)
    return f"by runtime {request.runtime.hash()}"


# -- (4): may this runtime act for the holder ----------------------------------------------------


def check_grant(
    license_id: LicenseId,
    runtime: RuntimeKey,
    grant: RuntimeGrant | None,
    chain: ChainState | LedgerError,
    *,
    domain: Domain,
    at: int,
    certificate: WorkerCertificate | None = None,
    ask: AskWallet | None = None,
) -> str:
    """(4) The holder's wallet granted this runtime or its fleet, or bound it on chain.

    Without a readable chain only the grant itself is checked; step 5 then fails.

    Args:
        license_id: the license.
        runtime: who asks.
        grant: what the holder signed.
        chain: the chain's state.
        domain: of the license ledger.
        at: Unix seconds.
        certificate: of a worker, whose fleet the grant names.
        ask: asks a contract wallet; without it only accounts sign.

    Raises:
        RuntimeNotBound: no grant, or one for another runtime or license, or ended or cancelled.
        EndpointsDisagree, UnavailableError: a contract wallet could not be asked.
        WrongHolder: signed by someone who does not hold the license.
        PendingFinality: the signer holds it, but not yet finally.
        SignatureInvalid: no account signed it.
    """
    state = chain if isinstance(chain, ChainState) else None
    exists = state is not None and state.head.license.status is not Status.NONE
    if grant is None:
        if certificate is not None:
            raise not_granted(
                "a worker's certificate counts only beside its fleet's grant",
                f"license {license_id}",
            )
        if state is not None and state.head.plan is not None and state.head.plan.floating:
            holder = state.head.license.holder
            raise RuntimeNotBound(
                f"this runtime has no grant for license {license_id}",
                remedy=f"the holder {holder} can give it one: deed runtime grant REQUEST "
                f"--license {license_id}",
            )
        return "none; the seat bound on chain stands for it (step 5)"
    name = f"license {license_id}"
    granted = runtime.hash() if certificate is None else fleet_key_hash(certificate.fleet)
    if grant.license != license_id or grant.runtime_key_hash != granted:
        raise not_granted(f"the grant shown is for another license or runtime than {name}", name)
    if at >= grant.not_after:
        raise not_granted(
            f"the grant for {name} ended on {moment(grant.not_after)}", name, since=grant.not_after
        )
    worker = ""
    if certificate is not None:
        told = check_certificate(certificate, grant, runtime, domain=domain, at=at, step=4)
        worker = f"; {told}"
    if state is None or not exists:
        # Step 5 says what the chain lacks; a contract wallet's signature is checked nowhere else.
        signer = account_of(grant.digest(domain), grant.signature)
        return f"signed by {signer or 'no account'}{worker}"
    how = check_grant_on_chain(grant, state, domain, ask)
    check_seat_of_worker(certificate, runtime, state)
    return f"signed by the holder {state.head.license.holder}{how}{worker}"


# -- (5) and (6): what the chain says ------------------------------------------------------------


def check_chain(chain: ChainState | LedgerError, *, broker_id: int) -> str:
    """(5) The license is valid at the agreed finalized block and at the agreed head.

    Raises:
        EntitlementError: the head says no.
        PendingFinality: valid at the head, not yet at the finalized block.
        EndpointsDisagree: an endpoint contradicts the others.
        ChainError, UnavailableError: the chain cannot be read.
    """
    if isinstance(chain, LedgerError):
        raise chain
    head, final = chain.head, chain.finalized
    # What q endpoints deny is denied, whatever a single one says to the contrary.
    if not _grants(head.code):
        raise entitlement.denial(head.code, head.license)
    if chain.contrary:
        raise EndpointsDisagree(
            f"endpoints contradict each other: {'; '.join(chain.contrary)}",
            hint="no key is released until they agree; try again shortly",
        )
    if not _grants(final.code):
        raise PendingFinality(
            f"license {head.license.license} is valid at block {head.block.number}, but not yet "
            f"at the finalized block {final.block.number}",
            retry_after=2.0,
            hint="wait for finality",
        )
    if broker_id not in head.brokers:
        raise KeyRequestRejected(
            f"broker {broker_id} is not in broker set "
            f"{head.plan.broker_set if head.plan else 0} of the plan",
            check=5,
            hint="use a broker that the license card names",
        )
    return (
        f"valid at finalized block {final.block.number} ({final.block.hash.short}) and at "
        f"block {head.block.number} ({head.block.hash.short})"
    )


def _grants(code: int) -> bool:
    return code in {Code.VALID, Code.REVOKING}


def check_title(request: KeyRequest, chain: ChainState | LedgerError, *, deposited: bool) -> str:
    """(6) The plan belongs to the model's titleholder, and the file is the lodged sealing.

    Raises:
        PlanNotOfTitle: the plan is for another model, or its licensor has no title.
        KeyRequestRejected: model compromised, file not the current sealing, key not deposited.
        PendingFinality: title or sealing changed after the finalized block.
    """
    chain = _state(chain)
    head, final, plan = chain.head, chain.finalized, chain.head.plan
    if plan is None or plan.model != request.model:
        raise PlanNotOfTitle(
            f"license {request.license} is for another model than {request.model.short}",
            remedy="use the license of this model: deed license list",
        )
    if head.title_holder != plan.licensor:
        raise PlanNotOfTitle(
            f"plan {plan.id} was made by {plan.licensor}, but the title of model "
            f"{plan.model.short} is held by {head.title_holder}",
            remedy=f"{head.title_holder} can adopt the plan (syncLicensor) or make a new one",
        )
    if COMPROMISED in {head.model_status, final.model_status}:
        raise KeyRequestRejected(
            f"the licensor marked model {plan.model.short} as compromised; no key is released",
            check=6,
            hint=f"ask the licensor {plan.licensor}",
        )
    if final.plan is None or final.title_holder != plan.licensor:
        raise PendingFinality(
            "the model's title changed after the finalized block", hint="wait for finality"
        )
    _check_sealing(request.evidence.sealing, head, final)
    if not deposited:
        raise KeyRequestRejected(
            f"this broker holds no key for sealing {request.evidence.sealing.short}",
            check=6,
            hint=f"the licensor {plan.licensor} can deposit it: deed publish or deed reseal, "
            "run to its end",
        )
    return f"plan {plan.id} by titleholder {plan.licensor}; sealing epoch {final.sealing_epoch}"


def _check_sealing(sealing: Digest, head: Side, final: Side) -> None:
    if sealing == final.sealing:
        return
    if sealing == head.sealing:
        raise PendingFinality(
            f"sealing epoch {head.sealing_epoch} was lodged after the finalized block",
            hint="wait for finality",
        )
    raise KeyRequestRejected(
        f"the file is not the current sealing: the licensor lodged epoch "
        f"{final.sealing_epoch} ({final.sealing.short})",
        check=6,
        hint="fetch the current file and card",
    )


def _state(chain: ChainState | LedgerError) -> ChainState:
    if isinstance(chain, LedgerError):
        raise chain
    return chain


# -- (7) and (8): how, and for what --------------------------------------------------------------


def check_evidence(
    request: KeyRequest,
    chain: ChainState | LedgerError,
    verifiers: Mapping[str, EvidenceVerifier],
) -> str:
    """(7) The evidence holds, and shows the measurement that grant and seat ask for.

    Raises:
        KeyRequestRejected: no verifier for its class, it does not hold, or another measurement.
    """
    verifier = verifiers.get(request.evidence.kind)
    if verifier is None:
        raise KeyRequestRejected(
            f"this broker verifies no evidence of class {request.evidence.kind}", check=7
        )
    detail, measurement = verifier.verify(request.evidence, request)
    seat = _state(chain).head.license.seat
    for what, wanted in (
        ("grant", request.grant.measurement if request.grant else bytes(20)),
        ("seat on chain", seat.measurement if seat else bytes(20)),
    ):
        if any(wanted) and wanted != measurement:
            raise KeyRequestRejected(
                f"the {what} is limited to a measured environment that the evidence does not show",
                check=7,
                hint="run in the environment the holder granted, or ask for a wider grant",
            )
    return detail


def check_policy(
    request: KeyRequest,
    chain: ChainState | LedgerError,
    terms: Terms | None,
    *,
    domain: Domain,
    accepted: bool,
    at: int,
    ask: AskWallet | None = None,
) -> str:
    """(8) The plan's terms permit the declared use, and the holder accepted them.

    Args:
        request: the request.
        chain: the chain's state.
        terms: the document whose hash the plan holds; None when it is not at hand.
        domain: of the license ledger.
        accepted: whether this holder's acceptance is already on record.
        at: Unix seconds.
        ask: asks a contract wallet; without it only accounts sign.

    Raises:
        UseNotPermitted: the terms are unknown, forbid the use, or were not accepted.
    """
    chain = _state(chain)
    plan, holder = chain.head.plan, chain.head.license.holder
    assert plan is not None, "step 6 passed"
    if terms is None or terms.hash() != plan.terms_hash:
        raise UseNotPermitted(
            f"the terms of plan {plan.id} ({plan.terms_hash.short}) are not at hand",
            remedy="use a license card that carries them",
        )
    reasons = permits(terms, request.evidence.use, at=at)
    if reasons:
        raise UseNotPermitted(
            f"license {request.license} does not permit this: {'; '.join(reasons)}",
            remedy=f"the licensor {plan.licensor} sets the terms; what the runtime declares is "
            "set by deed runtime init",
        )
    grant = request.grant
    if grant is not None and grant.features & ~plan.features:
        more = hex(grant.features & ~plan.features)
        raise UseNotPermitted(
            f"the grant gives features {more}, which plan {plan.id} does not have",
            remedy=f"let {holder} grant features of the plan only: deed runtime grant REQUEST "
            f"--license {request.license}",
        )
    why = None if accepted else not_accepted(request, chain, plan.terms_hash, domain, ask)
    if why is not None:
        raise UseNotPermitted(
            f"the holder {holder} has not accepted the terms of license {request.license}{why}",
            remedy=f"let {holder} run deed runtime grant REQUEST --license {request.license}",
        )
    return f"terms {plan.terms_hash.short} permit it; accepted by {holder}"


def lease_times(plan: PlanFacts, limit: int, *, now: int) -> tuple[int, int]:
    """``notAfter`` and ``graceUntil`` of a lease that starts at `now` (Unix seconds).

    Args:
        plan: its lease time and grace.
        limit: end of whatever it rests on: license, grant, terms.
        now: Unix seconds.
    """
    not_after = min(limit, now + plan.lease_ttl)
    return not_after, min(not_after + plan.grace, limit)
