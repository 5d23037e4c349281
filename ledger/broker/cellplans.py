"""From what a licensor asks for (so many cells of so many bytes) to keys, code and a cell plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ledger.broker.celldeposits import CellSecrets
from ledger.errors import UsageError
from ledger.sealed.codeword import CodeParameters
from ledger.sealed.file import CellPlan
from ledger.sealed.header import DEFAULT_LOG2_SEGMENT, MAX_LOG2_CELL, MIN_LOG2_CELL
from ledger.sealed.marking import require_room
from ledger.tensors.model import ModelSource
from ledger.tracing.planning import Plan, best_colluders, plan


@dataclass(frozen=True, slots=True)
class CellChoice:
    """What a licensor asks for.

    Attributes:
        count: cells.
        cell_bytes: of each; 16384, 32768 or 65536.
        colluders: copies together that the code is made for; None takes what proves the most.
    """

    count: int
    cell_bytes: int = 1 << MIN_LOG2_CELL
    colluders: int | None = None

    def __post_init__(self) -> None:
        if self.cell_bytes not in {1 << n for n in range(MIN_LOG2_CELL, MAX_LOG2_CELL + 1)}:
            raise UsageError(
                f"cells of {self.cell_bytes} bytes are not defined",
                hint="give 16384, 32768 or 65536",
            )

    def __str__(self) -> str:
        made_for = self.parameters.colluders
        return f"{self.count} cells of {self.cell_bytes} bytes, for {made_for} copies together"

    def same(self, other: CellChoice) -> bool:
        """Whether it asks for the same cells and the same code."""
        return (self.parameters, self.cell_bytes) == (other.parameters, other.cell_bytes)

    @property
    def parameters(self) -> CodeParameters:
        """Of the code.

        Raises:
            LimitExceeded: no such code.
        """
        if self.colluders is None:
            CodeParameters(self.count, 2)
            return CodeParameters(self.count, best_colluders(self.count))
        return CodeParameters(self.count, self.colluders)

    @property
    def guarantees(self) -> Plan:
        """What tracing is proven to do with them."""
        return plan(self.parameters)

    def require_room(self, model: ModelSource) -> None:
        """See that the model can carry them, before anything is written or sent.

        Raises:
            CapacityExceeded: it cannot.
            LimitExceeded: no such code.
            TensorFileError: the model cannot be read.
        """
        require_room(
            model,
            self.parameters.count,
            log2_cell=self.cell_bytes.bit_length() - 1,
            log2_segment=DEFAULT_LOG2_SEGMENT,
        )

    def secrets(self) -> CellSecrets:
        """Fresh keys and a fresh code."""
        return CellSecrets.create(self.parameters)

    def plan(self, cells: CellSecrets) -> CellPlan:
        """What sealing takes; hand its `records` to `cells` afterwards."""
        log2 = self.cell_bytes.bit_length() - 1
        return CellPlan(cells.keys, cells.code_commit, log2_cell=log2)


def resumed(
    asked: CellChoice | None, begun: CellSecrets | None, cell_bytes: int | None, *, where: Path
) -> CellChoice | None:
    """The cells that a publication goes on with: those that it began with, and no others.

    Args:
        asked: this time; None takes what it began with.
        begun: its recovery file's.
        cell_bytes: as its journal noted them; None where it ended before that.
        where: its folder, for messages.

    Raises:
        UsageError: others are asked for, or nobody knows their size any more.
    """
    kept = None
    if begun is not None:
        size = cell_bytes or (asked and asked.cell_bytes)
        if not size:
            raise UsageError(
                f"the publication in {where} ended before it noted the size of its cells",
                hint="repeat the command with the --cells and --cell-bytes of the first time",
            )
        kept = CellChoice(begun.parameters.count, size, begun.parameters.colluders)
    if asked is not None and (kept is None or not asked.same(kept)):
        with_ = f"with {kept}" if kept else "without cells"
        raise UsageError(
            f"the publication in {where} began {with_}, and now {asked} are asked for",
            hint="leave out --cells to go on with what it began with, or publish in another "
            "folder with --out",
        )
    return kept
