"""Options of the commands that seal a model with cells."""

from __future__ import annotations

from typing import Annotated

import typer

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
    int,
    typer.Option(
        "--cell-bytes", help="Size of a cell: 16384, 32768 or 65536. Each is stored twice."
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
