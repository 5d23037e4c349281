"""The key broker inside this service, where a broker's folder is configured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from api.anchoring import anchor_timer
from api.dependencies import Service
from api.settings import Settings
from ledger.errors import ConfigurationError, LedgerError, WrongNetwork

if TYPE_CHECKING:
    from ledger.broker.service import BrokerService


def open_broker(settings: Settings, served: Service) -> BrokerService | None:
    """Open the broker's folder; None when none is configured.

    Raises:
        ConfigurationError: no passphrase file, or it cannot be read.
        WrongPassphrase: it does not open the folder.
        WrongNetwork: the broker is registered with other contracts.
    """
    if settings.broker_home is None:
        return None
    from ledger.broker.chainview import ChainView
    from ledger.broker.custody import forbid_core_dumps
    from ledger.broker.home import BrokerHome
    from ledger.broker.service import BrokerService
    from ledger.broker.setup import identity_on
    from ledger.broker.sharing import witness_rpc

    forbid_core_dumps()
    file = settings.broker_passphrase_file
    if file is None and BrokerHome.key_file(settings.broker_home).asks:
        raise ConfigurationError(
            "the broker's folder is given without a passphrase",
            hint="set DEED_API_BROKER_PASSPHRASE_FILE",
        )
    try:
        passphrase = "" if file is None else file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError:
        raise ConfigurationError("the broker's passphrase file cannot be read") from None
    home = BrokerHome.open(settings.broker_home, passphrase)
    if home.identity != identity_on(served.deployment, home.identity.id):
        raise WrongNetwork(
            "this broker is registered with other contracts than the network's",
            hint="choose the network it was made for, or make a new broker: deed broker init",
        )
    # One client an endpoint, without failover between them: the chain rule counts witnesses.
    chain_id = served.deployment.chain_id
    rpcs = [witness_rpc(url.get_secret_value(), chain_id=chain_id) for url in settings.rpc_urls]
    service = BrokerService(home, ChainView(rpcs, served.deployment, served.profile))
    try:
        service.anchoring = anchor_timer(settings, served, service)
    except LedgerError:
        service.close()
        raise
    service.notices.start()
    service.anchoring.start()
    return service


class EndpointGauges(Collector):
    """How the endpoints are that key releases rest on, read when asked."""

    def __init__(self, broker: BrokerService) -> None:
        self._broker = broker

    def collect(self) -> Iterator[Metric]:
        """Gauges and counters by host; a value that cannot be had is left out."""
        shown = self._broker.endpoints()["endpoints"]
        gauges: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
            "deed_endpoint_healthy": ("Whether it counts", lambda each: each["healthy"]),
            "deed_endpoint_asked": (
                "Whether decisions wait for it",
                lambda each: each["circuit"] == "closed",
            ),
            "deed_endpoint_head_block": ("Its head", lambda each: each["head"]),
            "deed_endpoint_finalized_block": ("Its finalized", lambda each: each["finalized"]),
            "deed_endpoint_lag_blocks": ("Below the agreed head", lambda each: each["lag"]),
            "deed_endpoint_latency_ms": ("Median of a look", lambda each: each["latency_ms"]),
        }
        for name, (text, of) in gauges.items():
            gauge = GaugeMetricFamily(name, text, labels=["host"])
            for each in shown:
                value = of(each)
                if value is not None:
                    gauge.add_metric([each["host"]], float(value))
            yield gauge
        faults = CounterMetricFamily(
            "deed_endpoint_faults", "Faults by kind", labels=["host", "kind"]
        )
        contrary = CounterMetricFamily(
            "deed_endpoint_contrary", "Answers against the agreed ones", labels=["host"]
        )
        for each in shown:
            contrary.add_metric([each["host"]], each["contrary"])
            for kind, count in each["faults"].items():
                faults.add_metric([each["host"], kind], count)
        yield faults
        yield contrary
