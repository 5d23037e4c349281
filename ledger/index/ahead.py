"""Ranges of blocks read ahead by a few threads, and handed out in order.

While one range is folded and committed the next ones are fetched, parsed and checked. Nothing here
is trusted further than a range read on the spot: whoever takes a range still compares its first
block's parent with the block before.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from ledger.errors import LedgerError, RpcRefused
from ledger.index.blocks import Span
from ledger.index.packed import Packed

Range = Span | Packed

FIRST_BLOCKS, MAX_BLOCKS = 100, 1000
LEAST_LOGS, TARGET_LOGS, MOST_LOGS = 1000, 2000, 2500
"""Logs a range should hold: fewer waste round trips, more are built before the first byte."""

WORKERS = 2
DEPTH = 6
"""Ranges under way or waiting; with `MOST_LOGS` this bounds the memory that reading ahead takes."""

_SUGGESTED = re.compile(r"\[(0x[0-9a-fA-F]{1,16}), *(0x[0-9a-fA-F]{1,16})\]")


class ReadAhead:
    """One reader of a chain's ranges. Used by one thread.

    Args:
        read: reads and checks the closed range from a block to a block.

    Attributes:
        blocks: how many blocks the next range will have. Steered by logs per range: a sparse
            contract wants long ranges, a busy one short ones.
    """

    def __init__(self, read: Callable[[int, int], Range], *, workers: int = WORKERS) -> None:
        self.blocks = FIRST_BLOCKS
        self._read = read
        self._workers = workers
        self._pool: ThreadPoolExecutor | None = None
        self._queue: deque[tuple[int, int, Future[Range]]] = deque()

    def take(self, first: int, final: int) -> Range:
        """The range that begins at block `first` and goes no further than `final`.

        Raises:
            LedgerError: whatever reading it raised; what was read ahead is dropped, and the next
                range is shorter.
        """
        if self._queue and (self._queue[0][0] != first or self._queue[-1][1] > final):
            self.drop()
        last = min(final, first + self.blocks - 1)
        try:
            if not self._queue and last == final:
                # One range reaches the head: no thread has anything to do meanwhile.
                return self._adapted(self._read(first, last))
            self._fill(first, final)
            return self._adapted(self._queue.popleft()[2].result())
        except LedgerError as error:
            self._shrink(first, error)
            raise

    def take_ready(self) -> Range | None:
        """The next range, when it is there already; its errors wait for `take`."""
        if not self._queue:
            return None
        future = self._queue[0][2]
        if not future.done() or future.exception() is not None:
            return None
        self._queue.popleft()
        return self._adapted(future.result())

    def drop(self) -> None:
        """Forget what was read ahead."""
        for _, _, future in self._queue:
            future.cancel()
        self._queue.clear()

    def close(self) -> None:
        """End the threads; a later `take` begins new ones."""
        self.drop()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _fill(self, first: int, final: int) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="read-ahead")
        begin = self._queue[-1][1] + 1 if self._queue else first
        while len(self._queue) < DEPTH and begin <= final:
            last = min(final, begin + self.blocks - 1)
            self._queue.append((begin, last, self._pool.submit(self._read, begin, last)))
            begin = last + 1

    def _adapted(self, span: Range) -> Range:
        blocks, logs = len(span.headers), span.count
        if logs > MOST_LOGS:
            self.blocks = max(1, min(self.blocks, blocks * TARGET_LOGS // logs))
        elif logs < LEAST_LOGS and blocks >= self.blocks:
            self.blocks = min(MAX_BLOCKS, blocks * 3 // 2 + 1)
        return span

    def _shrink(self, first: int, error: LedgerError) -> None:
        """Too much at once is the commonest reason, and looks different at every provider."""
        self.drop()
        suggested = _SUGGESTED.search(error.rpc_message) if isinstance(error, RpcRefused) else None
        if suggested is not None and int(suggested[1], 16) == first:
            asked = int(suggested[2], 16) - first + 1
            if 0 < asked < self.blocks:
                self.blocks = asked
                return
        self.blocks = max(1, self.blocks // 2)
