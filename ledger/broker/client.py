"""Talking to a broker over HTTP. Nothing it says is believed before its signatures are checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from ledger.broker import offline
from ledger.broker.attestation import report_data
from ledger.broker.celldeposits import (
    CELL_KEYS,
    CODE_KEY,
    CellSecrets,
    DepositedCells,
    cell_share_label,
)
from ledger.broker.denials import Denial
from ledger.broker.deposits import CONTENT_KEY, KeyDeposit, Wrap, deposit_info, wraps_of
from ledger.broker.fleet import WorkerCertificate
from ledger.broker.grants import Acceptance, RuntimeGrant
from ledger.broker.identity import RuntimeIdentity
from ledger.broker.keyshares import KeyShares, deposit_label
from ledger.broker.leases import Heartbeat, Lease
from ledger.broker.link import BrokerLink
from ledger.broker.policy import CLOCK_TOLERANCE, Check
from ledger.broker.protocol import (
    Evidence,
    KeyRequest,
    release_info,
)
from ledger.broker.released import ReleasedKeys, open_cells
from ledger.broker.shamir import Share
from ledger.broker.signing import BrokerPublicKeys
from ledger.broker.standing import SetStanding
from ledger.eip712 import Domain, TypedSigner
from ledger.errors import (
    KeyRequestRejected,
    ManifestError,
    SignatureInvalid,
    UsageError,
)
from ledger.ids import Digest, LicenseId, ModelId
from ledger.licensing.document import Document
from ledger.licensing.entitlement import moment
from ledger.sealed.cells import CellKeys
from ledger.sealed.recipients import KemPrivateKey, KemPublicKey, unwrap, wrap
from ledger.sealed.record import SealingRecord

REQUEST_SECONDS: Final = 120
SOFTWARE: Final = "modeldeed"


@dataclass(frozen=True, slots=True)
class Decision:
    """A verified answer of a broker: every numbered step, and the refusal if there is one.

    `standing` tells of the other brokers of the card's set, where they were looked at.
    """

    granted: bool
    checks: tuple[Check, ...]
    denial: Denial | None
    reply: dict[str, Any]
    standing: SetStanding | None = None

    def raise_if_denied(self) -> None:
        """Raise the denial as the exception it stands for."""
        if self.denial is not None:
            raise self.denial.error()
        if not self.granted:
            raise KeyRequestRejected("the broker neither granted nor said why")


class Keepable(Protocol):
    """The keys of a release, or one broker's share of them."""

    def to_bytes(self) -> bytearray:
        """All of it; the caller zeroes it."""
        ...


Keep: TypeAlias = Callable[[KeyRequest, BrokerPublicKeys, dict[str, Any], Lease, Keepable], object]
"""Takes request, the broker's keys, its signed reply, lease and what was released."""
Attest: TypeAlias = Callable[[bytes, bytes], str]
"""From report data (64 bytes) and challenge (32 bytes) to an attestation token."""


@dataclass(frozen=True, slots=True)
class Asker:
    """On whose behalf a key is asked for.

    Attributes:
        keep: given what was released, before it is returned.
        attest: gets attestation tokens; without it evidence is of class software.
    """

    identity: RuntimeIdentity
    license: LicenseId
    model: ModelId
    sealing: Digest
    grant: RuntimeGrant | None = None
    acceptance: Acceptance | None = None
    terms: Mapping[str, Any] | None = None
    certificate: WorkerCertificate | None = None
    keep: Keep | None = None
    attest: Attest | None = None


