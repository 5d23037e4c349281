"""What a JSON file of ours is, and which command takes it: for whoever gave another one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from ledger.canonical import parse_json
from ledger.errors import FormatError, UsageError

_MAX: Final = 4 << 20
KINDS: Final[dict[str, tuple[str, str]]] = {
    "modeldeed/runtime-request": (
        "a runtime's request file",
        "the holder takes it: deed runtime grant; of a worker: deed runtime fleet certify",
    ),
    "modeldeed/fleet-request": (
        "a fleet's request file",
        "the license's holder takes it: deed runtime grant",
    ),
    "modeldeed/runtime-grant": (
        "a holder's grant file",
        "the machine takes it: deed runtime accept; a fleet's: deed runtime fleet certify",
    ),
    "modeldeed/grant-to-sign": (
        "a grant that a wallet still has to sign",
        "signed, it goes back: deed runtime grant --signature-file",
    ),
    "modeldeed/runtime-identity": (
        "a runtime's secret key file",
        "it stays on its machine; deed runtime init writes the request file to send",
    ),
    "modeldeed/fleet-identity": (
        "a fleet's secret key file",
        "it is for deed runtime fleet certify --key-file, and stays where workers are scheduled",
    ),
    "modeldeed/offline-request": (
        "a key request carried as a file",
        "the broker's operator takes it: deed broker answer",
    ),
    "modeldeed/offline-response": (
        "a broker's answer to a carried request",
        "the runtime's machine takes it: deed runtime accept-release",
    ),
    "modeldeed/license-card": (
        "a license card",
        "deed check and deed open take it, deed runtime request for a host without a network",
    ),
    "modeldeed/receipt-proof": (
        "the proof of a broker's receipt",
        "deed broker receipt FILE checks it, deed broker audit URL --receipt looks for it",
    ),
    "modeldeed/broker-head": (
        "a broker's signed head",
        "deed broker audit URL --seen takes it",
    ),
    "modeldeed/recovery-share": (
        "one person's share of a recovery file",
        "deed broker restore takes as many as it needs",
    ),
    "modeldeed/recovery": (
        "a recovery file",
        "deed broker restore and deed broker export take it",
    ),
    "modeldeed/watermark-record": (
        "an opened watermark record",
        "deed watermark detect takes it",
    ),
    "modeldeed/hold-release-to-sign": (
        "a hold release that a wallet still has to sign",
        "signed, it goes back: deed license release-hold --signature-file",
    ),
    "modeldeed/escrow": ("an escrow document", "deed escrow show and deed escrow request take it"),
    "modeldeed/escrow-request": ("a request to escrow agents", "deed escrow answer takes it"),
    "modeldeed/escrow-answer": ("an escrow agent's answer", "deed escrow join takes it"),
    "modeldeed/escrow-key": ("a key joined from escrow", "deed open --escrow-key takes it"),
    "modeldeed-triggers": (
        "a trigger record, its owner's secret",
        "deed watermark triggers disclose writes of it what is shown to others",
    ),
    "modeldeed/triggers-disclosure": (
        "a disclosure of triggers",
        "deed watermark triggers verify takes it",
    ),
}


def require_kind(document: Any, path: Path, *wanted: str) -> Any:
    """Refuse a file of ours that is of another kind; what is none of ours, its reader refuses.

    Args:
        document: what the file holds.
        path: the file.
        wanted: the types that the command takes.

    Raises:
        UsageError: it is one of another type.
    """
    kind = None
    if isinstance(document, dict):
        # Files under a passphrase tell their purpose and no type.
        kind = document.get("type", document.get("purpose"))
    if not isinstance(kind, str) or kind in wanted:
        return document
    # A release or refusal is signed as it stands, and has a short type.
    found, takes = KINDS.get(kind, (None, ""))
    if found is None and "receipt" in document and "signature" in document:
        found, takes = f"a broker's signed reply ({kind[:20]})", "it is for keeping, as evidence"
    if found is None:
        return document
    names = " or ".join(KINDS[each][0] for each in wanted if each in KINDS)
    raise UsageError(f"{path} is {found}, and {names} is wanted here", hint=takes)


def require_recovery(paths: Iterable[Path]) -> None:
    """The same of recovery files and shares of them, before a passphrase is asked for.

    Raises:
        UsageError: one is a file of ours of another kind.
    """
    for path in paths:
        with contextlib.suppress(FormatError, OSError), path.open("rb") as handle:
            document = parse_json(handle.read(_MAX + 1), what=str(path), limit=_MAX)
            require_kind(document, path, "modeldeed/recovery", "modeldeed/recovery-share")
