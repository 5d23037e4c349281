"""An object in a store or on a web server as a source of bytes, by range requests.

The first request fetches the beginning, which holds prelude and index of all but very large
packages, and pins the object's size and tag. Every later one is held against both, so an object
that is replaced meanwhile is refused. Connections, retries with back-off and request signing are
obstore's (docs/adr/0031).
"""

from __future__ import annotations

import asyncio
import atexit
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError, Future, wait
from contextlib import suppress
from contextvars import Context
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVarTuple
from urllib.parse import urlsplit

from ledger.errors import (
    ConfigurationError,
    LedgerError,
    ObjectReplaced,
    RangesRefused,
    SealedTruncated,
    StoreUnavailable,
    ToolMissing,
    UsageError,
)
from ledger.loopback import is_loopback
from ledger.remote.places import Place

HEAD_BYTES: Final = (1 << 20) + 4096  # with which a card of the largest size is whole, too
WIDTH: Final = 8
_RETRIES: Final = 5
_MOST_BESIDE: Final = 256
_STATUS: Final = re.compile(r"status code: (\d{3})")
_REASONS: Final = (
    ("InvalidCertificate", "its certificate is not trusted here"),
    ("URL scheme is not allowed", "it points to plain http"),
    ("BadScheme", "it points to plain http"),
    ("Timeout", "no answer in time"),
    ("TimedOut", "no answer in time"),
    ("ConnectionRefused", "nobody answers there"),
    ("kind: Connect", "no connection"),
    ("MissingContentLength", "it does not say how long the file is"),
    ("UnexpectedRange", "it answers with another range"),
)
# An interrupt at the wrong moment may leave a thread noted that left long ago.
_LEAVING_SECONDS: Final = 1.0
_TURN_SECONDS: Final = 1.0
_NOWHERE: Final = "http://127.0.0.1:0"
_HERE: Final = "localhost,127.0.0.0/8,::1"
_NEVER: Final = datetime.fromtimestamp(0, UTC)
_Ts = TypeVarTuple("_Ts")


class _Awaited(asyncio.Future[Any]):
    """A future of obstore's; its loop notes where obstore was told that nobody awaits it."""

    _loop: WakefulLoop

    def __init__(self, loop: WakefulLoop) -> None:
        super().__init__(loop=loop)
        self.answered = False

    def is_answered(self) -> bool:
        """Whether obstore is done with it."""
        return self.answered

    def cancelled(self) -> bool:
        """As any future's. What is done asks on the loop's thread, obstore's threads on theirs."""
        given_up = super().cancelled()
        if not given_up or self.is_answered():
            return given_up
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self.answered = True
            if self in self._loop.given_up:
                # No call from here on: no other thread gets the lock before Rust is back.
                del self._loop.given_up[self]
            return given_up
        self._loop.given_up[self] = None
        if self.is_answered():  # Meanwhile.
            self._loop.given_up.pop(self, None)
        return given_up


class WakefulLoop(asyncio.SelectorEventLoop):
    """A loop that knows which of obstore's threads are in the interpreter, or about to be.

    They are to wake the loop, and may lose the interpreter's lock in there; and behind a read that
    was given up they ask, some time later, whether it was. A thread that asks for the lock while
    the interpreter ends is made to exit amid Rust frames, which aborts the process
    (pyo3-async-runtimes #40). So closing waits until they have left.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waking: dict[int, None] = {}
        self.given_up: dict[_Awaited, None] = {}

    def create_future(self) -> asyncio.Future[Any]:
        """As any loop's; obstore's are made here."""
        return _Awaited(self)

    def call_soon_threadsafe(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As any loop's; the calling thread is noted meanwhile."""
        thread = threading.get_ident()
        self.waking[thread] = None
        for future in args:
            if isinstance(future, _Awaited):
                future.answered = True
                self.given_up.pop(future, None)
        try:
            return super().call_soon_threadsafe(callback, *args, context=context)
        finally:
            # A statement that calls nothing: no other thread gets the lock before Rust is back.
            del self.waking[thread]

    def settle(self) -> None:
        """Wait until those threads have left."""
        patience = time.monotonic() + _LEAVING_SECONDS
        while (self.waking or self.given_up) and time.monotonic() < patience:
            time.sleep(0.001)


