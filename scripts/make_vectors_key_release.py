"""Write the vectors of key release: grants, requests, leases, deposits, replies, and their faults.

Run again after a change of a format, look at the diff, and say in the specification what changed.
Signatures that need randomness (ML-DSA, HPKE) are made once and kept when the rest of their vector
is unchanged.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from broker_vectors import (
    AUDIENCE,
    DOMAIN,
    KEM,
    KEYS,
    LICENSE,
    MODEL,
    RECORD,
    ROOT,
    RUNTIME,
    RUNTIME_KEY,
    TERMS,
    fixed,
    write,
)

from ledger.broker.denials import Denial
from ledger.broker.deposits import KeyDeposit, Wrap
from ledger.broker.fleet import WorkerCertificate, fleet_key_hash
from ledger.broker.grants import (
    ALG_ED25519,
    ALG_P256,
    GRANT_TYPE,
    Acceptance,
    RuntimeGrant,
    runtime_message,
    sign_acceptance,
)
from ledger.broker.leases import BlockRef, Heartbeat, Lease
from ledger.broker.pins import PIN_TYPE, sign_pin
from ledger.broker.protocol import Evidence, KeyRequest, release_info
from ledger.broker.runtime_signers import FileSigner, sign_digest
from ledger.broker.wallet_probe import seal_envelope
from ledger.broker.wallet_signatures import MAX_SIGNATURE
from ledger.chain.wallet import dev_wallet
from ledger.ids import Address, Digest
from ledger.licensing import terms as terms_module
from ledger.licensing.terms import Use


def make_key_release() -> None:
    """Messages with what is signed or hashed of each."""
    grant = RuntimeGrant(
        license=LICENSE,
        runtime_key_hash=RUNTIME_KEY.hash(),
        measurement=bytes(20),
        features=5,
        not_after=1893456000,
        terms_hash=terms_module.terms_hash(TERMS),
        keyed_nonce=(7 << 64) | 3,
    )
    holder = dev_wallet("holder")
    signed = holder.sign_typed(DOMAIN, GRANT_TYPE, grant.values())
    grant = RuntimeGrant(*(getattr(grant, name) for name in grant.__slots__[:-1]), signed)
    write(
        "key-release",
        "runtime-grant",
        {
            "kind": "grant",
            "message": grant.to_json(),
            "digest": str(DOMAIN.digest(GRANT_TYPE, grant.values())),
            "signer": str(holder.address),
        },
    )
    pin = sign_pin(
        holder,
        DOMAIN,
        license_id=LICENSE,
        runtime_key_hash=RUNTIME_KEY.hash(),
        model=MODEL,
        licensor=dev_wallet("licensor").address,
        brokers_hash=Digest(fixed("brokers")),
    )
    write(
        "key-release",
        "runtime-pin",
        {
            "kind": "pin",
            "message": pin.to_json(),
            "digest": str(DOMAIN.digest(PIN_TYPE, pin.values())),
            "signer": str(holder.address),
        },
    )
    acceptance: Acceptance = sign_acceptance(
        holder, DOMAIN, license_id=LICENSE, terms_hash=terms_module.terms_hash(TERMS)
    )
    request = KeyRequest(
        challenge=fixed("challenge"),
        license=LICENSE,
        model=MODEL,
        kem=KEM.public,
        evidence=Evidence("software", "release", RECORD.hash(), Use("DE"), "modeldeed"),
        audience=AUDIENCE,
        issued_at=1800000000,
        expires_at=1800000120,
        runtime=RUNTIME_KEY,
        grant=grant,
        acceptance=acceptance,
    ).signed(lambda digest: RUNTIME.sign(runtime_message(digest)), DOMAIN)
    write(
        "key-release",
        "key-request",
        {
            "kind": "request",
            "message": request.to_json(),
            "digest": str(request.digest(DOMAIN)),
            "evidence_hash": str(request.evidence.hash()),
            "hash": str(request.hash()),
            "verifies": True,
        },
    )
    make_request_faults(request)
    make_wallet_signatures(grant)
    make_fleet(request)
    make_lease_and_deposit(request)
    make_reply()


def make_request_faults(request: KeyRequest) -> None:
    """The same request with one thing changed after signing: it parses and does not verify."""
    faults: dict[str, Callable[[dict[str, Any]], None]] = {
        "request-other-challenge": lambda m: m.update(challenge="0x" + "00" * 32),
        "request-other-license": lambda m: m.update(license="1.2"),
        "request-other-model": lambda m: m.update(model="0x" + "00" * 32),
        "request-other-kem-key": lambda m: m.update(
            kem={"suite": 1, "key": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="}
        ),
        "request-other-use": lambda m: m["evidence"].update(use={"territory": "FR"}),
        "request-other-intent": lambda m: m["evidence"].update(intent="check"),
        "request-other-sealing": lambda m: m["evidence"].update(sealing="0x" + "00" * 32),
        "request-other-audience": lambda m: m.update(audience=AUDIENCE[:-1] + "2"),
        "request-later-expiry": lambda m: m.update(expires_at=1800000121),
    }
    for name, change in faults.items():
        message = copy.deepcopy(request.to_json())
        change(message)
        write("key-release", name, {"kind": "request", "message": message, "verifies": False})
    malformed: dict[str, Callable[[dict[str, Any]], None]] = {
        "malformed-short-challenge": lambda m: m.update(challenge="0x00"),
        "malformed-unknown-member": lambda m: m.update(admin=True),
        "malformed-kem-length": lambda m: m.update(kem={"suite": 2, "key": "AQ=="}),
        "malformed-kem-suite": lambda m: m.update(kem={"suite": 9, "key": "AQ=="}),
        "malformed-runtime-alg": lambda m: m["runtime"].update(alg=3),
        "malformed-later-version": lambda m: m.update(version=2),
        "malformed-evidence-class": lambda m: m["evidence"].update({"class": "none"}),
        "malformed-grant-without-signature": lambda m: m["grant"].pop("signature"),
    }
    for name, change in malformed.items():
        message = copy.deepcopy(request.to_json())
        change(message)
        write("key-release", name, {"kind": "malformed", "message": message})


def make_wallet_signatures(grant: RuntimeGrant) -> None:
    """Contract wallets' signatures and ERC-6492 envelopes, good and with one fault."""
    long = b"".join([grant.signature, bytes(31), b"and another owner's"])

    def grant_of(name: str, signature: str, *, reads: bool) -> None:
        message = {**grant.to_json(), "signature": signature}
        write(
            "key-release",
            name,
            {"kind": "contract-grant", "message": message, "reads": reads, "account": None},
        )

    grant_of("grant-contract-signature", "0x" + long.hex(), reads=True)
    grant_of("grant-signature-empty", "0x", reads=True)
    grant_of("grant-signature-longest", "0x" + "ab" * MAX_SIGNATURE, reads=True)
    grant_of("grant-signature-too-long", "0x" + "ab" * (MAX_SIGNATURE + 1), reads=False)
    grant_of("grant-signature-upper-case", "0x" + "AB" * 65, reads=False)
    grant_of("grant-signature-odd-digits", "0x" + "abc", reads=False)

    factory, creation = Address(b"\x44" * 20), fixed("creation", 100)
    good = seal_envelope(factory, creation, long)
    envelopes = {
        "envelope": (good, True),
        "envelope-cut": (good[32:], False),
        "envelope-padded": (good[:-32] + bytes(32) + good[-32:], False),
        "envelope-without-factory": (seal_envelope(Address(bytes(20)), creation, long), False),
        "envelope-in-envelope": (seal_envelope(factory, creation, good), False),
    }
    for name, (signature, opens) in envelopes.items():
        vector: dict[str, Any] = {
            "kind": "envelope",
            "signature": "0x" + signature.hex(),
            "opens": opens,
        }
        if opens:
            vector |= {
                "factory": str(factory),
                "creation": "0x" + creation.hex(),
                "inner": "0x" + long.hex(),
            }
        write("key-release", name, vector)


