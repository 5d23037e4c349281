"""Anchoring of the broker's receipts by the clock, where the settings ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from api.dependencies import Service
from api.settings import Settings
from ledger.broker.anchor_timer import FAILING, OFF, AnchorTimer
from ledger.errors import ConfigurationError, LedgerError

if TYPE_CHECKING:
    from ledger.broker.service import BrokerService
    from ledger.chain.wallet import LocalWallet

Said = Literal["off", "on", "failing"]


def anchor_timer(settings: Settings, served: Service, broker: BrokerService) -> AnchorTimer:
    """The timer of a broker, off where no time is set.

    Raises:
        ConfigurationError: a time is set without a wallet, or one that cannot be opened.
        WrongPassphrase: the passphrase does not open the wallet.
        UsageError: a test account, where it is not a test network.
    """
    if not settings.broker_anchor_every:
        return AnchorTimer(broker.store)
    from ledger.broker import anchoring
    from ledger.chain.brokers import BrokerRegistry
    from ledger.chain.rpc import Rpc
    from ledger.chain.transactions import Sender

    wallet = _wallet(settings)
    identity = broker.identity
    # A client of its own: it may wait a minute for a transaction, and keeps nobody else waiting.
    rpc = Rpc(
        tuple(url.get_secret_value() for url in settings.rpc_urls), chain_id=identity.chain_id
    )
    sender = Sender(rpc, wallet, served.profile)
    registry = BrokerRegistry(rpc, identity.broker_registry)
    return AnchorTimer(
        broker.store,
        lambda: anchoring.anchor(broker.store, registry, sender, identity.id),
        every=settings.broker_anchor_every,
        close=rpc.close,
    )


def _wallet(settings: Settings) -> LocalWallet:
    from ledger.chain.wallet import LocalWallet

    path, file = settings.broker_anchor_wallet, settings.broker_anchor_passphrase_file
    if path is None or file is None:
        raise ConfigurationError(
            "the broker is to anchor by itself, and its operator's wallet is not given",
            hint="set DEED_API_BROKER_ANCHOR_WALLET and DEED_API_BROKER_ANCHOR_PASSPHRASE_FILE",
        )
    try:
        passphrase = file.read_text(encoding="utf-8").split("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(
            "the passphrase file of the anchoring wallet cannot be read",
            hint="see DEED_API_BROKER_ANCHOR_PASSPHRASE_FILE",
        ) from None
    return LocalWallet.from_keystore(path, passphrase)


def said_by(broker: BrokerService | None) -> Said:
    """How anchoring stands, for /readyz; it is no reason not to be ready."""
    if broker is None:
        return "off"
    try:
        state = broker.anchoring.status().state
    except LedgerError:
        return "failing"
    if state == OFF:
        return "off"
    return "failing" if state == FAILING else "on"


class AnchorGauges(Collector):
    """How a broker's anchoring stands, read when asked."""

    def __init__(self, broker: BrokerService) -> None:
        self._broker = broker

    def collect(self) -> Iterator[Metric]:
        """Gauges; none while the database refuses."""
        try:
            status = self._broker.anchoring.status()
        except LedgerError:
            return
        values: dict[str, tuple[str, float | None]] = {
            "deed_anchoring_on": ("Whether receipts are anchored by the clock", status.every > 0),
            "deed_anchoring_failing": ("Attempts that failed in a row", status.failures),
            "deed_receipts": ("Receipts in the broker's log", status.receipts),
            "deed_receipts_unanchored": (
                "Receipts not seen under a root on chain",
                status.receipts - status.anchored,
            ),
            "deed_anchoring_last_success_seconds": (
                "When everything was last found anchored, Unix time",
                status.last_at,
            ),
        }
        for name, (text, value) in values.items():
            if value is not None:
                yield GaugeMetricFamily(name, text, value=float(value))
        yield CounterMetricFamily(
            "deed_anchoring_failures", "Attempts that failed", value=float(status.failed)
        )