class RemoteObject:
    """One object, open for reading. Thread-safe; a ``ByteSource``.

    Attributes:
        name: bucket and key, or the server's scheme and host.
        size: in bytes.
        tag: the store's tag of this very object, or None where it gives none.
        requests: how many were made, retries not counted.
    """

    width = WIDTH

    def __init__(self, place: Place, *, timeout: float = 60.0) -> None:
        """Open it: one request.

        Raises:
            UsageError: nothing lies there.
            RangesRefused: the server gives files only whole.
            ConfigurationError: the store refuses access.
            StoreUnavailable: it does not answer.
            ToolMissing: obstore is not installed.
        """
        self.name = str(place)
        self.requests = 0
        self._place = place
        self._pid = os.getpid()
        self._store, self._key = store_of(place, timeout)
        self._loop = WakefulLoop()
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="sealed-remote", daemon=True)
        self._thread.start()
        _OPEN.add(self)
        self.size = -1
        self.tag: str | None = None
        self._changed = _NEVER
        try:
            self._head = self._wait(self._start(0, HEAD_BYTES))
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<RemoteObject {self.name}>"

    @property
    def head(self) -> memoryview:
        """The beginning, as it came with the first request."""
        return self._head

    def read(self, offset: int, into: memoryview) -> None:
        """Fill `into`: from the beginning that is here already, else by one request.

        Raises:
            SealedTruncated: the object ends before.
            ObjectReplaced: it is no longer the one that was opened.
            UsageError, ConfigurationError, StoreUnavailable: as when opening.
        """
        end = offset + len(into)
        if end > self.size:
            raise SealedTruncated(f"the file ends {end - self.size} bytes early")
        if end <= len(self._head):
            into[:] = self._head[offset:end]
        elif len(into):
            into[:] = self._wait(self._start(offset, len(into)))

    def reads(self) -> RemoteReads:
        """A handle for the reads of one load."""
        return RemoteReads(self)

    def close(self) -> None:
        """End all reads and the thread behind them. Safe to repeat, and in a forked child."""
        if os.getpid() != self._pid:
            return  # the thread is the parent's
        with self._closing:
            if self._loop.is_closed():
                return
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._loop.stop)
            if threading.current_thread() is self._thread:
                return  # the collector ran there; the thread ends by itself
            self._thread.join()
            self._loop.settle()
            self._loop.close()

    # -- inside --

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    def _start(self, offset: int, size: int) -> Future[memoryview]:
        request: Coroutine[Any, Any, memoryview] = self._get(offset, size)
        try:
            return asyncio.run_coroutine_threadsafe(request, self._loop)
        except RuntimeError:
            request.close()
            raise UsageError(
                f"{self.name} is closed", hint="use its tensors inside the with block"
            ) from None

    def _wait(self, started: Future[memoryview]) -> memoryview:
        try:
            # In turns: an interrupt that came just before a wait is acted on only behind it.
            while not started.cancelled() and not wait((started,), _TURN_SECONDS).done:
                pass
            return started.result()
        except CancelledError:
            raise StoreUnavailable(f"reading {self.name} was given up") from None
        except BaseException:
            started.cancel()  # an interrupt here must not leave the request running
            raise

    async def _get(self, offset: int, size: int) -> memoryview:
        import obstore

        options: Any = {"range": (offset, offset + size)}
        opened = self.size >= 0
        if opened and self.tag is not None and not self.tag.startswith("W/"):
            # A weak tag never matches (RFC 9110 section 13.1.1); the answer's is compared below.
            options["if_match"] = self.tag
        elif opened and self._changed > _NEVER:
            options["if_unmodified_since"] = self._changed
        self.requests += 1
        try:
            answer = await obstore.get_async(self._store, self._key, options=options)
            facts: Mapping[str, Any] = answer.meta
            if not opened:
                self.size, self.tag = int(facts["size"]), facts["e_tag"]
                self._changed = facts["last_modified"] or _NEVER
            self._require_same(facts)
            # One piece of the whole length: what a server sends beyond it is never taken in.
            wanted = min(size, self.size - offset)
            data = memoryview(b"")
            async for piece in answer.stream(min_chunk_size=max(wanted, 1)):
                data = memoryview(piece).cast("B")
                break
        except LedgerError:
            raise
        except Exception as error:  # noqa: BLE001 - obstore's are many, and their text shows URLs
            problem = problem_of(error, self.name)
            if opened and "(HTTP 416)" in problem.message:
                # What was asked for lay inside the object that was opened.
                raise ObjectReplaced(f"{self.name} was replaced while it was read") from None
            raise problem from None
        if len(data) != wanted:
            raise StoreUnavailable(f"{self.name} sends other than the {wanted} bytes asked for")
        return data

    def _require_same(self, facts: Mapping[str, Any]) -> None:
        if (int(facts["size"]), facts["e_tag"]) != (self.size, self.tag):
            raise ObjectReplaced(f"{self.name} was replaced while it was read")


