"""A key request carried by hand, on both sides (docs/spec/offline-release.md)."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ledger.broker import asking
from ledger.broker.attestation import report_data_of
from ledger.broker.client import SOFTWARE, Attest
from ledger.broker.custody import read_private, write_private, zero
from ledger.broker.deposits import CONTENT_KEY, wraps_of
from ledger.broker.identity import RuntimeIdentity
from ledger.broker.joining import ReleasedShare, open_share, stated_shares
from ledger.broker.keeping import KeptReleases, released
from ledger.broker.keyshares import MAX_MEMBERS
from ledger.broker.leases import Lease
from ledger.broker.offline import (
    INTENT,
    TOLERANCE_SECONDS,
    WINDOW_SECONDS,
    OfflineRequest,
    OfflineResponse,
    kept,
)
from ledger.broker.protocol import Evidence, KeyRequest, audience, release_info
from ledger.broker.released import ReleasedKeys, open_cells
from ledger.canonical import parse_json
from ledger.errors import (
    EntitlementError,
    KeyAccessError,
    KeyRequestRejected,
    LeaseExpired,
    LedgerError,
    ManifestError,
    RuntimeNotBound,
    SignatureInvalid,
    UsageError,
)
from ledger.ids import Digest
from ledger.licensing.card import CardBroker, LicenseCard
from ledger.licensing.document import Document, base64_text
from ledger.licensing.entitlement import moment
from ledger.sealed.keys import key_commitment
from ledger.sealed.recipients import KemPrivateKey, unwrap
from ledger.sealed.record import SealingRecord

if TYPE_CHECKING:
    from ledger.broker.service import BrokerService

PENDING_TYPE: Final = "modeldeed/pending-request"
_MAX_PENDING: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Pending:
    """A request of this host that waits for its answer, with the key that will open it.

    Attributes:
        place: of the broker in its set, from 0, where it gives a share; None where it gives all.
    """

    request: KeyRequest
    kem: bytes = field(repr=False)
    signing_key_hash: Digest
    commit: Digest
    place: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The file; secret."""
        return {
            "type": PENDING_TYPE,
            "version": 1,
            "request": self.request.to_json(),
            "kem": base64_text(self.kem),
            "signing_key_hash": str(self.signing_key_hash),
            "commit": str(self.commit),
            "place": self.place,
        }

    @classmethod
    def from_json(cls, value: Any) -> Pending:
        """Read one.

        Raises:
            ManifestError, UnsupportedVersion: not one.
        """
        doc = Document(
            value,
            "the waiting request",
            ("type", "version", "request", "kem", "signing_key_hash", "commit", "place"),
        )
        doc.kind(PENDING_TYPE)
        return cls(
            KeyRequest.from_json(doc.object("request")),
            doc.blob("kem"),
            doc.digest("signing_key_hash"),
            doc.digest("commit"),
            doc.integer("place", 0, MAX_MEMBERS - 1) if doc.has("place") else None,
        )


# -- host ----------------------------------------------------------------------------------------


