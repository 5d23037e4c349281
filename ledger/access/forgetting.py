"""Forget the audit log's oldest entries, so that it has an end (docs/spec/access.md, "Audit log").

What is forgotten is a beginning of the log and nothing else, and the log says so itself: the newest
entry names the last one that is gone, by number and hash. A beginning that is missing without such
an entry was taken away by somebody.
"""

from __future__ import annotations

import logging
from typing import Final

from sqlalchemy import Engine, delete, func, select

from ledger.access import trail
from ledger.access.trail import FORGOTTEN, LEAST_DAYS, Act, Row
from ledger.errors import UsageError
from ledger.ids import Digest
from ledger.index.access_tables import access_audit
from ledger.index.database import reading, writing

log = logging.getLogger(__name__)

KEPT_DAYS: Final = 3650
"""Days that an entry is kept, unless somebody says otherwise."""
AT_ONCE: Final = 20_000
"""Entries forgotten in one transaction: whoever appends waits for it."""
_DAY_MS: Final = 86_400_000


def forget(engine: Engine, days: float, *, actor: str, now: float) -> int:
    """Forget the oldest entries that are more than `days` old; how many there were.

    A day's worth at least, else a log would grow by what tells of its own forgetting; `AT_ONCE` at
    most, the rest by the next call. Never more than the beginning: an entry that is younger, or
    was altered so that it tells no time, keeps all that follow it.

    Args:
        engine: from `ledger.index.database.open_database`.
        days: age; at least `LEAST_DAYS`.
        actor: who does, such as ``local:service@HOST``.
        now: Unix seconds.

    Raises:
        UsageError: fewer days than anyone may forget after.
        IndexUnavailable: the database does not answer.
    """
    if days < LEAST_DAYS:
        raise UsageError(f"the audit log is kept for {LEAST_DAYS} days at least")
    now_ms, table = int(now * 1000), access_audit
    before_ms = now_ms - int(days * _DAY_MS)
    first, last = None, None
    with reading(engine) as connection:
        # Read without a lock: entries never change, and new ones come at the other end.
        for row in trail.rows(connection, limit=AT_ONCE):
            time_ms = trail.time_of(row.text)
            if time_ms is None or time_ms >= before_ms:
                break
            if first is None:
                if time_ms >= before_ms - _DAY_MS:
                    return 0
                first = row
            last = row
    if first is None or last is None:
        return 0
    with writing(engine) as connection:
        trail.lock(connection)
        lowest = connection.execute(select(func.min(table.c.sequence))).scalar_one()
        if lowest != first.sequence:
            return 0  # another process has done it meanwhile
        trail.append(connection, _told(last, before_ms, actor), now_ms=now_ms)
        connection.execute(delete(table).where(table.c.sequence <= last.sequence))
    count = last.sequence - first.sequence + 1
    log.info("forgot %d entries of the audit log", count)
    return count


def _told(last: Row, before_ms: int, actor: str) -> Act:
    detail = {"sequence": last.sequence, "before_ms": before_ms}
    return Act(actor, FORGOTTEN, str(Digest(last.hash)), detail=detail)
