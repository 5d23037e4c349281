"""Sealings with cells, before any sealed file has them: records that commit to real cell keys."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import broker_world

from ledger.broker.celldeposits import CellSecrets
from ledger.ids import Digest
from ledger.sealed.codeword import CodeParameters


@dataclass
class Celled:
    """A registered model with a lodged record that commits to cells."""

    published: Any
    cells: CellSecrets


def celled(world: Any, folder: Path, *, count: int = 24, colluders: int = 4) -> Celled:
    """Publish a model whose record commits to fresh cells; the sealed file itself has none."""
    records = [Digest(hashlib.sha256(b"%d" % n).digest()) for n in range(count)]
    cells = CellSecrets.create(CodeParameters(count, colluders), records)
    made = broker_world.publish(world.chain, folder, epoch=1)
    record = replace(
        made.record, epoch=2, variant_root=cells.variant_root, code_commit=cells.code_commit
    )
    world.chain.send("licensor", "ModelRegistry", "lodge", made.model_id, 1, 2, record.hash())
    return Celled(replace(made, record=record), cells)


def other_cells(count: int = 24, colluders: int = 4) -> CellSecrets:
    """Cells of another sealing."""
    records = [Digest(secrets.token_bytes(32)) for _ in range(count)]
    return CellSecrets.create(CodeParameters(count, colluders), records)
