"""The worker: spreads the outbox, reminds, sends what is due, and forgets what is done with.

A thread with an event loop of its own, so that many slow receivers cost one thread, an attempt ends
at its deadline, and a stop ends all attempts at once. The database is spoken to on one further
thread, one call at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from ledger.errors import LedgerError
from ledger.remote.posting import Sent
from ledger.webhooks.reminders import Reminders
from ledger.webhooks.rights import LOOK_SECONDS as RIGHTS_SECONDS
from ledger.webhooks.rights import Rights
from ledger.webhooks.sending import Post, Sending
from ledger.webhooks.spreading import Spreader

log = logging.getLogger("webhooks")

T = TypeVar("T")

LOOK_SECONDS: Final = 1.0
"""Between two looks for something to do, unless somebody wakes the worker: what other processes
commit is seen by these."""
UNUSED_SECONDS: Final = 5.0
"""The same where nobody ever made an endpoint."""
REMIND_SECONDS: Final = 30.0
PRUNE_SECONDS: Final = 3600.0
MOST: Final = 16
"""Endpoints that one process sends to at once."""
SLICE_SECONDS: Final = 5.0
"""After these an endpoint gives its place back, also when more is due: the others have a turn."""
_TROUBLED_SECONDS: Final = 2.0
_FAILED_SECONDS: Final = 30.0


class Worker:
    """One process's hand on its service's webhooks.

    Args:
        spreader: makes messages of the outbox.
        reminders: makes messages of licenses that end.
        sending: sends them.
        rights: says to which endpoints.
    """

    def __init__(
        self, spreader: Spreader, reminders: Reminders, sending: Sending, rights: Rights
    ) -> None:
        self._spreader = spreader
        self._reminders = reminders
        self._sending = sending
        self._rights = rights
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._database = ThreadPoolExecutor(1, thread_name_prefix="webhooks-db")
        self._drains: dict[str, asyncio.Task[None]] = {}
        self.trouble = ""
        """Why the last turn did nothing; empty when it went well."""

    @property
    def counts(self) -> dict[str, int]:
        """Attempts of this process by outcome."""
        return dict(self._sending.counts)

    def surround(self, around: Callable[[Post], Awaitable[Sent]]) -> None:
        """Make each attempt within `around` from now on."""
        self._sending.around = around

    def wake(self) -> None:
        """Look at once: there is something new. From any thread, and before or after `run` too."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(self._woken.set)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set. Errors become `trouble`; the next turn tries again."""
        asyncio.run(self._main(stop))
        self._database.shutdown()

    async def _main(self, stop: threading.Event) -> None:
        loop = self._loop = asyncio.get_running_loop()
        # `stop` is a thread's event, which the other workers share; no loop can wait for it.
        threading.Thread(target=self._tell, args=(stop,), daemon=True).start()
        remind_at = prune_at = rights_at = loop.time()
        while not stop.is_set():
            self._woken.clear()
            try:
                if loop.time() >= remind_at:
                    remind_at = loop.time() + REMIND_SECONDS
                    await self._call(self._reminders.remind)
                if loop.time() >= prune_at:
                    prune_at = loop.time() + PRUNE_SECONDS
                    await self._call(self._spreader.prune)
                spread = await self._call(self._spreader.spread)
                if spread is None:
                    wait = UNUSED_SECONDS
                else:
                    wait = 0.0 if spread else LOOK_SECONDS
                    if loop.time() >= rights_at:
                        rights_at = loop.time() + RIGHTS_SECONDS
                        await self._call(self._rights.look)
                    await self._begin()
                self.trouble = ""
            except LedgerError as error:
                if self.trouble != error.message:
                    log.warning("webhooks wait: %s", error.message)
                self.trouble, wait = error.message, _TROUBLED_SECONDS
            except Exception:
                # As in the follower: a bug here must not end the service.
                log.exception("the webhooks' worker failed")
                self.trouble, wait = "the worker failed; see the log", _FAILED_SECONDS
            await self._rest(stop, loop.time() + wait)
        for task in self._drains.values():
            task.cancel()
        await asyncio.gather(*self._drains.values(), return_exceptions=True)

    async def _rest(self, stop: threading.Event, until: float) -> None:
        loop = asyncio.get_running_loop()
        while not stop.is_set() and (left := until - loop.time()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), left)
            # What is in trouble is not made to try again by every block.
            if not self.trouble:
                return
            self._woken.clear()

    def _tell(self, stop: threading.Event) -> None:
        stop.wait()
        self.wake()

    async def _begin(self) -> None:
        free = MOST - len(self._drains)
        if not free:
            return
        for endpoint in await self._call(self._sending.claim, free):
            self._drains[endpoint] = asyncio.create_task(self._drain(endpoint))

    async def _drain(self, endpoint: str) -> None:
        """Send to one endpoint what is due, for a slice of time; its claim is given back then."""
        loop = asyncio.get_running_loop()
        until = loop.time() + SLICE_SECONDS
        # After a bug the claim is left to run out, so that the same is not met again at once.
        failed = False
        try:
            while (due := await self._call(self._sending.next, endpoint)) is not None:
                sent = await self._sending.attempt(due)
                if sent.trouble:
                    log.info(
                        "webhook not taken endpoint=%s message=%s attempts=%d trouble=%s",
                        endpoint,
                        due.message,
                        due.attempts + 1,
                        sent.trouble,
                    )
                if not await self._call(self._sending.record, due, sent) or loop.time() >= until:
                    return
        except LedgerError as error:
            log.warning("webhooks wait: %s", error.message)
        except Exception:
            failed = True
            log.exception("sending to webhook %s failed", endpoint)
        finally:
            self._drains.pop(endpoint, None)
            if not failed:
                await self._let_go(endpoint)
                # What was spread since it last looked was passed over for its claim.
                self._woken.set()

    async def _let_go(self, endpoint: str) -> None:
        try:
            await self._call(self._sending.release, endpoint)
        except LedgerError as error:
            log.warning("webhooks wait: %s", error.message)

    async def _call(self, call: Callable[..., T], *args: object) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._database, lambda: call(*args))
