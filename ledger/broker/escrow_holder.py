"""Licensor's and holder's side of an escrow: making it, asking, and joining what agents gave.

What is joined is written as a key file under a passphrase (docs/spec/escrow.md, "Key file").
"""

from __future__ import annotations

import contextlib
import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from ledger.broker.celldeposits import has_cells
from ledger.broker.client import Decision
from ledger.broker.custody import (
    decrypt_with_passphrase,
    encrypt_with_passphrase,
    read_private,
    write_private,
    zero,
)
from ledger.broker.escrow import (
    REQUEST_SECONDS,
    Agent,
    Condition,
    Escrow,
    EscrowAnswer,
    EscrowRequest,
    Release,
    Seat,
    answer_info,
    check_rule,
    share_info,
)
from ledger.broker.identity import RuntimeIdentity
from ledger.broker.keeping import permit
from ledger.broker.leases import BlockRef, Lease
from ledger.broker.released import ReleasedKeys
from ledger.broker.shamir import Share, join, set_id, split
from ledger.broker.vault import check_commitment
from ledger.canonical import canonical_json, parse_json
from ledger.chain.deployment import Deployment
from ledger.eip712 import TypedSigner
from ledger.errors import (
    BrokerUnavailable,
    ClaimMismatch,
    KeyRequestRejected,
    LedgerError,
    ManifestError,
    RuntimeNotBound,
    SharesRejected,
    UnsupportedVersion,
    UsageError,
    UseNotPermitted,
)
from ledger.ids import ZERO_DIGEST, Digest, LicenseId
from ledger.licensing.card import LicenseCard
from ledger.licensing.document import Document, hex_text
from ledger.licensing.entitlement import PERPETUAL
from ledger.sealed.recipients import KemPrivateKey, unwrap, wrap
from ledger.sealed.record import SealingRecord

PURPOSE: Final = "modeldeed-escrow-key"
KEY_TYPE: Final = "modeldeed/escrow-key"
PENDING_TYPE: Final = "modeldeed/escrow-pending"
_MAX: Final = 1 << 20


# -- licensor ------------------------------------------------------------------------------------


def make_escrow(
    record: SealingRecord,
    content_key: bytes | bytearray,
    agents: Sequence[Agent],
    threshold: int,
    rule: Sequence[Condition],
    *,
    deployment: Deployment,
    signer: TypedSigner,
    clock: Callable[[], float] = time.time,
) -> Escrow:
    """Share a sealing's content key among agents, in one signed document.

    Raises:
        KeyAccessError: the key is not the sealing's.
        UsageError: too few agents, one twice, or no rule.
        UnsupportedVersion: the sealing has cells.
    """
    if has_cells(record):
        raise UnsupportedVersion(
            "a sealing with cells is not put in escrow by this release: agents would have to know "
            "its code key",
            hint="seal it without cells as a further epoch (deed reseal … --cells 0), and put that "
            "in escrow",
        )
    check_commitment(bytearray(content_key), record)
    if len({agent.kem for agent in agents}) != len(agents) or not agents:
        raise UsageError("an escrow needs agents, each with a key of its own")
    conditions = check_rule(rule)
    parts = split(content_key, threshold, len(agents))
    try:
        commitments = parts[0].commitments
        name = set_id(threshold, commitments)
        seats = tuple(
            Seat(
                agent,
                wrap(
                    share.value,
                    agent.kem,
                    info=share_info(share.index, name, record, signer.address),
                ),
            )
            for agent, share in zip(agents, parts, strict=True)
        )
    finally:
        for share in parts:
            share.wipe()
    addresses = deployment.addresses
    return Escrow(
        chain_id=deployment.chain_id,
        ledger=addresses["LicenseLedger"],
        registry=addresses["ModelRegistry"],
        broker_registry=addresses["BrokerRegistry"],
        record=record,
        threshold=threshold,
        commitments=commitments,
        seats=seats,
        rule=conditions,
        licensor=signer.address,
        issued_at=int(clock()),
    ).signed(signer)


# -- holder --------------------------------------------------------------------------------------