def make_request(
    card: LicenseCard,
    identity: RuntimeIdentity,
    *,
    broker: int | None = None,
    attest: Attest | None = None,
    clock: Callable[[], float] = time.time,
) -> OfflineRequest:
    """Ask for a key without a network; the KEM key stays here, beside the runtime's.

    Args:
        card: as ``locate`` or ``LicenseCard.verify`` has checked it.
        identity: this host's runtime.
        broker: which broker of the card; the first by default, and to be named where several must
            release.
        attest: gets an attestation token, which must still be fresh when the request is answered.
        clock: Unix seconds.

    Raises:
        RuntimeNotBound: no grant for its license was accepted here.
        SignatureInvalid, ClaimMismatch: the card is not what that grant pins.
        UsageError: the card names no such broker, or several must release and none was named.
        ConfigurationError: nothing can be written beside the runtime key.
    """
    # (1) Nothing is asked under a card that nobody here vouches for.
    granted = identity.grant_for(card.chain_id, card.ledger, card.license)
    if granted is None or not asking.pinned(card, identity):
        raise RuntimeNotBound(
            f"this machine has accepted no grant for license {card.license}",
            remedy="the holder runs deed runtime grant, this machine deed runtime accept",
        )
    member, place = _member(card, broker)
    record = SealingRecord.from_json(dict(card.sealing))
    now = int(clock())
    sweep(identity, now=now)
    kem = KemPrivateKey.generate()
    secret = kem.to_bytes()
    try:
        bare = Evidence("software", INTENT, card.sealing_hash, identity.use, SOFTWARE)
        unsigned = KeyRequest(
            challenge=secrets.token_bytes(32),
            license=card.license,
            model=card.model,
            kem=kem.public,
            evidence=bare,
            audience=audience(card.chain_id, card.broker_registry, member.id),
            issued_at=now,
            expires_at=now + WINDOW_SECONDS,
            runtime=identity.key,
            grant=granted.grant,
            acceptance=granted.acceptance,
            certificate=granted.certificate,
        )
        if attest is not None:
            token = attest(report_data_of(unsigned), unsigned.challenge)
            unsigned = replace(unsigned, evidence=replace(bare, kind="tee", token=token))
        request = unsigned.signed(identity.sign, card.domain)
        # (2) The key first: an answer to a request without one would be lost.
        pending = Pending(request, bytes(secret), member.signing_key_hash, record.commit, place)
        data = json.dumps(pending.to_json()).encode() + b"\n"
        write_private(_pending_path(identity, request.hash()), data)
    finally:
        zero(secret)
        kem.wipe()
    # (3) What is carried.
    return OfflineRequest(request, card.terms)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A release that was accepted and kept.

    Attributes:
        lease: its lease.
        kept: how many releases of this license and sealing are kept now.
        needed: how many of them open it.
    """

    lease: Lease
    kept: int = 1
    needed: int = 1


def accept_release(
    identity: RuntimeIdentity, document: Any, *, clock: Callable[[], float] = time.time
) -> Accepted:
    """Check a broker's answer and keep the release for ``ledger.load``.

    The steps are those of docs/spec/offline-release.md, "Accepting".

    Raises:
        ManifestError, UnsupportedVersion: not a response file.
        KeyRequestRejected: no request of this host waits for it.
        SignatureInvalid: not by the broker that was asked, or for something else.
        EntitlementError, KeyRequestRejected, PendingFinality, EndpointsDisagree,
            ChainUnavailable: the broker's denial.
        NoIdentityMatch, KeyAccessError, SharesRejected: the key or share does not open, or is
            another one than was committed to.
        LeaseExpired: it came too late.
        ClockFloorInvalid, ConfigurationError: it cannot be kept.
    """
    # (1) Formats, and which request it answers.
    response = OfflineResponse.from_json(document)
    answered = Document(response.reply, "the broker's reply").digest("request")
    pending = _waiting(identity, answered)
    request = pending.request
    # (2) The broker that was asked.
    if response.signing.hash() != pending.signing_key_hash:
        raise SignatureInvalid(
            f"the answer is signed with other keys than those of {request.audience}",
            hint="get the answer from the broker that the card names, or a fresh card",
        )
    # (3) Signatures, kind, sender; (4) a denial; (5) the lease.
    try:
        signed, lease = released(request, response.signing, response.reply)
    except (EntitlementError, KeyRequestRejected):
        # Final: its nonce is spent.
        _pending_path(identity, answered).unlink(missing_ok=True)
        raise
    keys = _unwrapped(pending, response.reply, lease)
    try:
        # (7) The clock.
        store = KeptReleases(identity, clock=clock)
        store.take_time(signed)
        if store.floor.now() >= lease.grace_until:
            raise LeaseExpired(
                f"the lease ended on {moment(lease.grace_until)}, before it came here",
                hint="carry it faster, set this host's clock, or ask the licensor for a plan with "
                "longer leases",
            )
        # (8) Kept; then the way to open it again is gone.
        store.keep(request, response.signing, response.reply, lease, keys)
    finally:
        keys.wipe()
    _pending_path(identity, answered).unlink(missing_ok=True)
    needed = 1 if pending.place is None else stated_shares(response.reply).threshold
    return Accepted(lease, store.count(lease), needed)


def sweep(identity: RuntimeIdentity, *, now: int) -> None:
    """Delete waiting requests that no broker will answer any more, with their keys."""
    for path in _pending_folder(identity).glob("*.json"):
        with suppress(LedgerError, OSError):
            waiting = Pending.from_json(parse_json(read_private(path), what=path.name))
            if now > waiting.request.expires_at + TOLERANCE_SECONDS:
                path.unlink()


def _member(card: LicenseCard, broker: int | None) -> tuple[CardBroker, int | None]:
    """The broker to ask, and its place where it gives a share."""
    shared = card.brokers.threshold > 1
    named = ", ".join(str(member.id) for member in card.brokers.members)
    if shared and broker is None:
        raise UsageError(
            f"{card.brokers.threshold} of the brokers {named} must release, each by a file of its "
            "own",
            hint="make a request for each of as many: --broker ID",
        )
    for place, member in enumerate(card.brokers.members):
        if broker in {None, member.id}:
            return member, place if shared else None
    raise UsageError(f"the card names no broker {broker}", hint=f"it names {named}")


def _unwrapped(
    pending: Pending, reply: dict[str, Any], lease: Lease
) -> ReleasedKeys | ReleasedShare:
    """(6) The wraps open, and are what the sealing, or the licensor's statement, commits to."""
    kem = KemPrivateKey.from_bytes(pending.kem)
    try:
        if pending.place is not None:
            # Whose statement it is, is checked against the card, when it is used.
            return open_share(reply, pending.place, kem, request=pending.request, lease=lease)
        wraps = {
            entry.label: entry
            for entry in wraps_of(Document(reply, "the broker's reply").items("wraps"))
        }
        if CONTENT_KEY not in wraps:
            raise ManifestError("the broker's reply holds no content key")
        info = release_info(CONTENT_KEY, pending.request, lease)
        cells = open_cells(reply, wraps, kem, pending.request, lease)
        keys = ReleasedKeys(unwrap(wraps[CONTENT_KEY].data, kem, info=info), cells)
    finally:
        kem.wipe()
    if len(keys.content) != 32 or key_commitment(keys.content) != pending.commit:
        keys.wipe()
        raise KeyAccessError(
            "the released key is not the one that the sealing commits to",
            hint="tell the licensor and the broker's operator",
        )
    return keys


