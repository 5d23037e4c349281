"""The broker's decision: which facts each numbered step is given, in the order of the spec.

The rules themselves are in ``policy``; seats, quotas and what is released follow in ``service``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from ledger.broker import offline, policy
from ledger.broker.cellkeeping import CellKeeping
from ledger.broker.chain_reader import ChainReader
from ledger.broker.defence import Defence
from ledger.broker.evidence import EvidenceVerifier
from ledger.broker.facts import ChainState
from ledger.broker.home import BrokerIdentity
from ledger.broker.policy import Deliberation
from ledger.broker.protocol import KeyRequest
from ledger.broker.shareholding import Shareholding
from ledger.broker.stateproof import Kept
from ledger.broker.store import BrokerStore, HeldLease
from ledger.broker.turns import TURNS
from ledger.broker.wallet_signatures import SignatureState, WalletSays
from ledger.errors import (
    ChainError,
    ChainUnavailable,
    EndpointsDisagree,
    FormatError,
    LedgerError,
    PendingFinality,
    Reorganised,
    UnavailableError,
)
from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.licensing import terms as terms_module
from ledger.licensing.terms import Terms


class Decisions:
    """Decides on requests and heartbeats, short of seats. Thread-safe.

    Args:
        identity: the broker.
        store: its database.
        chain: where its facts come from.
        verifiers: evidence it accepts, by class.
        defence: told which runtimes signed.
        shareholding: which sealings are deposited.
        cells: likewise, their cell keys.
    """

    def __init__(
        self,
        identity: BrokerIdentity,
        store: BrokerStore,
        chain: ChainReader,
        verifiers: Mapping[str, EvidenceVerifier],
        *,
        defence: Defence,
        shareholding: Shareholding,
        cells: CellKeeping,
    ) -> None:
        self.chain = chain
        self.verifiers = verifiers
        self._identity = identity
        self._store = store
        self._defence = defence
        self._shareholding = shareholding
        self._cells = cells
        # As read from the database, so that they are there: what a transaction only adds is not.
        self._kept_terms: Kept[Digest, Terms] = Kept()
        self._kept_acceptances: Kept[tuple[LicenseId, Address, Digest], bool] = Kept(4096)
        self._vouched: Kept[tuple[Address, Digest, bytes], SignatureState] = Kept(4096)

    def decide(
        self, request: KeyRequest, offered: Any, *, intent: str, now: int
    ) -> tuple[Deliberation, ChainState | LedgerError, Terms | None]:
        """Steps 1 to 8. The chain is asked only for a request that is fresh and signed.

        Args:
            request: as it came.
            offered: terms that came with it, for a broker that has none.
            intent: what it must have been signed for.
            now: Unix seconds.

        Returns:
            The steps, what the chain shows or why it shows nothing, and the terms.
        """
        talk, domain, audience = Deliberation(), self._identity.domain, self._identity.audience
        limits: Mapping[str, int] = {}
        if intent == offline.INTENT:
            limits = offline.LIMITS
            unspent = offline.spend(self._store, request, now=now)
            talk.step(1, lambda: offline.check_nonce(unspent=unspent))
        else:
            issued = self._store.consume_challenge(request.challenge)
            talk.step(1, lambda: policy.check_challenge(issued, request, now=now))
        talk.step(
            2,
            lambda: policy.check_request(
                request, domain=domain, audience=audience, intent=intent, now=now, **limits
            ),
        )
        talk.step(
            3,
            lambda: self._defence.signed(
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
                terms, accepted = self.terms(chain, offered)
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
        talk.step(5, lambda: policy.check_chain(chain, broker_id=self._identity.id))
        sealing = request.evidence.sealing
        deposited = self._shareholding.deposited(sealing, chain) and self._cells.deposited(
            sealing, chain
        )
        talk.step(6, lambda: policy.check_title(request, chain, deposited=deposited))
        talk.step(7, lambda: policy.check_evidence(request, chain, self.verifiers))
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
                return self.chain.license_state(license_id, model, runtime_key_hash, now=now)
        except (PendingFinality, EndpointsDisagree, Reorganised, UnavailableError) as error:
            return error
        except (ChainError, FormatError) as error:
            # A wrong or broken endpoint is no statement about the license: no authoritative no.
            return ChainUnavailable(f"the chain cannot be read: {error.message}", retry_after=5.0)

    def _ask_wallet(self, chain: ChainState, digest: Digest, signature: bytes) -> SignatureState:
        license_id, holder = chain.head.license.license, chain.head.license.holder
        known = holder, digest, signature
        if self._vouched.get(known) is not None:
            # What the wallet took before is asked again each time, whatever strangers did.
            return self._signature_state(chain, digest, signature)
        with self._defence.asking_wallet(license_id) as worth_it:
            said = self._signature_state(chain, digest, signature)
            if said.head is WalletSays.ACCEPTED:
                self._vouched.put(known, said)
                worth_it()
            return said

    def _signature_state(
        self, chain: ChainState, digest: Digest, signature: bytes
    ) -> SignatureState:
        try:
            with TURNS.aside():
                return self.chain.signature_state(chain, digest, signature)
        except (EndpointsDisagree, Reorganised, UnavailableError):
            raise
        except (ChainError, FormatError) as error:
            raise ChainUnavailable(
                f"the holder's wallet cannot be asked: {error.message}", retry_after=5.0
            ) from None

    def terms(self, chain: ChainState, offered: Any) -> tuple[Terms | None, bool]:
        """The plan's terms, kept or as offered, and whether the holder accepted them before."""
        plan, license_facts = chain.head.plan, chain.head.license
        if plan is None:
            return None, False
        terms = self._kept_terms.get(plan.terms_hash)
        if terms is None:
            document = self._store.terms(plan.terms_hash)
            with contextlib.suppress(FormatError):
                terms = terms_module.validate(offered if document is None else document)
                if document is not None:
                    self._kept_terms.put(plan.terms_hash, terms)
        paper = license_facts.license, license_facts.holder, plan.terms_hash
        accepted = self._kept_acceptances.get(paper) is not None or self._store.accepted(*paper)
        if accepted:
            self._kept_acceptances.put(paper, accepted)
        return terms, accepted

    def keep_papers(self, request: KeyRequest, chain: ChainState, terms: Terms) -> None:
        """Terms and acceptance that a release rests on; neither is ever changed or dropped."""
        hash_, holder = terms.hash(), chain.head.license.holder
        if self._kept_terms.get(hash_) is None:
            self._store.add_terms(hash_, terms.document)
        acceptance = request.acceptance
        if acceptance is None:
            return
        paper = acceptance.license, holder, acceptance.terms_hash
        if self._kept_acceptances.get(paper) is None:
            self._store.add_acceptance(holder, acceptance)

    def still_entitled(
        self, held: HeldLease, now: int
    ) -> tuple[Deliberation, ChainState | LedgerError]:
        """Steps 4 and 5 again; a heartbeat takes no seat and counts no use. Step 9 follows."""
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
                domain=self._identity.domain,
                at=at,
                certificate=held.certificate,
                ask=self._ask_wallet,
            ),
        )
        talk.step(5, lambda: policy.check_chain(chain, broker_id=self._identity.id))
        return talk, chain
