"""A progress bar for what takes minutes: bytes, speed and time left, on a terminal's stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ledger.cli.output import Progress

_QUIET_SECONDS = 1.0


@contextmanager
def transfer_bar(label: str) -> Iterator[Progress]:
    """A bar that shows up after a second, and is gone at the end; nothing without a terminal.

    Args:
        label: what is going on.

    Yields:
        ``callback(done, total)`` in bytes.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import (
        Progress as Bar,
    )

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(label, total=None)
    began = time.monotonic()
    running = [False]

    def show(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        if not running[0] and time.monotonic() - began > _QUIET_SECONDS:
            running[0] = True
            bar.start()

    try:
        yield show
    finally:
        if running[0]:
            bar.stop()
