"""A broker's side of a sealing's cells: what it holds, and what it releases of it.

The code key never leaves. Of each cell one key goes out, the one the license's code word says, and
the reply says a hash of that word (docs/spec/variants.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ledger.broker.celldeposits import (
    CELL_KEYS,
    CELL_SHARE,
    CODE_KEY,
    DepositedCells,
    cell_share_label,
    check_cell_keys,
    check_code_key,
    has_cells,
)
from ledger.broker.cellshares import Place, ReleasedPart
from ledger.broker.custody import zero
from ledger.broker.deposits import CONTENT_KEY, KeyDeposit, Wrap
from ledger.broker.facts import ChainState, Side
from ledger.broker.keyshares import KeyShares, deposited_index
from ledger.broker.leases import Lease
from ledger.broker.protocol import KeyRequest, release_info
from ledger.broker.store import BrokerStore
from ledger.broker.vault import Vault
from ledger.broker.wordcount import WordCount
from ledger.errors import KeyAccessError, LedgerError, ManifestError, SharesRejected
from ledger.ids import Digest, LicenseId
from ledger.sealed.cells import CellKeys, ReleasedCells
from ledger.sealed.codeword import CODE_KEY_BYTES, CodeParameters, CodeWord, code_word
from ledger.sealed.recipients import wrap
from ledger.sealed.record import SealingRecord


class CellKeeping:
    """The cell keys of one broker.

    Args:
        store: keeps the codes' parameters.
        vault: keeps the keys.
        words: counts the code words that each license is given.
    """

    def __init__(self, store: BrokerStore, vault: Vault, words: WordCount) -> None:
        self._store = store
        self._vault = vault
        self._words = words

    # -- deposit -------------------------------------------------------------------------------

    def keep(self, deposit: KeyDeposit, opened: Mapping[str, bytearray]) -> None:
        """Check a deposit's cells, store them and read them back, in the caller's transaction.

        Raises:
            KeyAccessError: the keys are not those the record commits to.
            SharesRejected: this broker's part is not the one the statement commits to.
        """
        cells, record = deposit.cells, deposit.record
        if cells is None:
            return
        sealing, parameters = record.hash(), cells.parameters
        check_code_key(opened[CODE_KEY], parameters, record)
        self._vault.put(sealing, CODE_KEY, opened[CODE_KEY])
        with self._vault.secret(sealing, CODE_KEY) as again:
            check_code_key(again, parameters, record)
        if deposit.shares is None:
            stored, secret = CELL_KEYS, opened[CELL_KEYS]
        else:
            stored, secret = _stored(deposit.shares.broker_set), opened[_share_label(deposit)]
        self._check(deposit, cells, secret)
        self._vault.put(sealing, stored, secret)
        with self._vault.secret(sealing, stored) as again:
            self._check(deposit, cells, again)
        self._store.write(
            "INSERT INTO cell_codes VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            sealing.raw,
            parameters.count,
            parameters.colluders,
        )

    def _check(self, deposit: KeyDeposit, cells: DepositedCells, secret: bytearray) -> None:
        keys, shares = CellKeys(secret), deposit.shares
        if keys.count != cells.parameters.count:
            raise KeyAccessError(
                f"keys of {keys.count} cells were deposited for {cells.parameters.count}"
            )
        if shares is None:
            check_cell_keys(keys, cells.records, deposit.record)
            return
        index = deposited_index(deposit.wraps[0].label, shares)
        place = Place(shares.threshold, len(shares.commitments), index)
        if place.commitment(keys) != shares.cells[index - 1]:
            raise SharesRejected(f"the cell keys' share {index} is not the one committed to")

    # -- decision and release ------------------------------------------------------------------

    def deposited(self, sealing: Digest, chain: ChainState | LedgerError) -> bool:
        """Whether what a sealing's cells need is here; a sealing without cells needs nothing."""
        record = self._store.sealing(sealing)
        if record is None or not has_cells(record):
            return record is not None
        if not isinstance(chain, ChainState) or chain.head.plan is None:
            return self._vault.holds(sealing, CODE_KEY)
        stored = _stored_for(chain.head)
        return self._vault.holds(sealing, CODE_KEY) and self._vault.holds(sealing, stored)

    def wraps(
        self,
        request: KeyRequest,
        lease: Lease,
        side: Side,
        *,
        shares: KeyShares | None,
        index: int,
    ) -> tuple[list[Wrap], dict[str, Any]]:
        """One license's cell keys or shares, wrapped, and what the reply says of them; counted.

        Args:
            request: what they are asked with.
            lease: what they come under.
            side: the chain at the agreed head.
            shares: the statement about this broker's share, where it has one.
            index: of that share.

        Raises:
            KeyAccessError: they are not here any more.
        """
        record = self._store.sealing(lease.sealing)
        if record is None or not has_cells(record):
            return [], {}
        parameters, word = self._word(record, request.license, side)
        with self._vault.secret(lease.sealing, _stored_for(side)) as secret:
            payload, label = _payload(CellKeys(secret), word, shares, index)
        try:
            info = release_info(label, request, lease)
            wrapped = Wrap(label, wrap(payload, request.kem, info=info))
        finally:
            zero(payload)
        self._words.give(request.license, lease.sealing, side)
        return [wrapped], {"cells": {"count": parameters.count, "code_hash": str(word.hash())}}

    def _word(
        self, record: SealingRecord, license_id: LicenseId, side: Side
    ) -> tuple[CodeParameters, CodeWord]:
        sealing = record.hash()
        row = self._store.row(
            "SELECT count, colluders FROM cell_codes WHERE sealing = ?", sealing.raw
        )
        if row is None:
            raise KeyAccessError(f"no code is stored for sealing {sealing.short}")
        parameters = CodeParameters(int(row[0]), int(row[1]))
        with self._vault.secret(sealing, CODE_KEY) as secret:
            key = secret[:CODE_KEY_BYTES]
            try:
                made = code_word(parameters, key, license_id, side.license.holder, side.grant_nonce)
            finally:
                zero(key)
        return parameters, made


