"""Write the vectors of terms and license card: one fault each, named for it.

Run again after a change of a format, look at the diff, and say in the specification what changed.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from typing import Any

from broker_vectors import (
    BROKERS,
    CHAIN,
    KEM,
    KEYS,
    LEDGER,
    LICENSE,
    MODEL,
    RECORD,
    REGISTRY,
    TERMS,
    write,
)

from ledger.chain.wallet import dev_wallet
from ledger.ids import Digest
from ledger.licensing import card as card_module
from ledger.licensing import terms as terms_module
from ledger.licensing.card import BrokerSet, CardBroker, CardFile


def make_terms() -> None:
    """Terms: input text, and its hash or the error."""

    def good(name: str, text: str) -> None:
        made = terms_module.parse(text.encode())
        write("terms", name, {"input": text, "expect": "ok", "hash": str(made.hash())})

    good("template-toml", terms_module.TEMPLATE)
    good("template-json", json.dumps(TERMS))
    hours = [{"days": ["mon", "fri"], "from": "08:00", "to": "24:00"}]
    good("hours", json.dumps({**TERMS, "windows": hours}))
    good("dates-toml", terms_module.TEMPLATE.replace("# not_", "not_"))

    faults: dict[str, tuple[str, Callable[[dict[str, Any]], None]]] = {
        "unknown-member": ("ManifestError", lambda d: d.update(price=1)),
        "later-version": ("UnsupportedVersion", lambda d: d.update(version=2)),
        "another-type": ("ManifestError", lambda d: d.update(type="modeldeed/license-card")),
        "empty-title": ("ManifestError", lambda d: d.update(title=" ")),
        "no-text": ("ManifestError", lambda d: d.pop("text")),
        "empty-territory": ("ManifestError", lambda d: d.update(territory=[])),
        "territory-lower-case": ("ManifestError", lambda d: d.update(territory=["de"])),
        "territory-unsorted": ("ManifestError", lambda d: d.update(territory=["FR", "DE"])),
        "any-with-others": ("ManifestError", lambda d: d.update(purposes=["any", "research"])),
        "unknown-evidence": ("ManifestError", lambda d: d.update(evidence=["dongle"])),
        "export-as-text": ("ManifestError", lambda d: d.update(export="no")),
        "impossible-date": (
            "ManifestError",
            lambda d: d.update(not_after="2026-02-30T00:00:00Z"),
        ),
        "window-reversed": (
            "ManifestError",
            lambda d: d.update(not_before="2027-01-01T00:00:00Z", not_after="2026-01-01T00:00:00Z"),
        ),
    }
    for fault, hour in (
        ("no-day", {"days": []}),
        ("days-unsorted", {"days": ["fri", "mon"]}),
        ("reversed", {"to": "07:59"}),
        ("past-midnight", {"to": "24:01"}),
        ("unknown-member", {"zone": "CET"}),
    ):
        document = {**copy.deepcopy(TERMS), "windows": [{**hours[0], **hour}]}
        write("terms", f"hours-{fault}", {"input": json.dumps(document), "expect": "ManifestError"})
    for name, (expect, change) in faults.items():
        document = copy.deepcopy(TERMS)
        change(document)
        write("terms", name, {"input": json.dumps(document), "expect": expect})
    twice = json.dumps(TERMS)[:-1] + ', "title": "again"}'
    write("terms", "member-twice", {"input": twice, "expect": "ManifestError"})
    write("terms", "neither-json-nor-toml", {"input": "= = =", "expect": "ManifestError"})


# -- license card --------------------------------------------------------------------------------


def make_cards() -> None:
    """License cards: the card, and its digest or the error."""
    member = CardBroker(1, KEYS.public.hash(), KEM.public.hash(), ("https://broker.example",))
    good = card_module.build(
        dev_wallet("licensor"),
        chain_id=CHAIN,
        ledger=LEDGER,
        registry=REGISTRY,
        broker_registry=BROKERS,
        license_id=LICENSE,
        model=MODEL,
        sealing=RECORD.to_json(),
        sealing_hash=RECORD.hash(),
        terms=TERMS,
        brokers=BrokerSet(1, 1, (member,)),
        files=(CardFile("model.sealed", 4096, RECORD.root),),
    )
    card = card_module.parse(good)
    facts = {
        "expect": "ok",
        "brokers_hash": str(card.brokers.hash()),
        "digest": str(card.domain.digest(card_module.CARD_TYPE, card.message())),
    }
    write("license-card", "valid", {"card": good, **facts})
    moved = copy.deepcopy(good)
    moved["files"][0]["url"] = "https://cdn.example/model.sealed"
    moved["brokers"]["members"][0]["urls"] = []
    write("license-card", "urls-refreshed", {"card": moved, **facts})

    def set_in(*path: Any) -> Callable[[dict[str, Any]], None]:
        *steps, last, value = path

        def change(document: dict[str, Any]) -> None:
            inner: Any = document
            for step in steps:
                inner = inner[step]
            inner[last] = value

        return change

    wrong = str(Digest(bytes(32)))
    faults: dict[str, tuple[str, Callable[[dict[str, Any]], None]]] = {
        "other-license": ("SignatureInvalid", set_in("license", "1.2")),
        "other-model": ("SignatureInvalid", set_in("model", wrong)),
        "other-sealing": ("SignatureInvalid", set_in("sealing", "hash", wrong)),
        "other-chain": ("SignatureInvalid", set_in("chain", "id", 1)),
        "other-ledger": ("SignatureInvalid", set_in("chain", "ledger", str(REGISTRY))),
        "other-broker-key": (
            "SignatureInvalid",
            set_in("brokers", "members", 0, "signing_key_hash", wrong),
        ),
        "other-licensor": (
            "SignatureInvalid",
            set_in("licensor", str(dev_wallet("rival").address)),
        ),
        "other-terms": ("ClaimMismatch", lambda d: d["terms"]["document"].update(export=True)),
        "signature-high-s": (
            "SignatureInvalid",
            lambda d: d.update(signature=high_s(d["signature"])),
        ),
        "signature-short": ("ManifestError", lambda d: d.update(signature=d["signature"][:-2])),
        "later-version": ("UnsupportedVersion", set_in("version", 2)),
        "unknown-member": ("ManifestError", set_in("price", 1)),
        "threshold-above-members": ("ManifestError", set_in("brokers", "threshold", 2)),
        "license-leading-zero": ("ManifestError", set_in("license", "01.1")),
    }
    for name, (expect, change) in faults.items():
        document = copy.deepcopy(good)
        change(document)
        write("license-card", name, {"card": document, "expect": expect})


def high_s(signature: str) -> str:
    """The malleable twin of a signature."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    raw = bytes.fromhex(signature[2:])
    s = order - int.from_bytes(raw[32:64], "big")
    return "0x" + (raw[:32] + s.to_bytes(32, "big") + bytes([55 - raw[64]])).hex()


# -- key release ---------------------------------------------------------------------------------


def main() -> int:
    """Write all vectors."""
    make_terms()
    make_cards()
    return 0


if __name__ == "__main__":
    sys.exit(main())
