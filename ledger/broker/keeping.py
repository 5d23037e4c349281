"""Releases kept on the host, sealed, while their lease holds (docs/spec/offline-release.md).

The content key lies under a key that only this runtime's key derives, and only for this very lease:
it names the KEM key, the runtime and the blocks the decision rested on.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.broker.client import Decision, Keepable, check_lease, check_time, decision_of
from ledger.broker.custody import read_private, write_private, zero
from ledger.broker.floor import ClockFloor
from ledger.broker.identity import RuntimeIdentity
from ledger.broker.joining import (
    ReleasedShare,
    check_statement,
    joined,
    largest_set,
    share_from_bytes,
    stated_shares,
)
from ledger.broker.joint import deciding
from ledger.broker.leases import Lease
from ledger.broker.protocol import KeyRequest, audience
from ledger.broker.released import ReleasedKeys
from ledger.broker.signing import BrokerPublicKeys, without_ciphertexts
from ledger.canonical import canonical_json, parse_json
from ledger.errors import (
    BrokerUnavailable,
    ClaimMismatch,
    ClockFloorInvalid,
    FormatError,
    KeyAccessError,
    LeaseExpired,
    LedgerError,
    SharesRejected,
    SignatureInvalid,
    UseNotPermitted,
    VerificationError,
)
from ledger.ids import Digest, LicenseId
from ledger.licensing import terms as terms_module
from ledger.licensing.card import LicenseCard
from ledger.licensing.document import Document, base64_text, hex_text
from ledger.licensing.entitlement import moment
from ledger.sealed.cells import released_bytes
from ledger.sealed.codeword import MAX_CELLS
from ledger.sealed.memory import burn
from ledger.sealed.record import SealingRecord

TYPE: Final = "modeldeed/kept-release"
KEY_TAG: Final = "modeldeed/kept-release/1"
_NONCE = 12
_BROKER = "-broker-"
_MAX_FILE = 2 << 20
_WAY = "ask again: deed runtime request CARD, or load where a broker can be reached"
# A share of cell keys brings 32 bytes more for each cell.
_MAX_SEALED = 32 + released_bytes(MAX_CELLS) + 32 * MAX_CELLS + 16
_REMEMBER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _KeptShare:
    lease: Lease
    share: ReleasedShare

    @property
    def group(self) -> tuple[object, ...]:
        return self.share.group


@dataclass(frozen=True, slots=True)
class KeptRelease:
    """A release at rest. The key in it is sealed."""

    request: KeyRequest
    signing: BrokerPublicKeys
    reply: dict[str, Any] = field(repr=False)
    lease: Lease
    nonce: bytes = field(repr=False)
    sealed: bytes = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """The file."""
        return {
            "type": TYPE,
            "version": 1,
            "request": self.request.to_json(),
            "signing": self.signing.to_json(),
            "reply": self.reply,
            "nonce": hex_text(self.nonce),
            "sealed": base64_text(self.sealed),
        }

    @classmethod
    def from_json(cls, value: Any) -> KeptRelease:
        """Read and verify a file: the broker's signatures, and that its parts belong together.

        Raises:
            ManifestError, UnsupportedVersion: not one.
            SignatureInvalid: not signed by the keys in it, or the lease is not the request's.
        """
        doc = Document(
            value,
            "the kept release",
            ("type", "version", "request", "signing", "reply", "nonce", "sealed"),
        )
        doc.kind(TYPE)
        request = KeyRequest.from_json(doc.object("request"))
        signing = BrokerPublicKeys.from_json(doc.object("signing"))
        lease = released(request, signing, doc.object("reply"))[1]
        return cls(
            request,
            signing,
            doc.object("reply"),
            lease,
            doc.raw("nonce", _NONCE),
            doc.blob("sealed", limit=_MAX_SEALED),
        )


def released(
    request: KeyRequest, signing: BrokerPublicKeys, reply: dict[str, Any]
) -> tuple[int, Lease]:
    """Check that a broker with these keys granted this request; its signed time and the lease.

    Raises:
        SignatureInvalid: not signed by these keys, the answer to something else, or of a time at
            which it could not be given.
        ManifestError: not a reply.
        EntitlementError, KeyRequestRejected, …: it is a denial.
    """
    signing.verify(reply)
    doc = Document(reply, "the broker's reply")
    doc.choice("type", ("release",))
    if doc.text("audience", limit=200) != request.audience or (
        doc.digest("request") != request.hash()
    ):
        raise SignatureInvalid("the broker's reply answers another request")
    decision_of(doc).raise_if_denied()
    lease = Lease.from_json(doc.object("lease"))
    check_lease(lease, request)
    signed = doc.integer("time")
    check_time(signed, request)
    return signed, lease


class KeptReleases:
    """The releases that one runtime keeps, beside its key.

    Args:
        identity: whose.
        clock: the system's Unix seconds.
    """

    def __init__(
        self, identity: RuntimeIdentity, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._identity = identity
        self.floor = ClockFloor(identity, clock=clock)
        self.folder = identity.path.with_name(identity.path.stem + ".releases")

    def keep(
        self,
        request: KeyRequest,
        signing: BrokerPublicKeys,
        reply: dict[str, Any],
        lease: Lease,
        keys: Keepable,
    ) -> None:
        """Seal a release and write it, over an older one of the same license and sealing.

        Where the key is shared, each broker's release is kept by itself.

        Raises:
            ConfigurationError: the file cannot be written.
        """
        bare = without_ciphertexts(reply)
        self.take_time(Document(reply, "the broker's reply").integer("time"))
        nonce = secrets.token_bytes(_NONCE)
        plain = keys.to_bytes()
        try:
            sealed = AESGCM(self._key(lease)).encrypt(nonce, plain, canonical_json(bare))
        finally:
            zero(plain)
        kept = KeptRelease(request, signing, bare, lease, nonce, sealed)
        data = json.dumps(kept.to_json()).encode() + b"\n"
        write_private(self._path(kept), data, replace=True)

    def take_time(self, signed: int) -> None:
        """Take in a broker-signed time.

        Where the clock floor was altered or removed it begins anew, and what was kept under it is
        deleted: nothing says when that ended.

        Raises:
            ConfigurationError: files here cannot be read or written.
        """
        try:
            if any(self.folder.glob("*.json")):
                self.floor.now()
            self.floor.confirm(signed)
        except ClockFloorInvalid:
            for path in self.folder.glob("*.json"):
                path.unlink(missing_ok=True)
            self.floor.restart(signed)

    def find(self, card: LicenseCard) -> tuple[KeptRelease, ...]:
        """What is kept for a card's license and sealing, verified; empty when there is nothing.

        One release, or where the key is shared one by each of several brokers.

        Raises:
            ManifestError, SignatureInvalid: a file was altered, and too few others are there.
            ClaimMismatch: likewise, given under other keys, or for another model or runtime.
        """
        shared = card.brokers.threshold > 1
        found: list[KeptRelease] = []
        troubles: list[LedgerError] = []
        for path in self._paths(card.license, card.sealing_hash):
            if _is_share(path) != shared:
                continue
            try:
                found.append(self._verified(path, card))
            except (FormatError, VerificationError) as error:
                # One that was altered does not spoil the others.
                troubles.append(error)
        if troubles and len(found) < card.brokers.threshold:
            raise troubles[0]
        return tuple(found)

    def _verified(self, path: Path, card: LicenseCard) -> KeptRelease:
        data = read_private(path, limit=_MAX_FILE)
        kept = KeptRelease.from_json(parse_json(data, what="the kept release", limit=_MAX_FILE))
        lease = kept.lease
        member = next(
            (
                member
                for member in card.brokers.members
                if member.signing_key_hash == kept.signing.hash()
                and audience(card.chain_id, card.broker_registry, member.id) == lease.audience
            ),
            None,
        )
        if member is None:
            raise ClaimMismatch(
                "the kept release was signed with other keys than the card names",
                hint="get a fresh release: deed runtime request CARD",
            )
        if path != self._path(kept) or (
            (lease.license, lease.model, lease.sealing, lease.runtime_key_hash)
            != (card.license, card.model, card.sealing_hash, self._identity.key_hash)
        ):
            raise ClaimMismatch("the kept release is for another license, model or runtime")
        if card.brokers.threshold > 1:
            check_statement(stated_shares(kept.reply), card)
        return kept

    def holds(self, card: LicenseCard) -> bool:
        """Whether enough is kept whose leases have not ended; `open` says why not."""
        try:
            now = self.floor.now()
            alive = [kept for kept in self.find(card) if now < kept.lease.grace_until]
        except (FormatError, VerificationError):
            return False
        return len(alive) >= card.brokers.threshold

    def open(self, card: LicenseCard, record: SealingRecord) -> tuple[ReleasedKeys, Lease, int]:
        """The keys (the caller zeroes them), the lease that decides, and this host's time.

        Raises:
            LeaseExpired: nothing is kept, or too few leases hold.
            ClockFloorInvalid: nothing says that the clock was not set back.
            UseNotPermitted: the card's terms do not permit the declared use now.
            KeyAccessError: it does not open with this runtime's key, or is another model's.
            SharesRejected: the shares were made wrongly, or are of several sets.
            ManifestError, SignatureInvalid, ClaimMismatch: as `find`.
        """
        # (1) Format, signatures, keys, and what it is for.
        found, needed = self.find(card), card.brokers.threshold
        if not found:
            raise LeaseExpired(f"no release of license {card.license} is kept here", hint=_WAY)
        # (2) The clock.
        now = self.floor.now()
        alive = [kept for kept in found if now < kept.lease.grace_until]
        if len(alive) < needed:
            raise self._too_few(found, needed, now)
        # (3) The terms, where they are at hand; `card.verify` has checked their hash.
        if card.terms is not None:
            permit(card, self._identity, at=now)
        # (4) The key.
        if needed == 1:
            (kept,) = alive
            keys = ReleasedKeys.from_bytes(self._opened(kept))
            keys.check(record)
            return keys, kept.lease, now
        return *self._joined(alive, card, record), now

    def _too_few(self, found: Sequence[KeptRelease], needed: int, now: int) -> LeaseExpired:
        license_id = found[0].lease.license
        ended = [kept.lease.grace_until for kept in found if now >= kept.lease.grace_until]
        if needed == 1:
            when = moment(max(ended))
            return LeaseExpired(
                f"the kept lease of license {license_id} ended on {when}", hint=_WAY
            )
        told = f"{len(found) - len(ended)} of the {needed} releases needed of license {license_id} "
        return LeaseExpired(f"{told}are kept here and hold", hint=_WAY)

    def _joined(
        self, alive: Sequence[KeptRelease], card: LicenseCard, record: SealingRecord
    ) -> tuple[ReleasedKeys, Lease]:
        needed, places = card.brokers.threshold, _places(card)
        opened: list[_KeptShare] = []
        troubles: list[LedgerError] = []
        try:
            for kept in alive:
                try:
                    place = places[kept.lease.audience]
                    share = share_from_bytes(self._opened(kept), kept.reply, place)
                except (KeyAccessError, FormatError) as error:
                    troubles.append(error)
                else:
                    opened.append(_KeptShare(kept.lease, share))
            chosen = largest_set(opened)
            if len(chosen) < needed:
                raise (
                    troubles[0]
                    if troubles
                    else SharesRejected(
                        f"the shares kept of license {card.license} are of several sets, and no "
                        f"{needed} of one",
                        hint=_WAY,
                    )
                )
            keys = joined([each.share for each in chosen[:needed]], record)
        finally:
            for each in opened:
                each.share.wipe()
        return keys, deciding([each.lease for each in chosen], needed)

    def _opened(self, kept: KeptRelease) -> bytearray:
        try:
            plain = AESGCM(self._key(kept.lease)).decrypt(
                kept.nonce, kept.sealed, canonical_json(kept.reply)
            )
        except InvalidTag:
            raise KeyAccessError(
                "the kept release does not open with this runtime's key", hint=_WAY
            ) from None
        opened = bytearray(plain)
        burn(plain)
        return opened

    def count(self, lease: Lease) -> int:
        """How many releases are kept for a lease's license and sealing, whatever they are worth."""
        return len(self._paths(lease.license, lease.sealing))

    def forget(self, license_id: LicenseId, sealing: Digest) -> None:
        """Delete what is kept for a license and sealing, if anything."""
        for path in self._paths(license_id, sealing):
            path.unlink(missing_ok=True)

    def _paths(self, license_id: LicenseId, sealing: Digest) -> list[Path]:
        stem = f"{license_id}-{sealing.raw.hex()}"
        return [
            *self.folder.glob(f"{stem}.json"),
            *sorted(self.folder.glob(f"{stem}{_BROKER}*.json")),
        ]

    def _path(self, kept: KeptRelease) -> Path:
        lease = kept.lease
        # The broker's number ends its audience.
        broker = f"{_BROKER}{lease.audience.rpartition(':')[2]}" if "shares" in kept.reply else ""
        return self.folder / f"{lease.license}-{lease.sealing.raw.hex()}{broker}.json"

    def _key(self, lease: Lease) -> bytes:
        purpose = KEY_TAG.encode() + b"\0" + canonical_json(lease.to_json())
        return self._identity.derived_key(purpose, salt=lease.kem_key_hash.raw)


