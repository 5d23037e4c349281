"""Holds one model against another: shared values, and whether both began independently.

Three tiers, strongest first: identical, contains, derived; else nothing was found. What the words
mean, and what they do not, is in ``docs/spec/lineage.md``; the sentences of a report are in
`ledger.fingerprint.wording`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from ledger.errors import UnsupportedModel
from ledger.fingerprint.aligned import with_aligned
from ledger.fingerprint.containment import Containment, Relation, Witness, containment
from ledger.fingerprint.containment import Verdict as ContainmentVerdict
from ledger.fingerprint.exact import Fingerprint, fingerprint
from ledger.fingerprint.lineage import is_table
from ledger.fingerprint.pairing import Lineage, MatrixResult, ModelRows, Suspect, lineage_of
from ledger.fingerprint.roles import roles_of
from ledger.fingerprint.twoview import TwoView, two_view
from ledger.ids import Digest
from ledger.tensors.model import ModelSource, TensorInfo
from ledger.tensors.values import READABLE

FORMAT: Final = "modeldeed/comparison/1"
DERIVED: Final = -20.0
"""log10 p, after Bonferroni, at which the two are called not independently initialised."""
SHARED_VALUES: Final = 4096
"""So many equal values in tensors that look learnt make the verdict ``contains``."""
LEAST_DIFFERENT: Final = 64
"""So many different values make a tensor its own when its values are found in any order."""
LEAST_UNLIKE: Final = 8
"""So many values other than the commonest, when they are found in their order."""
_TABLE: Final = 512
_PIECE_VALUES: Final = 1 << 18

Verdict: TypeAlias = Literal["identical", "contains", "derived", "nothing found"]
Progress: TypeAlias = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Exact:
    """The exact tier.

    Attributes:
        found: what the ids say.
        calculated: names of found tensors of ours that look calculated and not learnt, though no
            known table, or hold too few different values: independent models may share them.
        prints: the fingerprints of both, ours first.
    """

    found: Containment
    calculated: frozenset[str]
    prints: tuple[Fingerprint, Fingerprint] | None = field(default=None, compare=False, repr=False)

    @property
    def identical(self) -> bool:
        """Whether both models hold the same set of tensors, and not tables alone."""
        same = {ContainmentVerdict.IDENTICAL_NAMED, ContainmentVerdict.IDENTICAL_CONTENT}
        return self.found.verdict in same and bool(self.learnt)

    @property
    def learnt(self) -> tuple[Witness, ...]:
        """Tensors of ours in theirs that neither are nor look calculated."""
        return tuple(
            w for w in self.found.witnesses if w.constant is None and w.ours not in self.calculated
        )

    @property
    def learnt_values(self) -> int:
        """Their values; those of one tensor of theirs once, however often ours repeats it."""
        return sum({witness.theirs: witness.elements for witness in self.learnt}.values())

    @property
    def our_values(self) -> tuple[int, int] | None:
        """Values of ours in these tensors and in all, each content id once; None without prints."""
        if self.prints is None:
            return None
        ours = self.prints[0]
        ids = {tensor.name: tensor.cid for tensor in ours.tensors}
        found = {ids[witness.ours]: witness.elements for witness in self.learnt}
        return sum(found.values()), ours.values


@dataclass(frozen=True, slots=True)
class Control:
    """A third model, held against theirs in the same way.

    Attributes:
        title: what the caller calls it.
        log10_p: its bound against theirs.
        matrices: results.
    """

    title: str
    log10_p: float
    matrices: tuple[MatrixResult, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything a comparison found.

    Attributes:
        ours: title of our model.
        theirs: title of theirs.
        exact: the exact tier; None where ours is a sketch, or a model has no tensor with identity.
        lineage: the row-order tests.
        two_view: a score of reordered layers, where nothing else was found and it can be had.
        controls: third models.
        sketch_root: of ours, where it is a sketch.
    """

    ours: str
    theirs: str
    exact: Exact | None
    lineage: Lineage
    two_view: TwoView | None = None
    controls: tuple[Control, ...] = ()
    sketch_root: Digest | None = None

    @property
    def verdict(self) -> Verdict:
        """The strongest tier that holds."""
        if self.exact is not None and self.exact.identical:
            return "identical"
        if self.exact is not None and self.exact.learnt_values >= SHARED_VALUES:
            return "contains"
        if self.lineage.log10_p_counted <= DERIVED:
            return "derived"
        return "nothing found"

    def to_json(self) -> dict[str, Any]:
        """As JSON; the same for the same two models."""
        lineage = self.lineage
        return {
            "format": FORMAT,
            "ours": self.ours,
            "theirs": self.theirs,
            "sketch_root": None if self.sketch_root is None else str(self.sketch_root),
            "verdict": self.verdict,
            "exact": None if self.exact is None else _exact_json(self.exact),
            "lineage": {
                "log10_p": _rounded(lineage.log10_p),
                "log10_p_counted": _rounded(lineage.log10_p_counted),
                "tried": lineage.tried,
                "matrices": [matrix_json(m) for m in lineage.matrices],
            },
            "two_view": None if self.two_view is None else self.two_view.to_json(),
            "controls": [
                {
                    "title": c.title,
                    "log10_p": _rounded(c.log10_p),
                    "matrices": [matrix_json(m) for m in c.matrices],
                }
                for c in self.controls
            ],
            "not_compared": {
                "ours": [[item.name, item.reason] for item in lineage.left_out],
                "theirs": [[item.name, item.reason] for item in lineage.their_left_out],
            },
        }


