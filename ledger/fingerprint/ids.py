"""A model's tensor ids without its blueprint: made public so that copies are found.

The list names no tensor and gives no shape. It is bound to the registered claim all the same: the
content ids lead to ``content_root``, and together with the named root and the parameter count they
give the ``contentId`` that the claim carries (docs/spec/fingerprint.md, "Public tensor ids"). Only
the ids of casts are bound by nothing.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from ledger.errors import ClaimMismatch, LimitExceeded, ManifestError, UsageError
from ledger.fingerprint.exact import Fingerprint
from ledger.fingerprint.search import registered_casts
from ledger.ids import Digest
from ledger.merkle import T1

FORMAT: Final = "mfp1-ids"
MAX_IDS: Final = 1 << 20
CASTS_PER_CID: Final = 4
"""Content id and value id of two casts."""
_MEMBERS = {"format", "cids", "vids", "named_root", "n_params"}


@dataclass(frozen=True, slots=True)
class TensorIds:
    """The distinct content and value-multiset ids of a model, each sorted.

    Attributes:
        cids: content ids.
        vids: value-multiset ids.
        named_root: root over names and content ids; hides the names.
        n_params: number of floating-point elements.
        casts: ids of the half-precision casts of float32 tensors. No root covers them: they are
            the word of whoever made the list.
    """

    cids: tuple[Digest, ...]
    vids: tuple[Digest, ...]
    named_root: Digest
    n_params: int
    casts: tuple[Digest, ...] = ()

    @classmethod
    def of(cls, made: Fingerprint) -> TensorIds:
        """The ids of a deep fingerprint.

        Raises:
            UsageError: the fingerprint is only core.
        """
        if made.vmd_root is None:
            raise UsageError("public ids need the deep fingerprint", hint="compute it with --deep")
        carriers = [tensor for tensor in made.tensors if tensor.identity]
        return cls(
            tuple(sorted({tensor.cid for tensor in carriers})),
            tuple(sorted({tensor.vid for tensor in carriers if tensor.vid is not None})),
            made.named_root,
            made.n_params,
            registered_casts(made),
        )

    def content_root(self) -> Digest:
        """T1 root over the content ids: the claim's artifact root."""
        return _root(b"\x20", self.cids)

    def content_id(self) -> Digest:
        """The claim's fingerprint digest."""
        roots = self.content_root().raw + _root(b"\x21", self.vids).raw + self.named_root.raw
        return Digest(hashlib.sha256(b"\x2f" + roots + struct.pack("<Q", self.n_params)).digest())

    def verify(self, artifact_root: Digest, fingerprint_digest: Digest) -> None:
        """Hold the list against a registered claim, all but its casts.

        Raises:
            ClaimMismatch: it is another model's.
        """
        if self.content_root() != artifact_root or self.content_id() != fingerprint_digest:
            raise ClaimMismatch(
                "the tensor ids do not lead to the registered fingerprint",
                hint="they describe another model",
            )

    def to_json(self) -> dict[str, Any]:
        """As JSON; digests are 0x text."""
        casts = {"casts": [str(cast) for cast in self.casts]} if self.casts else {}
        return {
            "format": FORMAT,
            "cids": [str(cid) for cid in self.cids],
            "vids": [str(vid) for vid in self.vids],
            "named_root": str(self.named_root),
            "n_params": self.n_params,
            **casts,
        }

    @classmethod
    def from_json(cls, document: Any) -> TensorIds:
        """Read untrusted JSON.

        Raises:
            ManifestError: not a list of tensor ids, not sorted and distinct, or with more casts
                than so many tensors have.
            LimitExceeded: more than 2^20 ids.
        """
        if not isinstance(document, dict) or set(document) - {"casts"} != _MEMBERS:
            raise ManifestError("the document is not a list of tensor ids")
        count = document["n_params"]
        if document["format"] != FORMAT or not isinstance(count, int) or isinstance(count, bool):
            raise ManifestError("the document is not a list of tensor ids of this version")
        if not 0 <= count < 1 << 53:
            raise ManifestError("n_params is out of range")
        cids = _digests(document["cids"])
        casts = _digests(document["casts"]) if "casts" in document else ()
        if len(casts) > CASTS_PER_CID * len(cids):
            raise ManifestError(f"{len(cids)} tensors have no {len(casts)} casts")
        return cls(cids, _digests(document["vids"]), _digest(document["named_root"]), count, casts)


def _digests(value: Any) -> tuple[Digest, ...]:
    if not isinstance(value, list) or not value:
        raise ManifestError("tensor ids are a list that is not empty")
    if len(value) > MAX_IDS:
        raise LimitExceeded(f"{len(value)} tensor ids; at most {MAX_IDS} are read")
    found = tuple(_digest(text) for text in value)
    if any(one >= other for one, other in pairwise(found)):
        raise ManifestError("tensor ids are sorted, each once")
    return found


def _digest(text: Any) -> Digest:
    try:
        return Digest.parse(text)
    except (UsageError, AttributeError, TypeError):
        raise ManifestError("a tensor id is 0x and 64 hex digits") from None


def _root(prefix: bytes, ids: tuple[Digest, ...]) -> Digest:
    return Digest(T1.root([T1.leaf(prefix + one.raw) for one in ids]))
