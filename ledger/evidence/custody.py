"""The custody log: who handled a bundle, each entry chained to the one before by its hash.

The chain shows that no entry was removed, reordered or changed after later ones were written. A
signature shows whose account wrote an entry (and so all before it). Neither shows when: times are
the writer's own clock, and said to be so.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ledger.canonical import hash_json
from ledger.eip712 import recover
from ledger.errors import ManifestError, SignatureInvalid, UsageError, VerificationError
from ledger.evidence.bundle import PRINTED, VERIFIERS
from ledger.evidence.wording import is_plain
from ledger.ids import ZERO_DIGEST, Address, Digest, keccak256

TAG = "modeldeed/custody/1"
UNNAMED = "not named"
"""The actor of an entry whose writer gave no name."""
MAX_ENTRIES = 10_000
MAX_SIGNED = 256  # each is a key to recover, which takes plain integers a hundredth of a second
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)
_TEXTS = {"time": 20, "actor": 200, "action": 40, "note": 2000, "software": 80}


@dataclass(frozen=True, slots=True)
class Entry:
    """One act.

    Attributes:
        previous: hash of the entry before, zeros for the first.
        time: UTC, ``2026-11-22T11:40:00Z``, by the writer's clock: claimed, never proven.
        actor: who acted, in their own words.
        action: ``collected``, ``handed over``, ``received``, …
        contents: digest of the bundle's evidence at that time (`ledger.evidence.bundle`).
        printed: SHA-256 of the printed forms and verifier copies that the writer saw in it.
        signer: whose `signature` stands over the entry's hash (EIP-191); empty if nobody's.
    """

    sequence: int
    previous: Digest
    time: str
    actor: str
    action: str
    note: str
    software: str
    contents: Digest
    printed: Mapping[str, Digest] = field(default_factory=dict)
    signer: Address | None = None
    signature: bytes = b""

    def __post_init__(self) -> None:
        if not _TIME.fullmatch(self.time):
            raise UsageError(f"{self.time!r} is not a UTC time such as 2026-11-22T11:40:00Z")
        for name, limit in _TEXTS.items():
            text = getattr(self, name)
            if len(text) > limit or not is_plain(text):
                raise UsageError(f"a custody entry's {name} is one line of {limit} characters")
        if not set(self.printed) <= {*PRINTED, *VERIFIERS}:
            raise UsageError("a custody entry lists printed forms and copies of verifiers only")

    def hash(self) -> Digest:
        """What the next entry names as its previous one."""
        return hash_json(TAG, self._body())

    def message(self) -> Digest:
        """What a wallet signs: the hash as a signed message of 32 bytes (EIP-191)."""
        return Digest(keccak256(b"\x19Ethereum Signed Message:\n32" + self.hash().raw))

    def check_signature(self, *, step: int = 0) -> None:
        """The signature, if there is one, is the signer's.

        Raises:
            SignatureInvalid: it is another account's, or malformed.
        """
        if self.signer is None:
            return
        if len(self.signature) != 65 or self.signature[64] not in {27, 28}:
            raise SignatureInvalid("a custody signature has 65 bytes, v 27 or 28", step=step)
        if recover(self.message(), self.signature, step=step) != self.signer:
            raise SignatureInvalid(
                f"custody entry {self.sequence} is not signed by {self.signer}", step=step
            )

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``custody.json``."""
        signed = {} if self.signer is None else {"signature": "0x" + self.signature.hex()}
        return self._body() | {"hash": str(self.hash())} | signed

    def _body(self) -> dict[str, Any]:
        texts: dict[str, Any] = {name: getattr(self, name) for name in _TEXTS}
        if self.printed:
            texts["printed"] = {name: str(self.printed[name]) for name in sorted(self.printed)}
        if self.signer is not None:
            texts["signer"] = str(self.signer)
        return texts | {
            "sequence": self.sequence,
            "previous": str(self.previous),
            "contents": str(self.contents),
        }

    @classmethod
    def from_json(cls, document: Any) -> Entry:
        """Read one untrusted entry.

        Raises:
            ManifestError: other fields or types.
        """
        wanted = {*_TEXTS, "sequence", "previous", "contents", "hash"}
        more = {"printed", "signer", "signature"}
        if not isinstance(document, dict) or not wanted <= set(document) <= wanted | more:
            raise ManifestError("a custody entry has other fields")
        printed = document.get("printed", {})
        if (
            ("signer" in document) != ("signature" in document)
            or not isinstance(printed, dict)
            or ("printed" in document and not printed)
        ):
            raise ManifestError("a custody entry has other fields")
        if type(document["sequence"]) is not int or not all(
            isinstance(document[name], str) for name in wanted - {"sequence"}
        ):
            raise ManifestError("a custody entry's field has another type")
        try:
            return cls(
                sequence=document["sequence"],
                previous=Digest.parse(document["previous"]),
                contents=Digest.parse(document["contents"]),
                printed={name: Digest.parse(text) for name, text in printed.items()},
                signer=Address.parse(document["signer"]) if "signer" in document else None,
                signature=bytes.fromhex(document.get("signature", "0x").removeprefix("0x")),
                **{name: document[name] for name in _TEXTS},
            )
        except (UsageError, ValueError, TypeError, AttributeError) as error:
            raise ManifestError(str(error)) from None