def make_request(
    card: LicenseCard,
    escrow: Escrow,
    identity: RuntimeIdentity,
    *,
    release: Release | None = None,
    clock: Callable[[], float] = time.time,
) -> EscrowRequest:
    """Ask a document's agents for their shares; the key that opens the answers stays here.

    Raises:
        ClaimMismatch: the document is about another sealing than the card.
        RuntimeNotBound: no grant for the card's license was accepted here.
        ConfigurationError: nothing can be written beside the runtime key.
    """
    require_same(card, escrow)
    granted = identity.grant_for(card.chain_id, card.ledger, card.license)
    if granted is None:
        raise RuntimeNotBound(
            f"this machine has accepted no grant for license {card.license}",
            remedy="the holder runs deed runtime grant, this machine deed runtime accept",
        )
    granted.pin.hold(card)
    sweep(identity, now=int(clock()))
    kem = KemPrivateKey.generate()
    unsigned = EscrowRequest(
        escrow=escrow.id(),
        license=card.license,
        runtime=identity.key,
        kem=kem.public,
        grant=granted.grant,
        issued_at=int(clock()),
        release=release,
    )
    signature = identity.sign(unsigned.digest())
    signed = EscrowRequest.from_json({**unsigned.to_json(), "signature": hex_text(signature)})
    secret = kem.to_bytes()
    try:
        pending = {
            "type": PENDING_TYPE,
            "version": 1,
            "request": str(signed.digest()),
            "license": str(card.license),
            "kem": secret.hex(),
            "until": signed.issued_at + 2 * REQUEST_SECONDS,
        }
        write_private(_pending(identity, signed.digest()), json.dumps(pending).encode() + b"\n")
    finally:
        zero(secret)
        kem.wipe()
    return signed


def join_answers(
    card: LicenseCard, escrow: Escrow, identity: RuntimeIdentity, answers: Sequence[EscrowAnswer]
) -> EscrowKey:
    """The content key from t agents' answers; a wrong one is named in a warning and left out.

    Raises:
        ClaimMismatch: the document is about another sealing than the card.
        SharesRejected: fewer than t good shares, or they were made wrongly.
        KeyRequestRejected: no request of this host waits for these answers.
    """
    # (1) The document is signed, and about the card's sealing.
    escrow.verify()
    require_same(card, escrow)
    # (2) Each answer opens and is the share its index commits to.
    shares: dict[int, Share] = {}
    troubles: list[str] = []
    used: set[Digest] = set()
    try:
        for one in answers:
            name = _name(escrow, one.index)
            try:
                shares.setdefault(one.index, _opened(escrow, identity, one))
                used.add(one.request)
            except LedgerError as error:
                troubles.append(f"{name}: {error.message}")
                with contextlib.suppress(Warning):
                    warnings.warn(
                        f"modeldeed: the share of {name} was left out: {error.message}",
                        stacklevel=2,
                    )
        # (3) There are t of them.
        if len(shares) < escrow.threshold:
            more = "; ".join(troubles)
            raise SharesRejected(
                f"{len(shares)} of the {escrow.threshold} shares needed are here"
                + (f": {more}" if more else ""),
                hint="send the request to further agents of the escrow document",
            )
        key = join([shares[index] for index in sorted(shares)][: escrow.threshold])
    finally:
        for share in shares.values():
            share.wipe()
    # (4) They give the sealing's key.
    try:
        check_commitment(key, escrow.record)
    except BaseException:
        zero(key)
        raise
    for request in used:
        _pending(identity, request).unlink(missing_ok=True)
    return EscrowKey(bytes(key), escrow.record, escrow.id(), card.license)


def sweep(identity: RuntimeIdentity, *, now: int) -> None:
    """Delete requests whose answers nobody waits for any more, with the keys that open those.

    Answers are no secret where they are carried: a key left behind would open them for a thief.
    """
    for path in _pending_folder(identity).glob("*.json"):
        with contextlib.suppress(LedgerError, OSError):
            value = parse_json(read_private(path, limit=_MAX), what="the waiting request")
            if now > Document(value, "the waiting request").integer("until"):
                path.unlink()


def require_same(card: LicenseCard, escrow: Escrow) -> None:
    """The document is about the card's sealing and contracts.

    Raises:
        ClaimMismatch: it is not.
    """
    if (escrow.record.hash(), escrow.chain_id, escrow.ledger, escrow.registry) != (
        card.sealing_hash,
        card.chain_id,
        card.ledger,
        card.registry,
    ):
        raise ClaimMismatch(
            "the escrow document is about another sealing than the license card",
            hint="get the escrow document of this card's sealing",
        )


def _opened(escrow: Escrow, identity: RuntimeIdentity, one: EscrowAnswer) -> Share:
    if one.escrow != escrow.id() or one.index > len(escrow.seats):
        raise KeyRequestRejected("it is of another escrow", check=2)
    path = _pending(identity, one.request)
    if not path.exists():
        raise KeyRequestRejected(
            "no request of this host waits for it",
            check=2,
            hint="join where the request was made, or make a new one",
        )
    doc = Document(
        parse_json(read_private(path, limit=_MAX), what="the waiting request"),
        "the waiting request",
    )
    kem = KemPrivateKey.from_bytes(bytes.fromhex(doc.text("kem")))
    try:
        info = answer_info(escrow.id(), one.request, one.index)
        value = unwrap(one.wrap, kem, info=info)
    finally:
        kem.wipe()
    return escrow.share(one.index, value)


def _name(escrow: Escrow, index: int) -> str:
    if index <= len(escrow.seats):
        return f"agent {index} ({escrow.seats[index - 1].agent.name})"
    return f"agent {index}"


