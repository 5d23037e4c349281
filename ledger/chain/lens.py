"""The EntitlementLens contract: many checks in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.chain.calls import ContractCalls
from ledger.chain.licenses import CheckResult
from ledger.chain.rpc import BlockId
from ledger.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, Digest, LicenseId


@dataclass(frozen=True, slots=True)
class Query:
    """One question; a zero holder or runtime key is not asked about."""

    license: LicenseId
    holder: Address = ZERO_ADDRESS
    runtime_key: Digest = ZERO_DIGEST


class EntitlementLens(ContractCalls):
    """Calls of one deployed EntitlementLens. Raises as `ContractCalls` says."""

    contract_name = "EntitlementLens"

    def check_many(
        self,
        ledger: Address,
        queries: Sequence[Query],
        at: int | None = None,
        block: BlockId = "latest",
    ) -> tuple[CheckResult, ...]:
        """The answers to all `queries` at one state, in their order.

        Args:
            ledger: the LicenseLedger that is asked.
            queries: some hundreds fit into what nodes let a call take.
            at: Unix seconds, not before the block's own time; None takes the block's time.
            block: the state that decides.
        """
        asked = tuple((query.license, query.holder, query.runtime_key) for query in queries)
        (answers,) = self._read(block, "checkMany", ledger, asked, at or 0)
        return tuple(CheckResult(*answer) for answer in answers)
