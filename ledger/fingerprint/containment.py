"""The exact tier of a comparison: which tensors of one model another holds, and how that is seen.

Nothing here is a likelihood. Every match is an equality of SHA-256 ids, and
``docs/spec/containment.md`` says what each shows and what it does not.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

import numpy as np

from ledger.fingerprint.constants import content_id_of, known_constant
from ledger.fingerprint.exact import Fingerprint, TensorFingerprint
from ledger.ids import Digest
from ledger.tensors.dtypes import DTYPES
from ledger.tensors.model import ModelSource, TensorInfo

FORMAT: Final = "containment/1"
# Integer tensors of this size are packed weights; smaller ones are counters, codes and shapes.
MIN_PACKED_ELEMENTS: Final = 4096
_PACKED_DTYPES: Final = frozenset({"I8", "U8", "I16", "U16", "I32", "U32"})
# A tensor is copied to see whether an order of its axes gives the other's bytes.
_MAX_TRANSPOSED_BYTES: Final = 2 << 30
_MAX_ORDERS: Final = 24


class Verdict(StrEnum):
    """What the ids say, the strongest first."""

    IDENTICAL_NAMED = "IDENTICAL_NAMED"
    IDENTICAL_CONTENT = "IDENTICAL_CONTENT"
    PERMUTED_COPY = "PERMUTED_COPY"
    CONTAINS = "CONTAINS"
    NO_EXACT_EVIDENCE = "NO_EXACT_EVIDENCE"


class Relation(StrEnum):
    """How a tensor of ours is found in theirs, the strongest first."""

    IDENTITY = "identity"
    CAST = "cast"
    AXES = "axis_permutation"
    RESHAPE = "reshape"
    MULTISET = "multiset"
    CAST_MULTISET = "cast_multiset"


@dataclass(frozen=True, slots=True)
class Witness:
    """One tensor of ours that theirs holds.

    Attributes:
        ours, theirs: names; of several in theirs, the first in file order.
        relation: how it is found.
        dtype: of ours.
        shape: of ours.
        elements: of ours.
        packed: an integer tensor large enough to be weights.
        cast: ``F16`` or ``BF16`` where a cast is involved.
        rounded: which side is the cast: ``theirs``, ``ours``, or ``both`` when both are float32 and
            round to the same.
        axes: theirs is ours with the axes in this order.
        constant: the family of values that anyone has (`known_constant`); such a match counts for
            nothing.
    """

    ours: str
    theirs: str
    relation: Relation
    dtype: str
    shape: tuple[int, ...]
    elements: int
    packed: bool = False
    cast: str | None = None
    rounded: Literal["ours", "theirs", "both"] | None = None
    axes: tuple[int, ...] | None = None
    constant: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "ours": self.ours,
            "theirs": self.theirs,
            "relation": self.relation.value,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "elements": self.elements,
            "packed": self.packed,
            "cast": self.cast,
            "rounded": self.rounded,
            "axes": None if self.axes is None else list(self.axes),
            "constant": self.constant,
        }


@dataclass(frozen=True, slots=True)
class Share:
    """How much of one model is found in the other, known constants set aside on both counts.

    Attributes:
        found, tensors: k of n tensors with identity.
        found_parameters, parameters: their elements.
        found_packed, packed: integer tensors large enough to be weights.
    """

    found: int
    tensors: int
    found_parameters: int
    parameters: int
    found_packed: int
    packed: int

    def to_json(self) -> dict[str, int]:
        """As JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Containment:
    """What two fingerprints say about each other.

    Attributes:
        verdict: the strongest statement that holds.
        ours: how much of ours is in theirs.
        theirs: how much of theirs is in ours.
        witnesses: one for each tensor of ours that is found, in file order.
        unmatched: names of ours that are not found.
        not_compared: what was not looked at, and why; sentences.
    """

    verdict: Verdict
    ours: Share
    theirs: Share
    witnesses: tuple[Witness, ...]
    unmatched: tuple[str, ...]
    not_compared: tuple[str, ...]

    def count(self, *relations: Relation) -> int:
        """Witnesses of these relations that are not constants."""
        return sum(w.relation in relations and w.constant is None for w in self.witnesses)

    def to_json(self) -> dict[str, Any]:
        """As JSON, the same for the same two models."""
        return {
            "format": FORMAT,
            "verdict": self.verdict.value,
            "ours": self.ours.to_json(),
            "theirs": self.theirs.to_json(),
            "witnesses": [witness.to_json() for witness in self.witnesses],
            "unmatched": list(self.unmatched),
            "not_compared": list(self.not_compared),
        }


