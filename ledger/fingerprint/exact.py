"""The exact fingerprint, ``mfp1``: which values a model holds, whatever file carries them.

Every tensor gets a content id over its payload; a model is the set of the ids of those tensors that
carry identity. Saving again, sharding, renaming and reordering keep `Fingerprint.content_root`.
Level ``core`` is one streaming pass in flat memory; ``deep`` adds the value-multiset ids and
the ids of float32 tensors' casts. The bytes are defined in ``docs/spec/fingerprint.md``.
"""

from __future__ import annotations

import hashlib
import struct
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from ledger.errors import (
    ClaimMismatch,
    ManifestError,
    UnsupportedModel,
    UsageError,
)
from ledger.fingerprint.casts import CASTS
from ledger.fingerprint.multiset import DeepIds, deep_ids
from ledger.fingerprint.payload import hash_payloads
from ledger.ids import Digest
from ledger.merkle import T1
from ledger.tensors.dtypes import DTYPES, dtype_of
from ledger.tensors.model import ModelSource, TensorInfo
from ledger.tensors.safetensors import MAX_DIM, MAX_DIMS

VERSION = "mfp1"
# Of documents that strangers send; it is hashed as a u64, and JSON readers keep 53 bits.
MAX_PARAMS = (1 << 53) - 1
# Fewer values than this say nothing about where they come from.
MIN_ELEMENTS = 16

Level = Literal["core", "deep"]


@dataclass(frozen=True, slots=True)
class DerivedIds:
    """The ids that a float32 tensor would have after rounding to ``F16`` or ``BF16``."""

    dtype: str
    cid: Digest
    vid: Digest


@dataclass(frozen=True, slots=True)
class TensorFingerprint:
    """One tensor's ids.

    Attributes:
        name: as the file gives it.
        dtype: safetensors' name of the element type.
        shape: row-major dimensions.
        nbytes: payload bytes.
        cid: content id: element type, shape and exact values.
        vid: value-multiset id: element type and the values in any order; None at level core and
            for tensors without identity.
        identity: whether the tensor counts in the roots (float, 16 elements, not all equal).
        derived: ids of its casts; of F32 tensors with identity at level deep. No root covers them.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    cid: Digest
    vid: Digest | None
    identity: bool
    derived: tuple[DerivedIds, ...] = ()

    @property
    def elements(self) -> int:
        """Number of elements."""
        return _elements(self.shape)


@dataclass(frozen=True, slots=True)
class TensorProof:
    """That a content id stands at `index` of `size` under a content root."""

    cid: Digest
    index: int
    size: int
    path: tuple[Digest, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON; digests are 0x text."""
        return {
            "cid": str(self.cid),
            "index": self.index,
            "size": self.size,
            "path": [str(node) for node in self.path],
        }

    @classmethod
    def from_json(cls, document: Any) -> TensorProof:
        """Read untrusted JSON.

        Raises:
            ManifestError: not a proof.
        """
        try:
            index, size = document["index"], document["size"]
            _demand(type(index) is int and type(size) is int and len(document["path"]) <= 64)
            path = tuple(Digest.parse(node) for node in document["path"])
            return cls(Digest.parse(document["cid"]), index, size, path)
        except (KeyError, TypeError, AttributeError, UsageError):
            raise ManifestError("the document is not a tensor proof") from None


