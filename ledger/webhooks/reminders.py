"""Licenses that are about to end, told once for each license and term.

All live licenses are looked through every few minutes, while an endpoint asks for it: an index on
their ends would have to be kept up by every block, for a question that is asked so seldom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, select, update

from ledger.ids import Address, LicenseId
from ledger.index import tables
from ledger.index.as_of import AsOf
from ledger.index.database import writing
from ledger.index.fold_licenses import REVOKED, license_subject
from ledger.index.views import Index, RowMap, Snapshot
from ledger.index.webhook_tables import webhook_endpoint, webhook_place
from ledger.webhooks.filters import EXPIRING, Filter
from ledger.webhooks.keeping import Addressed, already, keep, origin_of

EVERY_SECONDS: Final = 300
STALE_SECONDS: Final = 3600
"""An index older than this may not know of a renewal: nobody is told that a license ends."""
_PAGE: Final = 500
_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class _Asker:
    id: str
    filter: Filter
    seconds: int


class Reminders:
    """Makes ``license.expiring`` messages of one index.

    Args:
        index: whose; its clock decides.
        write_as_of: the ``as_of`` member that answers of the service have, from a snapshot's.
    """

    def __init__(self, index: Index, write_as_of: Callable[[AsOf], dict[str, Any]]) -> None:
        self._index = index
        self._write_as_of = write_as_of

    def remind(self) -> int:
        """Look through the licenses, if it is time; how many reminders were made.

        A process that is killed in between leaves the rest to the next look: what was made is kept
        under its id, and is not made twice.

        Raises:
            IndexUnavailable: the database does not answer.
        """
        now = int(self._index.now())
        with self._index.reading() as connection:
            askers = self._askers(connection)
            due = self._due(connection)
        # Of a clock that was set back, a look in the future says nothing.
        if not askers or 0 <= now - due < EVERY_SECONDS:
            return 0
        count, after = 0, -1
        while True:
            last, made = self._page(askers, now, after)
            if made:
                with writing(self._index.engine) as connection:
                    count += keep(connection, self._index.chain_id, made, now * 1000)
            if last is None:
                break
            after = last
        with writing(self._index.engine) as connection:
            connection.execute(
                update(webhook_place)
                .where(webhook_place.c.chain_id == self._index.chain_id)
                .values(reminded_at=now)
            )
        return count

    def _askers(self, connection: Connection) -> list[_Asker]:
        table = webhook_endpoint
        rows = connection.execute(
            select(table.c.id, table.c.filters, table.c.expiring_days).where(
                table.c.chain_id == self._index.chain_id, table.c.enabled, table.c.expiring_days > 0
            )
        )
        found = [
            _Asker(row.id, Filter.parse(row.filters), row.expiring_days * _DAY) for row in rows
        ]
        return [each for each in found if EXPIRING in each.filter.types]

    def _due(self, connection: Connection) -> int:
        table = webhook_place
        found = connection.execute(
            select(table.c.reminded_at).where(table.c.chain_id == self._index.chain_id)
        ).scalar_one_or_none()
        return int(found or 0)

    def _page(
        self, askers: Sequence[_Asker], now: int, after: int
    ) -> tuple[int | None, list[Addressed]]:
        with self._index.snapshot() as snapshot:
            if snapshot.as_of.lag_s > STALE_SECONDS:
                return None, []
            rows = self._ending(snapshot, now, now + max(each.seconds for each in askers), after)
            if not rows:
                return None, []
            licensors = self._licensors(snapshot, {bytes(row["model_id"]) for row in rows})
            origin = origin_of(snapshot.connection, self._index.chain_id)
            as_of = self._write_as_of(snapshot.as_of)
            ids = {
                int(row["license_id"]): origin.id(
                    "expiring", license_id=str(row["license_id"]), not_after=row["not_after"]
                )
                for row in rows
            }
            told = already(snapshot.connection, list(ids.values()))
        made = []
        for row in rows:
            model, license_id = bytes(row["model_id"]), int(row["license_id"])
            id_, licensor = ids[license_id], licensors.get(model, b"")
            subjects = (license_subject(license_id), model)
            to = frozenset(
                each.id
                for each in askers
                if row["not_after"] - now <= each.seconds
                and (each.id, id_) not in told
                and each.filter.about(subjects, (licensor,))
            )
            if to:
                told_of = _members(row, license_id, licensor)
                made.append(Addressed(origin.message(EXPIRING, id_, now, as_of, **told_of), to))
        return int(rows[-1]["license_id"]), made

    @staticmethod
    def _ending(snapshot: Snapshot, now: int, until: int, after: int) -> Sequence[RowMap]:
        table = tables.license_
        return snapshot.rows(
            select(table)
            .where(
                table.c.chain_id == snapshot.chain_id,
                table.c.died_block.is_(None),
                table.c.license_id > after,
                table.c.not_after > now,
                table.c.not_after <= until,
                table.c.status != REVOKED,
            )
            .order_by(table.c.license_id)
            .limit(_PAGE)
        )

    @staticmethod
    def _licensors(snapshot: Snapshot, models: set[bytes]) -> dict[bytes, bytes]:
        table = tables.model
        rows = snapshot.rows(
            select(table.c.model_id, table.c.licensor).where(
                table.c.chain_id == snapshot.chain_id,
                table.c.died_block.is_(None),
                table.c.model_id.in_(models),
            )
        )
        return {bytes(row["model_id"]): bytes(row["licensor"]) for row in rows}


def _members(row: RowMap, license_id: int, licensor: bytes) -> dict[str, Any]:
    return {
        "license": str(LicenseId(license_id)),
        "license_id": str(license_id),
        "model": "0x" + bytes(row["model_id"]).hex(),
        "plan": row["plan_id"],
        "holder": str(Address(bytes(row["holder"]))),
        "licensor": str(Address(licensor)) if licensor else None,
        "not_after": row["not_after"],
    }
