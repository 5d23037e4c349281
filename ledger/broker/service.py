"""The broker: takes deposits, decides, releases keys, keeps leases alive.

The rules are in ``policy``, the facts they are given in ``deciding``, the chain in ``chainview``,
deposits in ``deposit_desk``, custody in ``vault``, receipts in ``receipts``. This module puts them
in the order of docs/spec/key-release.md and answers with signed JSON objects.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ledger.broker import fleet, offline, seating
from ledger.broker.admitting import Admitted
from ledger.broker.anchor_timer import AnchorTimer
from ledger.broker.anomaly import DEFAULT, Rules
from ledger.broker.cellkeeping import CellKeeping
from ledger.broker.chain_reader import ChainReader
from ledger.broker.deciding import Decisions
from ledger.broker.defence import Defence
from ledger.broker.deposit_desk import DepositDesk
from ledger.broker.deposits import Wrap
from ledger.broker.evidence import EvidenceVerifier
from ledger.broker.facts import ChainState
from ledger.broker.hold_desk import HoldDesk
from ledger.broker.home import BrokerHome
from ledger.broker.keyshares import released_index
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
from ledger.broker.store import BrokerStore, HeldLease
from ledger.broker.turns import TURNS
from ledger.broker.vault import Vault
from ledger.broker.wordcount import WordCount
from ledger.errors import (
    Expired,
    KeyRequestRejected,
    LeaseExpired,
    LedgerError,
)
from ledger.ids import Digest
from ledger.licensing.document import Document, hex_text
from ledger.sealed.recipients import wrap


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
        self._words = WordCount(self.store, least=(rules or DEFAULT).words)
        self._cells = CellKeeping(self.store, self._vault, self._words)
        self._log = ReceiptLog(self.store, home.signing, self.identity.audience)
        self._seating = Seating(self.store)
        self.notices = Notices.of(home.path, self.store)
        self.defence = Defence(
            self.store, self._log, limits=limits, rules=rules, tell=self.notices.put
        )
        self._chain = chain
        self._clock = clock
        self._deposits = DepositDesk(
            home, self.store, self._vault,
            shareholding=self._shareholding, cells=self._cells, log=self._log,
            defence=self.defence, chain=chain, now=self._now,
        )  # fmt: skip
        self._decisions = Decisions(
            self.identity, self.store, chain,
            dict(verifiers or Admitted.load(home.path).verifiers(clock=clock)),
            defence=self.defence, shareholding=self._shareholding, cells=self._cells,
        )  # fmt: skip
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
                "evidence": sorted(self._decisions.verifiers),
                "time": self._now(),
            }
        )

    def endpoints(self) -> dict[str, Any]:
        """How the endpoints are that its decisions rest on, as last seen; hosts, never URLs."""
        return {
            "quorum": self._chain.quorum,
            "endpoints": [each.to_json() for each in self._chain.health()],
        }

    def deposit(self, body: Any, *, network: str = UNKNOWN_NETWORK) -> dict[str, Any]:
        """Take a sealing's keys from their licensor and sign for them (`DepositDesk.take`).

        Raises:
            RateLimited: the network, or the licensor, deposits too often.
        """
        self.defence.knock(network)
        return self._deposits.take(body)

    # -- challenge, decision, release ----------------------------------------------------------

    def challenge(self, body: Any, *, network: str = UNKNOWN_NETWORK) -> dict[str, Any]:
        """A fresh challenge for one license and model.

        Raises:
            FormatError: not such a request.
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
        talk, chain, terms = self._decisions.decide(request, offered, intent=intent, now=now)
        sealing = request.evidence.sealing
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
                    request.license,
                    request.runtime.hash(),
                    network,
                    now=now,
                    also=lambda: self._words.refuse(request.license, sealing, chain),
                ),
                **_set_of(chain),
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
                self._decisions.keep_papers(request, chain, terms)
            result = {
                **_outcome(talk, granted=lease is not None),
                "lease": None if lease is None else lease.to_json(),
                "wraps": wraps,
                **shared,
            }
            shown = request.to_json()
            reply = self._log.answer(
                "release",
                shown,
                result,
                now=now,
                license_id=request.license,
                log=worth_an_entry(shown, talk.denial),
            )
            if intent == offline.INTENT and lease is not None:
                offline.keep(self.store, request, self.home.signing.public, reply, now=now)
            return reply

    def check(self, body: Any, *, network: str = UNKNOWN_NETWORK) -> dict[str, Any]:
        """Decide as ``release`` would, taking no seat and releasing nothing.

        Raises:
            FormatError: not a key request.
            RateLimited: the network asks too often.
        """
        self.defence.knock(network)
        request, offered = _parse_request(body)
        now = self._now()
        talk, chain, _ = self._decisions.decide(request, offered, intent="check", now=now)
        plan = chain.head.plan if isinstance(chain, ChainState) else None
        self._seating.look(
            talk,
            request,
            plan,
            now=now,
            gate=lambda: self.defence.look(
                request.license,
                also=lambda: self._words.excess(request.license, request.evidence.sealing, chain),
            ),
            **_set_of(chain),
        )
        result = _outcome(talk, granted=talk.open)
        return self._log.answer("check", request.to_json(), result, now=now, log=False)

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
        talk, chain = self._decisions.still_entitled(held, now)
        with self.store.transaction():
            # The chain took its time, and a seat is free at its lease's end: asked as late as this,
            # and of the lease as it is now, or another runtime could hold the same seat.
            stored = self.store.lease(lease_id) or held
            talk.step(9, lambda: check_running(stored.lease, now=max(now, self._now())))
            lease: Lease | None = None
            if talk.open and isinstance(chain, ChainState):
                terms, _ = self._decisions.terms(chain, None)
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


def _set_of(chain: ChainState | LedgerError) -> dict[str, int]:
    """How many brokers of the plan's set must release, and how many it has."""
    if not isinstance(chain, ChainState):
        return {}
    return {"threshold": chain.head.threshold, "members": len(chain.head.brokers)}


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
