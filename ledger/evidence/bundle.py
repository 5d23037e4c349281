"""A bundle's index and members: what it says it is, and the bytes behind it.

``bundle.json`` lists every other member by size and SHA-256, and carries two digests of itself:
`contents`, over what is evidence, which custody entries quote and which stays the same when the log
grows; and `id`, over everything, which people quote.
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
    ManifestError,
    UnsupportedVersion,
    UsageError,
)
from ledger.evidence.archive import Archive, parse, read_archive, serialise
from ledger.ids import Address, Digest, ModelId

FORMAT = "modeldeed evidence bundle"
VERSION = 1
INDEX = "bundle.json"
CUSTODY = "custody.json"
README = "README.txt"
REPORT = "report.json"
REPORT_TEXT = "report.txt"
# Members that accompany the evidence and are not part of its digest.
_BESIDE = {INDEX, CUSTODY, README, REPORT, REPORT_TEXT}
_CONTENTS_TAG = "modeldeed/bundle-contents/1"
_ID_TAG = "modeldeed/bundle/1"

# Every name a member of a version 1 bundle can have.
_MEMBER = re.compile(
    r"README\.txt|(?:bundle|claim|manifest|fingerprint|commitment|sealing|licenses|custody|report)"
    r"\.json|report\.txt|headers/(?:0|[1-9][0-9]{0,17})\.rlp|(?:state|code)/[A-Za-z]{1,40}\.(?:json|bin)"
    r"|receipts/[0-9]{1,18}-[0-9]{1,9}\.json|(?:tensors|terms)/[0-9a-f]{64}\.json"
    r"|cards/[0-9]{1,10}\.[0-9]{1,10}\.json"
)

README_BODY = """\
Verify this file with your own copy of the verifier, not with one that came with it.

This is an evidence bundle of modeldeed, format version 1 (docs/spec/evidence-bundle.md).
Install modeldeed from a source you trust, then, without any network:

    deed evidence verify THIS_FILE --block HASH

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
    """What a bundle is about: a model, on a chain, as of a block.

    Attributes:
        genesis: hash of block 0, as the collector's node showed it.
        block: number of the block whose state is proved.
        software: name and version of the collecting program.
    """

    chain_id: int
    genesis: Digest
    model_id: ModelId
    block: int
    block_hash: Digest
    contracts: tuple[Contract, ...]
    software: str

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
        return {
            "kind": "model",
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
            if not (typed and document["kind"] == "model" and type(document["software"]) is str):
                raise BundleFormatError(f"{INDEX} does not describe a model's evidence")
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
            )
        except (KeyError, TypeError, AttributeError, UsageError):
            raise BundleFormatError(f"{INDEX} does not describe a model's evidence") from None


@dataclass(frozen=True)
class Bundle:
    """A bundle as read: nothing in it is verified yet except its form.

    Attributes:
        listed: what ``bundle.json`` lists: size and SHA-256 by member.
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
            for entry in _listing(self.members)
        }

    @cached_property
    def computed_contents(self) -> Digest:
        """The digest of the evidence that is really here."""
        return contents_of(self.subject, self.members)

    @cached_property
    def computed_index(self) -> bytes:
        """The ``bundle.json`` that these members should have."""
        return _index_bytes(self.subject, self.members)


def contents_of(subject: Subject, members: Mapping[str, bytes]) -> Digest:
    """Digest of a bundle's evidence: its subject and every member but the accompanying ones."""
    evidence = {name: data for name, data in members.items() if name not in _BESIDE}
    return hash_json(_CONTENTS_TAG, subject.to_json() | {"members": _listing(evidence)})


def pack(subject: Subject, members: Mapping[str, bytes]) -> bytes:
    """The bundle file that holds these members (all but ``bundle.json``, which is made here).

    Raises:
        BundleFormatError: a member's name is not allowed.
        LimitExceeded: too many members, or too many bytes.
    """
    others = {name: data for name, data in members.items() if name != INDEX}
    return serialise({**others, INDEX: _index_bytes(subject, others)})


def read_bundle(path: Path) -> Bundle:
    """Read a bundle file's form, bounded; verify nothing.

    Raises:
        BundleFormatError: not a bundle.
        LimitExceeded: larger than a bundle may be.
        UnsupportedVersion: of another format version.
    """
    return _interpret(read_archive(path))


def parse_bundle(data: bytes) -> Bundle:
    """`read_bundle` for bytes in memory."""
    return _interpret(parse(data))


def _interpret(archive: Archive) -> Bundle:
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
        contents, identity = Digest.parse(document["contents"]), Digest.parse(document["id"])
    except (KeyError, TypeError, AttributeError, UsageError):
        raise BundleFormatError(f"{INDEX} does not list the members") from None
    members = {name: data for name, data in archive.members.items() if name != INDEX}
    return Bundle(
        subject, listed, contents, identity, members, archive.damaged, archive.members[INDEX]
    )


def _listing(members: Mapping[str, bytes]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "size": len(members[name]),
            "sha256": "0x" + hashlib.sha256(members[name]).hexdigest(),
        }
        for name in sorted(members)
    ]


def _index_bytes(subject: Subject, members: Mapping[str, bytes]) -> bytes:
    index = {
        "format": FORMAT,
        "version": VERSION,
        **subject.to_json(),
        "members": _listing(members),
        "contents": str(contents_of(subject, members)),
    }
    return canonical_json(index | {"id": str(hash_json(_ID_TAG, index))})
