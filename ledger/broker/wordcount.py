"""How many code words of one sealing a license is given (docs/spec/variants.md, "Words").

A word is known by its holder and tenure: nothing secret is looked at to count it. Counted is what
was released; a word that was refused is kept beside, and counts as one more place once the hold it
led to is released.
"""

from __future__ import annotations

from typing import Final

from ledger.broker.anomaly import CODE_WORDS, Finding
from ledger.broker.database import Database
from ledger.broker.facts import ChainState, Side
from ledger.errors import LedgerError
from ledger.ids import Digest, LicenseId

_TRANSFERABLE_FROM: Final = 3
"""Colluders from which on a code has a place left for the first owner change."""


def places(colluders: int, *, holders: int = 1, threshold: int = 1, members: int = 1) -> int:
    """Words of one sealing that one license is given. Pure.

    Half of what the code is made for, because the holders of other licenses may join in, and where
    several brokers count alone no more than makes that many of all. Never less than two: a first
    owner change, or a first cancellation of grants, is ordinary. Who cancels before he sells does
    not spoil it for the buyer, as far as the code allows.

    Args:
        colluders: copies together that the sealing's code is made for.
        holders: who had the license when its words were asked for, the present one too.
        threshold: how many brokers of the plan's set must release.
        members: how many it has.
    """
    more = holders > 1 and colluders >= _TRANSFERABLE_FROM
    half = min(colluders // 2, colluders * threshold // max(members, 1))
    return max(2, half) + int(more)


class WordCount:
    """Which words of which sealing a license was given by this broker.

    Args:
        store: the broker's database, where the codes' parameters are too.
        least: places that a license has at least, whatever its code; 0: as the code says.
    """

    def __init__(self, store: Database, *, least: int = 0) -> None:
        self._store = store
        self._least = least

    def excess(
        self, license_id: LicenseId, sealing: Digest, chain: ChainState | LedgerError
    ) -> Finding | None:
        """Whether the license's present word is one too many; nothing is counted."""
        if not isinstance(chain, ChainState):
            return None
        holder, tenure = _word(chain.head)
        row = self._store.row(
            "SELECT colluders, (SELECT count(*) FROM code_words WHERE given = 1 AND "
            "sealing = ?1 AND license = ?2), (SELECT count(*) FROM code_words WHERE excused = 1 "
            "AND sealing = ?1 AND license = ?2), (SELECT count(DISTINCT holder) FROM code_words "
            "WHERE given = 1 AND sealing = ?1 AND license = ?2 AND holder <> ?3), "
            "(SELECT 1 FROM code_words WHERE given = 1 AND sealing = ?1 AND license = ?2 AND "
            "holder = ?3 AND tenure = ?4) FROM cell_codes WHERE sealing = ?1",
            sealing.raw,
            str(license_id),
            holder,
            tenure,
        )
        if row is None or row[4] is not None:
            return None
        colluders, given, excused, others = map(int, row[:4])
        head = chain.head
        room = excused + max(
            self._least,
            places(
                colluders,
                holders=1 + others,
                threshold=head.threshold,
                members=len(head.brokers),
            ),
        )
        if given < room:
            return None
        return Finding(
            CODE_WORDS,
            f"{given} code words of sealing {sealing.short} were released for it, and another "
            f"is asked for, where its code for {colluders} copies has {room} places; each "
            "transfer and each cancelGrants makes another word",
        )

    def refuse(
        self, license_id: LicenseId, sealing: Digest, chain: ChainState | LedgerError
    ) -> Finding | None:
        """As `excess`, and remember which word was refused, for the end of the hold."""
        found = self.excess(license_id, sealing, chain)
        if found is not None and isinstance(chain, ChainState):
            self._note(license_id, sealing, chain.head, given=0)
        return found

    def give(self, license_id: LicenseId, sealing: Digest, side: Side) -> None:
        """Count the license's present word, in the transaction that releases it."""
        self._note(license_id, sealing, side, given=1)

    def _note(self, license_id: LicenseId, sealing: Digest, side: Side, *, given: int) -> None:
        self._store.write(
            "INSERT INTO code_words VALUES (?, ?, ?, ?, ?, 0) ON CONFLICT DO UPDATE SET "
            "given = max(given, excluded.given)",
            sealing.raw,
            str(license_id),
            *_word(side),
            given,
        )


def excuse(store: Database, license_id: LicenseId) -> None:
    """A hold has ended: what was refused meanwhile is a place more for its sealing."""
    store.write(
        "UPDATE code_words SET excused = 1 WHERE license = ? AND given = 0", str(license_id)
    )


def _word(side: Side) -> tuple[bytes, int]:
    return side.license.holder.raw, side.grant_nonce
