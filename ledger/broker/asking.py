"""Asking the brokers of a card, as one runtime, for a decision or for the key.

A card is believed as far as the holder's pin for its license goes (`ledger.broker.pins`). Without
one a broker may be asked why it refuses, and nothing it grants is used.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from ledger.broker.client import Asker, Attest, BrokerClient, BrokerPin, Decision, Keep
from ledger.broker.denials import Denial
from ledger.broker.identity import RuntimeIdentity
from ledger.broker.leases import Lease
from ledger.errors import (
    BrokerUnavailable,
    EndpointsDisagree,
    LedgerError,
    PendingFinality,
    RuntimeNotBound,
    SignatureInvalid,
    UnavailableError,
    UnsupportedVersion,
    UsageError,
)
from ledger.licensing.card import CardBroker, LicenseCard

PATIENCE: Final = 5.0
"""Seconds for which an unreachable broker or chain is tried again."""
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
        decide(card, identity, broker, timeout).raise_if_denied()


def decide(
    card: LicenseCard,
    identity: RuntimeIdentity,
    broker: BrokerClient | str | None,
    timeout: float,
    *,
    attest: Attest | None = None,
) -> Decision:
    """Every step of the broker's decision; takes nothing. Without a pin it is always a no.

    Raises:
        SignatureInvalid, ClaimMismatch: as `pinned`; or the broker is not the card's.
        BrokerUnavailable: nobody answers.
    """
    vouched = pinned(card, identity) or (isinstance(broker, BrokerClient) and broker.pinned)
    asker = replace(_asker(card, identity), attest=attest)
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
) -> tuple[BrokerClient, bytearray, Lease]:
    """The key and its lease, from the first broker of the card that gives them.

    Call `require_pin` first. `keep` is given what was released.
    """
    asker = replace(_asker(card, identity), keep=keep, attest=attest)
    clients = _clients(card, broker, timeout)
    problem: LedgerError | None = None
    for number, client in enumerate(clients):
        try:
            _check_ledger(client, card)
            key, lease = _release(client, asker, timeout)
        except (BrokerUnavailable, SignatureInvalid) as error:
            # Another broker of the card may be reachable, or be the real one.
            client.close()
            problem = error if problem is None or isinstance(error, SignatureInvalid) else problem
        except BaseException:
            for other in clients[number:]:
                other.close()
            raise
        else:
            for other in clients[number + 1 :]:
                other.close()
            return client, key, lease
    assert problem is not None, "a card names at least one broker"
    raise problem


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
    )


def _clients(
    card: LicenseCard, broker: BrokerClient | str | None, timeout: float
) -> list[BrokerClient]:
    """Clients pinned to the keys the licensor signed, one per URL to try."""
    if isinstance(broker, BrokerClient):
        if not broker.pinned:
            broker.pin(_pin(_member(card, broker)))
        return [broker]
    if card.brokers.threshold != 1:
        raise UnsupportedVersion(
            f"the key is shared among {card.brokers.threshold} brokers, which this release "
            "cannot join"
        )
    wanted = [
        (member, url)
        for member in card.brokers.members
        for url in ((broker,) if broker is not None else member.urls)
    ]
    if not wanted:
        raise UsageError("the card names no broker URL", hint="give one: broker=URL")
    seconds = min(timeout, 30.0)
    return [BrokerClient(url, pin=_pin(member), timeout=seconds) for member, url in wanted]


def _member(card: LicenseCard, client: BrokerClient) -> CardBroker:
    number = client.facts().identity.id
    for member in card.brokers.members:
        if member.id == number:
            return member
    raise SignatureInvalid(
        f"{client.host} is broker {number}, which the card does not name",
        hint="use the broker that the card names",
    )


def _pin(member: CardBroker) -> BrokerPin:
    return BrokerPin(member.id, member.signing_key_hash, member.kem_key_hash)


def _check_ledger(client: BrokerClient, card: LicenseCard) -> None:
    told = client.facts().identity
    if (told.chain_id, told.ledger, told.registry, told.broker_registry) != (
        card.chain_id,
        card.ledger,
        card.registry,
        card.broker_registry,
    ):
        raise SignatureInvalid(
            f"broker {client.host} decides by other contracts than the card names",
            hint="use the broker that the card names",
        )


def _release(client: BrokerClient, asker: Asker, timeout: float) -> tuple[bytearray, Lease]:
    """Ask, and ask again while the answer is "not yet"."""
    start = time.monotonic()
    while True:
        try:
            key, lease, _ = client.release(asker)
        except (PendingFinality, EndpointsDisagree, UnavailableError) as error:
            patience = min(PATIENCE, timeout) if isinstance(error, UnavailableError) else timeout
            wait = max(0.2, min(getattr(error, "retry_after", 1.0), 2.0))
            if time.monotonic() - start + wait > patience:
                raise
            time.sleep(wait)
        else:
            return key, lease
