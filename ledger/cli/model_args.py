"""What the commands about one model share: its argument, whether it is registered, the answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.output import Answer, fields
from ledger.cli.receipts import receipt_data, receipt_row, settle
from ledger.cli.session import Session
from ledger.errors import UnknownRecord, UsageError
from ledger.ids import ModelId, quoted

if TYPE_CHECKING:
    from ledger.chain.transactions import TxReceipt

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


def done(
    session: Session,
    model_id: ModelId,
    receipt: TxReceipt,
    what: str,
    value: object,
    *,
    notes: tuple[str, ...] = (),
) -> Answer:
    """The answer of a command that sent one transaction about a model."""
    final = settle(session, receipt)
    return Answer(
        {"model_id": model_id, what.replace(" ", "_"): value} | receipt_data(receipt, final=final),
        fields([("model", model_id), (what, value), receipt_row(receipt, final=final)]),
        notes=notes,
    )
