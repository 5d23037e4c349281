"""A broker's side of a shared key: which secret of a sealing it holds, and for which plans.

A plan's broker set decides. With threshold 1 the content key is released; above it this broker's
share, and never a content key that it may hold for another set: one broker alone must not do what
the plan asks several for.
"""

from __future__ import annotations

import json

from ledger.broker.deposits import CONTENT_KEY
from ledger.broker.facts import ChainState, Side
from ledger.broker.keyshares import KeyShares, release_label
from ledger.broker.store import BrokerStore
from ledger.broker.vault import Vault
from ledger.eip712 import Domain
from ledger.errors import KeyAccessError, KeyRequestRejected, LedgerError, SignatureInvalid
from ledger.ids import Address, Digest
from ledger.licensing.entitlement import moment
from ledger.sealed.record import SealingRecord


class Shareholding:
    """The shares that one broker holds.

    Args:
        store: keeps the licensors' statements.
        vault: keeps the shares.
        broker_id: of this broker.
    """

    def __init__(self, store: BrokerStore, vault: Vault, broker_id: int) -> None:
        self._store = store
        self._vault = vault
        self._broker_id = broker_id

    def check(
        self,
        shares: KeyShares,
        record: SealingRecord,
        signer: Address,
        domain: Domain,
        *,
        latest: int,
    ) -> None:
        """The statement of a deposit is its licensor's, about its sealing, and not an earlier one.

        Args:
            shares: the statement.
            record: of the sealing deposited.
            signer: who signed the deposit.
            domain: of the license ledger.
            latest: Unix seconds after which none can have been signed yet; whatever is kept from
                later would shut out every statement until then.

        Raises:
            SignatureInvalid: it is another's.
            KeyRequestRejected: it is about another sealing, of the future, or overtaken.
        """
        if (shares.model, shares.epoch, shares.sealing) != (
            record.model_id,
            record.epoch,
            record.hash(),
        ):
            raise KeyRequestRejected("the shares are of another sealing's key", check=5)
        if shares.licensor != signer or shares.signer(domain, step=5) != signer:
            raise SignatureInvalid(
                f"the statement about the shares is not signed by {signer}", step=5
            )
        if shares.issued_at > latest:
            raise KeyRequestRejected(
                f"the statement about the shares says that it was signed on "
                f"{moment(shares.issued_at)}, which is yet to come",
                check=5,
                hint="set the clock of the machine that signs, and split the key again",
            )
        kept = self._kept(shares.sealing, shares.broker_set)
        # Only the same licensor's: who bought the title is bound by nothing that its seller signed.
        if (
            kept is not None
            and kept[1].licensor == shares.licensor
            and kept[1].issued_at > shares.issued_at
        ):
            raise KeyRequestRejected(
                f"shares signed later ({moment(kept[1].issued_at)}) were deposited already",
                check=5,
                hint="whoever signed these anew has to deposit at each broker of the set",
            )

    def keep(self, shares: KeyShares, index: int, value: bytearray) -> None:
        """Store this broker's share and read it back, inside the caller's transaction.

        Raises:
            SharesRejected: it is not the share that the statement commits to.
        """
        shares.share(index, value).check()
        label = _stored_label(shares.broker_set)
        self._store.write(
            "INSERT INTO share_sets VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "number = excluded.number, document = excluded.document",
            shares.sealing.raw,
            shares.broker_set,
            index,
            json.dumps(shares.to_json()),
        )
        self._vault.put(shares.sealing, label, value)
        with self._vault.secret(shares.sealing, label) as again:
            shares.share(index, again).check()

    def deposited(self, sealing: Digest, chain: ChainState | LedgerError) -> bool:
        """Whether this broker holds what a plan's broker set asks it for (step 6)."""
        if not isinstance(chain, ChainState):
            return self._store.sealing(sealing) is not None
        if chain.head.threshold == 1:
            return self._vault.holds(sealing, CONTENT_KEY)
        return self._fitting(sealing, chain.head) is not None

    def to_release(self, sealing: Digest, side: Side) -> tuple[str, str, KeyShares | None]:
        """Under which label it is stored, under which it is released, and the statement if any.

        Raises:
            KeyAccessError: it is not here any more.
        """
        if side.threshold == 1:
            return CONTENT_KEY, CONTENT_KEY, None
        found = self._fitting(sealing, side)
        if found is None:
            raise KeyAccessError(f"no share of sealing {sealing.short} is stored")
        index, shares = found
        return _stored_label(shares.broker_set), release_label(index), shares

    def _fitting(self, sealing: Digest, side: Side) -> tuple[int, KeyShares] | None:
        """The share of the plan's set, if it is as that set stands on chain."""
        if side.plan is None or self._broker_id not in side.brokers:
            return None
        kept = self._kept(sealing, side.plan.broker_set)
        if kept is None:
            return None
        index, shares = kept
        place = sorted(side.brokers).index(self._broker_id) + 1
        fits = (shares.threshold, len(shares.commitments), index) == (
            side.threshold,
            len(side.brokers),
            place,
        )
        return kept if fits else None

    def _kept(self, sealing: Digest, broker_set: int) -> tuple[int, KeyShares] | None:
        row = self._store.row(
            "SELECT number, document FROM share_sets WHERE sealing = ? AND broker_set = ?",
            sealing.raw,
            broker_set,
        )
        return None if row is None else (int(row[0]), KeyShares.from_json(json.loads(row[1])))


def _stored_label(broker_set: int) -> str:
    return f"share/{broker_set}"
