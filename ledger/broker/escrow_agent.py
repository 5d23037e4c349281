"""An escrow agent's machine: its key, its log, and the decision to give a share out.

The steps are those of docs/spec/escrow.md, "Answering". Whatever cannot be checked is not given.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from ledger.broker import policy
from ledger.broker.chainview import ChainView
from ledger.broker.custody import (
    decrypt_with_passphrase,
    encrypt_with_passphrase,
    read_private,
    write_private,
    zero,
)
from ledger.broker.escrow import (
    REQUEST_SECONDS,
    SILENCE,
    Agent,
    Escrow,
    EscrowAnswer,
    EscrowRequest,
    answer_info,
    share_info,
)
from ledger.broker.escrow_rule import Held, require_rule
from ledger.broker.facts import ChainState, Side
from ledger.canonical import hash_json, parse_json
from ledger.chain.deployment import Deployment
from ledger.chain.profile import ChainProfile
from ledger.chain.rpc import Rpc
from ledger.errors import (
    ConfigurationError,
    EndpointsDisagree,
    KeyRequestRejected,
    LedgerError,
    ManifestError,
    PendingFinality,
    PlanNotOfTitle,
    WrongNetwork,
)
from ledger.ids import ZERO_DIGEST
from ledger.licensing import entitlement
from ledger.licensing.document import Document
from ledger.licensing.entitlement import Code, Status, moment
from ledger.sealed.recipients import KemPrivateKey, unwrap, wrap

PURPOSE: Final = "modeldeed-escrow-agent"
LOG_TAG: Final = "modeldeed/escrow-log/1"
KEY_FILE: Final = "agent.key.json"
AGENT_FILE: Final = "agent.json"
LOG_FILE: Final = "answers.jsonl"
_TOLERANCE: Final = 120
_COMPROMISED: Final = 3
_MAX_LOG: Final = 1 << 30
_PATIENCE: Final = 60.0
"""Seconds for an endpoint once q others have answered: a silence takes dozens of reads."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What an agent gave out, and why."""

    answer: EscrowAnswer
    checks: tuple[str, ...]