def append(
    log: Sequence[Entry],
    *,
    time: str,
    actor: str,
    action: str,
    contents: Digest,
    software: str,
    note: str = "",
    printed: Mapping[str, Digest] | None = None,
    signer: Address | None = None,
    sign: Callable[[Digest], bytes] | None = None,
) -> tuple[Entry, ...]:
    """`log` with one more entry, signed if `signer` and `sign` are given.

    Args:
        log: the entries so far.
        time: by the writer's clock.
        actor: who acts.
        action: what they do.
        contents: digest of the evidence.
        software: name and version of the program that writes.
        note: one line.
        printed: SHA-256 of printed forms and verifier copies seen in the bundle.
        signer: the account that signs.
        sign: makes its 65-byte signature of a digest (`Entry.message`).

    Raises:
        UsageError: a text is too long or not one line, the time is not UTC, or the log is full.
    """
    if len(log) >= MAX_ENTRIES:
        raise UsageError(f"a custody log has at most {MAX_ENTRIES} entries")
    if sign is not None and sum(entry.signer is not None for entry in log) >= MAX_SIGNED:
        raise UsageError(f"a custody log has at most {MAX_SIGNED} signed entries")
    previous = log[-1].hash() if log else ZERO_DIGEST
    entry = Entry(
        *(len(log) + 1, previous, time, actor, action, note, software, contents),
        printed=dict(printed or {}),
        signer=signer,
    )
    if sign is not None:
        entry = replace(entry, signature=sign(entry.message()))
    return (*log, entry)


def read_log(document: Any, contents: Digest, *, step: int = 0) -> tuple[Entry, ...]:
    """Check an untrusted log against the evidence it speaks of.

    Raises:
        ManifestError: an entry breaks the format.
        VerificationError: the chain is broken, or an entry speaks of other evidence.
        SignatureInvalid: an entry's signature is not its signer's.
    """
    if not isinstance(document, list) or not 0 < len(document) <= MAX_ENTRIES:
        raise ManifestError("a custody log is a list of entries")
    if sum(isinstance(item, dict) and "signer" in item for item in document) > MAX_SIGNED:
        raise ManifestError(f"a custody log has at most {MAX_SIGNED} signed entries")
    previous = ZERO_DIGEST
    entries = []
    for sequence, item in enumerate(document, start=1):
        entry = Entry.from_json(item)
        if (entry.sequence, entry.previous) != (sequence, previous):
            raise VerificationError(
                f"custody entry {sequence} does not follow the one before", step=step
            )
        previous = entry.hash()
        if item != entry.to_json():
            raise VerificationError(f"custody entry {sequence} was changed", step=step)
        if entry.contents != contents:
            raise VerificationError(
                f"custody entry {sequence} speaks of other evidence than this bundle's", step=step
            )
        entry.check_signature(step=step)
        entries.append(entry)
    return tuple(entries)


def check_printed(
    log: Sequence[Entry],
    members: Mapping[str, bytes],
    collectors: frozenset[Address],
    *,
    step: int = 0,
) -> None:
    """Printed forms and verifier copies are those that the last entry to speak of them lists.

    Args:
        log: a log that `read_log` accepted.
        members: all members of the bundle.
        collectors: accounts whose word the reader takes; empty if the reader names none.
        step: number of the verification step.

    Raises:
        VerificationError: one was swapped or added, or the entry is not a collector's.
    """
    spoken = [entry for entry in log if entry.printed]
    listed = spoken[-1].printed if spoken else {}
    for name in (*PRINTED, *VERIFIERS):
        if name in members and listed.get(name) != Digest(hashlib.sha256(members[name]).digest()):
            raise VerificationError(
                f"{name} is not the one that the custody log lists: swapped, or added later",
                step=step,
            )
    for entry in spoken:
        if collectors and entry.signer not in collectors:
            raise VerificationError(
                f"custody entry {entry.sequence} is not signed by a collector that you named",
                step=step,
            )
