"""Asking the brokers of a card, as one runtime, for a decision or for the key.

A card is believed as far as the holder's pin for its license goes (`ledger.broker.pins`). Without
one a broker may be asked why it refuses, and nothing it grants is used.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Final

from ledger.broker.client import Asker, Attest, BrokerClient, Decision, Keep, Keepable
from ledger.broker.denials import Denial
from ledger.broker.identity import RuntimeIdentity
from ledger.broker.joint import BrokerGroup
from ledger.broker.leases import Lease
from ledger.broker.members import check_ledger, name_fault, patiently, pin_of
from ledger.broker.protocol import KeyRequest
from ledger.broker.released import ReleasedKeys
from ledger.broker.signing import BrokerPublicKeys
from ledger.broker.threshold import LOOK_SECONDS, ask_shares, decide_shares, standing
from ledger.errors import (
    BrokerUnavailable,
    FormatError,
    KeyAccessError,
    KeyRequestRejected,
    LedgerError,
    RuntimeNotBound,
    SignatureInvalid,
    UsageError,
)
from ledger.licensing.card import CardBroker, LicenseCard
from ledger.sealed.record import SealingRecord

_GRANT_CHECK: Final = 4


def pinned(card: LicenseCard, identity: RuntimeIdentity) -> bool:
    """Hold a card against the accepted grant for its license; False when there is no grant.

    Raises:
        SignatureInvalid, ClaimMismatch: the grant pins another licensor, model or brokers.
    """
    granted = identity.grant_for(card.chain_id, card.ledger, card.license)
    if granted is None:
        return False
    granted.pin.hold(card)
    return True


def require_pin(
    card: LicenseCard,
    identity: RuntimeIdentity,
    broker: BrokerClient | str | None,
    timeout: float,
) -> None:
    """Refuse a card that nothing on this machine vouches for, with the broker's reason if any.

    Raises:
        SignatureInvalid, ClaimMismatch: as `pinned`.
        EntitlementError, KeyRequestRejected: no grant was accepted here for its license.
        BrokerUnavailable: no broker tells why.
    """
    # A broker whose keys the caller pinned decides by the real chain: plan, model and sealing.
    if not (pinned(card, identity) or (isinstance(broker, BrokerClient) and broker.pinned)):
        _decide(card, identity, broker, timeout).raise_if_denied()


def decide(
    card: LicenseCard,
    identity: RuntimeIdentity,
    broker: BrokerClient | str | None,
    timeout: float,
    *,
    attest: Attest | None = None,
) -> Decision:
    """Every step of the broker's decision; takes nothing. Without a pin it is always a no.

    Of a card with several brokers it also says how their set stands.

    Raises:
        SignatureInvalid, ClaimMismatch: as `pinned`; or the broker is not the card's.
        BrokerUnavailable: nobody answers.
    """
    decision = _decide(card, identity, broker, timeout, attest=attest)
    if broker is not None or len(card.brokers.members) == 1:
        return decision
    return replace(decision, standing=standing(card, min(timeout, LOOK_SECONDS)))


def _decide(
    card: LicenseCard,
    identity: RuntimeIdentity,
    broker: BrokerClient | str | None,
    timeout: float,
    *,
    attest: Attest | None = None,
) -> Decision:
    vouched = pinned(card, identity) or (isinstance(broker, BrokerClient) and broker.pinned)
    asker = replace(_asker(card, identity), attest=attest)
    if _shared(card, broker):
        decision = decide_shares(card, asker, timeout)
        return decision if vouched or not decision.granted else _unpinned(decision, card)
    problem: LedgerError | None = None
    for client in _clients(card, broker, timeout):
        with client:
            try:
                decision = client.check(asker)
            except BrokerUnavailable as error:
                problem = error
            else:
                return decision if vouched or not decision.granted else _unpinned(decision, card)
    assert problem is not None, "a card names at least one broker"
    raise problem


def ask(
    card: LicenseCard,
    identity: RuntimeIdentity,
    broker: BrokerClient | str | None,
    timeout: float,
    *,
    keep: Keep | None = None,
    attest: Attest | None = None,
) -> tuple[BrokerClient | BrokerGroup, ReleasedKeys, Lease]:
    """The keys and their lease, from the first broker of the card that gives them, or from t.

    Call `require_pin` first. `keep` is given what was released, by each broker.

    Raises:
        KeyAccessError, FormatError, SignatureInvalid: no broker gave the sealing's key, and one at
            least answered what no honest one does. With one that did, it is warned of.
    """
    asker = replace(_asker(card, identity), keep=keep, attest=attest)
    if _shared(card, broker):
        return ask_shares(card, asker, timeout)
    record = SealingRecord.from_json(dict(card.sealing))
    if keep is not None:
        asker = replace(asker, keep=_checked(keep, record))
    clients = _clients(card, broker, timeout)
    problem: LedgerError | None = None
    faults: list[tuple[int, LedgerError]] = []
    for number, client in enumerate(clients):
        try:
            check_ledger(client, card)
            keys, lease, _ = patiently(partial(client.release_keys, asker), timeout)
            keys.check(record)
        except (BrokerUnavailable, SignatureInvalid, KeyAccessError, FormatError) as error:
            if isinstance(error, KeyRequestRejected):
                # Its answer, and not a fault of it.
                for other in clients[number:]:
                    other.close()
                raise
            # Another broker of the card may be reachable, be the real one, or have the right key.
            client.close()
            if problem is None or isinstance(problem, BrokerUnavailable):
                problem = error
            if not isinstance(error, BrokerUnavailable):
                faults.append((client.pinned_id, error))
        except BaseException:
            for other in clients[number:]:
                other.close()
            raise
        else:
            for other in clients[number + 1 :]:
                other.close()
            for broker_id, fault in faults:
                name_fault(broker_id, fault)
            return client, keys, lease
    assert problem is not None, "a card names at least one broker"
    raise problem


def _checked(keep: Keep, record: SealingRecord) -> Keep:
    """Keeps only what opens the sealing: a wrong key must not take a good one's place."""

    def checked(
        request: KeyRequest,
        signing: BrokerPublicKeys,
        reply: dict[str, Any],
        lease: Lease,
        keys: Keepable,
    ) -> object:
        if isinstance(keys, ReleasedKeys):
            keys.check(record)
        return keep(request, signing, reply, lease, keys)

    return checked


