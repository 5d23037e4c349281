"""What the outbox tells, to many listeners at once: a page is read and written out once for all.

A listener holds no thread, no connection of the database and no queue: it waits until there is
more, and reads on from its own number. Who is slow falls behind, and holds up nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from anyio import CapacityLimiter, to_thread

from ledger.errors import IndexUnavailable, LedgerError
from ledger.index.decode import decode, json_values
from ledger.index.journal import topics_of
from ledger.index.outbox import Entry, Spoken
from ledger.index.views import Index
from ledger.index.watching import Watch

LOOK_SECONDS: Final = 0.02
"""Between two looks for news, while anybody listens."""

MAX_LISTENERS: Final = 256
MAX_OF_NETWORK: Final = 64
"""Listeners of one network (/24, /56), unless it is this machine."""

PAGE: Final = 500
_PAGES_KEPT: Final = 16


@dataclass(frozen=True, slots=True)
class Told:
    """An entry of the outbox, written out.

    Attributes:
        body: JSON (docs/api.md, Events as they happen).
    """

    seq: int
    kind: str
    event: str
    subjects: frozenset[bytes]
    body: str


class Feed:
    """One process's listeners to one index. All methods belong to one event loop.

    Args:
        index: whose outbox.
        watch: of the same index.
    """

    def __init__(self, index: Index, watch: Watch) -> None:
        self._index = index
        self._source = watch
        self._outbox = index.journal.outbox
        self._news = asyncio.Condition()
        self._last = -1
        self._listeners = 0
        self._networks: Counter[str] = Counter()
        self._watch: asyncio.Task[None] | None = None
        self._pages: OrderedDict[tuple[int, int], asyncio.Future[tuple[list[Told], int]]]
        self._pages = OrderedDict()
        self._left = False
        # Of the threads and connections of the database that all reads share, listeners take two:
        # one for what is new, which nobody who reads old entries holds up.
        self._new = CapacityLimiter(1)
        self._old = CapacityLimiter(1)

    @property
    def listeners(self) -> int:
        """How many there are."""
        return self._listeners

    async def begin(self, after: int | None, *, network: str | None = None) -> int:
        """The number from which a listener reads on: `after`, or where the outbox stands.

        Args:
            after: a number read before; None begins with what comes next.
            network: of the listener; None is not counted by it.

        Raises:
            UnknownRecord: what follows `after` is no longer kept.
            IndexUnavailable: too many listen already, or the database does not answer.
        """
        full = self._full(network)
        if full is not None:
            raise IndexUnavailable(
                f"{full} listen to this service's events",
                retry_after=5.0,
                hint="ask again in 5 s, or read GET /v1/events",
            )
        last = await to_thread.run_sync(self._place, limiter=self._new)
        if after is None:
            return last
        await to_thread.run_sync(self._read, after, 1, limiter=self._limiter(last - after))
        return after

    def _full(self, network: str | None) -> str | None:
        if self._listeners >= MAX_LISTENERS:
            return f"{MAX_LISTENERS} others"
        if network is not None and self._networks[network] >= MAX_OF_NETWORK:
            return f"{MAX_OF_NETWORK} others of this network"
        return None

    def _limiter(self, behind: int) -> CapacityLimiter:
        return self._new if behind <= PAGE else self._old

    async def listen(
        self, after: int, *, silence: float, network: str | None = None
    ) -> AsyncGenerator[Told | None]:
        """Entries above `after`, in order, as they come; None after so many seconds of silence.

        It ends when the service does, or can no longer read the index, or when others came first
        since `begin`.
        """
        if self._full(network) is not None:
            return
        self._listeners += 1
        if network is not None:
            self._networks[network] += 1
        if self._watch is None:
            self._watch = asyncio.create_task(self._look())
        try:
            while not self._left:
                if self._last <= after:
                    if not await self._more(after, silence):
                        yield None
                    continue
                try:
                    told, after = await self._page(after)
                except LedgerError:
                    return
                for one in told:
                    yield one
        finally:
            self._listeners -= 1
            if network is not None:
                self._networks[network] -= 1
                self._networks += Counter()  # forgets those that are at zero
            if self._listeners == 0 and self._watch is not None:
                self._watch.cancel()
                self._watch = None
                # What is known of the outbox now says nothing about it later.
                self._last = -1

    async def _more(self, after: int, seconds: float) -> bool:
        """Wait for entries above `after`, or for the end; False when it took too long."""
        try:
            async with self._news, asyncio.timeout(seconds):
                await self._news.wait_for(lambda: self._last > after or self._left)
        except TimeoutError:
            return False
        return True

    async def leave(self) -> None:
        """End all listening: the process is told to stop."""
        self._left = True
        async with self._news:
            self._news.notify_all()

    async def _look(self) -> None:
        while True:
            with contextlib.suppress(LedgerError):
                last = (self._source.look() or await self._source.ask()).last_seq
                if last != self._last:
                    async with self._news:
                        self._last = last
                        self._news.notify_all()
            await asyncio.sleep(LOOK_SECONDS)

    async def _page(self, after: int) -> tuple[list[Told], int]:
        key = after, self._last
        found = self._pages.get(key)
        if found is None:
            limiter = self._limiter(self._last - after)
            reading = to_thread.run_sync(self._read, after, PAGE, limiter=limiter)
            # At once, so that all who want this page wait for one reading of it.
            found = self._pages[key] = asyncio.ensure_future(reading)
            while len(self._pages) > _PAGES_KEPT:
                self._pages.popitem(last=False)
        try:
            # Whoever hangs up does not end it for the others.
            return await asyncio.shield(found)
        except LedgerError:
            if self._pages.get(key) is found:
                del self._pages[key]
            raise

    # -- in a thread -----------------------------------------------------------------------------

    def _place(self) -> int:
        with self._index.reading() as connection:
            return self._outbox.place(connection).last_seq

    def _read(self, after: int, limit: int) -> tuple[list[Told], int]:
        with self._index.reading() as connection:
            page = self._outbox.read(connection, after=after, limit=limit)
            logs = self._outbox.logs(connection, page.entries)
        return [_told(entry, logs) for entry in page.entries], page.after


def _told(entry: Entry, logs: Mapping[tuple[int, int, bytes], Spoken]) -> Told:
    body: dict[str, Any] = {"seq": entry.seq, "kind": entry.kind, "block": entry.block}
    if entry.log_index is not None and entry.block_hash is not None:
        spoken = logs.get((entry.block, entry.log_index, entry.block_hash))
        body |= {
            "log_index": entry.log_index,
            "block_hash": "0x" + entry.block_hash.hex(),
            "event": entry.event,
            "subjects": ["0x" + each.hex() for each in entry.subjects],
        }
        if spoken is not None:
            row = spoken.row
            event = decode(row["contract"], topics_of(row["topics"]), row["data"])
            body |= {
                "contract": row["contract"],
                "block_time": row["block_time"],
                "tx_hash": "0x" + row["tx_hash"].hex(),
                "arguments": None if event is None else json_values(event),
            }
    return Told(
        entry.seq,
        entry.kind,
        entry.event,
        frozenset(entry.subjects),
        json.dumps(body, separators=(",", ":")),
    )
