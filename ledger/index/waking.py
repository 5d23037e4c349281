"""Notice a new block soon where looking costs nearly nothing: a node on this machine.

A provider is asked twice a second, since it counts requests; a block of its chain takes seconds
anyway. A local chain makes a block the moment somebody sends a transaction, and who sent it looks
for the row at once.
"""

from __future__ import annotations

import threading
import time

from ledger.errors import LedgerError
from ledger.index.blocks import Node
from ledger.loopback import is_loopback

LOOK_SECONDS = 0.02
# So often while blocks come: whoever has sent a transaction often sends the next.
SOON_SECONDS = 0.005
LATELY_SECONDS = 2.0


def is_near(node: Node) -> bool:
    """Whether every endpoint of the node is on this machine."""
    hosts = getattr(node, "hosts", ())
    # With a port or without.
    return bool(hosts) and all(
        is_loopback(host) or is_loopback(host.rpartition(":")[0]) for host in hosts
    )


def wait_for_block(
    node: Node, stop: threading.Event, seconds: float, seen: int, *, grown: float
) -> None:
    """Wait `seconds`, or less when `stop` is set or the head is another than block `seen`.

    `grown` is the time, by `time.monotonic`, at which a block last came.
    It only wakes: what it saw is not used, and an error is left to the turn that follows.
    """
    now = time.monotonic()
    deadline = now + seconds
    look = SOON_SECONDS if now - grown < LATELY_SECONDS else LOOK_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        if stop.wait(min(left, look)):
            return
        asked = time.monotonic()
        try:
            (shown,) = node.batch([("eth_blockNumber", [])])
        except LedgerError:
            stop.wait(left)
            return
        if _number(shown) != seen:
            return
        if time.monotonic() - asked > SOON_SECONDS:
            # What answers so slowly may be a tunnel to somebody who counts.
            look = LOOK_SECONDS


def _number(shown: object) -> int | None:
    """A block's number as an endpoint shows it; None for what is none."""
    try:
        return int(shown, 16) if isinstance(shown, str) else None
    except ValueError:
        return None
