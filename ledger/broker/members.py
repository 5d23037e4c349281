"""Asking single brokers of a card: pinned, by the card's contracts, again while it is "not yet"."""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections.abc import Callable
from typing import Final, TypeVar

from ledger.broker.client import BrokerClient
from ledger.broker.link import BrokerPin
from ledger.errors import (
    EndpointsDisagree,
    LedgerError,
    PendingFinality,
    SignatureInvalid,
    UnavailableError,
)
from ledger.licensing.card import CardBroker, LicenseCard

PATIENCE: Final = 5.0
"""Seconds for which an unreachable broker or chain is tried again."""
T = TypeVar("T")


def pin_of(member: CardBroker) -> BrokerPin:
    """The keys that a broker of the card must answer with."""
    return BrokerPin(member.id, member.signing_key_hash, member.kem_key_hash)


def check_ledger(client: BrokerClient, card: LicenseCard) -> None:
    """The broker decides by the contracts that the card names.

    Raises:
        SignatureInvalid: by others.
        BrokerUnavailable: it does not answer.
    """
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


def name_fault(broker_id: int, error: LedgerError) -> None:
    """Warn of a broker that sent what no honest one sends; others made up for it."""
    # A warning that is made an error must not undo what others made good.
    with contextlib.suppress(Warning):
        warnings.warn(f"modeldeed: broker {broker_id} was left out: {error.message}", stacklevel=2)


def patiently(act: Callable[[], T], timeout: float, stopping: threading.Event | None = None) -> T:
    """Ask, and ask again while the answer is "not yet" and nobody says stop.

    Raises:
        what `act` raised last.
    """
    start = time.monotonic()
    stopping = stopping or threading.Event()
    while True:
        try:
            return act()
        except (PendingFinality, EndpointsDisagree, UnavailableError) as error:
            patience = min(PATIENCE, timeout) if isinstance(error, UnavailableError) else timeout
            wait = max(0.2, min(getattr(error, "retry_after", 1.0), 2.0))
            if time.monotonic() - start + wait > patience or stopping.wait(wait):
                raise