class AgentHome:
    """The folder of an escrow agent."""

    def __init__(self, folder: Path, agent: Agent, kem: KemPrivateKey) -> None:
        """Use ``create`` or ``open``."""
        self.folder = folder
        self.agent = agent
        self.kem = kem

    def __repr__(self) -> str:
        return f"AgentHome({str(self.folder)!r}, {self.agent.name!r})"

    @classmethod
    def create(cls, folder: Path, name: str, passphrase: str, *, cost: int = 17) -> Self:
        """Make an agent's key, encrypted under a passphrase, and its public file.

        Raises:
            ConfigurationError: there is one already.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kem = KemPrivateKey.generate()
        secret = kem.to_bytes()
        try:
            document = encrypt_with_passphrase(secret, passphrase, purpose=PURPOSE, cost=cost)
        finally:
            zero(secret)
        agent = Agent(name, kem.public)
        write_private(folder / KEY_FILE, json.dumps(document).encode() + b"\n")
        public = json.dumps(agent.to_json(), indent=2).encode() + b"\n"
        write_private(folder / AGENT_FILE, public, replace=True)
        return cls(folder, agent, kem)

    @classmethod
    def open(cls, folder: Path, passphrase: str) -> Self:
        """Open an agent's folder.

        Raises:
            ConfigurationError: there is no agent.
            WrongPassphrase: it does not open.
        """
        if not (folder / KEY_FILE).exists():
            raise ConfigurationError(
                f"{folder} holds no escrow agent", hint="make one: deed escrow init"
            )
        document = parse_json(read_private(folder / KEY_FILE), what=KEY_FILE)
        secret = decrypt_with_passphrase(document, passphrase, purpose=PURPOSE)
        try:
            kem = KemPrivateKey.from_bytes(secret)
        finally:
            zero(secret)
        agent = Agent.from_json(parse_json(read_private(folder / AGENT_FILE), what=AGENT_FILE))
        if agent.kem != kem.public:
            raise ConfigurationError(
                f"{AGENT_FILE} in {folder} shows another key than {KEY_FILE} holds",
                hint="put the folder back as it was, from a copy",
            )
        return cls(folder, agent, kem)

    def note(self, entry: dict[str, Any]) -> None:
        """Add an entry to the log, which names the hash of the one before; on disk on return.

        Processes take turns: two entries of one number would close the log for good.

        Raises:
            ManifestError: the log was altered.
        """
        path = self.folder / LOG_FILE
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(handle, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            entries = self.log()
            previous = hash_json(LOG_TAG, entries[-1]) if entries else ZERO_DIGEST
            whole = {"sequence": len(entries) + 1, "previous": str(previous), **entry}
            file.write(json.dumps(whole).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def log(self) -> list[dict[str, Any]]:
        """Every entry, in order.

        Raises:
            ManifestError: the log was altered.
        """
        path = self.folder / LOG_FILE
        if not path.exists():
            return []
        entries: list[dict[str, Any]] = []
        previous = ZERO_DIGEST
        for line in read_private(path, limit=_MAX_LOG).splitlines():
            doc = Document(parse_json(line, what=LOG_FILE), "an entry of the escrow log")
            if doc.integer("sequence") != len(entries) + 1 or doc.digest("previous") != previous:
                raise ManifestError(f"{LOG_FILE} was altered at entry {len(entries) + 1}")
            entries.append(doc.value)
            previous = hash_json(LOG_TAG, doc.value)
        return entries


def patient_view(rpcs: Sequence[Rpc], deployment: Deployment, profile: ChainProfile) -> ChainView:
    """A view of the chain that waits for every endpoint.

    Nobody waits for an agent as for a broker, and what a single endpoint shows to the contrary
    counts: liars must not win by being quicker than it.
    """
    return ChainView(rpcs, deployment, profile, patience=_PATIENCE, deadline=2 * _PATIENCE)


def answer(
    home: AgentHome,
    escrow: Escrow,
    request: EscrowRequest,
    view: ChainView,
    deployment: Deployment,
    *,
    clock: Callable[[], float] = time.time,
) -> Answered:
    """Decide on a request; gives the share, or raises why not. Both are logged.

    Args:
        home: of this agent.
        escrow: the document, as ``Escrow.from_json`` has verified it.
        request: from a license holder's runtime.
        view: the chain, over this agent's own endpoints.
        deployment: whose contracts `view` reads.
        clock: Unix seconds.

    Raises:
        UsageError: another agent's document.
        WrongNetwork: another deployment's.
        KeyRequestRejected: a step fails; its number is ``check``.
        EntitlementError: the license does not entitle.
        SignatureInvalid: request or grant are not signed as they say.
        PendingFinality, EndpointsDisagree, ChainError, UnavailableError: not decidable now.
        NoIdentityMatch, SharesRejected: the document holds no share for this agent.
    """
    now = int(clock())
    noted = {
        "time": now,
        "escrow": str(escrow.id()),
        "license": str(request.license),
        "runtime": str(request.runtime.hash()),
        "request": str(request.digest()),
    }
    try:
        made = _decide(home, escrow, request, view, deployment, now=now)
    except LedgerError as error:
        home.note(noted | {"granted": False, "reason": f"{error.code}: {error.message}"})
        raise
    # Only what is on record leaves this machine.
    home.note(noted | {"granted": True, "reason": "; ".join(made.checks)})
    return made


def _decide(
    home: AgentHome,
    escrow: Escrow,
    request: EscrowRequest,
    view: ChainView,
    deployment: Deployment,
    *,
    now: int,
) -> Answered:
    # (1) The document is signed, for these contracts, and names this agent.
    escrow.verify()
    index = home_index(home, escrow, deployment)
    # (2) The request is for it, fresh, and signed by the runtime.
    if request.escrow != escrow.id():
        raise KeyRequestRejected("the request is for another escrow document", check=2)
    if not -_TOLERANCE <= now - request.issued_at <= REQUEST_SECONDS:
        raise KeyRequestRejected(
            f"the request is of {moment(request.issued_at)}, and is answered within "
            f"{REQUEST_SECONDS // 86400} days",
            check=2,
            hint="make a new one: deed escrow request",
        )
    request.verify()
    # (3) The chain, by the chain rule.
    model = escrow.record.model_id
    chain = view.license_state(request.license, model, request.runtime.hash(), now=now)
    if chain.contrary:
        raise EndpointsDisagree(f"endpoints contradict each other: {'; '.join(chain.contrary)}")
    # (4) The holder granted this runtime.
    at = max(now, chain.head.block.timestamp)
    granted = policy.check_grant(
        request.license,
        request.runtime,
        request.grant,
        chain,
        domain=escrow.domain,
        at=at,
        ask=view.signature_state,
    )
    # (5) Title and sealing.
    _check_title(escrow, request, chain)
    # (7) before (6): whether an expired license counts depends on which condition holds.
    held = require_rule(escrow, chain, view.panel, request.release, first=deployment.block)
    # (6) The license.
    entitled = _check_license(chain, held)
    # (8) The share opens and is the one committed to.
    info = share_info(index, escrow.set_id, escrow.record, escrow.licensor)
    value = unwrap(escrow.seats[index - 1].wrap, home.kem, info=info)
    share = escrow.share(index, value)
    try:
        info = answer_info(escrow.id(), request.digest(), index)
        given = EscrowAnswer(
            escrow.id(), request.digest(), index, wrap(share.value, request.kem, info=info)
        )
    finally:
        share.wipe()
    checks = (f"grant: {granted}", f"license: {entitled}", f"rule: {held.why}")
    return Answered(given, checks)


def home_index(home: AgentHome, escrow: Escrow, deployment: Deployment) -> int:
    """(1) Which share of a document is this agent's, on this deployment.

    Raises:
        WrongNetwork, UsageError: none, or the document is of other contracts.
    """
    addresses = deployment.addresses
    here = (
        deployment.chain_id,
        addresses["LicenseLedger"],
        addresses["ModelRegistry"],
        addresses["BrokerRegistry"],
    )
    if (escrow.chain_id, escrow.ledger, escrow.registry, escrow.broker_registry) != here:
        raise WrongNetwork(
            f"this escrow document is for other contracts, on chain {escrow.chain_id}",
            hint="choose that network with --network",
        )
    return escrow.seat_of(home.agent.kem)


def _check_title(escrow: Escrow, request: EscrowRequest, chain: ChainState) -> None:
    head, final, plan = chain.head, chain.finalized, chain.head.plan
    if plan is None or plan.model != escrow.record.model_id:
        raise PlanNotOfTitle(
            f"license {request.license} is for another model than this escrow's",
            remedy="use the escrow document of the license's own model",
        )
    if head.title_holder != plan.licensor or final.title_holder != plan.licensor:
        raise PlanNotOfTitle(
            f"plan {plan.id} was made by {plan.licensor}, who does not hold the model's title",
            remedy=f"{head.title_holder}, who holds it, decides",
        )
    if _COMPROMISED in {head.model_status, final.model_status}:
        raise KeyRequestRejected("the licensor marked the model as compromised", check=5)
    if escrow.record.hash() != head.sealing or escrow.record.hash() != final.sealing:
        raise KeyRequestRejected(
            "the escrow is of another sealing than the model's latest finalized one",
            check=5,
            hint="use the escrow document of that sealing",
        )


def _check_license(chain: ChainState, held: Held) -> str:
    """(6) Valid; or it expired in the very silence, when nobody was left to renew it."""
    head, final = chain.head, chain.finalized
    if all(side.code in {Code.VALID, Code.REVOKING} for side in (head, final)):
        return f"valid at blocks {final.block.number} and {head.block.number}"
    if held.since is not None and all(_expired_since(side, held.since) for side in (head, final)):
        return f"ended {moment(head.license.not_after)}, in the {SILENCE}"
    if head.code in {Code.VALID, Code.REVOKING}:
        raise PendingFinality(
            "the license is valid, but not yet at the finalized block", hint="wait for finality"
        )
    raise entitlement.denial(head.code, head.license)


def _expired_since(side: Side, since: int) -> bool:
    return (
        side.code == Code.EXPIRED
        and side.license.status is Status.ACTIVE
        and side.license.not_after > since
    )
