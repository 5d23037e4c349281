"""Fold events into the state tables: one function an event, no reading of anything but state.

The same events in the same order give the same rows whatever batches they come in; that is what
makes `Journal.refold` an oracle for the live index.
"""

from __future__ import annotations

from ledger.index import fold_brokers, fold_licenses, fold_titles
from ledger.index.decode import Event
from ledger.index.step import Place, Step
from ledger.index.versions import Versions

_HANDLERS = fold_titles.HANDLERS | fold_licenses.HANDLERS | fold_brokers.HANDLERS


def fold(state: Versions, event: Event | None, at: Place, *, answer: bytes | None = None) -> None:
    """Apply one event. `answer` is what the contract told beside it (`ledger.index.fetch`)."""
    handler = None if event is None else _HANDLERS.get((event.contract, event.name))
    if event is not None and handler is not None:
        handler(Step(state, at, event.values, answer))
