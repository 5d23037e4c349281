"""Options of the commands that seal a model with cells."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.errors import UsageError

if TYPE_CHECKING:
    from ledger.broker.cellplans import CellChoice

Cells = Annotated[
    int | None,
    typer.Option(
        "--cells",
        min=1,
        max=4096,
        help="Mark copies per license in so many cells; deed investigate --trace names leaks.",
    ),
]
CellBytes = Annotated[
    int | None,
    typer.Option(
        "--cell-bytes",
        help="Size of a cell: 16384, 32768 or 65536. Each is stored twice.  [default: 16384]",
    ),
]
Colluders = Annotated[
    int | None,
    typer.Option(
        "--colluders",
        min=1,
        max=16,
        help="Copies together that the code is made for.  [default: what --cells can prove]",
    ),
]


def choice_of(
    cells: int | None, cell_bytes: int | None, colluders: int | None
) -> CellChoice | None:
    """What the three options ask for together; None: copies that are the same for all.

    Raises:
        UsageError: sizes without cells, or sizes that are not defined.
    """
    from ledger.broker.cellplans import CellChoice

    if cells is not None:
        made = CellChoice(cells, colluders=colluders)
        return made if cell_bytes is None else replace(made, cell_bytes=cell_bytes)
    if (cell_bytes, colluders) != (None, None):
        raise UsageError(
            "--cell-bytes and --colluders say how copies are marked, and none are to be",
            hint="say --cells too: in how many cells",
        )
    return None
