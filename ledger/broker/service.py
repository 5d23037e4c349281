"""The broker: takes deposits, decides, releases keys, keeps leases alive.

The rules are in ``policy``, the chain in ``chainview``, custody in ``vault``, receipts in
``receipts``. This module puts them in the order of docs/spec/key-release.md and answers with signed
JSON objects.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from ledger.broker import fleet, offline, policy, seating
from ledger.broker.admitting import Admitted
from ledger.broker.anchor_timer import AnchorTimer
from ledger.broker.anomaly import Rules
from ledger.broker.cellkeeping import CellKeeping, check_labels
from ledger.broker.custody import zero
from ledger.broker.defence import Defence
from ledger.broker.deposits import KeyDeposit, Wrap, deposit_info
from ledger.broker.evidence import EvidenceVerifier
from ledger.broker.facts import ChainState
from ledger.broker.health import EndpointHealth
from ledger.broker.hold_desk import HoldDesk
from ledger.broker.home import BrokerHome
from ledger.broker.keyshares import deposited_index, released_index
from ledger.broker.leases import Heartbeat, Lease
from ledger.broker.limits import UNKNOWN_NETWORK, Limits
from ledger.broker.log_pages import LogPages
from ledger.broker.notices import Notices
from ledger.broker.policy import Deliberation
from ledger.broker.protocol import (
    CHALLENGE_SECONDS,
    VERSION,
    KeyRequest,
    kem_json,
    release_info,
)
from ledger.broker.receipts import ReceiptLog, worth_an_entry
from ledger.broker.seating import Seating, check_running
from ledger.broker.shareholding import Shareholding
from ledger.broker.stateproof import Kept
from ledger.broker.store import BrokerStore, HeldLease
from ledger.broker.turns import TURNS
from ledger.broker.vault import Vault
from ledger.broker.wallet_signatures import SignatureState
from ledger.errors import (
    ChainError,
    ChainUnavailable,
    EndpointsDisagree,
    Expired,
    FormatError,
    KeyRequestRejected,
    LeaseExpired,
    LedgerError,
    PendingFinality,
    Reorganised,
    SignatureInvalid,
    UnavailableError,
)
from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.licensing import terms as terms_module
from ledger.licensing.document import Document, hex_text
from ledger.licensing.entitlement import moment
from ledger.licensing.terms import Terms
from ledger.sealed.recipients import unwrap, wrap
from ledger.sealed.record import SealingRecord

DEPOSIT_TOLERANCE: Final = 3600


class ChainReader(Protocol):
    """Where a broker's facts come from; ``chainview.ChainView`` over n endpoints."""

    def license_state(
        self, license_id: LicenseId, model: ModelId, runtime_key_hash: Digest, *, now: int
    ) -> ChainState:
        """License, plan, title and sealing at the agreed finalized block and at the agreed head.

        Raises:
            ChainError, UnavailableError: no state that the chain rule accepts.
        """
        ...

    def title_state(self, model: ModelId, epoch: int) -> tuple[Address, Digest]:
        """Titleholder of a model and the record hash lodged for one sealing epoch, at the head.

        Raises:
            ChainError, UnavailableError: no state that the chain rule accepts.
        """
        ...

    def signature_state(
        self, chain: ChainState, digest: Digest, signature: bytes
    ) -> SignatureState:
        """What the license's holder, a contract wallet, says about a signature at both blocks.

        Raises:
            SignatureInvalid: not a signature that could be asked about.
            ChainError, UnavailableError: no answer that the chain rule accepts.
        """
        ...

    def health(self) -> Sequence[EndpointHealth]:
        """What is remembered of each endpoint, in the order given."""
        ...

    @property
    def quorum(self) -> int:
        """How many endpoints must agree."""
        ...


