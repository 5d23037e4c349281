#!/usr/bin/env python3
"""Adds to tests/vectors/evidence: a stamped and signed bundle, a redacted one, and their faults.

Run by make_vectors_evidence.py. Tokens are OpenSSL's; their authorities' keys are thrown away.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import openssl_tsa
from cryptography import x509

from ledger.canonical import canonical_json
from ledger.chain.wallet import dev_wallet
from ledger.dating import close_bundle
from ledger.evidence.bundle import CUSTODY, INDEX, parse_bundle
from ledger.evidence.certificates import to_pem
from ledger.evidence.custody import append, read_log
from ledger.evidence.timestamps import renewal_imprint
from ledger.ids import Digest

OUT = Path(__file__).resolve().parents[1] / "tests" / "vectors" / "evidence"
STAMPED, REDACTED = "stamped.evidence.zip", "redacted.evidence.zip"
_OTHER_HASH = "0x" + "5a" * 32
_HOLDS = "holds, given the blocks it rests on"
_MAGIC = bytes.fromhex("004f70656e54696d657374616d7073000050726f6f6600bf89e2e884e89294")
_BITCOIN = bytes.fromhex("0588960d73d71901")
# Block 0 of Bitcoin, whose work is real; here under a height at which nothing leads to it.
_GENESIS = bytes.fromhex(
    "01000000" + "00" * 32 + "3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a"
    "29ab5f49ffff001d1dac2b7c"
)
_PRINTED = b"The certification as the collector saw it.\n"


def _proof(digest: bytes, height: bytes, steps: bytes = b"\xf0\x02ab\x08") -> bytes:
    attested = b"\x00" + _BITCOIN + bytes([len(height)]) + height
    return _MAGIC + b"\x01\x08" + digest + steps + attested


class Stamps:
    """Authorities for one run, and the tokens of this bundle."""

    def __init__(self, folder: Path, contents: Digest) -> None:
        self.folder, self.contents, self._made = folder, contents, 0
        self.ca = openssl_tsa.root("Vector TSA root")
        self.between = self.ca.issue("Vector TSA issuing", authority=True, usage=None, path=0)
        self.other = openssl_tsa.root("Second vector root", kind="rsa")

    def token(
        self, imprint: Digest, above: tuple[openssl_tsa.Issued, ...], **signer: Any
    ) -> tuple[bytes, bytes, openssl_tsa.Issued]:
        """A token, its certificates in PEM, and its signer."""
        self._made += 1
        one = above[0].issue(f"Vector TSA {self._made}", **signer)
        tsa = openssl_tsa.Authority(self.folder / str(self._made), one)
        raw = tsa.stamp(imprint.raw, certificates=self._made % 2 == 0)
        return raw, to_pem("CERTIFICATE", [one.der, *(of.der for of in above)]), one

    def good(self) -> dict[str, bytes]:
        """Two tokens, a revocation list of another serial, a proof without its header."""
        first, pem, self.signer = self.token(self.contents, (self.between, self.ca))
        imprint = renewal_imprint(self.contents, [first])
        second, other, _ = self.token(imprint, (self.other,), kind="rsa")
        gone = self.between.issue("Gone")
        lists = self.between.revoke(gone, at=-timedelta(days=1) / 2, reason=None)
        return {
            "timestamps/1.tsr": first,
            "timestamps/1.pem": pem,
            "timestamps/1.crl": lists,
            "timestamps/2.tsr": second,
            "timestamps/2.pem": other,
            "timestamps/bitcoin.ots": _proof(self.contents.raw, b"\xa0\xf7\x36"),
        }


def write(folder: Path = OUT) -> int:
    """Write both bundles and the faults; returns how many faults."""
    base = parse_bundle((folder / "model.evidence.zip").read_bytes())
    with tempfile.TemporaryDirectory() as scratch:
        stamps = Stamps(Path(scratch), base.computed_contents)
        members = {name: data for name, data in base.members.items() if name != INDEX}
        members |= stamps.good()
        wallet = dev_wallet("auditor")
        log = append(
            read_log(base.json(CUSTODY), base.computed_contents),
            time="2026-01-02T00:00:00Z",
            actor="A. Collector",
            action="stamped",
            contents=base.computed_contents,
            software=base.subject.software,
            printed={"certification.txt": Digest(hashlib.sha256(_PRINTED).digest())},
            signer=wallet.address,
            sign=wallet.sign_digest,
        )
        members[CUSTODY] = canonical_json([entry.to_json() for entry in log])
        stamped = close_bundle(base.subject, members)
        (folder / STAMPED).write_bytes(stamped)
        left = {
            name: base.listed[name]
            for name in ("fingerprint.json", "terms/")
            if name in base.listed
        }
        left |= {name: base.listed[name] for name in base.listed if name.startswith("terms/")}
        kept = {name: data for name, data in members.items() if name not in left}
        (folder / REDACTED).write_bytes(close_bundle(base.subject, kept, left))
        found = faults(stamps, members, str(wallet.address))
    for name, fault in found.items():
        (folder / f"{name}.json").write_text(json.dumps(fault, indent=2) + "\n")
    return len(found)


def faults(stamps: Stamps, members: dict[str, bytes], signer: str) -> dict[str, dict[str, Any]]:
    """One change each, of the stamped or the redacted bundle."""
    contents = stamps.contents

    def broken(step: int) -> dict[str, Any]:
        return {"verdict": "does not hold", "first": step}

    def case(
        description: str, expect: dict[str, Any], *edits: dict[str, Any], **more: Any
    ) -> dict[str, Any]:
        known = {"description": description, "bundle": STAMPED, "edit": list(edits)}
        return known | {"reseal": True, "expect": expect} | more

    def add(member: str, data: bytes) -> dict[str, Any]:
        return {"op": "add", "member": member, "hex": data.hex()}

    def move(source: str, to: str) -> dict[str, Any]:
        return {"op": "copy", "from": source, "to": to}

    def put(member: str, path: list[Any], value: Any) -> dict[str, Any]:
        return {"op": "set", "member": member, "path": path, "value": value}

    def token(number: int, raw: bytes, pem: bytes) -> list[dict[str, Any]]:
        return [add(f"timestamps/{number}.tsr", raw), add(f"timestamps/{number}.pem", pem)]

    def drop(member: str) -> dict[str, Any]:
        return {"op": "remove", "member": member}

    bad: list[dict[str, Any]] = [drop("timestamps/*")]
    ended, ended_pem, _ = stamps.token(contents, (stamps.ca,), end=timedelta(seconds=1))
    time.sleep(2.5)
    late, late_pem, _ = stamps.token(renewal_imprint(contents, [ended]), (stamps.ca,))
    past, past_pem, _ = stamps.token(
        contents, (stamps.ca,), start=timedelta(days=-9), end=timedelta(days=-1)
    )
    leaf = stamps.ca.issue("No authority", usage=None)
    unfit, unfit_pem, _ = stamps.token(contents, (leaf, stamps.ca))
    again, again_pem, one = stamps.token(contents, (stamps.ca,))
    impostor = openssl_tsa.root("Vector TSA root")
    forged_pem = again_pem.split(b"-----END")[0] + b"-----END CERTIFICATE-----\n" + impostor.pem
    hour, flags = timedelta(hours=1), x509.ReasonFlags
    root = "0x" + hashlib.sha256(stamps.ca.der).hexdigest()
    no_work = _GENESIS[:36] + hashlib.sha256(contents.raw + b"ab").digest() + _GENESIS[68:]
    size = len(members["timestamps/2.tsr"])
    return {
        "stamped": case("nothing", {"verdict": _HOLDS}),
        "stamped-root-known": case(
            "nothing; the first token's root is known",
            {"verdict": _HOLDS},
            trust={"tsa_roots": [root]},
        ),
        "stamped-root-unknown": case(
            "nothing; the reader knows another authority's root",
            broken(17),
            trust={"tsa_roots": [_OTHER_HASH]},
        ),
        "token-of-other-contents": case(
            "the first token is the second one's",
            broken(17),
            move("timestamps/2.tsr", "timestamps/1.tsr"),
            move("timestamps/2.pem", "timestamps/1.pem"),
        ),
        "token-signature-other": case(
            "one bit of the second token's signature",
            broken(17),
            {"op": "flip", "member": "timestamps/2.tsr", "at": size - 1},
        ),
        "token-signer-other": case(
            "the second token stands with the first one's certificates",
            broken(17),
            move("timestamps/1.pem", "timestamps/2.pem"),
        ),
        "token-certificates-missing": case(
            "a token without its certificates", broken(17), drop("timestamps/1.pem")
        ),
        "token-number-missing": case(
            "the first token is gone, the second one is not", broken(17), drop("timestamps/1.*")
        ),
        "token-root-forged": case(
            "the root is one of the same name and another key",
            broken(17),
            *bad,
            *token(1, again, forged_pem),
        ),
        "token-certificate-ended": case(
            "a certificate had ended when the token was made",
            broken(17),
            *bad,
            *token(1, past, past_pem),
        ),
        "token-issuer-unfit": case(
            "the signer was certified by someone who may not",
            broken(17),
            *bad,
            *token(1, unfit, unfit_pem),
        ),
        "token-certificate-ended-since": case(
            "a certificate ended after the token was made; the summary is not made anew",
            broken(19),
            *bad,
            *token(1, ended, ended_pem),
        ),
        "renewal-late": case(
            "the renewal came after the first signer's certificate ended",
            broken(17),
            *bad,
            *token(1, ended, ended_pem),
            *token(2, late, late_pem),
        ),
        "revoked-before": case(
            "the signer was revoked before the token was made",
            broken(17),
            *bad,
            *token(1, again, again_pem),
            add("timestamps/1.crl", stamps.ca.revoke(one, at=-hour, reason=flags.superseded)),
        ),
        "revoked-later-compromised": case(
            "the signer's key was found compromised later",
            broken(17),
            *bad,
            *token(1, again, again_pem),
            add("timestamps/1.crl", stamps.ca.revoke(one, at=hour, reason=flags.key_compromise)),
        ),
        "revoked-later-superseded": case(
            "the signer was replaced later, which is no fault; the summary is not made anew",
            broken(19),
            *bad,
            *token(1, again, again_pem),
            add("timestamps/1.crl", stamps.ca.revoke(one, at=hour, reason=flags.superseded)),
        ),
        "revocation-list-of-stranger": case(
            "a revocation list of someone else",
            broken(17),
            *bad,
            *token(1, again, again_pem),
            add("timestamps/1.crl", impostor.revoke(one, at=hour, reason=flags.superseded)),
        ),
        "proof-of-other-contents": case(
            "the OpenTimestamps proof is of something else",
            broken(17),
            add("timestamps/bitcoin.ots", _proof(b"\x5a" * 32, b"\xa0\xf7\x36")),
        ),
        "proof-to-other-root": case(
            "the OpenTimestamps proof leads to another root than the header's",
            broken(17),
            add("timestamps/bitcoin.ots", _proof(contents.raw, b"\x01")),
            add("timestamps/1.header", _GENESIS),
        ),
        "header-without-work": case(
            "a Bitcoin header that nobody mined",
            broken(17),
            add("timestamps/bitcoin.ots", _proof(contents.raw, b"\x01")),
            add("timestamps/1.header", no_work),
        ),
        "header-without-proof": case(
            "a Bitcoin header that no proof leads to",
            broken(17),
            drop("timestamps/bitcoin.ots"),
            add("timestamps/1.header", _GENESIS),
        ),
        "proof-nested": case(
            "an OpenTimestamps proof without end",
            broken(17),
            add("timestamps/bitcoin.ots", _proof(contents.raw, b"\x01", b"\x08" * 3000)),
        ),
        "collector-known": case(
            "nothing; the collector is known", {"verdict": _HOLDS}, trust={"collectors": [signer]}
        ),
        "collector-unknown": case(
            "nothing; the reader knows another collector",
            broken(18),
            trust={"collectors": ["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"]},
        ),
        "custody-signature-other": case(
            "one digit of the collector's signature",
            broken(18),
            {"op": "flip-hex", "member": "custody.json", "path": [1, "signature"], "at": 20},
        ),
        "custody-signer-other": case(
            "the signature is said to be someone else's",
            broken(18),
            put("custody.json", [1, "signer"], "licensor"),
        ),
        "custody-signed-entry-changed": case(
            "what the collector signed was rewritten",
            broken(18),
            put("custody.json", [1, "actor"], "someone else"),
        ),
        "custody-time-digits-other": case(
            "a custody entry's time is in digits of another script",
            broken(18),
            put("custody.json", [0, "time"], "\u0662\u0660\u0662\u0666-01-01T01:00:00Z"),
            bundle="model.evidence.zip",
        ),
        "printed-swapped": case(
            "the certification is not the one that the collector signed for",
            broken(18),
            add("certification.txt", b"Guilty.\n"),
        ),
        "verifier-added": case(
            "a verifier that the custody log does not list",
            broken(18),
            add("verify.py", b"print('verified')\n"),
        ),
        "redacted": case("nothing", {"verdict": _HOLDS}, bundle=REDACTED),
        "withheld-digest-other": case(
            "a withheld member is listed with another digest",
            broken(17),
            {"op": "withhold", "member": "fingerprint.json", "sha256": _OTHER_HASH},
            bundle=REDACTED,
        ),
        "withheld-claim": case(
            "the claim is withheld", broken(2), {"op": "withhold", "member": "claim.json"}
        ),
        "withheld-header": case(
            "a header is withheld", broken(2), {"op": "withhold", "member": "headers/10.rlp"}
        ),
        "withheld-card-unlisted": case(
            "a card is withheld that would be for a license not listed",
            broken(13),
            {"op": "copy", "from": "cards/1.1.json", "to": "cards/1.3.json"},
            {"op": "withhold", "member": "cards/1.3.json"},
        ),
        "withheld-terms-unlisted": case(
            "terms are withheld that would be of no license listed",
            broken(13),
            {"op": "copy", "from": "cards/1.1.json", "to": f"terms/{'5a' * 32}.json"},
            {"op": "withhold", "member": f"terms/{'5a' * 32}.json"},
        ),
        "withheld-card-without-licenses": case(
            "no license is listed, and a card is withheld",
            broken(13),
            drop("licenses.json"),
            drop("terms/*"),
            {"op": "withhold", "member": "cards/1.1.json"},
        ),
        "withheld-untold": case(
            "a member is withheld, and the summary does not say so",
            broken(19),
            {"op": "withhold", "member": "fingerprint.json"},
        ),
    }


if __name__ == "__main__":
    print(f"wrote {write()} faults, {STAMPED} and {REDACTED}")