def _unpinned(decision: Decision, card: LicenseCard) -> Decision:
    # Any key server grants to itself; a BOUND plan's real broker needs no grant either.
    denial = Denial(
        code=RuntimeNotBound.code,
        number=RuntimeNotBound.number,
        message=f"this machine has accepted no grant for license {card.license}, so nothing "
        "here says whose model the card may name",
        since=None,
        remedy="the holder runs deed runtime grant, this machine deed runtime accept",
        check=_GRANT_CHECK,
        retry_after=None,
    )
    return replace(decision, granted=False, denial=denial)


def _asker(card: LicenseCard, identity: RuntimeIdentity) -> Asker:
    granted = identity.grant_for(card.chain_id, card.ledger, card.license)
    return Asker(
        identity=identity,
        license=card.license,
        model=card.model,
        sealing=card.sealing_hash,
        grant=None if granted is None else granted.grant,
        acceptance=None if granted is None else granted.acceptance,
        terms=card.terms,
        certificate=None if granted is None else granted.certificate,
    )


def _shared(card: LicenseCard, broker: BrokerClient | str | None) -> bool:
    """Whether several brokers of the card must release; then none can be named instead.

    Raises:
        UsageError: one is.
    """
    if card.brokers.threshold == 1:
        return False
    if broker is not None:
        raise UsageError(
            f"the key is shared: {card.brokers.threshold} of {len(card.brokers.members)} brokers "
            "must release, and one was named",
            hint="name no broker (broker=, --broker, DEED_BROKER): the card names them all",
        )
    return True


def _clients(
    card: LicenseCard, broker: BrokerClient | str | None, timeout: float
) -> list[BrokerClient]:
    """Clients pinned to the keys the licensor signed, one per URL to try."""
    if isinstance(broker, BrokerClient):
        if not broker.pinned:
            broker.pin(pin_of(_member(card, broker)))
        return [broker]
    wanted = [
        (member, url)
        for member in card.brokers.members
        for url in ((broker,) if broker is not None else member.urls)
    ]
    if not wanted:
        raise UsageError("the card names no broker URL", hint="give one: broker=URL")
    seconds = min(timeout, 30.0)
    return [BrokerClient(url, pin=pin_of(member), timeout=seconds) for member, url in wanted]


def _member(card: LicenseCard, client: BrokerClient) -> CardBroker:
    number = client.facts().identity.id
    for member in card.brokers.members:
        if member.id == number:
            return member
    raise SignatureInvalid(
        f"{client.host} is broker {number}, which the card does not name",
        hint="use the broker that the card names",
    )