class BrokerService:
    """One broker. Thread-safe.

    Args:
        home: its keys and identity.
        chain: where its facts come from.
        store: its database; by default the one in `home`.
        verifiers: evidence it accepts, by class; by default what its folder's ``evidence.json``
            admits.
        clock: Unix seconds.
        limits: rates; by default those of docs/spec/key-release.md.
        rules: thresholds of the anomaly rules.
    """

    def __init__(
        self,
        home: BrokerHome,
        chain: ChainReader,
        *,
        store: BrokerStore | None = None,
        verifiers: Mapping[str, EvidenceVerifier] | None = None,
        clock: Callable[[], float] = time.time,
        limits: Limits | None = None,
        rules: Rules | None = None,
    ) -> None:
        self.home = home
        self.identity = home.identity
        self._in_use = home.in_use()
        self.store = store or BrokerStore(home.database)
        self._vault = Vault(self.store, home.keystore)
        self._shareholding = Shareholding(self.store, self._vault, self.identity.id)
        self._cells = CellKeeping(self.store, self._vault)
        self._log = ReceiptLog(self.store, home.signing, self.identity.audience)
        self._seating = Seating(self.store)
        self.notices = Notices.of(home.path, self.store)
        self.defence = Defence(
            self.store, self._log, limits=limits, rules=rules, tell=self.notices.put
        )
        self._chain = chain
        self._verifiers = dict(verifiers or Admitted.load(home.path).verifiers(clock=clock))
        self._clock = clock
        # As read from the database, so that they are there: what a transaction only adds is not.
        self._kept_terms: Kept[Digest, Terms] = Kept()
        self._kept_acceptances: Kept[tuple[LicenseId, Address, Digest], bool] = Kept(4096)
        self._domain = self.identity.domain
        self.holds = HoldDesk(
            self.identity, self.store, self._log,
            defence=self.defence, chain=chain, now=self._now,
        )  # fmt: skip

        self.anchoring = AnchorTimer(self.store)
        self.pages = LogPages(self.store, self._log, knock=self.defence.knock, now=self._now)

    def close(self) -> None:
        """Stop the notices, close the database and let the folder go."""
        self.notices.stop()
        self.anchoring.stop()
        self.store.close()
        self._in_use.close()

    def _now(self) -> int:
        return int(self._clock())

    # -- public facts and deposits -------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """Who this broker is, and its public keys; signed with them."""
        return self.home.signing.sign(
            {
                "version": VERSION,
                "type": "info",
                "broker": self.identity.id,
                "audience": self.identity.audience,
                "chain": self.identity.chain_json(),
                "signing": self.home.signing.public.to_json(),
                "signing_key_hash": str(self.home.signing_key_hash),
                "kem": kem_json(self.home.kem.public),
                "kem_key_hash": str(self.home.kem_key_hash),
                "evidence": sorted(self._verifiers),
                "time": self._now(),
            }
        )

    def endpoints(self) -> dict[str, Any]:
        """How the endpoints are that its decisions rest on, as last seen; hosts, never URLs."""
        return {
            "quorum": self._chain.quorum,
            "endpoints": [each.to_json() for each in self._chain.health()],
        }

    def deposit(self, body: Any) -> dict[str, Any]:
        """Take a sealing's key from its licensor and sign for it.

        The steps are those of docs/spec/key-release.md, "Deposit"; the number is in the error.

        Raises:
            FormatError: not a deposit.
            KeyRequestRejected: addressed, timed or keyed wrongly, or not by the titleholder.
            SignatureInvalid: not signed by the stated licensor.
            PendingFinality: the sealing is not lodged (yet).
            KeyAccessError: the wrap does not open, or the key or share is not the one committed to.
            UnavailableError, ChainError: the chain cannot be read.
        """
        deposit, now = KeyDeposit.from_json(body), self._now()
        record = deposit.record
        # (1) For this broker, its present KEM key, and now.
        self._check_addressed(deposit, now)
        # (2) Signed by the stated licensor.
        signer = deposit.signer(self._domain, step=2)
        if signer != deposit.licensor:
            raise SignatureInvalid(
                f"the deposit is signed by {signer}, not by {deposit.licensor}", step=2
            )
        # (3) Who holds the title of the model, and lodged this very sealing.
        self._check_title(record, signer)
        # (4) The wrap opens. (5) The key is the committed one: stored, read back, checked again.
        documents = [terms_module.validate(dict(value)) for value in deposit.terms]
        if deposit.shares is not None:
            self._shareholding.check(deposit.shares, record, signer, self._domain)
        opened: dict[str, bytearray] = {}
        try:
            for entry in deposit.wraps:
                info = deposit_info(entry.label, record.hash(), self.identity.audience)
                opened[entry.label] = unwrap(entry.data, self.home.kem, info=info)
            first, *_ = deposit.wraps
            key = opened[first.label]
            with self.store.transaction():
                self.store.add_sealing(record, signer, now=now)
                if deposit.shares is None:
                    self._vault.keep(record, first.label, key)
                else:
                    index = deposited_index(first.label, deposit.shares)
                    self._shareholding.keep(deposit.shares, index, key)
                self._cells.keep(deposit, opened)
                for document in documents:
                    self.store.add_terms(document.hash(), document.document)
                # (6) Only now is it signed for.
                stored = {
                    "sealing": str(record.hash()),
                    "model": str(record.model_id),
                    "epoch": record.epoch,
                    "commit": str(record.commit),
                    "labels": list(opened),
                    "licensor": str(signer),
                    "terms": [str(document.hash()) for document in documents],
                }
                if deposit.shares is not None:
                    stored["shares"] = str(deposit.shares.set_id)
                return self._log.answer("deposit", deposit.to_json(), {"deposit": stored}, now=now)
        finally:
            for secret in opened.values():
                zero(secret)

    def _check_addressed(self, deposit: KeyDeposit, now: int) -> None:
        if deposit.audience != self.identity.audience:
            raise KeyRequestRejected("the deposit is addressed to another broker", check=1)
        if deposit.kem_key_hash != self.home.kem_key_hash:
            raise KeyRequestRejected(
                "the deposit is wrapped to another KEM key than this broker's",
                check=1,
                hint="ask the broker for its present keys",
            )
        if abs(now - deposit.issued_at) > DEPOSIT_TOLERANCE:
            raise KeyRequestRejected(
                f"the deposit was signed at {moment(deposit.issued_at)}, too far from now", check=1
            )
        check_labels(deposit)

    def _check_title(self, record: SealingRecord, signer: Address) -> None:
        holder, lodged = self._chain.title_state(record.model_id, record.epoch)
        if holder != signer:
            raise KeyRequestRejected(
                f"the title of model {record.model_id.short} is held by {holder}, not by {signer}",
                check=3,
                hint="deposit with the titleholder's wallet",
            )
        if lodged.is_zero:
            raise PendingFinality(
                f"no sealing is lodged for epoch {record.epoch} of model {record.model_id.short}",
                hint="lodge the sealing record first, then deposit",
            )
        if lodged != record.hash():
            raise KeyRequestRejected(
                f"another sealing ({lodged.short}) is lodged for epoch {record.epoch}", check=3
            )

    # -- challenge, decision, release ----------------------------------------------------------

    def challenge(self, body: Any, *, network: str = UNKNOWN_NETWORK) -> dict[str, Any]:
        """A fresh challenge for one license and model.

        Raises:
            FormatError: not such a request.
            BrokerUnavailable: too many challenges are outstanding.
            RateLimited: the network asks too often.
        """
        with TURNS.mine():
            return self._challenge(body, network)

    def _challenge(self, body: Any, network: str) -> dict[str, Any]:
        self.defence.knock(network)
        doc = Document(body, "the challenge request", ("license", "model"))
        license_id, model, now = doc.license(), doc.model(), self._now()
        challenge = secrets.token_bytes(32)
        expires_at = now + CHALLENGE_SECONDS
        self.store.add_challenge(challenge, license_id, model, now=now, expires_at=expires_at)
        return {
            "challenge": hex_text(challenge),
            "audience": self.identity.audience,
            "expires_at": expires_at,
            "time": now,
        }

    def release(
        self,
        body: Any,
        *,
        network: str = UNKNOWN_NETWORK,
        intent: offline.Intent = "release",
    ) -> dict[str, Any]:
        """Decide on a key request and, if all ten steps pass, release the key under a lease.

        Args:
            body: request and terms.
            network: where it came from (`limits.network_of`).
            intent: ``offline`` for a request that came as a file from the broker's operator, never
                for one from the network.

        Returns:
            The signed reply, granted or denied.

        Raises:
            FormatError: not a key request.
            RateLimited: the network asks too often.
            KeyAccessError: the decision was yes, and the stored key does not open.
        """
        with TURNS.mine():
            return self._release(body, network, intent)

    def _release(self, body: Any, network: str, intent: offline.Intent) -> dict[str, Any]:
        self.defence.knock(network)
        request, offered = _parse_request(body)
        now = self._now()
        talk, chain, terms = self._deliberate(request, offered, intent=intent, now=now)
        with self.store.transaction():
            lease: Lease | None = None
            plan = chain.head.plan if isinstance(chain, ChainState) else None
            if talk.open and isinstance(chain, ChainState) and terms is not None:
                lease = seating.new_lease(
                    request, chain, terms, audience=self.identity.audience, now=now
                )
            lease = self._seating.take(
                talk,
                request,
                plan,
                lease,
                gate=lambda: self.defence.admit(
                    request.license, request.runtime.hash(), network, now=now
                ),
                threshold=_threshold(chain),
            )
            if intent == offline.INTENT:
                offline.settle(self.store, request, talk.denial)
            wraps: list[dict[str, str]] = []
            shared: dict[str, Any] = {}
            if lease is not None and isinstance(chain, ChainState) and terms is not None:
                released, shared = self._wrap(request, lease, chain)
                cells, said = self._wrap_cells(request, lease, chain)
                wraps = [each.to_json() for each in (released, *cells)]
                shared |= said
                self._keep_papers(request, chain, terms)
            result = {
                **_outcome(talk, granted=lease is not None),
                "lease": None if lease is None else lease.to_json(),
                "wraps": wraps,
                **shared,
            }
            shown = request.to_json()
            return self._log.answer(
                "release",
                shown,
                result,
                now=now,
                license_id=request.license,
                log=worth_an_entry(shown, talk.denial),
            )

    def check(self, body: Any, *, network: str = UNKNOWN_NETWORK) -> dict[str, Any]:
        """Decide as ``release`` would, taking no seat and releasing nothing.

        Raises:
            FormatError: not a key request.
            RateLimited: the network asks too often.
        """
        self.defence.knock(network)
        request, offered = _parse_request(body)
        now = self._now()
        talk, chain, _ = self._deliberate(request, offered, intent="check", now=now)
        plan = chain.head.plan if isinstance(chain, ChainState) else None
        self._seating.look(talk, request, plan, now=now, threshold=_threshold(chain))
        result = _outcome(talk, granted=talk.open)
        return self._log.answer("check", request.to_json(), result, now=now, log=False)

    def _deliberate(
        self, request: KeyRequest, offered: Any, *, intent: str, now: int
    ) -> tuple[Deliberation, ChainState | LedgerError, Terms | None]:
        """Steps 1 to 8. The chain is asked only for a request that is fresh and signed."""
        talk, domain, audience = Deliberation(), self._domain, self.identity.audience
        limits: Mapping[str, int] = {}
        if intent == offline.INTENT:
            limits = offline.LIMITS
            unspent = offline.spend(self.store, request, now=now)
            talk.step(1, lambda: offline.check_nonce(unspent=unspent))
        else:
            issued = self.store.consume_challenge(request.challenge)
            talk.step(1, lambda: policy.check_challenge(issued, request, now=now))
        talk.step(
            2,
            lambda: policy.check_request(
                request, domain=domain, audience=audience, intent=intent, now=now, **limits
            ),
        )
        talk.step(
            3,
            lambda: self.defence.signed(
                request.runtime.hash(), policy.check_signature(request, domain=domain)
            ),
        )
        chain: ChainState | LedgerError = ChainUnavailable("the chain was not asked")
        terms: Terms | None = None
        accepted, at = False, now
        if talk.open:
            chain = self._read_chain(
                request.license, request.model, request.runtime.hash(), now=now
            )
            if isinstance(chain, ChainState):
                at = max(now, chain.head.block.timestamp)
                terms, accepted = self._terms(chain, offered)
        talk.step(
            4,
            lambda: policy.check_grant(
                request.license,
                request.runtime,
                request.grant,
                chain,
                domain=domain,
                at=at,
                certificate=request.certificate,
                ask=self._ask_wallet,
            ),
        )
        talk.step(5, lambda: policy.check_chain(chain, broker_id=self.identity.id))
        sealing = request.evidence.sealing
        deposited = self._shareholding.deposited(sealing, chain) and self._cells.deposited(
            sealing, chain
        )
        talk.step(6, lambda: policy.check_title(request, chain, deposited=deposited))
        talk.step(7, lambda: policy.check_evidence(request, chain, self._verifiers))
        talk.step(
            8,
            lambda: policy.check_policy(
                request,
                chain,
                terms,
                domain=domain,
                accepted=accepted,
                at=at,
                ask=self._ask_wallet,
            ),
        )
        return talk, chain, terms

    def _read_chain(
        self, license_id: LicenseId, model: ModelId, runtime_key_hash: Digest, *, now: int
    ) -> ChainState | LedgerError:
        try:
            with TURNS.aside():
                return self._chain.license_state(license_id, model, runtime_key_hash, now=now)
        except (PendingFinality, EndpointsDisagree, Reorganised, UnavailableError) as error:
            return error
        except (ChainError, FormatError) as error:
            # A wrong or broken endpoint is no statement about the license: no authoritative no.
            return ChainUnavailable(f"the chain cannot be read: {error.message}", retry_after=5.0)

    def _ask_wallet(self, chain: ChainState, digest: Digest, signature: bytes) -> SignatureState:
        try:
            with TURNS.aside():
                return self._chain.signature_state(chain, digest, signature)
        except (EndpointsDisagree, Reorganised, UnavailableError):
            raise
        except (ChainError, FormatError) as error:
            raise ChainUnavailable(
                f"the holder's wallet cannot be asked: {error.message}", retry_after=5.0
            ) from None

    def _terms(self, chain: ChainState, offered: Any) -> tuple[Terms | None, bool]:
        plan, license_facts = chain.head.plan, chain.head.license
        if plan is None:
            return None, False
        terms = self._kept_terms.get(plan.terms_hash)
        if terms is None:
            document = self.store.terms(plan.terms_hash)
            with contextlib.suppress(FormatError):
                terms = terms_module.validate(offered if document is None else document)
                if document is not None:
                    self._kept_terms.put(plan.terms_hash, terms)
        paper = license_facts.license, license_facts.holder, plan.terms_hash
        accepted = self._kept_acceptances.get(paper) is not None or self.store.accepted(*paper)
        if accepted:
            self._kept_acceptances.put(paper, accepted)
        return terms, accepted

    def _keep_papers(self, request: KeyRequest, chain: ChainState, terms: Terms) -> None:
        """Terms and acceptance that a release rests on; neither is ever changed or dropped."""
        hash_, holder = terms.hash(), chain.head.license.holder
        if self._kept_terms.get(hash_) is None:
            self.store.add_terms(hash_, terms.document)
        acceptance = request.acceptance
        if acceptance is None:
            return
        paper = acceptance.license, holder, acceptance.terms_hash
        if self._kept_acceptances.get(paper) is None:
            self.store.add_acceptance(holder, acceptance)

    def _wrap(
        self, request: KeyRequest, lease: Lease, chain: ChainState
    ) -> tuple[Wrap, dict[str, Any]]:
        """The content key or this broker's share of it, and what the reply says about shares."""
        stored, label, shares = self._shareholding.to_release(lease.sealing, chain.head)
        info = release_info(label, request, lease)
        with self._vault.secret(lease.sealing, stored) as secret:
            released = Wrap(label, wrap(secret, request.kem, info=info))
        return released, {} if shares is None else {"shares": shares.to_json()}

    def _wrap_cells(
        self, request: KeyRequest, lease: Lease, chain: ChainState
    ) -> tuple[list[Wrap], dict[str, Any]]:
        """The license's cell keys or shares of them, of a sealing with cells."""
        _, label, shares = self._shareholding.to_release(lease.sealing, chain.head)
        index = 0 if shares is None else released_index(label)
        return self._cells.wraps(request, lease, chain.head, shares=shares, index=index)

    # -- heartbeat -----------------------------------------------------------------------------

    def heartbeat(self, lease_id: Digest, body: Any) -> dict[str, Any]:
        """Extend a lease, or say that it must stop.

        Returns:
            The signed reply: `granted` with the extended lease, or a denial; `unload` tells the
            runtime to stop at once.

        Raises:
            FormatError: not a heartbeat.
            KeyRequestRejected: for another lease, replayed, or overtaken.
            SignatureInvalid: not by the lease's runtime.
            LeaseExpired: the lease is unknown.
            RateLimited: the runtime sends too many.
        """
        with TURNS.mine():
            return self._heartbeat(lease_id, body)

    def _heartbeat(self, lease_id: Digest, body: Any) -> dict[str, Any]:
        beat, now = Heartbeat.from_json(body), self._now()
        if beat.lease != lease_id or beat.audience != self.identity.audience:
            raise KeyRequestRejected("the heartbeat is for another lease or broker", check=2)
        held = self.store.lease(lease_id)
        if held is None:
            raise LeaseExpired(f"lease {lease_id.short} is unknown to this broker")
        held.runtime.verify(beat.signature, beat.digest(self._domain), step=3)
        self.defence.beat(lease_id)
        if not self.store.advance(beat):
            raise KeyRequestRejected(
                "the heartbeat was used before, or its lease has ended", check=1
            )
        held = replace(held, certificate=fleet.later(held.certificate, beat.certificate, now=now))
        talk, chain = self._still_entitled(held, now)
        with self.store.transaction():
            lease: Lease | None = None
            if talk.open and isinstance(chain, ChainState):
                terms, _ = self._terms(chain, None)
                lease = seating.extended(
                    held.lease,
                    beat,
                    held.grant,
                    chain,
                    terms,
                    now=now,
                    certificate=held.certificate,
                )
                if not self.store.extend(lease):
                    raise KeyRequestRejected(
                        "a later heartbeat came before this one, or the lease has ended", check=1
                    )
                if held.certificate is not None:
                    self.store.keep_certificate(lease_id, held.certificate)
            unload = _must_unload(talk, held)
            if unload:
                self.store.end(lease_id)
            result = {
                **_outcome(talk, granted=lease is not None),
                "unload": unload,
                "lease": None if lease is None else lease.to_json(),
            }
            return self._log.answer(
                "heartbeat", beat.to_json(), result, now=now, license_id=held.lease.license
            )

    def _still_entitled(
        self, held: HeldLease, now: int
    ) -> tuple[Deliberation, ChainState | LedgerError]:
        """Steps 4 and 5 again; a heartbeat takes no seat and counts no use."""
        lease, talk = held.lease, Deliberation()
        chain = self._read_chain(lease.license, lease.model, held.runtime.hash(), now=now)
        at = max(now, chain.head.block.timestamp) if isinstance(chain, ChainState) else now
        talk.step(
            4,
            lambda: policy.check_grant(
                lease.license,
                held.runtime,
                held.grant,
                chain,
                domain=self._domain,
                at=at,
                certificate=held.certificate,
                ask=self._ask_wallet,
            ),
        )
        talk.step(5, lambda: policy.check_chain(chain, broker_id=self.identity.id))
        talk.step(9, lambda: check_running(lease, now=now))
        return talk, chain


def _outcome(talk: Deliberation, *, granted: bool) -> dict[str, Any]:
    return {
        "granted": granted,
        "checks": talk.to_json(),
        "denial": None if talk.denial is None else talk.denial.to_json(),
    }


def _must_unload(talk: Deliberation, held: HeldLease) -> bool:
    denial = talk.denial
    if denial is None or not denial.authoritative:
        return False
    # A plan in warn mode lets a running model outlive its license's end, and nothing else.
    return held.lease.enforce or denial.number != Expired.number


def _threshold(chain: ChainState | LedgerError) -> int:
    return chain.head.threshold if isinstance(chain, ChainState) else 1


def _parse_request(body: Any) -> tuple[KeyRequest, Any]:
    doc = Document(body, "the body", ("request", "terms"))
    return KeyRequest.from_json(doc.object("request")), body.get("terms")


@contextlib.contextmanager
def defence_of(home: BrokerHome) -> Iterator[Defence]:
    """The defence of a broker's folder, for its operator; the service may run beside."""
    store = BrokerStore(home.database)
    try:
        log = ReceiptLog(store, home.signing, home.identity.audience)
        yield Defence(store, log, tell=Notices.of(home.path, store).put)
    finally:
        store.close()