def containment(
    ours: Fingerprint, theirs: Fingerprint, *, weights: ModelSource | None = None
) -> Containment:
    """Compare two models by their ids.

    Args:
        ours: the model that may have been copied.
        theirs: the suspect.
        weights: our open model. With it, a tensor whose values stand in another order is shown to
            be a transposed or reshaped one where it is; without, that stays a ``multiset``.

    Raises:
        TensorFileError: `weights` cannot be read, or has not the tensors of `ours`.
    """
    look = _Look(theirs)
    witnesses: list[Witness] = []
    unmatched: list[str] = []
    infos = {info.name: info for info in weights.tensors} if weights else {}
    for tensor in ours.tensors:
        if not _counts(tensor):
            continue
        found = look.find(tensor)
        if found is None:
            unmatched.append(tensor.name)
            continue
        if found.relation is Relation.MULTISET and weights is not None and tensor.name in infos:
            found = _ordered(found, weights, infos[tensor.name], look.of_vid(tensor))
        witnesses.append(found)
    mirror = _Look(ours)
    back = [w for t in theirs.tensors if _counts(t) and (w := mirror.find(t)) is not None]
    ours_share, theirs_share = _share(ours, witnesses), _share(theirs, back)
    return Containment(
        _verdict(ours, theirs, ours_share),
        ours_share,
        theirs_share,
        tuple(witnesses),
        tuple(unmatched),
        tuple(_not_compared(ours, theirs)),
    )


def _counts(tensor: TensorFingerprint) -> bool:
    return tensor.identity or _packed(tensor)


def _packed(tensor: TensorFingerprint) -> bool:
    return tensor.dtype in _PACKED_DTYPES and tensor.elements >= MIN_PACKED_ELEMENTS


class _Look:
    """One model's tensors by each of their ids."""

    def __init__(self, model: Fingerprint) -> None:
        tensors = [tensor for tensor in model.tensors if _counts(tensor)]
        self._cids = _first((t.cid, t) for t in tensors)
        self._vids: dict[Digest, list[TensorFingerprint]] = {}
        for tensor in tensors:
            if tensor.vid is not None:
                self._vids.setdefault(tensor.vid, []).append(tensor)
        derived = [(one, t) for t in tensors for one in t.derived]
        self._cast_cids = _first((one.cid, t) for one, t in derived)
        self._cast_vids = _first((one.vid, t) for one, t in derived)

    def of_vid(self, tensor: TensorFingerprint) -> list[TensorFingerprint]:
        return self._vids.get(tensor.vid, []) if tensor.vid is not None else []

    def find(self, tensor: TensorFingerprint) -> Witness | None:
        """The strongest relation that holds."""
        for relation, cast, rounded, theirs in self._tries(tensor):
            if theirs is not None:
                return Witness(
                    tensor.name,
                    theirs.name,
                    relation,
                    tensor.dtype,
                    tensor.shape,
                    tensor.elements,
                    packed=not tensor.identity,
                    cast=cast,
                    rounded=rounded,
                    constant=known_constant(tensor) or known_constant(theirs),
                )
        return None

    def _tries(
        self, tensor: TensorFingerprint
    ) -> Iterator[
        tuple[
            Relation,
            str | None,
            Literal["ours", "theirs", "both"] | None,
            TensorFingerprint | None,
        ]
    ]:
        yield Relation.IDENTITY, None, None, self._cids.get(tensor.cid)
        for one in tensor.derived:
            yield Relation.CAST, one.dtype, "theirs", self._cids.get(one.cid)
            yield Relation.CAST, one.dtype, "both", self._cast_cids.get(one.cid)
        yield Relation.CAST, tensor.dtype, "ours", self._cast_cids.get(tensor.cid)
        if tensor.vid is None:
            return
        yield Relation.MULTISET, None, None, next(iter(self.of_vid(tensor)), None)
        for one in tensor.derived:
            theirs = next(iter(self._vids.get(one.vid, [])), None)
            yield Relation.CAST_MULTISET, one.dtype, "theirs", theirs
            yield Relation.CAST_MULTISET, one.dtype, "both", self._cast_vids.get(one.vid)
        yield Relation.CAST_MULTISET, tensor.dtype, "ours", self._cast_vids.get(tensor.vid)


