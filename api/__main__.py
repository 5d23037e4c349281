"""``python -m api``: serve with the settings of the environment until SIGTERM or Ctrl-C.

Requests under way are finished first; then the process ends with status 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Iterator
from typing import Any

import uvicorn

from api import logs
from api.settings import Settings, from_environment
from api.wire import MAX_CONNECTIONS, Wire
from ledger.errors import ConfigurationError, LedgerError

DRAIN_SECONDS = 15
# Clients keep idle connections for less: ledger/broker/link.py.
KEEP_ALIVE_SECONDS = 10
SWITCH_SECONDS = 0.0005


class _Server(uvicorn.Server):
    """uvicorn, but a signal means "finish and leave", not "die of it" after the drain."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._leave)
        yield

    def _leave(self) -> None:
        # A second signal does not wait for slow clients.
        self.force_exit = self.should_exit
        self.should_exit = True
        # Those who listen would never leave by themselves.
        feed = getattr(self.config.app.state, "feed", None)  # type: ignore[union-attr]  # our own
        if feed is not None:
            self._leaving = asyncio.get_running_loop().create_task(feed.leave())


def http_config(app: Any, **more: Any) -> uvicorn.Config:
    """How `app` is served over HTTP, here and in tests of what a client meets."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        limit_concurrency=MAX_CONNECTIONS,
        http=Wire,
        # None of our routes is one; theirs would not be bounded by `Wire`.
        ws="none",
        **more,
    )


def serve(settings: Settings) -> int:
    """Run until told to stop; the exit status."""
    # Here, so that a wrong setting is told at once and not after loading everything.
    from api.app import create_app, open_service

    server = _Server(
        http_config(
            create_app(settings, open_service(settings)), host=settings.host, port=settings.port
        )
    )
    # A follower that computes in a thread may hold up an answer this long, and not Python's 5 ms.
    sys.setswitchinterval(SWITCH_SECONDS)
    # What is loaded stays: the search for garbage need not go through it again and again.
    gc.collect()
    gc.freeze()
    server.run()
    # Else the port was taken, which uvicorn has logged.
    return 0 if server.started else 3


def main() -> int:
    """Read the settings and serve. Exit statuses are those of the deed command."""
    try:
        settings = from_environment()
        logs.configure(settings.log_level)
        return serve(settings)
    except LedgerError as error:
        print(f"error: {error.message}", file=sys.stderr)  # noqa: T201 -- for the person who started it
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)  # noqa: T201 -- as above
        print(f"code: {error.code}", file=sys.stderr)  # noqa: T201 -- for the program that did
        return 2 if isinstance(error, ConfigurationError) else 3


if __name__ == "__main__":
    sys.exit(main())
