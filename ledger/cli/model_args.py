"""What the commands about one model share: its argument, whether it is registered, the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.output import Answer, fields
from ledger.cli.plan import model_of
from ledger.cli.receipts import receipt_data, receipt_row, settle
from ledger.cli.session import Session
from ledger.errors import UnknownRecord
from ledger.ids import ModelId

if TYPE_CHECKING:
    from ledger.chain.transactions import TxReceipt

Model = Annotated[str, typer.Argument(help="Model id, or its sealed file.")]


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
