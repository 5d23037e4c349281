"""What the commands about one model share: its argument, and whether it is registered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.session import Session
from ledger.errors import UnknownRecord, UsageError
from ledger.ids import ModelId, quoted

Model = Annotated[str, typer.Argument(help="Model id, or its sealed file.")]


def model_of(text: str) -> ModelId:
    """A model id, written out or read from a sealed file.

    Raises:
        UsageError: neither.
        SealedFormatError: a file that is not sealed.
    """
    path = Path(text)
    if not text.startswith("0x") and path.exists():
        from ledger.sealed.file import inspect

        return inspect(path).model_id
    try:
        return ModelId.parse(text)
    except UsageError as error:
        if text.startswith("0x"):
            raise
        raise UsageError(
            f"there is no file {quoted(text)}, and it is no model id",
            hint="give the model's sealed file, or 0x and 64 hex digits",
        ) from error


def known(session: Session, text: str) -> ModelId:
    """A registered model.

    Raises:
        UnknownRecord: it is not.
    """
    model_id = model_of(text)
    if session.registry.licensor_of(model_id) is None:
        raise UnknownRecord(
            f"there is no model {model_id} on {session.network.name}",
            hint="register it with deed publish, or check the id and the network",
        )
    return model_id
