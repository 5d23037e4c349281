"""Lanes: threads of their own for slow work, so that none of it holds up the rest.

Routes share one pool of threads. Whatever waits inside it for a lock, a chain or a large body can
be asked for until no thread is left, and then nothing is answered, least of all a key release. A
lane bounds what runs at once and what may wait; those who wait hold no thread, and those beyond are
told at once when to come back.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Request

from ledger.errors import BrokerUnavailable, IndexUnavailable, UnavailableError

PARTY: Final[ContextVar[str]] = ContextVar("party", default="")
"""Whose request is being served, for what is shared out: an account or key with a role, otherwise a
network, since anyone can make accounts. Empty where nobody is served."""
_SHARE: Final = 4

P = ParamSpec("P")
T = TypeVar("T")


class Lane:
    """Threads for one kind of work, of one event loop.

    Args:
        name: what is busy, in the answer to those who are sent away.
        threads: calls that run at once.
        waiting: calls that may wait for a thread.
        retry_after: seconds after which a caller who was sent away may come back.
        error: what a caller is sent away with.
        shared: whether one `PARTY` may have no more than a quarter of the places.
    """

    def __init__(
        self,
        name: str,
        *,
        threads: int,
        waiting: int,
        retry_after: float,
        error: type[UnavailableError] = IndexUnavailable,
        shared: bool = False,
    ) -> None:
        self._name = name
        self._places = threads + waiting
        self._each = max(1, self._places // _SHARE) if shared else self._places
        self._held: Counter[str] = Counter()
        self._limiter = CapacityLimiter(threads)
        self._retry_after = retry_after
        self._error = error

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place, running or waiting, and give it back at the end.

        Raises:
            UnavailableError: all are taken; of the class and delay that this lane was given.
        """
        party = self._take()
        try:
            yield
        finally:
            self._give(party)

    def has_place(self) -> bool:
        """Whether a place is left for whom is served now."""
        return self._places > 0 and self._held.get(PARTY.get(), 0) < self._each

    def _take(self) -> str:
        if not self.has_place():
            whose = "this service takes at once" if self._places == 0 else "one may have at once"
            raise self._error(
                f"{self._name}: as many as {whose} are under way",
                retry_after=self._retry_after,
                hint=f"ask again in {self._retry_after:.0f} s",
            )
        party = PARTY.get()
        self._places -= 1
        if party:
            self._held[party] += 1
        return party

    def _give(self, party: str) -> None:
        self._places += 1
        if party:
            self._held[party] -= 1
            if not self._held[party]:
                del self._held[party]

    async def run_placed(self, call: Callable[P, T], *args: P.args, **given: P.kwargs) -> T:
        """Run `call` on one of the threads, for a caller who holds a `place`."""
        bound = functools.partial(call, *args, **given)
        return await to_thread.run_sync(bound, limiter=self._limiter)

    async def run(self, call: Callable[P, T], *args: P.args, **given: P.kwargs) -> T:
        """Run `call` on one of the threads.

        Raises:
            UnavailableError: no place was left.
        """
        with self.place():
            return await self.run_placed(call, *args, **given)


