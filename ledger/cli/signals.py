"""Being told to end: SIGTERM and SIGHUP end a command as Ctrl-C does, tidying up on the way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
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

    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
