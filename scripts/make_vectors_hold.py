"""Write the vectors of the hold release (docs/spec/hold-release.md): one fault each, named for it.

Run again after a change of the format, look at the diff, and say in the specification what changed.
Keys are Anvil's well-known test keys.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ledger.broker.hold_release import MAX_LIFETIME, SKEW, HoldName, HoldRelease
from ledger.broker.protocol import audience
from ledger.broker.wallet_signatures import MAX_SIGNATURE
from ledger.chain.wallet import dev_wallet
from ledger.ids import Address, Digest, LicenseId
from ledger.licensing.card import ledger_domain

FOLDER = Path(__file__).parents[1] / "tests" / "vectors" / "hold-release"
CHAIN, LEDGER, BROKERS = 31337, Address(b"\x11" * 20), Address(b"\x33" * 20)
NOW = 1800000000
DOMAIN = ledger_domain(CHAIN, LEDGER)
LICENSOR = dev_wallet("licensor")
GOOD = HoldRelease(
    license=LicenseId.parse("1.1"),
    hold=HoldName(12, Digest(b"\x5b" * 32)),
    audience=audience(CHAIN, BROKERS, 1),
    issued_at=NOW,
    expires_at=NOW + 3600,
    licensor=LICENSOR.address,
).signed(LICENSOR, DOMAIN)
BROKER = {"audience": GOOD.audience, "license": "1.1", "hold": GOOD.hold.to_json()}


def write(name: str, vector: dict[str, Any]) -> None:
    """Write one vector file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(vector, indent=1) + "\n")


def decided(name: str, expect: str, release: HoldRelease = GOOD, **broker: Any) -> None:
    """A release, the broker it comes to, and what steps 1 to 3 make of it."""
    message = release.to_json()
    digest = str(release.digest(DOMAIN))
    at = {**BROKER, "now": NOW, **broker}
    write(name, {"message": message, "digest": digest, "broker": at, "expect": expect})


def signed(**changes: Any) -> HoldRelease:
    """The good release with other values, signed as such."""
    return replace(GOOD, **changes).signed(LICENSOR, DOMAIN)


def main() -> None:
    """Write all of them."""
    decided("valid", "ok")
    decided("valid-of-seven-days", "ok", signed(expires_at=NOW + MAX_LIFETIME))
    decided("valid-issued-a-little-ahead", "ok", now=NOW - SKEW)
    decided("valid-in-its-last-second", "ok", now=NOW + 3599)
    decided("expired", "rejected-1", now=NOW + 3600)
    decided("issued-ahead", "rejected-1", now=NOW - SKEW - 1)
    decided("living-too-long", "rejected-1", signed(expires_at=NOW + MAX_LIFETIME + 1))
    decided("expiring-before-issued", "rejected-1", signed(expires_at=NOW))
    decided("other-broker", "rejected-1", audience=audience(CHAIN, BROKERS, 2))
    decided("other-license", "rejected-1", license="1.2")
    decided("not-held", "rejected-2", hold=None)
    decided("earlier-hold", "rejected-2", hold={"sequence": 40, "hash": "0x" + "77" * 32})
    decided("other-hold-hash", "rejected-2", hold={"sequence": 12, "hash": "0x" + "77" * 32})
    rival = dev_wallet("rival")
    decided("signed-by-another", "not-its-account", GOOD.signed(rival, DOMAIN))
    elsewhere = ledger_domain(CHAIN, BROKERS)
    decided("signed-for-another-ledger", "not-its-account", GOOD.signed(LICENSOR, elsewhere))
    decided("later-expiry", "not-its-account", replace(GOOD, expires_at=NOW + 3601))
    decided(
        "signature-of-a-contract", "not-its-account", replace(GOOD, signature=GOOD.signature * 3)
    )

    malformed: dict[str, Callable[[dict[str, Any]], object]] = {
        "unknown-member": lambda m: m.update(admin=True),
        "later-version": lambda m: m.update(version=2),
        "hold-without-hash": lambda m: m["hold"].pop("hash"),
        "hold-of-receipt-zero": lambda m: m["hold"].update(sequence=0),
        "license-leading-zero": lambda m: m.update(license="01.1"),
        "signature-missing": lambda m: m.pop("signature"),
        "signature-too-long": lambda m: m.update(signature="0x" + "ab" * (MAX_SIGNATURE + 1)),
        "expiry-as-text": lambda m: m.update(expires_at="1800003600"),
    }
    for name, change in malformed.items():
        message = copy.deepcopy(GOOD.to_json())
        change(message)
        write(f"malformed-{name}", {"message": message, "broker": BROKER, "expect": "malformed"})


if __name__ == "__main__":
    main()
