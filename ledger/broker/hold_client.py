"""A licensor at a broker's desk of holds: look at one, and end it with a wallet's signature."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ledger.broker.client import BrokerClient
from ledger.broker.defence import HOLD_END
from ledger.broker.hold_desk import HELD
from ledger.broker.hold_release import HoldName, HoldRelease
from ledger.eip712 import TypedSigner
from ledger.errors import KeyRequestRejected, SignatureInvalid
from ledger.ids import Address, LicenseId
from ledger.licensing.document import Document

LIFETIME: Final = 3600
"""Seconds that a release is good for, where the wallet is at hand."""


@dataclass(frozen=True, slots=True)
class HeldLicense:
    """A license as a broker says it holds it; `since` in Unix seconds."""

    name: HoldName
    rule: str
    since: int

    def to_json(self) -> dict[str, Any]:
        """The hold as commands answer it."""
        return {**self.name.to_json(), "rule": self.rule, "since": self.since}


def held(client: BrokerClient, license_id: LicenseId) -> HeldLicense | None:
    """The hold of a broker on a license; None where there is none.

    Raises:
        BrokerUnavailable: it does not answer.
        SignatureInvalid: the answer is not the pinned broker's.
    """
    doc = client.signed("GET", f"/v1/broker/holds/{license_id}", HELD, {"license": str(license_id)})
    if doc.license() != license_id:
        raise SignatureInvalid("the broker told of another license")
    if not doc.has("hold"):
        return None
    shown = Document(doc.object("hold"), "the hold", ("sequence", "hash", "rule", "since"))
    return HeldLicense(
        HoldName(shown.integer("sequence", 1), shown.digest("hash")),
        shown.text("rule", limit=64),
        shown.integer("since"),
    )


def draft(
    client: BrokerClient,
    license_id: LicenseId,
    licensor: Address,
    *,
    lifetime: int = LIFETIME,
    clock: Callable[[], float] = time.time,
) -> HoldRelease:
    """A release of the present hold that nobody has signed yet.

    Raises:
        KeyRequestRejected: the license is not held.
        BrokerUnavailable, SignatureInvalid: as ``held``.
    """
    found = held(client, license_id)
    if found is None:
        raise KeyRequestRejected(
            f"{client.host} does not hold license {license_id}", check=2, hint="nothing to release"
        )
    now = int(clock())
    audience = client.facts().identity.audience
    return HoldRelease(license_id, found.name, audience, now, now + lifetime, licensor)


def send(client: BrokerClient, release: HoldRelease) -> dict[str, Any]:
    """Send a signed release; the broker's verified receipt.

    Raises:
        KeyRequestRejected, SignatureInvalid, PendingFinality: it refuses.
        EndpointsDisagree, ChainUnavailable, BrokerUnavailable: it cannot tell, or does not answer.
    """
    body = release.to_json()
    path = f"/v1/broker/holds/{release.license}/release"
    return client.signed("POST", path, HOLD_END, body, body=body).value


def release_hold(
    client: BrokerClient, license_id: LicenseId, signer: TypedSigner
) -> tuple[HoldRelease, dict[str, Any]]:
    """Look at the hold, sign its end with the licensor's wallet, send it; release and receipt.

    Raises:
        KeyRequestRejected, SignatureInvalid, PendingFinality, UnavailableError, EndpointsDisagree:
            as ``draft`` and ``send``.
    """
    unsigned = draft(client, license_id, signer.address)
    release = unsigned.signed(signer, client.facts().identity.domain)
    return release, send(client, release)
