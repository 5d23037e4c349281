"""A bundle's index and members: what it says it is, and the bytes behind it.

``bundle.json`` lists every other member by size and SHA-256, and carries two digests of itself:
`contents`, over what is evidence, which custody entries quote and time-stamps cover, and which
stays the same when the log grows, a stamp is added or a member is withheld; and `id`, over
everything, which people quote.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ledger.canonical import canonical_json, hash_json, parse_json
from ledger.errors import (
    BundleFormatError,
    LedgerError,
    LimitExceeded,
    ManifestError,
    UnsupportedVersion,
    UsageError,
)
from ledger.evidence.archive import Archive, parse, read_archive, serialise
from ledger.evidence.wording import is_plain
from ledger.ids import Address, Digest, LicenseId, ModelId

FORMAT = "modeldeed evidence bundle"
VERSION = 1
INDEX = "bundle.json"
CUSTODY = "custody.json"
README = "README.txt"
REPORT = "report.json"
REPORT_TEXT = "report.txt"
# What people read, and the verifiers that a bundle carries for convenience: made from the evidence.
PRINTED = ("summary.pdf", "report.pdf", "report.html", "certification.txt")
VERIFIERS = ("verify.py", "verify.html")
TIMESTAMPS = "timestamps/"
# Members that accompany the evidence and are not part of its digest.
_BESIDE = {INDEX, CUSTODY, README, REPORT, REPORT_TEXT, *PRINTED, *VERIFIERS}
# What a bundle may be about, and the key of ``bundle.json`` that says which one.
KINDS = {"model": None, "license": "license", "release": "release", "match": "suspect"}
MAX_SUSPECT_NAME = 200
# Commas and opening brackets of all JSON: how many values a reader makes objects of.
MAX_JSON_PARTS = 4_000_000
_CONTENTS_TAG = "modeldeed/bundle-contents/1"
_ID_TAG = "modeldeed/bundle/1"

# Every name a member of a version 1 bundle can have.
_MEMBER = re.compile(
    r"README\.txt|(?:bundle|claim|manifest|fingerprint|commitment|sealing|licenses|custody|report)"
    r"\.json|report\.txt|headers/(?:0|[1-9][0-9]{0,17})\.rlp|(?:state|code)/[A-Za-z]{1,40}\.(?:json|bin)"
    r"|receipts/[0-9]{1,18}-[0-9]{1,9}\.json|(?:tensors|terms)/[0-9a-f]{64}\.json"
    r"|cards/[0-9]{1,10}\.[0-9]{1,10}\.json|releases/[1-9][0-9]{0,8}\.json|match\.json"
    r"|timestamps/(?:[1-9][0-9]{0,2}\.(?:tsr|pem|crl)|bitcoin\.ots|[1-9][0-9]{0,8}\.header)"
    r"|verify\.(?:py|html)|(?:summary|report)\.pdf|report\.html|certification\.txt"
)
# Members whose bytes may be left out while the index goes on listing them.
_WITHHOLDABLE = re.compile(r"fingerprint\.json|match\.json|(?:tensors|cards|terms|releases)/.+")

README_BODY = """\
Verify this file with your own copy of the verifier, not with one that came with it.

This is an evidence bundle of modeldeed, format version 1 (docs/spec/evidence-bundle.md).
Get a verifier from a source you trust, not from here. None needs a network:

    deed evidence verify THIS_FILE --block HASH     of the modeldeed package
    python verify.py THIS_FILE --block HASH         one file, Python's standard library
    verify.html                                     a page: open it, drop THIS_FILE on it

HASH is the hash of the block named in report.txt, obtained elsewhere: from a node of
your own, from two block explorers, from an expert. Without it the verifier says what
the bundle proves if that block belongs to the chain it names.

Do not unpack this file and pack it again: it has exactly one valid form.
"""


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract the evidence rests on."""

    name: str
    address: Address
    code_hash: Digest