class QuickLane(Lane):
    """A lane of calls so short that handing them to a thread must cost next to nothing.

    Its threads are its own and wait on one queue. A call keeps its place until it has ended, also
    when nobody waits for it any more. Arguments are those of `Lane`.
    """

    def __init__(
        self,
        name: str,
        *,
        threads: int,
        waiting: int,
        retry_after: float,
        error: type[UnavailableError] = IndexUnavailable,
        shared: bool = False,
    ) -> None:
        super().__init__(
            name,
            threads=threads,
            waiting=waiting,
            retry_after=retry_after,
            error=error,
            shared=shared,
        )
        self._calls: queue.SimpleQueue[
            tuple[asyncio.AbstractEventLoop, asyncio.Future[Any], str, Callable[[], Any]]
        ] = queue.SimpleQueue()
        self._most = threads
        self._threads = 0
        self._open = 0

    async def run(self, call: Callable[P, T], *args: P.args, **given: P.kwargs) -> T:
        """Run `call` on one of the threads.

        Raises:
            UnavailableError: no place was left.
        """
        party = self._take()
        # All of this but `_work` runs on the event loop, so none of it needs a lock.
        self._open += 1
        if self._open > self._threads < self._most:
            self._threads += 1
            threading.Thread(target=self._work, name="lane", daemon=True).start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._calls.put((loop, future, party, functools.partial(call, *args, **given)))
        return await future

    def _work(self) -> None:
        while True:
            loop, future, party, call = self._calls.get()
            result, failure = None, None
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001  whoever waits for it raises it
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._ended, future, party, result, failure)
            del future, call, result, failure

    def _ended(
        self, future: asyncio.Future[Any], party: str, result: Any, failure: BaseException | None
    ) -> None:
        self._give(party)
        self._open -= 1
        if future.done():
            return
        if failure is None:
            future.set_result(result)
        else:
            future.set_exception(failure)


class Lanes:
    """The lanes of one application.

    Attributes:
        evidence: a bundle reads hundreds of proofs from the chain: one at a time, and none waits.
        jobs: askers who wait for news of an evidence job.
        lists: pages of models and licenses; each holds a connection of the database's pool.
        deposits: checking documents of the ordinary size.
        large: reading and checking larger ones, which take ten times their size in memory.
        keys: challenges, releases and heartbeats of the broker, which nothing else may use.
        desk: the broker's other calls; `checks` reads the chain for anyone who asks.
        credentials: looking up keys and sessions, which waits for nobody who writes.
        access: keys, sessions, webhooks and the audit log.
        wallets: asking contract wallets whether they signed in, which waits for a node.
        transactions: preparing, passing on and following them, each some questions to the chain.
        strangers: the same for accounts without a role, which anyone can make: so that they hold up
            nobody but each other.
    """

    def __init__(self) -> None:
        self.evidence = Lane("evidence bundles", threads=1, waiting=0, retry_after=5.0)
        self.jobs = Lane("evidence jobs", threads=8, waiting=0, retry_after=2.0, shared=True)
        self.credentials = Lane("credentials", threads=2, waiting=256, retry_after=2.0)
        self.access = Lane("access", threads=3, waiting=256, retry_after=2.0, shared=True)
        self.wallets = Lane("questions to contract wallets", threads=2, waiting=8, retry_after=5.0)
        self.transactions = Lane(
            "transactions", threads=4, waiting=32, retry_after=2.0, shared=True
        )
        self.strangers = Lane(
            "transactions of accounts without a role",
            threads=2,
            waiting=16,
            retry_after=2.0,
            shared=True,
        )
        # Whoever may connect may wait (`api.wire.MAX_CONNECTIONS`): a page is not refused.
        self.lists = QuickLane("lists", threads=2, waiting=512, retry_after=1.0)
        self.deposits = Lane("deposits", threads=2, waiting=16, retry_after=2.0)
        self.large = Lane("large deposits", threads=1, waiting=3, retry_after=30.0)
        self.keys = QuickLane(
            "key releases", threads=16, waiting=128, retry_after=2.0, error=BrokerUnavailable
        )
        self.desk = Lane(
            "broker calls", threads=4, waiting=32, retry_after=2.0, error=BrokerUnavailable
        )


def lanes(request: Request) -> Lanes:
    """The lanes of the application that serves `request`, made with its first request.

    They belong to its event loop: several applications in one process must not share them.
    """
    return lanes_of(request.app.state)


def lanes_of(state: Any) -> Lanes:
    """The lanes of the application that `state` belongs to."""
    made: Lanes | None = getattr(state, "lanes", None)
    if made is None:
        made = state.lanes = Lanes()
    return made
