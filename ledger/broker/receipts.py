"""Receipts: every answer signed, every decision chained to the one before.

One entry is ``{"request": …, "reply": …}``: what was asked, with the asker's signature, and what
was answered, with the broker's. The reply names its number and the hash of the entry before it
(docs/spec/key-release.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from ledger.broker.denials import Denial
from ledger.broker.protocol import REQUEST_TAG, VERSION, receipt_hash
from ledger.broker.signing import BrokerPublicKeys, BrokerSigningKeys, without_ciphertexts
from ledger.broker.store import BrokerStore
from ledger.canonical import canonical_json, canonical_object, hash_bytes
from ledger.errors import ClaimMismatch
from ledger.ids import ZERO_DIGEST, Digest, LicenseId
from ledger.licensing.document import Document
from ledger.merkle import T1

SIGNED_STEP: Final = 3
MAX_REFUSED_BYTES: Final = 16384
"""Canonical bytes of the largest refused request that becomes a log entry."""


class ReceiptLog:
    """Signs replies and keeps the log.

    Args:
        store: where entries are kept.
        signing: the broker's keys.
        audience: the broker's name in messages.
    """

    def __init__(self, store: BrokerStore, signing: BrokerSigningKeys, audience: str) -> None:
        self._store = store
        self._signing = signing
        self._audience = audience

    def answer(
        self,
        kind: str,
        request: dict[str, Any],
        result: dict[str, Any],
        *,
        now: int,
        license_id: LicenseId | None = None,
        log: bool = True,
    ) -> dict[str, Any]:
        """A signed reply, logged in the caller's transaction, so that numbers have no gap.

        Args:
            kind: the reply's ``type``.
            request: the message answered; its hash goes into the reply.
            result: members of the reply.
            now: Unix seconds.
            license_id: whom it concerns.
            log: whether it becomes an entry.
        """
        asked = canonical_json(request)
        with self._store.transaction():
            sequence, previous = self._store.last_receipt()
            place = {"sequence": sequence + 1, "previous": str(previous)}
            reply, said = self._signing.sign_whole(
                {
                    "version": VERSION,
                    "type": kind,
                    "audience": self._audience,
                    "time": now,
                    "request": str(hash_bytes(REQUEST_TAG, asked)),
                    **result,
                    "receipt": place if log else None,
                }
            )
            if log:
                kept = without_ciphertexts(request)
                if kept is not request:
                    asked = canonical_json(kept)
                entry = canonical_object({"request": asked, "reply": said})
                self._store.append_receipt(sequence + 1, kind, license_id, entry)
        return reply


def worth_an_entry(request: dict[str, Any], denial: Denial | None) -> bool:
    """Whether the decision on a key request goes into the log, which is kept for ever.

    What no runtime key signed could be sent by anyone without end, and a refused request is kept
    only up to a size.
    """
    if denial is None:
        return True
    return denial.check > SIGNED_STEP and len(canonical_json(request)) <= MAX_REFUSED_BYTES


def log_root(hashes: Iterable[Digest]) -> Digest:
    """T1 root over entry hashes in order, as ``BrokerRegistry.anchorReceipts`` takes it."""
    return Digest(T1.root([T1.leaf(entry.raw) for entry in hashes]))


def verify_log(
    entries: Iterable[tuple[int, dict[str, Any]]],
    keys: BrokerPublicKeys,
    *,
    previous: Digest = ZERO_DIGEST,
) -> tuple[Digest, ...]:
    """Check a run of entries: signatures, numbers and chaining.

    Args:
        entries: number and entry, in order.
        keys: of the broker.
        previous: hash of the entry before the first.

    Returns:
        The entries' hashes.

    Raises:
        ClaimMismatch: an entry is missing, moved or altered.
        SignatureInvalid, ManifestError: a reply is not the broker's.
    """
    hashes: list[Digest] = []
    for sequence, entry in entries:
        doc = Document(entry, "a receipt", ("request", "reply"))
        reply = doc.object("reply")
        keys.verify(reply)
        place = Document(reply.get("receipt"), "its place", ("sequence", "previous"))
        if (place.integer("sequence", 1), place.digest("previous")) != (sequence, previous):
            raise ClaimMismatch(f"receipt {sequence} does not follow the one before it")
        previous = receipt_hash(entry)
        hashes.append(previous)
    return tuple(hashes)