def make_fleet(request: KeyRequest) -> None:
    """A worker's request under its fleet's grant, and certificates with one fault."""
    fleet, worker = (FileSigner(ALG_ED25519, fixed(name)) for name in ("fleet", "worker"))
    p256 = FileSigner(ALG_P256, fixed("p256 runtime"))
    holder, now = dev_wallet("holder"), request.issued_at

    def granted(key_hash: Digest) -> RuntimeGrant:
        unsigned = replace(request.grant or fail(), runtime_key_hash=key_hash, signature=b"")
        return replace(unsigned, signature=holder.sign_typed(DOMAIN, GRANT_TYPE, unsigned.values()))

    grant = granted(fleet_key_hash(fleet.key))
    unsigned = WorkerCertificate(
        grant=grant.digest(DOMAIN),
        fleet=fleet.key,
        worker=worker.key,
        workload="sha256:" + fixed("image").hex(),
        not_before=now - 60,
        not_after=now + 3540,
        serial=fixed("serial", 16),
    )

    def signed(**changes: Any) -> WorkerCertificate:
        certificate = replace(unsigned, **changes)
        return replace(certificate, signature=sign_digest(fleet, certificate.digest()))

    good = signed()

    def vector(name: str, certificate: WorkerCertificate, expect: str, **changes: Any) -> None:
        write(
            "key-release",
            name,
            {
                "kind": "certificate",
                "message": certificate.to_json(),
                "grant": changes.get("grant", grant).to_json(),
                "worker": changes.get("worker", worker.key).to_json(),
                "at": changes.get("at", now),
                "digest": str(certificate.digest()),
                "expect": expect,
            },
        )

    other = FileSigner(ALG_ED25519, fixed("other"))
    vector("certificate", good, "ok")
    vector("certificate-of-a-day", signed(not_after=now - 60 + 86400), "ok")
    vector("certificate-of-more-than-a-day", signed(not_after=now - 59 + 86400), "RuntimeNotBound")
    vector("certificate-expired", good, "RuntimeNotBound", at=now + 3540)
    vector("certificate-too-early", good, "RuntimeNotBound", at=now - 61)
    vector("certificate-other-worker", good, "RuntimeNotBound", worker=other.key)
    vector("certificate-other-grant", signed(grant=Digest(bytes(32))), "RuntimeNotBound")
    vector(
        "certificate-other-fleet", good, "RuntimeNotBound", grant=granted(fleet_key_hash(other.key))
    )
    vector(
        "certificate-grant-of-a-runtime", good, "RuntimeNotBound", grant=granted(fleet.key.hash())
    )
    vector(
        "certificate-fleet-as-worker", signed(worker=fleet.key), "RuntimeNotBound", worker=fleet.key
    )
    vector("certificate-other-serial", replace(good, serial=bytes(16)), "SignatureInvalid")
    for name, change in {
        "certificate-workload": {"workload": "latest"},
        "certificate-unknown-member": {"seats": 5},
        "certificate-later-version": {"version": 2},
    }.items():
        write(
            "key-release",
            f"malformed-{name}",
            {"kind": "malformed", "message": {**request.to_json(), "certificate": {
                **good.to_json(), **change,
            }}},
        )  # fmt: skip
    write(
        "key-release",
        "malformed-certificate-null",
        {"kind": "malformed", "message": {**request.to_json(), "certificate": None}},
    )
    for name, signer, certificate in (
        ("key-request-of-a-worker", worker, good),
        ("key-request-p256", p256, None),
    ):
        path = ROOT / "key-release" / f"{name}.json"
        asked = replace(
            request, runtime=signer.key, certificate=certificate,
            grant=grant if certificate else granted(signer.key.hash()),
        ).signed(lambda digest, signer=signer: sign_digest(signer, digest), DOMAIN)  # fmt: skip
        if certificate is None and path.exists():
            continue  # ECDSA signs with randomness
        write(
            "key-release",
            name,
            {
                "kind": "request",
                "message": asked.to_json(),
                "digest": str(asked.digest(DOMAIN)),
                "evidence_hash": str(asked.evidence.hash()),
                "hash": str(asked.hash()),
                "verifies": True,
            },
        )


