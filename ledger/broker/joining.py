"""Shares of one sealing's keys on a runtime's host: opened, checked and joined.

The steps are those of docs/spec/key-release.md, "Threshold". Where shares come from does not matter
here: from brokers that were asked at once (`threshold`), or from answers that were carried and kept
one by one (`carrying`, `keeping`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from ledger.broker.celldeposits import cell_share_label
from ledger.broker.cellshares import Place, ReleasedPart, join_cells
from ledger.broker.custody import zero
from ledger.broker.deposits import wraps_of
from ledger.broker.keyshares import SHARE_BYTES, KeyShares, release_label
from ledger.broker.leases import Lease
from ledger.broker.protocol import KeyRequest, release_info
from ledger.broker.released import ReleasedKeys, open_part, said_cells
from ledger.broker.shamir import Share, join
from ledger.errors import LimitExceeded, ManifestError, SharesRejected, SignatureInvalid
from ledger.licensing.card import LicenseCard
from ledger.licensing.document import Document
from ledger.sealed.keys import key_commitment
from ledger.sealed.recipients import KemPrivateKey, unwrap
from ledger.sealed.record import SealingRecord


@dataclass(slots=True)
class ReleasedShare:
    """One broker's share of the keys, checked against its commitment. Its repr shows nothing of it.

    Attributes:
        share: of the content key.
        cells: of the cell keys; None without cells.
    """

    share: Share = field(repr=False)
    cells: ReleasedPart | None = field(default=None, repr=False)

    @property
    def group(self) -> tuple[object, ...]:
        """What it must have in common with those it is joined with."""
        return self.share.set_id, None if self.cells is None else self.cells.cells.word

    def to_bytes(self) -> bytearray:
        """The share, and then what a release of cells' shares wraps; the caller zeroes it."""
        value = bytearray(self.share.value)
        if self.cells is None:
            return value
        part = self.cells.to_bytes()
        try:
            return value + part
        finally:
            zero(value)
            zero(part)

    def wipe(self) -> None:
        """Zero the shares. Safe to repeat."""
        self.share.wipe()
        if self.cells is not None:
            self.cells.wipe()


def stated_shares(reply: Mapping[str, Any]) -> KeyShares:
    """What a reply says that the licensor signed; `check_statement` says whether he did.

    Raises:
        ManifestError: it says nothing.
    """
    doc = Document(dict(reply), "the broker's reply")
    if not doc.has("shares"):
        raise ManifestError("the broker's reply says nothing about shares")
    return KeyShares.from_json(doc.object("shares"))


def check_statement(shares: KeyShares, card: LicenseCard) -> None:
    """The statement is the licensor's, about the card's sealing and brokers.

    Raises:
        SignatureInvalid: it is not.
    """
    if (shares.model, shares.sealing, shares.broker_set) != (
        card.model,
        card.sealing_hash,
        card.brokers.id,
    ) or (shares.threshold, len(shares.commitments)) != (
        card.brokers.threshold,
        len(card.brokers.members),
    ):
        raise SignatureInvalid("the shares are of another key, or for another broker set")
    if shares.licensor != card.licensor or shares.signer(card.domain) != card.licensor:
        raise SignatureInvalid(
            f"the statement about the shares is not signed by the licensor {card.licensor}"
        )


def open_share(
    reply: Mapping[str, Any],
    place: int,
    kem: KemPrivateKey,
    *,
    request: KeyRequest,
    lease: Lease,
) -> ReleasedShare:
    """The share in one broker's reply, whose statement the caller has checked or will check.

    Args:
        reply: granted, its signatures verified.
        place: of the broker in its set, from 0.
        kem: of the request.
        request: which it answers.
        lease: in the reply, checked against the request.

    Raises:
        ManifestError: no share in it, or that of another place.
        NoIdentityMatch: it does not open. LimitExceeded: not as many cells as the reply says.
        SharesRejected: another share than the one committed to.
        SignatureInvalid: cell keys of another code word than the reply says.
    """
    shares = stated_shares(reply)
    # The share of this broker's place, and no other's.
    label = release_label(place + 1)
    wraps = {
        entry.label: entry
        for entry in wraps_of(Document(dict(reply), "the broker's reply").items("wraps"))
    }
    cell_label = cell_share_label(label)
    if set(wraps) - {cell_label} != {label} or bool(shares.cells) != (cell_label in wraps):
        raise ManifestError(f"the broker's reply does not hold {label}, which is this broker's")
    if place >= len(shares.commitments):
        raise ManifestError(f"the broker's reply commits to no {label}")
    share = shares.share(
        place + 1, unwrap(wraps[label].data, kem, info=release_info(label, request, lease))
    )
    try:
        part = open_part(reply, cell_label, wraps, kem, request=request, lease=lease)
        return _checked(share, part, shares)
    except BaseException:
        share.wipe()
        raise


def share_from_bytes(data: bytearray, reply: Mapping[str, Any], place: int) -> ReleasedShare:
    """Read what `ReleasedShare.to_bytes` gave, beside the reply it came in; `data` is zeroed.

    Raises:
        LimitExceeded: not of that form.
        SharesRejected: another share than the one committed to.
    """
    shares, said = stated_shares(reply), said_cells(reply)
    try:
        value, rest = data[:SHARE_BYTES], data[SHARE_BYTES:]
        if place >= len(shares.commitments) or bool(rest) != (said is not None):
            raise LimitExceeded("this is not the kept share of a release")
        share = shares.share(place + 1, value)
        try:
            part = None if said is None else ReleasedPart.from_bytes(rest, said)
            return _checked(share, part, shares)
        except BaseException:
            share.wipe()
            raise
    finally:
        zero(data)


def _checked(share: Share, part: ReleasedPart | None, shares: KeyShares) -> ReleasedShare:
    made = ReleasedShare(share, part)
    if part is not None and not shares.cells:
        made.wipe()
        raise SharesRejected("the statement about the shares commits to no cell keys")
    if part is not None:
        place = Place(shares.threshold, len(shares.commitments), share.index)
        try:
            part.check(place, shares.cells[share.index - 1])
        except BaseException:
            made.wipe()
            raise
    return made


class Grouped(Protocol):
    """What is joined only with its like."""

    @property
    def group(self) -> tuple[object, ...]:
        """Equal for those that may be joined."""
        ...


G = TypeVar("G", bound=Grouped)


def largest_set(taken: Sequence[G]) -> list[G]:
    """The shares of that set of which most are here; sets never mix, nor do code words."""
    sets: dict[object, list[G]] = {}
    for each in taken:
        sets.setdefault(each.group, []).append(each)
    return max(sets.values(), key=len, default=[])


def joined(chosen: Sequence[ReleasedShare], record: SealingRecord) -> ReleasedKeys:
    """The keys of exactly t shares of one set, which are those that the sealing commits to.

    Raises:
        SharesRejected: the set was made wrongly.
        KeyAccessError: the sealing has cells and the shares have none, or the reverse.
    """
    key = join([each.share for each in chosen])
    if key_commitment(key) != record.commit:
        zero(key)
        raise SharesRejected(
            f"the shares of set {chosen[0].share.set_id.short} do not give the key of sealing "
            f"{record.hash().short}: they were made wrongly",
            hint="the licensor must deposit shares of this sealing's key again",
        )
    keys = ReleasedKeys(key)
    try:
        parts = [(each.share.index, each.cells) for each in chosen if each.cells is not None]
        if parts:
            keys.cells = join_cells(parts)
        keys.check(record)
    except BaseException:
        keys.wipe()
        raise
    return keys
