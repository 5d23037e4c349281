"""Living on the leases of several brokers, of which t must hold (docs/spec/key-release.md)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ledger.broker.client import BrokerClient
from ledger.broker.identity import RuntimeIdentity
from ledger.broker.keeper import Beating, LeaseKeeper
from ledger.broker.leases import Lease
from ledger.errors import LeaseExpired, LedgerError


def deciding(leases: Sequence[Lease], threshold: int) -> Lease:
    """Of several leases that with whose end fewer than t are left: the t-th latest end.

    One that only warns (``enforce`` false) does not end while a model runs, so it comes before all
    others: else one broker's lease of that kind could be the one that decides, and nothing ends.
    """
    ordered = sorted(leases, key=lambda each: (not each.enforce, each.grace_until), reverse=True)
    return ordered[min(threshold, len(ordered)) - 1]


class BrokerGroup:
    """The brokers that released together, each with its own lease.

    Args:
        threshold: how many of the leases must hold.
        held: each broker and its lease.
    """

    def __init__(self, threshold: int, held: Sequence[tuple[BrokerClient, Lease]]) -> None:
        self.threshold = threshold
        self.held = tuple(held)

    def deciding(self, leases: Sequence[Lease]) -> Lease:
        """The lease with whose end fewer than t are left."""
        return deciding(leases, self.threshold)

    def close(self) -> None:
        """Close the connections."""
        for client, _ in self.held:
            client.close()


class JointKeeper:
    """Keeps the leases of several brokers; lost when fewer than t of them are left. Thread-safe.

    Args:
        group: the brokers; closed by ``stop``.
        identity: the runtime they were given to.
        on_loss: called once, when too few are left, with the reason of the last.
    """

    def __init__(
        self,
        group: BrokerGroup,
        identity: RuntimeIdentity,
        *,
        on_loss: Callable[[LedgerError], None],
    ) -> None:
        self._group = group
        self._on_loss = on_loss
        self._lock = threading.Lock()
        self._gone: dict[int, LedgerError] = {}
        self._lost: LedgerError | None = None
        self._keepers = [
            LeaseKeeper(client, identity, lease, on_loss=self._ending(place))
            for place, (client, lease) in enumerate(group.held)
        ]

    @property
    def lease(self) -> Lease:
        """The lease that decides, as last extended."""
        alive = [k.lease for place, k in enumerate(self._keepers) if place not in self._gone]
        return self._group.deciding(alive or [k.lease for k in self._keepers])

    def start(self) -> None:
        """Begin sending heartbeats to each broker."""
        for keeper in self._keepers:
            keeper.start()

    def stop(self) -> None:
        """End the threads and connections; the leases simply run out. Safe to repeat."""
        for keeper in self._keepers:
            keeper.halt()
        for keeper in self._keepers:
            keeper.stop()

    def require(self) -> None:
        """Check that t leases still hold.

        Raises:
            LeaseExpired: fewer do; ``__cause__`` is the reason of the one that was one too many.
            KeyAccessError: this is a forked child of the process they were given to.
        """
        for keeper in self._keepers:
            try:
                keeper.require()
            except LeaseExpired:
                continue  # counted by `_ending`
        lost = self._lost
        if lost is not None:
            raise LeaseExpired(
                f"fewer than {self._group.threshold} brokers let the model run: {lost.message}",
                hint=lost.hint,
            ) from lost

    def now(self) -> float:
        """Unix seconds by the clock that the first lease lives by."""
        return self._keepers[0].now()

    def _ending(self, place: int) -> Callable[[LedgerError], None]:
        def ended(reason: LedgerError) -> None:
            with self._lock:
                self._gone[place] = reason
                left = len(self._keepers) - len(self._gone)
                if self._lost is not None or left >= self._group.threshold:
                    return
                self._lost = reason
            for keeper in self._keepers:
                keeper.halt()
            self._on_loss(reason)

        return ended


def keeper_of(
    client: Beating | BrokerGroup,
    identity: RuntimeIdentity,
    lease: Lease,
    *,
    on_loss: Callable[[LedgerError], None],
    now: int | None = None,
) -> LeaseKeeper | JointKeeper:
    """What keeps the lease of one broker, or those of several, alive; `now` as `LeaseKeeper`."""
    if isinstance(client, BrokerGroup):
        return JointKeeper(client, identity, on_loss=on_loss)
    return LeaseKeeper(client, identity, lease, on_loss=on_loss, now=now)