# Not slotted: the proofs' leaves are computed once and kept (cached_property needs a __dict__).
@dataclass(frozen=True)
class Fingerprint:
    """The exact fingerprint of one model.

    Attributes:
        level: ``core`` or ``deep``.
        tensors: every tensor, those without identity too, in file order.
        content_root: T1 root over the set of content ids; the claim's artifact root.
        named_root: T1 root over names and content ids.
        vmd_root: T1 root over the set of value-multiset ids; None at level core.
        n_params: number of floating-point elements.
    """

    level: Level
    tensors: tuple[TensorFingerprint, ...]
    content_root: Digest
    named_root: Digest
    vmd_root: Digest | None
    n_params: int

    def content_id(self) -> Digest:
        """The one digest of all roots, which a claim carries as its fingerprint digest.

        Raises:
            UsageError: the fingerprint is only core.
        """
        if self.vmd_root is None:
            raise UsageError(
                "a content id needs the deep fingerprint", hint="compute it with level='deep'"
            )
        roots = self.content_root.raw + self.vmd_root.raw + self.named_root.raw
        return _digest(b"\x2f" + roots + struct.pack("<Q", self.n_params))

    @property
    def values(self) -> int:
        """How many values its different content ids hold, those without identity too."""
        return sum({tensor.cid: tensor.elements for tensor in self.tensors}.values())

    @property
    def without_identity(self) -> tuple[TensorFingerprint, ...]:
        """The tensors left out of the roots."""
        return tuple(tensor for tensor in self.tensors if not tensor.identity)

    def tensor_proof(self, cid: Digest) -> TensorProof:
        """Inclusion of one tensor under `content_root`.

        Raises:
            UsageError: no tensor with identity has this content id.
        """
        leaves = self._content_leaves
        index = {raw: place for place, raw in enumerate(leaves)}.get(cid.raw)
        if index is None:
            raise UsageError(f"no tensor of this model has the content id {cid}")
        path = T1.path([T1.leaf(b"\x20" + raw) for raw in leaves], index)
        return TensorProof(cid, index, len(leaves), tuple(Digest(node) for node in path))

    @cached_property
    def _content_leaves(self) -> list[bytes]:
        return sorted({tensor.cid.raw for tensor in self.tensors if tensor.identity})

    def to_json(self) -> dict[str, Any]:
        """As JSON; digests are 0x text."""
        return {
            "format": VERSION,
            "level": self.level,
            "content_root": str(self.content_root),
            "named_root": str(self.named_root),
            "vmd_root": None if self.vmd_root is None else str(self.vmd_root),
            "n_params": self.n_params,
            "tensors": [
                {
                    "name": t.name,
                    "dtype": t.dtype,
                    "shape": list(t.shape),
                    "nbytes": t.nbytes,
                    "cid": str(t.cid),
                    "vid": None if t.vid is None else str(t.vid),
                    "identity": t.identity,
                    **_derived_to_json(t.derived),
                }
                for t in self.tensors
            ],
        }

    @classmethod
    def from_json(cls, document: Any) -> Fingerprint:
        """Read untrusted JSON; the roots are computed again from the tensors' ids.

        Raises:
            ManifestError: not a fingerprint, or of 2^53 elements and more.
            ClaimMismatch: the document's roots are not those of its tensors.
        """
        try:
            _demand(document["format"] == VERSION and document["level"] in {"core", "deep"})
            tensors = tuple(_tensor_from_json(entry) for entry in document["tensors"])
            _demand(_parameters(tensors) <= MAX_PARAMS)
            level: Level = document["level"]
            deep = level == "deep"
            _demand(all((t.vid is not None) == (deep and t.identity) for t in tensors))
            made = _assemble(level, tensors)
            given = made.to_json()
            same = all(
                document[key] == given[key]
                for key in ("content_root", "named_root", "vmd_root", "n_params")
            )
        except (KeyError, TypeError, ValueError, AttributeError, UsageError, UnsupportedModel):
            raise ManifestError("the document is not an mfp1 fingerprint") from None
        if not same:
            raise ClaimMismatch("the fingerprint's roots are not those of its tensors")
        return made


def verify_tensor_proof(proof: TensorProof, content_root: Digest, *, step: int = 0) -> None:
    """Check that a tensor belongs to the model with this content root.

    Raises:
        InclusionProofInvalid: it does not.
    """
    leaf = T1.leaf(b"\x20" + proof.cid.raw)
    path = [node.raw for node in proof.path]
    T1.verify(leaf, proof.index, proof.size, path, content_root.raw, step=step)


def content_id_of_tensor(
    dtype: str, shape: Sequence[int], nbytes: int, leaves_root: bytes
) -> Digest:
    """A tensor's cid: H(10 ‖ "mfp1" ‖ u16 dtype ‖ u8 ndim ‖ u64 dims ‖ u64 nbytes ‖ root)."""
    code = dtype_of(dtype).code
    head = struct.pack(f"<HB{len(shape)}QQ", code, len(shape), *shape, nbytes)
    return _digest(b"\x10mfp1" + head + leaves_root)


