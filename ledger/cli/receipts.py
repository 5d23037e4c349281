"""What commands say about a transaction they sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ledger.chain.transactions import TxReceipt
    from ledger.cli.session import Session

_WAIT: Final = 3600.0


def settle(session: Session, receipt: TxReceipt) -> bool:
    """Wait for finality when ``--wait`` was given.

    Returns:
        Whether the transaction is known to be final.
    """
    if not session.wait:
        return False
    session.sender.wait_final(receipt, timeout=_WAIT)
    return True


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