def _first(pairs: Iterable[tuple[Digest, TensorFingerprint]]) -> dict[Digest, TensorFingerprint]:
    found: dict[Digest, TensorFingerprint] = {}
    for key, tensor in pairs:
        found.setdefault(key, tensor)
    return found


def _ordered(
    found: Witness, weights: ModelSource, info: TensorInfo, theirs: list[TensorFingerprint]
) -> Witness:
    """The same witness, with the order of axes that makes ours theirs, if there is one."""
    width = DTYPES[info.dtype].word_bytes
    if info.nbytes > _MAX_TRANSPOSED_BYTES or info.nbytes != info.elements * width:
        return found
    wanted = {(t.cid, t.shape): t for t in theirs}
    values = np.frombuffer(weights.read(info), f"<u{width}").reshape(info.shape)
    for shape in sorted({shape for _, shape in wanted}):
        for axes in _orders(info.shape, shape):
            turned = np.ascontiguousarray(values.transpose(axes))
            match = wanted.get((content_id_of(turned.data.cast("B"), info.dtype, shape), shape))
            if match is not None:
                plain = [a for a in axes if info.shape[a] != 1]
                relation = Relation.RESHAPE if plain == sorted(plain) else Relation.AXES
                return Witness(
                    found.ours,
                    match.name,
                    relation,
                    found.dtype,
                    found.shape,
                    found.elements,
                    axes=axes,
                    constant=found.constant,
                )
    return found


def _orders(shape: tuple[int, ...], wanted: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Orders of our axes that could give that shape, axes of length 1 not counting."""
    yield tuple(range(len(shape)))
    long = [axis for axis, dim in enumerate(shape) if dim != 1]
    rest = [axis for axis, dim in enumerate(shape) if dim == 1]
    core = [dim for dim in wanted if dim != 1]
    if sorted(core) == sorted(shape[axis] for axis in long):
        fits = (p for p in itertools.permutations(long) if [shape[a] for a in p] == core)
        for order in itertools.islice(fits, _MAX_ORDERS):
            yield (*rest, *order)


def _share(model: Fingerprint, witnesses: list[Witness]) -> Share:
    apart = {w.ours for w in witnesses if w.constant is not None}
    kept = [t for t in model.tensors if _counts(t) and t.name not in apart]
    real = [w for w in witnesses if w.constant is None]
    floats = [t for t in kept if t.identity]
    return Share(
        found=sum(not w.packed for w in real),
        tensors=len(floats),
        found_parameters=sum(w.elements for w in real if not w.packed),
        parameters=sum(t.elements for t in floats),
        found_packed=sum(w.packed for w in real),
        packed=len(kept) - len(floats),
    )


def _verdict(ours: Fingerprint, theirs: Fingerprint, share: Share) -> Verdict:
    # Roots do not cover packed weights: two models with the same norms are not the same model.
    same_packed = _packed_ids(ours) == _packed_ids(theirs)
    if same_packed and ours.named_root == theirs.named_root:
        return Verdict.IDENTICAL_NAMED
    if same_packed and ours.content_root == theirs.content_root:
        return Verdict.IDENTICAL_CONTENT
    if same_packed and ours.vmd_root is not None and ours.vmd_root == theirs.vmd_root:
        return Verdict.PERMUTED_COPY
    if share.found or share.found_packed:
        return Verdict.CONTAINS
    return Verdict.NO_EXACT_EVIDENCE


def _packed_ids(model: Fingerprint) -> set[Digest]:
    return {tensor.cid for tensor in model.tensors if _packed(tensor)}


def _not_compared(ours: Fingerprint, theirs: Fingerprint) -> Iterator[str]:
    if ours.level != "deep" or theirs.level != "deep":
        yield (
            "values in another order and half-precision casts were not looked for: "
            "that needs the deep fingerprint of both models"
        )
    for whose, model in (("ours", ours), ("theirs", theirs)):
        left = [t for t in model.tensors if not _counts(t)]
        if left:
            yield (
                f"{len(left)} tensors of {whose} carry no identity: "
                "integers, constants, or fewer than 16 values"
            )