def _pending(identity: RuntimeIdentity, request: Digest) -> Path:
    return _pending_folder(identity) / f"{request.raw.hex()}.json"


def _pending_folder(identity: RuntimeIdentity) -> Path:
    return identity.path.with_name(identity.path.stem + ".escrow")


@dataclass(frozen=True, slots=True)
class EscrowKey:
    """A content key that agents gave out; it comes under no lease and does not end.

    Attributes:
        content_key: 32 bytes.
        record: the sealing it opens.
        escrow: the document it came from.
        license: the license it was given for.
    """

    content_key: bytes = field(repr=False)
    record: SealingRecord
    escrow: Digest
    license: LicenseId

    def save(self, path: Path, passphrase: str, *, cost: int = 17) -> None:
        """Write it, encrypted under a passphrase; never over a file.

        Raises:
            ConfigurationError: there is a file.
        """
        plain = bytearray(
            canonical_json(
                {
                    "type": KEY_TYPE,
                    "version": 1,
                    "content_key": hex_text(self.content_key),
                    "record": self.record.to_json(),
                    "escrow": str(self.escrow),
                    "license": str(self.license),
                }
            )
        )
        try:
            document = encrypt_with_passphrase(plain, passphrase, purpose=PURPOSE, cost=cost)
        finally:
            zero(plain)
        write_private(path, json.dumps(document, indent=2).encode() + b"\n")

    @classmethod
    def load(cls, path: Path, passphrase: str) -> Self:
        """Read a key file.

        Raises:
            ManifestError: not one.
            WrongPassphrase: it does not open.
            KeyAccessError: the key is not its sealing's.
        """
        outer = parse_json(read_private(path, limit=_MAX), what=path.name)
        plain = decrypt_with_passphrase(outer, passphrase, purpose=PURPOSE)
        try:
            value: Any = parse_json(bytes(plain), what="the escrow key")
            doc = Document(
                value,
                "the escrow key",
                ("type", "version", "content_key", "record", "escrow", "license"),
            )
        except ManifestError:
            # Its parts are secrets; no message may quote them.
            raise ManifestError(f"{path.name} decrypts, but is not an escrow key") from None
        finally:
            zero(plain)
        doc.kind(KEY_TYPE)
        made = cls(
            doc.raw("content_key", 32),
            SealingRecord.from_json(doc.object("record")),
            doc.digest("escrow"),
            doc.license(),
        )
        check_commitment(bytearray(made.content_key), made.record)
        return made

    def keys(
        self, card: LicenseCard, identity: RuntimeIdentity, *, now: int
    ) -> tuple[ReleasedKeys, Lease]:
        """The key as a release would bring it, under a lease that nobody gave and nobody ends.

        Raises:
            ClaimMismatch: it is not of this card.
            UseNotPermitted: the card's terms do not permit the declared use now, or are not in it.
        """
        self.require(card)
        if card.terms is None and not card.terms_hash.is_zero:
            # No broker has evaluated them, so who leaves them out would be bound by none.
            raise UseNotPermitted(
                f"the card of license {card.license} came without its terms, and nobody else "
                "evaluates them for a key from escrow",
                remedy="use the card as the licensor issued it, with the terms document",
            )
        permit(card, identity, at=now)
        nowhere = BlockRef(0, ZERO_DIGEST, 0)
        lease = Lease(
            id=self.escrow,
            license=card.license,
            model=card.model,
            epoch=self.record.epoch,
            sealing=card.sealing_hash,
            runtime_key_hash=identity.key_hash,
            kem_key_hash=ZERO_DIGEST,
            audience=f"modeldeed-escrow:{self.escrow}",
            issued_at=now,
            not_after=PERPETUAL,
            grace_until=PERPETUAL,
            sequence=0,
            heartbeat=86400,
            enforce=False,
            head=nowhere,
            finalized=nowhere,
        )
        return ReleasedKeys(bytearray(self.content_key)), lease

    def require(self, card: LicenseCard) -> None:
        """It is of a card's sealing and license.

        Raises:
            ClaimMismatch: it is not.
        """
        if (self.record.hash(), self.license) != (card.sealing_hash, card.license):
            raise ClaimMismatch(
                f"the escrow key is for license {self.license} and another sealing than the card's",
                hint="use the card that the key was asked with",
            )


class NoBroker:
    """Takes the heartbeats of a key from escrow: there is no broker to send them to."""

    def heartbeat(
        self, identity: RuntimeIdentity, lease: Lease, *, sequence: int | None = None
    ) -> tuple[Lease | None, Decision]:
        """Nobody answers.

        Raises:
            BrokerUnavailable: always.
        """
        del identity, lease, sequence
        raise BrokerUnavailable("a key from escrow has no broker to ask")

    def close(self) -> None:
        """Nothing is open."""
