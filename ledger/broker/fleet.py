"""Fleets: one grant, many workers (docs/spec/fleet.md). Pure.

The holder grants a *fleet key*; the fleet key certifies workers' runtime keys for at most a day.
The grant names the fleet key by a hash of its own kind, so that a runtime's grant certifies nobody
and a fleet's grant is no runtime's.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from ledger.broker.grants import RuntimeGrant, RuntimeKey
from ledger.canonical import hash_bytes, hash_json
from ledger.eip712 import Domain
from ledger.errors import ManifestError, RuntimeNotBound, SignatureInvalid, UsageError
from ledger.ids import Digest
from ledger.licensing.document import Document, hex_text
from ledger.licensing.entitlement import moment

CERTIFICATE_TYPE: Final = "modeldeed/worker-certificate"
CERTIFICATE_TAG: Final = "modeldeed/worker-certificate/1"
FLEET_KEY_TAG: Final = "modeldeed/fleet-key/1"
MAX_SECONDS: Final = 86400
BACKDATED: Final = 60
"""Seconds before now at which a new certificate begins: clocks differ."""
MAX_WORKLOAD: Final = 256
_WORKLOAD = re.compile(r"sha256:[0-9a-f]{64}|(?!sha256:)[a-z][a-z0-9+.-]*:[\x21-\x7e]+")
_MEMBERS = (
    "type", "version", "grant", "fleet", "worker", "workload", "not_before", "not_after",
    "serial", "signature",
)  # fmt: skip


def fleet_key_hash(key: RuntimeKey) -> Digest:
    """What a grant names a fleet key by, in the place of a runtime key's hash."""
    return hash_bytes(FLEET_KEY_TAG, bytes([key.alg]) + key.raw)


@dataclass(frozen=True, slots=True)
class WorkerCertificate:
    """A fleet key's word that a worker's runtime key may use the fleet's grant. Times in seconds.

    Attributes:
        grant: EIP-712 digest of the holder's grant, which names license, ledger and fleet key.
        workload: what the fleet says runs there: ``sha256:…`` of an image, or a workload
            identity as a URI (``spiffe://…``).
        serial: 16 bytes, another for every certificate.
    """

    grant: Digest
    fleet: RuntimeKey
    worker: RuntimeKey
    workload: str
    not_before: int
    not_after: int
    serial: bytes
    signature: bytes = b""

    def __post_init__(self) -> None:
        if len(self.workload) > MAX_WORKLOAD or _WORKLOAD.fullmatch(self.workload) is None:
            raise ManifestError(
                "a workload is sha256: and 64 hex digits, or a URI such as spiffe://domain/name"
            )

    def _body(self) -> dict[str, Any]:
        return {
            "type": CERTIFICATE_TYPE,
            "version": 1,
            "grant": str(self.grant),
            "fleet": self.fleet.to_json(),
            "worker": self.worker.to_json(),
            "workload": self.workload,
            "not_before": self.not_before,
            "not_after": self.not_after,
            "serial": hex_text(self.serial),
        }

    def digest(self) -> Digest:
        """What the fleet key signs, as a runtime key signs a digest."""
        return hash_json(CERTIFICATE_TAG, self._body())

    def to_json(self) -> dict[str, Any]:
        """The certificate as requests and grant files carry it."""
        return {**self._body(), "signature": hex_text(self.signature)}

    @classmethod
    def from_json(cls, value: Any) -> WorkerCertificate:
        """Read a certificate; nothing is checked yet.

        Raises:
            ManifestError: not a certificate.
        """
        doc = Document(value, "the worker certificate", _MEMBERS)
        doc.kind(CERTIFICATE_TYPE)
        return cls(
            grant=doc.digest("grant"),
            fleet=RuntimeKey.from_json(doc.object("fleet")),
            worker=RuntimeKey.from_json(doc.object("worker")),
            workload=doc.text("workload", limit=MAX_WORKLOAD),
            not_before=doc.integer("not_before"),
            not_after=doc.integer("not_after"),
            serial=doc.raw("serial", 16),
            signature=doc.raw("signature", 64),
        )


def shown_certificate(doc: Document) -> WorkerCertificate | None:
    """The optional member ``certificate`` of a message; it is left out, never null.

    Raises:
        ManifestError: null, or not a certificate.
    """
    if "certificate" not in doc.value:
        return None
    return WorkerCertificate.from_json(doc.object("certificate"))