_OPEN: Final[weakref.WeakSet[RemoteObject]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """What nobody closed is closed while the interpreter still stands."""
    for there in list(_OPEN):
        there.close()


class RemoteReads:
    """The reads of one load; abandoned together."""

    __slots__ = ("_abandoned", "_lock", "_running", "_source")

    def __init__(self, source: RemoteObject) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._running: set[Future[memoryview]] = set()
        self._abandoned = False

    def block(self, offset: int, size: int) -> memoryview:
        """One request; memory of its own.

        Raises:
            LedgerError: as ``RemoteObject.read``.
        """
        source = self._source
        if offset + size > source.size:
            raise SealedTruncated(f"the file ends {offset + size - source.size} bytes early")
        if offset + size <= len(source.head):
            return source.head[offset : offset + size]
        with self._lock:
            if self._abandoned:
                raise StoreUnavailable(f"reading {source.name} was given up")
            started = source._start(offset, size)  # noqa: SLF001 - one class in two pieces
            self._running.add(started)
        try:
            return source._wait(started)  # noqa: SLF001
        finally:
            with self._lock:
                self._running.discard(started)

    def abandon(self) -> None:
        """End the running requests at once, whatever the server does."""
        with self._lock:
            self._abandoned = True
            running = list(self._running)
        for started in running:
            started.cancel()


def listed(
    place: Place, suffix: str, *, limit: int, timeout: float
) -> Iterator[Callable[[], bytes]]:
    """The small objects with a suffix that lie beside one in its bucket, to be read.

    Each reads at most `limit` + 1 bytes.

    Raises:
        ConfigurationError, StoreUnavailable, ToolMissing: as ``RemoteObject``.
    """
    import obstore

    store, key = store_of(place, timeout)
    folder = key.rpartition("/")[0]
    try:
        found = obstore.list_with_delimiter(store, folder or None)["objects"]
    except Exception as error:  # noqa: BLE001 - as above
        raise problem_of(error, str(place)) from None
    for facts in [facts for facts in found if facts["path"].endswith(suffix)][:_MOST_BESIDE]:
        if facts["size"] <= limit:
            yield partial(_whole, store, facts["path"], facts["size"])


def _whole(store: Any, key: str, size: int) -> bytes:
    import obstore

    try:
        return bytes(obstore.get_range(store, key, start=0, length=size))
    except Exception as error:  # noqa: BLE001 - as above
        raise problem_of(error, key) from None


def store_of(place: Place, timeout: float) -> tuple[Any, str]:
    """Obstore's store of a place, and the key in it; `timeout` is of one whole answer."""
    try:
        from obstore.store import HTTPStore, S3Store
    except ImportError:
        raise ToolMissing(
            f"reading {place.scheme}:// needs obstore",
            hint='pip install "modeldeed[s3]" (https: needs it too)',
        ) from None
    seconds = timedelta(seconds=timeout)
    retry: Any = {
        "max_retries": _RETRIES,
        "retry_timeout": seconds,
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=5),
            "base": 2,
        },
    }
    client: Any = {"timeout": seconds, "connect_timeout": min(seconds, timedelta(seconds=10))}
    try:
        if place.scheme == "s3":
            if _loopback_endpoint():
                client["allow_http"] = True
            return S3Store(place.host, client_options=client, retry_config=retry), place.path
        if place.scheme == "http":
            # Of this machine alone. Redirects would obey `allow_http` and lead to any host: those
            # go to a proxy that cannot exist.
            client |= {"allow_http": True, "proxy_url": _NOWHERE, "proxy_excludes": _HERE}
        # The whole URL is the store's and the key is empty: nothing of it is encoded anew.
        return HTTPStore.from_url(place.url, client_options=client, retry_config=retry), ""
    except Exception as error:  # noqa: BLE001 - as above
        raise problem_of(error, str(place)) from None


def _loopback_endpoint() -> bool:
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    endpoint = next((os.environ[name] for name in names if os.environ.get(name)), "")
    return is_loopback(urlsplit(endpoint).hostname or "")


def problem_of(error: Exception, name: str) -> LedgerError:
    """Our error for obstore's, whose text may hold the URL with its signature."""
    kind = type(error).__name__
    if isinstance(error, FileNotFoundError) or kind == "NotFoundError":
        return UsageError(f"{name} is not there", hint="check the URL, or get a fresh card")
    if kind in {"PermissionDeniedError", "UnauthenticatedError", "PermissionError"}:
        return ConfigurationError(
            f"{name}: access is refused",
            hint="s3 credentials come from the environment (AWS_ACCESS_KEY_ID …; "
            "AWS_SKIP_SIGNATURE=true for a public bucket); a signed URL may have ended",
        )
    if kind == "PreconditionError":
        return ObjectReplaced(f"{name} was replaced while it was read")
    if kind == "NotSupportedError":
        return RangesRefused(f"the server of {name} gives it only whole, not by range")
    text = str(error)
    status = _STATUS.search(text)
    reason = f"HTTP {status[1]}" if status else _reason(text)
    return StoreUnavailable(f"{name} cannot be read now ({reason})")


def _reason(text: str) -> str:
    """What a failure of the transport is called in obstore's text."""
    return next((reason for mark, reason in _REASONS if mark in text), "a broken answer")