def fingerprint(
    model: ModelSource,
    *,
    level: Level = "core",
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fingerprint:
    """Compute a model's exact fingerprint.

    Args:
        model: the open model; side files do not count.
        level: ``core`` streams once in flat memory; ``deep`` reads a second time and needs at most
            1 GiB more.
        threads: workers; the number of processors when None.
        progress: called in this thread with (bytes done, bytes in all).

    Raises:
        TensorFileError: a file cannot be read, or changed meanwhile.
        UnsupportedModel: no tensor carries identity, so the model would be any model.
    """
    infos = model.tensors
    total = sum(info.nbytes for info in infos)
    report = progress or (lambda _done, _total: None)
    whole = total if level == "core" else 2 * total
    hashed = hash_payloads(model, threads, lambda done: report(done, whole))
    carries = [
        _carries(info, payload.constant) for info, payload in zip(infos, hashed, strict=True)
    ]
    deep: dict[int, DeepIds] = {}
    if level == "deep":
        chosen = [index for index, yes in enumerate(carries) if yes]
        deep = deep_ids(model, chosen, threads, lambda done: report(total + done, whole))
    model.ensure_unchanged()
    report(whole, whole)
    return _assemble(
        level,
        tuple(
            _measured(info, hashed[index].root, deep.get(index), carries[index])
            for index, info in enumerate(infos)
        ),
    )


def with_content_ids(measured: Fingerprint, cids: Mapping[str, Digest]) -> Fingerprint:
    """A core fingerprint in which some tensors have the content ids of others, by name.

    For a copy with per-license marks: what its roots would be if these tensors had no marks.
    """
    tensors = (
        replace(tensor, cid=cids.get(tensor.name, tensor.cid), vid=None, derived=())
        for tensor in measured.tensors
    )
    return _assemble("core", tuple(tensors))


def _measured(
    info: TensorInfo, root: bytes, deep: DeepIds | None, identity: bool
) -> TensorFingerprint:
    shape = info.shape
    return TensorFingerprint(
        info.name,
        info.dtype,
        shape,
        info.nbytes,
        content_id_of_tensor(info.dtype, shape, info.nbytes, root),
        Digest(deep.vid) if deep else None,
        identity,
        tuple(
            DerivedIds(
                cast.dtype,
                content_id_of_tensor(cast.dtype, shape, info.nbytes // 2, cast.payload_root),
                cast.vid,
            )
            for cast in (deep.casts if deep else ())
        ),
    )


def _carries(info: TensorInfo, constant: bool) -> bool:
    return DTYPES[info.dtype].kind == "float" and info.elements >= MIN_ELEMENTS and not constant


def _assemble(level: Level, tensors: tuple[TensorFingerprint, ...]) -> Fingerprint:
    carriers = [tensor for tensor in tensors if tensor.identity]
    if not carriers:
        raise UnsupportedModel(
            "no tensor of this model carries identity: all are integers, constants or tiny",
            hint="an exact fingerprint needs floating-point weights",
        )
    vids = {tensor.vid.raw for tensor in carriers if tensor.vid is not None}
    return Fingerprint(
        level,
        tensors,
        content_root=_set_root(0x20, {tensor.cid.raw for tensor in carriers}),
        named_root=_named_root(carriers),
        vmd_root=_set_root(0x21, vids) if level == "deep" else None,
        n_params=_parameters(tensors),
    )


def _set_root(domain: int, ids: Iterable[bytes]) -> Digest:
    prefix = bytes([domain])
    return Digest(T1.root([T1.leaf(prefix + raw) for raw in sorted(ids)]))


def _named_root(tensors: Iterable[TensorFingerprint]) -> Digest:
    rows = sorted((unicodedata.normalize("NFC", t.name).encode(), t.cid.raw) for t in tensors)
    leaves = [T1.leaf(b"\x22" + struct.pack("<I", len(name)) + name + cid) for name, cid in rows]
    return Digest(T1.root(leaves))


def _parameters(tensors: Iterable[TensorFingerprint]) -> int:
    return sum(_elements(t.shape) for t in tensors if DTYPES[t.dtype].kind == "float")


def percent_text(some: int, of: int) -> str:
    """A share in percent with two decimals, rounded down; what there is is never shown as none."""
    parts = some * 10_000 // max(of, 1)
    return "less than 0.01" if some and not parts else f"{parts // 100}.{parts % 100:02}"


def _elements(shape: tuple[int, ...]) -> int:
    count = 1
    for dim in shape:
        count *= dim
    return count


def _digest(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).digest())


def _demand(holds: bool) -> None:
    # Raised and caught inside the readers above, which name the fault once for all of them.
    if not holds:
        raise TypeError


def _derived_to_json(derived: tuple[DerivedIds, ...]) -> dict[str, Any]:
    # Left out where there are none, as in documents that are older than casts: evidence holds a
    # document against what it is read to, byte for byte.
    ids = [{"dtype": d.dtype, "cid": str(d.cid), "vid": str(d.vid)} for d in derived]
    return {"derived": ids} if ids else {}


def _tensor_from_json(entry: Any) -> TensorFingerprint:
    name, shape, nbytes, identity = (entry[k] for k in ("name", "shape", "nbytes", "identity"))
    dtype = DTYPES[entry["dtype"]]
    _demand(isinstance(name, str) and isinstance(shape, list) and len(shape) <= MAX_DIMS)
    _demand(all(type(n) is int and 0 <= n <= MAX_DIM for n in [*shape, nbytes]))
    count = _elements(tuple(shape))
    _demand(dtype.nbytes(count) == nbytes and type(identity) is bool)
    _demand(not identity or (dtype.kind == "float" and count >= MIN_ELEMENTS))
    vid = None if entry["vid"] is None else Digest.parse(entry["vid"])
    cid = Digest.parse(entry["cid"])
    derived = tuple(
        DerivedIds(one["dtype"], Digest.parse(one["cid"]), Digest.parse(one["vid"]))
        for one in entry.get("derived", [])
    )
    # Each cast once, in the table's order, and only where it can be.
    _demand(not derived or (dtype.name == "F32" and vid is not None))
    _demand([one.dtype for one in derived] == [n for n in CASTS if n in {d.dtype for d in derived}])
    return TensorFingerprint(name, dtype.name, tuple(shape), nbytes, cid, vid, identity, derived)