def _waiting(identity: RuntimeIdentity, request: Digest) -> Pending:
    path = _pending_path(identity, request)
    if not path.exists():
        raise KeyRequestRejected(
            "no request of this host waits for this answer: it is another host's, was accepted "
            "before, or has passed",
            hint="accept it on the host that asked, or make a new request: "
            "deed runtime request CARD",
        )
    data = read_private(path, limit=_MAX_PENDING)
    return Pending.from_json(parse_json(data, what="the waiting request"))


def _pending_folder(identity: RuntimeIdentity) -> Path:
    return identity.path.with_name(identity.path.stem + ".requests")


def _pending_path(identity: RuntimeIdentity, request: Digest) -> Path:
    return _pending_folder(identity) / f"{request.raw.hex()}.json"


# -- broker --------------------------------------------------------------------------------------


def answer(service: BrokerService, document: Any) -> OfflineResponse:
    """Decide on a request file as its broker; denials are answers too.

    A request that was given a release before is given the same again, and nothing is counted.

    Raises:
        ManifestError, UnsupportedVersion: not a request file.
        KeyAccessError: the decision was yes, and the stored key does not open.
    """
    carried = OfflineRequest.from_json(document)
    if (given := kept(service.store, carried.request)) is not None:
        return given
    terms = None if carried.terms is None else dict(carried.terms)
    body = {"request": carried.request.to_json(), "terms": terms}
    reply = service.release(body, intent=INTENT)
    return OfflineResponse(service.home.signing.public, reply)
