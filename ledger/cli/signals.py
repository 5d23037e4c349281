"""Being told to end: by SIGTERM or SIGHUP as by Ctrl-C, tidying up on the way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


@contextmanager
def ended_like_interrupts() -> Iterator[None]:
    """While inside, the first SIGTERM or SIGHUP raises KeyboardInterrupt in the main thread.

    Later ones are ignored, so that they do not cut the tidying up short. A signal that was ignored
    before stays ignored: ``nohup`` is how a person says that a closed terminal must not end it.
    Call it from the main thread.
    """
    numbers = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]

    def end(_signal: int, _frame: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    with _handled_by(end, numbers):
        yield


@contextmanager
def setting_when_told(stop: threading.Event) -> Iterator[None]:
    """While inside, SIGINT and SIGTERM set `stop` and interrupt nothing.

    Call it from the main thread.
    """
    with _handled_by(lambda *_: stop.set(), (signal.SIGINT, signal.SIGTERM)):
        yield


@contextmanager
def _handled_by(
    handler: Callable[[int, object], None], numbers: Iterable[signal.Signals]
) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
