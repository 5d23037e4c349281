"""Defence of a broker: rate limits, what its anomaly rules saw, and holds.

The rules are in ``anomaly``, the buckets in ``limits``; this module keeps what they rest on in the
broker's database and turns it into refusals. A hold, and its end, is an entry of the receipt log.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final

from ledger.broker import anomaly
from ledger.broker.anomaly import CALM, HELD, THROTTLED, Conduct, Finding, Past, Rules, Sighting
from ledger.broker.database import Database
from ledger.broker.limits import Buckets, Limits
from ledger.broker.receipts import ReceiptLog
from ledger.broker.wordcount import excuse
from ledger.errors import LicenseHeld, UsageError
from ledger.ids import Address, Digest, LicenseId

HOLD: Final = "hold"
HOLD_END: Final = "hold-end"
THROTTLE_EVENT: Final = "broker.license.throttled"
HOLD_EVENT: Final = "broker.license.held"
HOLD_END_EVENT: Final = "broker.license.released"

Tell = Callable[[str, dict[str, Any], int], None]


class Defence:
    """Decides who may ask, and how often. Thread-safe.

    Args:
        store: the broker's database.
        log: the broker's receipts.
        limits: rates.
        rules: thresholds of the anomaly rules.
        tell: puts a notice into the outbox, in the caller's transaction.
        clock: monotonic seconds, for the rates.
    """

    def __init__(
        self,
        store: Database,
        log: ReceiptLog,
        *,
        limits: Limits | None = None,
        rules: Rules | None = None,
        tell: Tell | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._log = log
        self._limits = limits or Limits()
        self._rules = rules or anomaly.DEFAULT
        self._tell = tell
        self._networks = Buckets("this network", clock)
        self._runtimes = Buckets("this runtime", clock)
        self._licenses = Buckets("this license", clock)
        self._throttled = Buckets("this license, throttled by an anomaly rule,", clock)
        self._leases = Buckets("this lease", clock)
        self._licensors = Buckets("this licensor", clock)
        self._wallets = Buckets(
            "this license's wallet is asked about wrong signatures, which", clock
        )

    # -- who may ask ---------------------------------------------------------------------------

    def knock(self, network: str) -> None:
        """Count a request of a network, before anything of it is read.

        Raises:
            RateLimited: too many.
        """
        self._networks.take(network, self._limits.network)

    def signed(self, runtime: Digest, detail: str) -> str:
        """Count a request that a runtime key signed; gives `detail` back.

        Raises:
            RateLimited: too many.
        """
        self._runtimes.take(str(runtime), self._limits.runtime)
        return detail

    def deposits(self, licensor: Address) -> None:
        """Count a deposit that a licensor signed, before the chain is asked; each is logged.

        Raises:
            RateLimited: too many.
        """
        self._licensors.take(str(licensor), self._limits.licensor)

    def beat(self, lease: Digest) -> None:
        """Count a heartbeat that its lease's runtime signed.

        Raises:
            RateLimited: too many.
        """
        self._leases.take(str(lease), self._limits.lease)

    @contextmanager
    def asking_wallet(self, license_id: LicenseId) -> Iterator[Callable[[], None]]:
        """Count a question to a contract wallet, unless the block says that it was worth asking.

        Yields:
            To call when the wallet said yes.

        Raises:
            RateLimited: too many were answered with no.
        """
        name, rate = str(license_id), self._limits.wallet
        self._wallets.take(name, rate)
        yield lambda: self._wallets.give(name, rate)

    def admit(
        self,
        license_id: LicenseId,
        runtime: Digest,
        network: str,
        *,
        now: int,
        also: Callable[[], Finding | None] = lambda: None,
    ) -> None:
        """Count a request that passed every step before the seat, inside its transaction.

        That includes the holder's grant or binding, so nobody else's request comes this far. What
        `also` finds holds the license at once.

        Raises:
            LicenseHeld: the license is held.
            RateLimited: it is throttled, or asks too often.
        """
        conduct = self.conduct(license_id)
        if conduct.level != HELD:
            seen = Sighting(str(runtime), network, now)
            past = self._past(license_id, seen)
            findings = anomaly.judge(past, seen, self._rules)
            self._remember(license_id, seen, past)
            after = anomaly.advance(conduct, findings, now=now, rules=self._rules)
            if after.level != HELD and (found := also()) is not None:
                after = anomaly.held_by(after, found, now=now)
            if after != conduct:
                self._change(license_id, conduct, after, now=now)
            conduct = after
        if conduct.level == HELD:
            raise _held(license_id, conduct)
        self._licenses.take(str(license_id), self._limits.license)
        if conduct.level == THROTTLED and now < conduct.until:
            self._throttled.take(str(license_id), self._limits.throttled)

    def look(
        self, license_id: LicenseId, *, also: Callable[[], Finding | None] = lambda: None
    ) -> None:
        """What `admit` would refuse for, as far as that can be told without counting a request.

        Raises:
            LicenseHeld: the license is held, or a release asked for now would hold it.
        """
        conduct = self.conduct(license_id)
        if conduct.level == HELD:
            raise _held(license_id, conduct)
        if (found := also()) is not None:
            raise LicenseHeld(
                f"a release asked for now would hold license {license_id} ({found.rule}): "
                f"{found.message}",
                remedy="ask its licensor first, who could release the hold then: "
                f"deed license release-hold {license_id}",
            )

    # -- holds ---------------------------------------------------------------------------------

    def conduct(self, license_id: LicenseId) -> Conduct:
        """How a license is treated now."""
        row = self._store.row("SELECT conduct FROM conduct WHERE license = ?", str(license_id))
        return Conduct() if row is None else Conduct(**json.loads(row[0]))

    def held(self) -> list[tuple[LicenseId, Conduct]]:
        """Every held license."""
        rows = self._store.rows("SELECT license, conduct FROM conduct WHERE level = ?", HELD)
        return [(LicenseId.parse(name), Conduct(**json.loads(text))) for name, text in rows]

    def is_held(self, license_id: LicenseId) -> bool:
        """Whether a license is held."""
        return self.conduct(license_id).level == HELD

    def release(
        self,
        license_id: LicenseId,
        *,
        by: str,
        now: int,
        request: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """End a hold; its signed receipt.

        Args:
            license_id: the license.
            by: who ended it, for the receipt.
            now: Unix seconds.
            request: the licensor's signed message; None where the operator ends it.

        Raises:
            UsageError: it is not held.
        """
        with self._store.transaction():
            conduct = self.conduct(license_id)
            if conduct.level != HELD:
                raise UsageError(
                    f"license {license_id} is not held here", hint="list them: deed broker holds"
                )
            # What led to the hold is looked at: the same hosts and networks are known from now on,
            # and what they count begins anew.
            self._set(license_id, Conduct())
            excuse(self._store, license_id)
            self._store.write(
                "UPDATE sighted_hosts SET count = 0, began = ? WHERE license = ?",
                now,
                str(license_id),
            )
            document = {"license": str(license_id), "by": by, "held_since": conduct.since}
            self._inform(HOLD_END_EVENT, document, now)
            return self._log.answer(
                HOLD_END,
                request or {"version": 1, "type": "modeldeed/hold-end", **document},
                {"hold": None},
                now=now,
                license_id=license_id,
            )

    def _change(self, license_id: LicenseId, before: Conduct, after: Conduct, *, now: int) -> None:
        self._set(license_id, after)
        if after.level in {before.level, CALM}:
            return
        document = {
            "license": str(license_id),
            "rule": after.rule,
            "reason": after.reason,
            "since": after.since,
        }
        if after.level == HELD:
            self._log.answer(
                HOLD,
                {"version": 1, "type": "modeldeed/hold", **document},
                {"hold": document},
                now=now,
                license_id=license_id,
            )
        self._inform(HOLD_EVENT if after.level == HELD else THROTTLE_EVENT, document, now)

    def _set(self, license_id: LicenseId, conduct: Conduct) -> None:
        self._store.write(
            "INSERT INTO conduct VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET "
            "level = excluded.level, conduct = excluded.conduct",
            str(license_id),
            conduct.level,
            json.dumps(asdict(conduct)),
        )

    def _inform(self, event: str, document: dict[str, Any], now: int) -> None:
        if self._tell is not None:
            self._tell(event, document, now)

    # -- what was seen -------------------------------------------------------------------------

    def _past(self, license_id: LicenseId, seen: Sighting) -> Past:
        name, store = str(license_id), self._store
        oldest = seen.at - self._rules.memory
        # In one question: each one gives Python's lock away and waits to have it back.
        row = store.row(
            "SELECT (SELECT began FROM sighted WHERE license = ?1), "
            "(SELECT 1 FROM sighted_networks WHERE license = ?1 AND network = ?2 AND last > ?3), "
            "(SELECT count(*) FROM sighted_hosts "
            "WHERE license = ?1 AND first > ?4 AND runtime <> ?5), "
            "first, network, last, began, count FROM (SELECT 1) LEFT JOIN sighted_hosts "
            "ON license = ?1 AND runtime = ?5 AND last > ?3",
            name,
            seen.network,
            oldest,
            seen.at - self._rules.window,
            seen.runtime,
        )
        assert row is not None, "a row of literals is always there"
        began, network, fresh, *host = row
        past = Past(
            began=None if began is None else int(began),
            network_known=network is not None,
            fresh_hosts=int(fresh),
        )
        if host[0] is None:
            return past
        return Past(
            began=past.began,
            network_known=past.network_known,
            host_since=int(host[0]),
            host_network=str(host[1]),
            host_at=int(host[2]),
            host_window=int(host[3]),
            host_count=int(host[4]),
            fresh_hosts=past.fresh_hosts,
        )

    def _remember(self, license_id: LicenseId, seen: Sighting, past: Past) -> None:
        name, write = str(license_id), self._store.write
        oldest = seen.at - self._rules.memory
        if past.began is None:
            write("INSERT INTO sighted VALUES (?, ?) ON CONFLICT DO NOTHING", name, seen.at)
        write(
            "INSERT INTO sighted_networks VALUES (?, ?, ?) "
            "ON CONFLICT DO UPDATE SET last = excluded.last",
            name,
            seen.network,
            seen.at,
        )
        write(
            "INSERT INTO sighted_hosts VALUES (?1, ?2, ?3, ?4, ?3, ?3, 1) "
            "ON CONFLICT DO UPDATE SET network = ?4, last = ?3, "
            "first = CASE WHEN last <= ?5 THEN ?3 ELSE first END, "
            "count = CASE WHEN ?3 - began < ?6 THEN count + 1 ELSE 1 END, "
            "began = CASE WHEN ?3 - began < ?6 THEN began ELSE ?3 END",
            name,
            seen.runtime,
            seen.at,
            seen.network,
            oldest,
            self._rules.window,
        )
        if past.host_since is None:  # only then are there more than before
            write("DELETE FROM sighted_hosts WHERE license = ? AND last <= ?", name, oldest)


def _held(license_id: LicenseId, conduct: Conduct) -> LicenseHeld:
    return LicenseHeld(
        f"this broker holds license {license_id} ({conduct.rule}): {conduct.reason}",
        since=conduct.since,
        remedy=f"its licensor can release it (deed license release-hold {license_id}), or "
        f"the broker's operator (deed broker release-hold {license_id})",
    )
