"""Deposits as a broker takes them, in the order of docs/spec/key-release.md, "Deposit"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ledger.broker.cellkeeping import CellKeeping, check_labels
from ledger.broker.chain_reader import ChainReader
from ledger.broker.custody import zero
from ledger.broker.defence import Defence
from ledger.broker.deposits import KeyDeposit, deposit_info
from ledger.broker.home import BrokerHome
from ledger.broker.keyshares import deposited_index
from ledger.broker.receipts import ReceiptLog
from ledger.broker.shareholding import Shareholding
from ledger.broker.store import BrokerStore
from ledger.broker.vault import Vault
from ledger.errors import KeyRequestRejected, PendingFinality, SignatureInvalid
from ledger.ids import Address
from ledger.licensing import terms as terms_module
from ledger.licensing.entitlement import moment
from ledger.sealed.recipients import unwrap
from ledger.sealed.record import SealingRecord

TOLERANCE: Final = 3600


class DepositDesk:
    """Takes the keys of sealings from their licensors, and signs for them.

    Args:
        home: the broker's keys and identity.
        store: its database.
        vault: its keys at rest.
        shareholding: the shares it holds of keys that several brokers share.
        cells: the cell keys it holds.
        log: of receipts.
        defence: counts the deposits of each licensor.
        chain: where titles are read.
        now: Unix seconds.
    """

    def __init__(
        self,
        home: BrokerHome,
        store: BrokerStore,
        vault: Vault,
        *,
        shareholding: Shareholding,
        cells: CellKeeping,
        log: ReceiptLog,
        defence: Defence,
        chain: ChainReader,
        now: Callable[[], int],
    ) -> None:
        self._home = home
        self._identity = home.identity
        self._store = store
        self._vault = vault
        self._shareholding = shareholding
        self._cells = cells
        self._log = log
        self._defence = defence
        self.chain = chain
        self._now = now

    def take(self, body: Any) -> dict[str, Any]:
        """Take a sealing's key from its licensor and sign for it.

        The steps are those of docs/spec/key-release.md, "Deposit"; the number is in the error.

        Raises:
            FormatError: not a deposit.
            KeyRequestRejected: addressed, timed or keyed wrongly, or not by the titleholder.
            SignatureInvalid: not signed by the stated licensor.
            PendingFinality: the sealing is not lodged (yet).
            KeyAccessError: the wrap does not open, or the key or share is not the one committed to.
            RateLimited: the licensor deposits too often.
            UnavailableError, ChainError: the chain cannot be read.
        """
        deposit, now = KeyDeposit.from_json(body), self._now()
        record = deposit.record
        # (1) For this broker, its present KEM key, and now.
        self._check_addressed(deposit, now)
        # (2) Signed by the stated licensor.
        signer = deposit.signer(self._identity.domain, step=2)
        if signer != deposit.licensor:
            raise SignatureInvalid(
                f"the deposit is signed by {signer}, not by {deposit.licensor}", step=2
            )
        self._defence.deposits(signer)
        # (3) Who holds the title of the model, and lodged this very sealing.
        self._check_title(record, signer)
        # (4) The wrap opens. (5) The key is the committed one: stored, read back, checked again.
        documents = [terms_module.validate(dict(value)) for value in deposit.terms]
        if deposit.shares is not None:
            self._shareholding.check(
                deposit.shares, record, signer, self._identity.domain, latest=now + TOLERANCE
            )
        opened: dict[str, bytearray] = {}
        try:
            for entry in deposit.wraps:
                info = deposit_info(entry.label, record.hash(), self._identity.audience)
                opened[entry.label] = unwrap(entry.data, self._home.kem, info=info)
            first, *_ = deposit.wraps
            key = opened[first.label]
            with self._store.transaction():
                self._store.add_sealing(record, signer, now=now)
                if deposit.shares is None:
                    self._vault.keep(record, first.label, key)
                else:
                    index = deposited_index(first.label, deposit.shares)
                    self._shareholding.keep(deposit.shares, index, key)
                self._cells.keep(deposit, opened)
                for document in documents:
                    self._store.add_terms(document.hash(), document.document)
                # (6) Only now is it signed for.
                stored = {
                    "sealing": str(record.hash()),
                    "model": str(record.model_id),
                    "epoch": record.epoch,
                    "commit": str(record.commit),
                    "labels": list(opened),
                    "licensor": str(signer),
                    "terms": [str(document.hash()) for document in documents],
                }
                if deposit.shares is not None:
                    stored["shares"] = str(deposit.shares.set_id)
                return self._log.answer("deposit", deposit.to_json(), {"deposit": stored}, now=now)
        finally:
            for secret in opened.values():
                zero(secret)

    def _check_addressed(self, deposit: KeyDeposit, now: int) -> None:
        if deposit.audience != self._identity.audience:
            raise KeyRequestRejected("the deposit is addressed to another broker", check=1)
        if deposit.kem_key_hash != self._home.kem_key_hash:
            raise KeyRequestRejected(
                "the deposit is wrapped to another KEM key than this broker's",
                check=1,
                hint="ask the broker for its present keys",
            )
        if abs(now - deposit.issued_at) > TOLERANCE:
            raise KeyRequestRejected(
                f"the deposit was signed at {moment(deposit.issued_at)}, too far from now", check=1
            )
        check_labels(deposit)

    def _check_title(self, record: SealingRecord, signer: Address) -> None:
        holder, lodged = self.chain.title_state(record.model_id, record.epoch)
        if holder != signer:
            raise KeyRequestRejected(
                f"the title of model {record.model_id.short} is held by {holder}, not by {signer}",
                check=3,
                hint="deposit with the titleholder's wallet",
            )
        if lodged.is_zero:
            raise PendingFinality(
                f"no sealing is lodged for epoch {record.epoch} of model {record.model_id.short}",
                hint="lodge the sealing record first, then deposit",
            )
        if lodged != record.hash():
            raise KeyRequestRejected(
                f"another sealing ({lodged.short}) is lodged for epoch {record.epoch}", check=3
            )
