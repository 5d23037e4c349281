"""The claim: what a licensor says about a model, bound into one self-certifying model id.

The id is the Keccak-256 of the ABI-encoded tuple that ``ModelRegistry`` hashes, so whoever holds a
claim computes its id without asking anyone. The manifest names the model's files; it holds only
facts that never change. Both are defined in ``docs/spec/claim.md``.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from ledger.canonical import hash_json
from ledger.errors import ManifestError, UsageError
from ledger.ids import Address, Digest, ModelId, keccak256
from ledger.merkle import T2
from ledger.tensors.dtypes import DTYPES
from ledger.tensors.model import ModelSource

CLAIM_FORMAT: Final = "modeldeed/claim/1"
MANIFEST_FORMAT: Final = "modeldeed/manifest/1"
MODEL_DOMAIN: Final = Digest(keccak256(b"modeldeed/model/1"))
COMMIT_TAG: Final = b"modeldeed/commit/1"
MAX_PARENTS: Final = 8
MAX_TEXT: Final = 4096

_DIGESTS = (
    "artifact_root",
    "fingerprint_digest",
    "watermark_commitment",
    "manifest_hash",
    "salt",
)
_FIELDS = {"format", "chain_id", "registry", "licensor", "parents", *_DIGESTS}
_READ_BYTES = 1 << 20


def commitment_leaf(model_id: ModelId) -> Digest:
    """The T2 leaf that commits to a model id (docs/spec/claim.md)."""
    return Digest(T2.leaf(COMMIT_TAG + model_id.raw))


@dataclass(frozen=True, slots=True)
class Claim:
    """The preimage of a model id.

    Attributes:
        chain_id: EIP-155 id of the chain.
        registry: the ModelRegistry there.
        licensor: the account that holds the title at registration.
        artifact_root: ``content_root`` of the core fingerprint.
        fingerprint_digest: ``content_id()`` of the deep fingerprint.
        watermark_commitment: phase A commitment, or zero when there is no watermark.
        manifest_hash: hash of the manifest.
        parents: models this one was made from; at most 8, strictly ascending.
        salt: 32 random bytes, so that the id tells nothing before the claim is opened.
    """

    chain_id: int
    registry: Address
    licensor: Address
    artifact_root: Digest
    fingerprint_digest: Digest
    watermark_commitment: Digest
    manifest_hash: Digest
    parents: tuple[ModelId, ...]
    salt: Digest

    def __post_init__(self) -> None:
        if type(self.chain_id) is not int or not 0 < self.chain_id < 1 << 53:
            raise ManifestError("a claim's chain id is a whole number between 1 and 2^53")
        if len(self.parents) > MAX_PARENTS:
            raise ManifestError(f"a claim names at most {MAX_PARENTS} parents")
        if any(a.raw >= b.raw for a, b in zip(self.parents, self.parents[1:], strict=False)):
            raise ManifestError(
                "a claim's parents repeat or are out of order",
                hint="name each parent once, in ascending order of their ids",
            )

    def model_id(self) -> ModelId:
        """The id under which the registry knows this claim.

        ``keccak256(abi.encode(DOMAIN, chainid, registry, licensor, artifactRoot,
        fingerprintDigest, watermarkCommitment, manifestHash, keccak256(parents), salt))``
        """
        words = (
            MODEL_DOMAIN.raw,
            self.chain_id.to_bytes(32, "big"),
            self.registry.raw.rjust(32, b"\0"),
            self.licensor.raw.rjust(32, b"\0"),
            self.artifact_root.raw,
            self.fingerprint_digest.raw,
            self.watermark_commitment.raw,
            self.manifest_hash.raw,
            keccak256(b"".join(parent.raw for parent in self.parents)),
            self.salt.raw,
        )
        return ModelId(keccak256(b"".join(words)))

    def commitment_leaf(self) -> Digest:
        """The T2 leaf that is anchored before the claim is opened: it reveals nothing of it."""
        return commitment_leaf(self.model_id())

    def to_json(self) -> dict[str, Any]:
        """As JSON; digests are 0x text, addresses carry their checksum."""
        return {
            "format": CLAIM_FORMAT,
            "chain_id": self.chain_id,
            "registry": str(self.registry),
            "licensor": str(self.licensor),
            **{name: str(getattr(self, name)) for name in _DIGESTS},
            "parents": [str(parent) for parent in self.parents],
        }

    @classmethod
    def from_json(cls, document: Any) -> Claim:
        """Read untrusted JSON.

        Raises:
            ManifestError: a field is missing, unknown, or not what it should be.
        """
        if not isinstance(document, dict) or document.get("format") != CLAIM_FORMAT:
            raise ManifestError(f"the document is not a {CLAIM_FORMAT}")
        if document.keys() != _FIELDS:
            odd = sorted(str(name)[:40] for name in document.keys() ^ _FIELDS)
            raise ManifestError(f"the claim lacks, or should not have, {', '.join(odd[:5])}")
        texts = [document[name] for name in ("registry", "licensor", *_DIGESTS)]
        parents = document["parents"]
        if not isinstance(parents, list) or not all(isinstance(t, str) for t in texts + parents):
            raise ManifestError("the claim's addresses, digests and parents are not texts")
        return cls(
            chain_id=document["chain_id"],
            registry=_read("registry", Address, document["registry"]),
            licensor=_read("licensor", Address, document["licensor"]),
            parents=tuple(_read("parents", ModelId, parent) for parent in parents),
            **{name: _read(name, Digest, document[name]) for name in _DIGESTS},
        )


_Id = TypeVar("_Id", Address, Digest, ModelId)


def _read(field: str, kind: type[_Id], text: str) -> _Id:
    try:
        return kind.parse(text)
    except UsageError as error:
        raise ManifestError(f"the claim's {field} is malformed: {error.message}") from None


def build_manifest(
    model: ModelSource, *, title: str, version: str = "1", description: str = ""
) -> dict[str, Any]:
    """The manifest of a model: what it is called and the digest of each of its files.

    Reads every file once. Sealing facts do not belong here: they change with each sealing.

    Raises:
        TensorFileError: a file cannot be read, or changed meanwhile.
        ManifestError: a text is empty where it must not be, or too long.
    """
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        digests = list(pool.map(lambda index: _sha256(model, index), range(len(model.members))))
    manifest = {
        "format": MANIFEST_FORMAT,
        "title": unicodedata.normalize("NFC", title),
        "version": version,
        "description": description,
        "weights_format": "safetensors",
        "files": [
            {
                "name": member.name,
                "size": member.size,
                "sha256": str(digest),
                "role": member.role,
            }
            for member, digest in zip(model.members, digests, strict=True)
        ],
        "n_params": sum(i.elements for i in model.tensors if DTYPES[i.dtype].kind == "float"),
        "dtypes": dict(sorted(Counter(info.dtype for info in model.tensors).items())),
    }
    model.ensure_unchanged()
    check_manifest(manifest)
    return manifest


def check_manifest(document: Any) -> None:
    """Check that untrusted JSON is a manifest.

    Raises:
        ManifestError: a field is missing, unknown, or not what it should be.
    """
    shape: dict[str, type] = {
        "format": str,
        "title": str,
        "version": str,
        "description": str,
        "weights_format": str,
        "files": list,
        "n_params": int,
        "dtypes": dict,
    }
    _check_shape(document, shape, "the manifest")
    if document["format"] != MANIFEST_FORMAT:
        raise ManifestError(f"the document is not a {MANIFEST_FORMAT}")
    if not document["title"].strip() or not document["version"].strip():
        raise ManifestError("a manifest needs a title and a version", hint="pass --title")
    if max(len(document[name]) for name in ("title", "version", "description")) > MAX_TEXT:
        raise ManifestError(f"a manifest's texts have at most {MAX_TEXT} characters")
    for entry in document["files"]:
        _check_shape(entry, {"name": str, "size": int, "sha256": str, "role": str}, "a file of it")
        try:
            Digest.parse(entry["sha256"])
        except UsageError as error:
            raise ManifestError(f"the manifest's {entry['name'][:80]!r}: {error}") from None
        if entry["role"] not in {"weights", "side"} or entry["size"] < 0:
            raise ManifestError(f"the manifest's {entry['name'][:80]!r} has no such role or size")
    names = [entry["name"] for entry in document["files"]]
    if not names or names != sorted(set(names)):
        raise ManifestError("the manifest's files are missing, repeated or out of order")
    for name, count in document["dtypes"].items():
        if name not in DTYPES or type(count) is not int or count < 1:
            raise ManifestError(f"the manifest's dtypes hold {str(name)[:40]!r}")


def manifest_hash(manifest: dict[str, Any]) -> Digest:
    """What a claim carries of its manifest.

    Raises:
        ManifestError: not a manifest.
    """
    check_manifest(manifest)
    return hash_json(MANIFEST_FORMAT, manifest)


def _check_shape(document: Any, shape: dict[str, type], what: str) -> None:
    # `type is` on purpose: True is an int to isinstance.
    if not isinstance(document, dict) or document.keys() != shape.keys():
        raise ManifestError(f"{what} does not have exactly the fields {', '.join(shape)}")
    for name, kind in shape.items():
        if type(document[name]) is not kind:
            raise ManifestError(f"{what} has a {name} that is not of the right kind")


def _sha256(model: ModelSource, member: int) -> Digest:
    hasher = hashlib.sha256()
    size = model.members[member].size
    room = memoryview(bytearray(min(_READ_BYTES, size)))
    for start in range(0, size, _READ_BYTES):
        data = room[: min(_READ_BYTES, size - start)]
        model.read_at(member, start, data)
        hasher.update(data)
    return Digest(hasher.digest())
