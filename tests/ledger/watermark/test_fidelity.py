"""What the caller's evaluation shows of a mark."""

from pathlib import Path

import numpy as np
import pytest

from ledger.errors import UsageError
from ledger.watermark.fidelity import agreement

ONE, TWO = Path("one"), Path("two")


def test_outputs_are_compared_row_by_row():
    outputs = {ONE: [[1, 0], [0, 1]], TWO: [[1, 0], [1, 1]]}
    told = agreement(ONE, TWO, outputs.__getitem__)
    assert told.inputs == 2
    assert told.min_cosine == pytest.approx(0.5**0.5)
    assert told.mean_cosine == pytest.approx((1 + 0.5**0.5) / 2)


@pytest.mark.parametrize("two", [[[1, 0]], [], [[1, np.nan], [0, 1]]])
def test_what_cannot_be_compared_is_refused(two):
    with pytest.raises(UsageError):
        agreement(ONE, TWO, {ONE: [[1, 0], [0, 1]], TWO: two}.__getitem__)
