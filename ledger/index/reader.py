"""Who reads a range for the follower: this process, or in a long backfill one of its own.

Apart from following, since it changes with how fast a backfill has to be, never with what is
believed: whoever reads checks by the same code, and the follower looks at the seams.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Final

from ledger.errors import LedgerError
from ledger.index.ahead import Range
from ledger.index.apart import Apart
from ledger.index.blocks import Node
from ledger.index.contracts import Contracts
from ledger.index.endpoints import blame, client
from ledger.index.fetch import read_span
from ledger.index.given import Contracted
from ledger.index.packed import Packed
from ledger.index.receipts import Rule

APART_LOGS = 30_000
"""Logs that seem to lie ahead from which a process of its own reads (`ledger.index.apart`)."""

SUPPOSED_LOGS: Final = 10
"""Of a block, before one was read: the other process needs its time to start."""

CORES = os.cpu_count() or 1


class Reader:
    """Reads one deployment's ranges; `read` may be called by several threads.

    Args:
        node: the chain: one endpoint or several.
        deployment: whose logs.
        postgres: whether rows are packed for PostgreSQL, else for SQLite.
        provable: as in `Rule`.

    Attributes:
        apart: the other process; None while none was worth its start.
    """

    def __init__(
        self, node: Node, deployment: Contracted, *, postgres: bool, provable: bool
    ) -> None:
        self._node = node
        self._deployment = deployment
        self._postgres = postgres
        self._contracts = Contracts.of(deployment.addresses)
        self._rule = Rule(None, provable)
        self.apart: Apart | None = None

    def finalized(self, block: int) -> None:
        """Read by the rule that blocks up to this one are final, in threads under way too."""
        self._rule = replace(self._rule, final=block)

    def read(self, first: int, last: int) -> Range:
        """The closed range from block `first` to block `last`, checked.

        Raises:
            LedgerError: as `read_span`; the endpoint that answered is blamed already.
        """
        apart = self.apart
        rpc = None if apart is None or not apart.ready else client(self._node, first)
        if apart is not None and rpc is not None:
            found = apart.read(rpc, first, last, self._rule)
            if found is not None:
                return found
        try:
            return read_span(self._node, self._contracts, first, last, rule=self._rule)
        except LedgerError as error:
            # Here, in the thread that asked: others may have asked another endpoint meanwhile.
            blame(self._node, error)
            raise

    def packed(self, span: Range) -> Packed:
        """A range that was read, in the form in which it is written."""
        if isinstance(span, Packed):
            return span
        return Packed.of(span, self._deployment.chain_id, postgres=self._postgres)

    def expect(self, blocks: int, logs: float = SUPPOSED_LOGS) -> None:
        """Let a process of its own read from now on, where what lies ahead is worth its start.

        Args:
            blocks: that lie ahead.
            logs: that a block seems to hold.
        """
        if self.apart is None and CORES >= 2 and blocks * logs >= APART_LOGS:
            self.apart = Apart(
                self._deployment.addresses, self._deployment.chain_id, postgres=self._postgres
            )

    def close(self) -> None:
        """End the other process; `expect` may start a new one."""
        if self.apart is not None:
            self.apart.close()
            self.apart = None