class BrokerClient(BrokerLink):
    """One broker at one URL, and all that is asked of one. Thread-safe.

    Args:
        url: base URL, ``http://host:port``.
        pin: keys it must answer with; without one it is trusted on first use, for tests and
            for publishing to one's own broker.
        timeout: seconds for one request.
        clock: Unix seconds.
    """

    # -- deposit -------------------------------------------------------------------------------

    def deposit(
        self,
        record: SealingRecord,
        content_key: bytes | bytearray,
        signer: TypedSigner,
        domain: Domain | None = None,
        *,
        terms: Sequence[Mapping[str, Any]] = (),
        cells: CellSecrets | None = None,
    ) -> dict[str, Any]:
        """Hand a sealing's keys to the broker and return its verified receipt.

        Args:
            record: the lodged sealing.
            content_key: 32 bytes.
            cells: of a sealing with cells, their keys and the code key.
            signer: the titleholder's wallet.
            domain: of the license ledger; when given, the broker must decide by that ledger.
            terms: documents the broker should keep for its policy decisions.

        Raises:
            UsageError: the broker decides by another ledger.
            KeyRequestRejected, PendingFinality, SignatureInvalid, KeyAccessError: it refuses.
            BrokerUnavailable: it does not answer.
        """
        more: list[tuple[str, bytes | bytearray]] = []
        said = None
        if cells is not None:
            more = [(CELL_KEYS, cells.keys.data), (CODE_KEY, cells.code_secret())]
            said = DepositedCells(cells.parameters, cells.records)
        return self._deposit(
            record, [(CONTENT_KEY, content_key), *more], signer, domain, terms=terms, cells=said
        )

    def deposit_share(
        self,
        record: SealingRecord,
        share: Share,
        shares: KeyShares,
        signer: TypedSigner,
        domain: Domain | None = None,
        *,
        terms: Sequence[Mapping[str, Any]] = (),
        part: CellKeys | None = None,
        cells: CellSecrets | None = None,
    ) -> dict[str, Any]:
        """Hand one share of a sealing's content key to the broker, as `deposit` does the key.

        Args:
            record: the lodged sealing.
            share: for this broker.
            shares: what the licensor signed about all of them.
            signer: the titleholder's wallet.
            domain: as `deposit`.
            terms: as `deposit`.
            part: this broker's part of the cell keys, of a sealing with cells.
            cells: as `deposit`; of them the broker gets the code key alone.

        Raises:
            as `deposit`.
        """
        label = deposit_label(share)
        more: list[tuple[str, bytes | bytearray]] = []
        said = None
        if cells is not None and part is not None:
            more = [(cell_share_label(label), part.data), (CODE_KEY, cells.code_secret())]
            said = DepositedCells(cells.parameters)
        return self._deposit(
            record,
            [(label, share.value), *more],
            signer,
            domain,
            terms=terms,
            shares=shares,
            cells=said,
        )

    def _deposit(
        self,
        record: SealingRecord,
        secrets: Sequence[tuple[str, bytes | bytearray]],
        signer: TypedSigner,
        domain: Domain | None,
        *,
        terms: Sequence[Mapping[str, Any]],
        shares: KeyShares | None = None,
        cells: DepositedCells | None = None,
    ) -> dict[str, Any]:
        facts = self.facts()
        if domain is not None and domain != facts.identity.domain:
            raise UsageError(f"broker {self.host} decides by another license ledger")
        audience = facts.identity.audience
        wraps = [
            Wrap(label, wrap(one, facts.kem, info=deposit_info(label, record.hash(), audience)))
            for label, one in secrets
        ]
        unsigned = KeyDeposit(
            record=record,
            wraps=tuple(wraps),
            kem_key_hash=facts.kem.hash(),
            audience=audience,
            issued_at=int(self._clock()),
            licensor=signer.address,
            terms=tuple(terms),
            shares=shares,
            cells=cells,
        )
        signed = unsigned.signed(signer, facts.identity.domain)
        body = signed.to_json()
        reply = self._send("POST", "/v1/broker/deposits", body)
        doc = self._verified(reply, "deposit", body)
        stored = Document(doc.object("deposit"), "the deposit receipt")
        if stored.digest("sealing") != record.hash() or stored.digest("commit") != record.commit:
            raise SignatureInvalid("the deposit receipt is for another sealing")
        if stored.texts("labels") != tuple(label for label, _ in secrets) or (
            shares is not None and stored.digest("shares") != shares.set_id
        ):
            raise SignatureInvalid("the deposit receipt is for another secret")
        return reply

    # -- asking --------------------------------------------------------------------------------

    def check(self, asker: Asker) -> Decision:
        """Whether this runtime would get the key now, step by step; takes nothing.

        Raises:
            BrokerUnavailable: it does not answer.
            SignatureInvalid: the answer is not the pinned broker's.
        """
        kem = KemPrivateKey.generate()
        try:
            request = self._request(asker, kem.public, "check")
            return self._decision("check", "/v1/broker/checks", request, asker)
        finally:
            kem.wipe()

    def release(self, asker: Asker) -> tuple[bytearray, Lease, Decision]:
        """Ask for the content key; `release_keys` gives the keys of cells too.

        Returns:
            The key (the caller zeroes it), the lease it comes under, and the decision.

        Raises:
            as `release_keys`.
        """
        keys, lease, decision = self.release_keys(asker)
        if keys.cells is not None:
            keys.cells.wipe()
        return keys.content, lease, decision

    def release_keys(self, asker: Asker) -> tuple[ReleasedKeys, Lease, Decision]:
        """Ask for the keys that open this license's copy.

        Returns:
            The keys (the caller zeroes them), the lease they come under, and the decision.

        Raises:
            EntitlementError, KeyRequestRejected, PendingFinality, EndpointsDisagree,
            ChainUnavailable: the broker's denial.
            BrokerUnavailable: it does not answer.
            SignatureInvalid: the answer is not the pinned broker's, or states another code word.
            NoIdentityMatch: the wrap does not open.
            ManifestError, LimitExceeded: what is in it is not what was asked for.
        """
        kem = KemPrivateKey.generate()
        try:
            request = self._request(asker, kem.public, "release")
            decision = self._decision("release", "/v1/broker/releases", request, asker)
            decision.raise_if_denied()
            doc = Document(decision.reply, "the broker's reply")
            lease = Lease.from_json(doc.object("lease"))
            check_lease(lease, request)
            check_time(doc.integer("time"), request)
            wraps = {entry.label: entry for entry in wraps_of(doc.items("wraps"))}
            if CONTENT_KEY not in wraps:
                raise ManifestError("the broker's reply holds no content key")
            info = release_info(CONTENT_KEY, request, lease)
            # The cells first: where they fail, no content key is left behind.
            cells = open_cells(decision.reply, wraps, kem, request, lease)
            keys = ReleasedKeys(unwrap(wraps[CONTENT_KEY].data, kem, info=info), cells)
            try:
                if asker.keep is not None:
                    asker.keep(request, self.facts().signing, decision.reply, lease, keys)
            except BaseException:
                keys.wipe()
                raise
            return keys, lease, decision
        finally:
            kem.wipe()

    def ask_share(self, asker: Asker, kem: KemPublicKey) -> tuple[KeyRequest, Decision]:
        """Ask for a share, to a KEM key that several brokers are asked with; nothing is opened.

        Returns:
            The request and the verified decision; the share is in its reply, still encrypted.

        Raises:
            as `release`.
        """
        request = self._request(asker, kem, "release")
        decision = self._decision("release", "/v1/broker/releases", request, asker)
        decision.raise_if_denied()
        return request, decision

    def heartbeat(
        self, identity: RuntimeIdentity, lease: Lease, *, sequence: int | None = None
    ) -> tuple[Lease | None, Decision]:
        """Extend a lease.

        Args:
            identity: the runtime it was given to.
            lease: as last extended.
            sequence: number of this heartbeat, above every earlier one's; by default one more than
                the lease's.

        Returns:
            The extended lease, or None with the decision that says why not; the reply's
            `unload` member tells whether to stop at once.

        Raises:
            BrokerUnavailable: it does not answer.
            SignatureInvalid: the answer is not the pinned broker's.
            LeaseExpired, KeyRequestRejected: it does not know the lease.
        """
        facts = self.facts()
        unsigned = Heartbeat(
            lease.id,
            lease.sequence + 1 if sequence is None else sequence,
            facts.identity.audience,
            int(self._clock()),
        )
        beat = Heartbeat(
            unsigned.lease,
            unsigned.sequence,
            unsigned.audience,
            unsigned.issued_at,
            identity.sign(unsigned.digest(facts.identity.domain)),
            # Read anew each time: a worker that runs for days is certified again and again.
            identity.certificate_for(facts.identity.chain_id, facts.identity.ledger, lease.license),
        )
        body = beat.to_json()
        reply = self._send("POST", f"/v1/broker/leases/{lease.id}/heartbeat", body)
        decision = decision_of(self._verified(reply, "heartbeat", body))
        if not decision.granted:
            return None, decision
        extended = Lease.from_json(Document(reply, "the broker's reply").object("lease"))
        if (extended.id, extended.sequence) != (lease.id, beat.sequence):
            raise SignatureInvalid("the broker extended another lease")
        return extended, decision

    def _request(self, asker: Asker, kem: KemPublicKey, intent: str) -> KeyRequest:
        facts, identity = self.facts(), asker.identity
        issued = Document(
            self._send(
                "POST",
                "/v1/broker/challenges",
                {"license": str(asker.license), "model": str(asker.model)},
                repeatable=True,
            ),
            "the challenge",
        )
        # The broker's clock is not believed, but a challenge for another broker is refused.
        if issued.text("audience", limit=200) != facts.identity.audience:
            raise SignatureInvalid("the challenge is another broker's")
        now, challenge = int(self._clock()), issued.raw("challenge", 32)
        token: str | None = None
        if asker.attest is not None:
            bound = report_data(
                challenge=challenge,
                kem_key_hash=kem.hash(),
                runtime_key_hash=identity.key_hash,
                license_id=asker.license,
                model=asker.model,
                audience=facts.identity.audience,
            )
            token = asker.attest(bound, challenge)
        kind = "software" if token is None else "tee"
        unsigned = KeyRequest(
            challenge=challenge,
            license=asker.license,
            model=asker.model,
            kem=kem,
            evidence=Evidence(kind, intent, asker.sealing, identity.use, SOFTWARE, token),
            audience=facts.identity.audience,
            issued_at=now,
            expires_at=now + REQUEST_SECONDS,
            runtime=identity.key,
            grant=asker.grant,
            acceptance=asker.acceptance,
            certificate=asker.certificate,
        )
        return unsigned.signed(identity.sign, facts.identity.domain)

    def _decision(self, kind: str, path: str, request: KeyRequest, asker: Asker) -> Decision:
        message = request.to_json()
        body = {
            "request": message,
            "terms": None if asker.terms is None else dict(asker.terms),
        }
        reply = self._send("POST", path, body)
        return decision_of(self._verified(reply, kind, message))