def certify(
    sign: Callable[[Digest], bytes],
    fleet: RuntimeKey,
    worker: RuntimeKey,
    grant: RuntimeGrant,
    domain: Domain,
    *,
    workload: str,
    seconds: int,
    now: int,
) -> WorkerCertificate:
    """Certify a worker under a grant, as the fleet key.

    Args:
        sign: the fleet key's signature of a digest.
        fleet: the fleet key.
        worker: the worker's runtime key, whose request was checked.
        grant: the holder's grant to the fleet.
        domain: of the grant's license ledger.
        workload: image digest or workload identity.
        seconds: how long, at most a day.
        now: Unix seconds.

    Raises:
        UsageError: a time beyond a day, another fleet's grant, or the fleet's own key as worker.
        ManifestError: not a workload.
    """
    if not BACKDATED < seconds <= MAX_SECONDS:
        raise UsageError(
            f"a certificate lasts from {BACKDATED + 1} to {MAX_SECONDS} seconds, not {seconds}",
            hint="certify the worker again before it ends",
        )
    if grant.runtime_key_hash != fleet_key_hash(fleet):
        raise UsageError(
            "the grant is not for this fleet key",
            hint="the holder grants this fleet's request file: deed runtime grant",
        )
    if worker == fleet:
        raise UsageError(
            "a fleet key is no worker's key", hint="make the worker's own: deed runtime init"
        )
    begin = now - BACKDATED
    unsigned = WorkerCertificate(
        grant=grant.digest(domain),
        fleet=fleet,
        worker=worker,
        workload=workload,
        not_before=begin,
        not_after=min(begin + seconds, grant.not_after),
        serial=secrets.token_bytes(16),
    )
    return replace(unsigned, signature=sign(unsigned.digest()))


def check_certificate(
    certificate: WorkerCertificate,
    grant: RuntimeGrant,
    worker: RuntimeKey,
    *,
    domain: Domain,
    at: int,
    step: int = 0,
) -> str:
    """Steps 1 to 5 of docs/spec/fleet.md: from the grant to the fleet key to the worker.

    Raises:
        RuntimeNotBound: of another grant, fleet or worker, outside its time, or for too long.
        SignatureInvalid: not signed by the fleet key.
    """
    # (1) The grant names the fleet key, (2) and the certificate names that very grant.
    if grant.runtime_key_hash != fleet_key_hash(certificate.fleet):
        raise _refused("the worker's certificate is of another fleet than the grant names")
    if certificate.grant != grant.digest(domain):
        raise _refused("the worker's certificate stands on another grant than the one shown")
    # (3) The worker it names is the one that asks, and is not the fleet key.
    if certificate.worker != worker or certificate.worker == certificate.fleet:
        raise _refused("the certificate is for another worker than the one that asks")
    # (4) At most a day, and now.
    if not 0 < certificate.not_after - certificate.not_before <= MAX_SECONDS:
        raise _refused(f"the worker's certificate is for longer than {MAX_SECONDS} seconds")
    if at < certificate.not_before:
        raise _refused(f"the worker's certificate begins on {moment(certificate.not_before)}")
    if at >= certificate.not_after:
        raise _refused(
            f"the worker's certificate ended on {moment(certificate.not_after)}",
            since=certificate.not_after,
        )
    # (5) The fleet key signed it.
    certificate.fleet.verify(certificate.signature, certificate.digest(), step=step)
    return f"worker {hex_text(certificate.serial)} ({certificate.workload}) of its fleet"


def later(
    held: WorkerCertificate | None, shown: WorkerCertificate | None, *, now: int
) -> WorkerCertificate | None:
    """The certificate that counts: no lease without one gets one, and none gets an older one."""
    if held is None or shown is None or shown.not_after <= held.not_after:
        return held
    # Unsigned by the runtime, so what does not verify must not cost a good lease.
    same = (shown.grant, shown.fleet, shown.worker) == (held.grant, held.fleet, held.worker)
    with contextlib.suppress(SignatureInvalid):
        shown.fleet.verify(shown.signature, shown.digest())
        begun = shown.not_before <= now
        if same and begun and shown.not_after - shown.not_before <= MAX_SECONDS:
            return shown
    return held


def _refused(message: str, *, since: int | None = None) -> RuntimeNotBound:
    return RuntimeNotBound(
        message,
        since=since,
        remedy="whoever runs the fleet can certify this worker: deed runtime fleet certify",
    )