def compare(
    ours: ModelSource,
    theirs: ModelSource,
    *,
    controls: Sequence[ModelSource] = (),
    measured: Fingerprint | None = None,
    threads: int | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> Comparison:
    """Hold `theirs` against `ours`.

    Args:
        ours: the model whose units' order is believed to be its own.
        theirs: the suspect.
        controls: third models that may explain a match.
        measured: the deep fingerprint of theirs, where it was computed before.
        threads: of the exact tier; the number of processors when None.
        progress: called with (what, done, total).

    Raises:
        TensorFileError: a file cannot be read, or changed meanwhile.
    """
    exact = _exact(ours, theirs, measured, threads, progress)
    suspect = Suspect(theirs)
    lineage = _lineage(ours, suspect, progress)
    again = Comparison(ours.title, theirs.title, exact, lineage).verdict == "nothing found"
    if again:
        lineage = with_aligned(ours, theirs, lineage)
    held = tuple(_control(control, suspect, progress, again) for control in controls)
    made = Comparison(ours.title, theirs.title, exact, lineage, None, held)
    if made.verdict == "nothing found":
        made = Comparison(made.ours, made.theirs, exact, lineage, two_view(ours, theirs), held)
    ours.ensure_unchanged()
    theirs.ensure_unchanged()
    return made


def matrix_json(result: MatrixResult) -> dict[str, Any]:
    """One matrix as JSON."""
    order = result.order
    return {
        "ours": result.ours,
        "theirs": result.theirs,
        "role": result.role,
        "aligned": result.aligned,
        "units": result.units,
        "their_units": result.their_units,
        "tested": order.tested,
        "matched": order.rows,
        "in_place": order.in_place,
        "in_order": order.in_order,
        "turned": order.turned,
        "log10_p": _rounded(order.log10_p),
        "mean_cosine": _rounded(order.cosine),
        "mean_likeness": _rounded(order.alike),
        "wrong_likeness": _rounded(order.other),
        "fitted": order.fitted,
    }


def _lineage(ours: ModelSource, suspect: Suspect, progress: Progress) -> Lineage:
    found = roles_of(ours)
    done = 0

    def step() -> None:
        nonlocal done
        progress("row order", done, len(found.units))
        done += 1

    rows = [ModelRows(ours, view) for view in found.units]
    return lineage_of(rows, suspect, found.left_out, progress=step)


def _control(control: ModelSource, suspect: Suspect, progress: Progress, again: bool) -> Control:
    lineage = _lineage(control, suspect, progress)
    if again:
        lineage = with_aligned(control, suspect.model, lineage)
    return Control(control.title, lineage.log10_p, lineage.matrices)


def _exact(
    ours: ModelSource,
    theirs: ModelSource,
    known: Fingerprint | None,
    threads: int | None,
    progress: Progress,
) -> Exact | None:
    def measured(model: ModelSource, what: str) -> Fingerprint:
        def report(done: int, total: int) -> None:
            progress(what, done, total)

        return fingerprint(model, level="deep", threads=threads, progress=report)

    try:
        prints = measured(ours, "ours"), known or measured(theirs, "theirs")
    except UnsupportedModel:
        # Codes without a single learnt float: their units can be tested all the same.
        return None
    found = containment(*prints, weights=ours)
    infos = {info.name: info for info in ours.tensors}
    calculated = (
        w.ours
        for w in found.witnesses
        if _table(ours, infos[w.ours]) or _plain(ours, infos[w.ours], w)
    )
    return Exact(found, frozenset(calculated), prints)


def _plain(model: ModelSource, info: TensorInfo, witness: Witness) -> bool:
    """Whether a tensor, as it is found, has too few different values to be anyone's own.

    Norms close to 1 round to a handful of values; how many there are of each is soon met again.
    """
    if info.dtype not in READABLE or info.packing is not None or info.nbytes > 1 << 30:
        return False
    stored = np.frombuffer(model.read(info), READABLE[info.dtype])
    anywhere = witness.relation in {Relation.MULTISET, Relation.CAST_MULTISET}
    seen: set[float] = set()
    commonest, unlike = None, 0
    for start in range(0, len(stored), _PIECE_VALUES):
        with np.errstate(all="ignore"):
            piece = stored[start : start + _PIECE_VALUES]
            if witness.cast is not None:
                piece = piece.astype(READABLE[witness.cast])
            values, counts = np.unique(piece.astype(np.float64), return_counts=True)
        commonest = values[counts.argmax()] if commonest is None else commonest
        unlike += int(counts[values != commonest].sum())
        seen.update(values[:LEAST_DIFFERENT].tolist())
        if len(seen) >= min(LEAST_DIFFERENT, len(stored)) if anywhere else unlike >= LEAST_UNLIKE:
            return False
    return True


def _table(model: ModelSource, info: TensorInfo) -> bool:
    """Whether a shared tensor looks calculated, by its rows and columns or as a curve."""
    if info.dtype not in READABLE or info.packing is not None or info.nbytes > 1 << 30:
        return False
    shape = [size for size in info.shape if size > 1]
    values = np.frombuffer(model.read(info), READABLE[info.dtype]).astype(np.float32)
    if len(shape) < 2:
        return bool(_smooth(values))
    matrix = values.reshape(shape[0], -1)
    return is_table(np.ascontiguousarray(matrix[:_TABLE, :_TABLE]))


def _smooth(values: np.ndarray[Any, np.dtype[np.float32]]) -> bool:
    """Whether neighbours of one row of values are alike, as in a window or a ramp."""
    with np.errstate(all="ignore"):
        x = np.nan_to_num(values.astype(np.float64) - float(np.mean(values, dtype=np.float64)))
        power = float(x @ x)
        near = float(x[1:] @ x[:-1]) / power if power > 0 else 1.0
    return abs(near) * len(x) ** 0.5 > 8 and abs(near) > 0.8


def _exact_json(exact: Exact) -> dict[str, Any]:
    return {
        **exact.found.to_json(),
        "look_calculated": sorted(exact.calculated),
        "learnt_values": exact.learnt_values,
        **({} if (held := exact.our_values) is None else {"values": held[0], "of_values": held[1]}),
    }


def _rounded(value: float) -> float:
    return round(value, 4) + 0.0
