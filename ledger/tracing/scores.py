"""How well a word explains the evidence: one score that always holds, and a few sharper ones. Pure.

Evidence says of each cell which fraction of form B the copy shows (0 is A, 1 is B, between: mixed)
and how surely; an erased cell says nothing. Every score below is a sum over cells that depends on
the evidence and the biases alone, so `bounds.TwoValued` bounds it exactly whatever it is; a score
that fits the colluders' strategy badly misses them, and never harms an innocent.

The symmetric score is that of Škorić, Katzenbeisser and Celik (2008), weighted by how much the cell
shows. The others are log-likelihood ratios against the interleaving and averaging attacks of c
colluders (Laarhoven, "Asymptotics of fingerprinting and group testing: capacity-achieving
log-likelihood decoders", 2014), and against colluders who decide each cell by how many of them have
which form (Meerwald and Furon, "Toward practical joint decoding of binary Tardos fingerprinting
codes", IEEE Trans. Inf. Forensics Secur. 7, 2012).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from ledger.tracing.bounds import Floats, TwoValued

INTERLEAVING: Final = (1, 2, 3, 4, 6, 8)
AVERAGING: Final = (2, 3, 4, 5, 6, 8)
DECIDED: Final = ("majority", "all A", "all B")
"""What colluders may decide on in the cells where they differ: a median is the majority."""
DECIDERS: Final = (3, 5)
COUNT: Final = 1 + len(INTERLEAVING) + len(AVERAGING) + len(DECIDED) * len(DECIDERS)
"""How many scores are tried for each candidate and view; bounds are multiplied by it."""
VIEWS: Final = 2
"""How many views of the evidence are tried at most."""

_LEAST_SPREAD = 0.03
_OUTLIER = 0.02  # the share of cells that may show anything: keeps one cell from deciding
_RANGE = (-0.5, 1.5)
_UNSURE = 0.25
_SURE, _FEW, _FAINTEST, _FULL = 0.2, 8, 0.1, 0.8


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a suspect shows in each cell.

    Attributes:
        fraction: estimate of the share of form B; NaN where the cell is erased.
        spread: standard deviation of that estimate; ignored where erased.
    """

    fraction: Floats
    spread: Floats

    @property
    def erased(self) -> int:
        """Cells that show nothing."""
        return int(np.isnan(self.fraction).sum())

    def symbols(self) -> str:
        """One letter a cell: A, B, m for mixed, ? for unsure, - for erased."""
        out = []
        for fraction, spread in zip(self.fraction.tolist(), self.spread.tolist(), strict=True):
            if math.isnan(fraction):
                out.append("-")
            elif spread > _UNSURE:
                out.append("?")
            else:
                out.append("A" if fraction < 0.25 else "B" if fraction > 0.75 else "m")
        return "".join(out)

    def stretched(self) -> Evidence | None:
        """The same with its highest cells taken for form B; None where they already show that.

        Merging with other weights, or decaying them, shrinks every mark alike. The factor follows
        from the evidence alone.
        """
        sure = self.fraction[~np.isnan(self.fraction) & (self.spread < _SURE)]
        if len(sure) < _FEW:
            return None
        top = float(np.quantile(sure, 0.9))
        if not _FAINTEST < top < _FULL:
            return None
        return Evidence(self.fraction / top, self.spread / top)

    @classmethod
    def of_symbols(cls, symbols: str) -> Evidence:
        """The evidence of a copy that shows exactly these letters."""
        value = {"A": 0.0, "B": 1.0, "m": 0.5, "-": math.nan}
        fraction = np.array([value[symbol] for symbol in symbols])
        return cls(fraction, np.full(len(symbols), _LEAST_SPREAD))


def symmetric_values(p: Floats, symbol: int) -> tuple[Floats, Floats]:
    """What a word's bit 0 and bit 1 add where the copy shows `symbol`: mean 0, variance 1."""
    up, down = np.sqrt((1 - p) / p), np.sqrt(p / (1 - p))
    return (-down, up) if symbol else (down, -up)


def scores(p: Floats, evidence: Evidence) -> dict[str, TwoValued]:
    """Every score for this evidence, by name."""
    found = {"symmetric": _symmetric(p, evidence)}
    for c in INTERLEAVING:
        found[f"interleaving {c}" if c > 1 else "single"] = _interleaving(p, evidence, c)
    for c in AVERAGING:
        found[f"averaging {c}"] = _averaging(p, evidence, c)
    for how in DECIDED:
        for c in DECIDERS:
            found[f"{how} {c}"] = _decided(p, evidence, how, c)
    return found


def _symmetric(p: Floats, evidence: Evidence) -> TwoValued:
    zero, one = symmetric_values(p, 1)
    shown = np.clip(2 * np.nan_to_num(evidence.fraction, nan=0.5) - 1, -1, 1)
    sure = 1 / (1 + (2 * np.nan_to_num(evidence.spread, nan=1e3, posinf=1e3)) ** 2)
    weight = shown * sure
    return TwoValued(p, weight * zero, weight * one)


def _interleaving(p: Floats, evidence: Evidence, c: int) -> TwoValued:
    """Each cell of the copy is one colluder's, drawn at random."""
    form_a, form_b = _likelihood(evidence, 0.0), _likelihood(evidence, 1.0)
    anyone = (1 - p) * form_a + p * form_b
    others = (c - 1) / c * anyone
    return _ratio(p, evidence, others + form_a / c, others + form_b / c, anyone)


def _decided(p: Floats, evidence: Evidence, how: str, c: int) -> TwoValued:
    """Each cell of the copy is one form, decided by how many of c colluders have which."""
    form_a, form_b = _likelihood(evidence, 0.0), _likelihood(evidence, 1.0)
    most = {"majority": c // 2, "all A": c - 1, "all B": 0}[how]  # with form B, to show form A

    def mixed(fixed: int, free: int) -> Floats:
        shows_b = np.zeros_like(p)
        for m in range(free + 1):
            if m + fixed > most:
                shows_b += math.comb(free, m) * p**m * (1 - p) ** (free - m)
        return shows_b * form_b + (1 - shows_b) * form_a

    return _ratio(p, evidence, mixed(0, c - 1), mixed(1, c - 1), mixed(0, c))


def _averaging(p: Floats, evidence: Evidence, c: int) -> TwoValued:
    """Each cell of the copy is the mean of all colluders'."""
    seen = [_likelihood(evidence, m / c) for m in range(c + 1)]

    def mixed(fixed: int, free: int) -> Floats:
        total = np.zeros_like(p)
        for m in range(free + 1):
            total += math.comb(free, m) * p**m * (1 - p) ** (free - m) * seen[m + fixed]
        return total

    return _ratio(p, evidence, mixed(0, c - 1), mixed(1, c - 1), mixed(0, c))


def _likelihood(evidence: Evidence, level: float) -> Floats:
    spread = np.maximum(np.nan_to_num(evidence.spread, nan=1e3, posinf=1e3), _LEAST_SPREAD)
    distance = (np.nan_to_num(evidence.fraction, nan=0.5) - level) / spread
    normal = np.exp(-np.minimum(distance**2, 1e3) / 2) / (spread * math.sqrt(2 * math.pi))
    return (1 - _OUTLIER) * normal + _OUTLIER / (_RANGE[1] - _RANGE[0])


def _ratio(p: Floats, evidence: Evidence, zero: Floats, one: Floats, anyone: Floats) -> TwoValued:
    erased = np.isnan(evidence.fraction)
    return TwoValued(
        p,
        np.where(erased, 0.0, np.log(zero / anyone)),
        np.where(erased, 0.0, np.log(one / anyone)),
    )