def fail() -> Any:
    """Stop: the request that vectors are made from has a grant."""
    raise SystemExit("the request has no grant")


def make_lease_and_deposit(request: KeyRequest) -> None:
    """Lease with the info its key is wrapped under; heartbeat; deposit."""
    block = BlockRef(12, Digest(fixed("block")), 1800000000)
    lease = Lease(
        id=Digest(fixed("lease")),
        license=LICENSE,
        model=MODEL,
        epoch=1,
        sealing=RECORD.hash(),
        runtime_key_hash=RUNTIME_KEY.hash(),
        kem_key_hash=KEM.public.hash(),
        audience=AUDIENCE,
        issued_at=1800000000,
        not_after=1800000300,
        grace_until=1800000360,
        sequence=0,
        heartbeat=100,
        enforce=True,
        head=block,
        finalized=block,
    )
    write(
        "key-release",
        "lease",
        {
            "kind": "lease",
            "message": lease.to_json(),
            "request": request.to_json(),
            "info": "0x" + release_info("content-key", request, lease).hex(),
        },
    )
    beat = Heartbeat(lease.id, 1, AUDIENCE, 1800000100)
    signature = RUNTIME.sign(runtime_message(beat.digest(DOMAIN)))
    beat = Heartbeat(beat.lease, beat.sequence, beat.audience, beat.issued_at, signature)
    write(
        "key-release",
        "heartbeat",
        {"kind": "heartbeat", "message": beat.to_json(), "digest": str(beat.digest(DOMAIN))},
    )
    licensor = dev_wallet("licensor")
    deposit = KeyDeposit(
        record=RECORD,
        wraps=(Wrap("content-key", fixed("ciphertext", 82)),),
        kem_key_hash=KEM.public.hash(),
        audience=AUDIENCE,
        issued_at=1800000000,
        licensor=licensor.address,
        terms=(TERMS,),
    ).signed(licensor, DOMAIN)
    write(
        "key-release",
        "deposit",
        {
            "kind": "deposit",
            "message": deposit.to_json(),
            "wraps_hash": str(deposit.values()["wrapsHash"]),
            "terms_hash": str(deposit.values()["termsHash"]),
            "signer": str(licensor.address),
            "verifies": True,
        },
    )
    message = copy.deepcopy(deposit.to_json())
    message["terms"].append({**TERMS, "title": "never signed"})
    write(
        "key-release",
        "deposit-other-terms",
        {
            "kind": "deposit",
            "message": message,
            "signer": str(licensor.address),
            "verifies": False,
        },
    )


