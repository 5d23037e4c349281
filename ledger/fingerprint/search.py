"""What to ask a registry about a suspect: ids, and never weights.

A registry knows the tensor ids of its models. Which of them a suspect could share, and what an
answer comes to, is worked out here; the asking, and whom, is the caller's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from ledger.fingerprint.constants import known_constant
from ledger.fingerprint.exact import Fingerprint, TensorFingerprint
from ledger.ids import Digest

IdKind = Literal["cid", "vid", "cast"]
MAX_ASKED: Final = 1000
"""Ids in one question to a registry, each counted for every kind that it may equal."""
RELATIONS: Final = ("identity", "cast", "multiset", "cast_multiset")
"""How a tensor of a suspect can be found by its ids, the strongest first."""


@dataclass(frozen=True, slots=True)
class AskedId:
    """One id to ask for.

    Attributes:
        id: the digest.
        kinds: which registered ids it may equal: content ids, multiset ids, ids of casts.
        tensor: the suspect's tensor.
        relation: what a hit would mean for this tensor, as in `containment`.
        elements: how much a hit weighs.
    """

    id: Digest
    kinds: tuple[IdKind, ...]
    tensor: str
    relation: str
    elements: int


def asked_ids(suspect: Fingerprint) -> tuple[AskedId, ...]:
    """The ids to ask for, the largest tensors first; each id once, constants left out.

    With a core fingerprint only content ids are asked for.
    """
    found: dict[Digest, AskedId] = {}
    order = sorted(
        (tensor for tensor in suspect.tensors if tensor.identity),
        key=lambda tensor: (-tensor.elements, tensor.name),
    )
    for tensor in order:
        if known_constant(tensor) is not None:
            continue
        for digest, kinds, relation in _rows(tensor):
            if digest is not None:
                asked = AskedId(digest, kinds, tensor.name, relation, tensor.elements)
                found.setdefault(digest, asked)
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class Tally:
    """How much of a suspect one registered model accounts for, by ids alone.

    Attributes:
        tensors: tensors of the suspect, by the strongest relation in which each was found.
        elements: their elements, likewise.
        unbound: how many were found by nothing but the registered ids of casts, which no root
            covers.
    """

    tensors: Mapping[str, int]
    elements: Mapping[str, int]
    unbound: int

    @property
    def found(self) -> int:
        """Tensors found in any relation."""
        return sum(self.tensors.values())

    @property
    def found_elements(self) -> int:
        """Their elements."""
        return sum(self.elements.values())


def searchable(suspect: Fingerprint) -> tuple[int, int]:
    """Tensors of a suspect that can be asked for, constants left out, and their elements."""
    sizes = [t.elements for t in suspect.tensors if t.identity and known_constant(t) is None]
    return len(sizes), sum(sizes)


def tally(suspect: Fingerprint, held: Mapping[IdKind, Collection[Digest]]) -> Tally:
    """Weigh what a registered model holds of the ids asked for.

    Each tensor counts once, in the strongest relation that holds. Tied tensors of a suspect count
    each, as they do in a comparison.

    Args:
        suspect: the fingerprint that was asked for.
        held: the ids that the model holds, by the kind of its own id.
    """
    tensors = dict.fromkeys(RELATIONS, 0)
    elements = dict.fromkeys(RELATIONS, 0)
    unbound = 0
    for tensor in suspect.tensors:
        if not tensor.identity or known_constant(tensor) is not None:
            continue
        ways = [
            (_relation(relation, kind), kind)
            for digest, kinds, relation in _rows(tensor)
            for kind in kinds
            if digest in held.get(kind, ())
        ]
        if not ways:
            continue
        best = min((way for way, _ in ways), key=RELATIONS.index)
        tensors[best] += 1
        elements[best] += tensor.elements
        unbound += all(kind == "cast" for _, kind in ways)
    return Tally(tensors, elements, unbound)


def _relation(relation: str, kind: IdKind) -> str:
    """What a hit means; what equals a registered cast is itself the cast."""
    if kind != "cast":
        return relation
    return {"identity": "cast", "multiset": "cast_multiset"}.get(relation, relation)


def _rows(
    tensor: TensorFingerprint,
) -> Iterable[tuple[Digest | None, tuple[IdKind, ...], str]]:
    """A tensor's ids, what each may equal, and in which relation."""
    # A cast of a registered float32 tensor is asked for by its own ids.
    yield tensor.cid, ("cid", "cast"), "identity"
    yield tensor.vid, ("vid", "cast"), "multiset"
    for one in tensor.derived:
        yield one.cid, ("cid", "cast"), "cast"
        yield one.vid, ("vid", "cast"), "cast_multiset"


def registered_casts(model: Fingerprint) -> tuple[Digest, ...]:
    """The ids of a registered model's casts, sorted: what an index keeps of kind ``cast``."""
    return tuple(
        sorted(
            {
                digest
                for tensor in model.tensors
                if tensor.identity
                for one in tensor.derived
                for digest in (one.cid, one.vid)
            }
        )
    )