@dataclass(frozen=True, slots=True)
class Subject:
    """What a bundle is about: a model, on a chain, as of a block, and what of it.

    Attributes:
        genesis: hash of block 0, as the collector's node showed it.
        block: number of the block whose state is proved.
        software: name and version of the collecting program.
        kind: one of `KINDS`.
        about: what ``bundle.json`` says under that kind's key: the license; the license and the
            hash of the receipt; SHA-256, size and name of the suspect. None for a model.
    """

    chain_id: int
    genesis: Digest
    model_id: ModelId
    block: int
    block_hash: Digest
    contracts: tuple[Contract, ...]
    software: str
    kind: str = "model"
    about: Any = None

    def contract(self, name: str) -> Contract:
        """The contract of that name.

        Raises:
            ManifestError: the bundle names none.
        """
        for contract in self.contracts:
            if contract.name == name:
                return contract
        raise ManifestError(f"the bundle names no {name} contract")

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``bundle.json``."""
        key = KINDS[self.kind]
        return ({} if key is None else {key: self.about}) | {
            "kind": self.kind,
            "software": self.software,
            "chain": {"id": self.chain_id, "genesis": str(self.genesis)},
            "model": str(self.model_id),
            "state": {"block": self.block, "hash": str(self.block_hash)},
            "contracts": {
                contract.name: {
                    "address": str(contract.address),
                    "code_hash": str(contract.code_hash),
                }
                for contract in self.contracts
            },
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Subject:
        """Read the untrusted fields of ``bundle.json``.

        Raises:
            BundleFormatError: another kind, or malformed fields.
        """
        try:
            chain_id, block = document["chain"]["id"], document["state"]["block"]
            typed = type(chain_id) is int and type(block) is int and min(chain_id, block) >= 0
            kind = document["kind"]
            if not (typed and kind in KINDS and type(document["software"]) is str):
                raise BundleFormatError(f"{INDEX} does not describe a model's evidence")
            key = KINDS[kind]
            return cls(
                chain_id=chain_id,
                genesis=Digest.parse(document["chain"]["genesis"]),
                model_id=ModelId.parse(document["model"]),
                block=block,
                block_hash=Digest.parse(document["state"]["hash"]),
                contracts=tuple(
                    Contract(name, Address.parse(of["address"]), Digest.parse(of["code_hash"]))
                    for name, of in sorted(document["contracts"].items())
                ),
                software=document["software"],
                kind=kind,
                about=None if key is None else _about(key, document[key]),
            )
        except (KeyError, TypeError, AttributeError, UsageError):
            raise BundleFormatError(f"{INDEX} does not describe a model's evidence") from None


@dataclass(frozen=True)
class Bundle:
    """A bundle as read: nothing in it is verified yet except its form.

    Attributes:
        listed: what ``bundle.json`` lists: size and SHA-256 by member.
        withheld: those of them that it says were left out.
        damaged: members whose archive checksum fails.
        index_bytes: ``bundle.json`` itself.
    """

    subject: Subject
    listed: Mapping[str, tuple[int, Digest]]
    contents: Digest
    id: Digest
    members: Mapping[str, bytes]
    damaged: tuple[str, ...]
    index_bytes: bytes
    withheld: frozenset[str] = frozenset()

    def json(self, name: str) -> Any:
        """A JSON member; only its canonical form counts.

        Raises:
            ManifestError: no such member, or not canonical JSON.
        """
        data = self.member(name)
        document = parse_json(data, what=name)
        if canonical_json(document) != data:
            raise ManifestError(f"{name} is not in canonical form")
        return document

    def member(self, name: str) -> bytes:
        """A member's bytes.

        Raises:
            ManifestError: no such member.
        """
        if name not in self.members:
            raise ManifestError(f"the bundle has no {name}")
        return self.members[name]

    def folder(self, name: str) -> dict[str, bytes]:
        """Members below a folder, by the rest of their names."""
        prefix = name + "/"
        return {
            key.removeprefix(prefix): data
            for key, data in self.members.items()
            if key.startswith(prefix)
        }

    def listing(self) -> dict[str, tuple[int, Digest]]:
        """Size and SHA-256 of the members that are really here."""
        return {
            entry["name"]: (entry["size"], Digest.parse(entry["sha256"]))
            for entry in _listing(self.members, {})
        }

    @cached_property
    def computed_contents(self) -> Digest:
        """The digest of the evidence that is really here."""
        return contents_of(self.subject, self.members, self.left_out)

    @cached_property
    def computed_index(self) -> bytes:
        """The ``bundle.json`` that these members should have."""
        return _index_bytes(self.subject, self.members, self.left_out)

    @property
    def left_out(self) -> dict[str, tuple[int, Digest]]:
        """Size and SHA-256 of the members withheld, as listed."""
        return {name: self.listed[name] for name in sorted(self.withheld)}


def is_evidence(name: str) -> bool:
    """Whether `contents` covers a member."""
    return name not in _BESIDE and not name.startswith(TIMESTAMPS)


def may_be_withheld(name: str) -> bool:
    """Whether a member's bytes may be left out: never the proofs, the claim or the custody log."""
    return bool(_MEMBER.fullmatch(name) and _WITHHOLDABLE.fullmatch(name))


def contents_of(
    subject: Subject,
    members: Mapping[str, bytes],
    withheld: Mapping[str, tuple[int, Digest]] | None = None,
) -> Digest:
    """Digest of a bundle's evidence: its subject and every member but the accompanying ones.

    Args:
        subject: what it is about.
        members: those that are here.
        withheld: size and SHA-256 of those left out; they count as if they were here.
    """
    listed = [
        {key: value for key, value in entry.items() if key != "withheld"}
        for entry in _listing(members, withheld or {})
        if is_evidence(entry["name"])
    ]
    return hash_json(_CONTENTS_TAG, subject.to_json() | {"members": listed})