def check_labels(deposit: KeyDeposit) -> None:
    """A deposit holds exactly what its sealing needs.

    Raises:
        ManifestError: more, less, or something else.
    """
    labels = [entry.label for entry in deposit.wraps]
    if not labels:
        raise ManifestError("the deposit holds no key")
    wanted = [CONTENT_KEY]
    if deposit.shares is not None:
        deposited_index(labels[0], deposit.shares)
        wanted = [labels[0]]
    if has_cells(deposit.record):
        more = CELL_KEYS if deposit.shares is None else _share_label(deposit)
        wanted += [more, CODE_KEY]
    shared = () if deposit.shares is None else deposit.shares.cells
    if (
        labels != wanted
        or (deposit.cells is not None) != has_cells(deposit.record)
        or (bool(shared) != (deposit.shares is not None and has_cells(deposit.record)))
    ):
        raise ManifestError(
            f"the deposit holds {', '.join(labels)[:200]} where its sealing needs "
            f"{', '.join(wanted)}",
            hint="a sealing with cells needs their keys and its code key, another one neither",
        )


def _share_label(deposit: KeyDeposit) -> str:
    return cell_share_label(deposit.wraps[0].label)


def _stored(broker_set: int) -> str:
    return f"{CELL_SHARE}/{broker_set}"


def _stored_for(side: Side) -> str:
    if side.threshold == 1 or side.plan is None:
        return CELL_KEYS
    return _stored(side.plan.broker_set)


def _payload(
    keys: CellKeys, word: CodeWord, shares: KeyShares | None, index: int
) -> tuple[bytearray, str]:
    """What is wrapped, and its label."""
    if shares is None:
        released = ReleasedCells(word, keys.chosen(word))
        try:
            return released.to_bytes(), CELL_KEYS
        finally:
            released.wipe()
    place = Place(shares.threshold, len(shares.commitments), index)
    part = ReleasedPart.of(place, keys, word)
    try:
        return part.to_bytes(), f"{CELL_SHARE}/{index}"
    finally:
        part.wipe()