def _is_share(path: Path) -> bool:
    return _BROKER in path.stem


def _places(card: LicenseCard) -> dict[str, int]:
    """Place of each broker in its set, from 0, by its audience."""
    return {
        audience(card.chain_id, card.broker_registry, member.id): place
        for place, member in enumerate(card.brokers.members)
    }


def permit(card: LicenseCard, identity: RuntimeIdentity, *, at: int) -> None:
    """Evaluate the card's terms on this host; without terms in the card nothing is said.

    Raises:
        UseNotPermitted: they do not permit what this runtime declares, at this time.
    """
    if card.terms is None:
        return
    terms = terms_module.validate(dict(card.terms))
    # Which class of evidence was shown is the broker's to say; this host cannot judge itself.
    shown = [
        terms_module.permits(
            terms,
            terms_module.Use(
                identity.use.territory, identity.use.purpose, identity.use.field, evidence
            ),
            at=at,
        )
        for evidence in terms.evidence
    ]
    reasons = min(shown, key=len)
    if reasons:
        raise UseNotPermitted(
            f"license {card.license} does not permit this: {'; '.join(reasons)}",
            remedy=f"the licensor {card.licensor} sets the terms; what the runtime declares is "
            "set by deed runtime init",
        )


class Nobody:
    """Takes the heartbeats of a kept release: nobody answers, and time is remembered.

    Attributes:
        longest_pause: seconds between two heartbeats at most, however long the lease: a process
            that is killed has not remembered what came since the last.
    """

    longest_pause = _REMEMBER_SECONDS

    def __init__(self, floor: ClockFloor) -> None:
        self._floor = floor
        self._next = 0.0

    def heartbeat(
        self, identity: RuntimeIdentity, lease: Lease, *, sequence: int | None = None
    ) -> tuple[Lease | None, Decision]:
        """Remember the time, at most once a minute.

        Raises:
            BrokerUnavailable: always.
        """
        del identity, lease, sequence
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _REMEMBER_SECONDS
            self._floor.now()
        raise BrokerUnavailable("a kept release has no broker to ask")

    def close(self) -> None:
        """Remember the time once more."""
        try:
            self._floor.now()
        except LedgerError:
            return  # the next use of what is kept says so, and fails closed