def pack(
    subject: Subject,
    members: Mapping[str, bytes],
    withheld: Mapping[str, tuple[int, Digest]] | None = None,
) -> bytes:
    """The bundle file that holds these members (all but ``bundle.json``, which is made here).

    Args:
        subject: what it is about.
        members: those that are here.
        withheld: size and SHA-256 of those that are listed and left out (`Bundle.left_out`).

    Raises:
        BundleFormatError: a member's name is not allowed.
        LimitExceeded: too many members, or too many bytes.
    """
    others = {name: data for name, data in members.items() if name != INDEX}
    return serialise({**others, INDEX: _index_bytes(subject, others, withheld or {})})


def read_bundle(path: Path) -> Bundle:
    """Read a bundle file's form, bounded; verify nothing.

    Raises:
        UsageError: the file cannot be read.
        BundleFormatError: not a bundle.
        LimitExceeded: larger than a bundle may be.
        UnsupportedVersion: of another format version.
    """
    return _interpret(read_archive(path))


def parse_bundle(data: bytes) -> Bundle:
    """`read_bundle` for bytes in memory."""
    return _interpret(parse(data))


def _interpret(archive: Archive) -> Bundle:
    parts = sum(
        data.count(mark)
        for name, data in archive.members.items()
        if name.endswith(".json")
        for mark in (b",", b"[", b"{")
    )
    if parts > MAX_JSON_PARTS:
        raise LimitExceeded(
            f"the JSON of a bundle has at most {MAX_JSON_PARTS} commas and opening brackets"
        )
    if INDEX not in archive.members:
        raise BundleFormatError(f"there is no {INDEX}: this zip file is not an evidence bundle")
    try:
        document = parse_json(archive.members[INDEX], what=INDEX)
        canonical = canonical_json(document) == archive.members[INDEX]
    except LedgerError as error:
        raise BundleFormatError(f"{INDEX} cannot be read: {error}") from None
    if not canonical or not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BundleFormatError(f"{INDEX} is not a bundle's index in canonical form")
    if document.get("version") != VERSION:
        raise UnsupportedVersion(f"evidence bundle version {document.get('version')!r} is not read")
    for name in archive.members:
        if not _MEMBER.fullmatch(name):
            raise BundleFormatError(f"{name} is not a member of a version {VERSION} bundle")
    subject = Subject.from_json(document)
    try:
        listed = {
            entry["name"]: (entry["size"], Digest.parse(entry["sha256"]))
            for entry in document["members"]
        }
        withheld = frozenset(
            entry["name"] for entry in document["members"] if entry.get("withheld") is True
        )
        contents, identity = Digest.parse(document["contents"]), Digest.parse(document["id"])
    except (KeyError, TypeError, AttributeError, UsageError):
        raise BundleFormatError(f"{INDEX} does not list the members") from None
    if not all(type(name) is str and type(of[0]) is int for name, of in listed.items()):
        raise BundleFormatError(f"{INDEX} does not list the members")
    members = {name: data for name, data in archive.members.items() if name != INDEX}
    return Bundle(
        subject,
        listed,
        contents,
        identity,
        members,
        archive.damaged,
        archive.members[INDEX],
        withheld,
    )


def _about(key: str, value: Any) -> Any:
    """What a bundle of a kind other than a model is about, in the one spelling it can have."""
    if key == "license":
        known: Any = str(LicenseId.parse(value))
    elif key == "release":
        known = {
            "license": str(LicenseId.parse(value["license"])),
            "receipt": str(Digest.parse(value["receipt"])),
        }
    else:
        size, name = value["size"], value["name"]
        if not (type(size) is int and size >= 0 and isinstance(name, str) and is_plain(name)):
            raise BundleFormatError(f"{INDEX} does not describe a suspect")
        if not 0 < len(name) <= MAX_SUSPECT_NAME:
            raise BundleFormatError(f"{INDEX} does not name a suspect")
        known = {"sha256": str(Digest.parse(value["sha256"])), "size": size, "name": name}
    if known != value:
        raise BundleFormatError(f"{INDEX} does not say what it is about")
    return known


def _listing(
    members: Mapping[str, bytes], withheld: Mapping[str, tuple[int, Digest]]
) -> list[dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {
        name: {
            "name": name,
            "size": len(data),
            "sha256": "0x" + hashlib.sha256(data).hexdigest(),
        }
        for name, data in members.items()
    }
    for name, (size, digest) in withheld.items():
        # A member that is here is never counted as left out: check_contents refuses the pair.
        entry = {"name": name, "size": size, "sha256": str(digest), "withheld": True}
        entries.setdefault(name, entry)
    return [entries[name] for name in sorted(entries)]


def _index_bytes(
    subject: Subject,
    members: Mapping[str, bytes],
    withheld: Mapping[str, tuple[int, Digest]],
) -> bytes:
    index = {
        "format": FORMAT,
        "version": VERSION,
        **subject.to_json(),
        "members": _listing(members, withheld),
        "contents": str(contents_of(subject, members, withheld)),
    }
    return canonical_json(index | {"id": str(hash_json(_ID_TAG, index))})
