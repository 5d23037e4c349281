"""The key broker inside this service, where a broker's folder is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.dependencies import Service
from api.settings import Settings
from ledger.chain.rpc import Rpc
from ledger.errors import ConfigurationError, WrongNetwork

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
    from ledger.broker.home import BrokerHome
    from ledger.broker.service import BrokerService
    from ledger.broker.setup import identity_on

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
    view = ChainView(_endpoints(settings, served), served.deployment, served.profile)
    service = BrokerService(home, view)
    service.notices.start()
    return service


def _endpoints(settings: Settings, served: Service) -> list[Rpc]:
    from ledger.broker.sharing import SharedRpc

    # One client an endpoint, without failover between them: the chain rule counts witnesses.
    chain_id = served.deployment.chain_id
    return [SharedRpc(url.get_secret_value(), chain_id=chain_id) for url in settings.rpc_urls]
