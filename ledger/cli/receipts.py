"""What commands say about a transaction they sent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from ledger.cli.output import Answer, fields
from ledger.errors import ChainError, PendingFinality, UnavailableError

if TYPE_CHECKING:
    from ledger.chain.transactions import TxReceipt
    from ledger.cli.session import Session

_WAIT: Final = 3600.0
_POLL: Final = 0.2


def settle(session: Session, receipt: TxReceipt) -> bool:
    """Wait for finality when ``--wait`` was given.

    Returns:
        Whether the transaction is known to be final.
    """
    if not session.wait:
        return False
    session.sender.wait_final(receipt, timeout=_WAIT)
    return True


def settle_block(session: Session, number: int) -> bool:
    """Whether a block is final; with ``--wait``, wait until it is.

    For commands that send several transactions, or find them sent already.

    Raises:
        PendingFinality: it takes longer than an hour.
    """
    from ledger.chain.finality import finalized_block

    if not session.wait:
        try:
            return finalized_block(session.rpc, session.network.profile).number >= number
        except (ChainError, UnavailableError):
            return False  # what was done is done, whether or not this can be told now
    deadline = time.monotonic() + _WAIT
    while finalized_block(session.rpc, session.network.profile).number < number:
        if time.monotonic() > deadline:
            raise PendingFinality(f"block {number} is not final after an hour")
        time.sleep(_POLL)
    return True


def sent(
    session: Session,
    about: tuple[str, object],
    receipt: TxReceipt,
    what: str,
    value: object,
    *,
    notes: tuple[str, ...] = (),
) -> Answer:
    """The answer of a command that sent one transaction.

    Args:
        session: of the command.
        about: what it was about, by its name in data: ``model_id``, ``broker``.
        receipt: the transaction's.
        what: the thing that is now otherwise.
        value: as which.
        notes: for people.
    """
    final = settle(session, receipt)
    name, subject = about
    return Answer(
        {name: subject, what.replace(" ", "_"): value} | receipt_data(receipt, final=final),
        fields(
            [
                (name.removesuffix("_id"), subject),
                (what, value),
                receipt_row(receipt, final=final),
            ]
        ),
        notes=notes,
    )


def receipt_data(receipt: TxReceipt, *, final: bool) -> dict[str, Any]:
    """The transaction, for ``--json``."""
    return {
        "transaction": receipt.hash,
        "block": receipt.block_number,
        "block_hash": receipt.block_hash,
        "gas_used": receipt.gas_used,
        "final": final,
    }


def receipt_row(receipt: TxReceipt, *, final: bool) -> tuple[str, object]:
    """The transaction, for people."""
    state = "final" if final else "not yet final; --wait waits"
    return ("transaction", f"{receipt.hash} in block {receipt.block_number}, {state}")