def check_lease(lease: Lease, request: KeyRequest) -> None:
    """The lease is for what was asked for.

    Raises:
        SignatureInvalid: it is for something else.
    """
    expected = (
        request.license, request.model, request.evidence.sealing, request.runtime.hash(),
        request.kem.hash(), request.audience,
    )  # fmt: skip
    given = (
        lease.license, lease.model, lease.sealing, lease.runtime_key_hash,
        lease.kem_key_hash, lease.audience,
    )  # fmt: skip
    if given != expected or lease.grace_until < lease.not_after:
        raise SignatureInvalid("the lease is for something else than was asked for")


def check_time(signed: int, request: KeyRequest) -> None:
    """The time in a release is one at which an honest broker answers this request (step 2).

    It raises the host's clock floor, by which the releases of all other brokers end too: one that
    lies about it must not end those.

    Raises:
        SignatureInvalid: it is not.
    """
    carried = request.evidence.intent == offline.INTENT
    tolerance = offline.TOLERANCE_SECONDS if carried else CLOCK_TOLERANCE
    if not request.issued_at - tolerance <= signed <= request.expires_at + tolerance:
        raise SignatureInvalid(
            f"the broker says that it answered at {moment(signed)}, when no broker answers a "
            f"request of {moment(request.issued_at)}",
            hint="tell the licensor and the broker's operator",
        )


def decision_of(doc: Document) -> Decision:
    """The decision in a reply whose signatures were checked.

    Raises:
        ManifestError: not one.
    """
    checks: list[Check] = []
    for item in doc.items("checks", limit=32):
        step = Document(item, "a step of the reply", ("number", "title", "result", "detail"))
        checks.append(
            Check(
                step.integer("number"),
                step.text("title", limit=64),
                step.choice("result", ("pass", "fail", "not checked")),
                step.text("detail", limit=8192),
            )
        )
    denial = Denial.from_json(doc.object("denial")) if doc.has("denial") else None
    granted = doc.boolean("granted")
    if granted == (denial is not None):
        raise ManifestError("the broker's reply both grants and denies, or neither")
    return Decision(granted, tuple(checks), denial, doc.value)
