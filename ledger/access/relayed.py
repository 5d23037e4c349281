"""Which transactions were passed on: by these is told what was replaced or dropped."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Engine, delete, insert, select
from sqlalchemy.exc import IntegrityError

from ledger.chain.relay import Passed
from ledger.ids import Address, Digest
from ledger.index.access_tables import relayed
from ledger.index.database import reading, writing

KEPT_SECONDS: Final = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Relays:
    """The transactions that one database remembers, of one chain.

    Args:
        engine: from `ledger.index.database.open_database`.
        chain_id: the chain.
        now: Unix time in seconds.
    """

    engine: Engine
    chain_id: int
    now: Callable[[], float] = time.time

    def keep(self, which: Digest, sender: Address, nonce: int, actor: str) -> bool:
        """Remember one before it is sent; False where it was known.

        Args:
            which: its hash.
            sender: who signed it.
            nonce: its number among the sender's.
            actor: who had it passed on, as the audit log names them.

        Raises:
            IndexUnavailable: the database does not take it.
        """
        now, table = int(self.now()), relayed
        with writing(self.engine) as connection:
            connection.execute(delete(table).where(table.c.sent_at < now - KEPT_SECONDS))
            try:
                with connection.begin_nested():
                    connection.execute(
                        insert(table).values(
                            chain_id=self.chain_id, hash=which.raw, sender=sender.raw, nonce=nonce,
                            actor=actor, sent_at=now,
                        )
                    )  # fmt: skip
            except IntegrityError:
                return False
        return True

    def forget(self, which: Digest) -> None:
        """Forget one that no node took."""
        with writing(self.engine) as connection:
            connection.execute(delete(relayed).where(*self._is(which)))

    def find(self, which: Digest) -> Passed | None:
        """Whose it is and its nonce; None where it was not passed on, or too long ago."""
        with reading(self.engine) as connection:
            row = connection.execute(select(relayed).where(*self._is(which))).one_or_none()
        return None if row is None else Passed(Address(bytes(row.sender)), row.nonce)

    def _is(self, which: Digest) -> tuple[ColumnElement[bool], ...]:
        return relayed.c.chain_id == self.chain_id, relayed.c.hash == which.raw
