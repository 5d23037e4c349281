"""One root, one transaction: what anchors is kept before it is sent, and taken up again.

A process may be killed between sending and the receipt, two may anchor at once, a node may lose a
transaction or a reorganisation throw it out. In each case the very bytes that were signed for an
anchoring are sent again; another transaction is signed only once those can never be mined.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ledger.broker.database import Database
from ledger.chain.transactions import Sender, TxReceipt
from ledger.errors import (
    ContractReverted,
    InsufficientFunds,
    PendingFinality,
    TransactionFailed,
)
from ledger.ids import Address

_KEPT: Final = 64
"""Anchorings whose transaction is remembered: no reorganisation goes further back."""


def send_once(
    store: Database, sender: Sender, sequence: int, send: Callable[[Sender], TxReceipt]
) -> TxReceipt:
    """Send the transaction of one anchoring, or wait for the one that was sent already.

    Args:
        store: the broker's database.
        sender: the broker's operator.
        sequence: number of the anchoring.
        send: sends with the sender it is given, which keeps what it signs.

    Raises:
        PendingFinality: sent and not mined yet, or another process is sending it just now.
        ContractReverted, TransactionFailed, InsufficientFunds, ChainUnavailable: as ``Sender``.
    """
    found = store.row("SELECT account, nonce, raw FROM anchor_sends WHERE sequence = ?", sequence)
    if found is not None:
        account, nonce, raw = Address(found[0]), int(found[1]), bytes(found[2])
        if account == sender.address:
            try:
                return sender.resume(raw, nonce)
            except (ContractReverted, TransactionFailed):
                pass  # It failed, or its nonce is used up: it can never anchor anything.
        # Of another account: the contract takes roots from the operator alone, who is another now.
        store.write("DELETE FROM anchor_sends WHERE sequence = ? AND raw = ?", sequence, raw)
    keeper = _Keeper(store, sender.address, sequence)
    try:
        return send(sender.keeping(keeper.keep))
    except (ContractReverted, TransactionFailed, InsufficientFunds):
        # Refused by the node, failed, or replaced: what was kept is void.
        keeper.forget()
        raise


class _Keeper:
    """Writes down what is about to be sent, on disk when ``keep`` returns."""

    def __init__(self, store: Database, account: Address, sequence: int) -> None:
        self._store = store
        self._account = account
        self._sequence = sequence
        self._mine: bytes | None = None

    def keep(self, raw: bytes, nonce: int) -> None:
        """Keep a signed transaction.

        Raises:
            PendingFinality: another process has kept one for this anchoring.
        """
        store, sequence = self._store, self._sequence
        with store.transaction():
            found = store.row("SELECT raw FROM anchor_sends WHERE sequence = ?", sequence)
            if found is not None and bytes(found[0]) != self._mine:
                raise PendingFinality(
                    f"anchoring {sequence} is being sent by another process",
                    retry_after=5.0,
                    hint="it will be there shortly; deed broker status shows it",
                )
            # Signed anew under the next nonce: the node has refused the one before.
            store.write(
                "INSERT INTO anchor_sends VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "account = excluded.account, nonce = excluded.nonce, raw = excluded.raw",
                sequence,
                self._account.raw,
                nonce,
                raw,
            )
            store.write("DELETE FROM anchor_sends WHERE sequence <= ?", sequence - _KEPT)
        self._mine = raw

    def forget(self) -> None:
        """Drop it again, unless it is another process's."""
        if self._mine is not None:
            self._store.write(
                "DELETE FROM anchor_sends WHERE sequence = ? AND raw = ?",
                self._sequence,
                self._mine,
            )