def make_reply() -> None:
    """A signed reply; ML-DSA signs with randomness, so an existing vector is kept."""
    path = ROOT / "key-release" / "reply.json"
    if path.exists():
        return
    denial = Denial("REVOKED", 3, "license 1.1 was revoked", 1800000000, "final", 5, None)
    reply = KEYS.sign(
        {
            "version": 1,
            "type": "release",
            "audience": AUDIENCE,
            "time": 1800000001,
            "request": str(Digest(fixed("request"))),
            "granted": False,
            "checks": [],
            "denial": denial.to_json(),
            "lease": None,
            "wraps": [Wrap("content-key", fixed("ciphertext", 82)).to_json()],
            "receipt": {"sequence": 1, "previous": str(Digest(bytes(32)))},
        }
    )
    keys = KEYS.public
    common = {"keys": keys.to_json(), "keys_hash": str(keys.hash())}
    write("key-release", "reply", {"kind": "reply", "message": reply, "verifies": True, **common})
    faults: dict[str, Callable[[dict[str, Any]], None]] = {
        "reply-granted-flipped": lambda m: m.update(granted=True),
        "reply-classical-signature-only": lambda m: m["signature"].update(mldsa65="A" * 4412),
        "reply-other-ciphertext": lambda m: m["wraps"][0].update(
            wrap=Wrap("x", fixed("other", 82)).to_json()["wrap"]
        ),
        "reply-other-receipt": lambda m: m["receipt"].update(sequence=2),
    }
    for name, change in faults.items():
        message = copy.deepcopy(reply)
        change(message)
        write(
            "key-release", name, {"kind": "reply", "message": message, "verifies": False, **common}
        )


if __name__ == "__main__":
    make_key_release()
