"""What a mark does to a model's answers, by an evaluation that the caller brings.

We run no models: a caller's function turns a model's path into outputs, of any framework.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ledger.errors import UsageError

Evaluation = Callable[[Path], npt.ArrayLike]
"""From a model's path to outputs: a row for each input, or a number each."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike the outputs of two models are.

    Attributes:
        inputs: how many outputs were compared.
        mean_cosine: of their cosine similarities.
        min_cosine: of the input that changed most.
    """

    inputs: int
    mean_cosine: float
    min_cosine: float

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "inputs": self.inputs,
            "mean_cosine": self.mean_cosine,
            "min_cosine": self.min_cosine,
        }


def agreement(original: Path, marked: Path, evaluation: Evaluation) -> Agreement:
    """Compare the outputs of a model and its marked copy on the caller's inputs.

    Raises:
        UsageError: the outputs are none, not numbers, or of different shapes.
    """
    before, after = (_outputs(evaluation(path)) for path in (original, marked))
    if before.shape != after.shape:
        raise UsageError(
            "the evaluation gave outputs that cannot be compared",
            hint="give as many rows of as many numbers for both models",
        )
    scale = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    both = np.einsum("ij,ij->i", before, after)
    cosine = np.divide(both, scale, out=np.zeros_like(both), where=scale > 0)
    return Agreement(len(cosine), float(cosine.mean()), float(cosine.min()))


def _outputs(given: npt.ArrayLike) -> npt.NDArray[np.float64]:
    values = np.asarray(given, np.float64)
    if not values.size or not np.isfinite(values).all():
        raise UsageError("the evaluation gave no outputs, or ones that are not finite numbers")
    return values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
