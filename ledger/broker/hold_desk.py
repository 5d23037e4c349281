"""Where a broker tells of its holds and lets licensors end them (docs/spec/hold-release.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ledger.broker.defence import Defence
from ledger.broker.facts import ChainState
from ledger.broker.hold_release import (
    HoldName,
    HoldRelease,
    check_account,
    check_addressed,
    check_contract,
    check_licensor,
    check_named,
)
from ledger.broker.receipts import ReceiptLog
from ledger.broker.store import BrokerStore
from ledger.broker.wallet_signatures import SignatureState
from ledger.errors import (
    ChainError,
    ChainUnavailable,
    EndpointsDisagree,
    FormatError,
    KeyRequestRejected,
    PendingFinality,
    Reorganised,
)
from ledger.ids import ZERO_DIGEST, Digest, LicenseId, ModelId

if TYPE_CHECKING:
    from ledger.broker.home import BrokerIdentity
    from ledger.broker.service import ChainReader

HELD: Final = "held"
_NO_MODEL: Final = ModelId(bytes(32))


class HoldDesk:
    """One broker's holds, for those outside its machine. Thread-safe.

    Args:
        identity: which broker this is.
        store: its database.
        log: its receipts.
        defence: what holds, and ends holds.
        chain: who the licensor is.
        now: Unix seconds.
    """

    def __init__(
        self,
        identity: BrokerIdentity,
        store: BrokerStore,
        log: ReceiptLog,
        *,
        defence: Defence,
        chain: ChainReader,
        now: Callable[[], int],
    ) -> None:
        self._identity = identity
        self._store = store
        self._log = log
        self._defence = defence
        self._chain = chain
        self._now = now

    def look(self, license_id: LicenseId, *, network: str) -> dict[str, Any]:
        """Whether a license is held here, signed; not what led to it.

        Raises:
            RateLimited: the network asks too often.
        """
        self._defence.knock(network)
        conduct, name = self._defence.conduct(license_id), self._hold(license_id)
        shown = None
        if name is not None:
            shown = {**name.to_json(), "rule": conduct.rule, "since": conduct.since}
        result = {"license": str(license_id), "hold": shown}
        return self._log.answer(
            HELD, {"license": str(license_id)}, result, now=self._now(), log=False
        )

    def release(self, license_id: LicenseId, body: Any, *, network: str) -> dict[str, Any]:
        """End a hold in its licensor's name, in the numbered steps of the specification.

        Returns:
            The signed receipt.

        Raises:
            FormatError: not a hold release.
            KeyRequestRejected: not for this hold, not now, or not by the licensor.
            SignatureInvalid: not signed by the wallet it names.
            RateLimited: the network asks too often.
            PendingFinality, ChainError, UnavailableError: the chain does not tell (yet).
        """
        self._defence.knock(network)
        release, now = HoldRelease.from_json(body), self._now()
        # (1) Addressed, and now. (2) It names the hold that there is.
        check_addressed(release, license_id, self._identity.audience, now)
        check_named(release, self._hold(license_id))
        # (3) Signed by the account, or a contract's to say.
        by_account = check_account(release, self._identity.domain)
        # (4) Whose license it is.
        chain = self._read_chain(license_id, now)
        check_licensor(release, chain)
        # (5) The contract says.
        if not by_account:
            check_contract(release, chain, self._identity.domain, self._ask)
        # (6) The end, once.
        with self._store.transaction():
            check_named(release, self._hold(license_id))
            return self._defence.release(
                license_id, by=str(release.licensor), now=now, request=release.to_json()
            )

    def _hold(self, license_id: LicenseId) -> HoldName | None:
        if not self._defence.is_held(license_id):
            return None
        row = self._store.row(
            # The kind stands in the text, or the index of holds would not be used.
            "SELECT sequence, hash FROM receipts WHERE kind = 'hold' AND license = ? "
            "ORDER BY sequence DESC LIMIT 1",
            str(license_id),
        )
        if row is None:
            raise KeyRequestRejected(
                f"the log holds no receipt of the hold on license {license_id}",
                check=2,
                hint="its operator can look, and release it: deed broker holds",
            )
        return HoldName(int(row[0]), Digest(row[1]))

    def _read_chain(self, license_id: LicenseId, now: int) -> ChainState:
        """The license with its plan's own model: the plan is asked first which one that is."""
        try:
            known = self._chain.license_state(license_id, _NO_MODEL, ZERO_DIGEST, now=now)
            plan = known.head.plan
            if plan is None:
                return known
            return self._chain.license_state(license_id, plan.model, ZERO_DIGEST, now=now)
        except (EndpointsDisagree, PendingFinality, Reorganised):
            raise
        except (ChainError, FormatError) as error:
            raise ChainUnavailable(
                f"the chain cannot be read: {error.message}", retry_after=5.0
            ) from None

    def _ask(self, chain: ChainState, digest: Digest, signature: bytes) -> SignatureState:
        try:
            return self._chain.signature_state(chain, digest, signature)
        except (EndpointsDisagree, PendingFinality, Reorganised):
            raise
        except (ChainError, FormatError) as error:
            raise ChainUnavailable(
                f"the licensor's wallet cannot be asked: {error.message}", retry_after=5.0
            ) from None
